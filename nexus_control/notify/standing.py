"""How the sinks stand: how far each was told, since when it fails, and what it was not told.

Everything here is read from the store, so it is the same for every process, whether or not a worker runs.
"""

from collections.abc import Sequence
from functools import partial
from typing import Final, TypedDict

from nexus_control.errors import ErrorCode, NexusControlError, invalid_argument
from nexus_control.lifecycle import counted
from nexus_control.log.session import WriteSession
from nexus_control.notify.delivering import trying_of, unreadable
from nexus_control.notify.messages import Replays, is_told, message_of
from nexus_control.notify.sinks import Reply, Sink, tried
from nexus_control.storage.sink_rows import EventSetAside
from nexus_control.store import DecisionStore

_NOT_SENT: Final = "nothing was sent, because the sink is no longer told of such events"


class AsideLine(TypedDict):
    event_id: str
    at: str
    why: str


class SinkLine(TypedDict):
    """`behind` counts the entries of the log that are still to be looked at. `failing_since` is None for a sink that
    took its last message.
    """

    name: str
    cursor: int
    behind: int
    failing_since: str | None
    tries: int
    next_try: str | None
    why: str | None
    set_aside: list[AsideLine]


def sink_lines(store: DecisionStore) -> list[SinkLine]:
    """A line for each sink that the store knows, by name."""
    with store.reading() as session:
        size, rows = session.rows.log_size(), session.rows.sinks()
        aside = {row.name: session.rows.events_set_aside(row.name) for row in rows}
    lines: list[SinkLine] = []
    for row in rows:
        trying = trying_of(row)
        lines.append(
            {
                "name": row.name,
                "cursor": row.cursor,
                "behind": max(0, size - row.cursor),
                "failing_since": trying and trying.since,
                "tries": trying.tries if trying else 0,
                "next_try": trying and trying.next,
                "why": trying and trying.why,
                "set_aside": [
                    {"event_id": each.event_id, "at": each.at, "why": each.why} for each in aside[row.name]
                ],
            }
        )
    return lines


def problems_of_sinks(lines: Sequence[SinkLine]) -> list[str]:
    """What is wrong with the sinks, in one line each: those that fail, and the events that they were not told."""
    found: list[str] = []
    for line in lines:
        if line["failing_since"] is not None:
            found.append(
                f"{line['name']} has failed since {line['failing_since']}, {counted(line['tries'], 'time')}:"
                f" {line['why']}"
            )
        found += [
            f"{line['name']} was not told of {each['event_id']}, set aside at {each['at']}: {each['why']}"
            for each in line["set_aside"]
        ]
    return found


class RetriedLine(TypedDict):
    """An event that is neither `delivered` nor set aside was dropped: the sink is no longer told of such events. One
    that is both was sent, and the store could not record it: it is sent again.
    """

    event_id: str
    delivered: bool
    is_set_aside: bool
    why: str


def retry_set_aside(store: DecisionStore, sink: Sink, inbox: str | None) -> list[RetriedLine]:
    """Send what was set aside once more, in the order of the log. The sending stops at the first try that fails; what
    the sink refuses for good, and what cannot be read, stays set aside, and the next one has its turn. Raises the
    faults of the store before anything is sent; afterwards the last line has such a fault.
    """
    with store.reading() as session:
        waiting = session.rows.events_set_aside(sink.name)
    lines, replays = list[RetriedLine](), Replays()
    for event in waiting:
        try:
            if not store.write(partial(_is_to_be_sent, event)):
                continue
            reply = _sent(store, sink, inbox, event, replays)
        except NexusControlError as fault:
            if not lines:
                raise
            lines.append(_line(event, is_delivered=False, is_set_aside=True, why=fault.message))
            break
        lines.append(_settled(store, event, reply))
        is_refused = reply is not None and reply.outcome == "refused"
        if lines[-1]["is_set_aside"] and not is_refused:
            break
    return lines


def _is_to_be_sent(event: EventSetAside, session: WriteSession) -> bool:
    """Whether it is still set aside. This writes, so that nothing is sent from a store that cannot record it."""
    row, kept = session.rows.sink(event.sink), session.rows.event_set_aside(event.sink, event.position)
    if row is None or kept != event:
        return False
    session.rows.put_sink(row)
    return True


def _settled(store: DecisionStore, event: EventSetAside, reply: Reply | None) -> RetriedLine:
    """The line of a try, once it is recorded that the event need not be sent again."""
    if reply is not None and reply.outcome != "delivered":
        return _line(event, is_delivered=False, is_set_aside=True, why=reply.why)
    try:
        store.write(partial(_settle, event, is_delivered=reply is not None))
    except NexusControlError as fault:
        why = f"it cannot be recorded, so it is sent again: {fault.message}"
        return _line(event, is_delivered=reply is not None, is_set_aside=True, why=why)
    why = _NOT_SENT if reply is None else reply.why
    return _line(event, is_delivered=reply is not None, is_set_aside=False, why=why)


def _line(event: EventSetAside, *, is_delivered: bool, is_set_aside: bool, why: str) -> RetriedLine:
    return {"event_id": event.event_id, "delivered": is_delivered, "is_set_aside": is_set_aside, "why": why}


def _settle(event: EventSetAside, session: WriteSession, *, is_delivered: bool) -> None:
    row = session.rows.sink(event.sink)
    if row is not None and is_delivered:
        session.rows.put_sink(row._replace(trying=""))  # it took its last message
    session.rows.take_event_back(event.sink, event.position)


def _sent(
    store: DecisionStore, sink: Sink, inbox: str | None, event: EventSetAside, replays: Replays
) -> Reply | None:
    """What came back; None where there was nothing to send."""
    try:
        with store.reading() as session:
            entries = session.rows.log(event.position, event.position + 1)
            if not entries:
                return Reply(outcome="refused", why="the log does not hold it any more")
            told = [
                message_of(store, session, each, sink, inbox, replays)
                for each in entries
                if is_told(each, sink)
            ]
    except NexusControlError as fault:
        if fault.code is not ErrorCode.REPLAY_INVALID:
            raise
        return Reply(outcome="refused", why=unreadable(fault))
    message = told[0] if told else None
    return None if message is None else tried(sink.target, message, store.clock.now())


def forget_sink(store: DecisionStore, name: str) -> int:
    """Drop what the store keeps of a sink; how many events it was not told. Raises INVALID_ARGUMENT for one that the
    store does not know.
    """

    def drop(session: WriteSession) -> int:
        if session.rows.sink(name) is None:
            raise invalid_argument("name", f"names no sink that this store knows: {name:.80}")
        aside = session.rows.events_set_aside(name)
        session.rows.drop_sink(name)
        return len(aside)

    return store.write(drop)
