"""The MCP server: the agents' tool table over stdio, for clients of both protocol eras.

One process acts for one identity on one store. Every call goes through `toolset.call`, which checks raw arguments and
turns every fault into an answer; nothing reaches a client as a protocol error but a tool or a resource that does not
exist. Answers fill both channels: `structuredContent`, and the same as JSON text.

A call runs in a worker thread, so that the server stays responsive. When it is cancelled, or standard input ends, a
waiting `status` stops at once; a run that is under way is not waited for. If the process ends before the outcome is
recorded, the claim stays, and the next start on this host turns it into outcome unknown, for a person to reconcile.

Standard output belongs to the protocol; the log goes to standard error.
"""

import asyncio
import json
import threading
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel.server import Server
from mcp.server.stdio import stdio_server
from mcp.shared.exceptions import MCPError

from nexus_control import __version__
from nexus_control.actors import Actor
from nexus_control.arguments import RecoverArguments
from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.execution.local_router import StepProgress
from nexus_control.execution.opening import open_router
from nexus_control.store import DecisionStore
from nexus_control.toolset import (
    TOOLS,
    Outcome,
    Tool,
    ToolContext,
    call,
    input_schema,
    output_schema,
    spelled,
)
from nexus_control.toolset.tool import Approvals, NameStyle
from nexus_control.usecases.settling import recover

NAME = "nexus-control"
INSTRUCTIONS = """\
nexus-control decides whether something dangerous may be executed, and proves it afterwards.
1. request: say what you want done (goal, plan, mode) and under which policy or template. Nothing runs.
2. People approve. You cannot approve for them: show them the command that an answer names in `next`.
3. status: see what is missing; wait_seconds waits for a change. inspect shows everything.
4. execute with dry_run true rehearses an approved apply decision; execute without it runs it, once.
5. A refusal says why in details.reasons, changes nothing, and names what to do in `next`. Do not retry unchanged.
6. A failed or unknown outcome is final: never repeat it by yourself; make a new request, or ask a person.
7. export_audit_package proves what was allowed and what ran. template.list shows the rules in use.
Leave `actor` out: this server acts for one identity."""

READ_ONLY_TOOLS = frozenset(
    f"{NAME}.{tool}" for tool in ("status", "inspect", "template.get", "template.list")
)
_DECISION_URI = f"{NAME}://decisions/"
_TEMPLATE_URI = f"{NAME}://templates/"

Report = Callable[[StepProgress], None]
_report: ContextVar[Report | None] = ContextVar("report", default=None)
"""Who is told of the steps of the run that this thread carries out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How a server was started. `artifacts` defaults to `<database>.artifacts` beside it.

    At most one of `config` (a nexus-control.toml, for LocalRouter) and `router` (`package.module:factory`).
    """

    database: str
    actor: Actor
    approvals: Approvals = "human"
    name_style: NameStyle = "dotted"
    artifacts: Path | None = None
    config: Path | None = None
    router: str | None = None
    read_only: bool = False


def serve_stdio(settings: Settings) -> None:
    """Serve standard input and output until input ends. Raises NexusControlError for settings that do not work."""
    with open_context(settings) as context:
        anyio.run(_serve_stdio, make_server(context, settings))


@contextmanager
def open_context(settings: Settings) -> Generator[ToolContext]:
    """The context that these settings describe, its store open; abandoned executions of this host are given up."""
    if settings.read_only and not Path(settings.database).is_file():
        raise NexusControlError(
            ErrorCode.CONFIG_INVALID,
            f"--read-only needs a database that exists; there is none at {settings.database}",
        )
    router = open_router(
        database=settings.database, config=settings.config, factory=settings.router, on_step=_tell
    )
    with DecisionStore(settings.database) as store:
        if not settings.read_only:
            recover(store, RecoverArguments())
        yield ToolContext(
            store=store,
            actor=settings.actor,
            database=settings.database,
            artifacts=settings.artifacts or Path(f"{settings.database}.artifacts"),
            approvals=settings.approvals,
            router=router,
            name_style=settings.name_style,
        )


def offered(settings: Settings) -> tuple[Tool, ...]:
    """The tools that these settings offer."""
    return tuple(
        tool
        for tool in TOOLS
        if (not settings.read_only or tool.name in READ_ONLY_TOOLS)
        and (settings.approvals != "off" or tool.name != f"{NAME}.approve")
    )


