"""What a guard is asked, and what it answers.

A call is one use of one tool. Its *key* is the id that the host gives it, with the conversation where the host keeps
that stable; its *content* is the tool and the arguments. Two calls with the same content are two requests, and other
content under the same key is a conflict: people have approved something else.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any, TypeAlias, cast

from nexus_control.errors import invalid_argument
from nexus_control.execution.spelling import encodable, shortened
from nexus_control.integrity import sha256_hex
from nexus_control.system.login import login_at_host
from nexus_control.values.actors import Actor
from nexus_control.values.guarded import TOOL

MOST_OF_A_GOAL = 200
"""Characters of a call that are a request's goal: people see all of it in the plan."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """One use of one tool.

        >>> ToolCall(tool="rotate", arguments={"key": "billing"}, call_id="call_1").content_digest()[:8]
        '59dfbcc5'

    `arguments` are as the model sent them: an object, or the text where they are not one. `session` is the
    conversation, "" where the host does not keep it stable. `folder` is where it runs, for a tool that does not say
    so in its arguments: it is part of what people approve.
    """

    tool: str
    arguments: Mapping[str, Any] | str
    call_id: str
    session: str = ""
    folder: str = ""

    def plan(self) -> str:
        """The call as people read it, and as it is bound: JSON with the tool's name and its arguments by name. Raises
        INVALID_ARGUMENT for what is not JSON: two calls must not have one text.
        """
        content = {"tool": self.tool, "arguments": self.arguments}
        if self.folder:
            content["folder"] = self.folder
        _require_json(content)
        return json.dumps(content, ensure_ascii=False, indent=2, sort_keys=True)

    def shown(self, names: Iterable[str] | None = None) -> str:
        """The call in one line, `rotate(key="billing")`, with its arguments in the order of these `names`, or else the
        same in every process.
        """
        if isinstance(self.arguments, str):
            return f"{self.tool}({self.arguments})"
        spelled = [
            f"{name}={json.dumps(self.arguments[name], ensure_ascii=False, sort_keys=True)}"
            for name in names or sorted(self.arguments)
        ]
        return f"{self.tool}({', '.join(spelled)})"

    def content_digest(self) -> str:
        """SHA-256 of the plan, in hex."""
        return sha256_hex(self.plan())

    @property
    def adapter_id(self) -> str:
        """What the request is bound to: only this tool is run for it."""
        return f"{TOOL}{shortened(self.tool)}"


@dataclass(frozen=True, slots=True)
class Allowed:
    """The call may run. Without a `request_id` the rules let it run without a decision, and nothing is recorded."""

    request_id: str | None


@dataclass(frozen=True, slots=True)
class Pending:
    """People decide. `how` says to the model that the call waits, and how to go on."""

    request_id: str
    how: str


@dataclass(frozen=True, slots=True)
class Denied:
    """The call does not run. `reason` says why to the model."""

    reason: str
    request_id: str | None = None


Verdict: TypeAlias = Allowed | Pending | Denied


def said(verdict: Pending | Denied) -> str:
    """What the model is told of a call that does not run now."""
    return verdict.how if isinstance(verdict, Pending) else verdict.reason


class NotRunError(Exception):
    """The tool was not run: the claim was refused after the check. `denied` says why."""

    def __init__(self, denied: Denied) -> None:
        super().__init__(denied.reason)
        self.denied = denied


def default_actor() -> Actor:
    """Who asks where nobody is named: system:<login>@<host>. No variable makes it somebody else."""
    return Actor("system", login_at_host())


def key_of(*parts: str) -> str:
    """An idempotency key of these parts; no two lists of parts have the same."""
    return f"guard:{sha256_hex(json.dumps(parts))}"


def _require_json(value: object) -> None:
    """Raises INVALID_ARGUMENT unless the value comes back from JSON text as it is."""
    match value:
        case str():
            if encodable(value) != value:
                raise invalid_argument("arguments", "hold a lone surrogate, which no text can have")
        case bool() | int() | None:
            pass
        case float():
            if not isfinite(value):
                raise invalid_argument("arguments", "hold a number that JSON has not")
        case list() | tuple():
            for each in cast("list[object]", value):
                _require_json(each)
        case Mapping():
            for name, each in cast("Mapping[object, object]", value).items():
                if not isinstance(name, str):
                    raise invalid_argument("arguments", "have a name that is not text")
                _require_json(name)
                _require_json(each)
        case _:
            raise invalid_argument("arguments", f"hold a {type(value).__name__}, which JSON has not")
