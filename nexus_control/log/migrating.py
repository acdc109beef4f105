"""Moves a store to another place: a SQLite file to a PostgreSQL database, or back.

Everything is copied in one transaction of the target, while the source's writer is held and nobody writes to it:
entries at their positions, the tree, the rows of decisions also without events, the routers' answers, claims that were
given up, and how far each sink was told. A kill at any moment leaves the target empty or whole. Before anything is
copied the source must be whole, continue its head and checkpoint, have its log's key beside it, and execute nothing.

Then both are read again and compared: size and root of the log, a digest over every field of every entry, the rows of
decisions, answers, claims and sinks. The target's chains, tree and rows are computed again from its entries.

The log keeps its key. Two stores that went on with one key would fork its log, and execute twice. So a mark in the
source's database says where it goes on (`storage.moved`): nothing is recorded, executed or signed there any more, by
nobody. The source's head says *migrated* (`log.head`), to earlier versions too. The source can still be read. Key,
checkpoint and run log are copied, not moved: they prove what the source was.

The order at the end: files beside the target, the source's head, the commit of the source's mark, the target's commit.
After a kill in between the same command finishes: the target has the head of exactly this log, and the mark names its
root. To any other target such a source is refused. A migration that is finished stays so (`completed`).
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from nexus_control.canonical_json import canonical_json, parse_json_object
from nexus_control.errors import ErrorCode, NexusControlError, invalid_argument
from nexus_control.log import checkpoints, head, log_keys
from nexus_control.log.ledger import Ledger
from nexus_control.log.session import ReadSession, WriteSession
from nexus_control.log.upkeep import content_faults
from nexus_control.storage import shown_url
from nexus_control.storage.contract import NEVER, ApprovalRow, Claim, DecisionRow, KeptAnswer, Placed, Reader
from nexus_control.storage.copying import copy_database
from nexus_control.storage.moved import Moved
from nexus_control.storage.sidecar import Sidecar
from nexus_control.storage.sink_rows import EventSetAside, SinkRow

Progress: TypeAlias = Callable[[int, int], None]
"""Is told how many entries of how many were copied."""

_BATCH: Final = 500
_RUNS: Final = "runs"


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What a store holds, as far as it can be compared."""

    log_size: int
    log_root: str
    log_digest: str
    """sha256 over the canonical JSON of every entry with its position, one line each."""
    decisions: tuple[tuple[DecisionRow, tuple[ApprovalRow, ...]], ...]
    answers: tuple[KeptAnswer, ...]
    claims: tuple[Claim, ...]
    sinks: tuple[tuple[SinkRow, tuple[EventSetAside, ...]], ...]
    """Nobody holds one at its new place yet."""


def migrate(
    source: Ledger, target: Ledger, place: str, on_progress: Progress = lambda _done, _all: None
) -> Contents:
    """Copy the store, compare, and mark the source with the place of the target, as people read it. Returns what both
    hold.

    Raises INVALID_ARGUMENT for a target that has a log or another store's key, LOG_INCONSISTENT for a source that is
    not whole, STORE_ROLLED_BACK, STORE_MIGRATED, KEY_UNUSABLE, CLAIM_HELD while something is executed,
    INTEGRITY_MISMATCH where the target would not hold the same.
    """
    for ledger in (source, target):
        if ledger.sidecar.absent is not None:
            raise log_keys.without_place(ledger.sidecar.absent)
    known = head.slot_of(source.sidecar).read_writable()
    with source.reading() as session:
        is_marked = session.rows.moved() is not None
    if is_marked:  # nobody writes to the source any more
        with target.writing() as ours, source.reading() as theirs:
            contents, _ = _moved(source, theirs, target, ours, known, on_progress)
        return contents
    with target.writing() as ours, source.writing() as theirs:  # the source is committed first
        contents, now = _moved(source, theirs, target, ours, known, on_progress)
        head.slot_of(source.sidecar).update(lambda _: head.migrated(now.root).to_bytes())
        theirs.rows.move(Moved(shown_url(place), now.root))
    return contents


def completed(source: Ledger, target: Ledger, place: str) -> Contents | None:
    """What was migrated, if the source goes on at this target already, which is at `place` as people read it."""
    with source.reading() as theirs, target.reading() as ours:
        now, moved = head.head_of(theirs), theirs.rows.moved()
        if moved is None or str(moved) != str(moved._replace(place=shown_url(place))):
            return None
        is_there = bool(now.size) and ours.rows.moved() is None and head.is_continued(ours, now)
        return contents_of_store(theirs.rows) if is_there else None


def _moved(
    source: Ledger,
    theirs: ReadSession,
    target: Ledger,
    ours: WriteSession,
    known: bytes,
    on_progress: Progress,
) -> tuple[Contents, head.Head]:
    """The rows and the files are at the target, and compared."""
    _require_empty(ours)
    _require_unused(theirs, target.sidecar)
    _require_movable(theirs, source.sidecar, known, target.sidecar)
    _copy(theirs, ours, on_progress)
    contents = contents_of_store(theirs.rows)
    if contents != contents_of_store(ours.rows) or content_faults(ours.rows):
        raise NexusControlError(ErrorCode.INTEGRITY_MISMATCH, "The target does not hold what the source does")
    now = head.head_of(theirs)
    _copy_files(source.sidecar, target.sidecar, now)
    return contents, now


