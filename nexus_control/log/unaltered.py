"""The events of a decision as the log holds them. What was edited past the library does not go out under a fresh
digest, and is not executed.

Each digest and the whole chain are computed again from the rows. The chain must end at a leaf of the log's Merkle tree,
and that of the current generation at the projection's head; and the projection must be what the events add up to.
Events that an import brought must be those that its record counts; where the import did not check their digests, the
record's digest of their content stands in for them.

Where a superseded generation ended is kept nowhere: only a gap in the log shows that its last event is missing. That,
and the rest of the store, is checked by `log.upkeep`.
"""

from collections.abc import Sequence
from typing import NamedTuple

from nexus_control.approvals import Approval
from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.events import ApprovalGrantedPayload, ApprovalRevokedPayload, EventType
from nexus_control.evidence.chain import GENESIS
from nexus_control.facts import Facts, fold, replay_facts
from nexus_control.log.entries import contents_of, digest_of, is_chained, last_import, to_event
from nexus_control.log.projection import ImportRecord, Projection, brought_by, import_record_of
from nexus_control.log.session import ReadSession
from nexus_control.storage.contract import Entry
from nexus_control.values.actors import fold_id

_OF_APPROVALS = (EventType.APPROVAL_GRANTED.value, EventType.APPROVAL_REVOKED.value)
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
    if not (wanted == decision.generation and _is_known(session, decision, entries)):
        _require_unaltered(session, decision, wanted, entries)
    if entries and not _is_leaf(session, entries[-1]):
        raise _altered(decision.decision_id, len(entries) - 1)
    return entries


def _is_known(session: ReadSession, decision: Projection, entries: Sequence[Entry]) -> bool:
    """Whether these are the very events of which this process made the decision."""
    return (
        session.recent.entries_of(decision) == tuple(entries)
        and (decision.imported_count, decision.provenance) == (0, None)
        and _is_last_generation(session, decision)
    )


def _require_unaltered(
    session: ReadSession, decision: Projection, wanted: int, entries: Sequence[Entry]
) -> None:
    brought = _brought(session, entries)
    head = GENESIS
    for seq, entry in enumerate(entries):  # every event of an export passes here
        if entry.origin != ("imported" if seq < brought.events else "local") or not _follows(
            entry, seq, head, check_digest=seq >= brought.unchecked
        ):
            raise _altered(decision.decision_id, seq)
        head = entry.leaf
    if wanted == decision.generation:
        if (len(entries), head) != (decision.facts.event_count, decision.head):
            raise _altered(decision.decision_id, len(entries))
        if entries and not (_is_latest(session, decision, brought) and _adds_up(decision, entries)):
            session.recent.forget()  # the row may have been mended since it was read
            raise _not_kept(decision.decision_id)
        if (row := session.recent.row_of(decision)) is not None:
            session.recent.keep(row, decision, entries)


def _is_latest(session: ReadSession, decision: Projection, brought: _Import) -> bool:
    """Whether the row names the last generation, and its import."""
    return _is_last_generation(session, decision) and (decision.imported_count, decision.provenance) == (
        brought.events,
        brought.record,
    )


def _is_last_generation(session: ReadSession, decision: Projection) -> bool:
    return not session.rows.entries("decision", decision.decision_id, decision.generation + 1, 0, 1)


def _adds_up(decision: Projection, entries: Sequence[Entry]) -> bool:
    """Whether the events add up to the decision as it was read.

    Of a history that was made here only the latest approval of each person is looked at first, and whatever is no
    approval. Where that says something else all events are folded, since an event can be illegal where it stands.
    """
    return (decision.provenance is None and _adds_up_quickly(decision, entries)) or (
        decision.facts == _folded(decision, entries)
    )


def _folded(decision: Projection, entries: Sequence[Entry]) -> Facts:
    facts = Facts(decision_id=decision.decision_id)
    for number, entry in enumerate(entries, 1):
        facts = fold(facts, to_event(entry))
        if decision.provenance is not None and number == decision.imported_count:
            facts = decision.provenance.facts_of(facts).after_import()
    return facts


def _adds_up_quickly(decision: Projection, entries: Sequence[Entry]) -> bool:
    latest: dict[str, Entry] = {}
    others: list[Entry] = []
    for entry in entries:
        if entry.event_type in _OF_APPROVALS:
            latest[fold_id(entry.actor_id)] = entry
        else:
            others.append(entry)
    facts, now = replay_facts(decision.decision_id, map(to_event, others)), decision.facts.progress
    told, found = decision.facts, facts.progress
    return (
        (told.created, told.attached, told.policy) == (facts.created, facts.attached, facts.policy)
        and (now.phase, now.executions, now.ending) == (found.phase, found.executions, found.ending)
        and len(latest) == len(now.approvals)
        and all(_is_of(each, latest.get(each.actor.key), entries) for each in now.approvals)
    )


def _is_of(approval: Approval, last: Entry | None, entries: Sequence[Entry]) -> bool:
    """Whether this is the approval that a person gave, and took back or not, by their last event."""
    if last is None or approval.seq >= len(entries):
        return False
    given = to_event(entries[approval.seq])
    content = given.content
    if not isinstance(content, ApprovalGrantedPayload) or given.actor != approval.actor:
        return False
    taken_back = None if last is entries[approval.seq] else to_event(last)
    reason = taken_back.content if taken_back else None
    return approval == Approval(
        actor=given.actor,
        seq=given.seq,
        granted_at=given.ts,
        expires_at=content.expires_at,
        comment=content.comment,
        assurance=content.assurance,
        revoked_at=taken_back.ts if taken_back else None,
        revoke_reason=reason.reason if isinstance(reason, ApprovalRevokedPayload) else None,
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
            _follows(record, 0, prev)
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
