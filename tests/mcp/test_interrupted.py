"""A server that ends while a program of its run is still going, as the official client ends it."""

import asyncio
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import cast

import pytest
from mcp import Client, MCPError
from mcp.types import CallToolResult

from nexus_control import NexusControlTools
from tests.cli.running import nexus_control
from tests.mcp.serving import CONFIG, ERAS, Era, client, content_of, data, plan, refusal
from tests.support.governed import last_event


async def close_input(_folder: Path, running: "asyncio.Task[object]") -> None:
    running.cancel()


async def terminate(folder: Path, running: "asyncio.Task[object]") -> None:
    os.kill(server_process(folder), signal.SIGTERM)
    with suppress(MCPError):  # it may be answered before the connection ends, or not
        assert content_of(cast("CallToolResult", await running))["code"] == "OUTCOME_UNKNOWN"


def server_process(folder: Path) -> int:
    """The server that was started on the store in this folder."""
    database = str(folder / "store.db").encode()
    (found,) = [
        int(entry.parent.name)
        for entry in Path("/proc").glob("[0-9]*/cmdline")
        if b"serve" in (words := words_of(entry)) and database in words
    ]
    return found


def words_of(entry: Path) -> list[bytes]:
    try:
        return entry.read_bytes().split(b"\0")
    except OSError:  # it ended meanwhile
        return []


@pytest.mark.sample(2)
@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="finds the server's process in /proc")
@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("interrupt", [close_input, terminate], ids=lambda each: each.__name__)
def test_a_server_that_ends_in_mid_run_leaves_an_unknown_outcome_that_a_person_settles(
    interrupt: Callable[[Path, "asyncio.Task[object]"], "asyncio.Future[None]"], era: Era, tmp_path: Path
) -> None:
    config, sign = tmp_path / "nexus-control.toml", tmp_path / "sign"
    config.write_text(CONFIG)
    options = ("--approvals", "declared", "--config", str(config))

    async def leave_in_mid_run() -> str:
        async with client(*options, folder=tmp_path, era=era) as agent:
            request_id = await approved(agent)
            arguments = {"request_id": request_id, "adapter_id": "subprocess:files"}
            running = asyncio.create_task(agent.call_tool("nexus-control.execute", arguments))
            while not sign.exists():
                await asyncio.sleep(0.01)
            await interrupt(tmp_path, running)
        store = NexusControlTools(db_path=tmp_path / "store.db").store
        assert last_event(store, request_id).payload["reason"] == "STOPPED"
        return request_id

    async def approved(agent: Client) -> str:
        request = {"goal": "g", "mode": "apply", "plan": plan("wait", file=str(sign))}
        request_id = (await data(agent, "request", **request))["request_id"]
        await data(agent, "approve", request_id=request_id)
        return request_id

    async def come_back(request_id: str) -> None:
        async with client(*options, folder=tmp_path, era=era) as agent:
            status = await data(agent, "status", request_id=request_id)
            assert status["state"] == "outcome_unknown"
            again = await refusal(agent, "execute", request_id=request_id, adapter_id="subprocess:files")
            assert [reason["code"] for reason in again["details"]["reasons"]] == ["OUTCOME_UNKNOWN"]

    request_id = asyncio.run(leave_in_mid_run())
    asyncio.run(come_back(request_id))
    evidence = ("--outcome", "failed", "--evidence", "looked")
    settled = nexus_control("reconcile", request_id, *evidence, "--db", str(tmp_path / "store.db"))
    assert settled.returncode == 0
    assert "failed" in settled.stdout
