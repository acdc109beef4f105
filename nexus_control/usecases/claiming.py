"""The claim and the record: what makes a decision run at most once.

`execute` takes both around its router. A caller that runs the tool itself, such as a guard in an agent framework, takes
them as two public calls, and these may come from two processes.

1. One write transaction checks every rule, and that the store is not an older copy of itself (`log.head`). It then
   appends EXECUTION_REQUESTED and EXECUTION_STARTED: the claim. A refusal before the claim costs no approval.
2. The head beside the store is brought forward. Where it cannot be, the execution has failed without an effect.
3. One write transaction appends the outcome: the record. The first one wins. Another one is kept as evidence where the
   execution was given up before it came.

A claim has an owner (`system.processes`): one call of `execute`, or a process. While its owner lives, `recover` leaves
the execution alone; afterwards its outcome is unknown.
"""

import traceback
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from nexus_control.blocking import Attempt, awaits_rehearsal
from nexus_control.canonical_json import canonical_json
from nexus_control.errors import ErrorCode, NexusControlError, invalid_argument
from nexus_control.execution.context import CurrentExecution
from nexus_control.execution.stopping import order_given
from nexus_control.facts import Facts
from nexus_control.integrity import json_digest
from nexus_control.log import head
from nexus_control.log.entries import SYSTEM_ACTOR
from nexus_control.log.projection import Projection
from nexus_control.log.session import WriteSession
from nexus_control.log.unaltered import unaltered_events
from nexus_control.rules.book import RuleBook
from nexus_control.storage.contract import Claim
from nexus_control.store import DecisionStore
from nexus_control.system.processes import owner_named
from nexus_control.usecases.allowing import require_allowed
from nexus_control.usecases.arguments import ClaimArguments, ExecuteArguments
from nexus_control.usecases.dispatching import Dispatched, OutcomePayload, describe
from nexus_control.usecases.resulting import id_of
from nexus_control.usecases.ruling import require_importable
from nexus_control.usecases.run_answers import ClaimData
from nexus_control.values.payloads import (
    ExecutionCompletedPayload,
    ExecutionFailedPayload,
    ExecutionRequestedPayload,
    ExecutionStartedPayload,
    Mode,
)

_AFTER_THE_RUN = "Call again when the run that called has ended; nothing was written."


@dataclass(frozen=True, slots=True)
class Claimed:
    """An execution that was just claimed."""

    claim: Claim
    request: dict[str, Any]
    request_digest: str
    known: bytes
    """The content of the head's slot before the claim."""
    log: head.Head
    rehearsal: bool
    execution: CurrentExecution
    is_required: bool
    """Whether it is a rehearsal that people wait for, because they approve what it gives back."""

    @property
    def mode(self) -> Mode:
        return "dry_run" if self.request["dry_run"] else "apply"


@dataclass(frozen=True, slots=True)
class Asked:
    """What is known of the adapter before the claim; None where nobody can tell. `fault`: why it could not run the
    plan.
    """

    capabilities: frozenset[str] | None = None
    adapter_digest: str | None = None
    fault: NexusControlError | None = None


def claim(store: DecisionStore, arguments: ClaimArguments, rules: RuleBook | None = None) -> ClaimData:
    """Claim an approved decision for a caller that runs the tool itself. `rules` are as for `execute`.

    Nothing was written when it raises POLICY_NOT_SATISFIED (with all reasons), EXECUTING, STORE_ROLLED_BACK,
    INVALID_ARGUMENT for a process that is not there, or SHUTTING_DOWN after an order to stop. Where the head cannot be
    brought forward after the claim, and where the call is interrupted, the execution has failed without an effect.
    """
    owner = owner_named(arguments.owner_pid, store.clock.new_id())
    if owner is None:
        raise invalid_argument("owner_pid", f"there is no process {arguments.owner_pid} here")
    with store.held():
        try:
            claimed = take(store, arguments, Asked(), owner.to_text(), rules)
        except NexusControlError:
            raise
        except BaseException as interruption:
            # A transaction that was cut short is rolled back once no frame refers to it any more.
            traceback.clear_frames(interruption.__traceback__)
            _leave(store, arguments.request_id, owner.to_text(), interruption)
            raise
        try:
            head.advance(store, claimed.known, claimed.log)
        except NexusControlError as fault:
            _leave(store, arguments.request_id, owner.to_text(), fault)
            raise _spent(fault) from fault
        except BaseException as interruption:
            _leave(store, arguments.request_id, owner.to_text(), interruption)
            raise
    return {
        "request_id": claimed.claim.decision_id,
        "execution_id": claimed.execution.execution_id,
        "run_id": claimed.execution.execution_id,
        "mode": claimed.mode,
        "request_digest": claimed.request_digest,
    }


def _leave(store: DecisionStore, decision_id: str, owner: str, why: BaseException) -> None:
    """Record that nothing was run for this claim, if it was committed."""
    with suppress(NexusControlError):
        with store.reading() as session:
            kept = session.rows.claim(decision_id)
        if kept is not None and kept.owner == owner and not kept.recovered:
            record_outcome(store, kept, not_started(why))


def _spent(fault: NexusControlError) -> NexusControlError:
    """The fault of a claim that was taken and could not be remembered beside the store."""
    return NexusControlError(
        fault.code,
        f"{fault.message}. Nothing was run; the approval is spent, and the execution is recorded as failed without an"
        " effect",
        fault.details,
        "Mend what keeps the file beside the database from being written, then make a new request.",
    )


