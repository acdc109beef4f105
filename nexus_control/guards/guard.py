"""The guard: it asks people about a tool's call, and lets it run once.

    guard = Guard(tools, host="my-agent", min_approvals=2)
    call = ToolCall(tool="rotate", arguments={"key": "billing"}, call_id="call_1")
    verdict = guard.check(call)
    if isinstance(verdict, Allowed):
        answer = guard.run(call, verdict, lambda: rotate(key="billing"))

* The request of a call is found again by its key, in any process, as often as the call is tried. It is asked of the
  store each time: a framework's own word that something was approved counts for nothing.
* Only the claim gives once. It is taken right before the tool runs, and every framework can resume a call twice.
* A guard that cannot reach its store denies. `check` raises nothing.
* What the tool returned is recorded as completed, its exception as failed with unknown effect. A timeout, a
  cancellation and an interruption leave the outcome unknown.
* Some hosts have the model try again under a new call id (`new_ids`). There a call belongs to the last request of the
  same conversation, tool and arguments, until that was executed and its outcome is known, withdrawn, or has expired. A
  denial holds for the conversation.
"""

import asyncio
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from getpass import getuser
from typing import Any, Literal, TypedDict, TypeVar, Unpack, cast

from pydantic_core import to_jsonable_python

from nexus_control.errors import ErrorCode, NexusControlError, invalid_argument
from nexus_control.execution.spelling import bounded, described
from nexus_control.guards import texts
from nexus_control.guards.calls import Allowed, Denied, NotRunError, Pending, ToolCall, Verdict, key_of
from nexus_control.rules.book import Call, RuleBook
from nexus_control.tool import NexusControlTools
from nexus_control.usecases.answers import StatusData
from nexus_control.values.actors import Actor
from nexus_control.values.payloads import Assurance

_log = logging.getLogger("nexus_control")
_MOST_OF_A_TEXT = 4096
_MOST_OF_A_GOAL = 200
_ENDED = ("completed", "failed", "withdrawn", "expired")
"""The states after which a host's next call of the same content, under a new id, is a new request."""
T = TypeVar("T")


class Asking(TypedDict, total=False):
    """The policy under which a guard asks: the fields of `NexusControlTools.request`."""

    template_name: str
    min_approvals: int
    approvers: list[str]
    allow_requester_approval: bool
    min_assurance: Assurance
    expires_in: str | timedelta


@dataclass(frozen=True, slots=True)
class Claimed:
    """The one right to run a tool. `execution_id` names it for the record."""

    request_id: str
    execution_id: str


def default_actor() -> Actor:
    """Who asks where nobody is named: system:<login>@<host>."""
    try:
        login = getuser()
    except (KeyError, OSError):  # a user without an entry and without variables
        login = str(os.getuid())
    return Actor("system", f"{login}@{socket.gethostname()}")


