"""The MCP server: the agents' tool table over stdio, for clients of both protocol eras.

One process acts for one identity on one store. Every call goes through `toolset.call`, which checks raw arguments and
turns every fault into an answer. Only a tool or a resource that does not exist is a protocol error. Each answer is
given twice: as `structuredContent`, and as the same JSON in text.

If the client can show a form to a person, a tool's question is asked before the tool runs (see `forms`).

A call runs in a worker thread, so the server stays responsive. When a call is cancelled, a waiting `status` stops at
once; a run that is under way goes on and records its outcome. `ending` says how the server ends its calls and itself.
If the process is killed, the execution stays claimed. The next start on this host makes its outcome unknown, and a
person has to reconcile it.

Standard output is only for the protocol; other output is redirected to standard error (see `starting`). `lines` reads
the protocol's lines, and `conversing` says who answers them.
"""

import json
import signal
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import Any, Final

import anyio
import mcp_types as types
from mcp.server.lowlevel.server import Server
from mcp.shared.exceptions import MCPError
from mcp.shared.message import SessionMessage

from nexus_control import __version__
from nexus_control.execution.stopping import Stop, heeding
from nexus_control.server.conversing import Conversation
from nexus_control.server.ending import Ending, finish_at_end_of_input, finish_at_signals
from nexus_control.server.forms import Asker, can_ask, can_open
from nexus_control.server.instructions import instructions
from nexus_control.server.resources import Resources
from nexus_control.server.running import Request, ask, reporting, run
from nexus_control.server.settings import Settings, offered, open_context
from nexus_control.server.starting import Pipes
from nexus_control.server.wire import read_lines, write_messages
from nexus_control.system.signals import end_by
from nexus_control.toolset.calling import CallResult
from nexus_control.toolset.packaged import packaged_schemas
from nexus_control.toolset.tool import FormAnswer, NameStyle, Tool, ToolContext, spelled

NAME = "nexus-control"
PATIENCE_SECONDS: Final = 45
"""After this time an `execute` that is still running is answered: clients give up after a minute, and call again."""


def serve_stdio(settings: Settings, pipes: Pipes) -> None:
    """Serve the client at these pipes until its input ends, or a signal ends the process. Raises NexusControlError for
    settings that cannot be used.
    """
    stop = Stop()
    ending = Ending(stop)
    try:
        with ExitStack() as opened, heeding(stop):
            context = opened.enter_context(open_context(settings))
            server = make_server(context, settings, ending)
            anyio.run(_serve_stdio, server, pipes, ending, partial(ending.finish, context.store, opened))
    except* ConnectionError:
        pass  # the client no longer reads our output
    except* KeyboardInterrupt:  # between the loop's handling of SIGINT and the system's
        end_by(signal.SIGINT)
    finally:
        ending.leave()


def make_server(
    context: ToolContext,
    settings: Settings,
    ending: Ending | None = None,
    elapsed: Callable[[], float] = time.monotonic,
    patience: Callable[[], Awaitable[object]] | None = None,
) -> Server[dict[str, Any]]:
    """The protocol server over this context. Each call is registered with `ending` while it runs. `elapsed` is the
    monotonic clock, in seconds, that limits how long a form stays open. A run that goes on when `patience` ends is
    answered as `executing`.
    """
    ending = ending or Ending(Stop())
    patience = patience or partial(anyio.sleep, PATIENCE_SECONDS)
    tools = offered(settings)
    schemas = packaged_schemas()
    takes_actor = settings.approvals == "declared"
    listed = [_listed(tool, settings.name_style, schemas[tool.name], takes_actor) for tool in tools]
    resources = Resources(context)
    asker = Asker(settings.silence_seconds, elapsed)
    by_name = {spelled(tool.name, style): tool for tool in tools for style in ("dotted", "underscore")}

    async def list_tools(_request: Request, _params: object) -> types.ListToolsResult:
        return types.ListToolsResult(tools=listed)

    async def call_tool(
        request: Request, params: types.CallToolRequestParams
    ) -> types.CallToolResult | types.InputRequiredResult:
        tool = by_name.get(params.name)
        if tool is None:
            known = ", ".join(each.name for each in listed)
            raise MCPError(types.INVALID_PARAMS, f"There is no tool {params.name!r:.80}; there are {known}")
        arguments, answered = params.arguments or {}, context
        opens = context.inbox is not None and can_open(request)
        if tool.question is not None and context.approvals == "human" and (opens or can_ask(request)):
            question = await ask(ending, tool, replace(context, opens_pages=opens), arguments)
            if isinstance(question, CallResult):
                return _result(question)
            told = await asker.ask(request, params, question)
            if isinstance(told, types.InputRequiredResult):
                return told
            answered = _with(context, told)
        async with reporting(request):
            return _result(await run(ending, tool, answered, arguments, patience))

    return Server(
        NAME,
        version=__version__,
        title=NAME,
        instructions=instructions(context),
        on_list_tools=list_tools,
        on_call_tool=call_tool,
        on_list_resources=resources.list,
        on_list_resource_templates=resources.list_templates,
        on_read_resource=resources.read,
    )


async def _serve_stdio(
    server: Server[dict[str, Any]], pipes: Pipes, ending: Ending, finish: Callable[[str], None]
) -> None:
    outgoing, messages = anyio.create_memory_object_stream[SessionMessage]()
    conversation = Conversation(server, outgoing)
    async with anyio.create_task_group() as tasks:
        await tasks.start(finish_at_signals, ending, finish, conversation.all_answered)
        async with anyio.create_task_group() as writing:
            writing.start_soon(write_messages, pipes.writing, messages, conversation.written)
            with outgoing:
                try:
                    await conversation.run(read_lines(pipes.reading))
                finally:  # before the output is closed, which may take as long as the client does not read
                    await finish_at_end_of_input(ending, finish)
        tasks.cancel_scope.cancel()


def _with(context: ToolContext, told: FormAnswer | str) -> ToolContext:
    """The context with a person's answer, or with the reason why nobody answered."""
    return replace(context, unanswered=told) if isinstance(told, str) else replace(context, answer=told)


def _listed(
    tool: Tool, style: NameStyle, schemas: Mapping[str, dict[str, Any]], takes_actor: bool
) -> types.Tool:
    hints, arguments = tool.annotations, schemas["inputSchema"]
    if not takes_actor:  # then any other actor than the server's own is refused
        fields = {name: field for name, field in arguments["properties"].items() if name != "actor"}
        arguments = {**arguments, "properties": fields}
    return types.Tool(
        name=spelled(tool.name, style),
        title=tool.title,
        description=tool.description,
        input_schema=arguments,
        output_schema=schemas["outputSchema"],
        annotations=types.ToolAnnotations(
            read_only_hint=hints.read_only,
            destructive_hint=hints.destructive,
            idempotent_hint=hints.idempotent,
            open_world_hint=hints.open_world,
        ),
    )


def _result(outcome: CallResult) -> types.CallToolResult:
    text = json.dumps(outcome.content, ensure_ascii=False)
    return types.CallToolResult(
        content=[types.TextContent(text=text)], structured_content=outcome.content, is_error=outcome.is_error
    )
