"""SqliteMemory: a SQLite database in memory, with the interface of `SqliteFile`."""

import sqlite3
from collections.abc import Callable, Generator
from contextlib import contextmanager

from nexus_control.storage.contract import BUSY_SECONDS
from nexus_control.storage.sqlite_connection import connect, roll_back, transaction
from nexus_control.storage.usage import InMemory


class SqliteMemory(InMemory):
    """One connection; the database is gone when it is closed."""

    def __init__(
        self, prepare: Callable[[sqlite3.Connection], None], busy_seconds: float = BUSY_SECONDS
    ) -> None:
        self._connection = connect(":memory:", busy_seconds)
        super().__init__(self._connection.close, busy_seconds)
        prepare(self._connection)

    @contextmanager
    def transaction(self, begin: str, *, writing: bool) -> Generator[sqlite3.Connection]:
        with self._turn():
            roll_back(self._connection)  # a transaction that an interruption left open
            with transaction(self._connection, begin):
                yield self._connection
                self._require_not_forked()
