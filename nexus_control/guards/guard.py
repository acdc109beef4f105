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
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, Literal, TypedDict, TypeVar, Unpack, cast

from nexus_control.errors import ErrorCode, NexusControlError, invalid_argument
from nexus_control.execution.spelling import bounded, described, encodable
from nexus_control.guards import once, texts
from nexus_control.guards.calls import (
    MOST_OF_A_GOAL,
    Allowed,
    Denied,
    NotRunError,
    Pending,
    ToolCall,
    Verdict,
    default_actor,
    key_of,
)
from nexus_control.guards.once import MOST_OF_A_TEXT, plain, recorded
from nexus_control.integrity import sha256_hex
from nexus_control.rules.book import Call, RuleBook
from nexus_control.tool import NexusControlTools
from nexus_control.usecases.answers import StatusData
from nexus_control.usecases.requesting import made_with
from nexus_control.values.actors import Actor, require_new_actor
from nexus_control.values.payloads import Assurance, Effect

_log = logging.getLogger("nexus_control")
_ENDED = ("completed", "failed", "withdrawn", "expired")
"""The states after which a host's next call of the same content, under a new id, is a new request."""
_OF_THE_CALL = frozenset({"adapter_id", "goal", "metadata", "plan"})
"""The fields of a request that come from the call; the others come from the policy."""
T = TypeVar("T")


class Asking(TypedDict, total=False):
    """The policy under which a guard asks: the fields of `NexusControlTools.request`."""

    template_name: str
    min_approvals: int
    approvers: list[str]
    allow_requester_approval: bool
    min_assurance: Assurance
    required_from: dict[str, int]
    expires_in: str | timedelta


@dataclass(frozen=True, slots=True)
class Claimed:
    """The one right to run a tool. `execution_id` names it for the record."""

    request_id: str
    execution_id: str


