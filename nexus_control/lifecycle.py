"""Lifecycle: what blocks a decision, how far it has come, and what happened, all at one instant.

The timeline has one entry for each event. After each approval that met the quorum it has another one with the same
`seq`, of type THRESHOLD_MET and labelled `quorum met`. Programs decide by `event_type`; `label` is its word for people.
The last `timeline_limit` entries are kept; None keeps all. A system is written `system:<id>`, a person as the id.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from nexus_control.approvals import MOST_QUORUMS, Authority
from nexus_control.blocking import BlockingReason, blocking_reasons
from nexus_control.decision import Decision, DecisionState, standing_at
from nexus_control.events import Actor, EventType, StoredEvent
from nexus_control.facts import Facts, fold
from nexus_control.policy import Policy
from nexus_control.values.groups import slot_words
from nexus_control.values.payloads import Effect
from nexus_control.values.records import encode

DEFAULT_TIMELINE_LIMIT = MOST_QUORUMS
THRESHOLD_MET = "THRESHOLD_MET"


@dataclass(frozen=True, slots=True)
class LifecycleEntry:
    """One line of the timeline.

        >>> entry = compute_timeline(decision)[-1]
        >>> entry.label, entry.summary
        ('approved', 'alice approved')

    `ts` is the event's, as written. Programs decide by `event_type`; `label` is its word for people. `category` is
    decision, policy, approval, execution or template. `actor` is a person's id, or `system:<id>`.
    """

    ts: str
    category: str
    label: str
    summary: str
    actor: str
    event_type: str
    seq: int

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON.

        >>> compute_timeline(decision)[0].to_dict()["event_type"]
        'DECISION_CREATED'
        """
        return encode(self)


