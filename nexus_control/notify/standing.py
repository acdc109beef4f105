"""How the sinks stand: how far each was told, since when it fails, and what it was not told.

Everything here is read from the store, so it is the same for every process, whether or not a worker runs.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import TypedDict

from nexus_control.errors import invalid_argument
from nexus_control.lifecycle import counted
from nexus_control.log.session import WriteSession
from nexus_control.notify.delivering import trying_of
from nexus_control.notify.messages import message_of
from nexus_control.notify.sinks import Reply, Sink
from nexus_control.storage.sink_rows import EventSetAside
from nexus_control.store import DecisionStore


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


def retry_set_aside(
    store: DecisionStore, sink: Sink, inbox: str | None, now: datetime
) -> list[tuple[EventSetAside, Reply]]:
    """Send what was set aside once more, in the order of the log. What the sink takes is no longer set aside. The
    sending stops at the first message that is not taken.
    """
    with store.reading() as session:
        waiting = session.rows.events_set_aside(sink.name)
    done: list[tuple[EventSetAside, Reply]] = []
    for event in waiting:
        reply = _sent(store, sink, inbox, event, now)
        done.append((event, reply))
        if reply.outcome != "delivered":
            break
        with store.writing() as session:
            session.rows.take_event_back(sink.name, event.position)
    return done


def _sent(store: DecisionStore, sink: Sink, inbox: str | None, event: EventSetAside, now: datetime) -> Reply:
    with store.reading() as session:
        placed = session.rows.log(event.position, event.position + 1)
        message = message_of(store, session, placed[0], sink, inbox) if placed else None
    if message is None:
        return Reply(outcome="delivered", why="the sink is no longer told of such events")
    return sink.target.send(message, now)


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
