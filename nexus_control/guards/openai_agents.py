"""The guard for tools of the OpenAI Agents SDK.

    guard = ApprovalGuard(NexusControlTools("decisions.db"), conversation="ticket-17")

    @guard.function_tool
    def rotate(key: str) -> str: ...

* It stands below the SDK's `function_tool`, around the function itself. There an exception is still one: above, the SDK
  has turned it into text. What the function is given is compared with what people were asked about.
* The SDK asks `needs_approval` once, and not about every call. So the function asks the store again, whatever the
  run's state says, and answers with the reason where it does not run.
* A run that is interrupted goes on in any process: `settle` says to the SDK what people have decided.
* The SDK gives calls no conversation. The application names it, the same one when the run goes on.
* Arguments that do not fit the function are refused before anybody is asked.
"""

import asyncio
import inspect
import json
from collections.abc import Awaitable, Callable
from copy import deepcopy
from dataclasses import dataclass
from functools import partial, wraps
from types import FunctionType, MethodType
from typing import Any, TypeAlias, TypedDict, Unpack, cast, get_type_hints, overload

from agents import (
    AgentBase,
    FunctionTool,
    RunContextWrapper,
    RunState,
    ToolInputGuardrail,
    ToolOutputGuardrail,
    function_tool,
)
from agents.function_schema import DocstringStyle, FuncSchema, function_schema
from agents.items import ToolApprovalItem
from agents.tool import FunctionToolCustomDataExtractor, ToolCaller, ToolErrorFunction, ToolTimeoutBehavior
from agents.tool_context import ToolContext

from nexus_control.errors import invalid_argument
from nexus_control.execution.spelling import described
from nexus_control.guards import texts
from nexus_control.guards.calls import Allowed, Denied, NotRunError, Pending, ToolCall, Verdict, said
from nexus_control.guards.guard import Asking, Guard
from nexus_control.guards.spelled import spelled
from nexus_control.rules.book import RuleBook
from nexus_control.tool import NexusControlTools
from nexus_control.values.actors import Actor

_HOST = "openai-agents"
_CONTEXT = "_context"
"""The parameter that the SDK fills. No other has its name: the SDK refuses those that begin with an underscore."""
_MOST_OF_A_REASON = 1_000
_IsEnabled = bool | Callable[[RunContextWrapper[Any], AgentBase], bool | Awaitable[bool]]
_Values: TypeAlias = tuple[tuple[Any, ...], dict[str, Any]]
"""The positional and the named arguments of a function, without the context."""


class ToolOptions(TypedDict, total=False):
    """The options of the SDK's `function_tool`, except those for an approval and for a structured output."""

    name_override: str | None
    description_override: str | None
    docstring_style: DocstringStyle | None
    use_docstring_info: bool
    failure_error_function: ToolErrorFunction | None
    strict_mode: bool
    is_enabled: _IsEnabled
    tool_input_guardrails: list[ToolInputGuardrail[Any]] | None
    tool_output_guardrails: list[ToolOutputGuardrail[Any]] | None
    timeout: float | None
    timeout_behavior: ToolTimeoutBehavior
    timeout_error_function: ToolErrorFunction | None
    defer_loading: bool
    custom_data_extractor: FunctionToolCustomDataExtractor | None
    allowed_callers: list[ToolCaller] | None


