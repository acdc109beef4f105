"""The connections of one store in this process.

A connection is lent to one transaction at a time. Those that nobody uses are kept, the last used one is lent first, and
there are never more than sixteen: a thread waits for one as long as for a lock. One that the server has ended meanwhile
is replaced before anything is sent on it.

After `fork()` a child leaves its parent's connections alone and opens its own. Where the forking thread was inside a
transaction, the child's copy of the store is refused (STORE_FORKED); a store that the child opens itself is not.
"""

import os
import threading
import weakref
from contextlib import AbstractContextManager

import psycopg

from nexus_control.storage.faults import forked, unavailable
from nexus_control.storage.postgres_address import Address
from nexus_control.storage.postgres_link import Link, connect, fault
from nexus_control.storage.usage import Gate, Turn, Usage

MOST_CONNECTIONS = 16

_all = weakref.WeakSet["Links"]()


class Links:
    """`gate` guards which connections there are."""

    def __init__(self, address: Address, busy_seconds: float) -> None:
        self.address = address
        self.busy_seconds = busy_seconds
        self._gate = Gate()
        self._idle: list[Link] = []
        self._open = weakref.WeakSet[Link]()
        """Those lent, and the idle ones. One that an interruption kept from being given back is closed, and leaves this
        set by itself.
        """
        self.usage = Usage(self._gate, self._close_idle)
        self._pid = os.getpid()
        self._is_forked = False
        _all.add(self)

    def lent(self) -> "Lent":
        """A connection for the block, as a transaction of this thread."""
        return Lent(self)

    def begin(self, turn: Turn) -> None:
        """Raises STORE_UNAVAILABLE once closed, INTERNAL inside another transaction of this thread, STORE_FORKED."""
        if self._pid != os.getpid():  # after a fork that ran none of Python's handlers
            self.after_fork()
        self._require_not_forked()
        self.usage.begin(turn)

    def take(self) -> Link:
        """Raises `psycopg.Error`, STORE_UNAVAILABLE."""
        with self._gate.lock:
            if not self._has_one() and not self._gate.wait_for(self._has_one, self.busy_seconds):
                raise unavailable(
                    f"all {MOST_CONNECTIONS} connections to {self.address.where} are in use",
                    path=self.address.where,
                )
            kept = self._idle.pop() if self._idle else None
            if kept is None:
                link = Link(self.address.where)
                self._open.add(link)
            else:
                link = kept
        try:
            if kept is None:
                connect(link, self.address, self.busy_seconds)
            elif not kept.is_alive():
                kept.close()
                connect(kept, self.address, self.busy_seconds)
            return link
        except BaseException:
            self.give(link)
            raise

    def give(self, link: Link) -> None:
        """Take back what `take` gave. Only a connection that is in no transaction is lent again."""
        with self._gate.lock:
            if not link.is_idle():
                self._open.discard(link)
                link.close()
            elif link in self._open and link not in self._idle:
                self._idle.append(link)
            self._gate.changed()

    def held(self) -> AbstractContextManager[None]:
        self._require_not_forked()
        return self.usage.held()

    def close(self) -> None:
        if not self._is_forked:
            self.usage.close(self.busy_seconds)

    def abandon(self) -> None:
        """The storage is forgotten, or the interpreter ends."""
        if self._pid == os.getpid():
            self.usage.abandon()

    def after_fork(self) -> None:
        """In a child: forget the transactions of the parent's threads, and its connections."""
        self._pid = os.getpid()
        self._is_forked = self._is_forked or threading.get_ident() in self.usage.in_transaction
        for link in self._open:
            link.disown()
        self._idle.clear()
        self._open.clear()
        self._gate = Gate()
        self.usage.forget(self._gate)

    def _has_one(self) -> bool:
        return bool(self._idle) or len(self._open) < MOST_CONNECTIONS

    def _close_idle(self) -> None:
        while self._idle:
            link = self._idle.pop()
            self._open.discard(link)
            link.close()

    def _require_not_forked(self) -> None:
        if self._is_forked:
            raise forked(self.address.where)


class Lent(Turn):
    """A connection, and this thread's only transaction while it is lent; `storage.usage.Turn` says how interruptions
    are handled.
    """

    __slots__ = ("_link", "_links")

    def __init__(self, links: Links) -> None:
        super().__init__()
        self._links = links
        self._link: Link | None = None

    @property
    def address(self) -> Address:
        return self._links.address

    def __enter__(self) -> Link:
        try:
            self._links.begin(self)
            self._link = self._links.take()
        except BaseException as error:
            self._leave()
            if isinstance(error, psycopg.Error):
                raise fault(error, self.address) from error
            raise
        return self._link

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, *_: object) -> None:
        if not self.is_over:
            self._leave()
        if isinstance(error, psycopg.Error):
            raise fault(error, self.address) from error

    def reconnect(self) -> None:
        """Give the lent link a new connection. Raises `psycopg.Error`."""
        if self._link is not None:
            connect(self._link, self.address, self._links.busy_seconds)

    def __del__(self) -> None:
        if not self.is_over:
            self._leave()

    def _leave(self) -> None:
        self.is_over = True
        try:
            if self._link is not None:
                self._link.roll_back()
                self._links.give(self._link)
        finally:
            self._links.usage.end(self)


def _after_fork() -> None:
    for links in list(_all):
        links.after_fork()


os.register_at_fork(after_in_child=_after_fork)
