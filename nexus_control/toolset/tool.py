"""What a tool is, and the circumstances in which it runs."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from nexus_control.execution.router import RouterProtocol
from nexus_control.store import DecisionStore
from nexus_control.toolset.outputs import ToolOutput
from nexus_control.usecases.arguments import Arguments
from nexus_control.values.actors import Actor
from nexus_control.values.payloads import Elicitation

Approvals: TypeAlias = Literal["human", "declared", "off"]
NameStyle: TypeAlias = Literal["dotted", "underscore"]

PREFIX = "nexus-control."


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotations:
    """What a host may assume before it lets a model call the tool."""

    read_only: bool = False
    destructive: bool = False
    idempotent: bool = False
    open_world: bool = False

    def to_dict(self) -> dict[str, bool]:
        """As MCP spells them."""
        return {
            "readOnlyHint": self.read_only,
            "destructiveHint": self.destructive,
            "idempotentHint": self.idempotent,
            "openWorldHint": self.open_world,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a person is asked: the text that they see, of the request that `basis` commits to."""

    text: str
    request_id: str
    basis: str
    expires_at: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a person typed into the form of this question, and how it came back."""

    question: Question
    approves: bool
    reason: str | None
    elicitation: Elicitation


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolContext:
    """For whom, on what, and under which rules a tool runs.

    `actor` is who the server acts for. `database` is how a person names the store on the command line. Files go to
    `artifacts`, which is created when it is first needed. `approvals`: "declared" trusts the actor that an argument
    names; "human" approves on the `answer` that `approver` gave when they were asked, and `unanswered` says why
    there is none. `config` is the file that `router` was made from, for the commands that people are shown. `wait`
    sleeps for some seconds, and answers True when the waiting should end at once.
    """

    store: DecisionStore
    actor: Actor
    database: str
    artifacts: Path
    approvals: Approvals = "human"
    approver: Actor | None = None
    answer: Answer | None = None
    unanswered: str = "nobody approves here on a model's word"
    router: RouterProtocol | None = None
    config: Path | None = None
    name_style: NameStyle = "dotted"
    wait: Callable[[float], bool] = field(default_factory=lambda: threading.Event().wait)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """One tool of the table. `run` gets a checked `input_model`, and answers an `output`.

    `question` is what to ask a person before it runs, where the context says that only a person's answer will do.
    """

    name: str
    title: str
    description: str
    input_model: type[Arguments]
    annotations: Annotations
    output: type[ToolOutput]
    run: Callable[[ToolContext, Any], Mapping[str, object]]
    question: Callable[[ToolContext, Any], Question] | None = None

    @property
    def takes_actor(self) -> bool:
        return "actor" in self.input_model.model_fields


def spelled(name: str, style: NameStyle) -> str:
    """A tool's name in one of the two styles."""
    return name if style == "dotted" else name.replace(".", "_").replace("-", "_")
