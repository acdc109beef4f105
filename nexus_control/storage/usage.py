"""Who is using a store at this moment, and whether it is closed: the rules of `close()` that every storage keeps.

A transaction belongs to one thread, and a thread has one at a time. `close()` shuts the door to new transactions, and
returns when those under way have ended. An execution that runs holds the store: its thread may still record the
outcome after `close()`. Closing from inside a transaction or an execution of the same thread is refused, because it
would wait for itself.
"""

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager

from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.storage.faults import closed, nested


class Usage:
    """Threads in transactions, and threads whose executions hold the store. `condition` guards everything here;
    `release` is called under it when the store is closed and nobody will use it any more.
    """

    def __init__(self, condition: threading.Condition, release: Callable[[], None]) -> None:
        self.in_transaction = set[int]()
        self._condition = condition
        self._release = release
        self._is_closed = False
        self._holds = dict[int, int]()

    @contextmanager
    def transaction(self, admit: Callable[[int], None] | None = None) -> Generator[int]:
        """A transaction of this thread, which is given; `admit` may still refuse it, or wait. Raises STORE_UNAVAILABLE
        once closed, INTERNAL inside another transaction.
        """
        thread = threading.get_ident()
        with self._condition:
            if admit is not None:
                admit(thread)
            if self._is_closed and thread not in self._holds:
                raise closed()
            if thread in self.in_transaction:
                raise nested()
            self.in_transaction.add(thread)
        try:
            yield thread
        finally:
            with self._condition:
                self.in_transaction.discard(thread)
                self._condition.notify_all()
                self._release_if_over()

    @contextmanager
    def held(self) -> Generator[None]:
        """An execution of this thread: until it ends, this thread may begin transactions even after `close()`."""
        thread = threading.get_ident()
        with self._condition:
            if self._is_closed and thread not in self._holds:
                raise closed()
            self._holds[thread] = self._holds.get(thread, 0) + 1
        try:
            yield
        finally:
            with self._condition:
                if (left := self._holds.pop(thread, 0) - 1) > 0:
                    self._holds[thread] = left
                self._release_if_over()

    def close(self, seconds: float) -> None:
        """Close, and wait so long for the transactions under way. Raises STORE_IN_USE; where only another thread's
        transaction does not end in time, the store is closed all the same, and released when that ends.
        """
        thread = threading.get_ident()
        with self._condition:
            if thread in self.in_transaction or thread in self._holds:
                raise _in_use("it was closed from inside one of its own calls")
            self._is_closed = True
            if not self._condition.wait_for(lambda: not self.in_transaction, timeout=seconds):
                raise _in_use(f"a transaction of another thread has not ended within {seconds:g} seconds")
            self._release_if_over()

    def abandon(self) -> None:
        """Close without waiting: nobody has the store any more, or the interpreter ends."""
        with self._condition:
            self._is_closed = True
            if not self.in_transaction:
                self._release()

    def forget(self, condition: threading.Condition) -> None:
        """In a child of a fork: the parent's threads are not here."""
        self._condition = condition
        self.in_transaction.clear()
        self._holds.clear()

    def _release_if_over(self) -> None:
        if self._is_closed and not self.in_transaction and not self._holds:
            self._release()


def _in_use(why: str) -> NexusControlError:
    return NexusControlError(ErrorCode.STORE_IN_USE, f"The store is in use: {why}")
