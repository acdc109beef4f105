"""What a store can prove about itself from its entries alone: the log is whole, and the projections equal a replay.

`find_faults` recomputes every position, seq, digest and chain hash, the Merkle tree, and every projection. It finds a
change by anybody who did not recompute all that hangs on it, and one that does not continue the checkpoint beside the
store; against who owns both, only a checkpoint kept elsewhere helps.
`rebuild_derived` throws tree and projections away and makes them anew. A decision that was only reserved has no entry
yet: its row, and the order in which decisions came, are carried over from the old projections where there are any.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import count

from nexus_control.checkpoints import last_published
from nexus_control.entries import RECORDS, chain_of, digest_of, leaf_of, to_event
from nexus_control.errors import NexusControlError
from nexus_control.evidence.chain import GENESIS
from nexus_control.evidence.merkle import whole_tree
from nexus_control.facts import Facts, fold
from nexus_control.projection import StoredDecision, import_record_of, to_projection
from nexus_control.storage.contract import Entry, Placed, Projection, Reader
from nexus_control.store import DecisionStore


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Something that is not as the entries say. `position` is -1 where no single entry is at fault."""

    code: str
    detail: str
    position: int = -1


def find_faults(store: DecisionStore) -> list[Fault]:
    """Every fault of the store; empty when it is whole. Projections are looked at once the log is found whole."""
    with store.reading() as session:
        log = session.rows.log()
        faults = list(_log_faults(log))
        if faults:
            return faults
        faults = [*_tree_faults(session.rows, log), *_projection_faults(session.rows, log)]
    return faults or list(_checkpoint_faults(store))


def _checkpoint_faults(store: DecisionStore) -> Iterator[Fault]:
    try:
        last_published(store)
    except NexusControlError as fault:
        yield Fault(code="CHECKPOINT_DIFFERS", detail=fault.message)


def rebuild_derived(store: DecisionStore) -> int:
    """Replace tree and projections by what the entries add up to; the number of decisions."""
    with store.writing() as session:
        log = session.rows.log()
        rebuilt = list(_replayed(log, _projections(session.rows)))
        session.rows.replace_projections(rebuilt)
        session.rows.replace_subtrees(_subtrees(log))
    return len(rebuilt)


def _tree_faults(rows: Reader, log: list[Placed]) -> Iterator[Fault]:
    if rows.subtrees() != _subtrees(log):
        yield Fault(code="TREE_DIFFERS", detail="the Merkle tree is not that of the entries")


def _subtrees(log: list[Placed]) -> dict[tuple[int, int], bytes]:
    leaves = (bytes.fromhex(entry.leaf) for _, entry in log)
    return {place: value for place, value in whole_tree(leaves).items() if place[0]}


def _log_faults(log: list[Placed]) -> Iterator[Fault]:
    heads: dict[tuple[object, ...], tuple[int, str]] = {}
    unchecked = {(entry.stream, entry.generation) for _, entry in log if _is_forensic(entry)}
    for expected, (position, entry) in enumerate(log):
        if position != expected:
            yield Fault(code="POSITION_GAP", detail=f"position {expected} is missing", position=position)
            return
        key = chain_of(entry)
        seq, prev = heads.get(key, (0, GENESIS))
        if entry.kind != "import" and entry.seq != seq:
            yield Fault(code="SEQ_GAP", detail=f"{entry.stream} lacks seq {seq}", position=position)
        was_checked = entry.origin == "local" or (entry.stream, entry.generation) not in unchecked
        yield from _entry_faults(entry, prev, position, check_digest=was_checked)
        heads[key] = (entry.seq + 1, entry.leaf)
    imported = {
        (entry.stream, entry.generation): position for position, entry in log if entry.kind == "import"
    }
    for position, entry in log:
        # An import's record follows the events that it brought, and covers how they came; their chain does not.
        brought = entry.kind == "decision" and position < imported.get((entry.stream, entry.generation), -1)
        if entry.origin != ("imported" if brought else "local"):
            yield Fault(
                code="ORIGIN_DIFFERS", detail=f"{_where(entry)}: origin was changed", position=position
            )


def _is_forensic(entry: Entry) -> bool:
    """Whether this records an import whose digests nobody checked: its events may have come with false ones."""
    try:
        return entry.kind == "import" and import_record_of(entry.payload).forensic
    except ValueError:
        return False


def _entry_faults(entry: Entry, prev: str, position: int, *, check_digest: bool) -> Iterator[Fault]:
    where = _where(entry)
    try:
        if check_digest and digest_of(entry) != entry.digest:
            yield Fault(code="DIGEST_MISMATCH", detail=f"{where}: payload was changed", position=position)
        if leaf_of(entry, prev) != entry.leaf:
            yield Fault(code="CHAIN_BROKEN", detail=f"{where}: chain hash differs", position=position)
        if entry.kind not in RECORDS:
            _ = to_event(entry).content
        elif entry.event_type != RECORDS[entry.kind] or (entry.kind == "import" and entry.seq):
            yield Fault(code="ENTRY_UNREADABLE", detail=f"{where}: no record of its kind", position=position)
    except ValueError as error:
        yield Fault(code="ENTRY_UNREADABLE", detail=f"{where}: {error}", position=position)


def _where(entry: Entry) -> str:
    return f"{entry.kind} {entry.stream} seq {entry.seq}"


def _projection_faults(rows: Reader, log: list[Placed]) -> Iterator[Fault]:
    stored = _projections(rows)
    replayed = {row.decision_id: row for row in _replayed(log, stored)}
    for decision_id in stored.keys() | replayed.keys():
        if stored.get(decision_id) != replayed.get(decision_id):
            yield Fault(
                code="PROJECTION_DIFFERS", detail=f"the projection of {decision_id} is not its replay"
            )


def _projections(rows: Reader) -> dict[str, Projection]:
    found: dict[str, Projection] = {}
    for decision_id, _ in rows.decisions(limit=2**62, offset=0):
        row = rows.projection(decision_id)
        if row is not None:
            found[decision_id] = row
    return found


def _replayed(log: list[Placed], stored: Mapping[str, Projection]) -> Iterator[Projection]:
    """The projections that the log adds up to, in the order of their ordinals where those are known."""
    decisions: dict[str, StoredDecision] = {}
    for placed in log:
        entry = placed.entry
        if entry.kind == "decision":
            decisions[entry.stream] = _after_event(decisions.get(entry.stream), entry)
        elif entry.kind == "import":
            decision = decisions[entry.stream]
            decisions[entry.stream] = replace(
                decision,
                imported_count=decision.facts.event_count,
                provenance=import_record_of(entry.payload),
            )
    fresh = count(max((row.ordinal for row in stored.values()), default=0) + 1)
    for decision_id, decision in decisions.items():
        known = stored.get(decision_id)
        ordinal = known.ordinal if known else next(fresh)
        reserved_at = known.created_at if known else ""
        yield to_projection(replace(decision, ordinal=ordinal, reserved_at=reserved_at))
    yield from (
        row for decision_id, row in stored.items() if decision_id not in decisions and not row.event_count
    )


def _after_event(decision: StoredDecision | None, entry: Entry) -> StoredDecision:
    """An entry of a new generation starts the decision anew."""
    if decision is None or decision.generation != entry.generation:
        decision = StoredDecision(
            facts=Facts(decision_id=entry.stream), ordinal=0, generation=entry.generation
        )
    return replace(decision, facts=fold(decision.facts, to_event(entry)), head=entry.leaf)
