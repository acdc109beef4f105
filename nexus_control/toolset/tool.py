"""A tool of the table, and the context in which it runs."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from nexus_control.execution.router import RouterProtocol
from nexus_control.rules.book import RuleBook
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
    """Hints to a host that decides whether a model may call the tool."""

    read_only: bool = False
    destructive: bool = False
    idempotent: bool = False
    open_world: bool = False

    def to_dict(self) -> dict[str, bool]:
        """The hints with MCP's names."""
        return {
            "readOnlyHint": self.read_only,
            "destructiveHint": self.destructive,
            "idempotentHint": self.idempotent,
            "openWorldHint": self.open_world,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A question to a person: the text that they see. `basis` commits to the request that the text shows, and
    `rehearsal`, the seq of an execution and a digest, to the required rehearsal in it. With a `page`, the address of
    the inbox's page of this request, they decide there, and the host only opens it.
    """

    text: str
    request_id: str
    basis: str
    expires_at: str | None
    rehearsal: tuple[int, str] | None = None
    page: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FormAnswer:
    """A person's answer in the form of this question, and how it came back."""

    question: Question
    approves: bool
    reason: str | None
    elicitation: Elicitation


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolContext:
    """The context of a call: for whom, on which store, and under which rules.

    The server acts for `actor`. `database` is the store's name on the command line. Files go to the folder `artifacts`,
    which is created when it is first needed; None: nothing lies beside the store. `approvals` "declared" trusts the
    actor that an argument names; "human" approves only on the `answer` that `approver` gave when they were asked.
    `unanswered` says why there is no answer. `config` is the file that `router` was made from, for the commands that
    people are shown. `wait` sleeps for some seconds, and returns True when the waiting should end at once. `read_only`:
    only tools that read are offered. `rules` say what may be requested. `inbox` is the origin of the web inbox where
    people sign, if there is one, and `opens_pages` says that this host can open a page for a person. `whole_answers`:
    an answer of any length is given as it is, not in a file.
    """

    store: DecisionStore
    actor: Actor
    database: str
    artifacts: Path | None
    approvals: Approvals = "human"
    approver: Actor | None = None
    answer: FormAnswer | None = None
    unanswered: str = "nobody approves here on a model's word"
    router: RouterProtocol | None = None
    rules: RuleBook | None = None
    config: Path | None = None
    inbox: str | None = None
    opens_pages: bool = False
    name_style: NameStyle = "dotted"
    read_only: bool = False
    whole_answers: bool = False
    wait: Callable[[float], bool] = field(default_factory=lambda: threading.Event().wait)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """One tool of the table. `run` takes a checked `input_model`, and returns an `output`.

    `question` makes the question to ask a person before the tool runs, where the context demands a person's answer.
    `awaited` says for how many seconds the call waits before it runs; 0 where there is nothing to wait for.
    `meanwhile` is the answer to a call that runs for too long; the run goes on.
    """

    name: str
    title: str
    description: str
    input_model: type[Arguments]
    annotations: Annotations
    output: type[ToolOutput]
    run: Callable[[ToolContext, Any], Mapping[str, object]]
    question: Callable[[ToolContext, Any], Question] | None = None
    awaited: Callable[[ToolContext, Any], float] | None = None
    meanwhile: Callable[[ToolContext, Any], Mapping[str, object]] | None = None

    @property
    def takes_actor(self) -> bool:
        return "actor" in self.input_model.model_fields


def spelled(name: str, style: NameStyle) -> str:
    """A tool's name in one of the two styles."""
    return name if style == "dotted" else name.replace(".", "_").replace("-", "_")
