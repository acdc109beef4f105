"""The events of a decision as the log holds them. What was edited past the library does not go out under a fresh
digest, and is not executed.

Each digest and the whole chain are computed again from the rows. The chain must end at a leaf of the log's Merkle tree,
and that of the current generation at the projection's head. Events that an import brought must be those that its record
counts; where the import did not check their digests, the record's digest of their content stands in for them.

Where a superseded generation ended is kept nowhere: only a gap in the log shows that its last event is missing. That,
and the rest of the store, is checked by `log.upkeep`.
"""

from collections.abc import Sequence

from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.evidence.chain import GENESIS
from nexus_control.facts import Facts, fold
from nexus_control.log.entries import contents_of, digest_of, is_chained, last_import, to_event
from nexus_control.log.projection import Projection, brought_by, import_record_of
from nexus_control.log.session import ReadSession
from nexus_control.storage.contract import Entry

_UNREADABLE = (ValueError, TypeError)
"""Raised by reading a column that is not of its kind."""


def unaltered_events(
    session: ReadSession, decision: Projection, generation: int | None = None
) -> list[Entry]:
    """All events of the current generation, or of a superseded one; empty where it has none.

    Raises INTEGRITY_MISMATCH where one of them was changed, added or removed.
    """
    wanted = decision.generation if generation is None else generation
    entries = session.rows.entries("decision", decision.decision_id, wanted)
    brought, unchecked = _brought(session, entries)
    head = GENESIS
    for seq, entry in enumerate(entries):  # every event of an export passes here
        if entry.origin != ("imported" if seq < brought else "local") or not _follows(
            entry, seq, head, check_digest=seq >= unchecked
        ):
            raise _altered(decision.decision_id, seq)
        head = entry.leaf
    is_current = wanted == decision.generation
    if is_current and (len(entries), head) != (decision.facts.event_count, decision.head):
        raise _altered(decision.decision_id, len(entries))
    if entries and not _is_leaf(session, entries[-1]):
        raise _altered(decision.decision_id, len(entries) - 1)
    return entries


def require_as_recorded(session: ReadSession, decision: Projection) -> None:
    """Check what is about to be executed: its events are those of the log, and add up to the decision as it was read.

    Raises INTEGRITY_MISMATCH. The cost grows with the decision's events; a decision is executed once.
    """
    facts = Facts(decision_id=decision.decision_id)
    for number, entry in enumerate(unaltered_events(session, decision), 1):
        facts = fold(facts, to_event(entry))
        if decision.provenance is not None and number == decision.imported_count:
            facts = decision.provenance.facts_of(facts).after_import()
    if facts != decision.facts:
        session.recent.forget()  # the row may have been mended since it was read
        raise NexusControlError(
            ErrorCode.INTEGRITY_MISMATCH,
            f"What is kept of decision {decision.decision_id:.80} is not what its events add up to",
            {"decision_id": decision.decision_id[:80]},
            "Nothing was done. The store is damaged, or was changed past this library: look at it with doctor, which"
            " can rebuild it from the log.",
        )


def _follows(entry: Entry, seq: int, head: str, *, check_digest: bool = True) -> bool:
    try:
        return (
            entry.seq == seq
            and (not check_digest or digest_of(entry) == entry.digest)
            and is_chained(entry, head)
        )
    except _UNREADABLE:
        return False


def _is_leaf(session: ReadSession, entry: Entry) -> bool:
    position = session.rows.position(entry.kind, entry.stream, entry.generation, entry.seq)
    return position is not None and session.rows.subtree(0, position).hex() == entry.leaf


def _brought(session: ReadSession, entries: Sequence[Entry]) -> tuple[int, int]:
    """How many of these events an import brought, and how many of these came with digests that nobody checked."""
    if not entries or entries[0].origin != "imported":
        return 0, 0
    decision_id, generation = entries[0].stream, entries[0].generation
    try:
        (record,) = session.rows.entries("import", decision_id, generation)
        prev = last_import(session.rows, decision_id, before=generation)
        brought, forensic = brought_by(record.payload), import_record_of(record.payload).forensic
        came = entries[: brought.events]
        if (
            _follows(record, 0, prev)
            and _is_leaf(session, record)
            and came[-1].leaf == brought.head
            and (not forensic or brought.contents in (None, contents_of(came)))
        ):
            return len(came), len(came) if forensic else 0
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
