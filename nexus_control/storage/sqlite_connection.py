"""One SQLite connection: how it is opened, and one transaction on it."""

import sqlite3
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager

RETRY_SECONDS = 0.005
_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL}


def connect(database: str, busy_seconds: float) -> sqlite3.Connection:
    """A connection to this URI. A thread other than its own may close it: after its own thread has ended, at a fork, or
    when the store is closed.
    """
    return sqlite3.connect(
        database, uri=True, timeout=busy_seconds, isolation_level=None, check_same_thread=False
    )


def open_to_write(
    database: str, prepare: Callable[[sqlite3.Connection], None], busy_seconds: float
) -> sqlite3.Connection:
    """A connection that `prepare` has set up. The busy timeout does not cover the switch to WAL, so that is tried again
    for as long.
    """
    connection = connect(database, busy_seconds)
    deadline = time.monotonic() + busy_seconds
    try:
        while True:
            try:
                prepare(connection)
                return connection
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF not in _BUSY or time.monotonic() > deadline:
                    raise
                time.sleep(RETRY_SECONDS)
    except BaseException:
        connection.close()
        raise


@contextmanager
def transaction(connection: sqlite3.Connection, begin: str) -> Generator[None]:
    """Commit at normal exit, roll back on an exception."""
    connection.execute(begin)
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        roll_back(connection)
        raise


def roll_back(connection: sqlite3.Connection) -> None:
    if connection.in_transaction:
        connection.execute("ROLLBACK")


def close_all(connections: dict[int, sqlite3.Connection]) -> None:
    while connections:
        connections.popitem()[1].close()


def never_close(connection: sqlite3.Connection) -> None:
    """Keep a parent's connection for ever: to close it would write to a file whose locks this process does not hold."""
    import ctypes  # only a child that lost a store loads this

    ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))
