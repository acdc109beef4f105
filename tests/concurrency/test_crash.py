"""SIGKILL at named points and at any moment: no torn decision, nothing acknowledged is lost, no child is left."""

import json
import os
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from nexus_control import NexusControlTools
from tests.concurrency.crashing import (
    AFTER_THE_ROUTER_ACTED,
    BEFORE_THE_ROUTER_ACTS,
    Point,
    die_at_each,
    in_nursery,
    kill_at_random,
    kill_in_mid_step,
    kill_threads_at_random,
    processes_with,
)
from tests.concurrency.racing import TallyRouter, runs_in
from tests.support.amounts import number_of
from tests.support.governed import ADAPTER, ALICE, BOB, SCHEDULER, data_of, reasons, require_whole_store

KILLS = number_of(100, few=20)


@dataclass(frozen=True)
class Death:
    """Where a process dies; what the decision is then, None if there is none; how often the router had acted."""

    point: Point
    state: str | None
    runs: int = 0


DEATHS = {
    "before the commit of the request": Death(("commit", "DECISION_CREATED"), None),
    "after the commit of the request": Death(("committed", "DECISION_CREATED"), "pending_approval"),
    "before the commit of the approval": Death(("commit", "APPROVAL_GRANTED"), "pending_approval"),
    "after the commit of the approval": Death(("committed", "APPROVAL_GRANTED"), "approved"),
    "before the commit of the claim": Death(("commit", "EXECUTION_STARTED"), "approved"),
    "between the claim and the router": Death(("committed", "EXECUTION_STARTED"), "executing"),
    "inside the router, before it acts": Death(BEFORE_THE_ROUTER_ACTS, "executing"),
    "inside the router, after it acted": Death(AFTER_THE_ROUTER_ACTED, "executing", runs=1),
    "before the outcome is written": Death(("append", "EXECUTION_COMPLETED"), "executing", runs=1),
    "before the commit of the outcome": Death(("commit", "EXECUTION_COMPLETED"), "executing", runs=1),
    "after the commit of the outcome": Death(("committed", "EXECUTION_COMPLETED"), "completed", runs=1),
}


@pytest.fixture(scope="module")
def graves(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("graves")
    in_nursery(die_at_each, {name: death.point for name, death in DEATHS.items()}, folder)
    return folder


@pytest.mark.parametrize("name", DEATHS)
def test_a_process_killed_at_a_named_point_leaves_a_whole_decision(name: str, graves: Path) -> None:
    death, tally = DEATHS[name], graves / name / "tally"
    tools = NexusControlTools(db_path=graves / name / "decisions.db")
    decision_ids = require_whole_store(tools.store)
    assert [data_of(tools.status(each))["state"] for each in decision_ids] == (
        [death.state] if death.state else []
    )
    assert len(runs_in(tally)) == death.runs
    executing = decision_ids if death.state == "executing" else []
    recovered = data_of(tools.recover())
    assert (recovered["recovered"], recovered["still_held"]) == (executing, 0)
    assert [(each["run_id"], each["results"]) for each in recovered["runs"]] == [(None, [])] * len(executing)
    for request_id in executing:
        assert reasons(tools.execute(request_id, ADAPTER, SCHEDULER, TallyRouter(tally))) == [
            "OUTCOME_UNKNOWN"
        ]
        data_of(tools.reconcile(request_id, ALICE, "completed" if death.runs else "failed", "Looked"))
    for request_id in decision_ids if death.state == "pending_approval" else []:
        data_of(tools.approve(request_id, BOB))
        data_of(tools.execute(request_id, ADAPTER, SCHEDULER, TallyRouter(tally)))
    assert require_whole_store(tools.store) == decision_ids


def require_gone(marker: str) -> None:
    """No process with this argument is left; the supervisors need a moment to notice the death."""
    deadline = time.monotonic() + 240  # against a hang
    while left := processes_with(marker):
        assert time.monotonic() < deadline, left
        time.sleep(0.01)


def unique_seconds() -> str:
    """A long time, spelled like no other process spells it."""
    return f"3600.{os.getpid()}{time.monotonic_ns()}"


def test_the_child_of_a_step_does_not_outlive_a_killed_process(tmp_path: Path) -> None:
    marker = unique_seconds()
    in_nursery(kill_in_mid_step, tmp_path, marker)
    require_gone(marker)
    tools = NexusControlTools(db_path=tmp_path / "decisions.db")
    (request_id,) = require_whole_store(tools.store)
    assert data_of(tools.recover(request_id))["recovered"] == [request_id]


def test_kills_at_any_moment_tear_nothing_lose_nothing_and_leave_nobody(tmp_path: Path) -> None:
    database, tally, acks, marker = (
        tmp_path / "decisions.db",
        tmp_path / "tally",
        tmp_path / "acks",
        unique_seconds(),
    )
    in_nursery(kill_at_random, database, tally, acks, marker, KILLS)
    require_gone(marker)
    tools = NexusControlTools(db_path=database)
    status = {each: data_of(tools.status(each)) for each in require_whole_store(tools.store)}
    acknowledged = {tuple(ack) for ack in json.loads(acks.read_text())}
    assert len(acknowledged) >= KILLS
    for what, request_id in acknowledged:
        known = status[request_id]
        if what == "approve":
            assert known["active_approvals"] == 1
        if what == "execute":
            assert known["run"] == {"run_id": f"run of {known['goal']}", "status": "completed"}
    runs = Counter(runs_in(tally))
    assert set(runs.values()) <= {1}
    dispatched = {known["goal"] for known in status.values() if known["executions"]}
    assert set(runs) <= dispatched
    executing = sorted(each for each, known in status.items() if known["state"] == "executing")
    assert sorted(data_of(tools.recover())["recovered"]) == executing
    for request_id in executing:
        refused = tools.execute(request_id, "subprocess:sleep", SCHEDULER, TallyRouter(tally))
        assert reasons(refused) == ["OUTCOME_UNKNOWN"]
    assert Counter(runs_in(tally)) == runs
    assert set(require_whole_store(tools.store)) == set(status)


def test_threads_that_are_killed_lose_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    database, acks = tmp_path / "decisions.db", tmp_path / "acks"
    in_nursery(kill_threads_at_random, database, acks, KILLS)
    tools = NexusControlTools(db_path=database)
    status = {each: data_of(tools.status(each)) for each in require_whole_store(tools.store)}
    acknowledged = Counter((what, request_id) for what, request_id in json.loads(acks.read_text()))
    assert len(acknowledged) >= KILLS
    assert set(acknowledged.values()) == {1}
    for what, request_id in acknowledged:
        assert status[request_id]["active_approvals"] in ({1} if what == "approve" else {0, 1})
