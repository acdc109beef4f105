"""Entries of the store's log, from rows and to rows: an entry is an event, or records an import, a key or an accepted
rollback.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any, TypedDict, cast

from nexus_control.bundle import BundleEvent
from nexus_control.canonical_json import canonical_json
from nexus_control.errors import NexusControlError
from nexus_control.events import (
    Origin,
    StoredEvent,
    digest_of_canonical_payload,
    parse_event_type,
)
from nexus_control.evidence.chain import (
    GENESIS,
    event_hash,
    event_leaf_data,
    import_leaf_data,
    key_leaf_data,
    leaf_hash,
    name_of_decision,
    rollback_leaf_data,
)
from nexus_control.integrity import sha256_hex
from nexus_control.storage.contract import Entry, EntryKind, Placed, Reader
from nexus_control.storage.faults import damaged
from nexus_control.values.actors import Actor, actor_text

SYSTEM_ACTOR = Actor(type="system", id="nexus-control")
"""The actor of entries that nobody asked for by name: runs, outcomes, imports."""

IMPORTED = "IMPORTED"
"""The event type of an import's record. The record is not an event of the decision, whose digest it would change."""

KEY_ROTATED = "KEY_ROTATED"
"""The event type of the record of a new key of the log."""

ROLLBACK_ACCEPTED = "ROLLBACK_ACCEPTED"
"""The event type of the record that the store's owner accepted a rollback."""

ROLLBACKS = "store"
"""The one stream of the rollback records."""

RECORDS: dict[EntryKind, str] = {
    "import": IMPORTED,
    "key": KEY_ROTATED,
    "rollback": ROLLBACK_ACCEPTED,
}
"""The kinds of entry besides events, and the one event type of each."""


class _Common(TypedDict):
    ts: str
    actor: Actor
    digest: str
    prev: str


_actor = lru_cache(maxsize=4096)(Actor)  # the rows of a stream name few


def actor_of(entry: Entry) -> Actor:
    """Who made this entry."""
    return _actor(entry.actor_type, entry.actor_id)


def to_event(entry: Entry) -> StoredEvent:
    """The event of a decision or a template, as stored. Raises STORE_UNAVAILABLE for an entry that nobody could have
    written here, and REPLAY_INVALID for a type of event that is not known.
    """
    try:
        payload: object = json.loads(entry.payload)
    except (ValueError, TypeError, RecursionError) as error:
        raise _damaged(entry) from error
    if not isinstance(payload, dict) or tuple(map(type, entry)) != _TYPES:
        raise _damaged(entry)
    return StoredEvent(
        decision_id=entry.stream,
        seq=entry.seq,
        event_type=parse_event_type(entry.event_type),
        ts=entry.ts,
        actor=actor_of(entry),
        payload=cast("Mapping[str, Any]", payload),
        digest=entry.digest,
        origin=entry.origin,
    )


def type_of(field: str) -> type:
    """What a column of the log holds: an integer or text."""
    return int if field in ("generation", "seq") else str


_TYPES = tuple(map(type_of, Entry._fields))


def _damaged(entry: Entry) -> NexusControlError:
    """The fault for an entry that was edited past the library."""
    return damaged(
        f"event {entry.seq!r:.80} of {entry.stream!r:.80} is damaged: look at the store with doctor",
        stream=str(entry.stream)[:80],
        seq=str(entry.seq)[:80],
    )


def event_entry(
    kind: EntryKind,
    event: StoredEvent,
    generation: int,
    payload_text: str,
    prev: str,
) -> Entry:
    """The entry of an event, chained to the one before it (`prev`, bare hex)."""
    name = event.decision_id
    actor, event_type = event.actor, event.event_type.value
    leaf = event_leaf_data(
        subject="template" if kind == "template" else "decision_id",
        name=name,
        seq=event.seq,
        event_type=event_type,
        ts=event.ts,
        actor=actor,
        digest=event.digest,
        prev=prev,
        origin=event.origin,
    )
    return Entry(
        kind,
        name,
        generation,
        event.seq,
        event_type,
        event.ts,
        actor.type,
        actor.id,
        payload_text,
        event.digest,
        leaf_hash(leaf),
        event.origin,
    )


def imported_entries(
    stream: str, generation: int, events: Iterable[BundleEvent], payload_texts: Iterable[str]
) -> Iterator[Entry]:
    """The entries of a history that comes in a bundle, in this stream. What its events share is spelled once."""
    name, head = name_of_decision(stream), GENESIS
    for event, payload_text in zip(events, payload_texts, strict=True):
        actor, digest, event_type, ts, seq = event.actor, event.digest, event.type, event.ts, event.seq
        who = actor_text(actor.type, actor.id)
        head = event_hash(name, "imported", who, digest, event_type, head, seq, ts)
        yield Entry(
            "decision",
            stream,
            generation,
            seq,
            event_type,
            ts,
            actor.type,
            actor.id,
            payload_text,
            digest,
            head,
            "imported",
        )


