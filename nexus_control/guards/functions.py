"""A governed function, its requests, and one run of such a request.

    function:deploy.rotate                                      the adapter of its requests
    {"arguments": {"service": "billing"}, "tool": "deploy.rotate"}    their plan

* The name is that by which other processes import the function. Of a program that was started as a file it is the
  file's, so that `python deploy.py` and `import deploy` mean the same function.
* What runs is read from the store at each run: the plan is of this function, and its basis is that of the proposal.
* Only a request for mode apply is run: a rehearsal would really call the function.
"""

import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from types import FunctionType
from typing import Any, cast

from nexus_control.advice import after_failure
from nexus_control.canonical_json import parse_json
from nexus_control.errors import ErrorCode, NexusControlError, invalid_argument
from nexus_control.execution.python_adapter import is_left_to_others
from nexus_control.execution.spelling import bounded, shortened
from nexus_control.guards import once
from nexus_control.guards.calls import MOST_OF_A_GOAL, ToolCall
from nexus_control.guards.guard import Asking
from nexus_control.guards.signatures import Signature
from nexus_control.tool import NexusControlTools
from nexus_control.tool.proposing import FUNCTION
from nexus_control.usecases.answers import StatusData
from nexus_control.values.actors import Actor
from nexus_control.values.payloads import Effect

_OPEN = ("draft", "pending_approval")
_AGREED = ("approved", "executing", "completed", "failed", "outcome_unknown")
_LACKS_APPROVALS = {"APPROVAL_EXPIRED", "MISSING_APPROVALS", "IMPORTED_APPROVALS"}


@dataclass(frozen=True, slots=True)
class Approved:
    """A stored request, and what the function is called with for it."""

    request_id: str
    basis: str | None
    call: inspect.BoundArguments


