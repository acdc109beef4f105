"""A real server process, spoken to by the official client."""

import os
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal, cast

from mcp import Client, StdioServerParameters
from mcp.types import CallToolResult

from tests.support.places import REPOSITORY

Era = Literal["legacy", "auto"]
ERAS: tuple[Era, ...] = ("legacy", "auto")

CONFIG = """
[adapters.files]
kind = "subprocess"
capabilities = ["apply", "dry_run", "timeout"]
timeout_seconds = 60
[adapters.files.tools.write]
argv = ["sh", "-c", 'printf "%s" "$1" > "$2"', "sh", "{text}", "{file}"]
dry_run_argv = ["true"]
[adapters.files.tools.wait]
argv = ["sh", "-c", 'echo started > "$1"; exec sleep 600', "sh", "{file}"]
"""

EMPTY_SERVER = """
import anyio
from mcp.server.lowlevel.server import Server
from mcp.server.stdio import stdio_server
from mcp.types import ListToolsResult
async def tools(context, params): return ListToolsResult(tools=[])
async def main():
    server = Server("empty", on_list_tools=tools)
    async with stdio_server() as (i, o):
        await server.run(i, o, server.create_initialization_options())
anyio.run(main)
"""


def an_empty_server() -> StdioServerParameters:
    """A server of the same library without a tool: what no server of it can be quicker than."""
    return StdioServerParameters(command=sys.executable, args=["-c", EMPTY_SERVER])


def parameters(*arguments: str, folder: Path) -> StdioServerParameters:
    return StdioServerParameters(
        command=sys.executable,
        args=["-m", "nexus_control", "serve", "--db", str(folder / "store.db"), *arguments],
        env={"PYTHONPATH": str(REPOSITORY), "PATH": os.environ["PATH"]},
        cwd=folder,
    )


@asynccontextmanager
async def client(*arguments: str, folder: Path, era: Era = "auto") -> AsyncGenerator[Client]:
    async with Client(parameters(*arguments, folder=folder), mode=era) as connected:
        yield connected


async def data(connected: Client, tool: str, /, **arguments: object) -> dict[str, Any]:
    """The structured content of a call that must succeed."""
    result = await connected.call_tool(f"nexus-control.{tool}", arguments)
    content = content_of(result)
    assert not result.is_error, content
    return content


async def refusal(connected: Client, tool: str, /, **arguments: object) -> dict[str, Any]:
    """The structured content of a call that must be refused."""
    result = await connected.call_tool(f"nexus-control.{tool}", arguments)
    assert result.is_error
    return content_of(result)


def content_of(result: CallToolResult) -> dict[str, Any]:
    content: object = result.structured_content
    assert isinstance(content, dict)
    return cast("dict[str, Any]", content)


def person(name: str) -> Mapping[str, str]:
    return {"type": "human", "id": name}


def plan(method: str, **args: str) -> list[dict[str, object]]:
    call = {"tool": "files", "method": method, "args": args}
    return [{"step_id": "s1", "intent": method, "call": call}]