class ApprovalGuard:
    """Makes function tools ask people before they run.

        guard = ApprovalGuard(tools, conversation=lambda context: context["ticket"], min_approvals=2)

    `conversation` names the conversation of a run, or finds the name in the run's context: with the call's id it is the
    key of a request. It must be the same when an interrupted run goes on, and another one in another conversation.
    The other arguments are those of `Guard`.
    """

    def __init__(
        self,
        tools: NexusControlTools,
        *,
        conversation: str | Callable[[Any], str],
        actor: Actor | None = None,
        rules: RuleBook | None = None,
        **asking: Unpack[Asking],
    ) -> None:
        self._guard = Guard(tools, host=_HOST, actor=actor, rules=rules, **asking)
        self._conversation = conversation
        self._guarded: dict[str, _Guarded] = {}
        if not callable(conversation):
            self._session(None)

    @overload
    def function_tool(self, function: Callable[..., Any], /) -> FunctionTool: ...

    @overload
    def function_tool(
        self, /, **options: Unpack[ToolOptions]
    ) -> Callable[[Callable[..., Any]], FunctionTool]: ...

    def function_tool(
        self, function: Callable[..., Any] | None = None, /, **options: Unpack[ToolOptions]
    ) -> FunctionTool | Callable[[Callable[..., Any]], FunctionTool]:
        """The SDK's `function_tool`, for a function that runs once people have approved the call.

            @guard.function_tool(timeout=30)
            async def rotate(key: str) -> str: ...

        The function may take the SDK's context first, and be a coroutine function. Two functions of one guard have two
        names: people are shown the name.
        """
        if function is None:
            return lambda function: self._tool(function, options)
        return self._tool(function, options)

    def settle(self, state: RunState[Any, Any], context: object = None) -> list[str]:
        """Tell an interrupted run what people have decided, and answer the ids of the requests that still wait.

            state = result.to_state()
            if not guard.settle(state):
                result = Runner.run_sync(agent, state)

        People are asked about a call where they were not. What was approved will run, and what was denied, ran before
        or cannot be asked for is rejected, with the reason for the model. Calls of other tools are left alone, also
        where they have the name of a guarded one. `context` is the run's, for a `conversation` that is found in it;
        what that raises is raised. Raises NexusControlError INVALID_ARGUMENT where an agent has a guarded and another
        tool of one name.
        """
        waiting: list[str] = []
        for item in state.get_interruptions():
            guarded = self._guarded_of(item)
            if guarded is None or item.call_id is None:
                continue
            match self._interrupted(guarded, item, self._session(context)):
                case Pending(request_id=request_id):
                    waiting.append(request_id)
                case Allowed():
                    state.approve(item)
                case Denied(reason=reason):
                    state.reject(item, rejection_message=reason)
        return waiting

    async def asettle(self, state: RunState[Any, Any], context: object = None) -> list[str]:
        """`settle`, in a thread."""
        return await asyncio.to_thread(self.settle, state, context)

    def guards(self, item: ToolApprovalItem) -> bool:
        """Whether an interruption is the call of a tool that this guard made.

            while any(map(guard.guards, result.interruptions)):

        The others are those of tools with the SDK's own `needs_approval`, which `settle` leaves alone. Raises as
        `settle` does.
        """
        return self._guarded_of(item) is not None

    def _guarded_of(self, item: ToolApprovalItem) -> "_Guarded | None":
        """The function that an interruption is a call of, found by the tool that the item's own agent has."""
        named = [
            self._made(tool)
            for tool in item.agent.tools
            if isinstance(tool, FunctionTool) and tool.qualified_name == item.qualified_name
        ]
        if any(each is not named[0] for each in named):  # which one the SDK runs depends on what is enabled
            raise invalid_argument(
                "agent", f"has several tools {item.qualified_name}, of which some are guarded: rename them"
            )
        return named[0] if named else None

    def _made(self, tool: FunctionTool) -> "_Guarded | None":
        """The function of a tool that this guard made, or of its copy, which may have another name."""
        asks = tool.needs_approval
        return asks.guarded if isinstance(asks, _Asks) and asks.guard is self else None

    def _session(self, context: object) -> str:
        given = self._conversation(context) if callable(self._conversation) else self._conversation
        if not isinstance(cast("object", given), str) or not given:
            raise invalid_argument("conversation", "must be a text that is not empty")
        return given

    def _interrupted(self, guarded: "_Guarded", item: ToolApprovalItem, session: str) -> Verdict:
        try:
            call, _ = guarded.read(item.arguments or "", item.call_id or "", session)
        except Exception as error:  # noqa: BLE001 - runs the validators of foreign types
            return Denied(texts.not_requested(described(error, _MOST_OF_A_REASON)))
        return self._guard.check(call)

    # --- the function and what is asked before it ----------------------------------------------------------------

    def _tool(self, function: Callable[..., Any], options: ToolOptions) -> FunctionTool:
        if not inspect.isfunction(function) and not inspect.ismethod(function):
            raise invalid_argument("function", "is not a Python function: wrap it in one")
        schema = function_schema(function, use_docstring_info=False, strict_json_schema=False)
        guarded = _Guarded(options.get("name_override") or function.__name__, function, schema)
        if not _same(self._guarded.setdefault(guarded.name, guarded).function, function):
            raise invalid_argument(
                "function", f"has the name of another tool, {guarded.name}: give a name_override"
            )
        runs = self._coroutine(guarded) if inspect.iscoroutinefunction(function) else self._plain(guarded)
        return function_tool(guarded.dressed(runs), needs_approval=_Asks(self, guarded), **options)

    async def waits(
        self, guarded: "_Guarded", context: RunContextWrapper[Any], arguments: dict[str, Any], call_id: str
    ) -> bool:
        """Whether people must decide first. What is denied goes on to the function, which says why."""
        try:
            call, _ = guarded.read(arguments, call_id, self._session(context.context))
        except Exception:  # noqa: BLE001 - the function meets the same, and answers with it
            return False
        return isinstance(await self._guard.acheck(call), Pending)

    def _given(self, guarded: "_Guarded", context: ToolContext[Any], values: _Values) -> ToolCall:
        """The call that the function runs for. Raises NotRunError where the function was given other values."""
        try:
            session = self._session(context.context)
            call, expected = guarded.read(context.tool_arguments, context.tool_call_id, session)
            # Both: 1 and True are equal, and a secret's spelling hides it.
            is_as_asked = values == expected and repr(values) == repr(expected)
        except Exception as error:  # the application's code and the validators of foreign types
            raise NotRunError(Denied(texts.unavailable(described(error, _MOST_OF_A_REASON)))) from error
        if not is_as_asked:
            raise NotRunError(
                Denied(texts.conflict("The function was given other arguments than the call has"))
            )
        return call

    def _plain(self, guarded: "_Guarded") -> Callable[..., Any]:
        def runs(context: ToolContext[Any], *args: Any, **kwargs: Any) -> Any:
            try:
                call = self._given(guarded, context, (args, kwargs))
                verdict = self._guard.check(call)
                if not isinstance(verdict, Allowed):
                    return said(verdict)
                return self._guard.run(call, verdict, guarded.bound(context, args, kwargs))
            except NotRunError as refused:
                return refused.denied.reason

        return runs

    def _coroutine(self, guarded: "_Guarded") -> Callable[..., Any]:
        async def runs(context: ToolContext[Any], *args: Any, **kwargs: Any) -> Any:
            try:
                call = self._given(guarded, context, (args, kwargs))
                verdict = await self._guard.acheck(call)
                if not isinstance(verdict, Allowed):
                    return said(verdict)
                return await self._guard.arun(call, verdict, guarded.bound(context, args, kwargs))
            except NotRunError as refused:
                return refused.denied.reason

        return runs


