"""Events: the only facts. Everything else - state, approvals, timelines, artifacts - is computed from them.

A stored event has a `seq` that starts at 0 without gaps, the id `evt_<decision_id>_<seq>`, and a frozen digest:
the bare sha256 of `canonical_json({"event_type": ..., "payload": ...})`. Its `ts` is kept exactly as written.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from json.encoder import encode_basestring
from typing import Any, ClassVar, Literal, TypeAlias

from typing_extensions import TypedDict

from nexus_control.canonical_json import canonical_json
from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.integrity import sha256_hex
from nexus_control.values.actors import Actor, ActorData
from nexus_control.values.instants import parse_instant
from nexus_control.values.payloads import (
    ApprovalDeniedPayload,
    ApprovalGrantedPayload,
    ApprovalRevokedPayload,
    DecisionCreatedPayload,
    DecisionWithdrawnPayload,
    Elicitation,
    EventType,
    ExecutionCompletedPayload,
    ExecutionFailedPayload,
    ExecutionOutcomeUnknownPayload,
    ExecutionReconciledPayload,
    ExecutionRequestedPayload,
    ExecutionStartedPayload,
    Payload,
    PolicyAttachedPayload,
    SignedStatement,
    TemplateCreatedPayload,
    decode_payload,
    decode_payloads,
)

__all__ = [
    "Actor",
    "ApprovalDeniedPayload",
    "ApprovalGrantedPayload",
    "ApprovalRevokedPayload",
    "DecisionCreatedPayload",
    "DecisionWithdrawnPayload",
    "Elicitation",
    "EventType",
    "ExecutionCompletedPayload",
    "ExecutionFailedPayload",
    "ExecutionOutcomeUnknownPayload",
    "ExecutionReconciledPayload",
    "ExecutionRequestedPayload",
    "ExecutionStartedPayload",
    "Origin",
    "Payload",
    "PolicyAttachedPayload",
    "SignedStatement",
    "StoredEvent",
    "TemplateCreatedPayload",
    "compute_event_digest",
    "digest_of_canonical_payload",
    "event_id",
    "parse_event_type",
    "read_ahead",
]

Origin: TypeAlias = Literal["local", "imported"]


def read_ahead(events: Iterable["StoredEvent"]) -> None:
    """Decode the payloads of events together, type by type. A type of which one does not decode is left: that one is
    refused when its `content` is asked for.
    """
    by_type: dict[EventType, list[StoredEvent]] = {}
    for event in events:
        by_type.setdefault(event.event_type, []).append(event)
    for event_type, several in by_type.items():
        contents = decode_payloads(event_type, [event.payload for event in several])
        for event, content in zip(several, contents or (), strict=False):
            _keep(event, "_content", content)


_keep = object.__setattr__
_BY_NAME = {event_type.value: event_type for event_type in EventType}


def event_id(decision_id: str, seq: int) -> str:
    return f"evt_{decision_id}_{seq}"


def compute_event_digest(event_type: EventType | str, payload: Mapping[str, object]) -> str:
    """The frozen digest of an event, bare hex. It does not cover actor and time; the chain hash does."""
    return digest_of_canonical_payload(event_type, canonical_json(payload))


def digest_of_canonical_payload(event_type: EventType | str, payload_text: str) -> str:
    """Like `compute_event_digest`, for a payload that is canonical JSON already."""
    return sha256_hex(f'{{"event_type":{encode_basestring(str(event_type))},"payload":{payload_text}}}')


def parse_event_type(name: str) -> EventType:
    """The event type of this name. Raises REPLAY_INVALID."""
    try:
        return _BY_NAME[name]
    except KeyError:
        raise NexusControlError(ErrorCode.REPLAY_INVALID, f"unknown event type {name!r:.80}") from None


class EventData(TypedDict):
    """A stored event as JSON."""

    event_id: str
    decision_id: str
    seq: int
    event_type: str
    ts: str
    actor: ActorData
    payload: dict[str, Any]
    digest: str


@dataclass(frozen=True)
class StoredEvent:
    """One event as it was stored.

        >>> event = store.get_events(request_id)[-1]
        >>> str(event.event_type), event.seq, event.actor["id"], event.payload["assurance"]
        ('APPROVAL_GRANTED', 2, 'alice', 'declared')

    `payload` is the JSON object as written; `content` is the same, decoded. `ts` is UTC text as written; `instant` is
    the same as a datetime. `digest` is bare hex. `origin` is "local", or "imported" for an event that came in a bundle.
    """

    decision_id: str
    seq: int
    event_type: EventType
    ts: str
    actor: Actor
    payload: Mapping[str, Any]
    digest: str
    origin: Origin = "local"

    # Cached by hand: `cached_property` takes a lock until Python 3.12, and every event passes here. Kept without asking
    # for `__dict__`, which would become an object of its own.
    _instant: ClassVar[datetime | None] = None
    _content: ClassVar[Payload | None] = None

    @property
    def event_id(self) -> str:
        return event_id(self.decision_id, self.seq)

    @property
    def instant(self) -> datetime:
        """`ts`, in UTC."""
        known = self._instant
        if known is None:
            known = parse_instant(self.ts)
            _keep(self, "_instant", known)
        return known

    @property
    def content(self) -> Payload:
        """The decoded payload. Raises REPLAY_INVALID."""
        known = self._content
        if known is None:
            known = decode_payload(self.event_type, self.payload)
            _keep(self, "_content", known)
        return known

    def to_dict(self) -> EventData:
        """The event as JSON: event_id, decision_id, seq, event_type, ts, actor, payload, digest.

        >>> decision.events[0].to_dict()["payload"]["goal"]
        'Rotate the key'
        """
        return {
            "event_id": self.event_id,
            "decision_id": self.decision_id,
            "seq": self.seq,
            "event_type": str(self.event_type),
            "ts": self.ts,
            "actor": self.actor.to_dict(),
            "payload": dict(self.payload),
            "digest": self.digest,
        }
