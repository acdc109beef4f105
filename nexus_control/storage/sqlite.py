"""SqliteStorage: the contract on SQLite, in a file or in memory.

A file is in WAL mode with `synchronous=FULL`: what was acknowledged survives a loss of power, and readers neither
block the writer nor wait for it. Each thread has its own connection, kept open until the thread is gone. Writers of
one storage queue on a lock in the process, so that they do not meet in SQLite's busy back-off; writers of several
processes meet there. A storage in memory is one connection under one lock.

A connection never crosses `fork()`: a child opens its own to the file, and leaves its parent's untouched; a storage
in memory refuses to work in the child, where its writes would be lost unseen.

A `sqlite3.Error` is translated to STORE_UNAVAILABLE in one place, where the transaction ends.
"""

import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Generator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

from nexus_control.errors import NexusControlError
from nexus_control.storage.contract import Reader, Writer
from nexus_control.storage.faults import closed, nested, unavailable
from nexus_control.storage.sidecar import FileSidecar, MemorySidecar, Sidecar
from nexus_control.storage.sqlite_functions import FUNCTIONS
from nexus_control.storage.sqlite_rows import Session
from nexus_control.storage.sqlite_schema import MIGRATIONS, require_ours, require_usable_file

IN_MEMORY = ":memory:"

_BUSY_SECONDS = 30.0
_RETRY_SECONDS = 0.005
_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL}

_TAKE_SNAPSHOT = "SELECT 1 FROM claims LIMIT 1"
"""BEGIN alone takes none: the snapshot would be that of the first read."""

_abandoned: list[sqlite3.Connection] = []
"""Connections of a parent process: SQLite forbids even to close them here, so they must not be collected."""


