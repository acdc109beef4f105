"""Which events are told, and what of them goes out.

    {"type": "pending", "timestamp": "2026-01-02T03:04:05.000006+00:00",
     "data": {"event_id": "evt_0d1c…_1", "what": "pending", "request_id": "0d1c…", "requester": "system:agent",
              "decided_by": null, "missing_approvals": 2, "link": "https://approve.example.org/requests/0d1c…"}}

`what` is the state that the event leaves its request in:

    pending     approvals are missing, and people can give them: the request was made, or its required rehearsal came,
                or one more approval was given or taken back
    approved    the approvals are enough
    denied      somebody denied it
    executed    it was carried out, or a person found that out
    failed      the execution failed, or a person found that out
    unknown     nobody knows the outcome of an execution; a person must settle it

Not told are a withdrawal, the beginning of an execution, any other rehearsal that ended, an event that is illegal
where it stands, and what came with an import. The state is judged at the event's own time, so an event that is sent
again says the same.

Never sent are the plan, arguments, outputs, comments and reasons, and nothing by which anybody could decide: `link` is
the inbox's page without a token. The goal goes out only where the sink says `goal = true`, as one line of at most 200
characters.
"""

from dataclasses import replace
from typing import Any, Final
from urllib.parse import quote

from nexus_control.approvals import Authority
from nexus_control.blocking import missing_approvals
from nexus_control.decision import DecisionState, state_at
from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.events import EventType, StoredEvent, event_id
from nexus_control.facts import Facts, step
from nexus_control.lifecycle import counted
from nexus_control.log.entries import to_event
from nexus_control.log.replaying import replay
from nexus_control.log.session import ReadSession
from nexus_control.notify.sinks import Message, Sink, What
from nexus_control.storage.contract import Entry, Placed
from nexus_control.store import DecisionStore
from nexus_control.usecases.views import authority_now
from nexus_control.values.actors import Actor
from nexus_control.values.executions import Created
from nexus_control.values.instants import format_instant
from nexus_control.values.pages import page_of

LONGEST_GOAL: Final = 200
_MOST_KNOWN: Final = 64
_MAY_SAY: Final[dict[str, frozenset[What]]] = {
    EventType.POLICY_ATTACHED: frozenset(("pending", "approved")),
    EventType.APPROVAL_GRANTED: frozenset(("pending", "approved")),
    EventType.APPROVAL_REVOKED: frozenset(("pending", "approved")),
    EventType.APPROVAL_DENIED: frozenset(("denied",)),
    EventType.EXECUTION_COMPLETED: frozenset(("executed", "pending")),
    EventType.EXECUTION_FAILED: frozenset(("failed",)),
    EventType.EXECUTION_OUTCOME_UNKNOWN: frozenset(("unknown",)),
    EventType.EXECUTION_RECONCILED: frozenset(("executed", "failed", "pending")),
}
"""The words for an event of each type. A run leaves a request `pending` where it was the rehearsal that is required."""
_WHAT: Final[dict[DecisionState, What]] = {
    DecisionState.PENDING_APPROVAL: "pending",
    DecisionState.APPROVED: "approved",
    DecisionState.DENIED: "denied",
    DecisionState.COMPLETED: "executed",
    DecisionState.FAILED: "failed",
    DecisionState.OUTCOME_UNKNOWN: "unknown",
}
_DECIDING: Final = frozenset({
    EventType.APPROVAL_GRANTED, EventType.APPROVAL_REVOKED, EventType.APPROVAL_DENIED, EventType.EXECUTION_RECONCILED
})  # fmt: skip
_WORDS: Final[dict[What, str]] = {
    "pending": "waits for approval",
    "approved": "is approved",
    "denied": "was denied",
    "executed": "was executed",
    "failed": "failed",
    "unknown": "has an unknown outcome",
}


class Replays:
    """The facts before the event of each decision that was looked at last. So a history is read once, however many of
    its events are told.
    """

    def __init__(self) -> None:
        self._before: dict[tuple[str, int], Facts] = {}

    def at(self, session: ReadSession, entry: Entry) -> tuple[Facts, StoredEvent]:
        """The facts before the event of this entry, and the event. Raises REPLAY_INVALID."""
        key, stream, stop = (entry.stream, entry.generation), entry.stream, entry.seq + 1
        before = self._before.get(key, Facts(stream))
        if before.event_count >= stop:
            before = Facts(stream)
        entries = session.rows.entries("decision", stream, entry.generation, before.event_count, stop)
        if before.event_count + len(entries) != stop:
            raise NexusControlError(ErrorCode.REPLAY_INVALID, "The log does not hold this event any more")
        *earlier, event = map(to_event, entries)
        if before.event_count == 0:
            imported = sum(each.origin == "imported" for each in earlier)  # they are the first ones
            before, earlier = replay(before, earlier[:imported]).after_import(), earlier[imported:]
        before = replay(before, earlier)
        if len(self._before) >= _MOST_KNOWN and key not in self._before:
            self._before.clear()
        self._before[key] = before
        return before, event


