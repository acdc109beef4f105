"""Calls that wait, and runs that take long: neither holds up other calls, and a long run is answered before its end."""

import asyncio
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
from mcp import Client

from nexus_control import NexusControlTools
from nexus_control.execution.adapter import Adapters
from nexus_control.execution.local_router import LocalRouter
from nexus_control.execution.python_adapter import PythonAdapter
from nexus_control.execution.stopping import Stop
from nexus_control.server.ending import Ending
from nexus_control.server.protocol import make_server
from nexus_control.server.settings import Settings
from tests.mcp.by_hand import served
from tests.mcp.serving import ERAS, Era, data, refusal
from tests.support.governed import ALICE, BOB, data_of
from tests.toolset.bench import ADAPTER, AGENT, new_bench

WAITING = 60  # more than the SDK's pool has threads


@pytest.mark.sample(1)
@pytest.mark.parametrize("era", ERAS)
def test_many_statuses_that_wait_hold_up_no_other_call(era: Era, tmp_path: Path) -> None:
    tools = NexusControlTools(db_path=tmp_path / "store.db")
    request_id = data_of(tools.request("Rotate", ALICE))["request_id"]
    with served(folder=tmp_path, era=era) as pipes:
        waiting = [pipes.call("status", request_id=request_id, wait_seconds=50) for _ in range(WAITING)]
        quick = pipes.answer(pipes.call("template.list"))
        listed = pipes.answer(pipes.send("tools/list", {}))
        assert quick["result"]["structuredContent"]["count"] == 0
        assert len(listed["result"]["tools"]) == 11
        assert not set(waiting) & pipes.answers.keys()
        data_of(tools.approve(request_id, BOB))
        states = {pipes.answer(number)["result"]["structuredContent"]["state"] for number in waiting}
        assert states == {"approved"}


class SlowBench:
    """A server in this process, whose runs end when they are let. Its patience with the first call ends when the run
    has begun; later it has no end.
    """

    def __init__(self, folder: Path) -> None:
        self.bench = new_bench(folder)
        self.begun, self.let = threading.Event(), threading.Event()
        self.bench.change(router=LocalRouter(Adapters([PythonAdapter("keys", {"rotate": self.rotate})])))
        settings = Settings(database="decisions.db", actor=AGENT, approvals="declared")
        self.ending = Ending(Stop())
        self.server = make_server(self.bench.context, settings, self.ending, patience=self.patience)

    def rotate(self) -> dict[str, bool]:
        self.begun.set()
        self.let.wait()
        return {"rotated": True}

    async def patience(self) -> None:
        if self.begun.is_set():
            await anyio.sleep_forever()
        await anyio.to_thread.run_sync(self.begun.wait, abandon_on_cancel=True)


@pytest.mark.sample(1)
@pytest.mark.parametrize("era", ERAS)
def test_a_long_run_is_answered_goes_on_and_is_brought_by_the_status(era: Era, tmp_path: Path) -> None:
    slow = SlowBench(tmp_path)
    request_id = slow.bench.approved()
    execution: dict[str, Any] = {"request_id": request_id, "adapter_id": ADAPTER}

    async def flow() -> None:
        async with Client(slow.server, mode=era) as agent:
            try:
                answer = await data(agent, "execute", **execution)
                assert (answer["state"], answer["request_id"]) == ("executing", request_id)
                call = {"request_id": request_id, "wait_seconds": 50}
                assert answer["details"]["call"] == {"tool": "nexus-control.status", "arguments": call}
                assert (await refusal(agent, "execute", **execution))["code"] == "EXECUTING"
                assert (await data(agent, "status", request_id=request_id))["state"] == "executing"
            finally:
                slow.let.set()
            ended = await data(agent, "status", **call)
            assert ended["state"] == "completed"
            assert ended["execution"]["results"][0]["output"] == {"rotated": True}
            assert ended["execution"]["steps"]["ok"] == 1

    asyncio.run(flow())


def test_a_run_that_ends_in_time_is_answered_with_its_results(tmp_path: Path) -> None:
    slow = SlowBench(tmp_path)
    slow.let.set()
    server = make_server(
        slow.bench.context,
        Settings(database="d", actor=AGENT, approvals="declared"),
        patience=anyio.sleep_forever,
    )
    request_id = slow.bench.approved()

    async def flow() -> dict[str, Any]:
        async with Client(server) as agent:
            return await data(agent, "execute", request_id=request_id, adapter_id=ADAPTER)

    ran = asyncio.run(flow())
    assert ran["results"] == [
        {
            "step_id": "s1",
            "status": "ok",
            "output": {"rotated": True},
            "error": None,
            "exit_code": None,
            "effect": "done",
        }
    ]


def test_a_run_that_was_answered_is_ended_with_its_server(tmp_path: Path) -> None:
    slow = SlowBench(tmp_path)
    request_id = slow.bench.approved()

    async def flow() -> None:
        async with Client(slow.server) as agent:
            await data(agent, "execute", request_id=request_id, adapter_id=ADAPTER)
            for _ in range(2):  # the second sign cuts the time of grace short
                slow.ending.sign()
            with ExitStack() as nothing:
                await anyio.to_thread.run_sync(
                    slow.ending.finish, slow.bench.context.store, nothing, "the server's input ended"
                )

    try:
        asyncio.run(flow())
        status = slow.bench.data("status", request_id=request_id)
        assert status["state"] == "outcome_unknown"
    finally:
        slow.let.set()
