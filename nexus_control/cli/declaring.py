"""The commands about declared adapters: adapter list, show, check, pin."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, TypedDict, cast

import typer

from nexus_control.cli import pinning
from nexus_control.cli.adapters import config_or_default, no_adapters
from nexus_control.cli.broken_files import broken
from nexus_control.cli.commands import group
from nexus_control.cli.exit_codes import REFUSED
from nexus_control.cli.frame import Answer, Frame, shared_options
from nexus_control.cli.options import UsualConfig
from nexus_control.cli.screen import Mark, Screen, columns
from nexus_control.configuration import Source, named_source
from nexus_control.errors import ErrorCode, NexusControlError, invalid_argument
from nexus_control.execution.adapter import Adapter, Adapters, MethodLister, StartChecker, adapter_id
from nexus_control.execution.argv_template import ArgvTemplate
from nexus_control.execution.config import adapters_of
from nexus_control.execution.mcp_adapter import McpAdapter
from nexus_control.execution.plan import Call
from nexus_control.lifecycle import counted
from nexus_control.storage import is_made
from nexus_control.system.commands import absolute, shell_line
from nexus_control.usecases.binding import bound_otherwise
from nexus_control.values.results import fault_of

adapter = group(
    help="The adapters that are declared: what executing a request can run.\n\nExample: nexus-control adapter list"
)


class Method(TypedDict):
    method: str
    args: list[str]
    argv: list[str] | None
    dry_run_argv: list[str] | None
    pin: str | None


class Declared(TypedDict):
    adapter_id: str
    kind: str
    protocol: str
    capabilities: list[str]
    methods: list[Method]
    command: list[str] | None
    cwd: str
    env: list[str]
    timeout_seconds: int
    max_output_bytes: int
    digest: str
    file: str


@adapter.command("list")
@shared_options()
def list_adapters(frame: Frame, config: UsualConfig = None) -> Answer:
    """Each adapter with its methods and capabilities, and the file that declares them.

    Example: nexus-control adapter list
    """
    source = _file(config)
    file, adapters = source.path, adapters_of(source)
    declared = [_declared(adapters, each, file) for each in adapters]

    def show(screen: Screen) -> None:
        screen.prose(f"{counted(len(declared), 'adapter')} of this file:")
        screen.verbatim(str(file))
        rows = [
            (each["adapter_id"], _methods_in_words(each), ", ".join(each["capabilities"]))
            for each in declared
        ]
        if rows:
            screen.grid(columns("adapter|methods|capabilities", rows))

    return Answer({"file": str(file), "adapters": declared}, show)


@adapter.command()
@shared_options()
def show(
    frame: Frame,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The adapter: its name, or KIND:NAME.")],
    config: UsualConfig = None,
) -> Answer:
    """What an adapter runs: each method with its arguments and programs, the folder, the limits, the digest.

    Example: nexus-control adapter show keys
    """
    source = _file(config)
    adapters = adapters_of(source)
    declared = _declared(adapters, _named(adapters, name, source), source.path)
    return Answer(cast("Mapping[str, object]", declared), lambda screen: _show(screen, declared))


def _named(adapters: Adapters, name: str, source: Source) -> Adapter:
    found = [each for each in adapters if name in (each.name, adapter_id(each))]
    if len(found) == 1:
        return found[0]
    known = ", ".join(adapters.ids()) or "none"
    problem = "is more than one adapter: name its kind too" if found else "is not declared"
    raise NexusControlError(
        ErrorCode.ADAPTER_UNKNOWN,
        f"{name!r:.80} {problem}; declared in {source.path}: {known}",
        {"file": str(source.path)},
    )


def _show(screen: Screen, declared: Declared) -> None:
    screen.prose(f"{declared['adapter_id']} can: {', '.join(declared['capabilities']) or 'nothing'}.")
    for method in declared["methods"]:
        screen.heading(f"{method['method']} ({', '.join(method['args']) or 'no arguments'})")
        if method["argv"] is None:
            screen.verbatim(f"pinned: {method['pin'] or 'no, so it runs nothing: nexus-control adapter pin'}")
            continue
        screen.verbatim(f"apply:   {shell_line(method['argv'])}")
        dry_run = method["dry_run_argv"]
        screen.verbatim(f"dry run: {'only described' if dry_run is None else shell_line(dry_run)}")
    if declared["protocol"] == "mcp":
        screen.heading("The MCP server, which a dry run does not start")
        screen.verbatim(shell_line(declared["command"] or []))
    elif declared["command"] is not None:
        screen.heading("Any method, which only the command knows")
        screen.verbatim(f"apply:   {shell_line(declared['command'])} call TOOL METHOD --json-args-file FILE")
        screen.verbatim("dry run: only described")
    screen.heading("How it runs")
    limits = f"at most {counted(declared['timeout_seconds'], 'second')}"
    output = f"{counted(declared['max_output_bytes'], 'byte')} of output are kept"
    variables = ", ".join(["PATH", "LANG", *declared["env"]])
    screen.prose(f"For {limits}; {output}. With the variables {variables}, in this folder:")
    screen.verbatim(declared["cwd"])
    screen.prose("Requests are bound to this digest of the declaration, in this file:")
    screen.verbatim(declared["digest"])
    screen.verbatim(declared["file"])


@adapter.command()
@shared_options("db")
def check(
    frame: Frame,
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="Default: the file that execute would use.")
    ] = None,
) -> Answer:
    """Every problem of the file; or what it declares, whether each program is there, and which open requests are bound
    to an adapter that is declared otherwise now. An MCP server of a file that you name is started to list its tools,
    and what moved against the pins is shown.

    Example: nexus-control adapter check nexus-control.toml
    """
    source = named_source(absolute(file)) if file is not None else _file(None)
    path, adapters = source.path, fault_of(lambda: adapters_of(source))
    if isinstance(adapters, NexusControlError):
        return broken(path, adapters)
    obstacles = {adapter_id(each): _obstacles(each, source) for each in adapters}
    bound = _bound(frame, adapters)
    data = {
        "file": str(path),
        "ok": not any(obstacles.values()),
        "problems": list[str](),
        "adapters": [_declared(adapters, each, path) for each in adapters],
        "obstacles": obstacles,
        "bound_otherwise": [{"request_id": request, "adapter_id": name} for request, name in bound],
    }

    def show(screen: Screen) -> None:
        screen.verbatim(str(path))
        for name, found in obstacles.items():
            for obstacle in found:
                screen.prose(obstacle, Mark(f"{name}:", "bad"))
            if not found:
                is_mcp = name.startswith(f"{McpAdapter.kind}:")
                good = pinning.good(source) if is_mcp else "each program is there and can be executed."
                screen.prose(good, Mark(f"{name}:", "good"))
        if not obstacles:
            screen.prose("The file declares no adapter.")
        if bound:
            screen.prose("These open requests are bound to an earlier declaration, and will not be executed:")
        for request, name in bound:
            screen.verbatim(f"{request} {name}")

    return Answer(data, show, code=REFUSED if any(obstacles.values()) else 0)


@adapter.command()
@shared_options()
def pin(
    frame: Frame,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The adapter: its name, or mcp:NAME.")],
    config: UsualConfig = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask at a terminal.")] = False,
) -> Answer:
    """Approve the tools of an MCP server as they are now. The server is started; each whole definition is shown, and
    what moved against an older pin. Then the pins are written beside the adapters' file. Other tools run nothing.

    Example: nexus-control adapter pin mcp:files --config nexus-control.toml
    """
    source = _file(config)
    if source.kind == "project":
        problem = (
            f"is needed: {source.path} is a project's file, and its server is started only where you name it"
        )
        raise invalid_argument("--config", problem)
    found = _named(adapters_of(source), name, source)
    if not isinstance(found, McpAdapter):
        raise invalid_argument("NAME", f"is {adapter_id(found)}: only tools of an MCP server are pinned")
    return pinning.pinned(source, found, yes=yes)


def _file(config: Path | None) -> Source:
    found = config_or_default(config)
    if found is None:
        raise no_adapters()
    return replace(found, path=absolute(found.path))


def _bound(frame: Frame, adapters: Adapters) -> list[tuple[str, str]]:
    """The open requests of the store that is named, if it is there."""
    if not is_made(frame.path):
        return []
    with frame.store() as store:
        return bound_otherwise(store, adapters)


def _obstacles(declared: Adapter, source: Source) -> list[str]:
    """Why programs of the adapter could not be started here; a reason that several methods share is named once."""
    if isinstance(declared, McpAdapter):
        return pinning.obstacles(declared, source)
    if not isinstance(declared, StartChecker):
        return []
    calls = [
        (Call(tool=declared.name, method=method, args=dict.fromkeys(args, "x")), dry_run)
        for method, args in _arguments(declared).items()
        for dry_run in (False, True)
    ]
    found = (declared.obstacle_to(call, dry_run=dry_run) for call, dry_run in calls)
    return list(dict.fromkeys(obstacle for obstacle in found if obstacle))


def _arguments(declared: Adapter) -> dict[str, list[str]]:
    """The arguments of each method. The protocol `call` does not declare its methods: one stands for all."""
    if isinstance(declared, MethodLister):
        return declared.methods()
    tools = cast("dict[str, Any]", declared.declaration().get("tools", {"any": None}))
    return {
        method: [] if tool is None else sorted(ArgvTemplate.of(tool["argv"]).names())
        for method, tool in tools.items()
    }


def _declared(adapters: Adapters, each: Adapter, file: Path) -> Declared:
    said: dict[str, Any] = each.declaration()
    arguments = _arguments(each)
    return {
        "adapter_id": adapter_id(each),
        "kind": each.kind,
        "protocol": said["protocol"],
        "capabilities": sorted(each.capabilities),
        "methods": _methods(each, arguments),
        "command": [said["command"], *said["args"]] if isinstance(each, McpAdapter) else said.get("command"),
        "cwd": str(file.parent / said["cwd"]),
        "env": sorted(said["env"]),  # names only: a value may be a secret
        "timeout_seconds": said["timeout_seconds"],
        "max_output_bytes": said["max_output_bytes"],
        "digest": adapters.digest(adapter_id(each)) or "",
        "file": str(file),
    }


def _methods(declared: Adapter, arguments: Mapping[str, list[str]]) -> list[Method]:
    if isinstance(declared, McpAdapter):
        return [
            Method(
                method=tool,
                args=arguments.get(tool, []),
                argv=None,
                dry_run_argv=None,
                pin=pin and pin.digest,
            )
            for tool, pin in declared.pins.items()
        ]
    tools: dict[str, Any] = cast("dict[str, Any]", declared.declaration().get("tools", {}))
    return [
        Method(
            method=method,
            args=arguments[method],
            argv=tool["argv"],
            dry_run_argv=tool["dry_run_argv"],
            pin=None,
        )
        for method, tool in tools.items()
    ]


def _methods_in_words(declared: Declared) -> str:
    if not declared["methods"]:
        return "any"
    unpinned = " not pinned" if declared["protocol"] == "mcp" else ""
    return ", ".join(
        f"{each['method']}({', '.join(each['args'])}){'' if each['pin'] else unpinned}"
        for each in declared["methods"]
    )
