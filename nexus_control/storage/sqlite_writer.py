"""WriterLock: the one lock of all writers of a SQLite file in this process, and the commits that they share.

A commit waits for the disk, so eight threads that commit one after another are no faster than one. Therefore a thread
that has the lock does the writes of those who wait for it, too, before its COMMIT; they need not wake up for that.
Where nobody waits a write is committed at once.

* Nobody is answered before the COMMIT, not a refusal either: it may rest on an event that never became durable.
* Each part but the thread's own is inside a savepoint. A refused one rolls back to it, and the others lose nothing.
* Any other exception, SQLite's too, rolls all of it back. Then each thread does its own part again, alone; so it does
  where the thread that did it is interrupted.
* Where the COMMIT fails nothing of it is stored, and everybody hears that.
* A transaction that must be alone (`SqliteFile.transaction`) does the parts that wait first, in one of their own. So
  does a write that was refused. Otherwise a thread that takes the lock again and again would keep them waiting.
* Other processes wait meanwhile, so no part is begun after `_MOST_PARTS`, or `_LONGEST_SECONDS`.
* A part is a function of its connection and changes nothing else, because it may run in another thread, and again. What
  it remembers of rows (`log.session.Recent`) is compared with the stored ones before it is used.
"""

import copy
import sqlite3
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Generic, Literal, TypeAlias, cast

from nexus_control.errors import NexusControlError
from nexus_control.storage.contract import ResultT
from nexus_control.storage.faults import busy, interrupted, nested
from nexus_control.storage.sqlite_connection import roll_back
from nexus_control.storage.usage import Turn, goes_on

_MOST_PARTS = 32
_LONGEST_SECONDS = 0.005
_PATIENCE_SECONDS = 0.05
"""How long a thread sleeps unless it is woken: the one that should wake it may be interrupted."""
_GRACE_SECONDS = 10.0
"""How long after its own time a thread waits for one that has taken up its part."""

_State: TypeAlias = Literal["offered", "returned", "committing", "settled"]


class Part(Generic[ResultT]):
    """One thread's write, which it offers to the others. It is `returned` where its own thread has to do it, and
    `settled` once another one has committed it, or its refusal. Where the thread that was `committing` it is gone,
    nobody knows its outcome. Each change of the state is one assignment, so that an interruption leaves no other one.
    """

    __slots__ = ("_fault", "_result", "_sleep", "_work", "state", "turn")

    def __init__(self, work: Callable[[sqlite3.Connection], ResultT]) -> None:
        self.state: _State = "offered"
        self.turn: weakref.ref[Turn] | None = None
        self._work = work
        self._result: ResultT | NexusControlError | None = None
        self._fault: Exception | None = None
        self._sleep = threading.Lock()

    def run(self, connection: sqlite3.Connection) -> None:
        self._result = self._work(connection)

    def run_for_its_thread(self, connection: sqlite3.Connection) -> None:
        """Do it, or keep what refused it. Raises every other exception."""
        connection.execute("SAVEPOINT part")
        try:
            self._result = self._work(connection)
        except NexusControlError as error:
            connection.execute("ROLLBACK TO part")
            # Without its traceback, which would keep the frames of this thread alive.
            self._result = copy.copy(error)
        connection.execute("RELEASE part")

    def result(self) -> ResultT:
        """Raises what refused it, or the fault of its COMMIT."""
        if self._fault is not None:
            raise copy.copy(self._fault)
        if isinstance(self._result, NexusControlError):
            raise self._result
        return cast("ResultT", self._result)

    def settle(self, fault: Exception | None) -> None:
        self._fault = fault
        self.state = "settled"
        self.wake()

    def return_it(self) -> None:
        self.state = "returned"
        self.wake()

    def wake(self) -> None:
        """Let its thread look again."""
        with suppress(RuntimeError):  # it is awake
            self._sleep.release()

    def sleep(self, seconds: float) -> None:
        """Until it is woken; one call of `wake` before counts."""
        self._sleep.acquire(timeout=seconds)


