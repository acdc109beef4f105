"""A write on what this process remembers: the way to append an event in one round trip.

`Memory` keeps the rows of decisions as they were last read or written, each with the transaction that wrote it. A
`Draft` is a writer that answers from the memory and only notes what it is to change. Where that is one event of one
decision, the server's function `append_event` does all of it at once, and refuses where the row is no longer the one
that was remembered. A draft that is asked for anything that this does not cover is spoiled: it is thrown away, and the
work is done again in a real transaction. So is the work that raised, because a refusal may not rest on old rows.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from operator import itemgetter
from types import TracebackType
from typing import Any, NamedTuple, NoReturn

from nexus_control.storage.contract import ApprovalRow, DecisionRow, Entry, EntryKind
from nexus_control.storage.postgres_link import Link, Row
from nexus_control.storage.postgres_rows import PostgresRows, decision_row_of

_MOST_REMEMBERED = 1_024
_FIELDS = len(DecisionRow._fields)

_READ = f"""SELECT {", ".join(DecisionRow._fields)}, projections.xmin::text, given.* FROM projections, LATERAL (
        SELECT array_agg(person), array_agg(seq), array_agg(content) FROM approvals
        WHERE approvals.ordinal = projections.ordinal
    ) AS given WHERE decision_id = %s"""
_NO_APPROVAL = (None,) * (1 + len(ApprovalRow._fields))
_PARAMETERS = 6 + len(_NO_APPROVAL) + len(Entry._fields)
APPEND_EVENT = f"SELECT append_event({', '.join(f'${1 + number}' for number in range(_PARAMETERS))})".encode()

_CHANGED_BY_AN_EVENT = {"event_count", "last_ts", "head", "phase", "approved_until", "progress"}
_kept = itemgetter(*(n for n, name in enumerate(DecisionRow._fields) if name not in _CHANGED_BY_AN_EVENT))


class Remembered(NamedTuple):
    """A decision's row, its approvals by person, and the transaction that wrote the row.

    The next write adds its approval to the same dict, and the memory has forgotten this record before.
    """

    row: DecisionRow
    approvals: dict[str, ApprovalRow]
    version: str


class Memory:
    """The decisions that this process used last. Threads share it without a lock, which a child that is forked while
    another thread holds it would wait for without end: each step is one operation of a dict, and what is remembered is
    checked by the server at every write.
    """

    def __init__(self) -> None:
        self._known: dict[str, Remembered] = {}

    def find(self, decision_id: str) -> Remembered | None:
        return self._known.get(decision_id)

    def keep(self, remembered: Remembered) -> None:
        if len(self._known) >= _MOST_REMEMBERED:
            self._known.clear()
        self._known[remembered.row.decision_id] = remembered

    def forget(self, decision_ids: Iterable[str]) -> None:
        for decision_id in decision_ids:
            self._known.pop(decision_id, None)


class SpoiledError(Exception):
    """A draft was asked for what it cannot know or do."""


class Draft(PostgresRows, AbstractContextManager["Draft"]):
    """A writer that sends nothing. What it is asked for beyond one event of one decision spoils it.

    As a context manager it ends at the exit, and whatever `work` raises inside spoils it: the work is done again.
    """

    def __init__(self, link: Link, memory: Memory) -> None:
        super().__init__(link)
        self._reading = link
        self._memory = memory
        self._base: Remembered | None = None
        self._entry: Entry | None = None
        self._after: DecisionRow | None = None
        self._approval: ApprovalRow | None = None
        self._is_spoiled = False

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        self.end()
        if error is not None:
            self._is_spoiled = True
        return isinstance(error, Exception)

    def parameters(self) -> Sequence[str | int | None] | None:
        """Those of `APPEND_EVENT`, which does all of it; None where a real transaction must."""
        base, entry, after, approval = self._base, self._entry, self._after, self._approval
        if self._is_spoiled or base is None or entry is None or after is None:
            return None
        row = base.row
        if _kept(row) != _kept(after):
            return None
        is_next = (entry.kind, entry.stream, entry.generation, entry.seq) == (
            "decision",
            row.decision_id,
            row.generation,
            row.event_count,
        )
        follows = (after.event_count, after.last_ts, after.head) == (entry.seq + 1, entry.ts, entry.leaf)
        if not (is_next and follows):
            return None
        seen = (row.ordinal, base.version, row.head, after.phase, after.approved_until, after.progress)
        given = _NO_APPROVAL if approval is None else (approval.person not in base.approvals, *approval)
        return (*seen, *given, *entry)

    def remember(self, version: str) -> None:
        """Keep the decision as it is after the write."""
        base, after, approval = self._base, self._after, self._approval
        if base is not None and after is not None:
            if approval is not None:
                self.forget()
                base.approvals[approval.person] = approval
            self._memory.keep(Remembered(after, base.approvals, version))

    def forget(self) -> None:
        if self._base is not None:
            self._memory.forget([self._base.row.decision_id])

    def decision_row(self, decision_id: str, known: DecisionRow | None = None) -> DecisionRow | None:
        if self._base is None:
            self._base = self._memory.find(decision_id) or self._load(decision_id)
        if self._base is None or self._base.row.decision_id != decision_id:
            self._spoil()
        return self._after or self._base.row

    def approvals(self, ordinal: int) -> list[ApprovalRow]:
        base = self._base
        if base is None or base.row.ordinal != ordinal or self._approval is not None:
            self._spoil()
        approvals = sorted(base.approvals.values(), key=_by_seq)
        if self._memory.find(base.row.decision_id) is not base:  # they may be those of a later row
            self._spoil()
        return approvals

    def entries(
        self, kind: EntryKind, stream: str, generation: int, start: int = 0, stop: int | None = None
    ) -> list[Entry]:
        """Events that the remembered row counts. They never change."""
        row = None if self._base is None else self._base.row
        if row is None or self._entry is not None:
            self._spoil()
        if (kind, stream, generation) != ("decision", row.decision_id, row.generation):
            self._spoil()
        end = row.event_count if stop is None else min(stop, row.event_count)
        return PostgresRows(self._reading).entries(kind, stream, generation, start, end)

    def append(self, entries: Sequence[Entry]) -> None:
        if len(entries) != 1 or self._entry is not None:
            self._spoil()
        self._entry = entries[0]

    def save(self, decision_row: DecisionRow, before: DecisionRow | None = None) -> None:
        if self._after is not None:
            self._spoil()
        self._after = decision_row

    def put_approvals(self, ordinal: int, approvals: Iterable[ApprovalRow]) -> None:
        rows = list(approvals)
        if self._base is None or self._base.row.ordinal != ordinal or self._approval or len(rows) > 1:
            self._spoil()
        self._approval = rows[0] if rows else None

    def replace_subtrees(self, subtrees: Mapping[tuple[int, int], bytes]) -> None:
        self._spoil()

    def replace_decision_rows(self, decisions: Iterable[tuple[DecisionRow, Sequence[ApprovalRow]]]) -> None:
        self._spoil()

    def _read(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        self._spoil()

    def _write(self, sql: str, parameters: Sequence[Any] = ()) -> None:
        self._spoil()

    def _load(self, decision_id: str) -> Remembered | None:
        rows = self._reading.execute(_READ, (decision_id,))
        if not rows:
            return None
        version, persons, seqs, contents = rows[0][_FIELDS:]
        given = map(ApprovalRow, persons or (), seqs or (), contents or ())
        approvals = {each.person: each for each in given}
        found = Remembered(decision_row_of(rows[0][:_FIELDS]), approvals, version)
        self._memory.keep(found)
        return found

    def _spoil(self) -> NoReturn:
        self._is_spoiled = True
        raise SpoiledError


def _by_seq(approval: ApprovalRow) -> tuple[int, str]:
    return approval.seq, approval.person
