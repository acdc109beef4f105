"""A guard for agents of pydantic-ai: people approve a tool's call, and it runs once.

    agent = Agent(model, output_type=[str, DeferredToolRequests], capabilities=[ApprovalGuard(tools)])

* The call is judged with the arguments that the tool gets: validated, completed by the tool's defaults, and changed by
  whatever capability changes them. So the guard wraps the toolset, and lies inside all other capabilities. One that
  lies further in and wraps the toolset too is refused.
* A call that waits for people ends the run with `DeferredToolRequests`, whose metadata holds the `request_id`. The run
  goes on from its saved messages, in any process. What the application says of the approval is not asked.
* A call that does not run fails for the model, with the reason, and is not one of its retries. One that was completed
  before is answered with what it gave back, because a model tries again after a failure.
* A tool that the framework stopped at its time limit, and a sub-agent that was cancelled, leave the outcome unknown.
* The request belongs to the call id and the conversation, which both are saved with the messages.
"""

import asyncio
import dataclasses
from collections.abc import Collection
from typing import Any, Unpack

from pydantic_ai.capabilities import AbstractCapability, CapabilityOrdering
from pydantic_ai.exceptions import ApprovalRequired, ModelRetry, RunCancelled, ToolFailed
from pydantic_ai.tools import AgentDepsT, RunContext, ToolDenied, ToolSelector, matches_tool_selector
from pydantic_ai.toolsets import AbstractToolset, ToolsetTool, WrapperToolset

from nexus_control.errors import invalid_argument
from nexus_control.guards.calls import Denied, NotRunError, Pending, ToolCall
from nexus_control.guards.guard import Asking, Guard
from nexus_control.guards.spelled import spelled
from nexus_control.rules.book import RuleBook
from nexus_control.tool import NexusControlTools
from nexus_control.values.actors import Actor


@dataclasses.dataclass(init=False)
class ApprovalGuard(AbstractCapability[AgentDepsT]):
    """A capability that asks people before a tool of the agent runs.

        >>> guard = ApprovalGuard(tools, only=["rotate"], min_approvals=2)
        >>> agent = Agent(model, output_type=[str, DeferredToolRequests], capabilities=[guard])

    `tools` are a store's, without a plan checker. `only` selects tools as pydantic-ai does: names, metadata or a
    function; by default all. A name that selects no tool ends the run. `actor` asks, by default
    system:<login>@<host>: name it where several machines resume the same runs. The policy is given by keyword as to
    `NexusControlTools.request`; without one, one approval. With `rules` a rule's template is the policy. The agent's
    `output_type` must name `DeferredToolRequests`: otherwise a call that waits ends its run with a UserError, and is
    not run. Raises NexusControlError INVALID_ARGUMENT for `rules` beside `template_name`, and for an `only` that can
    select nothing.
    """

    guard: Guard
    only: ToolSelector[AgentDepsT]
    tools: NexusControlTools

    def __init__(
        self,
        tools: NexusControlTools,
        *,
        only: ToolSelector[AgentDepsT] = "all",
        actor: Actor | None = None,
        rules: RuleBook | None = None,
        **asking: Unpack[Asking],
    ) -> None:
        if not callable(only) and not only:
            raise invalid_argument("only", "selects no tool: leave it out to guard all")
        self.guard = Guard(tools, host="pydantic-ai", actor=actor, rules=rules, **asking)
        self.only = only
        self.tools = tools
        self._seen: set[str] = set()

    @classmethod
    def get_serialization_name(cls) -> str | None:
        """None: a store cannot be written in an agent's specification."""
        return None

    def get_ordering(self) -> CapabilityOrdering:
        """In the innermost tier, because a capability further in could change what was approved."""
        return CapabilityOrdering(position="innermost")

    def get_wrapper_toolset(self, toolset: AbstractToolset[AgentDepsT]) -> AbstractToolset[AgentDepsT]:
        """The agent's tools, guarded."""
        return _GuardedToolset(toolset, self)

    def check_place(self, root: AbstractCapability[AgentDepsT] | None) -> None:
        """Raises NexusControlError INVALID_ARGUMENT where a capability lies further in and wraps the tools too. Others
        of the innermost tier do, which are listed later.
        """
        leaves: list[AbstractCapability[AgentDepsT]] = []
        if root is not None:
            root.apply(leaves.append)
        is_further_in = False
        for leaf in leaves:
            wraps = type(leaf).get_wrapper_toolset is not AbstractCapability.get_wrapper_toolset
            if is_further_in and wraps and not isinstance(leaf, ApprovalGuard):
                raise invalid_argument(
                    "capabilities", f"{type(leaf).__name__} lies inside the guard: list the guard after it"
                )
            is_further_in = is_further_in or leaf is self

    def check_names(self, names: Collection[str]) -> None:
        """Raises NexusControlError INVALID_ARGUMENT where `only` names a tool that was not among those of any step."""
        if self.only == "all" or callable(self.only) or isinstance(self.only, dict):
            return
        self._seen.update(names)
        wanted = [self.only] if isinstance(self.only, str) else self.only
        if unknown := sorted(set(wanted) - self._seen):
            raise invalid_argument(
                "only",
                f"names {', '.join(unknown)}, which the agent has not. Give a function for a tool that comes later",
            )


class _UnfinishedError(TimeoutError):
    """The tool was left before it ended. The guard records a TimeoutError as outcome unknown."""


@dataclasses.dataclass
class _GuardedToolset(WrapperToolset[AgentDepsT]):
    approval: ApprovalGuard[AgentDepsT]

    async def get_tools(self, ctx: RunContext[AgentDepsT]) -> dict[str, ToolsetTool[AgentDepsT]]:
        self.approval.check_place(ctx.root_capability)
        tools = await self.wrapped.get_tools(ctx)
        self.approval.check_names(tools)
        return tools

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

        if not await matches_tool_selector(self.approval.only, ctx, tool.tool_def):
            return await self.wrapped.call_tool(name, tool_args, ctx, tool)
        call = ToolCall(
            tool=name,
            arguments={parameter: spelled(value) for parameter, value in tool_args.items()},
            call_id=ctx.tool_call_id or "",
            session=ctx.conversation_id or "",
        )
        verdict = await self.approval.guard.acheck(call)
        if isinstance(verdict, Pending):
            raise ApprovalRequired(metadata={"request_id": verdict.request_id, "how": verdict.how})
        if isinstance(verdict, Denied):
            return await self._told(verdict)
        if verdict.request_id is None:
            return await self.wrapped.call_tool(name, tool_args, ctx, tool)
        try:
            return await self.approval.guard.arun(call, verdict, run, failure_in=_failure_in)
        except NotRunError as refused:
            return await self._told(refused.denied)
        except _UnfinishedError as unfinished:
            raise ToolFailed(_unfinished(verdict.request_id, unfinished)) from unfinished

    async def _told(self, denied: Denied) -> str:
        """What the model is told of a call that ran before. Raises ToolFailed for one that does not run."""
        if denied.request_id is not None:
            status = await asyncio.to_thread(self.approval.tools.status, denied.request_id)
            if status.success and status.data["state"] == "completed":
                return denied.reason
        raise ToolFailed(denied.reason)


def _failure_in(returned: object) -> str | None:
    """The failure that a tool gave back as a value."""
    return returned.message if isinstance(returned, ToolDenied) else None


def _unfinished(request_id: str, why: _UnfinishedError) -> str:
    return (
        f"Request {request_id} was executed, and did not end ({why}). It may or may not have taken effect; a person "
        "must find out. Do not repeat it."
    )
