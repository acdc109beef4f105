"""Checks and repairs of a store from its own entries: the log is whole, and the projections equal a replay.

`find_faults` holds the form of the storage (tables, indexes, guards) against what this version makes, and recomputes
every position, generation, seq, digest and chain hash, the Merkle tree, and every projection. A change is found unless
everything computed from it was changed as well. A log that does not continue the head or the checkpoint beside the
store is found, too. Somebody may rewrite all of these: then only a checkpoint kept elsewhere shows it. Every fault of
the content is reported; none is raised.

The Merkle tree is a second record of the log. A sound tree over other entries means that entries were removed, added or
moved, even where every chain is whole. Only a tree that contradicts itself is itself at fault.

`rebuild_derived` makes indexes and triggers again, and rebuilds tree and projections (`log.rebuilding`) from the
entries.

`accept_rollback` records that the owner goes on with a store whose log does not continue the head or checkpoint.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count, takewhile
from typing import get_args

from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.evidence.chain import GENESIS
from nexus_control.evidence.formats.merkle import Subtrees, whole_tree
from nexus_control.integrity import is_bare, sha256_hex
from nexus_control.log import head
from nexus_control.log.beside import Look, look_beside
from nexus_control.log.checkpoints import lost_checkpoint
from nexus_control.log.entries import RECORDS, chain_key, contents_of, digest_of, leaf_of, to_event, type_of
from nexus_control.log.ledger import Ledger
from nexus_control.log.log_keys import key_record_of
from nexus_control.log.projection import brought_by, import_record_of
from nexus_control.log.rebuilding import rebuild_rows, replayed, stored_rows
from nexus_control.storage.contract import Entry, EntryKind, Placed, Reader
from nexus_control.storage.faults import is_damage, is_read_only, is_without_permission
from nexus_control.values.actors import Actor
from nexus_control.values.records import encode

_FIRST = -(2**63)
"""The lowest position that is read: a file that others wrote to can hold entries before position 0."""

_UNREADABLE = (ValueError, RecursionError)
"""Raised by reading a text that is not of its kind, or nests too deep."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One fault of the store. `position` is that of the entry at fault; -1 where no single entry is."""

    code: str
    detail: str
    position: int = -1


def find_faults(ledger: Ledger) -> list[Fault]:
    """Every fault of the store; empty when it is whole. Tree and projections are checked only if the log is whole; head
    and checkpoint (`log.beside`) only if all of these are. Raises STORE_UNAVAILABLE where the store cannot be read.
    """
    return examine(ledger, refusal_to_write(ledger))[0]


def examine(ledger: Ledger, refusal: NexusControlError | None) -> tuple[list[Fault], dict[str, Look]]:
    """Like `find_faults`, and the looks at head and checkpoint, which are empty where these were not reached. `refusal`
    is what `refusal_to_write` found.
    """
    faults = list[Fault]()
    try:
        faults += [Fault(code="FORM_DIFFERS", detail=each) for each in ledger.form_differences()]
        faults += _writing_faults(refusal)
        with ledger.reading() as session:
            found = content_faults(session.rows)
    except NexusControlError as fault:
        if not is_damage(fault):
            raise
        return [*faults, Fault(code="STORE_UNREADABLE", detail=fault.message)], {}
    if found:
        return [*faults, *found], {}
    beside = look_beside(ledger)
    failed = [each for each in beside.values() if each.status == "fail"]
    return [*faults, *(Fault(code=each.code, detail=each.reason) for each in failed)], beside


def content_faults(rows: Reader) -> list[Fault]:
    """Every fault of the entries, or, where these are whole, of what is derived from them."""
    log = rows.log(_FIRST)
    if found := _log_faults(log):
        return found
    checks = (_index_faults, _tree_faults, _projection_faults, _answer_faults)
    return [fault for check in checks for fault in check(rows, log)]


def refusal_to_write(ledger: Ledger) -> NexusControlError | None:
    """The fault of a writing statement that changes nothing; None where it can be run. Beginning a transaction would
    prove nothing: SQLite only begins to read then.
    """
    try:
        with ledger.writing() as session:
            session.rows.drop_claim("")
    except NexusControlError as fault:
        return fault
    return None


def _writing_faults(fault: NexusControlError | None) -> Iterator[Fault]:
    """A user who may only read the store finds no fault."""
    if fault is None or is_without_permission(fault) or fault.code is ErrorCode.STORE_MIGRATED:
        return
    if not is_read_only(fault):
        raise fault
    yield Fault(code="STORE_UNWRITABLE", detail=f"nothing can be recorded in it: {fault.message}")


