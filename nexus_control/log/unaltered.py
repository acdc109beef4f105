"""The events of a decision as the log holds them. What was edited past the library does not go out under a fresh
digest, and is not executed.

Each digest and the whole chain are computed again from the rows. The chain must end at a leaf of the log's Merkle tree,
and that of the current generation at the projection's head; and the projection must be what the events add up to.
Events that an import brought must be those that its record counts; where the import did not check their digests, the
record's digest of their content stands in for them.

Where a superseded generation ended is kept nowhere: only a gap in the log shows that its last event is missing. That,
and the rest of the store, is checked by `log.upkeep`.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import groupby
from typing import NamedTuple

from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.events import digest_of_canonical_payload
from nexus_control.evidence.chain import GENESIS, event_hash, name_of_decision
from nexus_control.facts import Facts
from nexus_control.integrity import is_bare
from nexus_control.log.entries import (
    RECORDS,
    actor_of,
    contents_of,
    digest_of,
    is_chained,
    last_import,
    to_event,
)
from nexus_control.log.projection import ImportRecord, Projection, brought_by, import_record_of
from nexus_control.log.replaying import APPROVING, AT_A_TIME, Act, decoded_together, fold_run, replay
from nexus_control.log.session import ReadSession
from nexus_control.storage.contract import Entry
from nexus_control.values.actors import Actor, ActorType, actor_text
from nexus_control.values.instants import parse_instant
from nexus_control.values.payloads import Payload

_APPROVING = frozenset(map(str, APPROVING))
_UNREADABLE = (ValueError, TypeError)
"""Raised by reading a column that is not of its kind."""


class _Import(NamedTuple):
    """How many of the events an import brought, how many of these came with digests that nobody checked, and its
    record.
    """

    events: int = 0
    unchecked: int = 0
    record: ImportRecord | None = None


def unaltered_events(
    session: ReadSession, decision: Projection, generation: int | None = None
) -> list[Entry]:
    """All events of the current generation, or of a superseded one; empty where it has none.

    Raises INTEGRITY_MISMATCH where one of them was changed, added or removed; and where the decision was read from a
    row that does not say what its events and their import say.
    """
    wanted = decision.generation if generation is None else generation
    entries = session.rows.entries("decision", decision.decision_id, wanted)
    brought = _brought(session, entries)
    head, name = GENESIS, name_of_decision(decision.decision_id)
    for seq, entry in enumerate(entries):  # every event of an export passes here
        origin, is_checked = "imported" if seq < brought.events else "local", seq >= brought.unchecked
        if entry.origin != origin or not _is_next(entry, seq, head, name, is_checked):
            raise _altered(decision.decision_id, seq)
        head = entry.leaf
    if wanted == decision.generation:
        if (len(entries), head) != (decision.facts.event_count, decision.head):
            raise _altered(decision.decision_id, len(entries))
        # Where digests came unchecked the chain commits to them, and to no content.
        is_bound = not brought.unchecked
        if entries and not (
            _is_latest(session, decision, brought)
            and ((is_bound and session.recent.adds_up(decision)) or _adds_up(session, decision, entries))
        ):
            session.recent.forget()  # the row may have been mended since it was read
            raise _not_kept(decision.decision_id)
    if entries and not _is_leaf(session, entries[-1]):
        raise _altered(decision.decision_id, len(entries) - 1)
    return entries


def _is_latest(session: ReadSession, decision: Projection, brought: _Import) -> bool:
    """Whether the row names the last generation, and its import."""
    later = session.rows.entries("decision", decision.decision_id, decision.generation + 1, 0, 1)
    return not later and (decision.imported_count, decision.provenance) == (brought.events, brought.record)


def _adds_up(session: ReadSession, decision: Projection, entries: Sequence[Entry]) -> bool:
    """Whether the decision is what its events fold to. Their chain ends at its head, so it need not be asked again."""
    if decision.facts != _folded(decision, entries):
        return False
    if (row := session.recent.row_of(decision)) is not None:
        session.recent.keep(row, decision, adds_up=True)
    return True


def _folded(decision: Projection, entries: Sequence[Entry]) -> Facts:
    """What the events add up to."""
    facts, came = Facts(decision_id=decision.decision_id), decision.imported_count
    if decision.provenance is not None:
        facts = decision.provenance.facts_of(_after(facts, entries[:came])).after_import()
        entries = entries[came:]
    return _after(facts, entries)


def _after(facts: Facts, entries: Sequence[Entry]) -> Facts:
    """The facts after these events too. A long run of approvals is folded without making its events."""
    for approving, several in groupby(entries, _is_approving):
        if approving and facts.phase == "open":
            facts, _ = fold_run(facts, _acts(list(several)))
        else:
            facts = replay(facts, map(to_event, several))
    return facts


def _is_approving(entry: Entry) -> bool:
    return entry.event_type in _APPROVING


def _acts(run: Sequence[Entry]) -> Iterator[Act]:
    for start in range(0, len(run), AT_A_TIME):
        some = run[start : start + AT_A_TIME]
        for entry, content in zip(some, _contents(some), strict=True):
            yield actor_of(entry), entry.seq, entry.ts, parse_instant(entry.ts), content


def _contents(some: Sequence[Entry]) -> Iterable[Payload]:
    one_by_one = (to_event(entry).content for entry in some)
    try:
        payloads = [json.loads(entry.payload) for entry in some]
    except _UNREADABLE:
        return one_by_one
    return decoded_together([entry.event_type for entry in some], payloads) or one_by_one


def _is_next(entry: Entry, seq: int, head: str, name: str, is_checked: bool) -> bool:
    """Whether the decision's event `seq` is what follows after `head`. `name` is that of the decision."""
    _, _, _, given_seq, event_type, ts, actor_type, actor_id, payload, digest, leaf, origin = entry
    try:
        stands = digest_of_canonical_payload(event_type, payload) == digest if is_checked else is_bare(digest)
        if given_seq != seq or not stands:
            return False
        who = _spelled_actor(actor_type, actor_id)
        hashed = event_hash(name, origin, who, digest, event_type, head, seq, ts)
        return hashed == leaf or is_chained(entry, head)
    except _UNREADABLE:
        return False


