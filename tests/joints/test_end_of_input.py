"""A server's input ends while calls are under way, at any moment of theirs.

A round starts a server, which takes half a second: a fifth of ROUNDS is run, and never fewer than four.
"""

import random
import select
from pathlib import Path

import pytest

from nexus_control import NexusControlTools
from nexus_control.upkeep import find_faults
from tests.joints.rounds import ROUNDS
from tests.mcp.by_hand import Pipes, served
from tests.mcp.serving import ERAS, Era
from tests.support.governed import SCHEDULER, approved, data_of

SETTLED = {"approved", "completed", "failed", "outcome_unknown"}


@pytest.mark.parametrize("era", ERAS)
def test_no_end_of_input_crashes_the_server_or_leaves_an_execution_that_seems_to_go_on(
    era: Era, tmp_path: Path
) -> None:
    moments = random.Random(20260101)
    tools = NexusControlTools(db_path=tmp_path / "store.db")
    router = ("--router", "tests.mcp.python_routers:quick")
    for _ in range(max(4, ROUNDS // 5) // len(ERAS)):
        executed = [approved(tools) for _ in range(6)]
        with served("--approvals", "declared", *router, folder=tmp_path, era=era) as server:
            begin_many(server, executed)
            # The moment is one of the answers, so that it falls in the middle of the others, or a little after it.
            for number in range(2, moments.randrange(2, server.sent // 2)):
                server.answer(number)
            select.select([], [], [], moments.uniform(0, 0.01))
            assert server.end() == 0, (tmp_path / "log").read_text()
        states = [data_of(tools.status(each))["state"] for each in executed]
        assert set(states) <= SETTLED
        assert find_faults(tools.store) == []


def begin_many(server: Pipes, executed: list[str]) -> None:
    for request_id in executed:
        server.call("request", goal="g", actor=SCHEDULER.to_dict())
        server.call("status", request_id=request_id)
        server.call("execute", request_id=request_id, adapter_id="python:any")
        server.call("inspect", decision_id=request_id)
        server.call("export_bundle", decision_id=request_id)
        server.call("status", request_id=request_id, wait_seconds=60)
