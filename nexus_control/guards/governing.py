"""`governed`: a function asks people before it runs, and runs once.

    @governed(tools, min_approvals=2)
    def rotate(service: str, keep: int = 1) -> Receipt: ...

    proposal = rotate.propose("billing")    # people see rotate, service "billing" and keep 1
    if proposal.wait(timeout=3600):         # they have agreed
        receipt = proposal.execute()        # a Receipt

* Arguments that do not fit the signature or the annotations raise before anything is requested.
* Any process that has the function can execute: `rotate.proposal(request_id)`, or `tools.proposal(request_id)`. It
  runs with the arguments and defaults that people saw.
* A governed function cannot be called. Who also needs the plain function gives it to `governed` under another name:
  `asking_rotate = governed(tools)(rotate)`.
"""

import asyncio
import inspect
import math
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, NoReturn, ParamSpec, Protocol, TypeVar, cast, overload

from nexus_control.errors import ErrorCode, NexusControlError, invalid_argument
from nexus_control.guards import once
from nexus_control.guards.calls import default_actor
from nexus_control.guards.functions import Function, require_governable
from nexus_control.guards.guard import Asking
from nexus_control.tool import NexusControlTools
from nexus_control.tool.proposing import Proposed
from nexus_control.usecases.following import FIRST_PAUSE, LONGEST_PAUSE
from nexus_control.values.actors import Actor
from nexus_control.values.payloads import Assurance

P = ParamSpec("P")
R = TypeVar("R")
ProposalT = TypeVar("ProposalT", bound=Proposed)


class _Requested(Generic[R]):
    """One request to run a governed function."""

    def __init__(self, function: Function, request_id: str, basis: str | None) -> None:
        self._function = function
        self._request_id = request_id
        self._basis = basis

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._request_id} of {self._function.name}>"

    @property
    def request_id(self) -> str:
        """The id that people decide on, and that other processes execute by."""
        return self._request_id

    def result(self) -> R:
        """What the function gave back when it was run, in any process, made again by its return annotation.

            proposal.result()           # the Receipt, also days later

        Raises INVALID_STATE where nothing was run, or the value was not kept or does not fit the annotation;
        ROUTER_ERROR where the function failed; EXECUTING; OUTCOME_UNKNOWN.
        """
        return self._function.result(self._request_id)

    def _is_agreed(self) -> bool:
        return self._function.is_agreed(self._request_id)


class Proposal(_Requested[R]):
    """A request to run a governed function.

    proposal = rotate.propose("billing")
    proposal.request_id         # people decide with: nexus-control approve REQUEST_ID
    """

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until people have decided: True once they agreed, False when `timeout` seconds are over before that.

            if proposal.wait(timeout=3600):
                receipt = proposal.execute()

        Without a timeout it waits as long as it takes. Raises POLICY_NOT_SATISFIED, with the reason, where the request
        was denied, withdrawn, or has expired.
        """
        for pause in _pauses(timeout):
            if self._is_agreed():
                return True
            time.sleep(pause)
        return self._is_agreed()

    def execute(self) -> R:
        """Run the function with the approved arguments, once, and return what it returns.

            receipt = proposal.execute()

        An exception of the function is recorded as failed, and raised again; after a timeout, a cancellation or an
        interruption the outcome is unknown. Nothing was run when it raises POLICY_NOT_SATISFIED (a pending request
        names the command with which a person decides), ALREADY_EXECUTED, EXECUTING, OUTCOME_UNKNOWN, BASIS_CHANGED
        for a request that was replaced, PLAN_INVALID for a function whose parameters have changed, or a code that
        begins with STORE_.
        """
        function, approved = self._function, self._function.approved(self._request_id, self._basis)
        return once.run(partial(function.claim, approved), function.record, partial(function.call, approved))


class AsyncProposal(_Requested[R]):
    """A request to run a governed async function: `wait` and `execute` are awaited, `result` is not."""

    async def wait(self, timeout: float | None = None) -> bool:
        """`Proposal.wait`, without holding up the event loop."""
        for pause in _pauses(timeout):
            if await asyncio.to_thread(self._is_agreed):
                return True
            await asyncio.sleep(pause)
        return await asyncio.to_thread(self._is_agreed)

    async def execute(self) -> R:
        """`Proposal.execute`. The function runs in the task that awaits this, with its context variables. After a
        cancellation the outcome is unknown.
        """
        function = self._function
        approved = await asyncio.to_thread(function.approved, self._request_id, self._basis)
        claim, call = partial(function.claim, approved), partial(function.acall, approved)
        return await once.arun(claim, function.record, call)


class Governed(Generic[P, ProposalT]):
    """A function that asks people before it runs; `governed` makes it."""

    def __init__(
        self,
        function: Function,
        proposed_as: Callable[[Function, str, str | None], ProposalT],
        key: str | None = None,
    ) -> None:
        self._function = function
        self._proposed_as = proposed_as
        self._key = key

    def __repr__(self) -> str:
        return f"<governed {self._function.name}>"

    @property
    def defined_as(self) -> str:
        """The function's own module and name."""
        return self._function.defined_as

    def propose(self, *args: P.args, **kwargs: P.kwargs) -> ProposalT:
        """Ask people whether the function may run with these arguments. Each call is a new request.

            proposal = rotate.propose("billing", keep=2)

        Raises INVALID_ARGUMENT for arguments that do not fit the signature or the annotations, or that cannot be
        written as JSON and read back; and what `NexusControlTools.request` refuses. Nothing is requested then.
        """
        return self._proposed_as(self._function, *self._function.ask(args, kwargs, self._key))

    def proposal(self, request_id: str) -> ProposalT:
        """The proposal that was made before, also by another process.

            rotate.proposal(request_id).execute()

        Raises DECISION_NOT_FOUND, INVALID_ARGUMENT for a request of another function, PLAN_INVALID where this function
        cannot be called with its arguments.
        """
        approved = self._function.approved(request_id)
        return self._proposed_as(self._function, approved.request_id, approved.basis)

    def keyed(self, *, idempotency_key: str) -> "Governed[P, ProposalT]":
        """The same function, whose `propose` makes one request however often it is called.

            rotate.keyed(idempotency_key="billing, November").propose("billing")

        The same arguments give the request that is there; others raise IDEMPOTENCY_CONFLICT.
        """
        return Governed(self._function, self._proposed_as, idempotency_key)

    if not TYPE_CHECKING:  # a type checker refuses the call, because there is no such method

        def __call__(self, *_: object, **__: object) -> NoReturn:
            raise NexusControlError(
                ErrorCode.POLICY_NOT_SATISFIED,
                f"{self._function.name} is governed: it runs only after an approval",
                advice="Call propose with these arguments, and execute on the proposal when people have agreed.",
            )


