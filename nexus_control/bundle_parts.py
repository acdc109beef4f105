"""The parts of a bundle: its header, template, link and events are all functions of the stored events.

There is one exception. Version 1.0 took a dry run of an apply decision for its execution, and linked that run. So a
history that ends there has two bundles, and the header tells which one it is (`as_told_by_1_0`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from nexus_control.bundle import (
    BundleDecision,
    BundleEvent,
    BundleRouterLink,
    BundleTemplateSnapshot,
)
from nexus_control.canonical_json import canonical_json
from nexus_control.decision import Decision, recorded_state
from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.events import EventType, Origin, StoredEvent, parse_event_type
from nexus_control.facts import Facts, Phase
from nexus_control.integrity import prefixed
from nexus_control.values.payloads import ExecutionReconciledPayload

MAX_REPLAY_STEPS = 20_000_000
"""A few seconds."""
_BYTES_A_STEP = 10
_OPENING = (EventType.DECISION_CREATED, EventType.POLICY_ATTACHED)
_ENDINGS = (EventType.EXECUTION_COMPLETED, EventType.EXECUTION_FAILED)


def header_of(decision: Decision) -> BundleDecision:
    """The header of this history."""
    created = decision.facts.created
    if created is None:
        raise NexusControlError(ErrorCode.REPLAY_INVALID, "a decision begins with DECISION_CREATED")
    return BundleDecision(
        decision_id=decision.decision_id,
        goal=created.goal,
        mode=created.requested_mode,
        created_at=created.created_at,
        status=str(recorded_state(decision.facts, decision.as_of)).upper(),
    )


def as_told_by_1_0(decision: Decision) -> Decision | None:
    """The decision as 1.0 saw it: ended by its last dry run. None where the last event does not end a dry run."""
    facts, execution = decision.facts, decision.facts.last_execution
    ended_by = decision.events[-1].event_type
    if execution is None or not execution.rehearsal or ended_by not in _ENDINGS or facts.phase != "open":
        return None
    if facts.needs_rehearsal:  # no policy of 1.0 did
        return None
    return replace(decision, facts=with_final_rehearsal(facts))


def with_final_rehearsal(facts: Facts) -> Facts:
    """These facts, with the last execution, a rehearsal, as the one that ended the decision."""
    *earlier, last = facts.progress.executions
    phase: Phase = "completed" if last.outcome == "completed" else "failed"
    executions = (*earlier, replace(last, rehearsal=False))
    return facts._replace(progress=facts.progress._replace(phase=phase, executions=executions))


def template_part(facts: Facts) -> BundleTemplateSnapshot:
    """The template that the policy was made from."""
    attached = facts.attached
    if attached is None or attached.template_digest is None:
        return BundleTemplateSnapshot()
    return BundleTemplateSnapshot(
        present=True,
        name=attached.template_name or "",
        digest=prefixed(attached.template_digest),
        snapshot=attached.template_snapshot or {},
        overrides=attached.overrides_applied or None,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SettledRun:
    """The run of the last execution that is not a rehearsal, as a link names it; `result` is a bare digest.

    A person may have settled the execution without knowing its run or its result. What is unknown is then stood in for:
    the run by `reconciled:<decision_id>:<seq>`, the result by the digest of the EXECUTION_RECONCILED event, which holds
    the person's evidence. `evidence` is there exactly then.
    """

    run_id: str | None
    result: str | None
    evidence: str | None = None


def settled_run(decision: Decision) -> SettledRun | None:
    """The run that a bundle and a package of this history link; None where there was no such execution."""
    execution, last = decision.facts.linked_execution, decision.events[-1]
    if execution is None:
        return None
    known = SettledRun(run_id=execution.run_id, result=execution.response_digest)
    is_known = known.run_id is not None and known.result is not None
    if is_known or not isinstance(reconciled := last.content, ExecutionReconciledPayload):
        return known
    return SettledRun(
        run_id=known.run_id or f"reconciled:{decision.decision_id}:{execution.seq}",
        result=known.result or last.digest,
        evidence=reconciled.evidence,
    )


def link_part(decision: Decision) -> BundleRouterLink:
    """The link to the run of the last execution that is not a rehearsal."""
    return _link(decision.facts, settled_run(decision))


def link_without_stand_in(facts: Facts) -> BundleRouterLink:
    """The link as 2.0 wrote it for an execution that was reconciled: what is unknown is left out."""
    execution = facts.linked_execution
    return _link(facts, execution and SettledRun(run_id=execution.run_id, result=execution.response_digest))


def _link(facts: Facts, run: SettledRun | None) -> BundleRouterLink:
    execution = facts.linked_execution
    if execution is None or run is None:
        return BundleRouterLink()
    return BundleRouterLink.of_run(
        decision_id=facts.decision_id,
        run_id=run.run_id,
        adapter_id=execution.adapter_id,
        request_hex=execution.request_digest,
        result_hex=run.result,
    )


def stored_of(event: BundleEvent, decision_id: str, origin: Origin = "local") -> StoredEvent:
    """The event of a bundle as a store holds it: with this decision, whatever decision it says it belongs to."""
    return StoredEvent(
        decision_id,
        event.seq,
        parse_event_type(event.type),
        event.ts,
        event.actor,
        event.payload,
        event.digest,
        origin,
    )


def event_part(event: StoredEvent) -> BundleEvent:
    """The event as a bundle holds it."""
    return BundleEvent(
        event_id=event.event_id,
        decision_id=event.decision_id,
        seq=event.seq,
        type=str(event.event_type),
        payload=event.payload,
        ts=event.ts,
        actor=event.actor,
        digest=event.digest,
    )


def require_replayable(events: Sequence[BundleEvent]) -> None:
    """Raises REPLAY_INVALID for a history so large that it would take minutes to replay, and to check against its
    policy and plan.

    At each event the fold looks at every approval and execution so far, and each execution and signature is compared
    with the whole request. Honest histories have few of these; a forged one may have very many.
    """
    types = [event.type for event in events]
    people = {event.actor.id for event in events if event.type == EventType.APPROVAL_GRANTED}
    runs = types.count(EventType.EXECUTION_REQUESTED)
    signed = len(events) - [event.payload.get("signed") for event in events].count(None)
    size = sum(len(canonical_json(event.payload)) for event in events if event.type in _OPENING)
    steps = (len(events) + size // _BYTES_A_STEP) * (len(people) + runs + signed)
    if steps > MAX_REPLAY_STEPS:
        raise NexusControlError(
            ErrorCode.REPLAY_INVALID,
            f"{len(events)} events of {len(people)} approvers, {runs} executions and {signed} signatures, on a request"
            f" of {size} characters, are more than is replayed",
            {"steps": steps, "limit": MAX_REPLAY_STEPS},
        )