@dataclass(frozen=True, slots=True)
class LifecycleProgress:
    """How far a decision has come.

        >>> progress = compute_progress(decision)
        >>> progress.approvals_current, progress.approvals_required, progress.ready_to_execute
        (1, 2, False)

    `execution_outcome` is the outcome of the last execution that is not a rehearsal: running, completed, failed or
    unknown.
    """

    approvals_current: int
    approvals_required: int
    ready_to_execute: bool
    has_executed: bool
    execution_outcome: str | None

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON, and `approvals` as "current/required".

        >>> compute_progress(decision).to_dict()["approvals"]
        '1/2'
        """
        return {"approvals": f"{self.approvals_current}/{self.approvals_required}", **encode(self)}


@dataclass(frozen=True, slots=True)
class Lifecycle:
    """What blocks a decision, how far it has come, and what happened to it.

        >>> lifecycle = compute_lifecycle(decision)
        >>> lifecycle.is_blocked, lifecycle.timeline_total
        (True, 3)

    `timeline` holds the last entries; `timeline_truncated` says whether there are earlier ones.
    """

    state: DecisionState
    is_blocked: bool
    blocking_reasons: tuple[BlockingReason, ...]
    progress: LifecycleProgress
    timeline: tuple[LifecycleEntry, ...]
    timeline_total: int
    timeline_truncated: bool

    def to_dict(self) -> dict[str, Any]:
        """The lifecycle as JSON: the fields, with lists for tuples.

        >>> compute_lifecycle(decision).to_dict()["state"]
        'pending_approval'
        """
        return {
            "state": str(self.state),
            "is_blocked": self.is_blocked,
            "blocking_reasons": [reason.to_dict() for reason in self.blocking_reasons],
            "progress": self.progress.to_dict(),
            "timeline": [entry.to_dict() for entry in self.timeline],
            "timeline_total": self.timeline_total,
            "timeline_truncated": self.timeline_truncated,
        }


def compute_lifecycle(
    decision: Decision,
    events: Sequence[StoredEvent] | None = None,
    policy: Policy | None = None,
    *,
    timeline_limit: int | None = DEFAULT_TIMELINE_LIMIT,
    at: datetime | None = None,
    authority: Authority = None,
) -> Lifecycle:
    """The lifecycle at `at`, else when the decision was judged.

        >>> compute_lifecycle(decision, timeline_limit=None).blocking_reasons[0].message
        'Missing 1 approval (1 of 2)'

    `events` and `policy` default to the decision's own. `timeline_limit` is how many of the last entries are kept; None
    keeps all. `authority` is the set of `seq` of the approvals that count; None counts all.
    """
    at = at or decision.as_of
    facts = decision.facts if policy is None else decision.facts._replace(policy=policy)
    timeline = compute_timeline(Decision(facts, decision.events, at), events)
    return _lifecycle(facts, at, authority, _last(timeline, timeline_limit), len(timeline))


def recent_lifecycle(
    facts: Facts, recent: Sequence[StoredEvent], at: datetime, authority: Authority = None
) -> Lifecycle:
    """The lifecycle of these facts, with a timeline of their last `DEFAULT_TIMELINE_LIMIT` entries. `recent` are as
    many of the last events. The facts know which of these met the quorum, and how many did before.
    """
    met, entries = set(facts.progress.quorums.last), list[LifecycleEntry]()
    for event in recent:
        entries.append(_entry(event))
        if event.seq in met:
            entries.append(_threshold(facts, event))
    total = facts.event_count + facts.progress.quorums.total
    return _lifecycle(facts, at, authority, _last(tuple(entries), DEFAULT_TIMELINE_LIMIT), total)


def _lifecycle(
    facts: Facts, at: datetime, authority: Authority, kept: tuple[LifecycleEntry, ...], total: int
) -> Lifecycle:
    reasons = blocking_reasons(facts, at, authority)
    state, current = standing_at(facts, at, authority)
    return Lifecycle(
        state=state,
        is_blocked=bool(reasons),
        blocking_reasons=reasons,
        progress=_progress(facts, current, is_ready=not reasons),
        timeline=kept,
        timeline_total=total,
        timeline_truncated=len(kept) < total,
    )


def compute_blocking_reasons(
    decision: Decision, *, at: datetime | None = None, authority: Authority = None
) -> tuple[BlockingReason, ...]:
    """Why the decision cannot be executed at `at`, else when it was judged.

        >>> [reason.code for reason in compute_blocking_reasons(decision)]
        ['MISSING_APPROVALS']

    Empty when nothing blocks it.
    """
    return blocking_reasons(decision.facts, at or decision.as_of, authority)


def compute_progress(
    decision: Decision, *, at: datetime | None = None, authority: Authority = None
) -> LifecycleProgress:
    """How far the decision has come at `at`, else when it was judged.

    >>> compute_progress(decision).ready_to_execute
    False
    """
    facts, at = decision.facts, at or decision.as_of
    current = standing_at(facts, at, authority)[1]
    return _progress(facts, current, is_ready=not blocking_reasons(facts, at, authority))


def _progress(facts: Facts, current: int, *, is_ready: bool) -> LifecycleProgress:
    execution = facts.linked_execution
    return LifecycleProgress(
        approvals_current=current,
        approvals_required=facts.policy.min_approvals if facts.policy else 0,
        ready_to_execute=is_ready,
        has_executed=execution is not None,
        execution_outcome=execution.outcome if execution else None,
    )


def compute_timeline(
    decision: Decision, events: Sequence[StoredEvent] | None = None, *, timeline_limit: int | None = None
) -> tuple[LifecycleEntry, ...]:
    """Everything that happened, oldest first.

        >>> [entry.label for entry in compute_timeline(decision)]
        ['created', 'policy', 'approved']

    `timeline_limit` keeps that many of the last entries; None keeps all.
    """
    entries: list[LifecycleEntry] = []
    facts = Facts(decision_id=decision.decision_id)
    for event in decision.events if events is None else events:
        before, facts = facts, fold(facts, event)
        entries.append(_entry(event))
        if event.event_type is EventType.APPROVAL_GRANTED and _meets_quorum(before, facts, event.instant):
            entries.append(_threshold(facts, event))
    return _last(tuple(entries), timeline_limit)


def _last(entries: tuple[LifecycleEntry, ...], limit: int | None) -> tuple[LifecycleEntry, ...]:
    return entries if limit is None else entries[max(0, len(entries) - limit) :]


def _meets_quorum(before: Facts, after: Facts, at: datetime) -> bool:
    return after.phase == "open" and after.is_approved(at) and not before.is_approved(at)


def _entry(event: StoredEvent) -> LifecycleEntry:
    category, label = _NAMES[event.event_type]
    who = display_name(event.actor)
    return LifecycleEntry(
        ts=event.ts,
        category=category,
        label=label,
        summary=_SUMMARIES[event.event_type](who, event.content),
        actor=who,
        event_type=str(event.event_type),
        seq=event.seq,
    )


def _threshold(facts: Facts, event: StoredEvent) -> LifecycleEntry:
    required = facts.policy.min_approvals if facts.policy else 0
    slots = facts.policy.required_from if facts.policy else None
    return LifecycleEntry(
        ts=event.ts,
        category="approval",
        label="quorum met",
        summary=f"Quorum met: {required} of {required} approvals{of_groups(slots)}",
        actor="system:nexus-control",
        event_type=THRESHOLD_MET,
        seq=event.seq,
    )


def display_name(actor: Actor) -> str:
    """People by their id, systems as `system:<id>`."""
    return actor.id if actor.type == "human" else str(actor)


def effect_words(effect: Effect) -> str:
    """What an execution is known to have done, in words."""
    return _EFFECTS[effect]


_EFFECTS: dict[Effect, str] = {
    "none": "nothing was done",
    "done": "something was done",
    "unknown": "what was done is unknown",
}


def _because(reason: str | None) -> str:
    return f": {reason}" if reason else ""


def counted(number: int, noun: str) -> str:
    """`1 approval`, `2 approvals`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def of_groups(slots: Mapping[str, int] | None) -> str:
    """Behind a number of approvals, those of groups among them: ` (1 of security, 2 of platform)`; empty without."""
    return f" ({slot_words(slots)})" if slots else ""