class Function:
    """A function that runs only for an approved request. `tools` are a store's, without a plan checker."""

    def __init__(
        self,
        tools: NexusControlTools,
        function: Callable[..., Any],
        *,
        name: str | None,
        actor: Actor,
        asking: Asking,
    ) -> None:
        self.defined_as = f"{_module_of(function)}.{function.__qualname__}"
        self.name = self.defined_as if name is None else name
        self.adapter_id = f"{FUNCTION}{shortened(self.name)}"
        self._tools = tools
        self._function = function
        self._signature = Signature(function)
        self._actor = actor
        self._asking = asking

    # --- requests ----------------------------------------------------------------------------------------------------

    def ask(self, args: tuple[object, ...], kwargs: Mapping[str, object], key: str | None) -> tuple[str, str]:
        """Make a request; its id and its basis. Raises INVALID_ARGUMENT and what `request` refuses."""
        arguments = self._signature.written(args, kwargs)
        call = ToolCall(tool=self.name, arguments=arguments, call_id="")
        plan = call.plan()
        self._call_in(plan)
        asked = self._tools.request(
            bounded(call.shown(arguments), MOST_OF_A_GOAL),
            self._actor,
            mode="apply",
            plan=plan,
            adapter_id=self.adapter_id,
            idempotency_key=key,
            **self._asking,
        ).data
        return asked["request_id"], asked["basis"]

    def approved(self, request_id: str, basis: str | None = None) -> Approved:
        """The request as it is stored, whatever its state. Raises DECISION_NOT_FOUND, INVALID_ARGUMENT for a request of
        another function, BASIS_CHANGED, PLAN_INVALID.
        """
        status = self._status(request_id)
        if basis is not None and status["basis"] != basis:
            raise _changed(request_id)
        return Approved(request_id, status["basis"], self._call_in(status["plan"]))

    def is_agreed(self, request_id: str) -> bool:
        """Whether people have agreed; False while they decide. Raises POLICY_NOT_SATISFIED where they never will."""
        status = self._status(request_id)
        if status["state"] in _OPEN:
            return False
        if status["state"] not in _AGREED:
            raise self._refused(
                request_id, status["blocking_reasons"], "Propose it again if it is still wanted."
            )
        return True

    def _status(self, request_id: str) -> StatusData:
        status = self._tools.status(request_id).data
        if status["adapter_id"] != self.adapter_id:
            whose = status["adapter_id"] or "no adapter"
            raise invalid_argument("request_id", f"names a request of {whose}, not of {self.adapter_id}")
        return status

    def _call_in(self, plan: str | None) -> inspect.BoundArguments:
        try:
            content = parse_json(plan or "null")
        except NexusControlError as fault:
            raise self._other_plan(fault.message) from None
        if not isinstance(content, dict):
            raise self._other_plan("it must be a JSON object")
        fields = cast("dict[str, object]", content)
        arguments = fields.get("arguments")
        if fields.keys() != {"tool", "arguments"} or not isinstance(arguments, dict):
            raise self._other_plan("it must have a tool and arguments by name")
        if fields["tool"] != self.name:
            raise self._other_plan("it names another tool")
        return self._signature.bound(cast("dict[str, object]", arguments))

    def _other_plan(self, why: str) -> NexusControlError:
        return NexusControlError(ErrorCode.PLAN_INVALID, f"The plan is not a call of {self.name}: {why}")

    # --- one run -----------------------------------------------------------------------------------------------------

    def claim(self, approved: Approved) -> str:
        """Take the one right to run it, and answer the execution's id. Raises what refuses it."""
        request_id = approved.request_id
        claimed = self._tools.claim(request_id, self.adapter_id, self._actor, dry_run=False)
        if not claimed.success:
            if claimed.error_code == ErrorCode.EXECUTING and self._was_abandoned(request_id):
                raise _unknown(request_id)
            reasons = claimed.details.get("reasons")
            if claimed.error_code == ErrorCode.POLICY_NOT_SATISFIED and reasons:
                raise self._refused(request_id, reasons, claimed.next)
            # Any other refusal is raised as it is, by reading its data.
        execution_id = claimed.data["execution_id"]
        try:
            if self._tools.status(request_id).data["basis"] != approved.basis:
                raise _changed(request_id)
        except BaseException as error:
            self.record(execution_id, "failed", None, f"it was not run: {type(error).__name__}", "none")
            raise
        return execution_id

    def call(self, approved: Approved) -> Any:
        """Call the function, without any check."""
        return _finished(self._function(*approved.call.args, **approved.call.kwargs))

    async def acall(self, approved: Approved) -> Any:
        """Call the async function, without any check."""
        return _finished(await self._function(*approved.call.args, **approved.call.kwargs))

    def record(
        self,
        execution_id: str,
        outcome: once.Outcome,
        output: object = None,
        error: str | None = None,
        effect: Effect | None = None,
    ) -> bool:
        """Record an outcome, and say whether that succeeded. The value is spelled by the return annotation."""
        try:
            spelled = self._signature.returned_as_json(output)
        except Exception:  # noqa: BLE001 - runs the code of foreign types
            spelled = once.plain(output)
        return once.recorded(self._tools, execution_id, outcome, spelled, error, effect)

    def result(self, request_id: str) -> Any:
        """The value that was recorded. Raises INVALID_STATE, EXECUTING, OUTCOME_UNKNOWN, ROUTER_ERROR of a failure."""
        status = self._status(request_id)
        state, last = status["state"], status["executions"][-1] if status["executions"] else None
        if state == "executing" and not self._was_abandoned(request_id):
            raise NexusControlError(ErrorCode.EXECUTING, f"Request {request_id} is being executed")
        if state in ("executing", "outcome_unknown"):
            raise _unknown(request_id)
        if state == "failed":
            said, effect = (last["error_message"], last["effect"]) if last else (None, None)
            message = f"{self.name} failed: {said} (effect: {effect})"
            raise NexusControlError(
                ErrorCode.ROUTER_ERROR,
                message,
                {"request_id": request_id},
                after_failure(effect or "unknown"),
            )
        kept = self._tools.result(request_id).data  # INVALID_STATE where nothing was executed
        answer = kept.get("answer")
        if status.get("reconciled") or not isinstance(answer, dict):
            raise NexusControlError(
                ErrorCode.INVALID_STATE,
                f"The value of request {request_id} was not kept: it was too long, or a person settled the run",
                {"request_id": request_id},
                "Look at the status to see what is known of it.",
            )
        return self._signature.returned(cast("dict[str, object]", answer).get("output"))

    def _refused(self, request_id: str, reasons: Any, advice: str | None) -> NexusControlError:
        """Why a request is not run, by the reasons that a claim gives or the status has."""
        details: dict[str, object] = {"request_id": request_id, "reasons": reasons}
        codes = {each["code"] for each in reasons}
        said = "; ".join(map(_said, reasons))
        if codes & {"ALREADY_EXECUTED", "EXECUTION_FAILED"}:
            message = f"Request {request_id} was run before: {said}"
            failed = advice if "EXECUTION_FAILED" in codes else None
            return NexusControlError(ErrorCode.ALREADY_EXECUTED, message, details, failed)
        if "OUTCOME_UNKNOWN" in codes:
            return _unknown(request_id)
        if codes <= _LACKS_APPROVALS:
            details["command"] = f"nexus-control approve {request_id} --db {quote(self._tools.store.place)}"
            return NexusControlError(
                ErrorCode.POLICY_NOT_SATISFIED,
                f"Request {request_id} waits for approval: {said}. A person decides with: {details['command']}",
                details,
                "Wait until people have decided, then call execute again.",
            )
        return NexusControlError(
            ErrorCode.POLICY_NOT_SATISFIED, f"Request {request_id} is not run: {said}", details, advice
        )

    def _was_abandoned(self, request_id: str) -> bool:
        """Whether the process that ran it has ended without a record; its outcome is unknown then."""
        return self._tools.recover(request_id).success


