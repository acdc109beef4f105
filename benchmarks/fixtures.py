"""Stores and documents that workloads start from. Each is made once a run, through the public API, by the
implementation that is measured, and copied for each round.

    events/                 decisions of every length, open ones and executed ones; names.json names them
    decisions-N/            a store of N decisions; of the newest 100, 30 are executed, 30 approved, 40 pending
    package-N.json          the audit package of an executed decision of N events, made by this implementation only

They grow in memory where there is a folder in memory, since how long this takes is not measured.
"""

import json
import shutil
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from benchmarks.people import ALICE, APPROVERS, BOB, CAROL, DAVE, CountingRouter, append_verdict, opened
from benchmarks.sizes import Sizes
from nexus_control import Actor, NexusControlTools, export_audit_package

DATABASE = "store.db"
NEWEST = 100
EXECUTED, APPROVED = 30, 60
ADAPTER = "python:keys"


class Names(BaseModel):
    """The ids of the decisions in `events`, by their number of events."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    open: dict[int, str]
    executed: dict[int, str]


def make_fixtures(work: Path, folder: Path, sizes: Sizes, *, with_packages: bool) -> None:
    """All of them, in `folder`; they grow in `work`."""
    _make_events(work / "events", folder, sizes, with_packages=with_packages)
    shutil.copytree(work / "events", folder / "events")
    _make_decisions(work / "decisions", folder, sizes)


def names_of(fixtures: Path) -> Names:
    return Names.model_validate_json((fixtures / "events" / "names.json").read_bytes())


def copy_of(fixtures: Path, name: str, folder: Path) -> Path:
    """The database of a copy of this store, with the files beside it."""
    shutil.copytree(fixtures / name, folder / name)
    return folder / name / DATABASE


def package_text(fixtures: Path, events: int) -> str:
    return (fixtures / f"package-{events}.json").read_text(encoding="utf-8")


def _make_events(store: Path, folder: Path, sizes: Sizes, *, with_packages: bool) -> None:
    store.mkdir()
    names = Names(open={}, executed={})
    with opened(store / DATABASE) as tools:
        for events in sizes.events:
            names.open[events] = _decision_of(tools, events)
            names.executed[events] = executed = _decision_of(tools, events - 5)
            approve_and_execute(tools, executed)
            if with_packages:
                exported = export_audit_package(tools.store, executed)
                if exported.package is None:
                    raise RuntimeError(f"export: {exported.error_message}")
                text = json.dumps(exported.package.to_dict(), ensure_ascii=False)
                (folder / f"package-{events}.json").write_text(text, encoding="utf-8")
    (store / "names.json").write_text(names.model_dump_json(), encoding="utf-8")


def _decision_of(tools: NexusControlTools, events: int) -> str:
    """Of so many events: the request, then verdicts of people who come and go."""
    asked = tools.request("Rotate the keys", ALICE, mode="apply", min_approvals=2, labels=["prod"])
    decision_id = asked.data["request_id"]
    for number in range(events - 2):
        append_verdict(tools.store, decision_id, number)
    return decision_id


def approve_and_execute(tools: NexusControlTools, decision_id: str) -> None:
    """Five events more."""
    for person in (BOB, CAROL):
        _ = tools.approve(decision_id, person).data
    _ = tools.execute(decision_id, ADAPTER, DAVE, CountingRouter()).data


def _make_decisions(store: Path, folder: Path, sizes: Sizes) -> None:
    store.mkdir()
    made = 0
    for size in sizes.decisions:
        with opened(store / DATABASE) as tools:
            newest = [_request(tools, number) for number in range(made, size)][-NEWEST:]
            for decision_id in newest[:EXECUTED]:
                approve_and_execute(tools, decision_id)
            for decision_id in newest[EXECUTED:APPROVED]:
                for person in (BOB, CAROL):
                    _ = tools.approve(decision_id, person).data
        made = size
        shutil.copytree(store, folder / f"decisions-{size}")


def _request(tools: NexusControlTools, number: int) -> str:
    requester: Actor = APPROVERS[number % len(APPROVERS)]
    asked = tools.request(
        f"Request number {number}",
        requester,
        mode="apply",
        min_approvals=2,
        labels=["prod" if number % 10 else "rare"],
    )
    return asked.data["request_id"]
