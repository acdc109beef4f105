"""What a decision went through, from request to proof, as moments in their order: the content of the timeline.

    request  policy  approval  revocation  denial  withdrawal  quorum     of the decision's events
    claim  started  good  bad  unknown  settled                           of its executions and rehearsals
    step                                                                  of the run's own record
    end                                                                   a request or an approval that runs out
    proof                                                                 what the checks found about the document

Each event of the decision is one moment; the first approvals that suffice add the moment of the quorum.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from nexus_control.decision import Decision
from nexus_control.events import (
    DecisionCreatedPayload,
    EventType,
    ExecutionReconciledPayload,
    ExecutionRequestedPayload,
    ExecutionStartedPayload,
    PolicyAttachedPayload,
    StoredEvent,
)
from nexus_control.evidence.reading import Reading
from nexus_control.evidence.report import Check
from nexus_control.facts import Facts
from nexus_control.lifecycle import (
    THRESHOLD_MET,
    LifecycleEntry,
    compute_timeline,
    counted,
    display_name,
    of_groups,
)
from nexus_control.render.steps import RunStep
from nexus_control.values.instants import is_instant, parse_instant

_MOST_STEPS: Final = 6
_KINDS: Final = {
    EventType.DECISION_CREATED: "request",
    EventType.POLICY_ATTACHED: "policy",
    EventType.APPROVAL_GRANTED: "approval",
    EventType.APPROVAL_REVOKED: "revocation",
    EventType.APPROVAL_DENIED: "denial",
    EventType.DECISION_WITHDRAWN: "withdrawal",
    EventType.EXECUTION_REQUESTED: "claim",
    EventType.EXECUTION_STARTED: "started",
    EventType.EXECUTION_COMPLETED: "good",
    EventType.EXECUTION_FAILED: "bad",
    EventType.EXECUTION_OUTCOME_UNKNOWN: "unknown",
    EventType.EXECUTION_RECONCILED: "settled",
    EventType.TEMPLATE_CREATED: "policy",
}
_PROOFS: Final = {
    "log_inclusion": "in the log",
    "checkpoint_signature": "checkpoint",
    "package_signature": "package signed",
    "approval_signatures": "approvals signed",
    "witness_quorum": "witnesses",
    "timestamp": "timestamp",
}
_CERTAIN: Final = {"pass": "proof", "fail": "bad", "info": "unknown"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """One point of the picture. `ts` is an instant; None where the document does not say when it was."""

    kind: str
    label: str
    who: str = ""
    ts: str | None = None


def moments_of(evidence: Reading, decision: Decision, steps: Sequence[RunStep]) -> tuple[Moment, ...]:
    """All moments of a decision, oldest first; then its proof, which has no time."""
    happened = list(_happened(decision, steps))
    for end in _ends(decision.facts):
        at = parse_instant(end.ts or "")
        before = [n for n, each in enumerate(happened) if each.ts and parse_instant(each.ts) < at]
        if before[-1:] != [len(happened) - 1] or decision.facts.phase == "open":
            happened.insert(before[-1] + 1 if before else 0, end)
    return (*happened, *_proof(evidence))


def _happened(decision: Decision, steps: Sequence[RunStep]) -> Iterator[Moment]:
    linked, rehearsing = decision.facts.linked_execution, False
    rehearsals = {each.seq for each in decision.facts.progress.executions if each.rehearsal}
    last_started = max(
        (e.seq for e in decision.events if e.event_type is EventType.EXECUTION_STARTED), default=-1
    )
    by_seq = {event.seq: event for event in decision.events}
    for entry in compute_timeline(decision):
        if entry.event_type == EventType.EXECUTION_REQUESTED:
            rehearsing = entry.seq in rehearsals
        yield _moment(entry, by_seq[entry.seq], decision.facts, rehearsing=rehearsing)
        if linked is not None and entry.seq == last_started and not rehearsing:
            yield from _steps(steps)


def _moment(entry: LifecycleEntry, event: StoredEvent, facts: Facts, *, rehearsing: bool) -> Moment:
    if entry.event_type == THRESHOLD_MET:
        return Moment(kind="quorum", label=entry.label, ts=entry.ts)
    kind = _KINDS[event.event_type]
    label, who = entry.label, entry.actor
    match event.content:
        case DecisionCreatedPayload(requested_mode=mode):
            label = f"requested {mode.replace('_', ' ')}"
        case PolicyAttachedPayload():
            needed = facts.policy.min_approvals if facts.policy else 0
            slots = of_groups(facts.policy.required_from if facts.policy else None)
            label, who = f"policy: {counted(needed, 'approval')}{slots}", ""
        case ExecutionRequestedPayload(dry_run=dry_run):
            label = "rehearsal" if rehearsing else "dry run claimed" if dry_run else "claimed"
        case ExecutionStartedPayload():
            label, who = "handed to the router", ""
        case ExecutionReconciledPayload(outcome=outcome):
            label = f"settled: {outcome}"
        case _ if kind in ("good", "bad", "unknown"):
            label, who = f"{'rehearsal ' if rehearsing else ''}{label}", ""
        case _:
            pass
    return Moment(kind=kind, label=label, who=who, ts=entry.ts)


def _steps(steps: Sequence[RunStep]) -> Iterator[Moment]:
    """The first steps and the last one; those between are one moment with their number."""
    kept = steps if len(steps) <= _MOST_STEPS else steps[: _MOST_STEPS - 2]
    yield from map(_step, kept)
    if len(steps) > len(kept):
        between = steps[len(kept) : -1]
        failed = sum(step.line["status"] != "ok" for step in between)
        label = f"{counted(len(between), 'more step')}{f', {failed} not ok' if failed else ''}"
        yield Moment(kind="step", label=label, ts=_at(between[-1]))
        yield _step(steps[-1])


def _step(step: RunStep) -> Moment:
    status: str = step.line["status"]
    kind = {"ok": "step", "error": "bad"}.get(status, "unknown")
    return Moment(kind=kind, label=f"step {status}", who=step.line["step_id"], ts=_at(step))


def _at(step: RunStep) -> str | None:
    return next((ts for ts in (step.ended_at, step.started_at) if ts and is_instant(ts)), None)


def _ends(facts: Facts) -> Iterable[Moment]:
    """When the request and its approvals run out."""
    if facts.attached is not None and facts.attached.expires_at is not None:
        yield Moment(kind="end", label="the request ends", ts=facts.attached.expires_at)
    for approval in facts.progress.approvals:
        if approval.expires_at is not None and approval.revoked_at is None:
            yield Moment(
                kind="end", label="approval ends", who=display_name(approval.actor), ts=approval.expires_at
            )


def _proof(evidence: Reading) -> Iterator[Moment]:
    whole, found = evidence.whole, {check.name: check for check in evidence.checks}
    if whole is not None and is_instant(whole.meta.exported_at):
        yield Moment(kind="proof", label=f"{evidence.kind} exported", ts=whole.meta.exported_at)
    for name, label in _PROOFS.items():
        check = found.get(name)
        if check is not None and check.status in _CERTAIN:
            yield Moment(kind=_CERTAIN[check.status], label=label, who=_said(check))


def _said(check: Check) -> str:
    """What a check found, as far as there is room for it; all checks are said below the picture."""
    if check.name == "approval_signatures" and check.status == "pass":
        return f"{check.detail.partition(' signed')[0]}, by trusted people"
    return check.detail if check.status != "info" else "self-signed"
