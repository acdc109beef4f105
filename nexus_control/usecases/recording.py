"""What a caller that runs the tool itself says of the outcome: the second half of `usecases.claiming`.

The first record wins. The same record again changes nothing and says so; another one is refused (OUTCOME_REFUSED). A
record that comes after the execution was given up is kept beside the log as evidence, as a router's late outcome is.

The response digest is of `{"output": <output>}`, and that text is kept, so that `result` gives the output back.
"""

from dataclasses import replace

from nexus_control.decision import effect_of
from nexus_control.errors import ErrorCode, NexusControlError, invalid_argument
from nexus_control.execution.signs import RUN_FAILED
from nexus_control.execution.spelling import spell
from nexus_control.facts import Execution
from nexus_control.integrity import sha256_hex
from nexus_control.log.entries import to_event
from nexus_control.log.projection import Projection
from nexus_control.log.session import WriteSession
from nexus_control.storage.contract import Claim
from nexus_control.store import DecisionStore
from nexus_control.system.processes import Owner
from nexus_control.usecases.arguments import RecordOutcomeArguments
from nexus_control.usecases.claiming import put_outcome
from nexus_control.usecases.dispatching import Dispatched, OutcomePayload, unknown
from nexus_control.usecases.resulting import id_of, kept_answer, note_of
from nexus_control.usecases.run_answers import RecordOutcomeData
from nexus_control.values.payloads import (
    ExecutionCompletedPayload,
    ExecutionFailedPayload,
    ExecutionOutcomeUnknownPayload,
)

_OUTCOMES = (ExecutionCompletedPayload, ExecutionFailedPayload, ExecutionOutcomeUnknownPayload)


def record(store: DecisionStore, arguments: RecordOutcomeArguments) -> RecordOutcomeData:
    """Record the outcome of a claimed execution.

    Raises INVALID_ARGUMENT for an execution that is not there, CLAIM_HELD for one that `execute` runs, OUTCOME_REFUSED
    where another outcome stands.
    """
    dispatched = _dispatched(arguments)
    refusal: NexusControlError | None = None
    with store.held(), store.writing() as session:
        decision, execution = _named(session, arguments.execution_id)
        is_new = execution.outcome == "running"
        if is_new:
            put_outcome(session, _own_claim(session, decision, execution), dispatched)
            decision, execution = _named(session, arguments.execution_id)
        elif _recorded(session, decision, execution) != dispatched.outcome:
            is_kept = _kept_as_evidence(session, decision, execution, dispatched)
            refusal = _refused(decision, execution, is_kept=is_kept)
    if refusal is not None:  # after the commit: what came too late is kept
        raise refusal
    is_truncated = dispatched.answer is not None and dispatched.answer.truncated
    return _answer(decision, execution, arguments, recorded=is_new, is_truncated=is_truncated)


def _named(session: WriteSession, execution_id: str) -> tuple[Projection, Execution]:
    """The decision, and its execution of this id. Raises INVALID_ARGUMENT."""
    decision = session.find_decision(execution_id.rsplit(":", 2)[0])
    executions = () if decision is None else decision.facts.progress.executions
    for execution in reversed(executions):
        if decision is not None and id_of(decision, execution) == execution_id:
            return decision, execution
    raise invalid_argument(
        "execution_id", "names no execution of this store: give the one that claim answered"
    )


def _claim_of(session: WriteSession, decision: Projection, execution: Execution) -> Claim | None:
    """The claim of this execution that this store keeps."""
    kept = session.rows.claim(decision.decision_id)
    is_its = kept is not None and (kept.generation, kept.seq) == (decision.generation, execution.seq)
    return kept if is_its else None


