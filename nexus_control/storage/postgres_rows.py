"""Readers and writers on PostgreSQL: rows to SQL and back.

A writer keeps what it is to change, and sends it with the next thing that it reads, or with the COMMIT: a round trip
costs as much as a flush of the disk. So a fault shows at that time, and not in the call that caused it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, fields
from functools import cache
from typing import Any

from nexus_control.storage.contract import (
    ApprovalRow,
    Claim,
    DecisionQuery,
    DecisionRow,
    Entry,
    EntryKind,
    KeptAnswer,
    Placed,
)
from nexus_control.storage.faults import ended, no_subtree
from nexus_control.storage.moved import Moved, migrated
from nexus_control.storage.postgres_link import UNBOUNDED, Link, Row, Statement
from nexus_control.storage.postgres_sinks import PostgresSinks

_MOST_PENDING = 1_000

# The columns of a table are the fields of its record, in their order.
_CLAIM_FIELDS = tuple(field.name for field in fields(Claim))
_LABELS = DecisionRow._fields.index("labels")
_STREAM_KEY = 3  # an entry begins with kind, stream, generation


def _places(names: Sequence[str]) -> str:
    return ", ".join("%s" for _ in names)


_ENTRY = ", ".join(Entry._fields)
_ROW_COLUMNS = ", ".join(DecisionRow._fields)
_CLAIM = ", ".join(_CLAIM_FIELDS)

_ENTRIES = f"""SELECT {", ".join(Entry._fields[_STREAM_KEY:])} FROM entries WHERE kind = %s AND stream = %s
    AND generation = %s AND seq >= %s AND (%s::bigint IS NULL OR seq < %s) ORDER BY seq"""
_GENERATIONS = "SELECT DISTINCT generation FROM entries WHERE kind = %s AND stream = %s ORDER BY generation"
_FIRST_ENTRIES = f"""SELECT {_ENTRY} FROM entries
    WHERE kind = %s AND generation = 0 AND seq = 0 ORDER BY position"""
_LOG = f"""SELECT position, {_ENTRY} FROM entries
    WHERE position >= %s AND (%s::bigint IS NULL OR position < %s) ORDER BY position"""
_LOG_SIZE = "SELECT coalesce(max(position) + 1, 0) FROM entries"
_APPEND = f"SELECT append_entry({_places(Entry._fields)})"
_POSITION = "SELECT position FROM entries WHERE kind = %s AND stream = %s AND generation = %s AND seq = %s"

_SUBTREE = "SELECT hash FROM subtrees WHERE last_leaf = %s AND level = %s"
# A row whose last leaf completes no subtree of its level is never read. Its index here is negative: no tree has that.
_SUBTREES = """SELECT level, CASE WHEN level BETWEEN 0 AND 62 AND (last_leaf + 1) % (1::bigint << level::integer) = 0
    THEN (last_leaf + 1 >> level::integer) - 1 ELSE -1 - abs(last_leaf) END, hash FROM subtrees"""
_PUT_SUBTREES = """INSERT INTO subtrees(last_leaf, level, hash)
    SELECT * FROM unnest(%s::bigint[], %s::bigint[], %s::bytea[])"""

_ONE_ROW = f"SELECT {_ROW_COLUMNS} FROM projections WHERE decision_id = %s"
_DECISIONS = "SELECT decision_id, created_at FROM projections ORDER BY ordinal DESC LIMIT %s OFFSET %s"
_DECISION_IDS = "SELECT decision_id FROM projections WHERE decision_id >= %s ORDER BY decision_id LIMIT %s"
_NEXT_ORDINAL = "SELECT coalesce(max(ordinal), 0) + 1 FROM projections"
_PUT_ROW = f"""INSERT INTO projections({_ROW_COLUMNS}) VALUES ({_places(DecisionRow._fields)})
    ON CONFLICT (decision_id) DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in DecisionRow._fields)}"""
_ADD_LABELS = "INSERT INTO labels(label, ordinal) SELECT DISTINCT unnest(%s::text[]), %s::bigint"
_UNLABEL = "DELETE FROM labels WHERE ordinal = %s"
_UNLABEL_DECISION = """DELETE FROM labels
    WHERE ordinal = (SELECT ordinal FROM projections WHERE decision_id = %s)"""
_IS_FILED = """SELECT
        NOT EXISTS (SELECT unnest(labels), ordinal FROM projections EXCEPT SELECT label, ordinal FROM labels)
    AND NOT EXISTS (SELECT label, ordinal FROM labels EXCEPT SELECT unnest(labels), ordinal FROM projections)
    AND NOT EXISTS (SELECT ordinal FROM approvals EXCEPT SELECT ordinal FROM projections)"""

_APPROVALS = "SELECT person, seq, content FROM approvals WHERE ordinal = %s ORDER BY seq, person"
_PUT_APPROVAL = """INSERT INTO approvals(ordinal, person, seq, content) VALUES (%s, %s, %s, %s)
    ON CONFLICT (ordinal, person) DO UPDATE SET seq = excluded.seq, content = excluded.content"""
_DROP_APPROVALS = "DELETE FROM approvals WHERE ordinal = %s"

_ONE_CLAIM = f"SELECT {_CLAIM} FROM claims WHERE decision_id = %s"
_CLAIMS = f"SELECT {_CLAIM} FROM claims ORDER BY decision_id"
_PUT_CLAIM = f"""INSERT INTO claims({_CLAIM}) VALUES ({_places(_CLAIM_FIELDS)})
    ON CONFLICT (decision_id) DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in _CLAIM_FIELDS)}"""
_DROP_CLAIM = "DELETE FROM claims WHERE decision_id = %s"

_DECISION_OF = "SELECT decision_id FROM projections WHERE request_key = %s AND request_key <> ''"
_ANSWER = "SELECT digest, content, truncated FROM answers WHERE digest = %s"
_KEEP_ANSWER = "INSERT INTO answers(digest, content, truncated) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING"


class PostgresRows(PostgresSinks):
    """Reader and writer in one. Using it after `end()` is a defect."""

    def __init__(self, link: Link, moved: Moved | None = None) -> None:
        self._link: Link | None = link
        self._pending: list[Statement] = []
        self.saved = set[str]()
        """The decisions whose rows this transaction has changed."""
        self.has_written = False
        self._moved = moved
        """The mark, as it was read when the transaction began."""

    def commit(self) -> None:
        if self._link is not None:
            pending, self._pending = self._pending, []
            self._link.commit(pending)
        self.end()

    def end(self) -> None:
        self._link = None

    def entries(
        self, kind: EntryKind, stream: str, generation: int, start: int = 0, stop: int | None = None
    ) -> list[Entry]:
        rows = self._read(_ENTRIES, (kind, stream, generation, start, stop, stop))
        return [Entry(kind, stream, generation, *row) for row in rows]

    def generations(self, kind: EntryKind, stream: str) -> list[int]:
        return [row[0] for row in self._read(_GENERATIONS, (kind, stream))]

    def first_entries(self, kind: EntryKind) -> list[Entry]:
        return [Entry._make(row) for row in self._read(_FIRST_ENTRIES, (kind,))]

    def log(self, start: int = 0, stop: int | None = None) -> list[Placed]:
        return [Placed(row[0], Entry._make(row[1:])) for row in self._read(_LOG, (start, stop, stop))]

    def log_size(self) -> int:
        return self._read(_LOG_SIZE)[0][0]

    def position(self, kind: EntryKind, stream: str, generation: int, seq: int) -> int | None:
        return self._first(_POSITION, (kind, stream, generation, seq))

    def subtree(self, level: int, index: int) -> bytes:
        found = self._first(_SUBTREE, (_last_leaf(level, index), level))
        if found is None:
            raise no_subtree(level, index)
        return found

    def subtrees(self) -> dict[tuple[int, int], bytes]:
        return {(level, index): value for level, index, value in self._read(_SUBTREES)}

    def decision_row(self, decision_id: str, known: DecisionRow | None = None) -> DecisionRow | None:
        rows = self._read(_ONE_ROW, (decision_id,))
        return decision_row_of(rows[0]) if rows else None

    def decision_rows(self, query: DecisionQuery) -> list[DecisionRow]:
        return [decision_row_of(row) for row in self._read(*_page(query))]

    def approvals(self, ordinal: int) -> list[ApprovalRow]:
        return [ApprovalRow._make(row) for row in self._read(_APPROVALS, (ordinal,))]

    def decisions(self, limit: int, offset: int) -> list[tuple[str, str]]:
        return [(decision_id, made) for decision_id, made in self._read(_DECISIONS, (limit, offset))]

    def decision_of(self, request_key: str) -> str | None:
        return self._first(_DECISION_OF, (request_key,))

    def answer(self, digest: str) -> KeptAnswer | None:
        rows = self._read(_ANSWER, (digest,))
        return KeptAnswer._make(rows[0]) if rows else None

    def decision_ids(self, start: str, limit: int) -> list[str]:
        return [row[0] for row in self._read(_DECISION_IDS, (start, limit))]

    def claim(self, decision_id: str) -> Claim | None:
        rows = self._read(_ONE_CLAIM, (decision_id,))
        return Claim(*rows[0]) if rows else None

    def claims(self) -> list[Claim]:
        return [Claim(*row) for row in self._read(_CLAIMS)]

    def moved(self) -> Moved | None:
        return self._moved

    def is_filed(self) -> bool:
        self._pending.append((UNBOUNDED, ()))
        return self._read(_IS_FILED)[0][0]

    def append(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            self._write(_APPEND, entry)

    def replace_subtrees(self, subtrees: Mapping[tuple[int, int], bytes]) -> None:
        self._write(UNBOUNDED)
        self._write("DELETE FROM subtrees")
        places = [(_last_leaf(level, index), level) for level, index in subtrees]
        columns = ([last for last, _ in places], [level for _, level in places], list(subtrees.values()))
        self._write(_PUT_SUBTREES, columns)

    def next_ordinal(self) -> int:
        return self._read(_NEXT_ORDINAL)[0][0]

    def save(self, decision_row: DecisionRow, before: DecisionRow | None = None) -> None:
        self.saved.add(decision_row.decision_id)
        if before is None:
            self._write(_UNLABEL_DECISION, (decision_row.decision_id,))
            stored = [_value(decision_row, place) for place in range(len(decision_row))]
            self._write(_PUT_ROW, stored)
            if decision_row.labels:
                self._write(_ADD_LABELS, (stored[_LABELS], decision_row.ordinal))
            return
        changed = tuple(
            place for place, (old, new) in enumerate(zip(before, decision_row, strict=True)) if old != new
        )
        if changed:
            values = [_value(decision_row, place) for place in changed]
            self._write(_update_of(changed), (*values, decision_row.ordinal))
        if _LABELS in changed:
            self._write(_UNLABEL, (decision_row.ordinal,))
            self._write(_ADD_LABELS, (list(decision_row.labels), decision_row.ordinal))

    def put_approvals(self, ordinal: int, approvals: Iterable[ApprovalRow]) -> None:
        for approval in approvals:
            self._write(_PUT_APPROVAL, (ordinal, *approval))

    def replace_approvals(self, ordinal: int, approvals: Iterable[ApprovalRow]) -> None:
        self._write(_DROP_APPROVALS, (ordinal,))
        self.put_approvals(ordinal, approvals)

    def replace_decision_rows(self, decisions: Iterable[tuple[DecisionRow, Sequence[ApprovalRow]]]) -> None:
        self._write(UNBOUNDED)
        for table in ("projections", "labels", "approvals"):
            self._write(f"DELETE FROM {table}")
        for decision_row, approvals in decisions:
            self.save(decision_row)
            self.put_approvals(decision_row.ordinal, approvals)

    def put_claim(self, claim: Claim) -> None:
        self._write(_PUT_CLAIM, astuple(claim))

    def drop_claim(self, decision_id: str) -> None:
        self._write(_DROP_CLAIM, (decision_id,))

    def keep_answer(self, answer: KeptAnswer) -> None:
        self._write(_KEEP_ANSWER, answer)

    def move(self, moved: Moved | None) -> None:
        self._moved = None
        self._write("UPDATE store SET moved = %s", (None if moved is None else str(moved),))
        self._moved = moved

    def _read(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        return self._flush((sql, parameters))

    def _first(self, sql: str, parameters: Sequence[Any]) -> Any:
        rows = self._read(sql, parameters)
        return rows[0][0] if rows else None

    def _write(self, sql: str, parameters: Sequence[Any] = ()) -> None:
        if self._link is None:
            raise ended()
        if self._moved is not None:
            raise migrated(self._moved)
        self.has_written = True
        self._pending.append((sql, parameters))
        if len(self._pending) >= _MOST_PENDING:
            self._flush(self._pending.pop())

    def _flush(self, last: Statement) -> list[Row]:
        if self._link is None:
            raise ended()
        pending, self._pending = self._pending, []
        return self._link.execute_all([*pending, last])


def _page(query: DecisionQuery) -> Statement:
    chosen: list[tuple[str, object]] = []
    if query.label is not None:
        chosen.append(("label = %s", query.label))
    if query.before is not None:
        chosen.append(("ordinal < %s", query.before))
    if query.phase is not None:
        chosen.append(("phase = %s", query.phase))
    if query.approved is not None:
        chosen.append(("approved_until > %s" if query.approved else "approved_until <= %s", query.now))
    if query.expired is not None:
        chosen.append(("expires_at <= %s" if query.expired else "expires_at > %s", query.now))
    if query.requester is not None:
        chosen.append(("requester = %s", query.requester))
    source = "projections" if query.label is None else "labels JOIN projections USING (ordinal)"
    where = " AND ".join(["event_count > 0", *(condition for condition, _ in chosen)])
    sql = f"SELECT {_ROW_COLUMNS} FROM {source} WHERE {where} ORDER BY ordinal DESC LIMIT %s OFFSET %s"
    return sql, [*(value for _, value in chosen), query.limit, query.offset]


@cache
def _update_of(changed: tuple[int, ...]) -> str:
    """The statement that changes these fields of a row. Few combinations ever change together."""
    columns = ", ".join(f"{DecisionRow._fields[place]} = %s" for place in changed)
    return f"UPDATE projections SET {columns} WHERE ordinal = %s"


def _value(row: DecisionRow, place: int) -> object:
    return list(row.labels) if place == _LABELS else row[place]


def decision_row_of(row: Row) -> DecisionRow:
    return DecisionRow._make((*row[:_LABELS], tuple(row[_LABELS]), *row[_LABELS + 1 :]))


def _last_leaf(level: int, index: int) -> int:
    return (index + 1 << level) - 1
