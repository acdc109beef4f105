"""Histories of a decision, event by event, without a store."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from nexus_control.decision import Decision
from nexus_control.events import StoredEvent, compute_event_digest
from nexus_control.facts import Facts, replay_facts
from nexus_control.values.actors import Actor
from nexus_control.values.instants import format_instant
from nexus_control.values.payloads import (
    ApprovalDeniedPayload,
    ApprovalGrantedPayload,
    ApprovalRevokedPayload,
    DecisionCreatedPayload,
    DecisionWithdrawnPayload,
    EventType,
    ExecutionCompletedPayload,
    ExecutionFailedPayload,
    ExecutionOutcomeUnknownPayload,
    ExecutionReconciledPayload,
    ExecutionRequestedPayload,
    ExecutionStartedPayload,
    Payload,
    PolicyAttachedPayload,
    TemplateCreatedPayload,
)

DECISION_ID = "d-1"
START = datetime(2026, 1, 2, 3, 0, tzinfo=UTC)

ALICE = Actor(type="human", id="alice")
BOB = Actor(type="human", id="bob")
CAROL = Actor(type="human", id="carol")
BOT = Actor(type="system", id="bot")

HEX = "ab" * 32
CREATED = DecisionCreatedPayload(goal="Rotate the keys", requested_mode="apply")
POLICY = PolicyAttachedPayload(min_approvals=1, allowed_modes=("dry_run", "apply"))
GRANTED = ApprovalGrantedPayload()
REVOKED = ApprovalRevokedPayload(reason="wrong window")
DENIED = ApprovalDeniedPayload(reason="too risky")
WITHDRAWN = DecisionWithdrawnPayload(reason="not needed")
REQUESTED = ExecutionRequestedPayload(adapter_id="python:keys", dry_run=False)
REHEARSED = ExecutionRequestedPayload(adapter_id="python:keys", dry_run=True)
STARTED = ExecutionStartedPayload(router_request_digest=HEX)
COMPLETED = ExecutionCompletedPayload(run_id="run-1", response_digest=HEX, steps_executed=2)
FAILED = ExecutionFailedPayload(error_code="BOOM", error_message="it broke", run_id="run-1")
UNKNOWN = ExecutionOutcomeUnknownPayload(reason="OWNER_GONE", detail="the process ended")
RECONCILED = ExecutionReconciledPayload(outcome="completed", evidence="seen in the console", run_id="run-9")
TEMPLATE = TemplateCreatedPayload(name="prod", min_approvals=2, allowed_modes=("dry_run",))

SAMPLES: dict[EventType, Payload] = {
    payload.event_type: payload
    for payload in (
        CREATED,
        POLICY,
        GRANTED,
        REVOKED,
        DENIED,
        WITHDRAWN,
        REQUESTED,
        STARTED,
        COMPLETED,
        FAILED,
        UNKNOWN,
        RECONCILED,
        TEMPLATE,
    )
}

Step = Payload | tuple[Payload, Actor]


def instant(minute: float) -> datetime:
    """So many minutes after the start."""
    return START + timedelta(minutes=minute)


def until(minute: float) -> str:
    """The text of an instant, for `expires_at`."""
    return format_instant(instant(minute))


def event(seq: int, payload: Payload, actor: Actor = ALICE, minute: float | None = None) -> StoredEvent:
    """An event; number n happens in minute n unless told otherwise."""
    content = payload.to_dict()
    return StoredEvent(
        decision_id=DECISION_ID,
        seq=seq,
        event_type=payload.event_type,
        ts=format_instant(instant(seq if minute is None else minute)),
        actor=actor,
        payload=content,
        digest=compute_event_digest(payload.event_type, content),
    )


def history(*steps: Step) -> list[StoredEvent]:
    """Events in order, by alice unless told otherwise; number n happens in minute n."""
    pairs = (step if isinstance(step, tuple) else (step, ALICE) for step in steps)
    return [event(seq, payload, actor) for seq, (payload, actor) in enumerate(pairs)]


def facts_of(*steps: Step) -> Facts:
    return replay_facts(DECISION_ID, history(*steps))


def decision_of(*steps: Step, at: float | None = None) -> Decision:
    """The decision after these events, judged in minute `at`, else at the last event."""
    return Decision.replay(DECISION_ID, history(*steps), None if at is None else instant(at))


def codes(reasons: Iterable[object]) -> list[str]:
    """The codes of blocking reasons."""
    return [str(getattr(reason, "code", reason)) for reason in reasons]
