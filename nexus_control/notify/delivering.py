"""Delivers the log to one sink: at least once, in the order of the log, by one process at a time.

The store keeps a row for each sink (`storage.sink_rows`). `cursor` says from which position on the sink is to be told.

1. A new sink begins at the end of the log.
2. A courier looks for the next event that the sink is told, and takes the lease: no other courier may tell the sink for
   `LEASE`, unless the process that holds it is certainly gone (`system.processes`).
3. It sends, outside of any transaction. A try takes less time than the lease.
4. It moves the cursor, where it still has the lease. A courier that is killed between 3 and 4 leaves the event to the
   next one, which sends it again.

A message that was not taken is tried again after 5 seconds, then 10, 20 and so on up to 15 minutes, or later where the
receiver asks for it, by at most an hour. The events behind it wait. It is set aside, with the reason, where the
receiver refuses it for good, or where the sink has failed for 24 hours in which the event could have been told. Time
without a worker does not count: between two tries at most 15 minutes do, or the pause that was due. Then the next event
has its turn at once. `trying` in the row holds these tries, so another process goes on with them.
"""

from collections import deque
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, Literal, TypeAlias

from nexus_control.canonical_json import canonical_json, parse_json_object
from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.log.session import ReadSession
from nexus_control.notify.messages import Replays, is_told, message_id_of, message_of
from nexus_control.notify.sinks import MOST_SECONDS, Message, Reply, Sink, tried
from nexus_control.storage.contract import NEVER, Placed
from nexus_control.storage.moved import migrated
from nexus_control.storage.sink_rows import EventSetAside, SinkRow
from nexus_control.store import DecisionStore
from nexus_control.system.processes import Owner, owner_named
from nexus_control.values.instants import format_instant, parse_instant
from nexus_control.values.records import decode, encode

LEASE: Final = timedelta(seconds=3 * MOST_SECONDS)
FIRST_PAUSE: Final = timedelta(seconds=5)
LONGEST_PAUSE: Final = timedelta(minutes=15)
LONGEST_ASKED: Final = timedelta(hours=1)
GIVES_UP_AFTER: Final = timedelta(hours=24)
_FEW: Final = 20
"""How many entries are read from the log at once: with their payloads they may be large."""
_BATCH: Final = 500
"""How many entries a step passes over at most, before it moves the cursor."""
_CLOCKS_APART: Final = 2
"""Another process may have written an instant by a later look at the clock, or by a clock that is ahead of ours. Only
what is more than this many times the longest span away was written before the clock was set back.
"""