_NAMES: dict[EventType, tuple[str, str]] = {
    EventType.DECISION_CREATED: ("decision", "created"),
    EventType.POLICY_ATTACHED: ("policy", "policy"),
    EventType.APPROVAL_GRANTED: ("approval", "approved"),
    EventType.APPROVAL_REVOKED: ("approval", "revoked"),
    EventType.APPROVAL_DENIED: ("approval", "denied"),
    EventType.DECISION_WITHDRAWN: ("decision", "withdrawn"),
    EventType.EXECUTION_REQUESTED: ("execution", "requested"),
    EventType.EXECUTION_STARTED: ("execution", "started"),
    EventType.EXECUTION_COMPLETED: ("execution", "completed"),
    EventType.EXECUTION_FAILED: ("execution", "failed"),
    EventType.EXECUTION_OUTCOME_UNKNOWN: ("execution", "outcome unknown"),
    EventType.EXECUTION_RECONCILED: ("execution", "reconciled"),
    EventType.TEMPLATE_CREATED: ("template", "template created"),
}
"""Category and label."""

_SUMMARIES: dict[EventType, Callable[[str, Any], str]] = {
    EventType.DECISION_CREATED: lambda who, p: f"{who} requested {p.requested_mode}: {p.goal}",
    EventType.POLICY_ATTACHED: lambda _, p: (
        f"Policy attached: {counted(p.min_approvals, 'approval')}{of_groups(p.required_from)}, modes "
        f"{', '.join(p.allowed_modes)}"
    ),
    EventType.APPROVAL_GRANTED: lambda who, p: f"{who} approved{_because(p.comment)}",
    EventType.APPROVAL_REVOKED: lambda who, p: f"{who} revoked their approval{_because(p.reason)}",
    EventType.APPROVAL_DENIED: lambda who, p: f"{who} denied{_because(p.reason)}",
    EventType.DECISION_WITHDRAWN: lambda who, p: f"{who} withdrew the request{_because(p.reason)}",
    EventType.EXECUTION_REQUESTED: lambda who, p: (
        f"{who} requested {'a dry run' if p.dry_run else 'execution'} by {p.adapter_id}"
    ),
    EventType.EXECUTION_STARTED: lambda _who, _payload: "Handed to the router",
    EventType.EXECUTION_COMPLETED: lambda _, p: (
        f"Run {p.run_id} completed, {counted(p.steps_executed, 'step')}"
    ),
    EventType.EXECUTION_FAILED: lambda _, p: (
        f"Failed ({effect_words(p.effect or 'unknown')}): {p.error_code}{_because(p.error_message)}"
    ),
    EventType.EXECUTION_OUTCOME_UNKNOWN: lambda _, p: f"Outcome unknown: {p.reason}{_because(p.detail)}",
    EventType.EXECUTION_RECONCILED: lambda who, p: f"{who} settled it as {p.outcome}{_because(p.evidence)}",
    EventType.TEMPLATE_CREATED: lambda who, p: f"{who} created template {p.name}",
}
