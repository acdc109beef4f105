"""The command `call`: it calls one of the agents' tools."""

from typing import Annotated, Final

import typer

from nexus_control.canonical_json import parse_json_object
from nexus_control.cli.adapters import config_or_default, config_to_execute, refuse_shadowing
from nexus_control.cli.exit_codes import REFUSED
from nexus_control.cli.frame import Answer, answer, frame_of, identity
from nexus_control.cli.interrupting import interruptible
from nexus_control.cli.options import (
    ActingAs,
    AdaptersFrom,
    AllowedSigners,
    Database,
    LogFolder,
    Origins,
    Router,
    UsualConfig,
)
from nexus_control.cli.settings import adapters_file
from nexus_control.cli.streams import output_is_ours
from nexus_control.configuration import Source
from nexus_control.errors import invalid_argument
from nexus_control.execution.opening import opened_router
from nexus_control.storage import artifacts_of
from nexus_control.toolset import TOOLS, CallResult, Tool, ToolContext, tool_named
from nexus_control.toolset import call as call_tool

_PREFIX: Final = "nexus-control."
_EXECUTING: Final = "nexus-control.execute"
_MAKING: Final = {"nexus-control.request", "nexus-control.template.create", "nexus-control.import_bundle"}
"""The tools that may create the store, because they bring its first content."""


def call(
    context: typer.Context,
    tool: Annotated[str, typer.Argument(help="One of the agents' tools, as status.")],
    arguments: Annotated[str, typer.Option(help="Its arguments, a JSON object.")] = "{}",
    config: UsualConfig = None,
    adapters_from: AdaptersFrom = None,
    router: Router = None,
    acting_as: ActingAs = None,
    allowed_signers: AllowedSigners = None,
    origin: Origins = None,
    db: Database = None,
    log_folder: LogFolder = None,
) -> None:
    """Call one of the agents' tools, as the MCP server does; the answer is JSON.

    Example: nexus-control call nexus-control.template.list --arguments '{"limit": 5}'
    """
    frame = frame_of(
        context,
        db=db,
        log_folder=log_folder,
        as_json=True,
        allowed_signers=allowed_signers,
        origin=origin,
        config=config,
    )

    def run() -> Answer:
        found = _found(tool)
        values = parse_json_object(arguments)
        named = adapters_file(config, adapters_from)
        finding = config_to_execute if found.annotations.destructive else config_or_default
        adapters = named if router else finding(named)
        with (
            frame.store(makes=found.name in _MAKING) as store,
            output_is_ours(),
            opened_router(
                database=frame.path, log_folder=frame.log_folder, config=adapters, factory=router
            ) as opened,
            interruptible(),
        ):
            if found.name == _EXECUTING:
                refuse_shadowing(
                    store, str(values.get("request_id")), str(values.get("adapter_id")), adapters
                )
            served = ToolContext(
                store=store,
                actor=identity(acting_as)[0],
                database=frame.path,
                artifacts=artifacts_of(frame.path, frame.log_folder),
                router=opened,
                config=adapters.path if isinstance(adapters, Source) else adapters,
            )
            outcome = call_tool(found, served, values)
        code = REFUSED if outcome.is_error else 0
        return Answer(outcome.content, lambda _: None, _called(found, outcome), code)

    answer(frame, run)


def _found(name: str) -> Tool:
    """The tool of this name, which may leave `nexus-control.` out."""
    found = tool_named(name) or tool_named(f"{_PREFIX}{name}")
    if found is None:
        names = ", ".join(each.name.removeprefix(_PREFIX) for each in TOOLS)
        raise invalid_argument("TOOL", f"is {name!r:.80}, and the agents' tools are: {names}")
    return found


def _called(tool: Tool, outcome: CallResult) -> str | None:
    """A sentence about what a call changed, or how it failed; None if it changed nothing."""
    content = outcome.content
    if outcome.is_error:
        return f"{content['code']}: {content['message']}".rstrip(".")
    return None if tool.annotations.read_only else str(content["summary"]).rstrip(".")
