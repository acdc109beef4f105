"""Readers and writers on SQLite: rows to SQL and back. Other modules open connections and transactions."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, fields
from functools import lru_cache
from operator import itemgetter
from typing import Any, NoReturn, Protocol, TypeAlias, cast

from nexus_control.evidence.formats.merkle import grow
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
from nexus_control.storage.faults import damaged, ended, no_subtree
from nexus_control.storage.moved import Moved
from nexus_control.storage.sqlite_mark import GUARDED, MARKED, guard, mark_in
from nexus_control.storage.sqlite_sinks import SqliteSinks

Row: TypeAlias = tuple[Any, ...]


class Cursor(Iterable[Row], Protocol):
    @property
    def lastrowid(self) -> Any: ...

    def fetchone(self) -> Any: ...

    def fetchall(self) -> list[Any]: ...


class Connection(Protocol):
    """The one method that is used of a `sqlite3.Connection`."""

    def execute(self, sql: str, parameters: Sequence[Any] = ..., /) -> Cursor: ...

    def executemany(self, sql: str, parameters: Iterable[Sequence[Any]], /) -> Cursor: ...


# The columns of a table are the fields of its record, in their order.
_CLAIM_FIELDS = tuple(field.name for field in fields(Claim))
_LABELS = DecisionRow._fields.index("labels")
_STREAM_KEY = 3  # an entry begins with kind, stream, generation


def _places(names: Sequence[str]) -> str:
    return ", ".join("?" for _ in names)


_ENTRY = ", ".join(Entry._fields)
_ROW_COLUMNS = ", ".join(DecisionRow._fields)
_CLAIM = ", ".join(_CLAIM_FIELDS)

# `+?`: with a bare parameter SQLite compiles the statement at each call, to see whether the index `first_entries`,
# which has generation 0 only, would do for this value. That takes three times as long as the reading.
_ENTRIES = f"""SELECT {", ".join(Entry._fields[_STREAM_KEY:])} FROM entries
    WHERE kind = ? AND stream = ? AND generation = +? AND seq >= ?"""
# One statement for both would read on to the end. Without an end there is no bound: one would hide a damaged seq.
_ENTRIES_TO_THE_LAST, _ENTRIES_UNTIL = f"{_ENTRIES} ORDER BY seq", f"{_ENTRIES} AND seq < ? ORDER BY seq"
_GENERATIONS = "SELECT DISTINCT generation FROM entries WHERE kind = ? AND stream = ? ORDER BY generation"
_FIRST_ENTRIES = f"""SELECT {_ENTRY} FROM entries
    WHERE kind = ? AND generation = 0 AND seq = 0 ORDER BY position"""
_LOG = f"SELECT position, {_ENTRY} FROM entries WHERE position >= ?"
_LOG_TO_THE_LAST, _LOG_UNTIL = f"{_LOG} ORDER BY position", f"{_LOG} AND position < ? ORDER BY position"
_LOG_SIZE = "SELECT coalesce(max(position) + 1, 0) FROM entries"
_APPEND = f"""INSERT INTO entries(position, {_ENTRY})
    VALUES ((SELECT coalesce(max(position) + 1, 0) FROM entries), {_places(Entry._fields)})"""
_POSITION = "SELECT position FROM entries WHERE kind = ? AND stream = ? AND generation = +? AND seq = ?"

_SUBTREE = "SELECT hash FROM subtrees WHERE last_leaf = ? AND level = ?"
# A row whose last leaf completes no subtree of its level is never read. Its index here is a text: no tree has that.
_SUBTREES = """SELECT level, CASE WHEN typeof(last_leaf) = 'integer' AND (last_leaf + 1) % (1 << level) = 0
    THEN (last_leaf + 1 >> level) - 1 ELSE quote(last_leaf) END, hash FROM subtrees"""
_PUT_SUBTREE = "INSERT INTO subtrees(last_leaf, level, hash) VALUES (?, ?, ?)"

_ONE_ROW = f"SELECT {_ROW_COLUMNS} FROM projections WHERE decision_id = ?"
_IS_THIS_ROW = (
    f"SELECT 1 FROM projections WHERE {' AND '.join(f'{name} = ?' for name in DecisionRow._fields)}"
)
_DECISIONS = "SELECT decision_id, created_at FROM projections ORDER BY ordinal DESC LIMIT ? OFFSET ?"
_DECISION_IDS = "SELECT decision_id FROM projections WHERE decision_id >= ? ORDER BY decision_id LIMIT ?"
_NEXT_ORDINAL = "SELECT coalesce(max(ordinal), 0) + 1 FROM projections"
_BEFORE = """SELECT ordinal, event_count > 0, phase, approved_until, expires_at, requester, labels
    FROM projections WHERE decision_id = ?"""
_INSERT_ROW = f"INSERT INTO projections({_ROW_COLUMNS}) VALUES ({_places(DecisionRow._fields)})"
_UPDATE_ROW = f"""UPDATE projections
    SET {", ".join(f"{name} = ?" for name in DecisionRow._fields)} WHERE decision_id = ?"""
_ADVANCING = ("event_count", "last_ts", "head", "phase", "approved_until", "progress")
_ADVANCE = f"UPDATE projections SET {', '.join(f'{name} = ?' for name in _ADVANCING)} WHERE ordinal = ?"
"""What an event changes of a row once the policy is attached. No index leads to any of these columns."""
_RELIST = "UPDATE listing SET phase = ?, approved_until = ?, expires_at = ?, requester = ? WHERE ordinal = ?"
_LIST = "INSERT INTO listing(ordinal, phase, approved_until, expires_at, requester) VALUES (?, ?, ?, ?, ?)"
_UNLIST = "DELETE FROM listing WHERE ordinal = ?"
_ADD_LABEL = "INSERT INTO labels(label, ordinal) VALUES (?, ?)"
_REMOVE_LABEL = "DELETE FROM labels WHERE label = ? AND ordinal = ?"
_LISTED = "SELECT ordinal, phase, approved_until, expires_at, requester FROM listing ORDER BY ordinal"
_TO_BE_LISTED = """SELECT ordinal, phase, approved_until, expires_at, requester, labels FROM projections
    WHERE event_count > 0 ORDER BY ordinal"""
_LABELLED = "SELECT label, ordinal FROM labels"

_APPROVALS = "SELECT person, seq, content FROM approvals WHERE ordinal = ? ORDER BY seq, person"
_PUT_APPROVAL = "INSERT OR REPLACE INTO approvals(ordinal, person, seq, content) VALUES (?, ?, ?, ?)"
_DROP_APPROVALS = "DELETE FROM approvals WHERE ordinal = ?"
_OWNERLESS = "SELECT EXISTS (SELECT 1 FROM approvals WHERE ordinal NOT IN (SELECT ordinal FROM projections))"

_ONE_CLAIM = f"SELECT {_CLAIM} FROM claims WHERE decision_id = ?"
_CLAIMS = f"SELECT {_CLAIM} FROM claims ORDER BY decision_id"
_PUT_CLAIM = f"INSERT OR REPLACE INTO claims({_CLAIM}) VALUES ({_places(_CLAIM_FIELDS)})"
_DROP_CLAIM = "DELETE FROM claims WHERE decision_id = ?"

_DECISION_OF = "SELECT decision_id FROM projections WHERE request_key = ? AND request_key <> ''"
_ANSWER = "SELECT digest, content, truncated FROM answers WHERE digest = ?"
_KEEP_ANSWER = "INSERT OR IGNORE INTO answers(digest, content, truncated) VALUES (?, ?, ?)"


class SqliteRows(SqliteSinks):
    """Reader and writer in one. Using it after `end()` is a defect."""

    def __init__(self, connection: Connection) -> None:
        self._execute = connection.execute
        self._execute_many = connection.executemany

    def end(self) -> None:
        self._execute = self._execute_many = _refuse

    def entries(
        self, kind: EntryKind, stream: str, generation: int, start: int = 0, stop: int | None = None
    ) -> list[Entry]:
        until = () if stop is None else (stop,)
        sql = _ENTRIES_UNTIL if until else _ENTRIES_TO_THE_LAST
        rows = self._execute(sql, (kind, stream, generation, start, *until))
        begin = (kind, stream, generation)
        return [Entry._make(begin + row) for row in rows]  # each row is forgotten at once

    def generations(self, kind: EntryKind, stream: str) -> list[int]:
        return [row[0] for row in self._execute(_GENERATIONS, (kind, stream)).fetchall()]

    def first_entries(self, kind: EntryKind) -> list[Entry]:
        return [Entry._make(row) for row in self._execute(_FIRST_ENTRIES, (kind,)).fetchall()]

    def log(self, start: int = 0, stop: int | None = None) -> list[Placed]:
        if stop is None:
            rows = self._execute(_LOG_TO_THE_LAST, (start,)).fetchall()
        else:
            rows = self._execute(_LOG_UNTIL, (start, stop)).fetchall()
        return [Placed(row[0], Entry._make(row[1:])) for row in rows]

    def log_size(self) -> int:
        return self._number(_LOG_SIZE)

    def position(self, kind: EntryKind, stream: str, generation: int, seq: int) -> int | None:
        row = self._execute(_POSITION, (kind, stream, generation, seq)).fetchone()
        return None if row is None else row[0]

    def subtree(self, level: int, index: int) -> bytes:
        row = self._execute(_SUBTREE, (_last_leaf(level, index), level)).fetchone()
        if row is None:
            raise no_subtree(level, index)
        return row[0]

    def subtrees(self) -> dict[tuple[int, int], bytes]:
        return {(level, index): value for level, index, value in self._execute(_SUBTREES, ()).fetchall()}

    def decision_row(self, decision_id: str, known: DecisionRow | None = None) -> DecisionRow | None:
        if known is not None and known.decision_id == decision_id and self._is_stored(known):
            return known
        row = self._execute(_ONE_ROW, (decision_id,)).fetchone()
        return None if row is None else _decision_row(row)

    def _is_stored(self, known: DecisionRow) -> bool:
        return self._execute(_IS_THIS_ROW, _stored(known)).fetchone() is not None

    def decision_rows(self, query: DecisionQuery) -> list[DecisionRow]:
        sql, parameters = _page(query)
        return [_decision_row(row) for row in self._execute(sql, parameters).fetchall()]

    def decisions(self, limit: int, offset: int) -> list[tuple[str, str]]:
        return self._execute(_DECISIONS, (limit, offset)).fetchall()

    def decision_of(self, request_key: str) -> str | None:
        row = self._execute(_DECISION_OF, (request_key,)).fetchone()
        return None if row is None else row[0]

    def answer(self, digest: str) -> KeptAnswer | None:
        row = self._execute(_ANSWER, (digest,)).fetchone()
        return None if row is None else KeptAnswer(row[0], row[1], bool(row[2]))

    def decision_ids(self, start: str, limit: int) -> list[str]:
        return [row[0] for row in self._execute(_DECISION_IDS, (start, limit)).fetchall()]

    def approvals(self, ordinal: int) -> list[ApprovalRow]:
        return [ApprovalRow._make(row) for row in self._execute(_APPROVALS, (ordinal,)).fetchall()]

    def claim(self, decision_id: str) -> Claim | None:
        row = self._execute(_ONE_CLAIM, (decision_id,)).fetchone()
        return None if row is None else _claim(row)

    def claims(self) -> list[Claim]:
        return [_claim(row) for row in self._execute(_CLAIMS, ()).fetchall()]

    def is_filed(self) -> bool:
        rows = self._execute(_TO_BE_LISTED, ()).fetchall()
        labels = {(label, ordinal) for ordinal, *_, text in rows for label in _labels(text)}
        return (
            self._execute(_LISTED, ()).fetchall() == [row[:-1] for row in rows]
            and labels == set(self._execute(_LABELLED, ()).fetchall())
            and not self._number(_OWNERLESS)
        )

    def moved(self) -> Moved | None:
        found = self._execute(MARKED, ()).fetchone()
        return None if found is None else mark_in(found[0])

    def append(self, entries: Sequence[Entry]) -> None:
        if not entries:
            return
        first = self._execute(_APPEND, entries[0]).lastrowid
        if len(entries) > 1:
            self._execute_many(_APPEND, entries[1:])
        leaves = [bytes.fromhex(entry.leaf) for entry in entries]
        self._put_subtrees(grow(first, leaves, self.subtree))

    def _put_subtrees(self, subtrees: Mapping[tuple[int, int], bytes]) -> None:
        rows = ((_last_leaf(level, index), level, value) for (level, index), value in subtrees.items())
        self._execute_many(_PUT_SUBTREE, rows)

    def replace_subtrees(self, subtrees: Mapping[tuple[int, int], bytes]) -> None:
        self._execute("DELETE FROM subtrees", ())
        self._put_subtrees(subtrees)

    def next_ordinal(self) -> int:
        return self._number(_NEXT_ORDINAL)

    def save(self, decision_row: DecisionRow, before: DecisionRow | None = None) -> None:
        if before is None or not before.event_count or _steady(before) != _steady(decision_row):
            self._put_row(decision_row)
            return
        self._execute(_ADVANCE, (*_advancing(decision_row), decision_row.ordinal))
        if (before.phase, before.approved_until) != (decision_row.phase, decision_row.approved_until):
            self._list(_listed(before), _listed(decision_row))

    def _put_row(self, decision_row: DecisionRow) -> None:
        stored = _stored(decision_row)
        before = self._execute(_BEFORE, (decision_row.decision_id,)).fetchone()
        if before is None:
            self._execute(_INSERT_ROW, stored)
        else:
            self._execute(_UPDATE_ROW, (*stored, decision_row.decision_id))
        if (after := _listed(decision_row)) != before:
            self._list(before, after)

    def put_approvals(self, ordinal: int, approvals: Iterable[ApprovalRow]) -> None:
        for approval in approvals:
            self._execute(_PUT_APPROVAL, (ordinal, *approval))

    def replace_approvals(self, ordinal: int, approvals: Iterable[ApprovalRow]) -> None:
        self._execute(_DROP_APPROVALS, (ordinal,))
        self.put_approvals(ordinal, approvals)

    def replace_decision_rows(self, decisions: Iterable[tuple[DecisionRow, Sequence[ApprovalRow]]]) -> None:
        for table in ("projections", "listing", "labels", "approvals"):
            self._execute(f"DELETE FROM {table}", ())
        for decision_row, approvals in decisions:
            self._put_row(decision_row)
            self.put_approvals(decision_row.ordinal, approvals)

    def put_claim(self, claim: Claim) -> None:
        self._execute(_PUT_CLAIM, astuple(claim))

    def drop_claim(self, decision_id: str) -> None:
        self._execute(_DROP_CLAIM, (decision_id,))

    def keep_answer(self, answer: KeptAnswer) -> None:
        self._execute(_KEEP_ANSWER, answer)

    def _list(self, before: Row | None, after: Row) -> None:
        """Update `listing` and `labels` after a change of the columns that they repeat."""
        ordinal, has_events, *searched, labels = after
        if before is not None and before[0] == ordinal and before[1] and has_events and before[-1] == labels:
            self._execute(_RELIST, (*searched, ordinal))
            return
        if before is not None:
            self._execute(_UNLIST, (before[0],))
            self._execute_many(_REMOVE_LABEL, ((label, before[0]) for label in _labels(before[-1])))
        if has_events:
            self._execute(_LIST, (ordinal, *searched))
            self._execute_many(_ADD_LABEL, ((label, ordinal) for label in set(_labels(labels))))

    def _number(self, sql: str) -> int:
        return self._execute(sql, ()).fetchone()[0]

    def move(self, moved: Moved | None) -> None:
        for name in GUARDED:
            self._execute(f"DROP TRIGGER IF EXISTS {name}", ())
            if moved is not None:
                self._execute(guard(name, moved), ())


def _page(query: DecisionQuery) -> tuple[str, list[object]]:
    """The statement for a page: it finds the ordinals in the narrow listing, then reads only their wide rows."""
    chosen: list[tuple[str, object]] = []
    if query.label is not None:
        chosen.append(("label = ?", query.label))
    if query.before is not None:
        chosen.append(("ordinal < ?", query.before))
    if query.phase is not None:
        chosen.append(("phase = ?", query.phase))
    if query.approved is not None:
        chosen.append(("approved_until > ?" if query.approved else "approved_until <= ?", query.now))
    if query.expired is not None:
        chosen.append(("expires_at <= ?" if query.expired else "expires_at > ?", query.now))
    if query.requester is not None:
        chosen.append(("requester = ?", query.requester))
    source = "listing" if query.label is None else "labels CROSS JOIN listing USING (ordinal)"
    where = " AND ".join(condition for condition, _ in chosen) or "1"
    sql = f"""SELECT {_ROW_COLUMNS} FROM projections WHERE ordinal IN
        (SELECT ordinal FROM {source} WHERE {where} ORDER BY ordinal DESC LIMIT ? OFFSET ?)
        ORDER BY ordinal DESC"""
    return sql, [*(value for _, value in chosen), query.limit, query.offset]


def _last_leaf(level: int, index: int) -> int:
    return (index + 1 << level) - 1


def _decision_row(row: Row) -> DecisionRow:
    if tuple(map(type, row)) != _TYPES:
        raise damaged("a row of a projection is damaged: doctor --rebuild makes it from the log")
    return DecisionRow._make((*row[:_LABELS], _labels(row[_LABELS]), *row[_LABELS + 1 :]))


def _stored(row: DecisionRow) -> Row:
    return (*row[:_LABELS], _labels_text(row.labels), *row[_LABELS + 1 :])


def _claim(row: Row) -> Claim:
    *facts, recovered, late_outcome, cancel = row
    return Claim(*facts, recovered=bool(recovered), late_outcome=late_outcome, cancel=cancel)


_NUMBERS = ("ordinal", "generation", "event_count", "policy_seq", "imported_count")
_TYPES = tuple(int if name in _NUMBERS else str for name in DecisionRow._fields)
_advancing = itemgetter(*map(DecisionRow._fields.index, _ADVANCING))
_steady = itemgetter(*(place for place, name in enumerate(DecisionRow._fields) if name not in _ADVANCING))


def _listed(row: DecisionRow) -> Row:
    """What `listing` and `labels` repeat of this row, as `_BEFORE` reads it."""
    return (
        row.ordinal,
        row.event_count > 0,
        row.phase,
        row.approved_until,
        row.expires_at,
        row.requester,
        _labels_text(row.labels),
    )


@lru_cache(maxsize=256)  # a row that is known is compared with these at every call
def _labels_text(labels: tuple[str, ...]) -> str:
    return json.dumps(labels, ensure_ascii=False) if labels else "[]"


@lru_cache(maxsize=256)
def _labels(text: object) -> tuple[str, ...]:
    if text == "[]":
        return ()
    try:
        labels = json.loads(text) if isinstance(text, str) else None  # json reads bytes, too
    except (ValueError, RecursionError):
        labels = None
    if not isinstance(labels, list) or not all(
        isinstance(label, str) for label in cast("list[object]", labels)
    ):
        raise damaged("the labels of a projection are damaged: rebuild the projections from the log")
    return tuple(cast("list[str]", labels))


def _refuse(*_: object) -> NoReturn:
    raise ended()
