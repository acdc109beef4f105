"""SqliteMemory: a SQLite database in memory, with the interface of `SqliteFile`."""

import sqlite3
from collections.abc import Callable

from nexus_control.storage.contract import BUSY_SECONDS, ResultT
from nexus_control.storage.sqlite_connection import connect, roll_back
from nexus_control.storage.usage import InMemory, Turn


class SqliteMemory(InMemory):
    """One connection; the database is gone when it is closed."""

    def __init__(
        self, prepare: Callable[[sqlite3.Connection], None], busy_seconds: float = BUSY_SECONDS
    ) -> None:
        self.connection = connect(":memory:", busy_seconds)
        super().__init__(self.connection.close, busy_seconds)
        prepare(self.connection)

    def transaction(self, begin: str, *, writing: bool) -> "_Transaction":
        """A transaction of this thread: committed at normal exit, rolled back on an exception."""
        return _Transaction(self, begin)

    def write(self, work: Callable[[sqlite3.Connection], ResultT]) -> ResultT:
        """What `work` returns, in a writing transaction. There is no commit to wait for."""
        with _Transaction(self, "BEGIN IMMEDIATE") as connection:
            return work(connection)


class _Transaction(Turn):
    """A transaction on a SqliteMemory. A class rather than a generator, which is slower: every call makes one."""

    __slots__ = ("_begin", "_place")

    def __init__(self, place: SqliteMemory, begin: str) -> None:
        super().__init__()
        self._place = place
        self._begin = begin

    def __enter__(self) -> sqlite3.Connection:
        connection = self._place.connection
        try:
            self._place.take(self)
            roll_back(connection)  # a transaction that an interruption left open
            connection.execute(self._begin)
        except BaseException:
            self._place.give_back(self)
            raise
        return connection

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        connection = self._place.connection
        try:
            if kind is None:
                self._place.require_not_forked()
                connection.execute("COMMIT")
        finally:
            roll_back(connection)
            self._place.give_back(self)
