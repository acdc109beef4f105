"""SqliteFile: one SQLite file as this process may use it.

Three facts of POSIX and SQLite make the rules here:

* POSIX drops every lock that a process has on a file when any descriptor of that file is closed. So the file is opened
  only through SQLite, which keeps descriptors open while locks are held.
* A child of `fork()` inherits what SQLite remembers of locks, but not the locks. So a fork first waits for the
  transactions under way and closes every connection; new transactions wait until the fork is over. A connection cannot
  be closed while the forking thread is in a transaction on it, or another thread's does not end in time. The child
  leaves it alone, and refuses the file from then on (STORE_FORKED), also to a fresh SqliteFile.
* SQLite goes on writing to a file that was replaced or deleted. So each transaction checks that the path still leads to
  the file that was opened. A writing one checks again after its commit, before it acknowledges (`storage.in_place`).

Each thread has its own connection, kept open until the thread is gone. Writers of one file in this process, whichever
SqliteFile they came through, queue on one lock, so that they do not meet in SQLite's busy back-off, and may share a
commit (`storage.sqlite_writer`).
"""

import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from nexus_control.errors import NexusControlError
from nexus_control.storage.contract import BUSY_SECONDS, ResultT
from nexus_control.storage.faults import forked
from nexus_control.storage.in_place import Inode, Places
from nexus_control.storage.sqlite_connection import (
    RETRY_SECONDS,
    close_all,
    never_close,
    open_to_write,
    roll_back,
)
from nexus_control.storage.sqlite_reading import Copy, is_passing, open_to_read, refusal_to_write
from nexus_control.storage.sqlite_writer import Part, WriterLock
from nexus_control.storage.usage import Gate, Turn, Usage

_WRITER = 0
"""In place of a thread's identifier: the connection of the thread that writes. Another connection would read again
what the last writer changed.
"""


class SqliteFile:
    """The file at `path`, made if it is missing. `prepare` sets up a new connection, and is called again while the file
    is busy. With `reads_only` the file must be there, is never written to, and gets no files beside it.

    Raises `sqlite3.Error`, the faults of `prepare`, STORE_FORKED, STORE_REPLACED, STORE_UNAVAILABLE.
    """

    def __init__(
        self,
        path: Path,
        prepare: Callable[[sqlite3.Connection], None],
        busy_seconds: float = BUSY_SECONDS,
        *,
        reads_only: bool = False,
    ) -> None:
        self.busy_seconds = busy_seconds
        self.reads_only = reads_only
        self.path = str(path)
        self._uri = path.as_uri()
        self._prepare = prepare
        self.places = Places(self.path)
        self._connections = dict[int, sqlite3.Connection]()
        self.usage = Usage(_process.current().gate, partial(close_all, self._connections))
        with _process.gate.lock:
            _process.files.add(self)
        turn = Turn()
        try:
            self.usage.begin(turn, self.admit)
            connection = self._open("rwc")
            with _process.gate.lock:
                self.places.keep()
                self.writer = _process.writer_of(self.places.inode, self.path)
                self._adopt(turn.thread, connection)
        finally:
            turn.is_over = True
            self.usage.end(turn)
        weakref.finalize(self, _abandon, self.usage)

    def transaction(self, begin: str, *, writing: bool) -> "_Transaction":
        """A transaction of this thread: committed at normal exit, rolled back on an exception."""
        return _Transaction(self, begin, writing)

    def write(self, work: Callable[[sqlite3.Connection], ResultT]) -> ResultT:
        """What `work` returns, in a writing transaction that may be shared (`storage.sqlite_writer`)."""
        return _Transaction(self, "BEGIN IMMEDIATE", writing=True).share(work)

    def lend(self, thread: int) -> sqlite3.Connection:
        """The connection of a thread that is in a transaction. It never makes the file: a deleted store must not become
        an empty one unnoticed.
        """
        connection = self._connections.get(thread)
        if isinstance(connection, Copy) and not connection.is_of(self.path):
            self._connections.pop(thread).close()
            connection = None
        if connection is None:
            self.places.require_file()
            connection = self._open("rw")
            with _process.gate.lock:
                self._adopt(thread, connection)
        return connection

    def begun_to_read(self, connection: sqlite3.Connection, begin: str, thread: int) -> sqlite3.Connection:
        """A connection of this thread in a transaction that has its snapshot: this one, or another where a writer that
        opens or closes the database made it useless.
        """
        deadline = time.monotonic() + self.busy_seconds
        while True:
            try:
                connection.execute(begin)
                connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
                return connection
            except sqlite3.Error as error:
                if not is_passing(error, self.path) or time.monotonic() > deadline:
                    raise
            self._connections.pop(thread).close()
            time.sleep(RETRY_SECONDS)
            connection = self.lend(thread)

    def end_what_was_left(self) -> None:
        """Roll back a writing transaction of this thread that an interruption kept from being left. Where another
        thread writes now, or this one through another store, this store has left nothing.
        """
        if self.writer.is_free_for_this_thread():
            if (connection := self._connections.get(_WRITER)) is not None:
                roll_back(connection)
            self.writer.give_back()

    def held(self) -> AbstractContextManager[None]:
        """In the block, this thread may begin transactions even after `close()`."""
        _process.current()
        return self.usage.held()

    def close(self) -> None:
        """Close, and wait for the transactions under way; see `Usage`. Closing twice is allowed."""
        _process.current()
        self.usage.close(self.busy_seconds)

    def close_for_fork(self) -> None:
        """Close every connection, unless one is in a transaction."""
        if not self.usage.in_transaction:
            close_all(self._connections)

    def forget_parent(self) -> None:
        """In a child: forget the transactions of the parent's threads; open connections are left alone."""
        if self._connections or self.usage.in_transaction:
            _process.forked.add(self.places.inode)
        while self._connections:
            never_close(self._connections.popitem()[1])
        self.usage.forget(_process.gate)
        self.writer = _process.writer_of(self.places.inode, self.path)

    def admit(self, thread: int) -> None:
        _process.wait_for_fork(thread)
        self.require_not_forked()

    def _open(self, mode: str) -> sqlite3.Connection:
        if self.reads_only:
            return open_to_read(self.path, self._uri, self._prepare, self.busy_seconds)
        return open_to_write(f"{self._uri}?mode={mode}", self._prepare, self.busy_seconds)

    def _adopt(self, thread: int, connection: sqlite3.Connection) -> sqlite3.Connection:
        """Keep the connection for this thread, and close those of threads that have ended. A thread that got the
        identifier of an ended one takes over its connection.
        """
        threading.current_thread()  # lists a thread as alive that Python did not start
        if not self._connections:  # SQLite keeps these two in place while a connection is open
            self.places.keep_beside()
        self._connections[thread] = connection
        alive = {each.ident for each in threading.enumerate()}
        for gone in self._connections.keys() - alive - self.usage.in_transaction.keys() - {_WRITER}:
            self._connections.pop(gone).close()
        return connection

    def is_forked(self) -> bool:
        process = _process.current()
        return process.gate.is_shut and self.places.inode in process.forked

    def require_not_forked(self) -> None:
        if self.places.inode is not None and self.is_forked():
            raise forked(self.path)