class Governing(Protocol):
    """What `governed` gives: it makes a function a governed one."""

    @overload
    def __call__(  # pyright: ignore[reportOverlappingOverload] - of both that fit an async function, the first counts
        self, function: Callable[P, Coroutine[Any, Any, R]], /
    ) -> Governed[P, AsyncProposal[R]]: ...

    @overload
    def __call__(self, function: Callable[P, R], /) -> Governed[P, Proposal[R]]: ...


def governed(
    tools: NexusControlTools,
    *,
    name: str | None = None,
    template: str | None = None,
    actor: Actor | None = None,
    min_approvals: int | None = None,
    approvers: Sequence[str] | None = None,
    allow_requester_approval: bool | None = None,
    min_assurance: Assurance | None = None,
    required_from: Mapping[str, int] | None = None,
    expires_in: str | timedelta | None = None,
) -> Governing:
    """Decorate a function, sync or async, so that it runs only when people have agreed.

        @governed(tools, min_approvals=2, expires_in="4h")
        def rotate(service: str) -> str: ...

    The policy is that of `template`, and of the fields that are given; without any, that of the tools' rules, or one
    approval.
    `actor` asks and runs; by default system:<login>@<host>. `name` is the function's, by default its module and name.

    Arguments are written by name, as JSON, for the people who decide, and are read back by the annotations:
    dataclasses, pydantic models, dates, enums, Literal and what else pydantic reads. `*args` are a list, `**kwargs` an
    object. Raises INVALID_ARGUMENT for a method, a generator, a function that is defined in another one and was given
    no name, and a name that another function of these tools has.
    """
    fields = {
        "template_name": template,
        "min_approvals": min_approvals,
        "approvers": approvers,
        "allow_requester_approval": allow_requester_approval,
        "min_assurance": min_assurance,
        "required_from": required_from,
        "expires_in": expires_in,
    }
    asking = cast("Asking", {field: value for field, value in fields.items() if value is not None})

    def govern(function: Callable[..., Any]) -> Governed[..., Any]:
        require_governable(function, name)
        own = NexusControlTools(
            tools.store, rules=tools.rules
        )  # a plan checker knows adapters, and no functions
        its = Function(own, function, name=name, actor=actor or default_actor(), asking=asking)
        proposed_as = AsyncProposal[Any] if inspect.iscoroutinefunction(function) else Proposal[Any]
        known = tools.governed_functions.get(its.adapter_id)
        if known is not None and known.defined_as != its.defined_as:
            raise invalid_argument("name", f"is that of {known.defined_as} already")
        made = Governed[..., Any](its, proposed_as)
        tools.governed_functions[its.adapter_id] = made
        return made

    return govern


def _pauses(timeout: float | None) -> Iterator[float]:
    """How long to wait between two looks, until the time is over."""
    left, step = math.inf if timeout is None else timeout, FIRST_PAUSE
    while left > 0:
        yield min(step, left)
        left, step = left - step, min(step * 2, LONGEST_PAUSE)