def contents_of_store(rows: Reader) -> Contents:
    """What the store holds now."""
    log = rows.log()
    digest = hashlib.sha256()
    for position, entry in log:
        digest.update(canonical_json([position, *entry]).encode() + b"\n")
    size = rows.log_size()
    return Contents(
        log_size=size,
        log_root=head.root_of(rows, size),
        log_digest=digest.hexdigest(),
        decisions=tuple((row, tuple(rows.approvals(row.ordinal))) for row in _decision_rows(rows)),
        answers=tuple(_answers(rows, log)),
        claims=tuple(rows.claims()),
        sinks=tuple(_sinks(rows)),
    )


def _require_empty(ours: WriteSession) -> None:
    if ours.rows.log_size() or ours.rows.decisions(1, 0):
        raise invalid_argument(
            "target",
            "names a store that has a log or requests already, as one has on which init was run: name a new place,"
            " where there is no store yet",
        )


def _require_unused(theirs: ReadSession, beside_target: Sidecar) -> None:
    """What lies beside the target is nothing, or was left by this migration when it was cut short."""
    found = head.slot_of(beside_target).read()
    known = head.parse_head(found)
    if found and (known is None or not head.is_continued(theirs, known)):
        place = head.place_of(beside_target)
        raise invalid_argument("target", f"names a place where {place} is there already, of another log")


def _require_movable(theirs: ReadSession, sidecar: Sidecar, known: bytes, beside_target: Sidecar) -> None:
    if faults := content_faults(theirs.rows):
        raise NexusControlError(
            ErrorCode.LOG_INCONSISTENT,
            f"The source is not whole: {faults[0].code}: {faults[0].detail}",
            {"faults": [each.code for each in faults[:20]]},
            "Look at it with doctor; nothing was copied.",
        )
    now = head.head_of(theirs)
    is_finishing = head.slot_of(beside_target).read() == now.to_bytes()
    moved = theirs.rows.moved()
    is_known = moved.root == now.root if moved else known == head.migrated(now.root).to_bytes()
    if not (is_finishing and is_known):
        head.require_continued(theirs, sidecar, known)
    checkpoints.last_in(theirs, sidecar, sidecar.read(checkpoints.LAST))
    log_keys.require_own_key(theirs, sidecar)
    if held := [claim for claim in theirs.rows.claims() if not claim.recovered]:
        raise NexusControlError(
            ErrorCode.CLAIM_HELD,
            f"Decision {held[0].decision_id} is being executed: a store is migrated while nothing is",
            {"decision_id": held[0].decision_id},
            "Wait for its outcome, or give it up with recover; then migrate again.",
        )


def _copy(theirs: ReadSession, ours: WriteSession, on_progress: Progress) -> None:
    size = theirs.rows.log_size()
    for start in range(0, size, _BATCH):
        batch = theirs.rows.log(start, min(start + _BATCH, size))
        ours.rows.append([entry for _, entry in batch])
        on_progress(start + len(batch), size)
    ours.rows.replace_decision_rows(
        (row, theirs.rows.approvals(row.ordinal)) for row in _decision_rows(theirs.rows)
    )
    for answer in _answers(theirs.rows, theirs.rows.log()):
        ours.rows.keep_answer(answer)
    for claim in theirs.rows.claims():
        ours.rows.put_claim(claim)
    for sink, aside in _sinks(theirs.rows):
        ours.rows.put_sink(sink)
        for event in aside:
            ours.rows.set_event_aside(event)


def _sinks(rows: Reader) -> Iterator[tuple[SinkRow, tuple[EventSetAside, ...]]]:
    for sink in rows.sinks():
        yield sink._replace(holder="", held_until=NEVER), tuple(rows.events_set_aside(sink.name))


def _decision_rows(rows: Reader) -> list[DecisionRow]:
    """All rows, by ordinal."""
    found = (rows.decision_row(decision_id) for decision_id, _ in rows.decisions(2**62, 0))
    return sorted((row for row in found if row is not None), key=lambda row: row.ordinal)


def _answers(rows: Reader, log: Sequence[Placed]) -> Iterator[KeptAnswer]:
    """The answers that are kept: their digests are in the log, or in an outcome that came too late."""
    outcomes = [entry.payload for _, entry in log if entry.event_type.startswith("EXECUTION_")]
    late = [claim.late_outcome for claim in rows.claims() if claim.late_outcome]
    payloads: list[Any] = [parse_json_object(text) for text in outcomes]
    payloads += [parse_json_object(text)["payload"] for text in late]
    for digest in dict.fromkeys(payload.get("response_digest") for payload in payloads):
        if digest and (answer := rows.answer(digest)) is not None:
            yield answer


def _copy_files(source: Sidecar, target: Sidecar, now: head.Head) -> None:
    for name in (log_keys.KEY, log_keys.NEXT_KEY):
        secret = source.read_secret(name)
        if not secret or (there := target.read_secret(name)) == secret:
            continue
        if there:
            raise invalid_argument("target", f"names a place where {target.place(name)} is another log's key")
        target.create_secret(name, secret)
    if (note := source.read(checkpoints.LAST)) is not None:
        target.replace(checkpoints.LAST, note)
    runs, copy = source.file(_RUNS), target.file(_RUNS)
    if runs is not None and copy is not None and runs.exists():
        copy.unlink(missing_ok=True)  # left by a migration that was cut short
        copy_database(runs, copy)
    head.slot_of(target).update(lambda _: now.to_bytes())
