"""The form of a SQLite store: its tables, indexes and triggers, compared with those of a new store. SQLite also checks
that each index leads to the rows of its table.

Two objects of one name are the same if their type, table and SQL text are equal. Indexes that SQLite makes for a UNIQUE
or PRIMARY KEY have no text, and are not compared; neither are tables of statistics (ANALYZE).
"""

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple, TypeAlias

from nexus_control.storage.faults import damaged
from nexus_control.storage.sqlite_rows import Connection, mark_in

_GUARDS = ("trigger", "view", "index")
"""The types of object that hold no data, in the order in which they can be dropped."""

_MOST_PROBLEMS = 1_000
_OF_AN_INDEX = re.compile(r"\b(?:missing from|entries in|entry in|of) index (.+)")
_OF_A_VALUE = re.compile(r"CHECK constraint failed in |(?:NULL|NUMERIC|TEXT|non-\w+) value in ")


class _Made(NamedTuple):
    type: str
    table: str
    sql: str


Form: TypeAlias = Mapping[str, _Made]


def form_of(connection: Connection) -> Form:
    """The objects of the database, by name; without the triggers of a store that was moved."""
    rows = connection.execute(
        "SELECT name, type, tbl_name, sql FROM sqlite_master"
        " WHERE sql IS NOT NULL AND NOT (type = 'table' AND name GLOB 'sqlite_stat[0-9]')"
    ).fetchall()
    return {name: _Made(*made) for name, *made in rows if mark_in(made[-1]) is None}


def differences(found: Form, expected: Form) -> list[str]:
    """Each object that is missing, added or changed, in one line."""
    missing = [f"the {made.type} {name} is missing" for name, made in expected.items() if name not in found]
    added = [
        f"the {made.type} {name!s:.80} on {made.table!s:.80} was added"
        for name, made in found.items()
        if name not in expected
    ]
    changed = [
        f"the {made.type} {name} is not as it was made"
        for name, made in expected.items()
        if name in found and found[name] != made
    ]
    return missing + added + changed


def damages(connection: Connection) -> list[str]:
    """What SQLite finds wrong first, in pages, indexes or values, if there is anything."""
    (found,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    return [] if found == "ok" else [f"SQLite finds it damaged: {found:.200}"]


def stale_indexes(connection: Connection) -> list[str]:
    """Each index that does not lead to the rows of its table, in one line: a search by it misses rows or finds wrong
    ones. Values of columns are not checked here; a replay of the log does that. Raises STORE_UNAVAILABLE where SQLite
    finds the file itself damaged.
    """
    rows: list[tuple[str]] = connection.execute(f"PRAGMA integrity_check({_MOST_PROBLEMS})").fetchall()
    problems = [problem for (problem,) in rows if problem != "ok" and not _OF_A_VALUE.match(problem)]
    of_an_index = [_OF_AN_INDEX.search(problem) for problem in problems]
    for problem, found in zip(problems, of_an_index, strict=True):
        if found is None:
            raise damaged(f"SQLite finds the file damaged: {problem:.200}")
    names = dict.fromkeys(found[1] for found in of_an_index if found is not None)
    return [f"the index {name:.80} does not lead to the rows of its table" for name in names]


def mending(found: Form, expected: Form) -> Iterator[str]:
    """The statements that make triggers, views and indexes as expected, and fill the indexes again. Tables are left as
    they are.
    """
    for kind in _GUARDS:
        for name, made in found.items():
            if made.type == kind and expected.get(name) != made:
                quoted = name.replace('"', '""')
                yield f'DROP {kind.upper()} "{quoted}"'
    for name, made in expected.items():
        if made.type in _GUARDS and found.get(name) != made and made.table in found:
            yield made.sql
    yield "REINDEX"