def accept_rollback(ledger: Ledger, actor: Actor) -> bool:
    """Record that `actor`, who owns the store, accepts the loss of its head, its checkpoint, or both. From then on the
    log counts as continuing them, and a store that was moved goes on here. False when nothing is lost: then nothing is
    written.

    Raises LOG_INCONSISTENT where the checkpoint's file holds something other than a checkpoint.
    """
    # Before the transaction: waiting for the lock holds up no other writer.
    known, is_lost = head.parse_head(head.slot_of(ledger.sidecar).read()), head.is_lost(ledger.sidecar)
    with ledger.writing() as session:
        lost = known if known is not None and not head.is_continued(session, known) else None
        note = lost_checkpoint(session, ledger.sidecar)
        is_moved = session.rows.moved() is not None
        if lost is None and note is None and not is_moved and not is_lost:
            return False
        if is_moved:
            session.rows.move(None)
        session.append_rollback(actor, encode(head.Loss(head=lost, checkpoint=note)))
    if is_lost:
        head.begin_again(ledger.sidecar)
    head.remember(ledger)
    return True


def rebuild_derived(ledger: Ledger) -> int:
    """Make indexes and triggers again, and rebuild tree and projections from the entries. Returns the number of
    decisions.
    """
    ledger.mend_form()
    with ledger.writing() as session:
        session.rows.replace_subtrees(_subtrees(session.rows.log()))
        rebuild_rows(session.rows)
        session.recent.forget()
        return len(session.rows.decisions(limit=2**62, offset=0))


def _index_faults(rows: Reader, log: list[Placed]) -> Iterator[Fault]:
    """Where the index that finds streams leads to other entries. It is not part of the log, and can be rebuilt."""
    streams: dict[tuple[EntryKind, str], dict[int, list[Entry]]] = {}
    first: dict[EntryKind, list[Entry]] = {kind: [] for kind in get_args(EntryKind)}
    for _, entry in log:
        streams.setdefault((entry.kind, entry.stream), {}).setdefault(entry.generation, []).append(entry)
        if (entry.generation, entry.seq) == (0, 0):
            first[entry.kind].append(entry)
    for (kind, name), generations in streams.items():
        if rows.generations(kind, name) != sorted(generations) or any(
            rows.entries(kind, name, generation) != entries for generation, entries in generations.items()
        ):
            yield Fault(code="INDEX_DIFFERS", detail=f"{kind} {name:.80}: its key leads to other entries")
    for kind, entries in first.items():
        if rows.first_entries(kind) != entries:
            yield Fault(code="INDEX_DIFFERS", detail=f"what begins a {kind} is found by no index")


def _tree_faults(rows: Reader, log: list[Placed]) -> Iterator[Fault]:
    kept, expected = rows.subtrees(), _subtrees(log)
    if kept == expected:
        return
    leaves = [kept[0, number] for number in takewhile(lambda number: (0, number) in kept, count())]
    if leaves and set(map(type, kept.values())) == {bytes} and kept == whole_tree(leaves):
        detail = (
            f"the Merkle tree is whole, of {len(leaves)} other entries than the {len(log)} that are there"
        )
        yield Fault(code="LOG_DIFFERS", detail=detail)
    else:
        yield Fault(code="TREE_DIFFERS", detail="the Merkle tree is not that of the entries")


def _subtrees(log: list[Placed]) -> Subtrees:
    return whole_tree(bytes.fromhex(entry.leaf) for _, entry in log)


def _log_faults(log: list[Placed]) -> list[Fault]:
    """The faults of the log itself. Each check relies on the ones before it."""
    looks = (_position_faults, _type_faults, _chain_faults, _generation_faults, _import_faults)
    for look in looks:
        if faults := list(look(log)):
            return faults
    return []


def _position_faults(log: list[Placed]) -> Iterator[Fault]:
    for expected, (position, _) in enumerate(log):
        if position != expected:
            yield Fault(code="POSITION_GAP", detail=f"position {expected} is missing", position=position)
            return


def _type_faults(log: list[Placed]) -> Iterator[Fault]:
    for position, entry in log:
        if problem := _type_problem(entry):
            yield Fault(code="ENTRY_UNREADABLE", detail=problem, position=position)


def _chain_faults(log: list[Placed]) -> Iterator[Fault]:
    heads: dict[tuple[object, ...], tuple[int, str]] = {}
    unchecked = {(entry.stream, entry.generation) for _, entry in log if _is_forensic(entry)}
    for position, entry in log:
        key = chain_key(entry)
        seq, prev = heads.get(key, (0, GENESIS))
        if entry.kind != "import" and entry.seq != seq:
            yield Fault(code="SEQ_GAP", detail=f"{_where(entry)}: seq {seq} is missing", position=position)
        was_checked = entry.origin == "local" or (entry.stream, entry.generation) not in unchecked
        yield from _entry_faults(entry, prev, position, check_digest=was_checked)
        heads[key] = (entry.seq + 1, entry.leaf)


def _type_problem(entry: Entry) -> str | None:
    for name, value in zip(Entry._fields, entry, strict=True):
        if type(value) is not (wanted := type_of(name)):
            return f"{name} is no {'integer' if wanted is int else 'text'}"
    return None if entry.kind in get_args(EntryKind) else f"there is no kind {entry.kind!r:.80}"


