"""Threads and processes racing on one store: every rule holds, nothing is lost, nobody sees the database."""

from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from nexus_control import DecisionStore, NexusControlTools
from nexus_control.decision import Decision, DecisionState
from nexus_control.values.actors import Actor
from nexus_control.values.results import ToolResult
from tests.concurrency.racing import Racers, Start, TallyRouter, runs_in
from tests.support.amounts import number_of
from tests.support.governed import (
    ADAPTER,
    ALICE,
    BOB,
    SCHEDULER,
    approved,
    data_of,
    reasons,
    require_whole,
    require_whole_store,
)

RACES = number_of(200, few=40)


@pytest.fixture(scope="module", params=[1, 2], ids=["one process", "two processes"])
def racers(request: pytest.FixtureRequest) -> Iterator[Racers]:
    with Racers(request.param) as racers:
        yield racers


def codes(results: Iterable[ToolResult[Any]]) -> list[str]:
    """Sorted, with "ok" for a success."""
    return sorted(result.error_code or "ok" for result in results)


def person(number: int, name: int = 0) -> Actor:
    return Actor(type="human", id=f"person-{number}-{name}")


# --- execute against execute --------------------------------------------------------------------------------------


def execute_each(
    request_ids: list[str], tally: Path, tools: NexusControlTools, number: int, start: Start
) -> list[ToolResult[Any]]:
    router = TallyRouter(tally)
    results: list[ToolResult[Any]] = []
    for request_id in request_ids:
        start()
        results.append(tools.execute(request_id, ADAPTER, SCHEDULER, router))
    return results


def test_of_many_who_execute_one_decision_exactly_one_runs_the_router(racers: Racers, tmp_path: Path) -> None:
    database, tally = tmp_path / "decisions.db", tmp_path / "tally"
    tools = NexusControlTools(db_path=database)
    request_ids = [approved(tools, goal=f"race {n}") for n in range(RACES)]
    results = racers.race(database, partial(execute_each, request_ids, tally))
    assert runs_in(tally) == sorted(f"race {n}" for n in range(RACES))
    for n, request_id in enumerate(request_ids):
        race_results = [thread[n] for thread in results]
        losers = [result for result in race_results if not result.success]
        assert len(losers) == len(race_results) - 1
        assert {tuple(reasons(loser)) for loser in losers} <= {("EXECUTING",), ("ALREADY_EXECUTED",)}
        assert data_of(tools.status(request_id))["run"] == {
            "run_id": f"run of race {n}",
            "status": "completed",
        }
    assert data_of(tools.recover()) == {"recovered": [], "still_held": 0, "runs": []}
    assert require_whole_store(tools.store) == request_ids[::-1]


# --- approvals ----------------------------------------------------------------------------------------------------

APPROVERS = 20
EVERYBODY = 8 * APPROVERS


def approve_as_many(
    request_id: str, tools: NexusControlTools, number: int, start: Start
) -> list[ToolResult[Any]]:
    start()
    return [tools.approve(request_id, person(number, name)) for name in range(APPROVERS)]


def test_no_approval_of_many_at_once_is_lost(racers: Racers, tmp_path: Path) -> None:
    database = tmp_path / "decisions.db"
    tools = NexusControlTools(db_path=database)
    request_id = data_of(tools.request("Rotate", ALICE, mode="apply", min_approvals=EVERYBODY))["request_id"]
    results = racers.race(database, partial(approve_as_many, request_id))
    granted = [data_of(result) for thread in results for result in thread]
    assert sorted(each["current_approvals"] for each in granted) == list(range(1, EVERYBODY + 1))
    assert [each["is_approved"] for each in granted].count(True) == 1
    status = data_of(tools.status(request_id))
    assert (status["state"], status["active_approvals"], status["event_count"]) == (
        "approved",
        EVERYBODY,
        EVERYBODY + 2,
    )
    require_whole(tools.store, request_id)


def approve_as_bob(
    request_ids: list[str], tools: NexusControlTools, number: int, start: Start
) -> list[ToolResult[Any]]:
    results: list[ToolResult[Any]] = []
    for request_id in request_ids:
        start()
        spelled = "bob" if number % 2 else "BOB"
        results.append(tools.approve(request_id, Actor(type="human", id=spelled)))
    return results


def test_one_person_who_approves_from_everywhere_approves_once(racers: Racers, tmp_path: Path) -> None:
    database = tmp_path / "decisions.db"
    tools = NexusControlTools(db_path=database)
    request_ids = [data_of(tools.request("Rotate", ALICE, min_approvals=2))["request_id"] for _ in range(20)]
    results = racers.race(database, partial(approve_as_bob, request_ids))
    for n, request_id in enumerate(request_ids):
        assert codes(thread[n] for thread in results) == [*["ALREADY_APPROVED"] * 7, "ok"]
        assert data_of(tools.status(request_id))["active_approvals"] == 1
    require_whole_store(tools.store)


# --- execute against deny, revoke and withdraw --------------------------------------------------------------------


def deny_each(
    request_ids: list[str], tools: NexusControlTools, number: int, start: Start
) -> list[ToolResult[Any]]:
    results: list[ToolResult[Any]] = []
    for request_id in request_ids:
        start()
        results.append(tools.deny(request_id, BOB, "No"))
    return results