@lru_cache(maxsize=4096)  # the events of a history name few
def _spelled_actor(actor_type: ActorType, actor_id: str) -> str:
    actor = Actor(actor_type, actor_id)
    return actor_text(actor.type, actor.id)


def _is_leaf(session: ReadSession, entry: Entry) -> bool:
    position = session.rows.position(entry.kind, entry.stream, entry.generation, entry.seq)
    return position is not None and session.rows.subtree(0, position).hex() == entry.leaf


def _brought(session: ReadSession, entries: Sequence[Entry]) -> _Import:
    """The import of these events, as its record in the log says."""
    if not entries or entries[0].origin != "imported":
        return _Import()
    decision_id, generation = entries[0].stream, entries[0].generation
    try:
        (record,) = session.rows.entries("import", decision_id, generation)
        prev = last_import(session.rows, decision_id, before=generation)
        brought, made = brought_by(record.payload), import_record_of(record.payload)
        came = entries[: brought.events]
        if (
            (record.seq, record.event_type, record.origin) == (0, RECORDS["import"], "local")
            and digest_of(record) == record.digest
            and is_chained(record, prev)
            and _is_leaf(session, record)
            and came[-1].leaf == brought.head
            and (not made.forensic or brought.contents in (None, contents_of(came)))
        ):
            return _Import(len(came), len(came) if made.forensic else 0, made)
    except (*_UNREADABLE, IndexError):
        pass
    raise _altered(decision_id, 0)


def _altered(decision_id: str, seq: int) -> NexusControlError:
    return NexusControlError(
        ErrorCode.INTEGRITY_MISMATCH,
        f"Event {seq} of decision {decision_id:.80} is not what was written to the log",
        {"decision_id": decision_id[:80], "seq": seq},
        "Tell the store's owner, who looks at it with doctor; nothing was exported or executed.",
    )


def _not_kept(decision_id: str) -> NexusControlError:
    return NexusControlError(
        ErrorCode.INTEGRITY_MISMATCH,
        f"What is kept of decision {decision_id:.80} is not what its events add up to",
        {"decision_id": decision_id[:80]},
        "Nothing was done. The store is damaged, or was changed past this library: look at it with doctor, which can"
        " rebuild it from the log.",
    )