def record_entry(
    kind: EntryKind,
    stream: str,
    ts: str,
    details: Mapping[str, object],
    prev: str,
    *,
    generation: int = 0,
    seq: int = 0,
    actor: Actor = SYSTEM_ACTOR,
) -> Entry:
    """The entry of an import, a key or a rollback (`RECORDS`), chained to the previous entry of its kind and stream."""
    payload = canonical_json(details)
    return _chained(
        Entry(
            kind=kind,
            stream=stream,
            generation=generation,
            seq=seq,
            event_type=RECORDS[kind],
            ts=ts,
            actor_type=actor.type,
            actor_id=actor.id,
            payload=payload,
            digest=sha256_hex(payload),
            leaf="",
            origin="local",
        ),
        prev,
    )


def digest_of(entry: Entry) -> str:
    """The digest of an entry with this payload."""
    if entry.kind in RECORDS:
        return sha256_hex(entry.payload)
    return digest_of_canonical_payload(entry.event_type, entry.payload)


def contents_of(entries: Iterable[Entry]) -> str:
    """One digest over the content of these entries, whatever digests they came with."""
    return sha256_hex("".join(map(digest_of, entries)))


def leaf_data_of(entry: Entry, prev: str) -> bytes:
    """The bytes that this entry's chain hash covers after `prev`, bare hex."""
    if entry.kind == "decision" or entry.kind == "template":
        plain = _event_data(entry, prev, "local")
        if entry.origin != "imported" or leaf_hash(plain) == entry.leaf:
            return plain  # 2.0 computed the leaf of an imported event like that of a local one
        return _event_data(entry, prev, "imported")
    actor = actor_of(entry)
    common: _Common = {"ts": entry.ts, "actor": actor, "digest": entry.digest, "prev": prev}
    match entry.kind:
        case "import":
            return import_leaf_data(decision_id=entry.stream, generation=entry.generation, **common)
        case "key":
            return key_leaf_data(log=entry.stream, seq=entry.seq, **common)
        case "rollback":
            return rollback_leaf_data(stream=entry.stream, seq=entry.seq, **common)


def _event_data(entry: Entry, prev: str, origin: Origin) -> bytes:
    return event_leaf_data(
        subject="template" if entry.kind == "template" else "decision_id",
        name=entry.stream,
        seq=entry.seq,
        event_type=entry.event_type,
        ts=entry.ts,
        actor=actor_of(entry),
        digest=entry.digest,
        prev=prev,
        origin=origin,
    )


def leaf_of(entry: Entry, prev: str) -> str:
    """The chain hash of this entry after `prev`; both bare hex."""
    return leaf_hash(leaf_data_of(entry, prev))


def last_import(rows: Reader, decision_id: str, before: int | None = None) -> str:
    """The chain hash of the last import of this decision, of those `before` a generation if given; bare hex."""
    made = [each for each in rows.generations("import", decision_id) if before is None or each < before]
    return rows.entries("import", decision_id, made[-1])[-1].leaf if made else GENESIS


def is_chained(entry: Entry, prev: str) -> bool:
    """Whether the entry's chain hash is the one after `prev`, bare hex."""
    # Nearly all are events, and of imported ones nearly all are of the type that `leaf_data_of` tries last.
    if entry.kind == "decision" and leaf_hash(_event_data(entry, prev, entry.origin)) == entry.leaf:
        return True
    return leaf_of(entry, prev) == entry.leaf


def chain_key(entry: Entry) -> tuple[object, ...]:
    """The chain that an entry belongs to: all imports of a decision are one, the events of each generation another."""
    return (
        (entry.kind, entry.stream) if entry.kind == "import" else (entry.kind, entry.stream, entry.generation)
    )


def leaf_data_of_each(log: Iterable[Placed]) -> Iterator[bytes]:
    """The bytes of each leaf of the whole log before hashing, by position."""
    heads: dict[tuple[object, ...], str] = {}
    for _, entry in log:
        chain = chain_key(entry)
        yield leaf_data_of(entry, heads.get(chain, GENESIS))
        heads[chain] = entry.leaf


def _chained(entry: Entry, prev: str) -> Entry:
    return entry._replace(leaf=leaf_of(entry, prev))