def _entry_faults(entry: Entry, prev: str, position: int, *, check_digest: bool) -> Iterator[Fault]:
    where = _where(entry)
    try:
        if not is_bare(entry.digest):
            yield Fault(
                code="ENTRY_UNREADABLE", detail=f"{where}: digest is not 64 hex digits", position=position
            )
        elif check_digest and digest_of(entry) != entry.digest:
            yield Fault(code="DIGEST_MISMATCH", detail=f"{where}: payload was changed", position=position)
        if leaf_of(entry, prev) != entry.leaf:
            yield Fault(code="CHAIN_BROKEN", detail=f"{where}: chain hash differs", position=position)
        _read(entry)
    except _UNREADABLE as error:
        yield Fault(code="ENTRY_UNREADABLE", detail=f"{where}: {error}", position=position)


def _read(entry: Entry) -> None:
    """Decode this entry. Raises ValueError or RecursionError where it is not a record of its kind."""
    if entry.kind not in RECORDS:
        event = to_event(entry)
        _ = event.content, event.instant
        return
    if entry.event_type != RECORDS[entry.kind] or (entry.kind == "import" and entry.seq):
        raise ValueError("not a record of its kind")
    if entry.kind == "import":
        _ = import_record_of(entry.payload), brought_by(entry.payload)
    elif entry.kind == "rollback":
        head.loss_of(entry)
    else:
        key_record_of(entry)


def _is_forensic(entry: Entry) -> bool:
    """Whether this records an import whose digests were not checked: its events may carry false ones."""
    try:
        return entry.kind == "import" and import_record_of(entry.payload).forensic
    except _UNREADABLE:
        return False


def _generation_faults(log: list[Placed]) -> Iterator[Fault]:
    """Generations of a decision follow one another without a gap, and an import's record stands in the generation that
    it began. Streams of templates, keys and rollbacks have one generation.
    """
    last: dict[str, int] = {}
    for position, entry in log:
        current = last.get(entry.stream, -1)
        match entry.kind:
            case "decision":
                possible = (max(current, 0), current + 1)
                last[entry.stream] = entry.generation
            case "import":
                possible = (current,)
            case _:
                possible = (0,)
        if entry.generation not in possible:
            detail = f"{_where(entry)}: generation {entry.generation} cannot come here"
            yield Fault(code="GENERATION_GAP", detail=detail, position=position)


def _import_faults(log: list[Placed]) -> Iterator[Fault]:
    """An import's record follows the events that it brought, and covers their number and content. The digests of these
    events are covered by their chain, and are false where nobody checked them.
    """
    records = {
        (entry.stream, entry.generation): (position, brought_by(entry.payload))
        for position, entry in log
        if entry.kind == "import"
    }
    came: dict[tuple[str, int], list[Entry]] = {place: [] for place in records}
    for position, entry in log:
        place = (entry.stream, entry.generation)
        brought = entry.kind == "decision" and place in records and position < records[place][0]
        if brought:
            came[place].append(entry)
        if entry.origin != ("imported" if brought else "local"):
            detail = f"{_where(entry)}: origin was changed"
            yield Fault(code="ORIGIN_DIFFERS", detail=detail, position=position)
    for place, (position, record) in records.items():
        if record.contents is not None and record.contents != contents_of(came[place]):
            detail = f"decision {place[0]:.80}: what was imported was changed"
            yield Fault(code="IMPORT_DIFFERS", detail=detail, position=position)


def _where(entry: Entry) -> str:
    return f"{entry.kind} {entry.stream:.80} seq {entry.seq}"


def _projection_faults(rows: Reader, log: list[Placed]) -> Iterator[Fault]:
    stored = stored_rows(rows)
    try:
        expected = {row.decision_id: (row, approvals) for row, approvals in replayed(log, stored)}
    except _UNREADABLE as error:
        yield Fault(code="ENTRY_UNREADABLE", detail=f"the entries cannot be replayed: {error}")
        return
    kept = {name: row and (row, rows.approvals(row.ordinal)) for name, row in stored.items()}
    names = kept.keys() | expected.keys()
    differing = [name for name in names if kept.get(name) is None or kept[name] != expected.get(name)]
    for name in differing:
        detail = f"the projection of {name!s:.80} is not its replay"
        yield Fault(code="PROJECTION_DIFFERS", detail=detail)
    if not differing and not rows.is_filed():
        detail = "what lists are searched by is not what the projections say"
        yield Fault(code="PROJECTION_DIFFERS", detail=detail)


def _answer_faults(rows: Reader, log: list[Placed]) -> Iterator[Fault]:
    """The answers of routers that are not those whose digests the log has, or the parts whose digests a note has."""
    for _, entry in log:
        if entry.kind != "decision" or not entry.event_type.startswith("EXECUTION_"):
            continue
        answer = rows.answer(json.loads(entry.payload).get("response_digest") or "")
        if answer is None or (found := sha256_hex(answer.content)) == answer.digest:
            continue
        # The note of the event has the digest of a part.
        if not answer.truncated or found not in entry.payload:
            detail = f"{_where(entry)}: the router's answer that is kept for it was changed; it is not shown"
            yield Fault(code="ANSWER_ALTERED", detail=detail)
