"""The event chain: every event is hashed together with who, when, where in the order, and the event before it.

    record    = {"_type": "nexus-control/event/v1", "actor": {"id", "type"}, "decision_id", "digest", "event_type",
                 "prev", "seq", "ts"}            a template's record has "template": name instead of "decision_id"
    leaf data = canonical_json(record)           text and integers only, so the bytes equal RFC 8785 too
    chain[n]  = SHA-256(0x00 || leaf data)       the leaf hash of RFC 6962, section 2.1
    prev      = "sha256:" + hex(chain[n-1]);     for n = 0: "sha256:" and 64 zeros

An imported event has "_type": "nexus-control/imported/v1"; the rest of its record is the same. So a log proof of it
shows that the event was brought into the store, and cannot be taken for a proof that it happened there.

Three more kinds of records are leaves of a store's log. Each record is chained to the record of its own kind before
it. `digest` is the digest of what the record holds:

    an import   {"_type": "nexus-control/import/v1", "actor", "decision_id", "digest", "generation", "prev", "ts"}
    a new key   {"_type": "nexus-control/key/v1", "actor", "digest", "log", "prev", "seq", "ts"}
    a rollback  {"_type": "nexus-control/rollback/v1", "actor", "digest", "prev", "seq", "stream", "ts"}
"""

import hashlib
from json.encoder import encode_basestring
from typing import Literal, TypeAlias

from nexus_control.canonical_json import canonical_json
from nexus_control.events import Origin
from nexus_control.integrity import PREFIX, prefixed
from nexus_control.values.actors import Actor, actor_text

Subject: TypeAlias = Literal["decision_id", "template"]

GENESIS = "0" * 64

_text = encode_basestring
_TYPES: dict[Origin, str] = {"local": "nexus-control/event/v1", "imported": "nexus-control/imported/v1"}


def leaf_hash(leaf_data: bytes) -> str:
    """The RFC 6962 leaf hash, bare hex."""
    return hashlib.sha256(b"\x00" + leaf_data).hexdigest()


def event_leaf_data(
    *,
    subject: Subject,
    name: str,
    seq: int,
    event_type: str,
    ts: str,
    actor: Actor,
    digest: str,
    prev: str,
    origin: Origin = "local",
) -> bytes:
    """The bytes that an event's chain hash covers; `digest` and `prev` are bare hex."""
    decision = name_of_decision(name) if subject == "decision_id" else ""
    template = f'"template":{_text(name)},' if subject == "template" else ""
    who = actor_text(actor.type, actor.id)
    return _spelled(origin, who, decision, digest, event_type, prev, seq, template, ts).encode()


def name_of_decision(decision_id: str) -> str:
    """The field of a record that names its decision, as `event_hash` takes it."""
    return f'"decision_id":{_text(decision_id)},'


def event_hash(
    name: str, origin: Origin, actor: str, digest: str, event_type: str, prev: str, seq: int, ts: str
) -> str:
    """The chain hash of a decision's event, bare hex: `leaf_hash` of its `event_leaf_data`. `actor` is canonical JSON.
    For the many events of one decision: what they share is spelled once.
    """
    return leaf_hash(_spelled(origin, actor, name, digest, event_type, prev, seq, "", ts).encode())


def _spelled(
    origin: Origin,
    actor: str,
    decision: str,
    digest: str,
    event_type: str,
    prev: str,
    seq: int,
    template: str,
    ts: str,
) -> str:
    # Spelled out because every event of a store or package passes here: canonical_json takes several times as long.
    # Hex is its own JSON. A digest edited past the library may hold quotes, but then no record of a log has this text:
    # what separates the fields stands in that exactly once.
    return (
        f'{{"_type":"{_TYPES[origin]}","actor":{actor},{decision}"digest":"{PREFIX}{digest}",'
        f'"event_type":{_text(event_type)},"prev":"{PREFIX}{prev}","seq":{seq},{template}"ts":{_text(ts)}}}'
    )


def import_leaf_data(
    *, decision_id: str, generation: int, ts: str, actor: Actor, digest: str, prev: str
) -> bytes:
    """The bytes that an import record's chain hash covers."""
    return _leaf_data("import", actor, digest, prev, decision_id=decision_id, generation=generation, ts=ts)


def key_leaf_data(*, log: str, seq: int, ts: str, actor: Actor, digest: str, prev: str) -> bytes:
    """The bytes that the hash of a record of a new key covers; `log` is the log's origin."""
    return _leaf_data("key", actor, digest, prev, log=log, seq=seq, ts=ts)


def rollback_leaf_data(*, stream: str, seq: int, ts: str, actor: Actor, digest: str, prev: str) -> bytes:
    """The bytes that the hash of a record of an accepted rollback covers."""
    return _leaf_data("rollback", actor, digest, prev, stream=stream, seq=seq, ts=ts)


def _leaf_data(kind: str, actor: Actor, digest: str, prev: str, **fields: str | int) -> bytes:
    record = {
        "_type": f"nexus-control/{kind}/v1",
        "actor": actor.to_dict(),
        "digest": prefixed(digest),
        "prev": prefixed(prev),
        **fields,
    }
    return canonical_json(record).encode()