class Guard:
    """Stands in front of tools that somebody else runs.

        guard = Guard(tools, host="my-agent", template_name="two-people")

    `tools` are a store's, without a plan checker. `host` names the framework in what is recorded. The policy is given
    by keyword; without one, one approval. With `rules` a rule's template is the policy, and what no rule names takes
    the book's default. Rules of `tools` hold too, and let no call run unasked. `actor` asks; by default
    system:<login>@<host>. `about` is kept with each request that is made here; a request that is found again keeps what
    it was made with.
    """

    def __init__(
        self,
        tools: NexusControlTools,
        *,
        host: str,
        actor: Actor | None = None,
        new_ids: bool = False,
        rules: RuleBook | None = None,
        about: Mapping[str, str] | None = None,
        **asking: Unpack[Asking],
    ) -> None:
        if not isinstance(cast("object", tools), NexusControlTools):
            raise invalid_argument("tools", "must be NexusControlTools of the store")
        if rules is not None and not isinstance(cast("object", rules), RuleBook):
            raise invalid_argument("rules", "must be a rule book, and not the file that holds one")
        if unknown := sorted(asking.keys() - Asking.__annotations__.keys()):
            raise invalid_argument(unknown[0], f"is not one of {', '.join(Asking.__annotations__)}")
        if rules is not None and "template_name" in asking:
            raise invalid_argument("template_name", "comes from the rules: give either")
        # The digest that is recorded is that of the rules of the tools, which the request is judged by; without any,
        # that of the guard's own.
        self._tools = tools if rules is None or tools.rules else NexusControlTools(tools.store, rules=rules)
        self._host = host
        self._actor = actor or default_actor()
        self._new_ids = new_ids
        self._rules = rules
        self._about = about or {}
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
            return Denied(texts.unavailable(described(error, MOST_OF_A_TEXT)))

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

    def find(self, call: ToolCall) -> str | None:
        """The request that was made under the id of this call, whatever its content; None if nobody asked for it.
        Raises what a store raises that is away.
        """
        return made_with(self._tools.store, self._actor, self._key(call))

    def claimed_by(self, call: ToolCall) -> Claimed | None:
        """What was claimed for the id of this call and is not recorded yet, in whatever process; None if nothing is.
        Raises what a store raises that is away.
        """
        after: str | None = None
        while True:
            page = self._tools.list_requests(state="executing", after=after).data
            of_tool = (each for each in page["requests"] if each["adapter_id"] == call.adapter_id)
            for each in of_tool:
                status = self._tools.status(each["request_id"], include_events=True).data
                if status["state"] == "executing" and self._runners(status)[-1] == self._runner(call).id:
                    return Claimed(status["request_id"], status["executions"][-1]["execution_id"])
            after = page["cursor"]
            if after is None:
                return None

    def _key(self, call: ToolCall) -> str:
        return key_of(self._host, call.session, call.call_id)

    def _requested(self, call: ToolCall, asking: Asking) -> str:
        """The request of this call, which is made unless it is there. Raises what `request` refuses."""
        if not self._new_ids:
            return self._ask(call, asking, self._key(call))
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
        return self._runner(call).id in self._runners(status)

    def _runners(self, status: StatusData) -> list[str]:
        """Who executed a request, in order. `status` has its events."""
        events = status.get("events", ())
        return [each["actor"]["id"] for each in events if each["event_type"] == "EXECUTION_REQUESTED"]

    def _runner(self, call: ToolCall) -> Actor:
        """Who runs the call: the host, with the id of the call, or the id's digest where no actor can be called so."""
        name = encodable(f"{self._host}/{call.call_id}")
        try:
            return require_new_actor(Actor("system", name))
        except NexusControlError:
            return Actor("system", f"{self._host}/{sha256_hex(name)}")

    def _ask(self, call: ToolCall, asking: Asking, key: str) -> str:
        plan = call.plan()
        # With new ids, the id is that of the call which came first: it must not make another content of the same key.
        metadata = {"host": self._host, "tool": call.tool, "session": call.session, **self._about}
        if not self._new_ids:
            metadata["call_id"] = call.call_id
        metadata = self._kept(key) or {name: bounded(text, 512) for name, text in metadata.items() if text}
        asked = self._tools.request(
            bounded(call.shown(), MOST_OF_A_GOAL),
            self._actor,
            mode="apply",
            plan=plan,
            adapter_id=call.adapter_id,
            idempotency_key=key,
            metadata=metadata,
            **asking,
        )
        return asked.data["request_id"]

    def _kept(self, key: str) -> dict[str, str] | None:
        """The metadata of a request that was made under this key with something `about` it."""
        made = made_with(self._tools.store, self._actor, key) if self._about else None
        return None if made is None else self._tools.status(made).data.get("metadata")

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
        asked = self._tools.status(request_id)
        if asked.success and asked.data["plan"] != call.plan():  # a request never changes
            return Denied(texts.conflict(f"Request {request_id} is of another call"), request_id)
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
        effect: Effect | None = None,
    ) -> bool:
        """Record what became of a claimed call, and say whether that succeeded. Where it did not, the outcome of the
        execution will be unknown, and the tool is not run again.
        """
        return recorded(self._tools, execution_id, outcome, plain(output), error, effect)

    def give_back(self, claimed: Claimed, why: str) -> bool:
        """Record that a claimed call was not run, and so has no effect; say whether that succeeded."""
        return self._tools.record(claimed.execution_id, "failed", None, why, "none").success

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
        claim = partial(self._execution_of, call, allowed.request_id)
        return once.run(claim, self.record, tool, failure_in=failure_in, kept_of=kept_of)

    def _execution_of(self, call: ToolCall, request_id: str) -> str:
        claimed = self.claim(call, request_id)
        if isinstance(claimed, Denied):
            raise NotRunError(claimed)
        return claimed.execution_id

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
        claim = partial(self._execution_of, call, allowed.request_id)
        return await once.arun(claim, self.record, tool, failure_in=failure_in, kept_of=kept_of)


def _refused(fault: NexusControlError) -> str:
    """Why a request was refused, for the model."""
    match fault.code:
        case ErrorCode.IDEMPOTENCY_CONFLICT if _OF_THE_CALL.isdisjoint(
            cast("list[str]", fault.details["fields"])
        ):
            return texts.another_policy(fault.message)
        case ErrorCode.IDEMPOTENCY_CONFLICT:
            return texts.conflict(fault.message)
        case ErrorCode.RULE_UNDECIDED | ErrorCode.DENIED_BY_RULE:
            return texts.denied_by_rule(fault.message)
        case ErrorCode.INVALID_ARGUMENT | ErrorCode.TEMPLATE_NOT_FOUND | ErrorCode.TEMPLATE_WEAKENED:
            return texts.not_requested(fault.message)
        case _:
            return texts.unavailable(str(fault))