def revoke_each(
    request_ids: list[str], tools: NexusControlTools, number: int, start: Start
) -> list[ToolResult[Any]]:
    results: list[ToolResult[Any]] = []
    for request_id in request_ids:
        start()
        results.append(tools.revoke_approval(request_id, BOB, "Not yet"))
    return results


def withdraw_each(
    request_ids: list[str], tools: NexusControlTools, number: int, start: Start
) -> list[ToolResult[Any]]:
    results: list[ToolResult[Any]] = []
    for request_id in request_ids:
        start()
        results.append(tools.withdraw(request_id, ALICE, "Not needed"))
    return results


STOPPING = {
    "deny": (deny_each, "APPROVAL_DENIED", "DENIED"),
    "revoke": (revoke_each, "APPROVAL_REVOKED", "MISSING_APPROVALS"),
    "withdraw": (withdraw_each, "DECISION_WITHDRAWN", "WITHDRAWN"),
}


def require_dispatched_while_approved(store: DecisionStore, request_id: str) -> bool:
    """Whether the decision was dispatched; if so, it was approved by what the log says before that."""
    events = store.get_events(request_id)
    types = [str(event.event_type) for event in events]
    if "EXECUTION_REQUESTED" not in types:
        return False
    before = events[: types.index("EXECUTION_REQUESTED")]
    assert Decision.replay(request_id, before).state is DecisionState.APPROVED
    return True


@pytest.mark.parametrize("verb", STOPPING)
def test_a_decision_is_either_stopped_or_dispatched(verb: str, racers: Racers, tmp_path: Path) -> None:
    stop_each, stopped_type, reason = STOPPING[verb]
    database, tally = tmp_path / "decisions.db", tmp_path / "tally"
    tools = NexusControlTools(db_path=database)
    goals = [f"race {n}" for n in range(30)]
    request_ids = [approved(tools, goal=goal) for goal in goals]
    works = [partial(execute_each, request_ids, tally), partial(stop_each, request_ids)]
    results = racers.race(database, works, threads=4)
    dispatched: list[str] = []
    for n, (goal, request_id) in enumerate(zip(goals, request_ids, strict=True)):
        executions = [results[0][n], results[2][n]]
        stops = [results[1][n], results[3][n]]
        types = [str(event.event_type) for event in tools.store.get_events(request_id)]
        if require_dispatched_while_approved(tools.store, request_id):
            dispatched.append(goal)
            assert codes(executions) in (["EXECUTING", "ok"], ["POLICY_NOT_SATISFIED", "ok"])
            assert codes(stops) == ["INVALID_STATE", "INVALID_STATE"]
            assert stopped_type not in types
        else:
            assert [reasons(execution) for execution in executions] == [[reason], [reason]]
            assert codes(stops)[1] == "ok"
            assert types[-1] == stopped_type
    assert runs_in(tally) == sorted(dispatched)
    require_whole_store(tools.store)


# --- everything at once -------------------------------------------------------------------------------------------


def request_and_approve(tools: NexusControlTools, number: int, start: Start) -> list[ToolResult[Any]]:
    start()
    results: list[ToolResult[Any]] = []
    for name in range(10):
        results.append(tools.request(f"Goal {number}.{name}", person(number), labels=["race"]))
        results.append(tools.approve(data_of(results[-1])["request_id"], person(number, name)))
    return results


def test_the_log_of_many_writers_has_no_gaps(racers: Racers, tmp_path: Path) -> None:
    database = tmp_path / "decisions.db"
    results = racers.race(database, request_and_approve)
    assert codes(result for thread in results for result in thread) == ["ok"] * 160
    tools = NexusControlTools(db_path=database)
    decision_ids = require_whole_store(tools.store)
    assert len(decision_ids) == 80
    with tools.store.reading() as session:
        assert session.rows.log_size() == 80 * 3
    listed = data_of(tools.list_requests(limit=1000, state="approved", label="race"))["requests"]
    assert [each["request_id"] for each in listed] == decision_ids


def approve_and_revoke(
    request_id: str, tools: NexusControlTools, number: int, start: Start
) -> list[ToolResult[Any]]:
    start()
    results: list[ToolResult[Any]] = []
    for _ in range(20):
        results.append(tools.approve(request_id, person(number)))
        results.append(tools.revoke_approval(request_id, person(number)))
    return results


def look(request_id: str, tools: NexusControlTools, number: int, start: Start) -> list[ToolResult[Any]]:
    start()
    return [tools.status(request_id, include_events=True) for _ in range(40)]


def test_who_reads_during_writes_sees_one_moment(racers: Racers, tmp_path: Path) -> None:
    database = tmp_path / "decisions.db"
    tools = NexusControlTools(db_path=database)
    request_id = data_of(tools.request("Rotate", ALICE))["request_id"]
    works = [partial(approve_and_revoke, request_id), partial(look, request_id)]
    results = racers.race(database, works)
    for seen in (data_of(result) for thread in results[1::2] for result in thread):
        types = [event["event_type"] for event in seen["events"]]
        assert seen["event_count"] == len(types)
        assert seen["active_approvals"] == types.count("APPROVAL_GRANTED") - types.count("APPROVAL_REVOKED")
    assert codes(result for thread in results[::2] for result in thread) == ["ok"] * 160
    require_whole(tools.store, request_id)
