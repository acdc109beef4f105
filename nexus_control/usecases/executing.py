"""Execute: claim, dispatch, record. The router runs at most once for a decision, whatever happens.

1. The router is asked outside any transaction whether it has the adapter, takes the plan, and can record the run. One
   write transaction checks every rule, and that the store is not an older copy of itself (`log.head`). It then appends
   EXECUTION_REQUESTED and EXECUTION_STARTED: the claim. A refusal before the claim costs no approval.
2. The head beside the store is brought forward, and `router.run` is called, outside any transaction.
3. One write transaction appends the outcome. The router's answer is read as a fact, and never trusted to be well
   formed. An outcome that cannot be known is recorded as unknown, and the decision is never run again by itself.

An interruption (KeyboardInterrupt, or an exception of a signal handler) after the commit of the claim is recorded as an
unknown outcome, and raised again. Before that commit it leaves nothing behind.

A process that dies between 1 and 3 leaves the decision executing; `recover` turns that into outcome unknown.
"""

import traceback
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from nexus_control.advice import REHEARSAL_FAILED, after_failure
from nexus_control.blocking import Attempt, blocking_reasons
from nexus_control.canonical_json import canonical_json
from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.execution.context import CurrentExecution, executing
from nexus_control.execution.router import (
    AdapterDescriber,
    KnownRun,
    PlanChecker,
    ReadinessChecker,
    RouterProtocol,
    RunFinder,
)
from nexus_control.execution.stopping import stop_ordered
from nexus_control.facts import Facts
from nexus_control.integrity import json_digest
from nexus_control.log import head
from nexus_control.log.entries import SYSTEM_ACTOR
from nexus_control.log.projection import Projection
from nexus_control.log.session import WriteSession
from nexus_control.log.unaltered import unaltered_events
from nexus_control.storage.contract import Claim
from nexus_control.storage.faults import forked
from nexus_control.store import DecisionStore
from nexus_control.system.processes import Owner, owning
from nexus_control.usecases.allowing import require_allowed
from nexus_control.usecases.arguments import ExecuteArguments
from nexus_control.usecases.dispatching import (
    Dispatched,
    OutcomePayload,
    describe,
    dispatch,
    router_asked,
    unknown,
)
from nexus_control.usecases.resulting import id_of, step_lines, steps_in_answer, steps_known
from nexus_control.usecases.run_answers import ExecuteData
from nexus_control.values.payloads import (
    ExecutionCompletedPayload,
    ExecutionFailedPayload,
    ExecutionRequestedPayload,
    ExecutionStartedPayload,
    Mode,
)


@dataclass(frozen=True, slots=True)
class _Claimed:
    router: RouterProtocol
    claim: Claim
    request: dict[str, Any]
    request_digest: str
    known: bytes
    """The content of the head's slot before the claim."""
    log: head.Head
    rehearsal: bool
    execution: CurrentExecution

    @property
    def mode(self) -> Mode:
        return "dry_run" if self.request["dry_run"] else "apply"


@dataclass(frozen=True, slots=True)
class _Asked:
    """What the router said before the claim; None where it cannot tell. `fault`: why it could not run the plan."""

    capabilities: frozenset[str] | None
    adapter_digest: str | None
    fault: NexusControlError | None = None


