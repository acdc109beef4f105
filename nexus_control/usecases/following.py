"""Waiting for a decision, and following a store: the events in the order in which they were committed."""

import time
from collections.abc import Callable
from typing import Final

from nexus_control.decision import DecisionState
from nexus_control.log.entries import to_event
from nexus_control.storage.contract import Placed
from nexus_control.store import DecisionStore
from nexus_control.usecases.answers import EventsData, FeedEvent, WaitData
from nexus_control.usecases.arguments import EventsArguments, StatusArguments, WaitArguments, validated
from nexus_control.usecases.views import current_view, status
from nexus_control.values.payloads import StateName

UNDER_WAY: Final[frozenset[StateName]] = frozenset({"draft", "pending_approval", "executing"})
"""The states that pass: somebody is still to approve, or a run is still to end."""
FIRST_PAUSE: Final = 0.05
LONGEST_PAUSE: Final = 1.0
_BATCH: Final = 500


def wait_for(
    store: DecisionStore,
    arguments: WaitArguments,
    *,
    router: object = None,
    pause: Callable[[float], object] = time.sleep,
) -> WaitData:
    """The status of the decision once it is in a state that was waited for, or when the time is up. It looks at short
    intervals, because another process may change the store at any time. `pause` waits for a number of seconds.
    """
    wanted = frozenset(arguments.until) if arguments.until else frozenset(map(str, DecisionState)) - UNDER_WAY
    left, step = float(arguments.timeout), FIRST_PAUSE
    while not (is_there := _state(store, arguments.request_id) in wanted) and left > 0:
        pause(min(step, left))
        left, step = left - step, min(step * 2, LONGEST_PAUSE)
    asked = validated(StatusArguments, {"request_id": arguments.request_id})
    data = status(store, asked, router=router)
    return {**data, "timed_out": not is_there and data["state"] not in wanted}


def _state(store: DecisionStore, request_id: str) -> str:
    standing, _ = current_view(store, request_id)
    return standing["state"]


def events_since(store: DecisionStore, arguments: EventsArguments) -> EventsData:
    """The events of decisions from position `cursor` on, at most `limit`, and the position to go on from."""
    events: list[FeedEvent] = []
    cursor = arguments.cursor
    with store.reading() as session:
        while len(events) < arguments.limit and (batch := session.rows.log(cursor, cursor + _BATCH)):
            for placed in batch:
                cursor = placed.position + 1
                if placed.entry.kind == "decision":
                    events.append(_feed_event(placed))
                if len(events) == arguments.limit:
                    break
    return {"events": events, "cursor": cursor}


def _feed_event(placed: Placed) -> FeedEvent:
    event = to_event(placed.entry)
    return {
        "position": placed.position,
        "request_id": event.decision_id,
        "generation": placed.entry.generation,
        "seq": event.seq,
        "event_type": str(event.event_type),
        "ts": event.ts,
        "actor": event.actor.to_dict(),
        "payload": dict(event.payload),
        "origin": event.origin,
    }
