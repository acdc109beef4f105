"""One SQLite connection: how it is opened, and one transaction on it."""

import sqlite3
from collections.abc import Generator
from contextlib import contextmanager


def connect(database: str, busy_seconds: float) -> sqlite3.Connection:
    """A connection to this URI. A thread other than its own may close it: after its own thread has ended, at a fork, or
    when the store is closed.
    """
    return sqlite3.connect(
        database, uri=True, timeout=busy_seconds, isolation_level=None, check_same_thread=False
    )


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
