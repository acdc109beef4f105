"""Everything that a store holds, to be compared as a whole."""

from dataclasses import dataclass

from nexus_control.storage.contract import Claim, DecisionRow, Placed
from nexus_control.store import DecisionStore


@dataclass(frozen=True)
class Contents:
    log: list[Placed]
    decision_rows: list[DecisionRow]
    claims: list[Claim]


def contents(store: DecisionStore) -> Contents:
    """The log, and of every decision its row and claim."""
    with store.reading() as session:
        rows = session.rows
        decision_rows = [rows.decision_row(decision_id) for decision_id, _ in rows.decisions(10**9, 0)]
        return Contents(rows.log(), [row for row in decision_rows if row is not None], rows.claims())
