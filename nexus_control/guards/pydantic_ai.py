"""A guard for agents of pydantic-ai: people approve a tool's call, and it runs once.

    agent = Agent(model, output_type=[str, DeferredToolRequests], capabilities=[ApprovalGuard(tools)])

* The call is judged with the arguments that the tool gets: validated, completed by the tool's defaults, and changed by
  whatever capability changes them. So the guard wraps the toolset, and lies inside all other capabilities.
* A call that waits for people ends the run with `DeferredToolRequests`, whose metadata holds the `request_id`. The run
  goes on from its saved messages, in any process. What the application says of the approval is not asked.
* A call that does not run fails for the model, with the reason, and is not one of its retries.
* A tool that the framework stopped at its time limit, and a sub-agent that was cancelled, leave the outcome unknown.
* The request belongs to the call id and the conversation, which both are saved with the messages.
"""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any, Unpack, cast

from pydantic import BaseModel
from pydantic_ai.capabilities import AbstractCapability, CapabilityOrdering
from pydantic_ai.exceptions import ApprovalRequired, ModelRetry, RunCancelled, ToolFailed
from pydantic_ai.tools import AgentDepsT, RunContext, ToolDenied, ToolSelector, matches_tool_selector
from pydantic_ai.toolsets import AbstractToolset, ToolsetTool, WrapperToolset

from nexus_control.guards.calls import Denied, NotRunError, Pending, ToolCall
from nexus_control.guards.guard import Asking, Guard, plain
from nexus_control.integrity import sha256_hex
from nexus_control.rules.book import RuleBook
from nexus_control.tool import NexusControlTools
from nexus_control.values.actors import Actor


@dataclasses.dataclass(init=False)
class ApprovalGuard(AbstractCapability[AgentDepsT]):
    """A capability that asks people before a tool of the agent runs.

        >>> guard = ApprovalGuard(tools, only=["rotate"], min_approvals=2)
        >>> agent = Agent(model, output_type=[str, DeferredToolRequests], capabilities=[guard])

    `tools` are a store's, without a plan checker. `only` selects tools as pydantic-ai does: names, metadata or a
    function; by default all. `actor` asks; by default system:<login>@<host>. The policy is given by keyword as to
    `NexusControlTools.request`; without one, one approval. With `rules` a rule's template is the
    policy. The agent's `output_type` must name `DeferredToolRequests`: otherwise a call that waits ends its run with
    a UserError, and is not run. Raises NexusControlError for `rules` beside `template_name`.
    """

    guard: Guard
    only: ToolSelector[AgentDepsT]

    def __init__(
        self,
        tools: NexusControlTools,
        *,
        only: ToolSelector[AgentDepsT] = "all",
        actor: Actor | None = None,
        rules: RuleBook | None = None,
        **asking: Unpack[Asking],
    ) -> None:
        self.guard = Guard(tools, host="pydantic-ai", actor=actor, rules=rules, **asking)
        self.only = only

    @classmethod
    def get_serialization_name(cls) -> str | None:
        """None: a store cannot be written in an agent's specification."""
        return None

    def get_ordering(self) -> CapabilityOrdering:
        """Innermost, because a capability further in could change what was approved."""
        return CapabilityOrdering(position="innermost")

    def get_wrapper_toolset(self, toolset: AbstractToolset[AgentDepsT]) -> AbstractToolset[AgentDepsT]:
        """The agent's tools, guarded."""
        return _GuardedToolset(toolset, self.guard, self.only)


class _UnfinishedError(TimeoutError):
    """The tool was left before it ended. The guard records a TimeoutError as outcome unknown."""


@dataclasses.dataclass
class _GuardedToolset(WrapperToolset[AgentDepsT]):
    guard: Guard
    only: ToolSelector[AgentDepsT]

    async def call_tool(
        self, name: str, tool_args: dict[str, Any], ctx: RunContext[AgentDepsT], tool: ToolsetTool[AgentDepsT]
    ) -> Any:
        async def run() -> Any:
            try:
                return await self.wrapped.call_tool(name, tool_args, ctx, tool)
            except (ModelRetry, RunCancelled) as error:
                # The framework's time limit for tools is raised as a ModelRetry.
                if isinstance(error, RunCancelled) or isinstance(error.__context__, TimeoutError):
                    raise _UnfinishedError(str(error)) from error
                raise

        if not await matches_tool_selector(self.only, ctx, tool.tool_def):
            return await self.wrapped.call_tool(name, tool_args, ctx, tool)
        call = ToolCall(
            tool=name,
            arguments={parameter: spelled(value) for parameter, value in tool_args.items()},
            call_id=ctx.tool_call_id or "",
            session=ctx.conversation_id or "",
        )
        verdict = await self.guard.acheck(call)
        if isinstance(verdict, Pending):
            raise ApprovalRequired(metadata={"request_id": verdict.request_id, "how": verdict.how})
        if isinstance(verdict, Denied):
            raise ToolFailed(verdict.reason)
        if verdict.request_id is None:
            return await self.wrapped.call_tool(name, tool_args, ctx, tool)
        try:
            return await self.guard.arun(call, verdict, run, failure_in=_failure_in)
        except NotRunError as refused:
            raise ToolFailed(refused.denied.reason) from refused
        except _UnfinishedError as unfinished:
            raise ToolFailed(_unfinished(verdict.request_id, unfinished)) from unfinished


def _failure_in(returned: object) -> str | None:
    """The failure that a tool gave back as a value."""
    return returned.message if isinstance(returned, ToolDenied) else None


def _unfinished(request_id: str, why: _UnfinishedError) -> str:
    return (
        f"Request {request_id} was executed, and did not end ({why}). It may or may not have taken effect; a person "
        "must find out. Do not repeat it."
    )


def spelled(value: object) -> object:
    """An argument as JSON, the same in every process, and another one for another argument.

        >>> spelled({date(2026, 1, 2), date(2026, 1, 1)})
        ['2026-01-01', '2026-01-02']

    A model's fields are spelled even where it leaves them out of its own JSON. A secret is spelled as its digest. An
    object that pydantic does not know is its `repr`; where that names an address, each resume is another content.
    """
    match value:
        case str() | int() | float() | None:
            return value
        case Mapping():
            items = cast("Mapping[object, object]", value).items()
            return {str(spelled(key)): spelled(each) for key, each in items}
        case list() | tuple():
            return [spelled(each) for each in cast("list[object]", value)]
        case set() | frozenset():
            return sorted((spelled(each) for each in cast("set[object]", value)), key=json.dumps)
        case bytes() | bytearray():
            return f"bytes:{value.hex()}"
        case BaseModel():
            fields = {name: getattr(value, name) for name in type(value).model_fields}
            return spelled(fields | (value.model_extra or {}))
        case _ if callable(reveal := getattr(value, "get_secret_value", None)):
            return f"secret:{sha256_hex(json.dumps(spelled(reveal())))}"
        case _ if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return {each.name: spelled(getattr(value, each.name)) for each in dataclasses.fields(value)}
        case _:
            return plain(value)
