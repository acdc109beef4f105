"""Ledger: one open store. It holds the storage, the clock, what lies beside the store, and whose signatures count.

Everything that reads or writes a store takes a `Ledger` and opens one transaction on it: `reading()` or `writing()`.

Each event of a decision is one INFO line of the logger `nexus_control`, after its commit: ids and codes, no content.
The record has them as `event_type`, `request_id`, `seq` and `actor`, too.
"""

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Generic, Self, TypeVar

from nexus_control.errors import invalid_argument
from nexus_control.events import StoredEvent
from nexus_control.evidence.formats.origins import parse_origins
from nexus_control.log.rebuilding import rebuild_rows
from nexus_control.log.session import ReadSession, Recent, WriteSession
from nexus_control.storage import open_storage
from nexus_control.storage.contract import BUSY_SECONDS, ResultT, Storage, Writer
from nexus_control.storage.sidecar import Sidecar
from nexus_control.system.clock import SYSTEM_CLOCK, Clock
from nexus_control.system.commands import absolute
from nexus_control.values.groups import Groups, groups_of

MAX_BUSY_SECONDS = 86_400
_LOGGER = logging.getLogger("nexus_control")

RowsT = TypeVar("RowsT")
SessionT = TypeVar("SessionT")


class Ledger:
    """An open store, as the other modules of this package use it.

        with ledger.reading() as session:
            session.decision(decision_id)

    `path_or_url` is a file, `:memory:` (SQLite in memory), or the URL of a PostgreSQL database. It is safe to use from
    several threads; several processes may open one file or database. `allowed_signers` is the path of an OpenSSH file
    that says whose signed approvals count here, and `passkey_origins` are the pages on which passkeys may sign them.
    `busy_timeout` is how many seconds a transaction waits for another one. `log_folder` is where a store on PostgreSQL
    keeps its log's key, last checkpoint and head. `groups` are the groups of approvers,
    `{"security": ["alice", "bob"]}`, or what gives them when a request needs them.
    """

    def __init__(
        self,
        path_or_url: str | os.PathLike[str] = ":memory:",
        *,
        clock: Clock = SYSTEM_CLOCK,
        storage: Storage | None = None,
        allowed_signers: str | os.PathLike[str] | None = None,
        passkey_origins: Sequence[str] = (),
        busy_timeout: float = BUSY_SECONDS,
        log_folder: str | os.PathLike[str] | None = None,
        groups: Mapping[str, Sequence[str]] | Callable[[], Groups] | None = None,
    ) -> None:
        if type(busy_timeout) not in (int, float) or not 0 <= busy_timeout <= MAX_BUSY_SECONDS:
            raise invalid_argument(
                "busy_timeout", f"must be a number of seconds from 0 to {MAX_BUSY_SECONDS}"
            )
        self.clock = clock
        self.allowed_signers = absolute(Path(allowed_signers)) if allowed_signers is not None else None
        self.passkey_origins = parse_origins(passkey_origins)
        self.log_folder = absolute(Path(log_folder)) if log_folder is not None else None
        self._groups = groups if callable(groups) else groups_of(groups or {})
        self._recent = Recent()
        self._storage = storage or open_storage(
            path_or_url, busy_seconds=busy_timeout, log_folder=self.log_folder, derive=rebuild_rows
        )

    @property
    def groups(self) -> Groups:
        """The members of each group of approvers here. Raises CONFIG_INVALID where a configuration has them wrong.

        >>> store.groups
        {}
        """
        return self._groups() if callable(self._groups) else self._groups

    @property
    def place(self) -> str:
        """Where the store is, as `--db` takes it: a file, `:memory:`, or a URL without its password."""
        return self._storage.name

    @property
    def sidecar(self) -> Sidecar:
        """What lies beside the store: the key of its log, the last checkpoint, and the head."""
        return self._storage.sidecar

    def form_differences(self) -> list[str]:
        """How the storage's tables, indexes and triggers differ from those that this version makes, in one line each.

        >>> store.form_differences()
        []
        """
        return self._storage.form_differences()

    def mend_form(self) -> None:
        """Replace the storage's indexes, views and triggers by those of this version. No data is changed.

        >>> store.mend_form()
        """
        self._storage.mend_form()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the storage, once the calls of other threads have ended; everything acknowledged is already durable.

            >>> DecisionStore("decisions.db").close()

        An execution under way may still record its outcome. Raises STORE_IN_USE inside a call of this thread, and after
        `busy_timeout`.
        """
        self._storage.close()

    def held(self) -> AbstractContextManager[None]:
        """In the block, this thread may write even after `close()`: an execution must record its outcome.

        >>> with store.held():
        ...     _ = tools.approve(request_id, Actor("human", "bob"))
        """
        return self._storage.held()

    def reading(self) -> AbstractContextManager[ReadSession]:
        """One consistent view, judged at one instant.

            >>> with store.reading() as session:
            ...     facts = session.decision(request_id).facts

        Raises STORE_UNAVAILABLE.
        """
        return _Transaction(
            self._storage.reading(), lambda rows: ReadSession(rows, self.clock.now(), self._recent)
        )

    def writing(self) -> AbstractContextManager[WriteSession]:
        """The store's only writer until the block ends.

            >>> with store.writing() as session:
            ...     draft = session.reserve().decision_id

        Commits at the end of the block, rolls back on an exception. Raises STORE_UNAVAILABLE when another writer holds
        the store for longer than `busy_timeout`.
        """
        return _Transaction(
            self._storage.writing(),
            lambda rows: WriteSession(rows, self.clock.now(), self._recent, self.clock),
        )

    def write(self, work: Callable[[WriteSession], ResultT]) -> ResultT:
        """What `work` returns, in a writing transaction.

            >>> store.write(lambda session: session.decision(request_id).facts.event_count)
            3

        An exception of `work` rolls back what it wrote, and is raised here. Where several threads write one file their
        works share commits, which those in `writing()` never do. So another thread may run `work`, or it may be run
        again, while the caller waits. It must change nothing but through its session, be quick, call nothing else of
        the store, and take no lock that its caller may hold. Context variables are those of the thread that runs it.
        Raises STORE_UNAVAILABLE.
        """
        written: list[StoredEvent] = []

        def run(rows: Writer) -> ResultT:
            session = WriteSession(rows, self.clock.now(), self._recent, self.clock)
            result = work(session)
            written[:] = session.written
            return result

        result = self._storage.write(run)
        _tell_all(written)
        return result


class _Transaction(AbstractContextManager[SessionT], Generic[RowsT, SessionT]):
    """A storage's transaction as a session. Every call makes one, and a generator takes twice as long."""

    __slots__ = ("_begun", "_rows", "_session")

    def __init__(self, rows: AbstractContextManager[RowsT], session: Callable[[RowsT], SessionT]) -> None:
        self._rows = rows
        self._session = session

    def __enter__(self) -> SessionT:
        rows = self._rows.__enter__()
        try:
            self._begun = self._session(rows)
            return self._begun
        except BaseException as error:
            self._rows.__exit__(type(error), error, error.__traceback__)
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        swallowed = self._rows.__exit__(kind, error, trace)
        if kind is None and isinstance(self._begun, WriteSession):
            _tell_all(self._begun.written)
        return swallowed


def _tell_all(events: Sequence[StoredEvent]) -> None:
    if _LOGGER.isEnabledFor(logging.INFO):
        for event in events:
            _tell(event)


def _tell(event: StoredEvent) -> None:
    said = {
        "event_type": str(event.event_type),
        "request_id": event.decision_id,
        "seq": event.seq,
        "actor": str(event.actor),
    }
    _LOGGER.info("%s %s #%d by %s", *said.values(), extra=said)
