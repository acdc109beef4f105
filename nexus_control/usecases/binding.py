"""Which open decisions are bound to an adapter that is declared otherwise now: executing them is refused."""

from collections.abc import Iterator
from dataclasses import replace

from nexus_control.execution.adapter import Adapters
from nexus_control.log.projection import Projection
from nexus_control.log.session import ReadSession
from nexus_control.storage.contract import DecisionQuery
from nexus_control.store import DecisionStore
from nexus_control.values.instants import format_instant

_BATCH = 200


def bound_otherwise(store: DecisionStore, adapters: Adapters) -> list[tuple[str, str]]:
    """The id of each such decision, and the adapter's id, newest first."""
    with store.reading() as session:
        attached = ((each.decision_id, each.facts.attached) for each in _open(session))
        return [
            (decision_id, at.adapter_id)
            for decision_id, at in attached
            if at is not None
            and at.adapter_id is not None
            and at.adapter_digest is not None
            and adapters.digest(at.adapter_id) not in (None, at.adapter_digest)
        ]


def _open(session: ReadSession) -> Iterator[Projection]:
    """The decisions that can still be executed, read in batches."""
    batch = DecisionQuery(limit=_BATCH, phase="open", expired=False, now=format_instant(session.now))
    while rows := session.rows.decision_rows(batch):
        yield from (session.decision(row.decision_id) for row in rows)
        batch = replace(batch, before=rows[-1].ordinal)
