"""Writer: the one lock of all writers of a SQLite file in this process, and the commits that they share.

A commit waits for the disk, so eight threads that commit one after another are no faster than one. Therefore a thread
that has written does the writes of those who wait for the lock, too, before its COMMIT; they need not wake up for it.
Where nobody waits a write is committed at once.

* Nobody is answered before the COMMIT, not a refusal either: it may rest on an event that never became durable.
* Each part but the thread's own is inside a savepoint. A refused one rolls back to it, and the others lose nothing.
* Any other exception, SQLite's too, rolls all of it back. Then each thread does its own part again, alone; so it does
  where the thread that did it is interrupted.
* Where the COMMIT fails nothing of it is stored, and everybody hears that.
* Other processes wait meanwhile, so nothing is begun after `_MOST_PARTS`, or `_LONGEST_SECONDS`.
* A part is a function of its connection and changes nothing else, because it may run in another thread, and again.
"""

import copy
import sqlite3
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Generic, cast

from nexus_control.errors import NexusControlError
from nexus_control.storage.contract import ResultT
from nexus_control.storage.faults import busy, nested
from nexus_control.storage.sqlite_connection import roll_back
from nexus_control.storage.usage import Turn

_MOST_PARTS = 32
_LONGEST_SECONDS = 0.005
_PATIENCE_SECONDS = 0.05
"""How long a thread waits to be called, in case that the one that should have called it was interrupted."""
_INTERRUPTED = "its commit was interrupted: look at the request's status before you try again"


class Part(Generic[ResultT]):
    """One thread's write. `is_settled` once another thread has committed it, or its refusal; `is_returned` once it is
    left to its own thread. `fault` is set before the COMMIT: who finds it set has an outcome that nobody knows.
    """

    __slots__ = ("_called", "_result", "_work", "fault", "is_returned", "is_settled")

    def __init__(self, work: Callable[[sqlite3.Connection], ResultT]) -> None:
        self.is_settled = self.is_returned = False
        self.fault: sqlite3.Error | None = None
        self._work = work
        self._result: ResultT | NexusControlError | None = None
        self._called = threading.Lock()

    def run(self, connection: sqlite3.Connection) -> None:
        self._result = self._work(connection)

    def run_for_its_thread(self, connection: sqlite3.Connection) -> None:
        """Do it, or keep what refused it. Raises every other exception."""
        connection.execute("SAVEPOINT part")
        try:
            self._result = self._work(connection)
        except NexusControlError as error:
            connection.execute("ROLLBACK TO part")
            self._result = error
        connection.execute("RELEASE part")

    def result(self) -> ResultT:
        """Raises what refused it, or `sqlite3.Error` where the COMMIT failed."""
        if self.fault is not None:
            raise copy.copy(self.fault)
        if isinstance(self._result, NexusControlError):
            raise self._result
        return cast("ResultT", self._result)

    def settle(self) -> None:
        self.is_settled = True
        self.call()

    def give_back(self) -> None:
        self.is_returned = True
        self.call()

    def call(self) -> None:
        """Wake its thread: it has something to look at."""
        with suppress(RuntimeError):  # it is awake
            self._called.release()

    def wait(self, seconds: float) -> None:
        self._called.acquire(timeout=seconds)


class Writer:
    """The lock, who has it, and the parts that wait. A thread has the lock from `take` to `give_back`."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._lock = threading.RLock()
        self._turn: weakref.ref[Turn] | None = None
        self._waiting = deque[Part[Any]]()

    def require_other(self, turn: Turn) -> None:
        """Raises INTERNAL inside a transaction of this thread that writes the same file through another store."""
        before = None if self._turn is None else self._turn()
        if before is not None and before.thread == turn.thread and not before.is_over:
            raise nested()

    def take(self, turn: Turn, seconds: float, part: Part[Any] | None = None) -> bool:
        """Whether this thread has the lock now; False where the part was settled by another thread meanwhile."""
        if not self._lock.acquire(blocking=False) and not self._comes(part, seconds):
            return False
        self._turn = turn.reference
        return True

    def give_back(self) -> None:
        """Release it as often as this thread has taken it: only the lock knows, wherever an interruption came."""
        self._release()
        if self._waiting:
            with suppress(IndexError):  # it was withdrawn
                self._waiting[0].call()

    def is_free_for_this_thread(self) -> bool:
        """Whether nobody else writes; then the lock is this thread's, until it is given back."""
        return self._lock.acquire(blocking=False)

    def is_awaited(self) -> bool:
        """Whether parts wait that the thread with the lock could do."""
        return bool(self._waiting)

    def run_waiting(self, connection: sqlite3.Connection) -> list[Part[Any]] | None:
        """Do the parts that wait. Returns those that this thread's COMMIT is to settle; None after a fault, when the
        whole transaction was rolled back.
        """
        end, parts = time.monotonic() + _LONGEST_SECONDS, list[Part[Any]]()
        try:
            while len(parts) < _MOST_PARTS and time.monotonic() < end:
                if (part := self._next()) is None:
                    break
                parts.append(part)
                part.run_for_its_thread(connection)
        except BaseException as error:
            roll_back(connection)
            for part in parts:
                part.give_back()
            if isinstance(error, Exception):
                return None
            raise
        return parts

    def commit(self, connection: sqlite3.Connection, parts: Sequence[Part[Any]]) -> None:
        """COMMIT, and settle these parts. Raises `sqlite3.Error`."""
        fault: sqlite3.Error | None = sqlite3.OperationalError(_INTERRUPTED)
        for part in parts:
            part.fault = fault
        try:
            connection.execute("COMMIT")
            fault = None
        except sqlite3.Error as error:
            fault = error
            raise
        finally:
            roll_back(connection)
            for part in parts:
                part.fault = fault
                part.settle()

    def _comes(self, part: Part[Any] | None, seconds: float) -> bool:
        """Whether the lock comes to this thread before the part is settled. Raises STORE_UNAVAILABLE after so long."""
        end = time.monotonic() + seconds
        if part is not None and not self._is_left(part, end):
            return False
        if not self._lock.acquire(timeout=max(end - time.monotonic(), 0)):
            raise busy(f"{self._path} is busy: another thread is writing all the time", path=self._path)
        if part is not None and (part.is_settled or part.fault is not None):
            self.give_back()
            return False
        return True

    def _is_left(self, part: Part[Any], end: float) -> bool:
        """Let others do this part. Whether this thread has to take the lock for it after all: because the lock is free,
        or the part was given back, or the time is up.

        A part is put down before the lock is tried, and a thread that gives the lock back looks for parts after that.
        So one of the two always sees a part that waits.
        """
        part.wait(0)  # so that the next time it waits for a call
        self._waiting.append(part)
        try:
            while not part.is_settled:
                if part.is_returned or self._lock.acquire(blocking=False):
                    return True
                left = end - time.monotonic()
                if left <= 0 and self._withdraw(part):
                    return True
                part.wait(min(left, _PATIENCE_SECONDS) if left > 0 else _PATIENCE_SECONDS)
            return False
        finally:
            self._withdraw(part)

    def _next(self) -> Part[Any] | None:
        try:
            return self._waiting.popleft()
        except IndexError:
            return None

    def _release(self) -> None:
        try:
            while True:
                self._lock.release()
        except RuntimeError:
            return

    def _withdraw(self, part: Part[Any]) -> bool:
        """Whether no other thread has taken up the part."""
        try:
            self._waiting.remove(part)
        except ValueError:
            return False
        return True
