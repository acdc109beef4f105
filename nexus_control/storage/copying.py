"""Copies a database while others use it: SQLite's backup, from one reading transaction.

The copy is what was committed when it began. It holds up no writer, and a writer does not disturb it.
"""

import sqlite3
from contextlib import closing
from pathlib import Path

from nexus_control.storage.faults import unavailable
from nexus_control.storage.sqlite_connection import connect
from nexus_control.storage.sqlite_file import SqliteFile
from nexus_control.storage.sqlite_reading import keeps_from_writing


def copy_database(source: Path, target: Path) -> None:
    """Copy the database at `source`, which is there, into the new file `target`. Raises STORE_UNAVAILABLE."""
    try:
        file = SqliteFile(source, _as_it_is, reads_only=keeps_from_writing(source) is not None)
        try:
            with (
                file.transaction("BEGIN", writing=False) as connection,
                closing(connect(f"{target.as_uri()}?mode=rwc", 0)) as copy,
            ):
                connection.backup(copy)
        finally:
            file.close()
    except sqlite3.Error as error:
        raise unavailable(f"{source} cannot be copied: {error}", path=str(source)) from error


def _as_it_is(_: sqlite3.Connection) -> None:
    """A database that is only copied needs no preparation."""