Step: TypeAlias = "Delivery | Literal['idle', 'moved', 'begun']"
"""`moved`: there may be more to do at once. `begun`: the sink is new, and is told what happens from now on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trying:
    """How a sink has failed since it last took a message: since when, how often, why the last time, when that was, and
    when the next try is due. Instants are UTC text. `counted_us` is how long it has failed for sure, in microseconds.
    """

    since: str
    tries: int
    counted_us: int
    last: str
    next: str
    why: str

    def to_text(self) -> str:
        return canonical_json(encode(self))


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """What came of one try. `why` says what came back."""

    sink: str
    event_id: str
    request_id: str
    outcome: Literal["delivered", "failed", "set_aside"]
    why: str


@dataclass(frozen=True, slots=True)
class _Next:
    """The next event for a sink. Without a message it cannot be told, and `why` says why."""

    placed: Placed
    message: Message | None
    why: str = ""

    @property
    def event_id(self) -> str:
        entry = self.placed.entry
        return message_id_of(entry.stream, entry.seq, entry.generation)


def trying_of(row: SinkRow) -> Trying | None:
    """The tries of a row; None for a sink that does not fail, and for a text of another version."""
    try:
        return decode(Trying, parse_json_object(row.trying), where="trying", code=ErrorCode.REPLAY_INVALID)
    except NexusControlError:
        return None


class Courier:
    """Tells one sink. Each has a lease of its own. `inbox` is the address that links begin with."""

    def __init__(self, store: DecisionStore, sink: Sink, inbox: str | None) -> None:
        self.sink = sink
        self._store, self._inbox = store, inbox
        owner = owner_named(None, store.clock.new_id())
        self._holder = owner.to_text() if owner else store.clock.new_id()
        self._replays = Replays()
        self._ahead, self._read_from, self._read_to = deque[Placed](), 0, 0
        """What the sink may be told of that part of the log which is read already."""

    def step(self, *, at_once: bool = False) -> Step:
        """Send the next message that is due, if there is one. With `at_once` a pause is not waited for. Raises the
        faults of the store.
        """
        now = self._store.clock.now()
        with self._store.reading() as session:
            if (moved := session.rows.moved()) is not None:
                raise migrated(moved)  # the lease and the cursor are those of another place now
            row, size = session.rows.sink(self.sink.name), session.rows.log_size()
            if row is not None and not (row.cursor < size and self._may_try(row, now, at_once=at_once)):
                return "idle"
            found, cursor = (None, size) if row is None else self._find(session, row.cursor)
        taken = self._take(row, cursor if found is None else None, now)
        if taken is None or found is None:
            return "idle" if taken is None else "moved" if row is not None else "begun"
        reply = Reply(outcome="refused", why=found.why)
        if found.message is not None:
            reply = tried(self.sink.target, found.message, self._store.clock.now())
        return self._settle(found, reply)

    def release(self) -> None:
        """Let another courier go on at once. Raises the faults of the store."""
        with self._store.reading() as session:
            row = session.rows.sink(self.sink.name)
        if row is None or row.holder != self._holder:
            return
        with self._store.writing() as session:
            row = session.rows.sink(self.sink.name)
            if row is not None and row.holder == self._holder:
                session.rows.put_sink(row._replace(holder="", held_until=NEVER))

    def _may_try(self, row: SinkRow, now: datetime, *, at_once: bool) -> bool:
        if not self._is_free(row, now):
            return False
        trying = trying_of(row)
        if at_once or trying is None:
            return True
        pause = parse_instant(trying.next) - now
        return (
            not timedelta() < pause <= _CLOCKS_APART * LONGEST_ASKED
        )  # a longer one: the clock was set back

    def _is_free(self, row: SinkRow, now: datetime) -> bool:
        if row.holder in ("", self._holder):
            return True
        if not now < parse_instant(row.held_until) <= now + _CLOCKS_APART * LEASE:
            return True
        owner = Owner.find(row.holder)
        return owner is not None and owner.standing() == "gone"

    def _find(self, session: ReadSession, cursor: int) -> tuple[_Next | None, int]:
        """The first event for this sink in the next part of the log, and where the log was read up to."""
        if not self._read_from <= cursor <= self._read_to:
            self._ahead.clear()
            self._read_to = cursor
        self._read_from = cursor
        while True:
            while self._ahead:
                if self._ahead[0].position >= cursor and (found := self._next(session, self._ahead[0])):
                    return found, cursor
                self._ahead.popleft()
            if self._read_to >= cursor + _BATCH:
                return None, self._read_to
            entries = session.rows.log(self._read_to, self._read_to + _FEW)
            if not entries:
                return None, self._read_to
            self._read_to += len(entries)
            self._ahead.extend(each for each in entries if is_told(each, self.sink))

    def _next(self, session: ReadSession, placed: Placed) -> _Next | None:
        """What the sink is told of this entry; None where it is told nothing."""
        try:
            message = message_of(self._store, session, placed, self.sink, self._inbox, self._replays)
        except NexusControlError as fault:
            if fault.code is not ErrorCode.REPLAY_INVALID:
                raise
            return _Next(placed, None, unreadable(fault))
        return None if message is None else _Next(placed, message)

    def _take(self, seen: SinkRow | None, cursor: int | None, now: datetime) -> SinkRow | None:
        """Take the lease, and move the cursor if one is given; None where another courier was faster. A courier that
        has the lease for long enough writes nothing.
        """
        if seen is not None and cursor is None and self._holds(seen, now):
            return seen
        with self._store.writing() as session:
            row, now = session.rows.sink(self.sink.name), max(now, session.now)
            if (row and row.cursor) != (seen and seen.cursor) or (row and not self._is_free(row, now)):
                return None
            if row is None:
                row = SinkRow(self.sink.name, 0, "", NEVER, "")
            if cursor is not None:
                row = row._replace(cursor=cursor)
            else:
                row = row._replace(holder=self._holder, held_until=format_instant(now + LEASE))
            session.rows.put_sink(row)
            return row

    def _holds(self, row: SinkRow, now: datetime) -> bool:
        return row.holder == self._holder and parse_instant(row.held_until) - now > LEASE / 2

    def _settle(self, found: _Next, reply: Reply) -> Delivery:
        """Write down what came back, where this courier still has the lease. Where it has not, another one sends this
        again; or the sink was forgotten.
        """
        now, position = self._store.clock.now(), found.placed.position
        done = Delivery(
            sink=self.sink.name,
            event_id=found.event_id,
            request_id=found.placed.entry.stream,
            outcome="delivered" if reply.outcome == "delivered" else "failed",
            why=reply.why,
        )
        with self._store.writing() as session:
            row = session.rows.sink(self.sink.name)
            if row is None or row.holder != self._holder:
                return done
            if reply.outcome == "delivered":
                until = format_instant(now + LEASE)
                session.rows.put_sink(row._replace(cursor=position + 1, held_until=until, trying=""))
                return done
            trying, gives_up = _tried(row, found.placed.entry.ts, reply, now)
            row = row._replace(holder="", held_until=NEVER, trying=trying.to_text())
            if gives_up:
                aside = (self.sink.name, position, done.event_id, format_instant(now), reply.why)
                session.rows.set_event_aside(EventSetAside(*aside))
                row = row._replace(cursor=position + 1)
            session.rows.put_sink(row)
        return replace(done, outcome="set_aside") if gives_up else done


def unreadable(fault: NexusControlError) -> str:
    """Why an event cannot be told."""
    return f"its history cannot be read ({fault.code})"


def _tried(row: SinkRow, ts: str, reply: Reply, now: datetime) -> tuple[Trying, bool]:
    """The tries after another one, and whether the event is given up."""
    before = trying_of(row)
    since = min(now, parse_instant(before.since)) if before else now
    tries = before.tries + 1 if before else 1
    counted = timedelta(microseconds=before.counted_us) + _between(before, now) if before else timedelta()
    untold = max(timedelta(), parse_instant(ts) - since)  # no more of what counts was before the event
    gives_up = reply.outcome == "refused" or counted - untold >= GIVES_UP_AFTER
    pause = min(FIRST_PAUSE * 2 ** min(tries - 1, 16), LONGEST_PAUSE)
    if reply.retry_after is not None:
        pause = max(pause, min(reply.retry_after, LONGEST_ASKED))
    due = now if gives_up else now + pause
    trying = Trying(
        since=format_instant(since),
        tries=tries,
        counted_us=counted // timedelta(microseconds=1),
        last=format_instant(now),
        next=format_instant(due),
        why=reply.why,
    )
    return trying, gives_up


def _between(before: Trying, now: datetime) -> timedelta:
    """How much of the time since the last try counts as failing."""
    last = parse_instant(before.last)
    return max(timedelta(), min(now - last, max(parse_instant(before.next) - last, LONGEST_PAUSE)))