@dataclass(frozen=True, slots=True)
class _Guarded:
    """A function under its tool's name. `schema` reads its arguments as the SDK does."""

    name: str
    function: Callable[..., Any]
    schema: FuncSchema

    def read(self, arguments: str | dict[str, Any], call_id: str, session: str) -> tuple[ToolCall, _Values]:
        """The call, and what the function is given for it. Raises where the arguments do not fit.

        People see the arguments as the model sent them, and the defaults of those that it left out.
        """
        sent: object = arguments
        if isinstance(arguments, str):
            sent = json.loads(arguments) if arguments else {}  # as the SDK reads an empty text
        if not isinstance(sent, dict):
            raise ValueError("the arguments are not a JSON object")
        sent = cast("dict[str, Any]", sent)
        parsed = self.schema.params_pydantic_model(
            **deepcopy(sent)
        )  # a validator may change what it is given
        args, kwargs = self.schema.to_call_args(parsed)
        left_out = {
            name: spelled(value)
            for name, value in vars(parsed).items()
            if name not in parsed.__pydantic_fields_set__
        }
        call = ToolCall(tool=self.name, arguments=left_out | sent, call_id=call_id, session=session)
        return call, (tuple(args), kwargs)

    def bound(
        self, context: ToolContext[Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Callable[[], Any]:
        if self.schema.takes_context:
            return partial(self.function, context, *args, **kwargs)
        return partial(self.function, *args, **kwargs)

    def dressed(self, runs: Callable[..., Any]) -> Callable[..., Any]:
        """`runs` with the name, the documentation and the parameters of the function, the context before them."""
        hints = get_type_hints(self.function, include_extras=True)
        parameters = [
            each.replace(annotation=hints.get(name, each.annotation))
            for name, each in inspect.signature(self.function).parameters.items()
        ][1 if self.schema.takes_context else 0 :]
        context = inspect.Parameter(_CONTEXT, inspect.Parameter.POSITIONAL_ONLY, annotation=ToolContext[Any])
        wraps(self.function)(runs)
        runs.__signature__ = inspect.Signature([context, *parameters])
        annotated = [each for each in (context, *parameters) if each.annotation is not each.empty]
        runs.__annotations__ = {each.name: each.annotation for each in annotated}
        return runs


@dataclass(frozen=True, slots=True)
class _Asks:
    """The `needs_approval` of a guarded tool. A copy of the tool has the same one: so it says whose the tool is."""

    guard: ApprovalGuard
    guarded: _Guarded

    async def __call__(
        self, context: RunContextWrapper[Any], arguments: dict[str, Any], call_id: str
    ) -> bool:
        return await self.guard.waits(self.guarded, context, arguments, call_id)


def _same(one: object, other: object, compared: frozenset[tuple[int, int]] = frozenset()) -> bool:
    """Whether two functions do the same: they have one code, and the values that they close over are the same. So a
    factory that is called again makes the same tool again, unless it is called with something else.
    """
    if one is other or (id(one), id(other)) in compared:
        return True
    compared |= {(id(one), id(other))}
    if isinstance(one, MethodType) and isinstance(other, MethodType):
        return one.__self__ is other.__self__ and _same(one.__func__, other.__func__, compared)
    if isinstance(one, FunctionType) and isinstance(other, FunctionType):
        pairs = zip(one.__closure__ or (), other.__closure__ or (), strict=False)
        return one.__code__ is other.__code__ and all(
            _same(left.cell_contents, right.cell_contents, compared) for left, right in pairs
        )
    return type(one) is type(other) and isinstance(one, (str, int, float, bytes)) and one == other
