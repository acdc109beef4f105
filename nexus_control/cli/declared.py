"""A declared adapter as the commands show it: its JSON, and its page."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict, cast

from nexus_control.cli.screen import Screen
from nexus_control.execution.adapter import Adapter, Adapters, MethodLister, adapter_id
from nexus_control.execution.catalogue import arguments_of
from nexus_control.execution.mcp_adapter import McpAdapter
from nexus_control.execution.secrets import secret_named
from nexus_control.lifecycle import counted
from nexus_control.system.commands import shell_line


class Method(TypedDict):
    method: str
    args: list[str] | None
    """None for a tool that is not pinned."""
    types: dict[str, str]
    passed: list[str]
    """Where the secrets among the arguments go."""
    timeout_seconds: int | None
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
    pin_files: dict[str, str | None]
    secrets: list[str]
    env_secrets: dict[str, str]
    pin_command: str | None
    digest: str
    file: str


def declared_data(adapters: Adapters, each: Adapter, file: Path) -> Declared:
    said: dict[str, Any] = each.declaration()
    arguments = arguments_by_method(each)
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
        "pin_files": said.get("pin_files", {}),
        "secrets": sorted(said.get("secrets", {})),
        "env_secrets": {name: text for name, text in sorted(said["env"].items()) if secret_named(text)},
        "pin_command": each.pin_command if isinstance(each, McpAdapter) else None,
        "digest": adapters.digest(adapter_id(each)) or "",
        "file": str(file),
    }


def arguments_by_method(declared: Adapter) -> dict[str, list[str]]:
    """The arguments of each method. The protocol `call` does not declare its methods: one stands for all."""
    if isinstance(declared, MethodLister):
        return declared.methods()
    tools = cast("dict[str, Any]", declared.declaration().get("tools", {"any": None}))
    return {method: [] if tool is None else sorted(arguments_of(tool)) for method, tool in tools.items()}


def _methods(declared: Adapter, arguments: Mapping[str, list[str]]) -> list[Method]:
    if isinstance(declared, McpAdapter):
        return [
            Method(
                method=tool,
                args=arguments.get(tool),
                types={},
                passed=[],
                timeout_seconds=None,
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
            types=tool.get("args", {}),
            passed=_passed(tool),
            timeout_seconds=tool.get("timeout_seconds"),
            argv=tool["argv"],
            dry_run_argv=tool["dry_run_argv"],
            pin=None,
        )
        for method, tool in tools.items()
    ]


def _passed(tool: Mapping[str, Any]) -> list[str]:
    lines = [f"{variable} = {text}" for variable, text in tool.get("env", {}).items()]
    lines += [f"{variable} (a file) = {text}" for variable, text in tool.get("files", {}).items()]
    return lines + ([f"standard input = {tool['stdin']}"] if "stdin" in tool else [])


def show_declared(screen: Screen, declared: Declared) -> None:
    screen.prose(f"{declared['adapter_id']} can: {', '.join(declared['capabilities']) or 'nothing'}.")
    for method in declared["methods"]:
        screen.heading(f"{method['method']} ({_arguments_in_words(method)})")
        if method["argv"] is None:
            screen.verbatim(f"pinned: {method['pin'] or 'no, so it runs nothing'}")
            continue
        screen.verbatim(f"apply:   {shell_line(method['argv'])}")
        dry_run = method["dry_run_argv"]
        screen.verbatim(f"dry run: {'only described' if dry_run is None else shell_line(dry_run)}")
        for line in method["passed"]:
            screen.verbatim(f"gets:    {line}")
        if method["timeout_seconds"] is not None:
            screen.verbatim(f"limit:   {counted(method['timeout_seconds'], 'second')}")
    show_pin_command(screen, declared)
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
    if declared["pin_files"]:
        screen.prose("A part of this declaration are the digests of these files:")
    for file, digest in declared["pin_files"].items():
        screen.verbatim(f"{digest or 'cannot be read'} {file}")
    if declared["secrets"]:
        screen.prose(f"Secrets that it can get: {', '.join(declared['secrets'])}.")
    for variable, text in declared["env_secrets"].items():
        screen.verbatim(f"{variable} = {text}")
    if any(method["passed"] for method in declared["methods"]):
        screen.prose("A plan names the secret of an argument: {secret:NAME}.")
    screen.prose("Requests are bound to this digest of the declaration, in this file:")
    screen.verbatim(declared["digest"])
    screen.verbatim(declared["file"])


def show_pin_command(screen: Screen, declared: Declared) -> None:
    if declared["pin_command"] is not None and not all(each["pin"] for each in declared["methods"]):
        screen.prose("The owner of the file looks at the definitions, and pins them:")
        screen.verbatim(declared["pin_command"])


def _arguments_in_words(method: Method) -> str:
    if method["args"] is None:
        return "arguments not known until it is pinned"
    types = method["types"]
    return (
        ", ".join(f"{name}: {types[name]}" if name in types else name for name in method["args"])
        or "no arguments"
    )


def methods_in_words(declared: Declared) -> str:
    if not declared["methods"]:
        return "any"
    unpinned = " not pinned" if declared["protocol"] == "mcp" else ""
    return ", ".join(
        f"{each['method']}({'…' if each['args'] is None else ', '.join(each['args'])}){'' if each['pin'] else unpinned}"
        for each in declared["methods"]
    )
