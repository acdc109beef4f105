"""The guard for agents of LangChain and LangGraph: a middleware around each tool call.

    agent = create_agent(model, [rotate], middleware=[ApprovalMiddleware(tools)], checkpointer=saver)

* It stands last in the list of middleware. A middleware after it could change the arguments that people approved, or
  call the tool twice under one approval.
* A call that waits for people interrupts the run. `Command(resume=...)` has the guard ask the store again; the value
  itself decides nothing. A call that still waits interrupts again.
* LangGraph gives the answers of one call to its interrupts in their order. The guard takes the answers to its own
  interrupts before the tool runs, so an `interrupt` in the tool never gets one of them.
* The key of a request is the thread and the id of the tool call. A call without an id, or outside a thread, is refused.
* Arguments that do not fit the tool's schema are refused before anybody is asked. People see what the schema makes of
  them, with its defaults. Schemas that are JSON and no model, such as those of MCP tools, are checked by the tool only.
* A call that was completed before is answered as a success, because a model tries again after an error.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from copy import deepcopy
from typing import Any, Literal, TypeAlias, Unpack, cast

from langchain.agents.middleware import AgentMiddleware, ToolCallRequest
from langchain_core.messages import ToolMessage
from langchain_core.tools import BaseTool
from langgraph.errors import GraphInterrupt
from langgraph.types import Command, interrupt

from nexus_control.errors import invalid_argument
from nexus_control.guards import texts
from nexus_control.guards.calls import Allowed, Denied, NotRunError, Pending, ToolCall, Verdict
from nexus_control.guards.guard import Asking, Guard
from nexus_control.guards.spelled import spelled
from nexus_control.rules.book import RuleBook
from nexus_control.tool import NexusControlTools
from nexus_control.values.actors import Actor

Answer: TypeAlias = ToolMessage | Command[Any]


class ApprovalMiddleware(AgentMiddleware[Any, Any, Any]):
    """Has people approve an agent's tool calls, and lets each run once.

        >>> guard = ApprovalMiddleware(tools, only=[rotate], min_approvals=2)
        >>> agent = create_agent(model, [rotate, look], middleware=[guard], checkpointer=saver)

    `tools` are a store's. `only` are the tools that need an approval, all by default; they are given as tools, so that
    a wrong name is not an unguarded tool. Several guards of one agent have different `only`. The policy is given by
    keyword, as to `NexusControlTools.request`; without one, one approval. With `rules` a rule's template is the policy.
    `actor` asks, by default system:<login>@<host>: name it where several machines resume the same threads. Raises
    NexusControlError INVALID_ARGUMENT for `rules` beside `template_name`, and for an `only` that is empty or has
    something else than tools.
    """

    def __init__(
        self,
        tools: NexusControlTools,
        *,
        only: Collection[BaseTool] | None = None,
        actor: Actor | None = None,
        rules: RuleBook | None = None,
        **asking: Unpack[Asking],
    ) -> None:
        super().__init__()
        if only is not None and (
            not only or not all(isinstance(cast("object", each), BaseTool) for each in only)
        ):
            raise invalid_argument("only", "must be tools, at least one, and not their names")
        self._tools = tools
        self._guard = Guard(tools, host="langchain", actor=actor, rules=rules, **asking)
        self._only = None if only is None else frozenset(tool.name for tool in only)

    @property
    def name(self) -> str:
        """The class, and the tools where they are named: an agent takes each name of a middleware once."""
        kind = type(self).__name__
        return kind if self._only is None else f"{kind}[{', '.join(sorted(self._only))}]"

    def wrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Answer]
    ) -> Answer:
        if not self._selects(request):
            return handler(request)
        call = _call(request)
        if isinstance(call, Denied):
            return _said(request, call.reason)
        verdict = self._guard.check(call)
        while isinstance(verdict, Pending):
            interrupt(_question(call, verdict))
            verdict = self._guard.check(call)
        _take_answers(verdict)
        if isinstance(verdict, Denied):
            return self._told(request, verdict)
        try:
            return self._guard.run(
                call, verdict, lambda: handler(request), failure_in=_failure_in, kept_of=_kept_of
            )
        except NotRunError as error:
            return self._told(request, error.denied)

    async def awrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Awaitable[Answer]]
    ) -> Answer:
        if not self._selects(request):
            return await handler(request)
        call = _call(request)
        if isinstance(call, Denied):
            return _said(request, call.reason)
        verdict = await self._guard.acheck(call)
        while isinstance(verdict, Pending):
            interrupt(_question(call, verdict))
            verdict = await self._guard.acheck(call)
        _take_answers(verdict)
        if isinstance(verdict, Denied):
            return await asyncio.to_thread(self._told, request, verdict)
        try:
            return await self._guard.arun(
                call, verdict, lambda: handler(request), failure_in=_failure_in, kept_of=_kept_of
            )
        except NotRunError as error:
            return await asyncio.to_thread(self._told, request, error.denied)

    def _selects(self, request: ToolCallRequest) -> bool:
        return self._only is None or _name(request) in self._only

    def _told(self, request: ToolCallRequest, denied: Denied) -> ToolMessage:
        """What the model is told of a call that does not run, or ran before."""
        if denied.request_id is not None:
            status = self._tools.status(denied.request_id)
            if status.success and status.data["state"] == "completed":
                return _said(request, denied.reason, "success")
        return _said(request, denied.reason)


def _name(request: ToolCallRequest) -> str:
    """The tool that would run, which another middleware may have put in the place of the one that the model named."""
    return request.tool_call["name"] if request.tool is None else request.tool.name


def _call(request: ToolCallRequest) -> ToolCall | Denied:
    """The call as people are asked about it. Nobody is asked where there is no such tool, or its arguments do not fit.
    Raises NexusControlError INVALID_ARGUMENT for a call that has no key.
    """
    name = _name(request)
    call_id = request.tool_call["id"]
    if not call_id:
        raise invalid_argument("tool_call.id", f"is missing: the call of {name} cannot be told from others")
    # its type has a bare dict
    config = request.runtime.config  # pyright: ignore[reportUnknownMemberType]
    thread = config.get("configurable", {}).get("thread_id")
    if thread is None or thread == "":
        raise invalid_argument(
            "thread_id", f"is missing: give the run a thread, or the call of {name} is not told from others"
        )
    if request.tool is None:
        return Denied(texts.not_requested(f"there is no tool {name}"))
    try:
        arguments = _arguments(request.tool, request.tool_call["args"])
    except Exception as error:  # noqa: BLE001 - runs the validators of foreign types
        return Denied(texts.not_requested(f"its arguments do not fit: {error}"))
    return ToolCall(tool=name, arguments=arguments, call_id=call_id, session=str(thread))


def _arguments(tool: BaseTool, sent: dict[str, Any]) -> dict[str, Any]:
    """What the tool gets: each argument as its schema makes it, with the defaults. Raises where they do not fit."""
    shown: Any = tool.tool_call_schema
    if isinstance(shown, dict):
        return sent
    # The schema without the arguments that LangGraph puts in has lost the checks of the class. It is used where it must
    # be.
    full: Any = tool.args_schema
    schema = full if full is not None and _fields(full) == _fields(shown) else shown
    validate = schema.model_validate if hasattr(schema, "model_validate") else schema.parse_obj
    read = validate(deepcopy(sent))  # a validator may change what it is given
    extra: dict[str, object] = getattr(read, "model_extra", None) or {}
    return {name: spelled(getattr(read, name)) for name in _fields(schema)} | {
        name: spelled(value) for name, value in extra.items()
    }


def _fields(schema: Any) -> set[str]:
    fields = "model_fields" if hasattr(schema, "model_fields") else "__fields__"
    return set(getattr(schema, fields))


def _question(call: ToolCall, pending: Pending) -> dict[str, Any]:
    """The value of the interrupt, which the application gets."""
    return {"request_id": pending.request_id, "tool": call.tool, "arguments": call.arguments}


def _take_answers(verdict: Verdict) -> None:
    """Take the answers to the interrupts of this call, which was asked about.

    Before the tool runs, all answers that are there are the guard's own. Later an outer middleware may have interrupted
    behind it; then the guard takes one, because it has interrupted once unless it was resumed too early.
    """
    if isinstance(verdict, Pending) or verdict.request_id is None:
        return
    try:
        interrupt(None)
        while isinstance(verdict, Allowed):
            interrupt(None)
    except GraphInterrupt:  # there is no further answer
        return


def _said(request: ToolCallRequest, text: str, status: Literal["success", "error"] = "error") -> ToolMessage:
    call = request.tool_call
    return ToolMessage(text, name=call["name"], tool_call_id=call["id"], status=status)


def _messages(answer: object) -> list[ToolMessage]:
    """The messages for the model in what a tool call came to: a message, a command with an update, or several."""
    if isinstance(answer, Command):
        update: object = answer.update
        return (
            _messages(cast("Mapping[str, object]", update).get("messages"))
            if isinstance(update, dict)
            else []
        )
    if isinstance(answer, list):
        return [message for each in cast("list[object]", answer) for message in _messages(each)]
    return [answer] if isinstance(answer, ToolMessage) else []


def _failure_in(answer: Answer) -> str | None:
    """The text of a failure that ToolNode, or the tool's own handler, has turned into a message."""
    failed = [message for message in _messages(answer) if message.status == "error"]
    return (failed[0].text or "the tool failed") if failed else None


def _kept_of(answer: Answer) -> object:
    """What the model gets. The artifact of a message is not for it, and an update may hold the whole conversation."""
    contents: list[object] = [message.content for message in _messages(answer)]  # pyright: ignore[reportUnknownMemberType] # its union has a bare dict
    return contents[0] if len(contents) == 1 else contents
