"""A server's input ends while calls are under way, at any moment of theirs.

A round starts a server, which takes half a second: a fifth of ROUNDS is run, and never fewer than four.
"""

import random
import select
from pathlib import Path

import pytest

from nexus_control import NexusControlTools
from nexus_control.log.upkeep import find_faults
from tests.mcp.by_hand import served
from tests.mcp.serving import ERAS, Era
from tests.support.amounts import ROUNDS
from tests.support.governed import ALICE, approved, data_of


@pytest.mark.parametrize("era", ERAS)
def test_no_end_of_input_crashes_the_server_or_leaves_an_execution_that_seems_to_go_on(
    era: Era, tmp_path: Path
) -> None:
    moments = random.Random(20260101)
    tools = NexusControlTools(db_path=tmp_path / "store.db")
    router = ("--router", "tests.mcp.python_routers:quick")
    for _ in range(max(4, ROUNDS // 5) // len(ERAS)):
        executed = [approved(tools) for _ in range(8)]
        with served("--approvals", "declared", *router, folder=tmp_path, era=era) as server:
            for request_id in executed:
                server.call("request", goal="g")
                server.call("status", request_id=request_id)
                server.call("execute", request_id=request_id, adapter_id="python:any")
            server.call(
                "status", request_id=data_of(tools.request("g", ALICE))["request_id"], wait_seconds=60
            )
            if moments.random() < 0.5:  # in the middle of the answers, or before the first
                server.answer(moments.randrange(2, 6))
            select.select([], [], [], moments.uniform(0, 0.05))
            assert server.end() == 0, (tmp_path / "log").read_text()
        states = [data_of(tools.status(each))["state"] for each in executed]
        assert set(states) <= {"approved", "completed", "outcome_unknown"}
        assert find_faults(tools.store) == []
