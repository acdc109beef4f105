"""The same appends by the library `eventsourcing`: an aggregate for a decision, an event for each verdict."""

from collections.abc import Callable
from itertools import count, cycle
from pathlib import Path
from uuid import UUID

from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event

from benchmarks.people import APPROVERS, GRANTED, REVOKED


class Decision(Aggregate):
    @event("Created")
    def __init__(self, goal: str) -> None:
        self.goal = goal
        self.approvals: dict[str, str] = {}

    @event("Granted")
    def grant(self, person: str, comment: str) -> None:
        self.approvals[person] = comment

    @event("Revoked")
    def revoke(self, person: str, reason: str) -> None:
        self.approvals.pop(person, None)


def appends(path: Path | None, decisions: int) -> Callable[[], object]:
    """A call that appends and commits one verdict, in turns to so many aggregates. Without a path: in memory."""
    name = ":memory:" if path is None else str(path)
    application = Application[UUID](env={"PERSISTENCE_MODULE": "eventsourcing.sqlite", "SQLITE_DBNAME": name})
    aggregates = [Decision("Rotate the keys") for _ in range(decisions)]
    application.save(*aggregates)
    numbers, turn = [count() for _ in aggregates], cycle(range(decisions))

    def append() -> None:
        which = next(turn)
        number, decision = next(numbers[which]), aggregates[which]
        person = APPROVERS[number // 2 % len(APPROVERS)].id
        if number % 2 == 0:
            decision.grant(person, str(GRANTED["comment"]))
        else:
            decision.revoke(person, str(REVOKED["reason"]))
        application.save(decision)

    return append