def make_server(context: ToolContext, settings: Settings) -> Server[dict[str, Any]]:
    """The protocol server over this context."""
    tools = offered(settings)
    listed = [_listed(tool, settings.name_style) for tool in tools]
    by_name = {spelled(tool.name, style): tool for tool in tools for style in ("dotted", "underscore")}

    async def list_tools(_context: _Context, _params: object) -> types.ListToolsResult:
        return types.ListToolsResult(tools=listed)

    async def call_tool(request: _Context, params: types.CallToolRequestParams) -> types.CallToolResult:
        tool = by_name.get(params.name)
        if tool is None:
            known = ", ".join(each.name for each in listed)
            raise MCPError(types.INVALID_PARAMS, f"There is no tool {params.name!r:.80}; there are {known}")
        async with _reporting(request):
            return _result(await _run(tool, context, params.arguments or {}))

    async def list_templates(_context: _Context, _params: object) -> types.ListResourceTemplatesResult:
        return types.ListResourceTemplatesResult(resource_templates=_RESOURCE_TEMPLATES)

    async def list_resources(_context: _Context, _params: object) -> types.ListResourcesResult:
        return types.ListResourcesResult(resources=[])

    async def read(_context: _Context, params: types.ReadResourceRequestParams) -> types.ReadResourceResult:
        outcome = await _read(by_name, context, params.uri)
        if outcome is None or outcome.is_error:
            message = "There is no such resource" if outcome is None else outcome.content["message"]
            raise MCPError(types.INVALID_PARAMS, message)
        text = json.dumps(outcome.content, ensure_ascii=False, indent=2)
        content = types.TextResourceContents(uri=params.uri, mime_type="application/json", text=text)
        return types.ReadResourceResult(contents=[content])

    return Server(
        NAME,
        version=__version__,
        title=NAME,
        instructions=INSTRUCTIONS,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
        on_list_resources=list_resources,
        on_list_resource_templates=list_templates,
        on_read_resource=read,
    )


_Context = ServerRequestContext[dict[str, Any], Any]
_RESOURCE_TEMPLATES = [
    types.ResourceTemplate(
        name="decision",
        uri_template=_DECISION_URI + "{id}",
        description="Everything about a decision.",
        mime_type="application/json",
    ),
    types.ResourceTemplate(
        name="template",
        uri_template=_TEMPLATE_URI + "{name}",
        description="A policy template.",
        mime_type="application/json",
    ),
]


async def _serve_stdio(server: Server[dict[str, Any]]) -> None:
    async with stdio_server() as (incoming, outgoing):
        await server.run(incoming, outgoing, server.create_initialization_options())


async def _run(tool: Tool, context: ToolContext, arguments: Mapping[str, object]) -> Outcome:
    """Run a tool in a thread. When the call is cancelled a waiting is ended; a run goes on and records its outcome."""
    cancelled = threading.Event()
    try:
        return await anyio.to_thread.run_sync(
            call, tool, replace(context, wait=cancelled.wait), arguments, abandon_on_cancel=True
        )
    finally:
        cancelled.set()


@asynccontextmanager
async def _reporting(request: _Context) -> AsyncGenerator[None]:
    """Tell the client of the steps of a run, from the thread that executes them."""
    loop, steps = asyncio.get_running_loop(), asyncio.Queue[StepProgress | None]()

    def put(step: StepProgress | None) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody is left to be told, and the run goes on
            loop.call_soon_threadsafe(steps.put_nowait, step)

    async def forward() -> None:
        while (step := await steps.get()) is not None:
            done = step.index - (step.status == "started")
            message = f"step {step.index} of {step.total}, {step.step_id}: {step.status}"
            await request.session.report_progress(done, step.total, message)

    token = _report.set(put)
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(forward)
            try:
                yield
            finally:
                put(None)
    finally:
        _report.reset(token)


def _tell(step: StepProgress) -> None:
    report = _report.get()
    if report is not None:
        report(step)


async def _read(tools: Mapping[str, Tool], context: ToolContext, uri: str) -> Outcome | None:
    if uri.startswith(_DECISION_URI):
        arguments = {"decision_id": uri[len(_DECISION_URI) :], "render": False}
        return await _run(tools[f"{NAME}.inspect"], context, arguments)
    if uri.startswith(_TEMPLATE_URI):
        return await _run(tools[f"{NAME}.template.get"], context, {"name": uri[len(_TEMPLATE_URI) :]})
    return None


def _listed(tool: Tool, style: NameStyle) -> types.Tool:
    hints = tool.annotations
    return types.Tool(
        name=spelled(tool.name, style),
        title=tool.title,
        description=tool.description,
        input_schema=input_schema(tool),
        output_schema=output_schema(tool),
        annotations=types.ToolAnnotations(
            title=tool.title,
            read_only_hint=hints.read_only,
            destructive_hint=hints.destructive,
            idempotent_hint=hints.idempotent,
            open_world_hint=hints.open_world,
        ),
    )


def _result(outcome: Outcome) -> types.CallToolResult:
    text = json.dumps(outcome.content, ensure_ascii=False)
    return types.CallToolResult(
        content=[types.TextContent(text=text)],
        structured_content=outcome.content,
        is_error=outcome.is_error,
    )
