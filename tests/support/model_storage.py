"""ModelStorage: the contract in plain Python. SQLite must answer exactly as this storage does.

One lock is held for a whole transaction, reading or writing. A writer changes the rows in place and notes how to undo
each change; an exception runs the notes backwards. The cost of appending does not depend on the size of the store, but
that of finding rows does.
"""

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeAlias, TypeVar

from nexus_control.evidence.formats.merkle import grow
from nexus_control.storage.contract import (
    BUSY_SECONDS,
    ApprovalRow,
    Claim,
    DecisionQuery,
    DecisionRow,
    Entry,
    EntryKind,
    KeptAnswer,
    Placed,
    Reader,
    ResultT,
    Writer,
)
from nexus_control.storage.faults import ended, no_subtree, unavailable
from nexus_control.storage.moved import Moved, migrated
from nexus_control.storage.sidecar import MemorySidecar, Sidecar
from nexus_control.storage.sink_rows import EventSetAside, SinkRow
from nexus_control.storage.usage import InMemory, Turn

_Stream: TypeAlias = tuple[EntryKind, str, int]
_Key = TypeVar("_Key")
_Row = TypeVar("_Row")


@dataclass
class _Rows:
    """`streams` finds an entry's position by kind, stream and generation, then by seq; `ordinals` a decision's id."""

    log: list[Entry] = field(default_factory=list[Entry])
    streams: dict[_Stream, dict[int, int]] = field(default_factory=dict[_Stream, dict[int, int]])
    subtrees: dict[tuple[int, int], bytes] = field(default_factory=dict[tuple[int, int], bytes])
    decision_rows: dict[str, DecisionRow] = field(default_factory=dict[str, DecisionRow])
    ordinals: dict[int, str] = field(default_factory=dict[int, str])
    approvals: dict[tuple[int, str], ApprovalRow] = field(default_factory=dict[tuple[int, str], ApprovalRow])
    claims: dict[str, Claim] = field(default_factory=dict[str, Claim])
    answers: dict[str, KeptAnswer] = field(default_factory=dict[str, KeptAnswer])
    sinks: dict[str, SinkRow] = field(default_factory=dict[str, SinkRow])
    aside: dict[tuple[str, int], EventSetAside] = field(default_factory=dict[tuple[str, int], EventSetAside])
    marks: dict[str, Moved | None] = field(default_factory=dict[str, Moved | None])

    def clear(self) -> None:
        for table in (self.log, self.streams, self.subtrees, self.decision_rows, self.ordinals):
            table.clear()
        for table in (self.approvals, self.claims, self.answers, self.sinks, self.aside, self.marks):
            table.clear()


