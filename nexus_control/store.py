"""DecisionStore: what embedders hold. It opens a storage by path or URL, and supplies the clock.

The public methods here are the low door: `append_event` checks the envelope, the payload's decoding and the canonical
domain, but not the rules of decisions; the use cases do that, in `writing()` sessions.
"""

import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, TypeVar

from nexus_control.actors import Actor, id_problem, require_new_actor
from nexus_control.clock import SYSTEM_CLOCK, Clock
from nexus_control.commands import absolute
from nexus_control.errors import invalid_argument
from nexus_control.events import EventType, Payload, StoredEvent, parse_event_type
from nexus_control.payloads import TemplateCreatedPayload
from nexus_control.policy import Policy
from nexus_control.projection import StoredDecision
from nexus_control.session import ReadSession, Recent, WriteSession
from nexus_control.storage import open_storage
from nexus_control.storage.contract import BUSY_SECONDS, Storage
from nexus_control.storage.sidecar import Sidecar
from nexus_control.template import Overrides, Template

RowsT = TypeVar("RowsT")
SessionT = TypeVar("SessionT")


class DecisionStore:
    """Decisions and templates as append-only events, in SQLite by default.

    `path_or_url` is a file, `:memory:` (SQLite in memory) or `memory:` (plain Python). Safe to use from several
    threads; several processes may open one file.

    `allowed_signers` is the path of an OpenSSH file that says whose signed approvals count here.
    """

    def __init__(
        self,
        path_or_url: str | os.PathLike[str] = ":memory:",
        *,
        clock: Clock = SYSTEM_CLOCK,
        storage: Storage | None = None,
        allowed_signers: str | os.PathLike[str] | None = None,
        busy_timeout: float = BUSY_SECONDS,
    ) -> None:
        self.clock = clock
        self.allowed_signers = absolute(Path(allowed_signers)) if allowed_signers is not None else None
        self._recent = Recent()
        self._storage = (
            storage if storage is not None else open_storage(path_or_url, busy_seconds=busy_timeout)
        )

    @property
    def sidecar(self) -> Sidecar:
        """What lies beside the store: the key of its log, the last checkpoint, and the head."""
        return self._storage.sidecar

    def form_differences(self) -> list[str]:
        """What of the storage's form is not as this version makes it, in one line each."""
        return self._storage.form_differences()

    def mend_form(self) -> None:
        """Make indexes, views and triggers of the storage as this version makes them."""
        self._storage.mend_form()

    def __enter__(self) -> "DecisionStore":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release the storage, once the calls of other threads have ended; everything acknowledged is already durable.

        An execution under way may still record its outcome. Raises STORE_IN_USE inside a call of this thread, and after
        `busy_timeout`.
        """
        self._storage.close()

    def held(self) -> AbstractContextManager[None]:
        """While this lasts, this thread may write also after `close()`: an execution must record its outcome."""
        return self._storage.held()

    def reading(self) -> AbstractContextManager[ReadSession]:
        """One consistent view, judged at one instant."""
        return _Transaction(
            self._storage.reading(), lambda rows: ReadSession(rows, self.clock.now(), self._recent)
        )

    def writing(self) -> AbstractContextManager[WriteSession]:
        """The store's only writer until the block ends: commits at its end, rolls back on an exception."""
        return _Transaction(
            self._storage.writing(),
            lambda rows: WriteSession(rows, self.clock.now(), self._recent, self.clock),
        )

    def create_decision(self) -> str:
        """The id of a new decision, without events yet."""
        with self.writing() as session:
            return session.reserve().decision_id

    def decision_exists(self, decision_id: str) -> bool:
        with self.reading() as session:
            return session.rows.projection(decision_id) is not None

    def append_event(
        self,
        decision_id: str,
        event_type: EventType | str,
        actor: Actor | Mapping[str, object],
        payload: Payload | Mapping[str, Any],
    ) -> StoredEvent:
        """Append one event, whatever the decision's state. Raises DECISION_NOT_FOUND, REPLAY_INVALID, JSON_INVALID."""
        content = payload.to_dict() if isinstance(payload, Payload) else dict(payload)
        kind = parse_event_type(event_type)
        with self.writing() as session:
            who = require_new_actor(Actor.of(actor))
            _, (event,) = session.append_raw(session.decision(decision_id), [(who, kind, content)])
        return event

    def get_events(self, decision_id: str, *, generation: int | None = None) -> list[StoredEvent]:
        """The events by seq, of the current generation unless told otherwise. Raises DECISION_NOT_FOUND."""
        with self.reading() as session:
            return session.events(session.decision(decision_id), generation)

    def generations(self, decision_id: str) -> list[int]:
        """The generations of a decision: all but the last were superseded by an import."""
        with self.reading() as session:
            return session.rows.generations("decision", decision_id)

    def list_decisions(self, limit: int = 100, offset: int = 0) -> list[tuple[str, str]]:
        """(decision id, created_at), newest first."""
        with self.reading() as session:
            return session.rows.decisions(limit, offset)

    def load(self, decision_id: str) -> StoredDecision:
        """The decision's facts without its events; the cost does not grow with their number."""
        with self.reading() as session:
            return session.decision(decision_id)


class _Transaction(AbstractContextManager[SessionT], Generic[RowsT, SessionT]):
    """A storage's transaction in the words of the domain. Every call has one, and a generator takes twice as long."""

    __slots__ = ("_rows", "_session")

    def __init__(self, rows: AbstractContextManager[RowsT], session: Callable[[RowsT], SessionT]) -> None:
        self._rows = rows
        self._session = session

    def __enter__(self) -> SessionT:
        rows = self._rows.__enter__()
        try:
            return self._session(rows)
        except BaseException as error:
            self._rows.__exit__(type(error), error, error.__traceback__)
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return self._rows.__exit__(kind, error, trace)


class TemplateStore:
    """The templates of a store."""

    def __init__(self, store: DecisionStore) -> None:
        self._store = store

    def create_template(
        self,
        name: str,
        actor: Actor | Mapping[str, object],
        policy: Policy | None = None,
        description: str = "",
        overrides: Overrides = "any",
    ) -> Template:
        """Raises TEMPLATE_ALREADY_EXISTS; a template is never changed."""
        if problem := id_problem(name):
            raise invalid_argument("name", problem)
        payload = TemplateCreatedPayload(
            name=name, description=description, overrides=overrides, **(policy or Policy()).fields()
        )
        with self._store.writing() as session:
            return session.create_template(Actor.of(actor), payload)

    def get_template(self, name: str) -> Template | None:
        with self._store.reading() as session:
            return session.find_template(name)

    def template_exists(self, name: str) -> bool:
        return self.get_template(name) is not None

    def get_template_events(self, name: str) -> list[StoredEvent]:
        with self._store.reading() as session:
            return session.template_events(name)

    def list_templates(
        self, limit: int = 100, offset: int = 0, label_filter: str | None = None
    ) -> list[Template]:
        """A page of templates in the order of their creation; `label_filter` matches one whole label."""
        with self._store.reading() as session:
            templates = session.templates()
        matching = [t for t in templates if label_filter is None or label_filter in t.policy.labels]
        return matching[offset : offset + limit]