class _Transaction(Turn):
    """A transaction on a SqliteFile. A class rather than a generator, which is slower: every call of a store makes one.

    An exit gives back all that was taken; `storage.usage.Turn` says how interruptions are handled.
    """

    __slots__ = ("_begin", "_connection", "_file", "_parts", "_writer", "_writing")

    def __init__(self, file: SqliteFile, begin: str, writing: bool) -> None:
        super().__init__()
        self._file = file
        self._begin = begin
        self._writing = writing
        self._connection: sqlite3.Connection | None = None
        self._writer: WriterLock | None = None
        self._parts: Sequence[Part[Any]] = ()

    def __enter__(self) -> sqlite3.Connection:
        try:
            self._admit()
            connection = self._begun()
            if self._commit_others(connection):
                connection.execute(self._begin)
            return connection
        except BaseException:
            self._leave(commit=False)
            raise

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if not self.is_over:
            self._leave(commit=kind is None)

    def __del__(self) -> None:
        """Roll back a transaction that an interruption kept from being left."""
        if not self.is_over:
            self._leave(commit=False)

    def share(self, work: Callable[[sqlite3.Connection], ResultT]) -> ResultT:
        """What `work` returns, here or in the transaction of another thread."""
        part = Part(work)
        try:
            if self._admit(part):
                connection = self._begun()
                before = connection.total_changes
                try:
                    part.run(connection)
                except NexusControlError:
                    with suppress(sqlite3.Error, NexusControlError):  # theirs: they are told of it
                        if connection.total_changes != before and self._file.writer.offered():
                            roll_back(connection)
                            connection.execute(self._begin)
                        self._commit_others(connection)
                    raise
                if self._file.writer.offered() and not self._run_offered(connection):
                    part.run(connection)
        except BaseException:
            self._leave(commit=False)
            raise
        self._leave(commit=True)
        return part.result()

    def _commit_others(self, connection: sqlite3.Connection) -> bool:
        """Whether there were parts of other threads to commit. Nothing was written here yet."""
        if self._writer is None or not self._writer.offered() or not self._run_offered(connection):
            return False
        self._commit(connection)
        return True

    def _run_offered(self, connection: sqlite3.Connection) -> bool:
        """Do the parts of other threads. False where a fault of theirs undid all of it, and it was begun again."""
        self._file.require_not_forked()  # in a child they are of the parent's threads
        parts = self._file.writer.run_offered(connection)
        if parts is None:
            connection.execute(self._begin)
            return False
        self._parts = parts
        return True

    def _admit(self, part: Part[Any] | None = None) -> bool:
        """Whether this transaction may begin now: not where another thread has done the part."""
        file = self._file
        _process.current()
        if self._writing and file.reads_only:
            raise refusal_to_write(Path(file.path))
        if file.usage.begin(self, file.admit):
            file.end_what_was_left()
        if not self._writing:
            return True
        file.writer.require_other(self)
        self._writer = file.writer
        return self._writer.take(self, file.busy_seconds, part)

    def _begun(self) -> sqlite3.Connection:
        file = self._file
        connection = file.lend(_WRITER if self._writing else self.thread)
        roll_back(connection)  # a transaction that an interruption left open
        self._connection = connection
        if file.reads_only:
            connection = self._connection = file.begun_to_read(connection, self._begin, self.thread)
        else:
            connection.execute(self._begin)
        file.places.require_file()
        return connection

    def _leave(self, *, commit: bool) -> None:
        """A child that was forked inside the transaction neither commits nor rolls back: the transaction is the
        parent's.
        """
        file, connection = self._file, self._connection
        try:
            self.is_over = True
            if commit and connection is not None:
                file.require_not_forked()
                self._commit(connection)
        finally:
            if connection is not None and connection.in_transaction and not file.is_forked():
                connection.execute("ROLLBACK")
            for part in self._parts:  # an interruption came before they were committed
                part.return_it()
            if self._writer is not None:
                self._writer.give_back()
            file.usage.end(self)

    def _commit(self, connection: sqlite3.Connection) -> None:
        parts, self._parts = self._parts, ()
        if self._writer is None:
            connection.execute("COMMIT")
        else:
            self._writer.commit(self, connection, parts, self._file.places.require_all)


