"""Pinning the tools of an MCP server, and comparing them with their pins.

Both start the server. The server of a project's file, which may have come with a cloned repository, is started only
where the file is named.
"""

import json
import sys
import termios
from collections.abc import Mapping

import typer

from nexus_control.cli.frame import Answer
from nexus_control.cli.screen import Mark, Screen
from nexus_control.cli.streams import require_shown
from nexus_control.configuration import Source
from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.execution.adapter import adapter_id
from nexus_control.execution.mcp_adapter import Found, McpAdapter
from nexus_control.execution.tool_pins import read_pins, write_pins
from nexus_control.lifecycle import counted

_ADVICE = "Mend what the message names, then run the command again; nothing was written."


def obstacles(declared: McpAdapter, source: Source) -> list[str]:
    """Why tools of the adapter would run nothing: the server is started, and its tools are compared with the pins."""
    if source.kind == "project":
        return [_unpinned(tool) for tool, pin in declared.pins.items() if pin is None]
    try:
        found = declared.found()
    except NexusControlError as fault:
        return [fault.message]
    return [problem for tool, each in found.items() for problem in _problems(tool, each)]


def good(source: Source) -> str:
    """What is said of an adapter without obstacles."""
    if source.kind == "project":
        return "each tool is pinned. The server was not started: name the file to compare them."
    return "each tool is as it was pinned."


def pinned(source: Source, declared: McpAdapter, *, yes: bool) -> Answer:
    """Shows the definitions, asks unless `yes`, and writes the file of pins whole. Raises NOT_CONFIRMED, also where
    nobody can be asked.
    """
    try:
        found = declared.found()
    except NexusControlError as fault:  # its own advice is for who executes
        raise NexusControlError(fault.code, fault.message, fault.details, _ADVICE) from None
    _show(Screen(sys.stderr), declared, found)
    if not yes:
        _require_consent()
    pins = read_pins(source.path, source.kind)
    try:
        new = {tool: each.pin for tool, each in found.items()}
        path = write_pins(source.path, {**pins, adapter_id(declared): new})
    except OSError as error:
        problem = f"the pins cannot be written beside {source.path}: {error.strerror}"
        raise NexusControlError(ErrorCode.CONFIG_INVALID, problem) from None
    data = {
        "adapter_id": adapter_id(declared),
        "file": str(path),
        "tools": [
            {
                "tool": tool,
                "digest": each.pin.digest,
                "definition": each.pin.definition,
                "moved": None if each.moved is None else list(each.moved),
            }
            for tool, each in found.items()
        ],
    }

    def show(screen: Screen) -> None:
        screen.prose(f"{counted(len(found), 'tool')} of {adapter_id(declared)} pinned, in this file:")
        screen.verbatim(str(path))

    return Answer(data, show)


def _require_consent() -> None:
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        problem = "--yes is needed where nobody can be asked; nothing was pinned"
        raise NexusControlError(ErrorCode.NOT_CONFIRMED, problem)
    require_shown()
    termios.tcflush(sys.stdin, termios.TCIFLUSH)  # what was typed before answers something else
    if not typer.confirm("Pin them?", err=True):
        raise NexusControlError(ErrorCode.NOT_CONFIRMED, "You answered no; nothing was pinned")


def _problems(tool: str, found: Found) -> list[str]:
    if found.moved is None:
        return [_unpinned(tool)]
    if not found.moved:
        return []
    words = "; ".join(found.moved)
    return [f"{ErrorCode.TOOL_DEFINITION_CHANGED}: the tool {tool!r:.80} is not what was pinned: {words}"]


def _unpinned(tool: str) -> str:
    return f"the tool {tool!r:.80} is not pinned, so it runs nothing"


def _show(screen: Screen, declared: McpAdapter, found: Mapping[str, Found]) -> None:
    for tool, each in found.items():
        screen.heading(f"{tool} of {adapter_id(declared)}")
        for line in json.dumps(
            each.pin.definition, indent=2, sort_keys=True, ensure_ascii=False
        ).splitlines():
            screen.verbatim(line)
        if each.moved is None:
            screen.prose("It was not pinned before.")
        elif not each.moved:
            screen.prose("It is as it was pinned.", Mark("Same:", "good"))
        for line in each.moved or ():
            screen.prose(line, Mark("Moved:", "bad"))