class WriterLock:
    """The lock, who has it, and the parts that are offered. A thread has the lock from `take` to `give_back`."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._lock = threading.RLock()
        self._turn: weakref.ref[Turn] | None = None
        self._offered = deque[Part[Any]]()
        self._unknown = interrupted(path)

    def require_other(self, turn: Turn) -> None:
        """Raises INTERNAL inside a transaction of this thread that writes the same file through another store."""
        if self._is_written_by(turn.thread):
            raise nested()

    def take(self, turn: Turn, seconds: float, part: Part[Any] | None = None) -> bool:
        """Whether this thread has the lock now; False where its part was settled by another thread meanwhile. Raises
        STORE_UNAVAILABLE.
        """
        if not self._lock.acquire(blocking=False) and not self._wait(turn, seconds, part):
            return False
        self._turn = turn.reference
        return True

    def give_back(self) -> None:
        """Release it as often as this thread has taken it: only the lock knows, wherever an interruption came."""
        if self._release() and self._offered:
            with suppress(IndexError):  # it was withdrawn
                self._offered[0].wake()

    def is_free_for_this_thread(self) -> bool:
        """Whether nobody writes, this thread through another store included; then the lock is its own until it gives it
        back.
        """
        return not self._is_written_by(threading.get_ident()) and self._lock.acquire(blocking=False)

    def offered(self) -> int:
        """How many parts wait for the thread that has the lock."""
        return len(self._offered)

    def run_offered(self, connection: sqlite3.Connection) -> list[Part[Any]] | None:
        """Do the parts that wait. Returns those that this thread's COMMIT is to settle; None after a fault, when the
        whole transaction was rolled back. A SystemExit of a part cannot be told from one of this thread, and ends it.
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
                part.return_it()
            if isinstance(error, Exception):
                return None
            raise
        return parts

    def commit(
        self,
        turn: Turn,
        connection: sqlite3.Connection,
        parts: Sequence[Part[Any]],
        look: Callable[[], None],
    ) -> None:
        """COMMIT, look whether it went to the file in its place, and settle these parts."""
        fault: Exception | None = self._unknown
        try:
            for part in parts:
                part.state = "committing"
            if self._turn is not turn.reference:  # a signal's handler wrote, and rolled this back before
                raise copy.copy(self._unknown)
            connection.execute("COMMIT")
            look()
            fault = None
        except (sqlite3.Error, NexusControlError) as error:
            fault = error
            raise
        finally:
            roll_back(connection)
            for part in parts:
                part.settle(fault)

    def _wait(self, turn: Turn, seconds: float, part: Part[Any] | None) -> bool:
        """Whether the lock comes to this thread before its part is settled."""
        end = time.monotonic() + seconds
        if part is not None:
            self._offer(part, turn, end)
            if part.state == "settled":
                self.give_back()
                return False
        if not self._lock.acquire(timeout=max(end - time.monotonic(), 0)):
            raise busy(f"{self._path} is busy: another thread is writing all the time", path=self._path)
        if part is not None and part.state == "committing":  # and the thread that did so is gone
            self.give_back()
            raise copy.copy(self._unknown)
        return True

    def _offer(self, part: Part[Any], turn: Turn, end: float) -> None:
        """Let others do this part, until it is settled or returned, the lock is this thread's, or the time is up.

        A part is put down before the lock is tried, and a thread that gives the lock back looks for parts after that.
        So one of the two always sees a part that waits.
        """
        part.turn = turn.reference
        part.sleep(0)  # so that the next time it waits to be woken
        is_given_up = False
        try:
            self._offered.append(part)
            while part.state not in ("settled", "returned") and not self._lock.acquire(blocking=False):
                left = end - time.monotonic()
                is_given_up = left < -_GRACE_SECONDS
                if is_given_up or (left <= 0 and self._withdraw(part)):
                    break
                part.sleep(min(left, _PATIENCE_SECONDS) if left > 0 else _PATIENCE_SECONDS)
        except BaseException:
            if not self._withdraw(part):
                self._let_end(part)
            raise
        self._withdraw(part)
        if is_given_up:
            raise copy.copy(self._unknown)

    def _let_end(self, part: Part[Any]) -> None:
        """Let the thread that has taken up the part end it: then the interrupted caller can look what came of it."""
        end = time.monotonic() + _GRACE_SECONDS
        while part.state not in ("settled", "returned") and time.monotonic() < end:
            if self._lock.acquire(blocking=False):  # that thread is gone
                self.give_back()
                return
            part.sleep(_PATIENCE_SECONDS)

    def _is_written_by(self, thread: int) -> bool:
        turn = None if self._turn is None else self._turn()
        return turn is not None and turn.thread == thread and not turn.is_over

    def _next(self) -> Part[Any] | None:
        """The next part whose thread still waits: an interruption may have kept one from being withdrawn."""
        while True:
            try:
                part = self._offered.popleft()
            except IndexError:
                return None
            if part.turn is not None and goes_on(part.turn):
                return part

    def _withdraw(self, part: Part[Any]) -> bool:
        """Whether no other thread has taken up the part."""
        try:
            self._offered.remove(part)
        except ValueError:
            return False
        return True

    def _release(self) -> bool:
        """Whether this thread had the lock."""
        had_it = False
        try:
            while True:
                self._lock.release()
                had_it = True
        except RuntimeError:
            return had_it
