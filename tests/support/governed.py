"""Decisions on their way through the governed flow, and the proof that a store has kept them whole."""

from dataclasses import replace
from typing import Any

from nexus_control import DecisionStore, NexusControlTools
from nexus_control.bundle import DecisionBundle
from nexus_control.events import StoredEvent, compute_event_digest
from nexus_control.evidence.chain import GENESIS, event_leaf_data, leaf_hash
from nexus_control.facts import replay_facts
from nexus_control.log.projection import to_row
from nexus_control.values.actors import Actor
from nexus_control.values.results import ToolResult

ALICE = Actor(type="human", id="alice")
BOB = Actor(type="human", id="bob")
SCHEDULER = Actor(type="system", id="scheduler")
ADAPTER = "python:keys"


def data_of(result: ToolResult[Any]) -> dict[str, Any]:
    """The data of a result that must be a success."""
    assert result.success, result.error
    return result.data


def approved(tools: NexusControlTools, **request: Any) -> str:
    """The id of a decision that may be executed: requested by alice for apply, and approved by bob."""
    asked: dict[str, Any] = {"goal": "Rotate the keys", "actor": ALICE, "mode": "apply"}
    request_id: str = data_of(tools.request(**(asked | request)))["request_id"]
    data_of(tools.approve(request_id, actor=BOB))
    return request_id


def overwritten(tools: NexusControlTools, decision_id: str) -> ToolResult[Any]:
    """Import the decision over itself, its last instant spelled otherwise: the very same history changes nothing."""
    bundle = data_of(tools.export_bundle(decision_id))["bundle"]
    bundle["events"][-1]["ts"] = bundle["events"][-1]["ts"].replace("+00:00", "Z")
    bundle["integrity"]["canonical_digest"] = DecisionBundle.from_dict(bundle).content_digest()
    return tools.import_bundle(bundle, conflict_mode="overwrite", allow_rollback=True)


def reasons(result: ToolResult[Any]) -> list[str]:
    """Why an execution was refused."""
    assert result.error_code in ("POLICY_NOT_SATISFIED", "EXECUTING"), result.error
    return [reason["code"] for reason in result.details["reasons"]]


def last_event(store: DecisionStore, decision_id: str) -> StoredEvent:
    return store.get_events(decision_id)[-1]


def require_whole(store: DecisionStore, decision_id: str) -> None:
    """The decision has both opening events, seq without gaps, an unbroken chain, and the projection of its replay."""
    with store.reading() as session:
        row = session.rows.decision_row(decision_id)
        decision = session.decision(decision_id)
        events = session.events(decision)
        entries = session.rows.entries("decision", decision_id, decision.generation)
    assert [str(event.event_type) for event in events[:2]] == ["DECISION_CREATED", "POLICY_ATTACHED"]
    assert [event.seq for event in events] == list(range(len(events)))
    head = GENESIS
    for event, entry in zip(events, entries, strict=True):
        assert event.digest == compute_event_digest(event.event_type, event.payload)
        leaf_data = event_leaf_data(
            subject="decision_id",
            name=decision_id,
            seq=event.seq,
            event_type=event.event_type,
            ts=event.ts,
            actor=event.actor,
            digest=event.digest,
            prev=head,
            origin=event.origin,
        )
        head = leaf_hash(leaf_data)
        assert entry.leaf == head
    replayed = replay_facts(decision_id, events)
    assert to_row(replace(decision, facts=replayed, head=head)) == row


def require_whole_store(store: DecisionStore) -> list[str]:
    """The ids of all decisions, each of them whole, in a log whose positions have no gaps."""
    with store.reading() as session:
        positions = [placed.position for placed in session.rows.log()]
        assert positions == list(range(session.rows.log_size()))
    decision_ids = [decision_id for decision_id, _ in store.list_decisions(limit=100_000)]
    for decision_id in decision_ids:
        require_whole(store, decision_id)
    return decision_ids
