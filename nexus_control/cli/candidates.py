"""The requests that an ambiguous id may mean: the refusal carries them, and they are shown one a line."""

from typing import cast

from typing_extensions import TypedDict

from nexus_control.cli.screen import Screen, columns
from nexus_control.cli.times import Times
from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.store import DecisionStore
from nexus_control.usecases import views
from nexus_control.values.instants import parse_instant
from nexus_control.values.payloads import Mode, StateName


class Candidate(TypedDict):
    """One of the requests that may be meant. A draft has no mode, and was not asked for yet."""

    request_id: str
    short_id: str
    state: StateName
    mode: Mode | None
    created_at: str | None
    goal: str


def candidate(store: DecisionStore, request_id: str, short_id: str) -> Candidate:
    created, (standing, _) = store.load(request_id).facts.created, views.current_view(store, request_id)
    return {
        "request_id": request_id,
        "short_id": short_id,
        "state": standing["state"],
        "mode": created.requested_mode if created else None,
        "created_at": created.created_at if created else None,
        "goal": created.goal if created else "",
    }


def show_candidates(screen: Screen, fault: NexusControlError) -> None:
    """The candidates of AMBIGUOUS_ID. Any other refusal has none."""
    if fault.code is not ErrorCode.AMBIGUOUS_ID:
        return
    screen.blank()
    times = Times(parse_instant(cast("str", fault.details["as_of"])))
    rows = [
        (
            each["short_id"],
            each["state"],
            each["mode"] or "",
            times.age(each["created_at"]) if each["created_at"] else "",
            each["goal"],
        )
        for each in cast("list[Candidate]", fault.details["candidates"])
    ]
    screen.lines(columns("id|state|mode|age|goal", rows))
    if fault.details["truncated"]:
        screen.prose("There are more; `list` shows all.")
