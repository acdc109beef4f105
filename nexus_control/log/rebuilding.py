"""The rows of decisions, made again from the log.

A decision that was only reserved has no entry yet: its row, and the order in which decisions came, are carried over
from the rows that are stored, where those can be read.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import count

from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.facts import Facts, fold
from nexus_control.log.entries import to_event
from nexus_control.log.projection import Projection, approval_rows, import_record_of, to_row
from nexus_control.storage.contract import ApprovalRow, DecisionRow, Entry, Placed, Reader, Writer
from nexus_control.storage.faults import is_damage


def rebuild_rows(rows: Writer) -> None:
    """Replace all rows of decisions by those that follow from the log. Raises STORE_UNAVAILABLE where they cannot be
    told from it.
    """
    try:
        rebuilt = list(replayed(rows.log(), stored_rows(rows)))
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        if (
            isinstance(error, NexusControlError)
            and error.code == ErrorCode.STORE_UNAVAILABLE
            and not is_damage(error)
        ):
            raise
        raise NexusControlError(
            ErrorCode.STORE_UNAVAILABLE,
            f"the log of the store is damaged, and cannot be replayed: {error}",
            {"damaged": True},
            "Restore a backup. What can still be read of it is shown by doctor, of the version that wrote it.",
        ) from error
    rows.replace_decision_rows(rebuilt)


def stored_rows(rows: Reader) -> dict[str, DecisionRow | None]:
    """The stored rows, by decision; None where one cannot be read."""
    return {name: _decision_row(rows, name) for name, _ in rows.decisions(limit=2**62, offset=0)}


def _decision_row(rows: Reader, decision_id: str) -> DecisionRow | None:
    try:
        row = rows.decision_row(decision_id)
    except NexusControlError:  # its labels are damaged
        return None
    return row if row is not None and type(row.ordinal) is int else None


def replayed(
    log: Iterable[Placed], stored: Mapping[str, DecisionRow | None]
) -> Iterator[tuple[DecisionRow, list[ApprovalRow]]]:
    """The rows that follow from the log, each with its approvals. Ordinals are those of the stored rows, where these
    are known.
    """
    decisions: dict[str, Projection] = {}
    for placed in log:
        entry = placed.entry
        if entry.kind == "decision":
            decisions[entry.stream] = _after_event(decisions.get(entry.stream), entry)
        elif entry.kind == "import":
            decision, record = decisions[entry.stream], import_record_of(entry.payload)
            decisions[entry.stream] = replace(
                decision,
                facts=record.facts_of(decision.facts).after_import(),
                imported_count=decision.facts.event_count,
                provenance=record,
            )
    fresh = count(max((row.ordinal for row in stored.values() if row), default=0) + 1)
    for decision_id, decision in decisions.items():
        known = stored.get(decision_id)
        ordinal = known.ordinal if known else next(fresh)
        reserved_at = known.created_at if known else ""
        placed_at = replace(decision, ordinal=ordinal, reserved_at=reserved_at)
        yield to_row(placed_at), approval_rows(decision.facts.progress.approvals)
    for decision_id, row in stored.items():
        if row is not None and decision_id not in decisions and not row.event_count:
            empty = Facts(decision_id=decision_id)
            yield to_row(Projection(facts=empty, ordinal=row.ordinal, reserved_at=row.created_at)), []


def _after_event(decision: Projection | None, entry: Entry) -> Projection:
    """An entry of a new generation starts the decision over."""
    if decision is None or decision.generation != entry.generation:
        decision = Projection(facts=Facts(decision_id=entry.stream), ordinal=0, generation=entry.generation)
    return replace(decision, facts=fold(decision.facts, to_event(entry)), head=entry.leaf)
