"""Cancel from other threads, processes and machines, while programs run."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from nexus_control import LocalRouter, NexusControlTools
from nexus_control.storage.contract import Claim
from nexus_control.values.results import ToolResult
from tests.concurrency.racing import Racers, Start, TallyRouter, runs_in
from tests.execution.support import keys_adapter, lives, pids_in, plan, step, tool
from tests.support.amounts import number_of
from tests.support.executor import executing
from tests.support.governed import (
    ADAPTER,
    ALICE,
    BOB,
    SCHEDULER,
    approved,
    data_of,
    last_event,
    require_whole_store,
)
from tests.support.places import REPOSITORY

WHY = "The wrong cluster"
RACES = number_of(200, few=20)

STUBBORN = "trap '' TERM INT HUP; echo $$ >> pids; while :; do sleep 3600 & echo $! >> pids; wait; done"
"""A program that ignores what asks it to end, and has a child."""

CONFIG = f"""
[adapters.keys]
kind = "subprocess"
capabilities = ["apply", "dry_run"]
timeout_seconds = 3600
[adapters.keys.tools.wait]
argv = ["sh", "-c", {json.dumps(STUBBORN)}]
[adapters.keys.tools.touch]
argv = ["sh", "-c", "echo done >> done"]
"""


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where the store is: a file, or a PostgreSQL server."""
    if request.param == "sqlite":
        return str(tmp_path / "decisions.db")
    url: str = request.getfixturevalue("postgres_url")
    return url


# --- a program that does not want to end ----------------------------------------------------------------------