class Guard:
    """Stands in front of tools that somebody else runs.

        guard = Guard(tools, host="my-agent", template_name="two-people")

    `tools` are a store's, without a plan checker. `host` names the framework in what is recorded. The policy is given
    by keyword; without one, one approval by another person. With `rules` a rule's template is the policy, and what no
    rule names takes the book's default. `actor` asks; by default system:<login>@<host>.
    """

    def __init__(
        self,
        tools: NexusControlTools,
        *,
        host: str,
        actor: Actor | None = None,
        new_ids: bool = False,
        rules: RuleBook | None = None,
        **asking: Unpack[Asking],
    ) -> None:
        if rules is not None and "template_name" in asking:
            raise invalid_argument("template_name", "comes from the rules: give either")
        self._tools = tools
        self._host = host
        self._actor = actor or default_actor()
        self._new_ids = new_ids
        self._rules = rules
        self._asking = asking

    # --- before the tool runs ------------------------------------------------------------------------------------

    def check(self, call: ToolCall) -> Verdict:
        """Whether the call may run now; asks people where nobody was asked yet. Raises nothing."""
        try:
            return self._judged(call)
        except NexusControlError as fault:
            return Denied(_refused(fault))
        except Exception as error:  # noqa: BLE001 - whatever fails, a guard denies
            _log.exception("a guard could not check a call")
            return Denied(texts.unavailable(described(error, _MOST_OF_A_TEXT)))

    def _judged(self, call: ToolCall) -> Verdict:
        asking = self._asking
        if self._rules is not None:
            judgement = self._rules.judge(self._as_ruled(call))
            if judgement.verdict == "deny":
                return Denied(texts.denied_by_rule(f"the rules deny {call.tool} ({judgement.decided_by})"))
            if judgement.template is None:
                return Allowed(None)
            asking = asking.copy()
            asking["template_name"] = judgement.template
        return self._verdict(self._requested(call, asking))

    def _as_ruled(self, call: ToolCall) -> Call:
        arguments: Mapping[str, Any] = {} if isinstance(call.arguments, str) else call.arguments
        return Call(tool=call.tool, arguments=arguments, mode="apply", requester=str(self._actor))

    def _requested(self, call: ToolCall, asking: Asking) -> str:
        """The request of this call, which is made unless it is there. Raises what `request` refuses."""
        if not self._new_ids:
            return self._ask(call, asking, key_of(self._host, call.session, call.call_id))
        number = 0
        while True:
            key = key_of(self._host, call.session, call.content_digest(), str(number))
            request_id = self._ask(call, asking, key)
            status = self._tools.status(request_id, include_events=True).data
            if status["state"] not in _ENDED or self._has_run(status, call):
                return request_id
            number += 1

    def _has_run(self, status: StatusData, call: ToolCall) -> bool:
        """Whether this very call has executed the request."""
        executed = (each for each in status.get("events", ()) if each["event_type"] == "EXECUTION_REQUESTED")
        return any(each["actor"]["id"] == self._runner(call).id for each in executed)

    def _runner(self, call: ToolCall) -> Actor:
        return Actor("system", bounded(f"{self._host}/{call.call_id}", 256))

    def _ask(self, call: ToolCall, asking: Asking, key: str) -> str:
        first_line = f"{call.tool}: {' '.join(call.plan().split())}"
        # With new ids, the id is that of the call which came first: it must not make another content of the same key.
        metadata = {"host": self._host, "tool": call.tool, "session": call.session}
        if not self._new_ids:
            metadata["call_id"] = call.call_id
        asked = self._tools.request(
            bounded(first_line, _MOST_OF_A_GOAL),
            self._actor,
            mode="apply",
            plan=call.plan(),
            adapter_id=call.adapter_id,
            idempotency_key=key,
            metadata={name: bounded(text, 512) for name, text in metadata.items() if text},
            **asking,
        )
        return asked.data["request_id"]

    def _verdict(self, request_id: str) -> Verdict:
        status = self._tools.status(request_id).data
        if status["state"] == "executing" and self._tools.recover(request_id).success:  # its owner has gone
            status = self._tools.status(request_id).data
        if status["state"] == "approved" and not status["blocking_reasons"]:
            return Allowed(request_id)
        if status["state"] == "pending_approval":
            return Pending(request_id, texts.pending(request_id))
        text = texts.of_state(status)
        if status["state"] == "completed":
            answer = self._tools.result(request_id)
            kept: Any = answer.data.get("answer") if answer.success else None
            if isinstance(kept, dict):
                text = texts.with_output(text, cast("dict[str, Any]", kept).get("output"))
        return Denied(text, request_id)

    # --- around the tool -----------------------------------------------------------------------------------------

    def claim(self, call: ToolCall, request_id: str, *, owner_pid: int | None = None) -> Claimed | Denied:
        """Take the one right to run the call. `owner_pid` is the process that lives until the record; see
        `NexusControlTools.claim`. Raises nothing.
        """
        claimed = self._tools.claim(request_id, call.adapter_id, self._runner(call), owner_pid=owner_pid)
        if claimed.success:
            return Claimed(request_id, claimed.data["execution_id"])
        verdict = self._tools.status(request_id)
        spent = (ErrorCode.EXECUTING, ErrorCode.POLICY_NOT_SATISFIED)
        if claimed.error_code in spent and verdict.success:
            return Denied(texts.of_state(verdict.data), request_id)
        return Denied(texts.unavailable(claimed.error or ""), request_id)

    def record(
        self,
        execution_id: str,
        outcome: Literal["completed", "failed", "unknown"],
        output: object = None,
        error: str | None = None,
    ) -> bool:
        """Record what became of a claimed call, and say whether that succeeded. Where it did not, the outcome of the
        execution will be unknown, and the tool is not run again.
        """
        text = bounded(error, _MOST_OF_A_TEXT) if error and error.strip() else None
        result = self._tools.record(execution_id, outcome, plain(output), text)
        if not result.success:
            _log.error("the outcome %s of %s was not recorded: %s", outcome, execution_id, result.error)
        return result.success

    def run(
        self,
        call: ToolCall,
        allowed: Allowed,
        tool: Callable[[], T],
        *,
        failure_in: Callable[[T], str | None] | None = None,
        kept_of: Callable[[T], object] | None = None,
    ) -> T:
        """Claim, run the tool, record. Returns what the tool returns, and raises what it raises.

        `failure_in` finds a failure that the framework has turned into a returned value. `kept_of` takes from that
        value what is recorded as the tool's output; by default all of it. Raises NotRunError where the claim is
        refused.
        """
        if allowed.request_id is None:
            return tool()
        claimed = self.claim(call, allowed.request_id)
        if isinstance(claimed, Denied):
            raise NotRunError(claimed)
        try:
            returned = tool()
            outcome = _outcome(returned, failure_in, kept_of)
        except BaseException as error:
            self.record(claimed.execution_id, *_outcome_of(error))
            raise
        self.record(claimed.execution_id, *outcome)
        return returned

    # --- the same for coroutines ---------------------------------------------------------------------------------

    async def acheck(self, call: ToolCall) -> Verdict:
        """`check`, in a thread."""
        return await asyncio.to_thread(self.check, call)

    async def arun(
        self,
        call: ToolCall,
        allowed: Allowed,
        tool: Callable[[], Awaitable[T]],
        *,
        failure_in: Callable[[T], str | None] | None = None,
        kept_of: Callable[[T], object] | None = None,
    ) -> T:
        """`run` for a coroutine. The store is asked in threads, and the tool runs where it is awaited: its context
        variables are the caller's. A cancellation leaves the outcome unknown.
        """
        if allowed.request_id is None:
            return await tool()
        claiming = asyncio.ensure_future(asyncio.to_thread(self.claim, call, allowed.request_id))
        try:
            claimed = await asyncio.shield(claiming)
        except asyncio.CancelledError:
            # The claim goes on in its thread. Nothing was run for it.
            if isinstance(given := await claiming, Claimed):
                await asyncio.to_thread(self._give_back, given)
            raise
        if isinstance(claimed, Denied):
            raise NotRunError(claimed)
        try:
            returned = await tool()
            outcome = _outcome(returned, failure_in, kept_of)
        except BaseException as error:
            # In this thread: a cancelled task must not wait for another one.
            self.record(claimed.execution_id, *_outcome_of(error))
            raise
        await asyncio.shield(asyncio.to_thread(self.record, claimed.execution_id, *outcome))
        return returned

    def _give_back(self, claimed: Claimed) -> None:
        """Record that a call which was cancelled before its tool ran has no effect."""
        self._tools.record(claimed.execution_id, "failed", None, "cancelled before the tool ran", "none")