class _OpenRows:
    """Reader and writer in one."""

    def __init__(self, rows: _Rows) -> None:
        self._open: _Rows | None = rows
        self._undo: list[Callable[[], object]] = []

    @property
    def _rows(self) -> _Rows:
        if self._open is None:
            raise ended()
        return self._open

    def end(self) -> None:
        self._open = None

    def roll_back(self) -> None:
        while self._undo:
            self._undo.pop()()

    def entries(
        self, kind: EntryKind, stream: str, generation: int, start: int = 0, stop: int | None = None
    ) -> list[Entry]:
        rows = self._rows
        positions = rows.streams.get((kind, stream, generation), {})
        return [
            rows.log[positions[seq]]
            for seq in sorted(positions)
            if start <= seq and (stop is None or seq < stop)
        ]

    def generations(self, kind: EntryKind, stream: str) -> list[int]:
        streams = self._rows.streams
        return sorted(key[2] for key in streams if key[:2] == (kind, stream))

    def first_entries(self, kind: EntryKind) -> list[Entry]:
        return [e for e in self._rows.log if (e.kind, e.generation, e.seq) == (kind, 0, 0)]

    def log(self, start: int = 0, stop: int | None = None) -> list[Placed]:
        first = max(start, 0)
        return [Placed(first + i, entry) for i, entry in enumerate(self._rows.log[first:stop])]

    def log_size(self) -> int:
        return len(self._rows.log)

    def position(self, kind: EntryKind, stream: str, generation: int, seq: int) -> int | None:
        return self._rows.streams.get((kind, stream, generation), {}).get(seq)

    def subtree(self, level: int, index: int) -> bytes:
        found = self._rows.subtrees.get((level, index))
        if found is None:
            raise no_subtree(level, index)
        return found

    def subtrees(self) -> dict[tuple[int, int], bytes]:
        return dict(self._rows.subtrees)

    def decision_row(self, decision_id: str, known: DecisionRow | None = None) -> DecisionRow | None:
        return self._rows.decision_rows.get(decision_id)

    def decision_rows(self, query: DecisionQuery) -> list[DecisionRow]:
        found = [row for row in self._newest_first() if _matches(row, query)]
        return found[query.offset : query.offset + query.limit]

    def decisions(self, limit: int, offset: int) -> list[tuple[str, str]]:
        page = self._newest_first()[offset : offset + limit]
        return [(row.decision_id, row.created_at) for row in page]

    def decision_ids(self, start: str, limit: int) -> list[str]:
        return sorted(each for each in self._rows.decision_rows if each >= start)[:limit]

    def claim(self, decision_id: str) -> Claim | None:
        return self._rows.claims.get(decision_id)

    def decision_of(self, request_key: str) -> str | None:
        rows = self._rows.decision_rows.values()
        return next(
            (row.decision_id for row in rows if row.request_key and row.request_key == request_key), None
        )

    def answer(self, digest: str) -> KeptAnswer | None:
        return self._rows.answers.get(digest)

    def claims(self) -> list[Claim]:
        return [claim for _, claim in sorted(self._rows.claims.items())]

    def sink(self, name: str) -> SinkRow | None:
        return self._rows.sinks.get(name)

    def sinks(self) -> list[SinkRow]:
        return [row for _, row in sorted(self._rows.sinks.items())]

    def events_set_aside(self, sink: str) -> list[EventSetAside]:
        return [event for key, event in sorted(self._rows.aside.items()) if key[0] == sink]

    def event_set_aside(self, sink: str, position: int) -> EventSetAside | None:
        return self._rows.aside.get((sink, position))

    def put_sink(self, row: SinkRow) -> None:
        self._require_here()
        self._put(self._rows.sinks, row.name, row)

    def drop_sink(self, name: str) -> None:
        for event in self.events_set_aside(name):
            self._drop(self._rows.aside, (name, event.position))
        self._drop(self._rows.sinks, name)

    def set_event_aside(self, event: EventSetAside) -> None:
        self._put(self._rows.aside, (event.sink, event.position), event)

    def take_event_back(self, sink: str, position: int) -> None:
        self._drop(self._rows.aside, (sink, position))

    def moved(self) -> Moved | None:
        return self._rows.marks.get("")

    def is_filed(self) -> bool:
        return {ordinal for ordinal, _ in self._rows.approvals} <= self._rows.ordinals.keys()

    def append(self, entries: Sequence[Entry]) -> None:
        self._require_here()
        first = self.log_size()
        for entry in entries:
            self._append(entry)
        leaves = [bytes.fromhex(entry.leaf) for entry in entries]
        self._put_subtrees(grow(first, leaves, self.subtree))

    def _put_subtrees(self, subtrees: Mapping[tuple[int, int], bytes]) -> None:
        kept = self._rows.subtrees
        for key, value in subtrees.items():
            if key in kept:
                raise unavailable(f"subtree {key} is kept already")
            self._put(kept, key, value)

    def replace_subtrees(self, subtrees: Mapping[tuple[int, int], bytes]) -> None:
        for key in list(self._rows.subtrees):
            self._drop(self._rows.subtrees, key)
        self._put_subtrees(subtrees)

    def next_ordinal(self) -> int:
        return 1 + max(self._rows.ordinals, default=0)

    def save(self, decision_row: DecisionRow, before: DecisionRow | None = None) -> None:
        rows = self._rows
        decision_id, ordinal = decision_row.decision_id, decision_row.ordinal
        if rows.ordinals.get(ordinal, decision_id) != decision_id:
            raise unavailable(f"ordinal {ordinal} belongs to another decision", decision_id=decision_id)
        if self.decision_of(decision_row.request_key) not in (None, decision_id):
            raise unavailable("the request key belongs to another decision", decision_id=decision_id)
        if decision_id in rows.decision_rows:
            self._drop(rows.ordinals, rows.decision_rows[decision_id].ordinal)
        self._put(rows.ordinals, ordinal, decision_id)
        self._put(rows.decision_rows, decision_id, decision_row)

    def approvals(self, ordinal: int) -> list[ApprovalRow]:
        rows = [row for (number, _), row in self._rows.approvals.items() if number == ordinal]
        return sorted(rows, key=lambda row: (row.seq, row.person))

    def put_approvals(self, ordinal: int, approvals: Iterable[ApprovalRow]) -> None:
        for approval in approvals:
            self._put(self._rows.approvals, (ordinal, approval.person), approval)

    def replace_approvals(self, ordinal: int, approvals: Iterable[ApprovalRow]) -> None:
        for key in [key for key in self._rows.approvals if key[0] == ordinal]:
            self._drop(self._rows.approvals, key)
        self.put_approvals(ordinal, approvals)

    def replace_decision_rows(self, decisions: Iterable[tuple[DecisionRow, Sequence[ApprovalRow]]]) -> None:
        rows = self._rows
        for key in list(rows.approvals):
            self._drop(rows.approvals, key)
        for row in list(rows.decision_rows.values()):
            self._drop(rows.ordinals, row.ordinal)
            self._drop(rows.decision_rows, row.decision_id)
        for decision_row, approvals in decisions:
            self.save(decision_row)
            self.put_approvals(decision_row.ordinal, approvals)

    def put_claim(self, claim: Claim) -> None:
        self._require_here()
        self._put(self._rows.claims, claim.decision_id, claim)

    def drop_claim(self, decision_id: str) -> None:
        self._drop(self._rows.claims, decision_id)

    def keep_answer(self, answer: KeptAnswer) -> None:
        if answer.digest not in self._rows.answers:
            self._put(self._rows.answers, answer.digest, answer)

    def move(self, moved: Moved | None) -> None:
        self._put(self._rows.marks, "", moved)

    def _require_here(self) -> None:
        if (moved := self.moved()) is not None:
            raise migrated(moved)

    def _newest_first(self) -> list[DecisionRow]:
        return sorted(self._rows.decision_rows.values(), key=lambda row: row.ordinal, reverse=True)

    def _append(self, entry: Entry) -> None:
        rows = self._rows
        stream: _Stream = (entry.kind, entry.stream, entry.generation)
        positions = rows.streams.setdefault(stream, {})
        if entry.seq in positions:
            raise unavailable(f"{stream} already has an entry with seq {entry.seq}")
        positions[entry.seq] = len(rows.log)
        rows.log.append(entry)
        self._undo.append(lambda: _take_back(rows))

    def _put(self, table: dict[_Key, _Row], key: _Key, row: _Row) -> None:
        if key in table:
            before = table[key]
            self._undo.append(lambda: table.__setitem__(key, before))
        else:
            self._undo.append(lambda: table.__delitem__(key))
        table[key] = row

    def _drop(self, table: dict[_Key, _Row], key: _Key) -> None:
        if key in table:
            row = table.pop(key)
            self._undo.append(lambda: table.__setitem__(key, row))


