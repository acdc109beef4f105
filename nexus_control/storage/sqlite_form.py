"""The form of a SQLite store: its tables, indexes and triggers, held against those that a version makes.

An object is known by its name; its type, its table and the text that made it must be the same. The indexes that SQLite
makes by itself for a UNIQUE or PRIMARY KEY have no text, and belong to their table. Tables of statistics (ANALYZE) say
nothing about the store.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple, TypeAlias

from nexus_control.storage.sqlite_rows import Connection

_GUARDS = ("trigger", "view", "index")
"""What holds no data, in the order in which it can be dropped."""


class _Made(NamedTuple):
    type: str
    table: str
    sql: str


Form: TypeAlias = Mapping[str, _Made]


def form_of(connection: Connection) -> Form:
    """What the database is made of, by name."""
    rows = connection.execute(
        "SELECT name, type, tbl_name, sql FROM sqlite_master"
        " WHERE sql IS NOT NULL AND NOT (type = 'table' AND name GLOB 'sqlite_stat[0-9]')"
    ).fetchall()
    return {name: _Made(*made) for name, *made in rows}


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


def mending(found: Form, expected: Form) -> Iterator[str]:
    """The statements that make triggers, views and indexes as expected. What holds data is left as it is."""
    for kind in _GUARDS:
        for name, made in found.items():
            if made.type == kind and expected.get(name) != made:
                quoted = name.replace('"', '""')
                yield f'DROP {kind.upper()} "{quoted}"'
    for name, made in expected.items():
        if made.type in _GUARDS and found.get(name) != made and made.table in found:
            yield made.sql
