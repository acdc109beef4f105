"""The commands about declared adapters: adapter list, show, check, pin."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, cast

import typer

from nexus_control.cli import pinning
from nexus_control.cli.adapters import config_or_default, no_adapters
from nexus_control.cli.broken_files import broken
from nexus_control.cli.commands import group
from nexus_control.cli.declared import (
    Declared,
    arguments_by_method,
    declared_data,
    methods_in_words,
    show_declared,
    show_pin_command,
)
from nexus_control.cli.exit_codes import REFUSED
from nexus_control.cli.frame import Answer, Frame, shared_options
from nexus_control.cli.options import UsualConfig
from nexus_control.cli.screen import Mark, Screen, columns
from nexus_control.cli.secrets_here import SecretHere, secrets_here, secrets_in_words
from nexus_control.configuration import Source, named_source
from nexus_control.errors import ErrorCode, NexusControlError, invalid_argument
from nexus_control.execution.adapter import Adapter, Adapters, StartChecker, adapter_id
from nexus_control.execution.config import KINDS, adapters_of
from nexus_control.execution.mcp_adapter import McpAdapter
from nexus_control.execution.plan import Call
from nexus_control.lifecycle import counted
from nexus_control.storage import is_made
from nexus_control.system.commands import absolute
from nexus_control.usecases.binding import bound_otherwise
from nexus_control.values.likely_names import meant_adapter
from nexus_control.values.results import fault_of

adapter = group(
    help="The adapters that are declared: what executing a request can run.\n\nExample: nexus-control adapter list"
)


@adapter.command("list")
@shared_options()
def list_adapters(frame: Frame, config: UsualConfig = None) -> Answer:
    """Each adapter with its methods and capabilities, and the file that declares them.

    Example: nexus-control adapter list
    """
    source = _file(config)
    file, adapters = source.path, _adapters(frame, source)
    if isinstance(adapters, Answer):
        return adapters
    declared = [declared_data(adapters, each, file) for each in adapters]

    def show(screen: Screen) -> None:
        screen.prose(f"{counted(len(declared), 'adapter')} of this file:")
        screen.verbatim(str(file))
        rows = [
            (each["adapter_id"], methods_in_words(each), ", ".join(each["capabilities"])) for each in declared
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
    adapters = _adapters(frame, source)
    if isinstance(adapters, Answer):
        return adapters
    declared = declared_data(adapters, _named(adapters, name, source), source.path)
    return Answer(cast("Mapping[str, object]", declared), lambda screen: show_declared(screen, declared))


def _adapters(frame: Frame, source: Source) -> Adapters | Answer:
    """What the file declares; or every problem of the file, as `check` shows them to a person."""
    found = fault_of(lambda: adapters_of(source))
    if not isinstance(found, NexusControlError):
        return found
    if frame.as_json:
        raise found
    return broken(source.path, found)


def _named(adapters: Adapters, name: str, source: Source) -> Adapter:
    found = [each for each in adapters if name in (each.name, adapter_id(each))]
    if len(found) == 1:
        return found[0]
    known = ", ".join(adapters.ids()) or "none"
    hint = meant_adapter(name, adapters.ids())
    problem = "is more than one adapter: name its kind too" if found else f"is not declared{hint}"
    raise NexusControlError(
        ErrorCode.ADAPTER_UNKNOWN,
        f"{name!r:.80} {problem}; declared in {source.path}: {known}",
        {"file": str(source.path)},
    )


@adapter.command()
@shared_options("db")
def check(
    frame: Frame,
    what: Annotated[
        str | None,
        typer.Argument(
            metavar="FILE",
            help="The file, or an adapter of it: KIND:NAME. Default: the file that execute would use.",
        ),
    ] = None,
    config: UsualConfig = None,
) -> Answer:
    """Every problem of the file; or what it declares, whether each program is there, whether you can read each secret,
    and which open requests are bound to an adapter that is declared otherwise now. An MCP server of a file that you
    name is started to list its tools, and what moved against the pins is shown.

    Example: nexus-control adapter check nexus-control.toml
    """
    is_adapter = what is not None and (config is not None or what.startswith(tuple(f"{k}:" for k in KINDS)))
    source = _file(config) if what is None or is_adapter else named_source(absolute(Path(what)))
    path, adapters = source.path, fault_of(lambda: adapters_of(source))
    if isinstance(adapters, NexusControlError):
        return broken(path, adapters)
    looked_at = [_named(adapters, what, source)] if what is not None and is_adapter else list(adapters)
    secrets = {adapter_id(each): secrets_here(each) for each in looked_at}
    obstacles = {adapter_id(each): _obstacles(each, source, secrets[adapter_id(each)]) for each in looked_at}
    bound = [
        (request, name) for request, name in _bound(frame, adapters) if name in obstacles or not is_adapter
    ]
    declared = [declared_data(adapters, each, path) for each in looked_at]
    data = {
        "file": str(path),
        "ok": not any(obstacles.values()),
        "problems": list[str](),
        "adapters": declared,
        "obstacles": obstacles,
        "secrets": secrets,
        "bound_otherwise": [{"request_id": request, "adapter_id": name} for request, name in bound],
    }

    def show(screen: Screen) -> None:
        screen.verbatim(str(path))
        for each in declared:
            _show_check(screen, each, obstacles[each["adapter_id"]], secrets[each["adapter_id"]], source)
        if not obstacles:
            screen.prose("The file declares no adapter.")
        if bound:
            screen.prose("These open requests are bound to an earlier declaration, and will not be executed:")
        for request, name in bound:
            screen.verbatim(f"{request} {name}")

    return Answer(data, show, code=REFUSED if any(obstacles.values()) else 0)


def _show_check(
    screen: Screen, declared: Declared, obstacles: list[str], secrets: list[SecretHere], source: Source
) -> None:
    name = declared["adapter_id"]
    for obstacle in obstacles:
        screen.prose(obstacle, Mark(f"{name}:", "bad"))
    if not obstacles:
        is_mcp = declared["kind"] == McpAdapter.kind
        good = pinning.good(source) if is_mcp else "each program is there and can be executed."
        screen.prose(good, Mark(f"{name}:", "good"))
    for line in secrets_in_words(secrets):
        screen.prose(line, Mark(f"{name}:", "good"))
    show_pin_command(screen, declared)


@adapter.command()
@shared_options()
def pin(
    frame: Frame,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The adapter: its name, or mcp:NAME.")],
    config: UsualConfig = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask. Needed where nobody can be asked.")] = False,
) -> Answer:
    """Approve the tools of an MCP server as they are now. The server is started; each whole definition is shown, and
    what moved against an older pin. After your yes the pins are written beside the adapters' file. Other tools run
    nothing.

    Example: nexus-control adapter pin mcp:files --config nexus-control.toml
    """
    source = _file(config)
    if source.kind == "project":
        problem = (
            f"is needed: {source.path} is a project's file, and its server is started only where you name it"
        )
        raise invalid_argument("--config", problem)
    adapters = _adapters(frame, source)
    if isinstance(adapters, Answer):
        return adapters
    found = _named(adapters, name, source)
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


def _obstacles(declared: Adapter, source: Source, secrets: list[SecretHere]) -> list[str]:
    """Why programs of the adapter could not be started here; a reason that several methods share is named once."""
    unreadable = [each["why"] or "" for each in secrets if each["readable"] is False]
    own = (
        pinning.obstacles(declared, source) if isinstance(declared, McpAdapter) else _not_startable(declared)
    )
    return list(dict.fromkeys((*unreadable, *own)))


def _not_startable(declared: Adapter) -> list[str]:
    if not isinstance(declared, StartChecker):
        return []
    calls = [
        (Call(tool=declared.name, method=method, args=dict.fromkeys(args, "x")), dry_run)
        for method, args in arguments_by_method(declared).items()
        for dry_run in (False, True)
    ]
    found = (declared.obstacle_to(call, dry_run=dry_run) for call, dry_run in calls)
    return [obstacle for obstacle in found if obstacle]
