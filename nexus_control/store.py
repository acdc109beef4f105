"""DecisionStore: the store as embedders use it. It opens a storage by path or URL, and supplies the clock.

The public methods here are the low level. `append_event` checks the envelope, that the payload decodes, and that its
JSON is canonical, but not the rules of decisions. The use cases check those, in `writing()` sessions.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from nexus_control.errors import invalid_argument
from nexus_control.events import EventType, Payload, StoredEvent, parse_event_type
from nexus_control.log.ledger import Ledger
from nexus_control.log.projection import Projection
from nexus_control.log.session import WriteSession
from nexus_control.policy import Policy
from nexus_control.template import Overrides, Template
from nexus_control.values.actors import Actor, id_problem, require_new_actor
from nexus_control.values.payloads import Assurance, Mode, RequiredRehearsal, TemplateCreatedPayload


class DecisionStore(Ledger):
    """Decisions and templates as append-only events, in SQLite by default.

        >>> with DecisionStore("decisions.db") as store:
        ...     tools = NexusControlTools(store)

    `path_or_url` is a file, `:memory:` (SQLite in memory), or the URL of a PostgreSQL database, which has its log's
    key, last checkpoint and head in `log_folder`. Safe to use from several threads; several processes may open one
    file or database. `allowed_signers` is the path of an OpenSSH file that says whose signed approvals count here.
    `passkey_origins` are the pages on which passkeys may sign them, as "https://approve.example.org"; without it no
    passkey's approval counts. Raises INVALID_ARGUMENT for a text that is not an origin, STORE_UNAVAILABLE.
    """

    def create_decision(self) -> str:
        """The id of a new decision, which has no events yet.

        >>> draft = store.create_decision()
        >>> store.get_events(draft)
        []
        """
        with self.writing() as session:
            return session.reserve().decision_id

    def decision_exists(self, decision_id: str) -> bool:
        """Whether there is a decision of this id, with or without events.

        >>> store.decision_exists(request_id)
        True
        """
        with self.reading() as session:
            return session.rows.decision_row(decision_id) is not None

    def append_event(
        self,
        decision_id: str,
        event_type: EventType | str,
        actor: Actor | Mapping[str, object],
        payload: Payload | Mapping[str, Any],
    ) -> StoredEvent:
        """Append one event. The decision's state is not checked.

            >>> content = {"goal": "Rotate", "plan": None, "requested_mode": "apply", "labels": []}
            >>> store.append_event(store.create_decision(), "DECISION_CREATED", alice, content).seq
            0

        `payload` is a JSON object, or a payload class of `nexus_control.events`. Raises DECISION_NOT_FOUND,
        INVALID_ARGUMENT for the actor, REPLAY_INVALID for a payload that lacks what its type needs, JSON_INVALID for
        one that two languages would hash differently.
        """
        content = payload.to_dict() if isinstance(payload, Payload) else dict(payload)
        kind = parse_event_type(event_type)
        who = require_new_actor(Actor.of(actor))

        def append(session: WriteSession) -> StoredEvent:
            _, (event,) = session.append_raw(session.decision(decision_id), [(who, kind, content)])
            return event

        return self.write(append)

    def get_events(self, decision_id: str, *, generation: int | None = None) -> list[StoredEvent]:
        """The events of a decision, by seq.

            >>> store.get_events(request_id)[0].seq
            0

        They are those of the current generation, unless `generation` names another. Raises DECISION_NOT_FOUND.
        """
        with self.reading() as session:
            return session.events(session.decision(decision_id), generation)

    def generations(self, decision_id: str) -> list[int]:
        """The generations of a decision: all but the last were superseded by an import.

        >>> store.generations(request_id)
        [0]
        """
        with self.reading() as session:
            return session.rows.generations("decision", decision_id)

    def list_decisions(self, limit: int = 100, offset: int = 0) -> list[tuple[str, str]]:
        """A page of decisions as (id, created_at), newest first.

        >>> [decision_id for decision_id, created_at in store.list_decisions(limit=1)] == [executed_id]
        True
        """
        with self.reading() as session:
            return session.rows.decisions(limit, offset)

    def load(self, decision_id: str) -> Projection:
        """The decision's facts without its events. The cost does not grow with the number of events.

            >>> store.load(request_id).facts.event_count
            3

        Raises DECISION_NOT_FOUND.
        """
        with self.reading() as session:
            return session.decision(decision_id)


class TemplateStore:
    """The templates of a store; `tools.template_store` is one.

    >>> TemplateStore(store).list_templates()
    []
    """

    def __init__(self, store: DecisionStore) -> None:
        self._store = store

    def create_template(
        self,
        name: str,
        actor: Actor | Mapping[str, object],
        *,
        description: str = "",
        min_approvals: int = 1,
        allowed_modes: Sequence[Mode] = ("dry_run",),
        require_adapter_capabilities: Sequence[str] = (),
        max_steps: int | None = None,
        labels: Sequence[str] = (),
        approvers: Sequence[str] = (),
        allow_requester_approval: bool = True,
        min_assurance: Assurance | None = None,
        overrides: Overrides = "any",
        require_rehearsal: RequiredRehearsal | Mapping[str, int] | None = None,
    ) -> Template:
        """Create a template, which can never be changed.

            >>> tools.template_store.create_template("prod", alice, min_approvals=2, allowed_modes=["apply"]).name
            'prod'

        The fields are those of `Policy`, and raise its ValueError. With `overrides="tighten_only"` a request may only
        be stricter. Raises INVALID_ARGUMENT for a name or an actor that cannot be one, TEMPLATE_ALREADY_EXISTS.
        """
        if problem := id_problem(name):
            raise invalid_argument("name", problem)
        policy = Policy(
            min_approvals,
            allowed_modes,
            require_adapter_capabilities,
            max_steps,
            labels,
            approvers=approvers,
            allow_requester_approval=allow_requester_approval,
            min_assurance=min_assurance,
            require_rehearsal=require_rehearsal,
        )
        payload = TemplateCreatedPayload(
            name=name, description=description, overrides=overrides, **policy.fields()
        )
        with self._store.writing() as session:
            return session.create_template(Actor.of(actor), payload)

    def get_template(self, name: str) -> Template | None:
        """The template of this name, or None.

        >>> tools.template_store.get_template("prod") is None
        True
        """
        with self._store.reading() as session:
            return session.find_template(name)

    def template_exists(self, name: str) -> bool:
        """Whether there is a template of this name.

        >>> tools.template_store.template_exists("prod")
        False
        """
        return self.get_template(name) is not None

    def get_template_events(self, name: str) -> list[StoredEvent]:
        """The one event of a template, in a list.

            >>> _ = tools.template_store.create_template("prod", alice)
            >>> [str(event.event_type) for event in tools.template_store.get_template_events("prod")]
            ['TEMPLATE_CREATED']

        An empty list when no template has this name.
        """
        with self._store.reading() as session:
            return session.template_events(name)

    def list_templates(
        self, limit: int = 100, offset: int = 0, label_filter: str | None = None
    ) -> list[Template]:
        """A page of templates in the order of their creation.

            >>> tools.template_store.list_templates(label_filter="prod")
            []

        `label_filter` matches one whole label.
        """
        with self._store.reading() as session:
            templates = session.templates()
        matching = [t for t in templates if label_filter is None or label_filter in t.policy.labels]
        return matching[offset : offset + limit]
