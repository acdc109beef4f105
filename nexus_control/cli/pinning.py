"""Pinning the tools of an MCP server, and comparing them with their pins.

Both start the server. The server of a project's file, which may have come with a cloned repository, is started only
where the file is named.
"""

import json
import sys
from collections.abc import Mapping

import typer

from nexus_control.cli.frame import Answer
from nexus_control.cli.screen import Mark, Screen
from nexus_control.configuration import Source
from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.execution.adapter import adapter_id
from nexus_control.execution.mcp_adapter import McpAdapter
from nexus_control.execution.tool_pins import Pin, moved, read_pins, write_pins
from nexus_control.lifecycle import counted


def obstacles(declared: McpAdapter, source: Source) -> list[str]:
    """Why tools of the adapter would run nothing: the server is started, and its tools are compared with the pins."""
    if source.kind == "project":
        return [_unpinned(tool) for tool, pin in declared.pins.items() if pin is None]
    try:
        found = declared.found()
    except NexusControlError as fault:
        return [fault.message]
    return [problem for tool, pin in declared.pins.items() for problem in _problems(tool, pin, found[tool])]


def good(source: Source) -> str:
    """What is said of an adapter without obstacles."""
    if source.kind == "project":
        return "each tool is pinned. The server was not started: name the file to compare them."
    return "each tool is as it was pinned."


def pinned(source: Source, declared: McpAdapter, *, yes: bool) -> Answer:
    """Shows the definitions, asks at a terminal, and writes the file of pins whole."""
    found = declared.found()
    changes = {
        tool: None if (old := declared.pins[tool]) is None else list(moved(old, pin))
        for tool, pin in found.items()
    }
    _show(Screen(sys.stderr), declared, found, changes)
    if not yes and sys.stdin.isatty() and not typer.confirm("Pin them?", err=True):
        raise NexusControlError(ErrorCode.NOT_CONFIRMED, "You answered no; nothing was written")
    pins = read_pins(source.path, source.kind)
    try:
        path = write_pins(source.path, {**pins, adapter_id(declared): found})
    except OSError as error:
        problem = f"the pins cannot be written beside {source.path}: {error.strerror}"
        raise NexusControlError(ErrorCode.CONFIG_INVALID, problem) from None
    data = {
        "adapter_id": adapter_id(declared),
        "file": str(path),
        "tools": [
            {"tool": tool, "digest": pin.digest, "definition": pin.definition, "moved": changes[tool]}
            for tool, pin in found.items()
        ],
    }

    def show(screen: Screen) -> None:
        screen.prose(f"{counted(len(found), 'tool')} of {adapter_id(declared)} pinned, in this file:")
        screen.verbatim(str(path))

    return Answer(data, show)


def _problems(tool: str, old: Pin | None, new: Pin) -> list[str]:
    if old is None:
        return [_unpinned(tool)]
    if old.text == new.text:
        return []
    words = "; ".join(moved(old, new))
    return [f"{ErrorCode.TOOL_DEFINITION_CHANGED}: the tool {tool!r:.80} is not what was pinned: {words}"]


def _unpinned(tool: str) -> str:
    return f"the tool {tool!r:.80} is not pinned, so it runs nothing: look at it with adapter pin"


def _show(
    screen: Screen,
    declared: McpAdapter,
    found: Mapping[str, Pin],
    changes: Mapping[str, list[str] | None],
) -> None:
    for tool, pin in found.items():
        screen.heading(f"{tool} of {adapter_id(declared)}")
        for line in json.dumps(pin.definition, indent=2, sort_keys=True, ensure_ascii=False).splitlines():
            screen.verbatim(line)
        change = changes[tool]
        if change is None:
            screen.prose("It was not pinned before.")
        elif not change:
            screen.prose("It is as it was pinned.", Mark("Same:", "good"))
        for line in change or ():
            screen.prose(line, Mark("Moved:", "bad"))
