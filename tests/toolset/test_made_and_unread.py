"""A change that is made is said to be made, also where the store cannot be looked at any more right after it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from nexus_control.storage import open_storage
from nexus_control.store import DecisionStore
from nexus_control.tool import NexusControlTools
from tests.support.watched_storage import Moment, WatchedStorage
from tests.toolset.bench import ADAPTER, PLAN, Bench

BOB = {"type": "human", "id": "bob"}


@dataclass(frozen=True)
class Change:
    """A call, the event that it writes last, and what is said of it."""

    tool: str
    arguments: Callable[[Bench], dict[str, Any]]
    last: str
    done: str


CHANGES = [
    Change("request", lambda bench: {"goal": "Rotate", "plan": PLAN}, "POLICY_ATTACHED", "was made"),
    Change(
        "approve",
        lambda bench: {"request_id": bench.request(), "actor": BOB},
        "APPROVAL_GRANTED",
        "The approval is recorded",
    ),
    Change(
        "execute",
        lambda bench: {"request_id": bench.approved(), "adapter_id": ADAPTER},
        "EXECUTION_COMPLETED",
        "completed",
    ),
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.tool)
def test_a_change_whose_store_goes_away_right_after_it_is_told_as_made(
    change: Change, bench: Bench, tmp_path: Path
) -> None:
    path, away, armed = tmp_path / "store.db", tmp_path / "away.db", list[str]()

    def watch(moment: Moment, types: frozenset[str]) -> None:
        if moment == "committed" and types & set(armed):
            path.rename(away)

    store = DecisionStore(storage=WatchedStorage(open_storage(path), watch), clock=bench.clock)
    bench.change(store=store)
    arguments = change.arguments(bench)
    armed.append(change.last)
    error = bench.error(change.tool, **arguments)
    assert error["code"] == "STORE_REPLACED"
    assert f"{change.done}, but what it led to could not be read: " in error["message"]
    assert error["next"].startswith("Do not do it again. ")
    away.rename(path)
    events = NexusControlTools(store).events_since().data["events"]
    assert events[-1]["event_type"] == change.last
