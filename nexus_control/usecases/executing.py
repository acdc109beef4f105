"""Execute: claim, dispatch, record. The router runs at most once for a decision, whatever happens.

1. The router is asked outside any transaction whether it has the adapter, takes the plan, and can record the run. It
   gets ready where it has to, by starting a server for example, and stays so until 3 is done. Then the decision is
   claimed (`usecases.claiming`).
2. `router.run` is called, outside any transaction, unless somebody has cancelled the execution. The run heeds a cancel
   that comes later (`usecases.cancels`).
3. The outcome is recorded. The router's answer is read as a fact, and never trusted to be well formed. An outcome that
   cannot be known is recorded as unknown, and the decision is never run again by itself.

An interruption (KeyboardInterrupt, or an exception of a signal handler) after the commit of the claim is recorded as an
unknown outcome, and raised again. Before that commit it leaves nothing behind.

A process that dies between 1 and 3 leaves the decision executing; `recover` turns that into outcome unknown.
"""

import traceback
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from typing import Any

from nexus_control.advice import REHEARSAL_FAILED, REQUIRED_REHEARSAL_FAILED, after_failure
from nexus_control.blocking import attempt_reasons
from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.execution.adapter import StepError
from nexus_control.execution.context import executing
from nexus_control.execution.router import (
    AdapterDescriber,
    KnownRun,
    PlanChecker,
    ReadinessChecker,
    RouterProtocol,
    RunFinder,
    RunPreparer,
)
from nexus_control.execution.stopping import heeding
from nexus_control.log import head
from nexus_control.log.projection import Projection
from nexus_control.rules.book import RuleBook
from nexus_control.storage.contract import Claim
from nexus_control.storage.faults import forked
from nexus_control.store import DecisionStore
from nexus_control.system.processes import Owner, owning
from nexus_control.usecases.arguments import ExecuteArguments
from nexus_control.usecases.cancels import CancelWatch
from nexus_control.usecases.claiming import Asked, Claimed, attempt_at, not_started, record_outcome, take
from nexus_control.usecases.dispatching import (
    Dispatched,
    OutcomePayload,
    describe,
    dispatch,
    router_asked,
    unknown,
)
from nexus_control.usecases.resulting import step_lines, steps_in_answer, steps_known
from nexus_control.usecases.ruling import require_importable
from nexus_control.usecases.run_answers import ExecuteData
from nexus_control.usecases.views import authority_now
from nexus_control.values.payloads import (
    Effect,
    ExecutionCompletedPayload,
    ExecutionFailedPayload,
)

_TO_RECOVER = (
    "Once the store can be written again, recover the request; then find out what really happened, and reconcile. It is"
    " never run again by itself."
)


def execute(
    store: DecisionStore,
    arguments: ExecuteArguments,
    router: RouterProtocol | None,
    *,
    by_worker: bool = False,
    rules: RuleBook | None = None,
) -> ExecuteData:
    """Run an approved decision once. `by_worker` is True in `usecases.working` alone, which executes what was requested
    for a worker. `rules` hold for a decision that came by import (`usecases.ruling`).

    Nothing was written when it raises POLICY_NOT_SATISFIED (with all reasons), EXECUTING, ADAPTER_UNKNOWN,
    PLAN_INVALID, ROUTER_NOT_READY, STORE_ROLLED_BACK, STORE_UNAVAILABLE where the head cannot be written, or
    SHUTTING_DOWN after an order to stop. Raises ROUTER_ERROR for a failed run, or a router that cannot be asked;
    OUTCOME_UNKNOWN where nobody knows what the run did; OUTCOME_REFUSED for an outcome that came too late.
    `details.effect` says what a failed run is known to have done.
    """
    with store.held(), owning(store.clock.new_id()) as owner, _prepared_runs() as prepared:
        outcome: Dispatched | None = None
        where = ", before the router was called"
        try:
            if rules is not None:  # before the router is asked; the claim asks the rules once more
                with store.reading() as session:
                    require_importable(store, session, rules, session.decision(arguments.request_id))
            asked = _ask(store, arguments, router, prepared, by_worker=by_worker)
            claimed = take(store, arguments, asked, owner.to_text(), rules, by_worker=by_worker)
            outcome = _bring_head_forward(store, claimed)
            if outcome is None:
                where = ""
                cancel = CancelWatch(store, claimed.claim)
                with executing(claimed.execution), heeding(cancel):
                    outcome = _cancelled(cancel) or dispatch(
                        _there(router), claimed.request, asked.adapter_digest
                    )
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
    return _answer(store, claimed, outcome, router)


def _leave(store: DecisionStore, decision_id: str, owner: str, known: Dispatched) -> None:
    """Record the outcome of an interrupted execution, if its claim was committed and still stands."""
    with store.reading() as session:
        claim = session.rows.claim(decision_id)
    if claim is not None and claim.owner == owner and not claim.recovered:
        _record(store, claim, known)


def _bring_head_forward(store: DecisionStore, claimed: Claimed) -> Dispatched | None:
    """None when the head was brought forward. Otherwise the outcome to record: nothing is dispatched."""
    try:
        head.advance(store, claimed.known, claimed.log)
    except NexusControlError as fault:
        return not_started(fault)
    return None