def execute(store: DecisionStore, arguments: ExecuteArguments, router: RouterProtocol | None) -> ExecuteData:
    """Run an approved decision once.

    Nothing was written when it raises POLICY_NOT_SATISFIED (with all reasons), EXECUTING, ADAPTER_UNKNOWN,
    PLAN_INVALID, ROUTER_NOT_READY, STORE_ROLLED_BACK, STORE_UNAVAILABLE where the head cannot be written, or
    SHUTTING_DOWN after an order to stop. Raises ROUTER_ERROR for a failed run, or a router that cannot be asked;
    OUTCOME_UNKNOWN where nobody knows what the run did; OUTCOME_REFUSED for an outcome that came too late.
    `details.effect` says what a failed run is known to have done.
    """
    with store.held(), owning(store.clock.new_id()) as owner:
        outcome: Dispatched | None = None
        where = ", before the router was called"
        try:
            claimed = _claim(store, arguments, router, owner.to_text())
            outcome = _bring_head_forward(store, claimed)
            if outcome is None:
                where = ""
                with executing(claimed.execution):
                    outcome = dispatch(claimed.router, claimed.request)
            _settle(store, claimed, outcome)
        except NexusControlError:
            raise
        except BaseException as interruption:
            # A transaction that was cut short is rolled back once no frame refers to it any more.
            traceback.clear_frames(interruption.__traceback__)
            known = outcome or Dispatched(unknown("INTERRUPTED", describe(interruption) + where))
            with suppress(NexusControlError):  # the interruption is raised whether or not it can be recorded
                _leave(store, arguments.request_id, owner.to_text(), known)
            raise
    return _answer(store, claimed, outcome)


def _leave(store: DecisionStore, decision_id: str, owner: str, known: Dispatched) -> None:
    """Record the outcome of an interrupted execution, if its claim was committed and still stands."""
    with store.reading() as session:
        claim = session.rows.claim(decision_id)
    if claim is not None and claim.owner == owner and not claim.recovered:
        _record(store, claim, known)


def _claim(
    store: DecisionStore, arguments: ExecuteArguments, router: RouterProtocol | None, owner: str
) -> _Claimed:
    asked = _ask(store, arguments, router)
    slot = head.slot_of(store.sidecar)
    known = slot.read_writable()  # before the transaction: waiting here holds up no other writer
    with store.writing() as session:
        if why := stop_ordered():
            raise NexusControlError(ErrorCode.SHUTTING_DOWN, f"Nothing is executed any more because {why}")
        decision = session.decision(arguments.request_id)
        head.require_continued(session, store.sidecar, known)
        attempt = Attempt(
            adapter_id=arguments.adapter_id,
            dry_run=_is_dry_run(decision.facts, arguments.dry_run),
            capabilities=asked.capabilities,
            adapter_digest=asked.adapter_digest,
        )
        # The rules come before the fault: they may say that the decision is never executed.
        require_allowed(store, session, decision, attempt if asked.fault is None else None)
        unaltered_events(session, decision)
        if router is None or asked.fault is not None:
            raise asked.fault or _no_router()
        if not known:  # else it could be written just now
            slot.require_writable()
        request = _compile(decision.facts, attempt)
        request_digest = json_digest(request)
        requested = ExecutionRequestedPayload(adapter_id=arguments.adapter_id, dry_run=attempt.dry_run)
        started = ExecutionStartedPayload(router_request_digest=request_digest)
        running = session.append_each(decision, [(arguments.actor, requested), (SYSTEM_ACTOR, started)])
        claim = session.claim(running, decision.facts.event_count, owner)
        log = head.head_of(session)
    rehearsal = attempt.dry_run and not _is_dry_run(decision.facts, None)
    execution = _current(running, rehearsal)
    return _Claimed(router, claim, request, request_digest, known, log, rehearsal, execution)


def _current(running: Projection, rehearsal: bool) -> CurrentExecution:
    """What the executed code will know of the execution that was just claimed."""
    claimed, created = running.facts.last_execution, running.facts.created
    if claimed is None or created is None:
        raise NexusControlError(ErrorCode.INTERNAL, "a claimed decision has an execution and a requester")
    return CurrentExecution(
        request_id=running.decision_id,
        execution_id=id_of(running, claimed),
        requester=created.requester,
        rehearsal=rehearsal,
    )


def _bring_head_forward(store: DecisionStore, claimed: _Claimed) -> Dispatched | None:
    """None when the head was brought forward. Otherwise the outcome to record: nothing is dispatched, because an older
    copy of the store would dispatch it again.
    """
    try:
        head.advance(store, claimed.known, claimed.log)
    except NexusControlError as fault:
        failed = ExecutionFailedPayload(
            error_code=fault.code.value,
            error_message=f"The router was not called: {fault.message}",
            effect="none",
        )
        return Dispatched(failed)
    return None