class ModelStorage(InMemory):
    """A store that lives and dies with this object."""

    def __init__(self, busy_seconds: float = BUSY_SECONDS) -> None:
        self.name = ":memory:"
        self.sidecar: Sidecar = MemorySidecar()
        self._rows = _Rows()
        super().__init__(self._rows.clear, busy_seconds)

    @contextmanager
    def reading(self) -> Generator[Reader]:
        with self._session() as session:
            yield session

    @contextmanager
    def writing(self) -> Generator[Writer]:
        with self._session() as session:
            try:
                yield session
                self.require_not_forked()
            except BaseException:
                session.roll_back()
                raise

    def write(self, work: Callable[[Writer], ResultT]) -> ResultT:
        with self.writing() as rows:
            return work(rows)

    def form_differences(self) -> list[str]:
        return []

    def mend_form(self) -> None:
        pass

    @contextmanager
    def _session(self) -> Generator[_OpenRows]:
        turn, session = Turn(), _OpenRows(self._rows)
        try:
            self.take(turn)
            yield session
        finally:
            session.end()
            self.give_back(turn)


def _take_back(rows: _Rows) -> None:
    """Remove the last entry of the log."""
    entry = rows.log.pop()
    stream: _Stream = (entry.kind, entry.stream, entry.generation)
    positions = rows.streams[stream]
    del positions[entry.seq]
    if not positions:
        del rows.streams[stream]


def _matches(row: DecisionRow, query: DecisionQuery) -> bool:
    return (
        row.event_count > 0
        and (query.before is None or row.ordinal < query.before)
        and (query.phase is None or row.phase == query.phase)
        and (query.approved is None or (row.approved_until > query.now) == query.approved)
        and (query.expired is None or (row.expires_at <= query.now) == query.expired)
        and (query.label is None or query.label in row.labels)
        and (query.requester is None or row.requester == query.requester)
    )
