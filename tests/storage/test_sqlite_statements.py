"""A statement is compiled once: SQLite asks the authorizer only when it compiles."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from nexus_control.storage.contract import DecisionQuery, Storage
from nexus_control.storage.sqlite_rows import SqliteRows
from tests.storage.rows import decision_row, entry
from tests.storage.steps import append

READS: dict[str, Callable[[SqliteRows, int], object]] = {
    "entries to the last": lambda rows, n: rows.entries("decision", "d1", n),
    "entries up to an end": lambda rows, n: rows.entries("decision", "d1", n, n, n + 1),
    "generations": lambda rows, n: rows.generations("decision", f"d{n}"),
    "first entries": lambda rows, n: rows.first_entries("decision"),
    "log to the last": lambda rows, n: rows.log(n),
    "log up to an end": lambda rows, n: rows.log(n, n + 1),
    "position": lambda rows, n: rows.position("decision", "d1", n, n),
    "subtree": lambda rows, n: rows.subtree(0, n),
    "decision row": lambda rows, n: rows.decision_row(f"d{n}"),
    "decision row that is known": lambda rows, n: rows.decision_row(f"d{n}", decision_row(n)),
    "decision rows": lambda rows, n: rows.decision_rows(DecisionQuery(now="2026", limit=1, offset=n)),
    "decision of a key": lambda rows, n: rows.decision_of(f"key {n}"),
    "approvals": lambda rows, n: rows.approvals(n),
    "claim": lambda rows, n: rows.claim(f"d{n}"),
}


def compilations(connection: sqlite3.Connection) -> list[str]:
    """What is appended to at each compilation from now on."""
    asked: list[str] = []

    def asks(action: int, *names: str | None) -> int:
        asked.append(f"{action} {names}")
        return sqlite3.SQLITE_OK

    connection.set_authorizer(asks)
    return asked


@pytest.mark.parametrize("name", READS)
def test_a_second_read_with_other_values_compiles_nothing(name: str, storage: Storage, path: Path) -> None:
    append(storage, "d1")
    append(storage, "d2")
    with closing(sqlite3.connect(path)) as connection:
        compiled, rows = compilations(connection), SqliteRows(connection)
        READS[name](rows, 0)
        assert compiled
        compiled.clear()
        READS[name](rows, 1)
        assert compiled == []


def test_a_second_append_compiles_nothing(storage: Storage, path: Path) -> None:
    append(storage, "d1")
    with closing(sqlite3.connect(path)) as connection:
        compiled, rows = compilations(connection), SqliteRows(connection)
        for n in (2, 3):
            compiled.clear()
            rows.append([entry(f"d{n}")])
            rows.save(decision_row(n))
        assert compiled == []
        connection.rollback()
