"""Who uses a store at this moment, and whether it is closed: the rules of `close()`, the same for every storage.

A transaction belongs to one thread, and a thread has one at a time. `close()` refuses new transactions, and returns
when those under way have ended. A running execution holds the store: its thread may still record the outcome after
`close()`. Closing from inside a transaction or an execution of the same thread is refused, because it would wait for
itself.
"""

import os
import threading
import weakref
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager, suppress

from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.storage.faults import closed, forked, nested


class Gate:
    """A lock, and a condition for threads that wait for a change of what it guards. While it `is_shut`, a new
    transaction needs the storage's `admit`.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.is_shut = False
        self._changed = threading.Condition(self.lock)
        self._waiting = 0

    def wait_for(self, happened: Callable[[], bool], seconds: float | None = None) -> bool:
        """Release the lock until this has happened, for at most so many seconds. Whether it has happened."""
        self._waiting += 1
        try:
            return self._changed.wait_for(happened, seconds)
        finally:
            self._waiting -= 1

    def changed(self) -> None:
        """Wake the waiting threads."""
        if self._waiting:
            self._changed.notify_all()


class Turn:
    """One thread's transaction, from before it begins until it has ended.

    The exception of a signal may come between any two lines, also before a transaction is left. The registry holds a
    turn by a weak reference. So the turn of a transaction that was never left is dead. Leaving sets `is_over` first, so
    an interruption while leaving is seen, too.
    """

    __slots__ = ("__weakref__", "is_alone", "is_over", "reference", "thread")

    def __init__(self) -> None:
        self.thread = threading.get_ident()
        self.is_over = self.is_alone = False
        self.reference = weakref.ref(self)


class Usage:
    """Threads in transactions, and threads whose executions hold the store. `gate` guards everything here. `release` is
    called under it once the store is closed and no thread uses it any more.
    """

    def __init__(self, gate: Gate, release: Callable[[], None]) -> None:
        self.in_transaction = dict[int, weakref.ref[Turn]]()
        self._gate = gate
        self._release = release
        self._is_closed = False
        self._holds = dict[int, int]()

    def begin(self, turn: Turn, admit: Callable[[int], None] | None = None) -> bool:
        """Begin a transaction. Returns whether an interruption left an earlier one of this thread open. Where the gate
        is shut, `admit` may wait or refuse. Raises STORE_UNAVAILABLE once closed, INTERNAL inside another transaction.
        """
        with self._gate.lock:
            if self._gate.is_shut and admit is not None:
                admit(turn.thread)
            if self._is_closed and turn.thread not in self._holds:
                raise closed()
            before = self.in_transaction.get(turn.thread)
            if before is not None and goes_on(before):
                raise nested()
            self.in_transaction[turn.thread] = turn.reference
        return before is not None

    def end(self, turn: Turn) -> None:
        """The transaction has ended, or never began."""
        with self._gate.lock:
            if self.in_transaction.get(turn.thread) is turn.reference:
                del self.in_transaction[turn.thread]
            self._gate.changed()
            if self._is_closed:
                self._release_if_over()

    @contextmanager
    def held(self) -> Generator[None]:
        """An execution of this thread: until it ends, this thread may begin transactions even after `close()`."""
        thread = threading.get_ident()
        with self._gate.lock:
            if self._is_closed and thread not in self._holds:
                raise closed()
            self._holds[thread] = self._holds.get(thread, 0) + 1
        try:
            yield
        finally:
            with self._gate.lock:
                if (left := self._holds.pop(thread, 0) - 1) > 0:
                    self._holds[thread] = left
                self._release_if_over()

    def close(self, seconds: float) -> None:
        """Close, and wait for the transactions under way. Raises STORE_IN_USE. Where only another thread's transaction
        has not ended in time the store is closed all the same, and released when that transaction ends.
        """
        thread = threading.get_ident()
        with self._gate.lock:
            own = self.in_transaction.get(thread)
            if own is not None and not goes_on(own):
                del self.in_transaction[thread]
            elif own is not None or thread in self._holds:
                raise _in_use("it was closed from inside one of its own calls")
            self._is_closed = True
            if not self._gate.wait_for(lambda: not self.in_transaction, seconds):
                raise _in_use(f"a transaction of another thread has not ended within {seconds:g} seconds")
            self._release_if_over()

    def abandon(self) -> None:
        """Close without waiting: the last reference to the store is gone, or the interpreter ends."""
        with self._gate.lock:
            self._is_closed = True
            if not self.in_transaction:
                self._release()

    def forget(self, gate: Gate) -> None:
        """In a child of a fork: the parent's threads are not here."""
        self._gate = gate
        self.in_transaction.clear()
        self._holds.clear()

    def _release_if_over(self) -> None:
        if self._is_closed and not self.in_transaction and not self._holds:
            self._release()


class InMemory:
    """The use of a store in memory: one transaction at a time. A forked child is refused (STORE_FORKED), because its
    writes would be lost unnoticed.
    """

    def __init__(self, release: Callable[[], None], busy_seconds: float) -> None:
        self._pid = os.getpid()
        self._busy_seconds = busy_seconds
        self._lock = threading.RLock()
        self._usage = Usage(Gate(), release)
        weakref.finalize(self, _abandon, self._usage, self._pid)

    def held(self) -> AbstractContextManager[None]:
        """In the block, this thread may begin transactions even after `close()`."""
        self.require_not_forked()
        return self._usage.held()

    def close(self) -> None:
        """Close, and wait for the transactions under way; see `Usage`. Closing twice is allowed."""
        if self._pid == os.getpid():
            self._usage.close(self._busy_seconds)

    def take(self, turn: Turn) -> None:
        """Begin a transaction of this thread, the only one. It is given back whatever happens, also in here."""
        self.require_not_forked()
        if self._usage.begin(turn):
            self._release_all()
        turn.is_alone = True
        self._lock.acquire()

    def give_back(self, turn: Turn) -> None:
        """End what `take` began, as far as it came."""
        turn.is_over = True
        if turn.is_alone:
            with suppress(RuntimeError):  # an interruption may come before it is taken
                self._lock.release()
        self._usage.end(turn)

    def _release_all(self) -> None:
        """Release the lock as often as this thread has taken it: an interruption kept it from that, and only the lock
        knows.
        """
        with suppress(RuntimeError):
            while True:
                self._lock.release()

    def require_not_forked(self) -> None:
        if self._pid != os.getpid():
            raise forked("a store in memory")


def _abandon(usage: Usage, pid: int) -> None:
    if pid == os.getpid():  # in a child, another thread of the parent may hold the condition for ever
        usage.abandon()


def goes_on(turn: weakref.ref[Turn]) -> bool:
    """Whether this turn has not ended, and no interruption has lost it."""
    alive = turn()
    return alive is not None and not alive.is_over


def _in_use(why: str) -> NexusControlError:
    return NexusControlError(ErrorCode.STORE_IN_USE, f"The store is in use: {why}")
