"""The refusal of an id that fits several requests: it carries the candidates, and shows them one a line."""

from collections.abc import Sequence
from typing import Final, cast

from typing_extensions import TypedDict

from nexus_control.cli.screen import Screen, columns
from nexus_control.decision import state_at
from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.store import DecisionStore
from nexus_control.values.payloads import StateName

MOST: Final = 10


class Candidate(TypedDict):
    """One of the requests that may be meant."""

    request_id: str
    state: StateName
    goal: str


def ambiguous(store: DecisionStore, message: str, ids: Sequence[str]) -> NexusControlError:
    """AMBIGUOUS_ID, with the first of these requests as `details.candidates`."""
    candidates = [_candidate(store, each) for each in ids[:MOST]]
    details = {"candidates": candidates, "truncated": len(ids) > MOST}
    return NexusControlError(ErrorCode.AMBIGUOUS_ID, message, details)


def show_candidates(screen: Screen, fault: NexusControlError) -> None:
    """The candidates that a refusal carries, if it carries any."""
    if fault.code is not ErrorCode.AMBIGUOUS_ID:
        return
    screen.blank()
    candidates = cast("list[Candidate]", fault.details["candidates"])
    screen.lines(columns("id|state|goal", [(c["request_id"], c["state"], c["goal"]) for c in candidates]))
    if fault.details["truncated"]:
        screen.prose("There are more; `list` shows all.")


def _candidate(store: DecisionStore, request_id: str) -> Candidate:
    facts = store.load(request_id).facts
    return {
        "request_id": request_id,
        "state": state_at(facts, store.clock.now()).value,
        "goal": facts.created.goal if facts.created else "",
    }
