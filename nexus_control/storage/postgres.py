"""PostgresStorage: the contract on PostgreSQL, for several machines that share one store.

A reading transaction is one REPEATABLE READ snapshot: it waits for nobody, and nobody for it. A writing one holds the
lock of the store (`postgres_function.LOCK`) until it has ended, so there is one writer at a time, on whichever machine.
`write` needs one round trip where it appends one event (`postgres_draft`).

A statement that changes something, and was sent and not answered, is never sent again: the caller hears that its
outcome is not known. A transaction that could not begin because the server had ended the connection begins once more.

A `psycopg.Error` is translated to STORE_UNAVAILABLE in one place, where the transaction ends.
"""

import weakref
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TypeVar, cast

import psycopg

from nexus_control.storage import postgres_schema
from nexus_control.storage.contract import BUSY_SECONDS, Reader, ResultT, Writer
from nexus_control.storage.moved import parse_moved
from nexus_control.storage.postgres_address import address_of
from nexus_control.storage.postgres_draft import APPEND_EVENT, Draft, Memory
from nexus_control.storage.postgres_form import form_differences, mend_form
from nexus_control.storage.postgres_function import LOCK
from nexus_control.storage.postgres_link import BUSY, Link, is_of_connection, unknown_outcome
from nexus_control.storage.postgres_links import Lent, Links
from nexus_control.storage.postgres_rows import PostgresRows
from nexus_control.storage.postgres_schema import prepare, quoted
from nexus_control.storage.sidecar import Sidecar

_READ = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SELECT moved FROM {schema}.store"
"""BEGIN takes no snapshot; the first SELECT does."""
_WRITE = f"BEGIN ISOLATION LEVEL READ COMMITTED; SELECT {LOCK}; SELECT moved FROM {{schema}}.store"
_DRAFTS = 2
"""A draft on a remembered row, then one on the row as it is now, then a real transaction."""

SessionT = TypeVar("SessionT")


class PostgresStorage:
    """The store in the database that `url` names; its tables are made if they are missing. The key of its log, the
    checkpoint and the head are in `sidecar`.

    Raises INVALID_ARGUMENT for a URL that cannot be read, STORE_UNAVAILABLE.
    """

    def __init__(self, url: str, busy_seconds: float = BUSY_SECONDS, *, sidecar: Sidecar) -> None:
        self.sidecar = sidecar
        self._address = address_of(url, busy_seconds)
        self.name = self._address.where
        self._links = Links(self._address, busy_seconds)
        self._memory = Memory()
        weakref.finalize(self, self._links.abandon)
        with self._lent() as link:
            prepare(link, self._address, link.schema)

    def reading(self) -> AbstractContextManager[Reader]:
        return _Transaction[Reader](self._lent(), self._memory, writing=False)

    def writing(self) -> AbstractContextManager[Writer]:
        return _Transaction[Writer](self._lent(), self._memory, writing=True)

    def write(self, work: Callable[[Writer], ResultT]) -> ResultT:
        for _ in range(_DRAFTS):
            results: list[ResultT] = []
            with self._lent() as link:
                draft = Draft(link, self._memory)
                with draft:
                    results.append(work(draft))
                event = draft.parameters()
                version = None if event is None else self._append(link, event)
            if version is not None:
                draft.remember(version)
                return results[0]
            draft.forget()
            if event is None:
                break
        with self.writing() as rows:
            return work(rows)

    def identity(self) -> str:
        """What tells this store from every other one; a copy of the database has the same."""
        with self._lent() as link:
            return link.execute(f"SELECT id::text FROM {quoted(link.schema)}.store")[0][0]

    def form_differences(self) -> list[str]:
        with self._lent() as link:
            return form_differences(link)

    def mend_form(self) -> None:
        with self._lent() as link:
            mend_form(link)

    def held(self) -> AbstractContextManager[None]:
        return self._links.held()

    def close(self) -> None:
        self._links.close()

    def _lent(self) -> Lent:
        return Lent(self._links)

    def _append(self, link: Link, event: Sequence[str | int | None]) -> str | None:
        """The transaction in which the server did it all; None where it did nothing, and a real transaction says why.

        Raises STORE_UNAVAILABLE where its answer was lost, or another writer held the store for too long.
        """
        try:
            return link.call(APPEND_EVENT, event)
        except psycopg.Error as error:
            if link.is_lost() or is_of_connection(error):
                raise unknown_outcome(self._address) from error
            if error.sqlstate == BUSY:
                raise
            return None


def is_made(url: str, busy_seconds: float = BUSY_SECONDS) -> bool:
    """Whether there is a store in the database that `url` names; none is made. Raises INVALID_ARGUMENT,
    STORE_UNAVAILABLE.
    """
    address = address_of(url, busy_seconds)
    links = Links(address, busy_seconds)
    try:
        with links.lent() as link:
            return postgres_schema.is_made(link, address, link.schema)
    finally:
        links.close()


class _Transaction(AbstractContextManager[SessionT]):
    """A transaction as rows: committed at normal exit, rolled back on an exception."""

    __slots__ = ("_inner", "_is_writing", "_link", "_memory", "_rows")

    def __init__(self, inner: Lent, memory: Memory, *, writing: bool) -> None:
        self._inner = inner
        self._memory = memory
        self._is_writing = writing

    def __enter__(self) -> SessionT:
        link = self._inner.__enter__()
        try:
            moved = self._begin(link)
        except BaseException as error:
            self._inner.__exit__(type(error), error, error.__traceback__)
            raise
        self._link = link
        self._rows = PostgresRows(link, parse_moved(moved))
        return cast("SessionT", self._rows)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        rows = self._rows
        try:
            if error is None:
                self._commit(rows)
        except BaseException as at_commit:
            error = at_commit
            raise
        finally:
            rows.end()
            self._memory.forget(rows.saved)
            self._inner.__exit__(None if error is None else type(error), error, trace)

    def _begin(self, link: Link) -> str | None:
        begin = (_WRITE if self._is_writing else _READ).format(schema=quoted(link.schema))
        try:
            return link.control(begin)
        except psycopg.OperationalError:
            if not link.is_lost():
                raise
            self._inner.reconnect()  # nothing was read or written yet
            return link.control(begin)

    def _commit(self, rows: PostgresRows) -> None:
        try:
            rows.commit()
        except psycopg.Error as error:
            if rows.has_written and (self._link.is_lost() or is_of_connection(error)):
                raise unknown_outcome(self._inner.address) from error
            raise