class SqliteStorage:
    """A store in the file at `path`, made when it is not there, or in memory (":memory:")."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        file = None if os.fspath(path) == IN_MEMORY else Path(path).absolute()
        self._place: _Place = _Memory() if file is None else _File(file)
        self.sidecar: Sidecar = MemorySidecar() if file is None else FileSidecar(file)
        self._close = weakref.finalize(self, self._place.close)

    def reading(self) -> AbstractContextManager[Reader]:
        return self._session(writing=False)

    def writing(self) -> AbstractContextManager[Writer]:
        return self._session(writing=True)

    def close(self) -> None:
        self._close()

    @contextmanager
    def _session(self, *, writing: bool) -> Generator[Session]:
        try:
            with self._place.connection(writing=writing) as connection:
                session = Session(connection)
                with _transaction(connection, "BEGIN IMMEDIATE" if writing else "BEGIN"):
                    if not writing:
                        connection.execute(_TAKE_SNAPSHOT).fetchone()
                    try:
                        yield session
                    finally:
                        session.end()
        except sqlite3.Error as error:
            raise _fault(error, self._place.name) from error


class _Place(Protocol):
    """Where a store is: it lends connections."""

    name: str

    def connection(self, *, writing: bool) -> AbstractContextManager[sqlite3.Connection]:
        """An idle connection, for this thread alone until it is given back."""
        ...

    def close(self) -> None: ...


class _Memory:
    name = IN_MEMORY

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.RLock()
        self._closed = False
        self._connection = _connect(IN_MEMORY)
        migrate(self._connection, IN_MEMORY)

    @contextmanager
    def connection(self, *, writing: bool) -> Generator[sqlite3.Connection]:
        if self._pid != os.getpid():
            raise unavailable("a store in memory cannot be used after fork(): open a file instead")
        with self._lock:
            if self._closed:
                raise closed()
            if self._connection.in_transaction:
                raise nested()
            yield self._connection

    def close(self) -> None:
        if self._pid == os.getpid():
            with self._lock:
                self._closed = True
                self._connection.close()


class _File:
    def __init__(self, path: Path) -> None:
        self.name = str(path)
        require_usable_file(path)
        self._uri = path.as_uri()
        self._closed = False
        self._processes: dict[int, _Connections] = {}
        try:
            self._here().adopt(self._open("rwc"))
        except sqlite3.Error as error:
            raise _fault(error, self.name) from error

    @contextmanager
    def connection(self, *, writing: bool) -> Generator[sqlite3.Connection]:
        if self._closed:
            raise closed()
        here = self._here()
        # Only the first connection may make the file: one that has gone is not replaced by an empty one unseen.
        connection = here.mine() or here.adopt(self._open("rw"))
        if connection.in_transaction:
            raise nested()
        if not writing:
            yield connection
            return
        if not here.writer.acquire(timeout=_BUSY_SECONDS):
            raise unavailable(f"{self.name} is busy: another thread is writing all the time", path=self.name)
        try:
            yield connection
        finally:
            here.writer.release()

    def close(self) -> None:
        self._closed = True
        self._here().close()

    def _here(self) -> "_Connections":
        """The connections of this process."""
        here = self._processes.get(os.getpid())
        if here is None:
            for parent in list(self._processes.values()):
                _abandoned.extend(parent.by_thread.values())
            here = self._processes.setdefault(os.getpid(), _Connections())
        return here

    def _open(self, mode: str) -> sqlite3.Connection:
        connection = _connect(f"{self._uri}?mode={mode}")
        try:
            _prepare(connection, self.name)
        except UnicodeDecodeError as error:  # what SQLite says of a damaged schema quotes it
            connection.close()
            raise unavailable(f"{self.name} is damaged: its schema is no text", path=self.name) from error
        except BaseException:
            connection.close()
            raise
        return connection


class _Connections:
    """The connections of one process to one file, by thread.

    A thread whose identifier is that of a dead one takes over its idle connection; those of other dead threads are
    closed when the next thread comes.
    """

    def __init__(self) -> None:
        self.writer = threading.Lock()
        self.by_thread: dict[int, sqlite3.Connection] = {}
        self._lock = threading.Lock()
        self._closed = False

    def mine(self) -> sqlite3.Connection | None:
        return self.by_thread.get(threading.get_ident())

    def adopt(self, connection: sqlite3.Connection) -> sqlite3.Connection:
        me = threading.current_thread()  # a thread that Python did not start is listed as alive from here on
        with self._lock:
            if self._closed:
                connection.close()
                raise closed()
            alive = {me.ident, *(thread.ident for thread in threading.enumerate())}
            for ident in self.by_thread.keys() - alive:
                self.by_thread.pop(ident).close()
            self.by_thread[threading.get_ident()] = connection
        return connection

    def close(self) -> None:
        with self._lock:
            self._closed = True
            while self.by_thread:
                self.by_thread.popitem()[1].close()


def migrate(
    connection: sqlite3.Connection, where: str, migrations: Sequence[Sequence[str]] = MIGRATIONS
) -> None:
    """Bring the schema up to date, one transaction a migration. Raises STORE_UNAVAILABLE for what is not ours."""
    while (version := _schema_version(connection, where, len(migrations))) < len(migrations):
        for name, (places, function) in FUNCTIONS.items():
            connection.create_function(name, places, function, deterministic=True)
        with _transaction(connection, "BEGIN IMMEDIATE"):
            if _user_version(connection) == version:  # nobody was faster
                for statement in migrations[version]:
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {version + 1}")


def _schema_version(connection: sqlite3.Connection, where: str, newest: int) -> int:
    with _transaction(connection, "BEGIN"):
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        (application_id,) = connection.execute("PRAGMA application_id").fetchone()
        version = _user_version(connection)
    return require_ours(where, application_id, version, empty=tables == 0, newest=newest)


def _user_version(connection: sqlite3.Connection) -> int:
    return connection.execute("PRAGMA user_version").fetchone()[0]


def _connect(database: str) -> sqlite3.Connection:
    # Connections are closed by another thread than their own when that one is dead or the storage is closed.
    return sqlite3.connect(
        database, uri=True, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
    )


def _prepare(connection: sqlite3.Connection, where: str) -> None:
    """Set up a connection to a file. The busy timeout does not cover the switch to WAL: try again for as long."""
    deadline = time.monotonic() + _BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA synchronous = FULL")
            (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
            if mode != "wal":
                raise unavailable(f"{where} is on a file system without WAL: use a local disk", path=where)
            migrate(connection, where)
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF not in _BUSY or time.monotonic() > deadline:
                raise
            time.sleep(_RETRY_SECONDS)


@contextmanager
def _transaction(connection: sqlite3.Connection, begin: str) -> Generator[None]:
    try:
        connection.execute(begin)
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _fault(error: sqlite3.Error, where: str) -> NexusControlError:
    details = {"path": where}
    if name := getattr(error, "sqlite_errorname", None):
        details["sqlite_errorname"] = name
    return unavailable(f"the store {where} failed: {error}", **details)
