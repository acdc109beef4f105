"""A step of the embedded router that calls a tool of an MCP server, beside the bare call.

Both are calls in a session that is open, each with a server of its own that runs the same program. The bare call is
that of the official `Client`, over its own pipes. The session of the router's runs is open, too: else the start of
their server, which takes some hundred times as long as a step, would be in the difference that is measured.

A run of one step is shown apart: in it the server is started, as it is beside it for a session with one call.
"""

import json
import subprocess
import sys
from contextlib import ExitStack
from contextvars import copy_context
from importlib.util import find_spec
from pathlib import Path

from anyio.from_thread import start_blocking_portal
from mcp import Client, StdioServerParameters

from benchmarks.results import Outcome
from benchmarks.timing import in_turns
from benchmarks.workloads import Setting
from benchmarks.workloads.limits import raw_commits
from benchmarks.workloads.steps import COMMITS, FURTHER, STEPS, Running, each_further
from nexus_control import LocalRouter, load_adapters

SERVER = """
from mcp.server import MCPServer
server = MCPServer("measured")
@server.tool()
def answer() -> str:
    return "answered"
server.run()
"""


def run(setting: Setting) -> Outcome:
    if find_spec("nexus_control.execution.mcp_adapter") is None:
        return Outcome(skipped={"bad_steps": "this version calls no MCP servers"})
    words = [sys.executable, "-c", SERVER]
    _configure(setting.folder / "nexus-control.toml", words)
    server = StdioServerParameters(command=words[0], args=words[1:], cwd=setting.folder)
    with ExitStack() as opened:
        adapters = load_adapters(setting.folder / "nexus-control.toml")
        router = opened.enter_context(LocalRouter(adapters, setting.folder / "runs.db"))
        many, one = (Running(router, "mcp:measured", "answer", steps) for steps in (STEPS, 1))
        raw = opened.enter_context(raw_commits(setting.folder / "raw.db"))
        portal = opened.enter_context(start_blocking_portal())
        bare = opened.enter_context(portal.wrap_async_context_manager(Client(server)))
        without_session = copy_context()
        opened.enter_context(router.prepared("mcp:measured", False, one.plan))

        def commits() -> None:
            for _ in range(COMMITS * FURTHER):
                raw()

        contenders = {
            "many": many,
            "one": one,
            "started": lambda: without_session.run(one),
            "raw": commits,
            "bare": lambda: portal.call(_call, bare, FURTHER),
            "once": lambda: portal.call(_once, server),
        }
        bad = sum("answered" not in json.dumps(output) for output in many())
        timed = in_turns(contenders, 2 * setting.sizes.seconds)
    metrics = {
        "mcp_step_ms": each_further(timed),
        "mcp_run_ms": timed["started"].milliseconds,
        "calib_mcp_call_ms": timed["bare"].milliseconds / FURTHER,
        "calib_mcp_session_ms": timed["once"].milliseconds,
        "calib_two_commits_ms": timed["raw"].milliseconds / FURTHER,
        "bad_steps": float(bad),
    }
    return Outcome(metrics=metrics)


async def _call(opened: Client, times: int) -> None:
    for _ in range(times):
        await opened.call_tool("answer", {})


async def _once(server: StdioServerParameters) -> None:
    async with Client(server) as opened:
        await _call(opened, 1)


def _configure(config: Path, words: list[str]) -> None:
    """Declare the server, and pin its tool as its owner does."""
    config.write_text(
        '[adapters.measured]\nkind = "mcp"\ncapabilities = ["apply"]\ntools = ["answer"]\n'
        f"command = {json.dumps(words[0])}\nargs = {json.dumps(words[1:])}\n",
        encoding="utf-8",
    )
    pinning = ["adapter", "pin", "mcp:measured", "--config", str(config), "--yes"]
    subprocess.run(
        [sys.executable, "-P", "-m", "nexus_control", *pinning],
        cwd=config.parent,
        capture_output=True,
        check=True,
    )
