"""Shows the requests that an ambiguous id may mean, which the refusal carries, one a line."""

from typing import cast

from typing_extensions import TypedDict

from nexus_control.cli.screen import Screen, columns
from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.values.payloads import StateName


class Candidate(TypedDict):
    """One of the requests that may be meant."""

    request_id: str
    state: StateName
    goal: str


def show_candidates(screen: Screen, fault: NexusControlError) -> None:
    """The candidates of AMBIGUOUS_ID. Any other refusal has none."""
    if fault.code is not ErrorCode.AMBIGUOUS_ID:
        return
    screen.blank()
    candidates = cast("list[Candidate]", fault.details["candidates"])
    screen.lines(columns("id|state|goal", [(c["request_id"], c["state"], c["goal"]) for c in candidates]))
    if fault.details["truncated"]:
        screen.prose("There are more; `list` shows all.")