def _ask(store: DecisionStore, arguments: ExecuteArguments, router: RouterProtocol | None) -> _Asked:
    if router is None:
        return _Asked(None, None, _no_router())
    adapter_id = arguments.adapter_id
    try:
        with router_asked(adapter_id):
            digest = router.adapter_digest(adapter_id) if isinstance(router, AdapterDescriber) else None
            capabilities = router.get_adapter_capabilities(adapter_id)
            asked = _Asked(None if capabilities is None else frozenset(capabilities), digest)
    except NexusControlError as fault:
        return _Asked(None, None, fault)
    checker = router if isinstance(router, PlanChecker) else None
    readiness = router if isinstance(router, ReadinessChecker) else None
    finder = router if isinstance(router, RunFinder) else None
    if checker is readiness is finder is None:
        return asked
    with store.reading() as session:
        decision, now = session.decision(arguments.request_id), session.now
    created, policy = decision.facts.created, decision.facts.policy
    if created is None or policy is None or blocking_reasons(decision.facts, now):
        return asked  # the claim refuses it; nothing is started for it
    try:
        with router_asked(adapter_id):
            if checker is not None:
                checker.check_plan(adapter_id, created.plan, policy.max_steps)
            if readiness is not None:
                dry_run = _is_dry_run(decision.facts, arguments.dry_run)
                readiness.require_ready(adapter_id, dry_run, created.plan)
            known = () if finder is None else finder.runs_of(decision.decision_id)
        _require_unknown(decision, known)
    except NexusControlError as fault:
        return replace(asked, fault=fault)
    return asked


def _require_unknown(decision: Projection, known: Sequence[KnownRun]) -> None:
    """Raises STORE_ROLLED_BACK where the router has a run of the very execution that would be claimed next: then this
    store is an older copy, and does not know of that run.
    """
    next_id = f"{decision.decision_id}:{decision.generation}:{decision.facts.event_count}"
    for run in known:
        if run.execution_id == next_id:
            raise NexusControlError(
                ErrorCode.STORE_ROLLED_BACK,
                f"The router has run this already, as run {run.run_id}, which the store does not know: it is an older"
                " copy",
                {"request_id": decision.decision_id, "run_id": run.run_id, "execution_id": next_id},
                "Look at what that run did (run show); make a new request if it is still wanted. Nothing was executed.",
            )


def _is_dry_run(facts: Facts, asked: bool | None) -> bool:
    if asked is not None:
        return asked
    return facts.created is not None and facts.created.requested_mode == "dry_run"


def _no_router() -> NexusControlError:
    return NexusControlError(ErrorCode.ROUTER_NOT_CONFIGURED, "There is no router to execute with")


def _compile(facts: Facts, attempt: Attempt) -> dict[str, Any]:
    if facts.created is None or facts.policy is None:
        raise NexusControlError(ErrorCode.INTERNAL, "an unblocked decision has a goal and a policy")
    return facts.policy.compile_to_router_request(
        facts.created.goal, facts.created.plan, attempt.adapter_id, attempt.dry_run
    )


def _settle(store: DecisionStore, claimed: _Claimed, dispatched: Dispatched) -> None:
    """Record the outcome. Where that fails, record at least that it is unknown, and raise OUTCOME_UNKNOWN."""
    outcome = dispatched.outcome
    try:
        recorded = _record(store, claimed.claim, dispatched)
    except NexusControlError as fault:
        doubt = replace(
            unknown("RECORDING_FAILED", describe(fault)),
            run_id=outcome.run_id,
            response_digest=outcome.response_digest,
            router_bundle_digest=outcome.router_bundle_digest,
        )
        with suppress(NexusControlError):
            _record(store, claimed.claim, Dispatched(doubt, dispatched.answer))
        raise NexusControlError(
            ErrorCode.OUTCOME_UNKNOWN,
            f"The router returned, but its outcome could not be recorded: {fault}",
            {**_details(claimed, outcome), "reason": "RECORDING_FAILED"},
        ) from fault
    if not recorded:
        raise NexusControlError(
            ErrorCode.OUTCOME_REFUSED,
            "The outcome came after the execution was given up; it is kept as evidence",
            _details(claimed, outcome),
        )


