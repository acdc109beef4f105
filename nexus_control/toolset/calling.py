"""Calls a tool: raw arguments in, the client's answer out."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.toolset import refusing
from nexus_control.toolset.fitting import fitted
from nexus_control.toolset.tool import Question, Tool, ToolContext
from nexus_control.usecases.arguments import Arguments, validated
from nexus_control.values.actors import Actor
from nexus_control.values.results import fault_of


@dataclass(frozen=True, slots=True)
class CallResult:
    """The structured content of an answer: the tool's output, or an error."""

    content: Mapping[str, object]
    is_error: bool = False


POLL_SECONDS: Final = 0.5
"""How often a call that waits looks whether there still is something to wait for."""


def call(tool: Tool, context: ToolContext, arguments: Mapping[str, object]) -> CallResult:
    """Check the arguments, wait if the tool does, and run it. Never raises."""

    def wait() -> None:
        waited = 0.0
        while waited < seconds_to_wait(tool, context, arguments) and not context.wait(POLL_SECONDS):
            waited += POLL_SECONDS

    defect = fault_of(wait)
    if isinstance(defect, NexusControlError):
        return refused(context, arguments, defect)
    return call_now(tool, context, arguments)


def call_now(tool: Tool, context: ToolContext, arguments: Mapping[str, object]) -> CallResult:
    """`call` without waiting."""
    return _answered(tool, context, arguments, tool.run)


def seconds_to_wait(tool: Tool, context: ToolContext, arguments: Mapping[str, object]) -> float:
    """For how many seconds the call may wait before it runs; 0 where there is nothing to wait for. Never raises."""
    awaited = tool.awaited
    if awaited is None:
        return 0
    seconds = fault_of(lambda: awaited(context, _checked(tool, context, arguments)))
    return 0 if isinstance(seconds, NexusControlError) else seconds  # the call itself meets the fault


def call_meanwhile(tool: Tool, context: ToolContext, arguments: Mapping[str, object]) -> CallResult:
    """The answer to a call that has been running for too long. Never raises."""
    return _answered(tool, context, arguments, tool.meanwhile or tool.run)


def _answered(
    tool: Tool,
    context: ToolContext,
    arguments: Mapping[str, object],
    run: Callable[[ToolContext, Any], Mapping[str, object]],
) -> CallResult:
    outcome = fault_of(
        lambda: fitted(context, tool.name, arguments, run(context, _checked(tool, context, arguments)))
    )
    if isinstance(outcome, NexusControlError):
        return refused(context, arguments, outcome)
    return CallResult(outcome)


def question_of(tool: Tool, context: ToolContext, arguments: Mapping[str, object]) -> Question | CallResult:
    """The question for a person before this call, or the answer of a call that needs no question. Never raises."""
    ask = tool.question
    if ask is None:
        return call(tool, context, arguments)
    asked = fault_of(lambda: ask(context, _checked(tool, context, arguments)))
    return refused(context, arguments, asked) if isinstance(asked, NexusControlError) else asked


def _checked(tool: Tool, context: ToolContext, arguments: Mapping[str, object]) -> Arguments:
    if not tool.takes_actor:
        return validated(tool.input_model, arguments)
    given = arguments.get("actor")
    checked = validated(tool.input_model, {**arguments, "actor": context.actor if given is None else given})
    _require_own(context, checked)
    return checked


def _require_own(context: ToolContext, checked: Arguments) -> None:
    """Raises ACTOR_MISMATCH when the named actor is not the server's, unless the server trusts declared actors."""
    actor: Actor = dict(checked)["actor"]
    if actor != context.actor and context.approvals != "declared":
        raise NexusControlError(
            ErrorCode.ACTOR_MISMATCH,
            f"This server acts for {context.actor} only",
            {"server_actor": context.actor.to_dict()},
        )


def refused(context: ToolContext, arguments: Mapping[str, object], fault: NexusControlError) -> CallResult:
    """The fault as an answer."""
    return CallResult(refusing.refused(context, arguments, fault), is_error=True)