def _cancelled(cancel: CancelWatch) -> Dispatched | None:
    """The outcome to record where somebody cancelled before the router was called; None where nobody did."""
    order = cancel.given(at_once=True)
    if order is None:
        return None
    failed = ExecutionFailedPayload(
        error_code=StepError.CANCELLED.value,
        error_message=f"Nothing was run because {order.why}",
        effect="none",
    )
    return Dispatched(failed)


@contextmanager
def _prepared_runs() -> Generator[ExitStack]:
    """What a router keeps ready from before the claim until the outcome is recorded. That it can be let go of is no
    part of the outcome.
    """
    with ExitStack() as prepared:
        yield prepared
        with suppress(Exception, SystemExit):
            prepared.close()


def _ask(
    store: DecisionStore,
    arguments: ExecuteArguments,
    router: RouterProtocol | None,
    prepared: ExitStack,
    *,
    by_worker: bool,
) -> Asked:
    if router is None:
        return Asked(fault=_no_router())
    adapter_id = arguments.adapter_id
    try:
        with router_asked(adapter_id):
            digest = router.adapter_digest(adapter_id) if isinstance(router, AdapterDescriber) else None
            capabilities = router.get_adapter_capabilities(adapter_id)
            asked = Asked(None if capabilities is None else frozenset(capabilities), digest)
    except NexusControlError as fault:
        return Asked(fault=fault)
    checker = router if isinstance(router, PlanChecker) else None
    readiness = router if isinstance(router, ReadinessChecker) else None
    preparer = router if isinstance(router, RunPreparer) else None
    finder = router if isinstance(router, RunFinder) else None
    if checker is readiness is preparer is finder is None:
        return asked
    with store.reading() as session:
        decision, now = session.decision(arguments.request_id), session.now
        authority = authority_now(store, session, decision, now)
    created, policy = decision.facts.created, decision.facts.policy
    attempt = attempt_at(decision.facts, arguments, asked, by_worker=by_worker)
    if created is None or policy is None or attempt_reasons(decision.facts, now, attempt, authority):
        return asked  # the claim refuses it; no secret is read and nothing is started for it
    try:
        with router_asked(adapter_id):
            if checker is not None:
                checker.check_plan(adapter_id, created.plan, policy.max_steps)
            if preparer is not None:
                prepared.enter_context(preparer.prepared(adapter_id, attempt.dry_run, created.plan))
            elif readiness is not None:
                readiness.require_ready(adapter_id, attempt.dry_run, created.plan)
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


def _no_router() -> NexusControlError:
    return NexusControlError(ErrorCode.ROUTER_NOT_CONFIGURED, "There is no router to execute with")


def _there(router: RouterProtocol | None) -> RouterProtocol:
    """The router of an execution that was claimed; without one, nothing is."""
    if router is None:
        raise _no_router()
    return router


def _settle(store: DecisionStore, claimed: Claimed, dispatched: Dispatched) -> None:
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
        advice: str | None = _TO_RECOVER
        with suppress(NexusControlError):
            _record(store, claimed.claim, Dispatched(doubt, dispatched.answer))
            advice = None
        raise NexusControlError(
            ErrorCode.OUTCOME_UNKNOWN,
            f"The router returned, but its outcome could not be recorded: {fault}",
            {**_details(claimed, outcome), "reason": "RECORDING_FAILED"},
            advice,
        ) from fault
    if not recorded:
        raise NexusControlError(
            ErrorCode.OUTCOME_REFUSED,
            "The outcome came after the execution was given up; it is kept as evidence",
            _details(claimed, outcome),
        )


def _record(store: DecisionStore, claim: Claim, dispatched: Dispatched) -> bool:
    """Record the outcome of an execution of this process. A child that the router forked, and that returns to this
    code, records nothing: STORE_FORKED.
    """
    owner = Owner.find(claim.owner)
    if owner is None or not owner.is_under_way_here():
        raise forked(f"execution {claim.seq} of decision {claim.decision_id}")
    return record_outcome(store, claim, dispatched)


def _answer(
    store: DecisionStore, claimed: Claimed, dispatched: Dispatched, router: RouterProtocol | None
) -> ExecuteData:
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
        steps = steps_known(store, claimed.execution, router)
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
            _after_failure(claimed, outcome.effect or "unknown"),
        )
    raise NexusControlError(
        ErrorCode.OUTCOME_UNKNOWN,
        f"Router execution failed: the outcome is unknown: {outcome.detail}",
        details | {"reason": outcome.reason, "effect": "unknown"},
    )


def _after_failure(claimed: Claimed, effect: Effect) -> str:
    if claimed.is_required:
        return REQUIRED_REHEARSAL_FAILED
    return REHEARSAL_FAILED if claimed.rehearsal else after_failure(effect)


def _details(claimed: Claimed, outcome: OutcomePayload) -> dict[str, Any]:
    return {
        "request_id": claimed.claim.decision_id,
        "execution_id": claimed.execution.execution_id,
        "run_id": outcome.run_id,
        "mode": claimed.mode,
        "request_digest": claimed.request_digest,
        "response_digest": outcome.response_digest,
    }