def plain(value: object) -> object:
    """A value as JSON, for the record: models, dates and sets are spelled, and what cannot be is its `repr`."""
    try:
        return to_jsonable_python(value, fallback=repr)
    except Exception as error:  # noqa: BLE001 - runs the __repr__ of foreign objects
        return described(error, _MOST_OF_A_TEXT)


_Outcome = tuple[Literal["completed", "failed", "unknown"], object, str | None]


def _outcome(
    returned: T, failure_in: Callable[[T], str | None] | None, kept_of: Callable[[T], object] | None
) -> _Outcome:
    failure = failure_in(returned) if failure_in is not None else None
    kept = kept_of(returned) if kept_of is not None else returned
    return ("completed" if failure is None else "failed", kept, failure)


def _outcome_of(error: BaseException) -> _Outcome:
    """What an exception says of the effect: an ordinary one that the tool failed, any other one nothing."""
    is_failure = isinstance(error, Exception) and not isinstance(error, TimeoutError)
    return ("failed" if is_failure else "unknown", None, described(error, _MOST_OF_A_TEXT))


def _refused(fault: NexusControlError) -> str:
    """Why a request was refused, for the model."""
    match fault.code:
        case ErrorCode.IDEMPOTENCY_CONFLICT:
            return texts.conflict(fault.message)
        case ErrorCode.RULE_UNDECIDED:
            return texts.denied_by_rule(fault.message)
        case ErrorCode.INVALID_ARGUMENT | ErrorCode.TEMPLATE_NOT_FOUND | ErrorCode.TEMPLATE_WEAKENED:
            return texts.not_requested(fault.message)
        case _:
            return texts.unavailable(str(fault))