def _record(store: DecisionStore, claim: Claim, dispatched: Dispatched) -> bool:
    """Append the outcome while the claim still holds; otherwise keep it beside the log, and answer False. The router's
    answer is kept in either case.

    A claim that this execution no longer owns is left alone: the decision has gone on without it. A child that the
    router forked, and that returns to this code, records nothing: STORE_FORKED.
    """
    owner = Owner.find(claim.owner)
    if owner is None or not owner.is_under_way_here():
        raise forked(f"execution {claim.seq} of decision {claim.decision_id}")
    outcome = dispatched.outcome

    def record(session: WriteSession) -> bool:
        if dispatched.answer is not None:
            session.rows.keep_answer(dispatched.answer)
        decision = session.decision(claim.decision_id)
        execution = decision.facts.last_execution
        holds = (
            decision.facts.phase == "executing"
            and decision.generation == claim.generation
            and execution is not None
            and execution.seq == claim.seq
        )
        if holds:
            session.append(decision, SYSTEM_ACTOR, outcome)
            session.rows.drop_claim(claim.decision_id)
        elif (kept := session.rows.claim(claim.decision_id)) is not None and kept.owner == claim.owner:
            late = canonical_json({"event_type": str(outcome.event_type), "payload": outcome.to_dict()})
            session.rows.put_claim(replace(claim, recovered=True, late_outcome=late))
        return holds

    return store.write(record)


def _answer(store: DecisionStore, claimed: _Claimed, dispatched: Dispatched) -> ExecuteData:
    outcome, answer = dispatched.outcome, dispatched.answer
    steps = None if answer is None else steps_in_answer(answer)
    if isinstance(outcome, ExecutionCompletedPayload):
        return {
            "request_id": claimed.claim.decision_id,
            "execution_id": claimed.execution.execution_id,
            "run_id": outcome.run_id,
            "mode": claimed.mode,
            "steps_executed": outcome.steps_executed,
            "request_digest": claimed.request_digest,
            "response_digest": outcome.response_digest,
            "effect": "none" if claimed.rehearsal else "done",
            "results": step_lines(steps),
            "truncated": answer is not None and answer.truncated,
        }
    if steps is None:  # it was cut off, so that only the router's own log knows its steps
        steps = steps_known(store, claimed.execution, claimed.router)
    details = _details(claimed, outcome) | {"results": step_lines(steps)}
    if isinstance(outcome, ExecutionFailedPayload):
        raise NexusControlError(
            ErrorCode.ROUTER_ERROR,
            f"Router execution failed: {outcome.error_code}: {outcome.error_message}",
            details
            | {
                "error_code": outcome.error_code,
                "error_message": outcome.error_message,
                "effect": outcome.effect or "unknown",
            },
            REHEARSAL_FAILED if claimed.rehearsal else after_failure(outcome.effect or "unknown"),
        )
    raise NexusControlError(
        ErrorCode.OUTCOME_UNKNOWN,
        f"Router execution failed: the outcome is unknown: {outcome.detail}",
        details | {"reason": outcome.reason, "effect": "unknown"},
    )


def _details(claimed: _Claimed, outcome: OutcomePayload) -> dict[str, Any]:
    return {
        "request_id": claimed.claim.decision_id,
        "execution_id": claimed.execution.execution_id,
        "run_id": outcome.run_id,
        "mode": claimed.mode,
        "request_digest": claimed.request_digest,
        "response_digest": outcome.response_digest,
    }
