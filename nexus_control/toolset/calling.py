"""Calls a tool: raw arguments in, the client's answer out."""

from collections.abc import Mapping
from dataclasses import dataclass

from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.toolset.outputs import ErrorOutput
from nexus_control.toolset.tool import Question, Tool, ToolContext
from nexus_control.usecases.arguments import Arguments, validated
from nexus_control.values.actors import Actor
from nexus_control.values.results import fault_of


@dataclass(frozen=True, slots=True)
class CallResult:
    """The structured content of an answer: the tool's output, or an error."""

    content: Mapping[str, object]
    is_error: bool = False


def call(tool: Tool, context: ToolContext, arguments: Mapping[str, object]) -> CallResult:
    """Check the arguments, run the tool. Never raises."""
    outcome = fault_of(lambda: tool.run(context, _checked(tool, context, arguments)))
    if isinstance(outcome, NexusControlError):
        return refused(outcome)
    return CallResult(outcome)


def question_of(tool: Tool, context: ToolContext, arguments: Mapping[str, object]) -> Question | CallResult:
    """The question for a person before this call, or the answer of a call that needs no question. Never raises."""
    ask = tool.question
    if ask is None:
        return call(tool, context, arguments)
    asked = fault_of(lambda: ask(context, _checked(tool, context, arguments)))
    return refused(asked) if isinstance(asked, NexusControlError) else asked


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


def refused(fault: NexusControlError) -> CallResult:
    """The fault as an answer."""
    content: ErrorOutput = {
        "code": str(fault.code),
        "message": fault.message,
        "details": fault.details,
        "next": fault.next,
    }
    return CallResult(content, is_error=True)
