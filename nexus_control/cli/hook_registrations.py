"""How an agent host is told of the hook: what `install --hook` prints, and what `doctor --hooks` reads back.

Claude Code reads JSON, Codex TOML. Each event has one entry for every tool:

    {"hooks": {"PreToolUse": [{"matcher": "*", "hooks": [
      {"type": "command", "command": "… hook --db /srv/decisions.db", "timeout": 60, "onFailure": "block"}]}]}}

The matcher is `*`, because the rule book decides which tools need what, and a matcher that matches nothing is silent.
Both hosts have a file that is not the agent's: only there can the agent not switch the hook off.
"""

import json
import shlex
import shutil
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeGuard, cast

from nexus_control.canonical_json import parse_json
from nexus_control.errors import NexusControlError
from nexus_control.guards.hook_process import TIMEOUT_SECONDS
from nexus_control.system.commands import shell_line

_EVERY_TOOL: Final = (None, "", "*")


@dataclass(frozen=True, slots=True)
class HookFile:
    """Where a host reads hooks. `managed` is the file that binds every user of the machine, `own` that of one user."""

    managed: str
    own: str
    events: tuple[str, ...]
    write: Callable[[list[str]], str]
    """The text of the file for a command of these words."""


def _for_claude_code(words: list[str]) -> str:
    handler = {**_handler(words), "onFailure": "block"}
    entries = {event: [{"matcher": "*", "hooks": [handler]}] for event in FILES["claude-code"].events}
    return f"{json.dumps({'hooks': entries}, indent=2)}\n"


def _for_codex(words: list[str]) -> str:
    tables = ["[features]\nhooks = true\n"]
    for event in FILES["codex"].events:
        # A JSON text of printable ASCII is a TOML text.
        values = "\n".join(f"{name} = {json.dumps(value)}" for name, value in _handler(words).items())
        tables.append(f'[[hooks.{event}]]\nmatcher = "*"\n\n[[hooks.{event}.hooks]]\n{values}\n')
    return "\n".join(tables)


def _handler(words: list[str]) -> dict[str, object]:
    return {"type": "command", "command": shell_line(words), "timeout": TIMEOUT_SECONDS}


FILES: Final = {
    "claude-code": HookFile(
        "/etc/claude-code/managed-settings.json",
        "~/.claude/settings.json",
        ("PreToolUse", "PostToolUse", "PostToolUseFailure"),
        _for_claude_code,
    ),
    "codex": HookFile(
        "/etc/codex/requirements.toml", "~/.codex/config.toml", ("PreToolUse", "PostToolUse"), _for_codex
    ),
}
"""The hosts whose tools the hook guards."""


def problems_in(path: Path, content: bytes) -> list[str]:
    """Why the hook that this file registers would not guard every call; empty if it would. A file whose name ends in
    .toml is Codex's, any other one Claude Code's.
    """
    host = "codex" if path.suffix == ".toml" else "claude-code"
    try:
        read: object = tomllib.loads(content.decode()) if host == "codex" else parse_json(content)
    except NexusControlError as fault:
        return [f"{fault.message}: the host drops the whole file"]
    except ValueError as error:
        return [f"it is not TOML ({error})"]
    settings = _object(read)
    return [*_switches(settings, host), *_of_events(settings, host)]


def _switches(settings: Mapping[str, Any], host: str) -> Iterator[str]:
    if settings.get("disableAllHooks") is True:
        yield "disableAllHooks is true: no hook is run"
    if host == "codex" and _object(settings.get("features")).get("hooks") is not True:
        yield "[features] has no hooks = true: a user's configuration can switch all hooks off"
    for event, _, handler in _handlers(settings):
        if host == "claude-code" and handler.get("onFailure", "block") != "block":
            yield f'a hook of {event} has another onFailure than "block": a wrong value drops the whole file'


def _of_events(settings: Mapping[str, Any], host: str) -> Iterator[str]:
    for event in FILES[host].events:
        of_ours = [
            (matcher, each) for name, matcher, each in _handlers(settings) if name == event and _is_ours(each)
        ]
        if not of_ours:
            yield f"{event} has no hook of nexus-control"
        elif len(of_ours) > 1:
            yield f"{event} has {len(of_ours)} hooks of nexus-control: one denies what the other lets run"
        for matcher, handler in of_ours:
            yield from (
                f"the hook of {event} {problem}" for problem in _faults(matcher, handler, host, event)
            )


def _faults(matcher: object, handler: Mapping[str, Any], host: str, event: str) -> Iterator[str]:
    if matcher not in _EVERY_TOOL:
        yield f"is for the tools {matcher!r:.80} only; * is for all"
    if "if" in handler:
        yield "has an `if`, and is run for some calls only"
    timeout = handler.get("timeout", TIMEOUT_SECONDS)
    if not isinstance(timeout, int | float) or timeout < TIMEOUT_SECONDS:
        yield f"has a timeout below {TIMEOUT_SECONDS}: the hook denies by itself before that"
    if host == "claude-code" and event == "PreToolUse" and "onFailure" not in handler:
        yield 'has no "onFailure": "block": where it cannot be started, the call runs'
    program = _words(handler)[0]
    if not program.startswith("/"):
        yield f"runs {program!r:.80}, which is looked for on PATH: name it absolutely"
    elif shutil.which(program) is None:
        yield f"runs {program!r:.80}, which is not there"


def _handlers(settings: Mapping[str, Any]) -> Iterator[tuple[str, object, Mapping[str, Any]]]:
    """Each event with the matcher and the handler of each hook."""
    for event, entries in _object(settings.get("hooks")).items():
        for entry in _list(entries):
            for handler in _list(_object(entry).get("hooks")):
                yield event, _object(entry).get("matcher"), _object(handler)


def _is_ours(handler: Mapping[str, Any]) -> bool:
    words = _words(handler)
    runs_it = "nexus_control" in words or any(Path(word).name == "nexus-control" for word in words)
    return handler.get("type") == "command" and runs_it and "hook" in words


def _words(handler: Mapping[str, Any]) -> list[str]:
    command = handler.get("command")
    try:
        return shlex.split(command) if isinstance(command, str) else []
    except ValueError:  # a quotation that does not end
        return []


def _object(value: object) -> Mapping[str, Any]:
    return value if _is_object(value) else {}


def _is_object(value: object) -> TypeGuard[Mapping[str, Any]]:
    return isinstance(value, dict)


def _list(value: object) -> list[object]:
    return cast("list[object]", value) if isinstance(value, list) else []