class _Process:
    """State that all SqliteFiles of this process share. `gate` guards it, and the state of each file.

    The forking thread holds the gate from before the fork until after it, in both processes: so the child finds a
    consistent state.
    """

    def __init__(self) -> None:
        self.gate = Gate()
        self.files = weakref.WeakSet[SqliteFile]()
        self.forked = set[Inode | None]()
        self._writers = weakref.WeakValueDictionary[Inode | None, WriterLock]()
        self._pid = os.getpid()
        self._forking: int | None = None

    def current(self) -> "_Process":
        """This process's state, also after a fork that ran none of Python's fork handlers."""
        if self._pid != os.getpid():
            self.after_in_child()
        return self

    def writer_of(self, inode: Inode | None, path: str) -> WriterLock:
        writer = self._writers.get(inode)
        if writer is None:
            writer = self._writers[inode] = WriterLock(path)
        return writer

    def wait_for_fork(self, thread: int) -> None:
        """Wait until another thread's fork is over, unless the fork waits for a transaction of this thread."""
        if self._forking not in (None, thread) and not self._is_in_transaction(thread):
            self.gate.wait_for(lambda: self._forking is None)

    def before(self) -> None:
        thread = threading.get_ident()
        self.gate.lock.acquire()
        self.gate.wait_for(lambda: self._forking is None)
        self._forking = thread
        self.gate.is_shut = True
        others = [each for each in self.files if thread not in each.usage.in_transaction]
        self.gate.wait_for(
            lambda: not any(each.usage.in_transaction for each in others),
            max((each.busy_seconds for each in others), default=0.0),
        )
        for each in others:
            each.close_for_fork()

    def after_in_parent(self) -> None:
        self._forking = None
        self.gate.is_shut = bool(self.forked)
        self.gate.changed()
        self.gate.lock.release()

    def after_in_child(self) -> None:
        self.gate = Gate()
        self._writers.clear()
        self._pid = os.getpid()
        self._forking = None
        for each in list(self.files):
            each.forget_parent()
        self.gate.is_shut = bool(self.forked)

    def _is_in_transaction(self, thread: int) -> bool:
        return any(thread in each.usage.in_transaction for each in self.files)


_process = _Process()
os.register_at_fork(
    before=_process.before,
    after_in_parent=_process.after_in_parent,
    after_in_child=_process.after_in_child,
)


def _abandon(usage: Usage) -> None:
    _process.current()
    usage.abandon()
