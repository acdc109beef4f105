"""SqliteMemory: a SQLite database in memory, with the doors of a `SqliteFile`."""

import os
import sqlite3
import threading
import weakref
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager

from nexus_control.storage.contract import BUSY_SECONDS
from nexus_control.storage.faults import forked
from nexus_control.storage.sqlite_connection import connect, roll_back, transaction
from nexus_control.storage.usage import Gate, Turn, Usage


class SqliteMemory:
    """A database in memory: one connection, one transaction at a time. In the child of a fork it is refused, where its
    writes would be lost unseen.
    """

    def __init__(
        self, prepare: Callable[[sqlite3.Connection], None], busy_seconds: float = BUSY_SECONDS
    ) -> None:
        self._pid = os.getpid()
        self._busy_seconds = busy_seconds
        self._lock = threading.Lock()
        self._connection = connect(":memory:", busy_seconds)
        self._usage = Usage(Gate(), self._connection.close)
        prepare(self._connection)
        weakref.finalize(self, _abandon, self._usage, self._pid)

    @contextmanager
    def transaction(self, begin: str, *, writing: bool) -> Generator[sqlite3.Connection]:
        self._require_not_forked()
        turn = Turn()
        try:
            self._usage.begin(turn)
            with self._lock:
                roll_back(self._connection)  # what an interruption left
                with transaction(self._connection, begin):
                    yield self._connection
                    self._require_not_forked()
        finally:
            turn.is_over = True
            self._usage.end(turn)

    def held(self) -> AbstractContextManager[None]:
        self._require_not_forked()
        return self._usage.held()

    def close(self) -> None:
        if self._pid == os.getpid():
            self._usage.close(self._busy_seconds)

    def _require_not_forked(self) -> None:
        if self._pid != os.getpid():
            raise forked("a store in memory")


def _abandon(usage: Usage, pid: int) -> None:
    if pid == os.getpid():  # elsewhere its condition may be one that nobody will ever release
        usage.abandon()
