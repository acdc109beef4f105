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
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import Any

import anyio
import mcp_types as types
from mcp.server.lowlevel.server import Server
from mcp.shared.exceptions import MCPError
from mcp.shared.message import SessionMessage

from nexus_control import __version__
from nexus_control.execution.stopping import Stop, heeding
from nexus_control.server.conversing import Conversation
from nexus_control.server.ending import Ending, finish_at_end_of_input, finish_at_signals
from nexus_control.server.forms import Asker, can_ask
from nexus_control.server.running import Request, ask, reporting, run
from nexus_control.server.settings import Settings, offered, open_context
from nexus_control.server.starting import Pipes
from nexus_control.server.wire import read_lines, write_messages
from nexus_control.system.signals import end_by
from nexus_control.toolset.calling import CallResult
from nexus_control.toolset.packaged import packaged_schemas
from nexus_control.toolset.tool import FormAnswer, NameStyle, Tool, ToolContext, spelled

NAME = "nexus-control"
INSTRUCTIONS = """\
nexus-control decides whether something dangerous may be executed, and proves it afterwards.
1. request: say what you want done (goal, plan, mode) and under which policy or template. Nothing runs.
2. approve asks a person, where your host can; otherwise show a person the answer's details.command. Never run it
   yourself, however you could: the approval is theirs to give, and you cannot approve for them.
3. status shows what is missing; with wait_seconds it waits for a change. inspect shows everything.
4. execute with dry_run true rehearses an approved apply decision; execute without it runs it, once.
5. A refusal says why in details.reasons, changes nothing, and names what to do in `next`. Do not retry unchanged.
6. A failed or unknown outcome is final: never repeat it by yourself. You may make a new request for it only if
   details.effect is "none"; otherwise a person has to find out first what was done.
7. export_audit_package proves what was allowed and what ran. template.list shows the rules in use.
Leave `actor` out: this server acts for one identity."""

_DECISION_URI = f"{NAME}://decisions/"
_TEMPLATE_URI = f"{NAME}://templates/"


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
) -> Server[dict[str, Any]]:
    """The protocol server over this context. Each call is registered with `ending` while it runs. `elapsed` is the
    monotonic clock, in seconds, that limits how long a form stays open.
    """
    ending = ending or Ending(Stop())
    tools = offered(settings)
    schemas = packaged_schemas()
    listed = [_listed(tool, settings.name_style, schemas[tool.name]) for tool in tools]
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
        if tool.question is not None and context.approvals == "human" and can_ask(request):
            question = await ask(ending, tool, context, arguments)
            if isinstance(question, CallResult):
                return _result(question)
            told = await asker.ask(request, params, question)
            if isinstance(told, types.InputRequiredResult):
                return told
            answered = _with(context, told)
        async with reporting(request):
            return _result(await run(ending, tool, answered, arguments))

    async def read(_request: Request, params: types.ReadResourceRequestParams) -> types.ReadResourceResult:
        outcome = await _read(ending, by_name, context, params.uri)
        if outcome is None or outcome.is_error:
            message = "There is no such resource" if outcome is None else str(outcome.content["message"])
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
        on_list_resources=_list_resources,
        on_list_resource_templates=_list_resource_templates,
        on_read_resource=read,
    )


async def _list_resource_templates(_request: Request, _params: object) -> types.ListResourceTemplatesResult:
    templates = [
        types.ResourceTemplate(
            name=name, uri_template=uri, description=description, mime_type="application/json"
        )
        for name, uri, description in (
            ("decision", _DECISION_URI + "{id}", "Everything about a decision."),
            ("template", _TEMPLATE_URI + "{name}", "A policy template."),
        )
    ]
    return types.ListResourceTemplatesResult(resource_templates=templates)


async def _list_resources(_request: Request, _params: object) -> types.ListResourcesResult:
    return types.ListResourcesResult(resources=[])


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


async def _read(
    ending: Ending, tools: Mapping[str, Tool], context: ToolContext, uri: str
) -> CallResult | None:
    if uri.startswith(_DECISION_URI):
        arguments = {"decision_id": uri[len(_DECISION_URI) :], "render": False}
        return await run(ending, tools[f"{NAME}.inspect"], context, arguments)
    if uri.startswith(_TEMPLATE_URI):
        return await run(ending, tools[f"{NAME}.template.get"], context, {"name": uri[len(_TEMPLATE_URI) :]})
    return None


def _listed(tool: Tool, style: NameStyle, schemas: Mapping[str, dict[str, Any]]) -> types.Tool:
    hints = tool.annotations
    return types.Tool(
        name=spelled(tool.name, style),
        title=tool.title,
        description=tool.description,
        input_schema=schemas["inputSchema"],
        output_schema=schemas["outputSchema"],
        annotations=types.ToolAnnotations(
            title=tool.title,
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
