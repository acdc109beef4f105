"""Reads a database that this process may read and not write, and makes no file beside it.

    /srv/team              drwxrws--x  alice team     an auditor may not make files here
    /srv/team/decisions.db -rw-rw-r--  alice team     and may only read this one

SQLite reads a database in WAL mode with the help of its `-wal` and `-shm`:

* Where a `-wal` lies beside the database, a writer has it open, or was killed. The connection is read-only and uses the
  `-shm` that is there. It waits for a writer that just opens the database, and for no other; no writer waits for it.
* Where no `-wal` lies there, nobody writes. The database is copied, as one that does not change (`immutable`), into a
  temporary database of this process, which SQLite keeps in memory as far as there is room. Then the file is looked at
  again: the copy counts only if it is the same file, unchanged, and still without a `-wal`. Else all is repeated. Each
  transaction looks at the file again, and copies it again if it was changed.

An empty `-wal` counts as none: it holds nothing that the database lacks.
"""

import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from nexus_control.errors import NexusControlError
from nexus_control.storage.faults import unavailable, unwritable
from nexus_control.storage.sqlite_connection import connect

_State: TypeAlias = tuple[tuple[int, ...], ...]
_RETRY_SECONDS = 0.005


class Copy(sqlite3.Connection):
    """A temporary copy of a database, and the state of the file that was copied."""

    state: _State = ()

    def is_of(self, path: str) -> bool:
        """Whether the file is still as it was."""
        return self.state == _state(path)


def keeps_from_writing(path: Path) -> Path | None:
    """Which file or folder keeps this process from writing to the database at `path`; None if it may write. The files
    that SQLite keeps beside the database must be writable too, or possible to make.
    """
    are_all_there = True
    for name in (str(path), f"{path}-wal", f"{path}-shm"):
        if not os.access(name, os.W_OK):
            file = Path(name)
            if file.exists() and not os.access(file, os.W_OK):  # another process may have made it meanwhile
                return file
            are_all_there = False
    return None if are_all_there or os.access(path.parent, os.W_OK) else path.parent


def refusal_to_write(path: Path) -> NexusControlError:
    """The fault for a transaction that would write to a database that was opened for reading only."""
    return unwritable(path, keeps_from_writing(path) or path)


def open_to_read(
    path: str, uri: str, prepare: Callable[[sqlite3.Connection], None], busy_seconds: float
) -> sqlite3.Connection:
    """A connection that reads the database. Raises `sqlite3.Error`, the faults of `prepare`, STORE_UNAVAILABLE."""
    deadline = time.monotonic() + busy_seconds
    while True:
        before = _state(path)
        is_live = any(before[1:])
        try:
            connection = _live(uri, busy_seconds) if is_live else _copied(uri, before)
            try:
                prepare(connection)
            except BaseException:
                connection.close()
                raise
            if is_live or before == _state(path):
                return connection
            connection.close()
        except sqlite3.Error as error:
            is_as_before = before == _state(path)
            if is_as_before and is_live and not Path(f"{path}-shm").exists():
                raise _needs_a_writer(path) from None
            if is_as_before and (not is_passing(error, path) or time.monotonic() > deadline):
                raise
        if time.monotonic() > deadline:
            raise unavailable(f"{path} changes all the time while it is read: try again", path=path)
        time.sleep(_RETRY_SECONDS)


def is_passing(error: sqlite3.Error, path: str) -> bool:
    """Whether a `-wal` and a `-shm` may only not fit each other yet, as while a writer opens or closes the database:
    SQLite would write or make the `-shm`, and must not.
    """
    code = error.sqlite_errorcode & 0xFF
    return code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN) and os.access(f"{path}-shm", os.R_OK)


def _live(uri: str, busy_seconds: float) -> sqlite3.Connection:
    connection = connect(f"{uri}?mode=ro&readonly_shm=1", busy_seconds)
    try:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection


def _copied(uri: str, state: _State) -> sqlite3.Connection:
    copy = sqlite3.connect("", isolation_level=None, check_same_thread=False, factory=Copy)
    copy.state = state
    source = connect(f"{uri}?immutable=1", 0)
    try:
        source.backup(copy)
    except BaseException:
        copy.close()
        raise
    finally:
        source.close()
    return copy


def _state(path: str) -> _State:
    """What tells that the database, or a log of changes beside it, was changed; empty for one that holds nothing."""
    database, *logs = (_stat(f"{path}{suffix}") for suffix in ("", "-wal", "-journal"))
    looked = () if database is None else (database.st_size, database.st_mtime_ns, database.st_ctime_ns)
    return (_identity(database) + looked, *map(_identity, logs))


def _stat(name: str) -> os.stat_result | None:
    try:
        return os.stat(name)  # called at each transaction: a Path takes twice as long
    except FileNotFoundError:
        return None


def _identity(found: os.stat_result | None) -> tuple[int, ...]:
    return (found.st_dev, found.st_ino) if found is not None and found.st_size else ()


def _needs_a_writer(path: str) -> NexusControlError:
    return unavailable(
        f"{path} was left in the middle of a change (a -wal without its -shm), which can only be finished by a user who"
        " may write it: run `nexus-control doctor` as that user first",
        path=path,
    )