def test_a_cancel_in_another_process_kills_a_program_that_ignores_every_request_to_end(
    place: str, tmp_path: Path
) -> None:
    (tmp_path / "nexus-control.toml").write_text(CONFIG)
    folder = tmp_path / "log" if place.startswith("postgresql") else None
    with NexusControlTools(place, log_folder=folder) as tools:
        steps = [step("touch", "first"), step("wait", "second"), step("touch", "third")]
        request_id = approved(tools, plan=plan(*steps), adapter_id="subprocess:keys")
        command = [sys.executable, "-m", "nexus_control", "execute", request_id, "--db", place, "--json"]
        named = [] if folder is None else ["--log-folder", str(folder)]
        with subprocess.Popen(
            [*command, *named, "--config", "nexus-control.toml"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            stdout=subprocess.PIPE,
        ) as executor:
            pids = pids_in(tmp_path / "pids", 2)
            data_of(tools.cancel(request_id, ALICE, WHY))
            said, _ = executor.communicate(timeout=240)
        assert executor.returncode == 1
        assert [pid for pid in pids if lives(pid)] == []
        refusal = json.loads(said)
        assert (refusal["code"], refusal["details"]["error_code"]) == ("ROUTER_ERROR", "CANCELLED")
        failed = last_event(tools.store, request_id).payload
        assert failed["error_message"] == (
            f"step 'second': it was cut off because human:alice cancelled the run: {WHY}"
        )
        status = data_of(tools.status(request_id))
        assert (status["state"], status["executions"][-1]["effect"]) == ("failed", "unknown")
        steps_known = data_of(tools.result(request_id))["results"]
        assert [(each["step_id"], each["effect"]) for each in steps_known] == [
            ("first", "done"),
            ("second", "unknown"),
        ]
        assert (tmp_path / "done").read_text() == "done\n"
        require_whole_store(tools.store)


def test_a_cancel_stops_the_one_run_and_no_other_of_the_process(tmp_path: Path) -> None:
    tools = NexusControlTools(tmp_path / "decisions.db")
    argv = ("sh", "-c", "echo $$ >> pids; exec sleep 3600")
    argv_end = ("sh", "-c", "while [ ! -e go ]; do :; done")
    with LocalRouter([keys_adapter(tmp_path, {"wait": tool(*argv), "short": tool(*argv_end)})]) as router:
        stopped = approved(tools, plan=plan(step("wait")))
        other = approved(tools, plan=plan(step("short")))

        def execute(request_id: str) -> ToolResult[Any]:
            return tools.execute(request_id, "subprocess:keys", SCHEDULER, router)

        with ThreadPoolExecutor() as pool:
            runs = [pool.submit(execute, request_id) for request_id in (stopped, other)]
            pids_in(tmp_path / "pids", 1)
            data_of(tools.cancel(stopped, ALICE, WHY))
            assert runs[0].result().details["error_code"] == "CANCELLED"
            (tmp_path / "go").touch()
            assert runs[1].result().success


# --- an owner that is gone ------------------------------------------------------------------------------------


def test_an_execution_whose_process_is_gone_is_recovered_and_not_cancelled(tmp_path: Path) -> None:
    tools = NexusControlTools(tmp_path / "decisions.db")
    request_id = approved(tools)
    with executing(tmp_path / "decisions.db", request_id) as executor:
        assert data_of(tools.cancel(request_id, ALICE, WHY))["asked"]
        executor.kill()
        executor.wait()
    refused = tools.cancel(request_id, BOB, WHY)
    assert (refused.error_code, "recover" in str(refused.next)) == ("INVALID_STATE", True)
    assert data_of(tools.recover())["recovered"] == [request_id]
    status = data_of(tools.status(request_id))
    assert (status["state"], "cancel" in status) == ("outcome_unknown", False)


# --- races --------------------------------------------------------------------------------------------------


def execute_each(
    request_ids: list[str], tally: Path, tools: NexusControlTools, number: int, start: Start
) -> list[ToolResult[Any]]:
    results: list[ToolResult[Any]] = []
    for request_id in request_ids:
        start()
        results.append(tools.execute(request_id, ADAPTER, SCHEDULER, TallyRouter(tally)))
    return results


def cancel_each(
    request_ids: list[str], tools: NexusControlTools, number: int, start: Start
) -> list[ToolResult[Any]]:
    """As soon as each is under way."""
    results: list[ToolResult[Any]] = []
    for request_id in request_ids:
        start()
        while (result := tools.cancel(request_id, ALICE, WHY)).details.get("state") == "approved":
            pass
        results.append(result)
    return results


def test_a_cancelled_run_was_begun_or_not_and_the_log_says_which(place: str, tmp_path: Path) -> None:
    tally = tmp_path / "tally"
    with NexusControlTools(place) as tools, Racers(2) as racers:
        goals = [f"race {number}" for number in range(RACES)]
        request_ids = [approved(tools, goal=goal) for goal in goals]
        works = [partial(execute_each, request_ids, tally), partial(cancel_each, request_ids)]
        executions, cancels = racers.race(place, works, threads=2)
        completed: list[str] = []
        for number, request_id in enumerate(request_ids):
            if executions[number].success:
                completed.append(goals[number])
                assert cancels[number].success or cancels[number].error_code == "INVALID_STATE"
            else:
                failed = last_event(tools.store, request_id)
                assert (failed.payload["error_code"], failed.payload["effect"]) == ("CANCELLED", "none")
                assert cancels[number].success
        assert runs_in(tally) == sorted(completed)
        require_whole_store(tools.store)


def test_of_many_who_cancel_one_execution_one_asks_and_all_hear_the_same(place: str) -> None:
    with NexusControlTools(place) as tools, Racers(2) as racers:
        request_id = approved(tools)
        data_of(tools.claim(request_id, "tool:rotate", SCHEDULER))
        answers = [data_of(each) for (each,) in racers.race(place, partial(cancel_each, [request_id]))]
        assert sorted(answer["asked"] for answer in answers) == [False] * 7 + [True]
        assert len({json.dumps(answer["cancel"]) for answer in answers}) == 1


def test_a_cancel_and_a_forced_recovery_end_in_an_unknown_outcome(place: str) -> None:
    with NexusControlTools(place) as tools:
        for _ in range(RACES):
            request_id = approved(tools)
            data_of(tools.claim(request_id, "tool:rotate", SCHEDULER))
            _move_its_owner_elsewhere(tools, request_id)
            cancelled, recovered = _at_once(
                lambda request_id=request_id: tools.cancel(request_id, ALICE, WHY),
                lambda request_id=request_id: tools.recover(request_id, force=True),
            )
            data_of(recovered)
            assert cancelled.success or cancelled.details["state"] == "outcome_unknown"
            status = data_of(tools.status(request_id))
            assert (status["state"], "cancel" in status) == ("outcome_unknown", False)


def _move_its_owner_elsewhere(tools: NexusControlTools, request_id: str) -> None:
    with tools.store.writing() as session:
        claim = session.rows.claim(request_id)
        assert claim is not None
        elsewhere = Claim(
            request_id, claim.generation, claim.seq, "an owner of another version", claim.claimed_at
        )
        session.rows.put_claim(elsewhere)


def _at_once(*calls: Callable[[], ToolResult[Any]]) -> list[ToolResult[Any]]:
    start = threading.Barrier(len(calls))

    def call(work: Callable[[], ToolResult[Any]]) -> ToolResult[Any]:
        start.wait()
        return work()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(call, calls))