def take(
    store: DecisionStore,
    arguments: ExecuteArguments,
    asked: Asked,
    owner: str,
    rules: RuleBook | None,
    *,
    by_worker: bool = False,
) -> Claimed:
    """Check every rule, and claim the decision for this owner, a text of `system.processes`. The head is not brought
    forward yet. `by_worker`: a worker claims it, which rehearses only what people wait for.
    """
    slot = head.slot_of(store.sidecar)
    known = slot.read_writable()  # before the transaction: waiting here holds up no other writer
    with store.writing() as session:
        if order := order_given():
            raise NexusControlError(
                ErrorCode.SHUTTING_DOWN,
                f"Nothing is executed any more because {order.why}",
                advice=_AFTER_THE_RUN if order.kind == "cancel" else None,
            )
        decision = session.decision(arguments.request_id)
        require_importable(store, session, rules, decision)
        head.require_continued(session, store.sidecar, known)
        attempt = attempt_at(decision.facts, arguments, asked, by_worker=by_worker)
        # The rules come before the fault: they may say that the decision is never executed.
        if asked.fault is None:
            require_allowed(store, session, decision, attempt)
        else:
            require_allowed(store, session, decision, dry_run=attempt.dry_run, by_worker=by_worker)
        if by_worker and arguments.dry_run and not awaits_rehearsal(decision.facts, session.now):
            raise _rehearsed(decision)
        unaltered_events(session, decision)
        if asked.fault is not None:
            raise asked.fault
        if not known:  # else it could be written just now
            slot.require_writable()
        return _append(session, decision, arguments, attempt, owner, known)


def attempt_at(facts: Facts, arguments: ExecuteArguments, asked: Asked, *, by_worker: bool) -> Attempt:
    """What the rules judge."""
    return Attempt(
        adapter_id=arguments.adapter_id,
        dry_run=is_dry_run(facts, arguments.dry_run),
        capabilities=asked.capabilities,
        adapter_digest=asked.adapter_digest,
        by_worker=by_worker,
    )


def _rehearsed(decision: Projection) -> NexusControlError:
    """The fault of a worker that another one was faster than: one more rehearsal could only make approvals stale."""
    return NexusControlError(
        ErrorCode.INVALID_STATE,
        "Nobody waits for a rehearsal of this decision now",
        {"request_id": decision.decision_id, "state": "open"},
    )


def _append(
    session: WriteSession,
    decision: Projection,
    arguments: ExecuteArguments,
    attempt: Attempt,
    owner: str,
    known: bytes,
) -> Claimed:
    request = _compile(decision.facts, attempt)
    request_digest = json_digest(request)
    requested = ExecutionRequestedPayload(adapter_id=arguments.adapter_id, dry_run=attempt.dry_run)
    started = ExecutionStartedPayload(router_request_digest=request_digest)
    running = session.append_each(decision, [(arguments.actor, requested), (SYSTEM_ACTOR, started)])
    rehearsal = attempt.dry_run and not is_dry_run(decision.facts, None)
    return Claimed(
        claim=session.claim(running, decision.facts.event_count, owner),
        request=request,
        request_digest=request_digest,
        known=known,
        log=head.head_of(session),
        rehearsal=rehearsal,
        execution=_current(running, rehearsal),
        is_required=rehearsal and running.facts.needs_rehearsal,
    )


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


def is_dry_run(facts: Facts, asked: bool | None) -> bool:
    """Whether an execution rehearses: as it was asked for, else as the request says."""
    if asked is not None:
        return asked
    return facts.created is not None and facts.created.requested_mode == "dry_run"


def _compile(facts: Facts, attempt: Attempt) -> dict[str, Any]:
    if facts.created is None or facts.policy is None:
        raise NexusControlError(ErrorCode.INTERNAL, "an unblocked decision has a goal and a policy")
    return facts.policy.compile_to_router_request(
        facts.created.goal, facts.created.plan, attempt.adapter_id, attempt.dry_run
    )


def not_started(why: BaseException) -> Dispatched:
    """The outcome of an execution for which nothing was run: its claim could not be remembered beside the store, and an
    older copy of the store would run it again; or the caller was interrupted before it had the claim.
    """
    is_fault = isinstance(why, NexusControlError)
    failed = ExecutionFailedPayload(
        error_code=why.code.value if is_fault else "INTERRUPTED",
        error_message=f"Nothing was run: {why.message if is_fault else describe(why)}",
        effect="none",
    )
    return Dispatched(failed)


def record_outcome(store: DecisionStore, claim: Claim, dispatched: Dispatched) -> bool:
    """Append the outcome while the claim still holds; otherwise keep it beside the log, and answer False. The answer is
    kept in either case.
    """
    return store.write(lambda session: put_outcome(session, claim, dispatched))


def put_outcome(session: WriteSession, claim: Claim, dispatched: Dispatched) -> bool:
    """`record_outcome` in a transaction. A decision that has gone on without this claim is left alone."""
    outcome = dispatched.outcome
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
        if decision.facts.needs_rehearsal and execution is not None and execution.rehearsal:
            outcome = _naming_what_was_shown(dispatched)
        session.append(decision, SYSTEM_ACTOR, outcome)
        session.rows.drop_claim(claim.decision_id)
    elif (kept := session.rows.claim(claim.decision_id)) is not None and kept.owner == claim.owner:
        late = canonical_json({"event_type": str(outcome.event_type), "payload": outcome.to_dict()})
        session.rows.put_claim(replace(kept, recovered=True, late_outcome=late))
    return holds


def _naming_what_was_shown(dispatched: Dispatched) -> OutcomePayload:
    """The outcome of a rehearsal that the policy requires. Only a completed one can be approved."""
    outcome, shown = dispatched.outcome, dispatched.rehearsal_digest
    if not isinstance(outcome, ExecutionCompletedPayload):
        return outcome
    return replace(outcome, rehearsal_digest=shown, adapter_digest=dispatched.adapter_digest)
