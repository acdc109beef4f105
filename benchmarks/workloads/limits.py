"""What a disk gives: durable commits of one row of an event's size, in SQLite as the store sets it up."""

import sqlite3
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from pathlib import Path

ROW = "x" * 300


@contextmanager
def raw_commits(path: Path) -> Generator[Callable[[], object]]:
    """A call that inserts and commits one row: write-ahead log, synchronous=FULL."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("CREATE TABLE row (number INTEGER PRIMARY KEY, content TEXT)")
        yield lambda: connection.execute("INSERT INTO row (content) VALUES (?)", (ROW,))