def is_told(placed: Placed, sink: Sink) -> bool:
    """Whether the sink may be told of an entry, before anything is computed from it."""
    entry = placed.entry
    if entry.kind != "decision" or entry.origin != "local":
        return False
    return not _MAY_SAY.get(entry.event_type, frozenset()).isdisjoint(sink.events)


def message_id_of(decision_id: str, seq: int, generation: int) -> str:
    """The event's id, as a header can carry it. Ids of a later generation say so: an import can begin a decision's
    numbers again.

        >>> message_id_of("0d1c", 2, 0), message_id_of("0d1c", 2, 1)
        ('evt_0d1c_2', 'evt_0d1c_2_1')

    """
    written = quote(event_id(decision_id, seq), safe="")
    return written if generation == 0 else f"{written}_{generation}"


def message_of(
    store: DecisionStore,
    session: ReadSession,
    placed: Placed,
    sink: Sink,
    inbox: str | None,
    replays: Replays | None = None,
) -> Message | None:
    """What the sink is told of this entry, for which `is_told`; None where it is told nothing. Raises REPLAY_INVALID
    for a history that cannot be read, and the faults of the store.
    """
    entry = placed.entry
    decision = session.decision(entry.stream)
    now = decision.facts.created
    if now is not None and decision.generation == entry.generation and not _has_labels(now, sink):
        return None  # most are left out here, without a look at their history
    before, event = (replays or Replays()).at(session, entry)
    facts = step(before, event)
    if facts is None or facts.created is None:
        return None
    earlier = replace(decision, facts=facts, generation=entry.generation, imported_count=before.given_from)
    authority = authority_now(store, session, earlier, event.instant)
    what = _what(facts, event, authority)
    if what is None or what not in sink.events or not _has_labels(facts.created, sink):
        return None
    missing = 0 if what != "pending" else _missing(facts, event, authority)
    return _message(
        message_id=message_id_of(entry.stream, entry.seq, entry.generation),
        event=event,
        what=what,
        facts=facts,
        missing=missing,
        link=None if inbox is None else page_of(inbox, entry.stream),
        goal=_one_line(facts.created.goal) if sink.goal else None,
    )


def message_of_a_test(message_id: str, at: str, inbox: str | None) -> Message:
    """A message that says that it is a test. It is about no request."""
    text = "nexus-control notify test: this is a test, and nothing happened."
    document = {
        "type": "test",
        "timestamp": at,
        "data": {"event_id": message_id, "what": "test", "link": inbox},
    }
    return Message(message_id=message_id, request_id=None, document=document, title="Test", text=text)


def _has_labels(created: Created, sink: Sink) -> bool:
    return set(sink.labels) <= set(created.labels)


def _what(facts: Facts, event: StoredEvent, authority: Authority) -> What | None:
    what = _WHAT.get(state_at(facts, event.instant, authority))
    if what not in _MAY_SAY[event.event_type]:
        return None
    if what == "pending":
        is_of_a_run = event.event_type.startswith("EXECUTION_")
        if facts.rehearsal_lack(event.instant) is not None or (is_of_a_run and not facts.needs_rehearsal):
            return None  # nobody can approve it now; or the rehearsal changed nothing about that
    return what


def _missing(facts: Facts, event: StoredEvent, authority: Authority) -> int:
    at, required = event.instant, facts.policy.min_approvals if facts.policy else 0
    return missing_approvals(facts.current_approvals(at, authority), required, facts.lacking(at, authority))


def _message(
    *,
    message_id: str,
    event: StoredEvent,
    what: What,
    facts: Facts,
    missing: int,
    link: str | None,
    goal: str | None,
) -> Message:
    if facts.created is None:
        raise NexusControlError(ErrorCode.REPLAY_INVALID, "an event of a request that was never made")
    requester = _name(facts.created.requester)
    decided_by = _name(event.actor) if event.event_type in _DECIDING else None
    data: dict[str, Any] = {
        "event_id": message_id,
        "what": what,
        "request_id": event.decision_id,
        "requester": requester,
        "decided_by": decided_by,
        "missing_approvals": missing,
        "link": link,
    }
    if goal is not None:
        data["goal"] = goal
    title = f"Request {event.decision_id[:8]} {_WORDS[what]}"
    said = [f"Asked by {requester}."]
    said += [f"{counted(missing, 'approval')} missing."] if missing else []
    said += [f"Decided by {decided_by}."] if decided_by else []
    said += [f"Goal: {goal}"] if goal else []
    said += [link] if link else []
    return Message(
        message_id=message_id,
        request_id=event.decision_id,
        document={"type": what, "timestamp": format_instant(event.instant), "data": data},
        title=title,
        text=" ".join(said),
    )


def _name(actor: Actor) -> str:
    return f"{actor.type}:{actor.id}"


def _one_line(goal: str) -> str:
    """The goal as one line without control characters."""
    plain = "".join(character if character.isprintable() else " " for character in goal)
    line = " ".join(plain.split())
    return line if len(line) <= LONGEST_GOAL else f"{line[: LONGEST_GOAL - 1]}…"
