"""Between events and rows: an entry of the store's log is an event, or the record of an import, with its chain hash."""

import json
from collections.abc import Mapping
from typing import Any, cast

from nexus_control.actors import Actor
from nexus_control.canonical_json import canonical_json
from nexus_control.events import StoredEvent, digest_of_canonical_payload, parse_event_type
from nexus_control.evidence.chain import event_leaf_data, import_leaf_data, leaf_hash
from nexus_control.integrity import sha256_hex
from nexus_control.storage.contract import Entry, EntryKind

SYSTEM_ACTOR = Actor(type="system", id="nexus-control")
"""Who records what nobody asked for by name: runs, outcomes, imports."""

IMPORTED = "IMPORTED"
"""The event type of an import's record. It is no event of the decision, whose digest would change."""


def to_event(entry: Entry) -> StoredEvent:
    """The event of a decision or a template, as stored."""
    return StoredEvent(
        decision_id=entry.stream,
        seq=entry.seq,
        event_type=parse_event_type(entry.event_type),
        ts=entry.ts,
        actor=Actor(type=entry.actor_type, id=entry.actor_id),
        payload=cast("Mapping[str, Any]", json.loads(entry.payload)),
        digest=entry.digest,
        origin=entry.origin,
    )


def event_entry(kind: EntryKind, event: StoredEvent, generation: int, payload_text: str, prev: str) -> Entry:
    """The entry of an event, chained to the one before it (`prev`, bare hex)."""
    return _chained(
        Entry(
            kind=kind,
            stream=event.decision_id,
            generation=generation,
            seq=event.seq,
            event_type=str(event.event_type),
            ts=event.ts,
            actor_type=event.actor.type,
            actor_id=event.actor.id,
            payload=payload_text,
            digest=event.digest,
            leaf="",
            origin=event.origin,
        ),
        prev,
    )


def import_entry(
    decision_id: str, generation: int, ts: str, details: Mapping[str, object], prev: str
) -> Entry:
    """The entry that says how a generation came here, chained to the decision's import before it."""
    payload = canonical_json(details)
    return _chained(
        Entry(
            kind="import",
            stream=decision_id,
            generation=generation,
            seq=0,
            event_type=IMPORTED,
            ts=ts,
            actor_type=SYSTEM_ACTOR.type,
            actor_id=SYSTEM_ACTOR.id,
            payload=payload,
            digest=sha256_hex(payload),
            leaf="",
            origin="local",
        ),
        prev,
    )


def digest_of(entry: Entry) -> str:
    """The digest that an entry with this payload has."""
    if entry.kind == "import":
        return sha256_hex(entry.payload)
    return digest_of_canonical_payload(entry.event_type, entry.payload)


def leaf_of(entry: Entry, prev: str) -> str:
    """The chain hash that this entry has after `prev`; both bare hex."""
    actor = Actor(type=entry.actor_type, id=entry.actor_id)
    if entry.kind == "import":
        data = import_leaf_data(
            decision_id=entry.stream,
            generation=entry.generation,
            ts=entry.ts,
            actor=actor,
            digest=entry.digest,
            prev=prev,
        )
    else:
        data = event_leaf_data(
            subject="template" if entry.kind == "template" else "decision_id",
            name=entry.stream,
            seq=entry.seq,
            event_type=entry.event_type,
            ts=entry.ts,
            actor=actor,
            digest=entry.digest,
            prev=prev,
        )
    return leaf_hash(data)


def _chained(entry: Entry, prev: str) -> Entry:
    return entry._replace(leaf=leaf_of(entry, prev))
