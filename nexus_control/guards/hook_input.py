"""What an agent host gives a hook on standard input, read strictly where a call is judged.

    {"hook_event_name": "PreToolUse", "session_id": "…", "cwd": "/srv/app", "tool_name": "Bash",
     "tool_input": {"command": "git push"}, "tool_use_id": "toolu_…"}

Codex names its turn (`turn_id`), Claude Code does not: that tells them apart. A subagent has an `agent_id`. Keys that
are not read here may hold anything. A field that cannot be read is INVALID_ARGUMENT, and named.

What a tool gave back is not checked: it is recorded as it is.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias, cast

from nexus_control.canonical_json import parse_json_object
from nexus_control.errors import NexusControlError, invalid_argument

MAX_INPUT: Final = 16 * 1024 * 1024
"""Bytes. A file that a tool writes is in its input."""
_MOST_OF_A_NAME = 512
_MOST_OF_A_PATH = 4096
_ID = re.compile(r"[!-~]{1,200}")

Event: TypeAlias = Literal["PreToolUse", "PostToolUse", "PostToolUseFailure"]
Host: TypeAlias = Literal["claude-code", "codex"]
EVENTS: Final[dict[str, Event]] = {
    "PreToolUse": "PreToolUse",
    "PostToolUse": "PostToolUse",
    "PostToolUseFailure": "PostToolUseFailure",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class HookInput:
    """One event of one call."""

    event: Event
    host: Host
    tool: str
    arguments: Mapping[str, object]
    call_id: str
    session: str
    folder: str
    in_subagent: bool
    document: Mapping[str, object] = field(repr=False)
    """The whole input."""


def read_input(raw: bytes) -> HookInput:
    """The event that this input tells of.

        >>> read_input(b'{"hook_event_name": "PreToolUse", "tool_name": "Bash", ...}').tool
        'Bash'

    Raises INVALID_ARGUMENT, naming the field; JSON_INVALID.
    """
    document = _object(raw)
    event = EVENTS.get(_text(document, "hook_event_name"))
    if event is None:
        raise invalid_argument("hook_event_name", f"must be one of {', '.join(EVENTS)}")
    tool, arguments = _text(document, "tool_name"), _arguments(document)
    given = HookInput(
        event=event,
        host="codex" if "turn_id" in document else "claude-code",
        tool=tool,
        arguments=arguments,
        call_id=_id(document, "tool_use_id"),
        session=_text(document, "session_id"),
        folder=_text(document, "cwd", _MOST_OF_A_PATH),
        in_subagent=document.get("agent_id") is not None,
        document=document,
    )
    if event == "PreToolUse":
        # A key that is there twice, or a number that programs read differently, is not judged.
        parse_json_object(raw)
    return given


def _object(raw: bytes) -> dict[str, object]:
    if len(raw) > MAX_INPUT:
        raise invalid_argument("standard input", f"must be at most {MAX_INPUT} bytes")
    if not raw.strip():
        raise invalid_argument("standard input", "is empty: the host gives a JSON document")
    try:
        document: object = json.loads(raw.decode())
    except UnicodeDecodeError:
        raise invalid_argument("standard input", "is not UTF-8") from None
    except ValueError as error:
        raise invalid_argument("standard input", f"is not JSON ({error})") from None
    except RecursionError:
        raise invalid_argument("standard input", "is nested too deeply") from None
    if not isinstance(document, dict):
        raise invalid_argument("standard input", "must be a JSON object")
    return cast("dict[str, object]", document)


def _text(document: Mapping[str, object], name: str, most: int = _MOST_OF_A_NAME) -> str:
    value = document.get(name)
    if not isinstance(value, str):
        raise invalid_argument(name, "must be text" if name in document else "is missing")
    if not 0 < len(value) <= most:
        raise invalid_argument(name, f"must have 1 to {most} characters")
    if any(each < " " or each == "\x7f" or "\ud800" <= each <= "\udfff" for each in value):
        raise invalid_argument(name, "must not hold control characters or half a surrogate pair")
    return value


def _id(document: Mapping[str, object], name: str) -> str:
    value = _text(document, name)
    if not _ID.fullmatch(value):
        raise invalid_argument(name, "must have 1 to 200 characters of ASCII, and no blank")
    return value


def _arguments(document: Mapping[str, object]) -> dict[str, object]:
    value = document.get("tool_input")
    if not isinstance(value, dict):
        raise invalid_argument(
            "tool_input", "must be an object" if "tool_input" in document else "is missing"
        )
    arguments = cast("dict[str, object]", value)
    try:
        json.dumps(arguments, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise invalid_argument("tool_input", "must not hold half a surrogate pair") from None
    except RecursionError:
        raise invalid_argument("tool_input", "is nested too deeply") from None
    return arguments


def told(fault: NexusControlError) -> str:
    """What is wrong with the input, for the model. Nobody can say which event an input was that cannot be read."""
    return (
        f"Not run, unless it has run already: the hook cannot read what the host gave it ({fault.message}). Of a call"
        " that has run, nothing is recorded. Do not repeat it."
    )
