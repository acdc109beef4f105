"""How an agent host is told of the hook: what `install --hook` prints, and what `doctor --hooks` reads back.

Claude Code reads JSON, Codex TOML. Each event has one entry for every tool:

    {"hooks": {"PreToolUse": [{"matcher": "*", "hooks": [
      {"type": "command", "command": "… hook --db /srv/decisions.db", "timeout": 60, "onFailure": "block"}]}]}}

The matcher is `*`, because the rule book decides which tools need what, and a matcher that matches nothing is silent.
Both hosts have a file that is not the agent's: only there can the agent not switch the hook off.

Claude Code sets the `env` of a project's settings for its hooks too. The managed file's wins, so it sets each variable
that could replace the hook to nothing. Claude Code drops a file in which one value is wrong; Codex does not start. Only
what is printed here is known to be right: `problems_in` names every other key as one that it cannot judge.
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
_SWITCHES: Final = ("CLAUDE_CODE_SHELL_PREFIX", "LD_DEBUG", "SHELLOPTS")
_LOADED: Final = (
    *("LD_PRELOAD", "LD_AUDIT", "LD_LIBRARY_PATH", "BASH_ENV", "ENV", "GCONV_PATH", "LOCPATH"),
    *("OPENSSL_CONF", "OPENSSL_MODULES", "OPENSSL_ENGINES"),
)
"""What the shell, the system's loader and the libraries of Python load code from."""
NEUTRAL: Final = dict.fromkeys((*_SWITCHES, *_LOADED), "")
"""The `env` of Claude Code's file. The empty text is for each as if it were not set."""
_KNOWN: Final = {"hooks", "env", "disableAllHooks", "allowManagedHooksOnly"}
_KNOWN_OF_A_HANDLER: Final = {
    "claude-code": {"type", "command", "timeout", "onFailure"},
    "codex": {"type", "command", "timeout"},
}


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
    return f"{json.dumps({'env': NEUTRAL, 'hooks': entries}, indent=2)}\n"


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
    """Why the hook that this file registers would not guard every call, and what in it cannot be judged; empty if the
    file has only what `install --hook` prints. A file whose name ends in .toml is Codex's, any other one Claude Code's.
    """
    host = _host_of(path)
    try:
        settings = _settings(host, content)
    except NexusControlError as fault:
        return [f"{fault.message}: the host drops the whole file"]
    except ValueError as error:
        return [f"it is not TOML ({error})"]
    return [*_switches(settings, host), *_not_judged(settings, host), *_of_events(settings, host)]


def commands_in(path: Path, content: bytes) -> list[list[str]]:
    """The words of each command of ours that the file has, once; empty where the file cannot be read."""
    try:
        settings = _settings(_host_of(path), content)
    except (NexusControlError, ValueError):
        return []
    found = [_words(handler) for _, _, handler in _handlers(settings) if _is_ours(handler)]
    return [words for index, words in enumerate(found) if words not in found[:index]]


def _host_of(path: Path) -> str:
    return "codex" if path.suffix == ".toml" else "claude-code"


def _settings(host: str, content: bytes) -> Mapping[str, Any]:
    return _object(tomllib.loads(content.decode()) if host == "codex" else parse_json(content))


def _switches(settings: Mapping[str, Any], host: str) -> Iterator[str]:
    if settings.get("disableAllHooks") is True:
        yield "disableAllHooks is true: no hook is run"
    if host == "codex" and _object(settings.get("features")).get("hooks") is not True:
        yield "[features] has no hooks = true: a user's configuration can switch all hooks off"
    for name in ("disableAllHooks", "allowManagedHooksOnly"):
        if host == "claude-code" and not isinstance(settings.get(name, False), bool):
            yield f"{name} is neither true nor false: the host drops the whole file"
    for event, _, handler in _handlers(settings):
        if host == "claude-code" and handler.get("onFailure", "block") != "block":
            yield f'a hook of {event} has another onFailure than "block": a wrong value drops the whole file'
    if host == "claude-code":
        yield from _of_variables(settings)


def _of_variables(settings: Mapping[str, Any]) -> Iterator[str]:
    env = settings.get("env", {})
    if not _is_object(env) or not all(isinstance(value, str) for value in env.values()):
        yield "env is not an object of texts: the host drops the whole file"
        return
    if missing := [name for name in NEUTRAL if name not in env]:
        yield f"env does not set {', '.join(missing)} to an empty text: a project's env can, and replaces the hook"
    for name in _SWITCHES:
        if env.get(name):
            yield f"env sets {name}, which runs something else than the hook"
    for name in _LOADED:
        if env.get(name) and not env[name].startswith("/"):
            yield f"env sets {name} to a path that is not absolute: the agent works in the folder where it lies"
    if _TRACE in env:
        yield f"env sets {_TRACE}: with any value no program runs, and the hook is one"


_TRACE: Final = "LD_TRACE_LOADED_OBJECTS"


def _not_judged(settings: Mapping[str, Any], host: str) -> Iterator[str]:
    """The keys of which nobody here knows which values are right."""
    unknown = [name for name in settings if name not in _KNOWN] if host == "claude-code" else []
    for event, entries in _object(settings.get("hooks")).items():
        if event not in FILES[host].events:
            unknown.append(f"hooks.{event}")
            continue
        found = _list(entries)
        if found != entries:
            yield f"hooks.{event} is not a list"
        for entry in found:
            unknown += [
                f"hooks.{event}[].{name}" for name in _object(entry) if name not in ("matcher", "hooks")
            ]
    for event, _, handler in _handlers(settings):
        if not _is_ours(handler):
            unknown.append(f"a hook of {event} that is not nexus-control's")
        else:
            known = {*_KNOWN_OF_A_HANDLER[host], "if"}  # that one is reported elsewhere
            unknown += [f"{name} of the hook of {event}" for name in handler if name not in known]
    for name in dict.fromkeys(unknown):
        yield (
            f"not judged: {name:.80}. If its value is wrong, the host may drop the whole file and run every call. Keep"
            " the file to what `install --hook` prints, or try it: start the host with this file, and see that a call"
            " is denied which the rules deny"
        )


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
    if isinstance(timeout, bool) or not isinstance(timeout, int | float):
        yield f"has the timeout {json.dumps(timeout, default=str):.80}, which is not a number: the host drops the file"
    elif timeout < TIMEOUT_SECONDS:
        yield f"has a timeout below {TIMEOUT_SECONDS}: the hook denies by itself before that"
    if host == "claude-code" and event == "PreToolUse" and "onFailure" not in handler:
        yield 'has no "onFailure": "block": where it cannot be started, the call runs'
    program = _words(handler)[0]
    if not program.startswith("/"):
        yield f"runs {program!r:.80}, which is looked for on PATH: name it absolutely"
    elif shutil.which(program) is None:
        yield f"runs {program!r:.80}, which is not there"
    if open_to := _open_to(_words(handler)):
        yield f"has a Python that takes neither -I nor {' '.join(open_to)}: {'; '.join(open_to.values())}"


_CLOSES: Final = {
    "-P": "it imports from the folder that it is run in",
    "-E": "it reads PYTHONPATH and the other variables of Python",
    "-s": "it runs usercustomize.py of the user's folder, which HOME names",
}


def _open_to(words: list[str]) -> dict[str, str]:
    """The options that the command's Python lacks, and what follows. A script's Python has none that can be seen."""
    module = words.index("-m") if "-m" in words else 0
    given = "".join(word[1:] for word in words[:module] if word.startswith("-") and word[1:2] != "-")
    return {} if "I" in given else {flag: said for flag, said in _CLOSES.items() if flag[1] not in given}


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
