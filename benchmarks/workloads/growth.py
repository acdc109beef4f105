"""What reading and approving cost against the length of one decision, and against the number of decisions."""

from collections.abc import Callable
from itertools import count
from pathlib import Path

from benchmarks.fixtures import copy_of, names_of
from benchmarks.people import ALICE, opened
from benchmarks.results import Outcome
from benchmarks.timing import in_turns
from benchmarks.workloads import Setting
from nexus_control import Actor, NexusControlTools

Calls = dict[str, Callable[[], object]]


def run(setting: Setting) -> Outcome:
    metrics, counted, seen = _by_events(setting)
    for size in setting.sizes.decisions:
        with opened(copy_of(setting.fixtures, f"decisions-{size}", setting.folder)) as tools:
            metrics |= _measured(_calls_in_a_store(tools), f"in_{size}_decisions", setting)
    right = {"check_event_count": float(counted), "check_sees_other_writers": float(seen)}
    return Outcome(metrics=metrics | right)


def _by_events(setting: Setting) -> tuple[dict[str, float], bool, bool]:
    """The metrics; whether each decision has its number of events; whether one instance sees what another writes."""
    database, names = copy_of(setting.fixtures, "events", setting.folder), names_of(setting.fixtures)
    metrics: dict[str, float] = {}
    counted = seen = True
    with opened(database) as tools:
        for events in setting.sizes.events:
            decision_id = names.open[events]
            counted &= _event_count(tools, decision_id) == events
            metrics |= _measured(
                _calls_on_a_decision(tools, database, decision_id), f"at_{events}_events", setting
            )
            before = _event_count(tools, decision_id)
            with opened(database) as other:
                _ = other.approve(decision_id, Actor(type="human", id="another-instance")).data
            seen &= _event_count(tools, decision_id) == before + 1
    return metrics, counted, seen


def _event_count(tools: NexusControlTools, decision_id: str) -> int:
    return tools.status(decision_id).data["event_count"]


def _calls_on_a_decision(tools: NexusControlTools, database: Path, decision_id: str) -> Calls:
    people = count()

    def open_and_status() -> None:
        with opened(database) as fresh:
            _ = fresh.status(decision_id).data

    return {
        "status": lambda: tools.status(decision_id).data,
        "inspect": lambda: tools.inspect(decision_id).data,
        "list": lambda: tools.list_requests(limit=1).data,
        "approve": lambda: tools.approve(decision_id, Actor(type="human", id=f"late-{next(people)}")).data,
        "open_and_status": open_and_status,
    }


def _calls_in_a_store(tools: NexusControlTools) -> Calls:
    page = tools.list_requests(limit=100).data
    pending, people = page["requests"][0]["request_id"], count()
    return {
        "status": lambda: tools.status(pending).data,
        "inspect": lambda: tools.inspect(pending).data,
        "list": lambda: tools.list_requests(limit=100).data,
        "approve": lambda: tools.approve(pending, Actor(type="human", id=f"late-{next(people)}")).data,
        "request": lambda: tools.request("Rotate the keys", ALICE, mode="apply").data,
    }


def _measured(calls: Calls, where: str, setting: Setting) -> dict[str, float]:
    timed = in_turns(calls, setting.sizes.seconds / 4)
    return {f"{name}_{where}_ms": each.milliseconds for name, each in timed.items()}