# --- which functions ---------------------------------------------------------------------------------------------


def require_governable(function: object, name: str | None) -> None:
    """Raises INVALID_ARGUMENT for what no other process could run alike."""
    if not isinstance(function, FunctionType):
        raise invalid_argument("function", "must be made with def: not a class, a method or another object")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise invalid_argument(
            "function", f"{function.__qualname__} is a generator: its caller would run its code"
        )
    if next(iter(inspect.signature(function).parameters), None) in ("self", "cls"):
        why = (
            "is a method, whose object people cannot be shown: govern a function, or put @staticmethod above"
        )
        raise invalid_argument("function", f"{function.__qualname__} {why}")
    if name is None and "<" in function.__qualname__:
        why = "no other process can import it: give a name"
        raise invalid_argument("function", f"{function.__qualname__} is defined inside a function, and {why}")
    if name is not None and not name.strip():
        raise invalid_argument("name", "must not be empty")


def _module_of(function: Callable[..., Any]) -> str:
    """The module, as other processes import it."""
    module = function.__module__
    if module != "__main__":
        return module
    program = sys.modules["__main__"]
    if program.__spec__ is not None:  # python -m deploy, or python -m deploys, which is deploys.__main__
        return program.__spec__.name.removesuffix(".__main__")
    file = getattr(program, "__file__", None)
    return module if file is None else Path(file).stem


def _finished(returned: object) -> object:
    """The returned value. Raises TypeError for work that somebody else would have to run: it was not done."""
    if is_left_to_others(returned):
        if inspect.iscoroutine(returned):
            returned.close()
        raise TypeError(f"a governed function returned a {type(returned).__name__}, which was not run")
    return returned


# --- refusals ----------------------------------------------------------------------------------------------------


def _said(reason: Any) -> str:
    why = reason["details"].get("reason")
    return f"{reason['message']}: {why}" if why else reason["message"]


def _unknown(request_id: str) -> NexusControlError:
    return NexusControlError(
        ErrorCode.OUTCOME_UNKNOWN,
        f"Request {request_id} was run, and nobody knows yet what it did",
        {"request_id": request_id},
    )


def _changed(request_id: str) -> NexusControlError:
    return NexusControlError(
        ErrorCode.BASIS_CHANGED,
        f"Request {request_id} is no longer what was proposed",
        {"request_id": request_id},
        "Look at the request again, and propose what is wanted; nothing was run.",
    )