def _own_claim(session: WriteSession, decision: Projection, execution: Execution) -> Claim:
    """The claim that `claim` took in this store. Raises CLAIM_HELD for another one."""
    kept = _claim_of(session, decision, execution)
    if kept is None:
        why = "The execution was imported: its claim is in another store"
        raise NexusControlError(ErrorCode.CLAIM_HELD, why, {"request_id": decision.decision_id})
    owner = Owner.find(kept.owner)
    if owner is None or not owner.is_a_process:
        raise NexusControlError(
            ErrorCode.CLAIM_HELD,
            "A router runs this execution: its call of execute records the outcome",
            {"request_id": decision.decision_id},
        )
    return kept


def _recorded(session: WriteSession, decision: Projection, execution: Execution) -> OutcomePayload | None:
    """The outcome that the log has of an execution."""
    entries = session.rows.entries("decision", decision.decision_id, decision.generation, execution.seq)
    contents = (to_event(entry).content for entry in entries)
    return next((content for content in contents if isinstance(content, _OUTCOMES)), None)


def _kept_as_evidence(
    session: WriteSession, decision: Projection, execution: Execution, dispatched: Dispatched
) -> bool:
    """Keep what came after the execution was given up, unless something was kept before; say whether it was kept.
    Raises CLAIM_HELD for an execution of a router, whose own word alone is evidence.
    """
    if _claim_of(session, decision, execution) is None:
        return False
    kept = _own_claim(session, decision, execution)
    if kept.late_outcome:
        return False
    put_outcome(session, kept, dispatched)
    return True


def _refused(decision: Projection, execution: Execution, *, is_kept: bool) -> NexusControlError:
    details = {
        "request_id": decision.decision_id,
        "execution_id": id_of(decision, execution),
        "outcome": execution.outcome,
    }
    if execution.outcome == "outcome_unknown":
        message = "The outcome came after the execution was recorded as unknown"
        advice = None if is_kept else "Settle the execution with reconcile; this outcome was not kept."
        return NexusControlError(ErrorCode.OUTCOME_REFUSED, message, details, advice)
    return NexusControlError(
        ErrorCode.OUTCOME_REFUSED,
        f"The execution is recorded as {execution.outcome}, and the first record wins",
        details,
        "Read what was recorded with result; nothing was changed.",
    )


def _dispatched(arguments: RecordOutcomeArguments) -> Dispatched:
    spelling = spell({"output": arguments.output})
    answer = kept_answer(spelling.text, sha256_hex(spelling.text))
    notes = tuple(filter(None, (spelling.note, note_of(answer) if answer.truncated else None)))
    return Dispatched(_outcome(arguments, answer.digest, notes), answer)


def _outcome(arguments: RecordOutcomeArguments, digest: str, notes: tuple[str, ...]) -> OutcomePayload:
    run_id = arguments.execution_id
    match arguments.outcome:
        case "completed":
            return ExecutionCompletedPayload(
                run_id=run_id, response_digest=digest, steps_executed=1, notes=notes
            )
        case "failed":
            return ExecutionFailedPayload(
                error_code=RUN_FAILED,
                error_message=arguments.error or "The tool failed",
                run_id=run_id,
                response_digest=digest,
                steps_executed=1,
                effect=arguments.effect or "unknown",
                notes=notes,
            )
        case "unknown":
            doubt = unknown("CALLER_CANNOT_TELL", arguments.error or "The caller does not know the outcome")
            return replace(doubt, run_id=run_id, response_digest=digest)


def _answer(
    decision: Projection,
    execution: Execution,
    arguments: RecordOutcomeArguments,
    *,
    recorded: bool,
    is_truncated: bool,
) -> RecordOutcomeData:
    return {
        "request_id": decision.decision_id,
        "execution_id": arguments.execution_id,
        "run_id": arguments.execution_id,
        "mode": "dry_run" if execution.dry_run else "apply",
        "steps_executed": execution.steps_executed or 0,
        "request_digest": execution.request_digest or "",
        "response_digest": execution.response_digest or "",
        "effect": effect_of(execution) or "unknown",
        "results": [],
        "truncated": is_truncated,
        "outcome": arguments.outcome,
        "recorded": recorded,
    }
