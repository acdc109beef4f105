"""A refusal as an answer to a model: its `next` follows from where the decision stands now, and `details` lists what is
declared here, where the plan or the adapter was wrong.
"""

from collections.abc import Mapping
from typing import Any, Final, cast

from typing_extensions import TypedDict

from nexus_control.blocking import BlockingReasonData
from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.execution.catalogue import AdapterData, catalogue, example_step
from nexus_control.execution.spelling import bounded
from nexus_control.toolset.guidance import what_now
from nexus_control.toolset.outputs import ErrorOutput
from nexus_control.toolset.step_files import run_steps
from nexus_control.toolset.tool import ToolContext
from nexus_control.usecases.run_answers import StepLine
from nexus_control.usecases.views import current_view
from nexus_control.values.results import fault_of

_OF_THE_STATE: Final = {
    ErrorCode.POLICY_NOT_SATISFIED,
    ErrorCode.EXECUTING,
    ErrorCode.INVALID_STATE,
    ErrorCode.ALREADY_APPROVED,
    ErrorCode.NOT_ELIGIBLE,
    ErrorCode.REQUESTER_MAY_NOT_APPROVE,
    ErrorCode.ASSURANCE_TOO_LOW,
    ErrorCode.REHEARSAL_REQUIRED,
    ErrorCode.APPROVAL_NEEDS_A_PERSON,
    ErrorCode.NO_ROUTER_LINK,
}
"""After these refusals the decision's state says what to do."""
_OF_THE_ATTEMPT: Final = {
    "MODE_NOT_ALLOWED": "Make a new request for this mode; this one allows details.reasons[].details.allowed_modes.",
    "CAPABILITIES_UNKNOWN": "Make a new request that does not require capabilities which the router cannot tell.",
    "CAPABILITIES_MISSING": "Make a new request for an adapter that has these capabilities.",
}
"""Reasons against one attempt, which the same attempt meets again."""
_FOR_THE_OPERATOR: Final = {
    ErrorCode.ROUTER_NOT_CONFIGURED: "Tell the person who runs this server: it was started without adapters.",
    ErrorCode.ROUTER_NOT_READY: "Show the message to the person who runs this server. The approvals still count: call"
    " execute again when they have mended it.",
    ErrorCode.TOOL_DEFINITION_CHANGED: "Show the message to the person who runs this server: a tool is not what they"
    " looked at. Nothing was executed.",
    ErrorCode.DECISION_NOT_FOUND: "Take the id that request answered, or one that resources/list names.",
}
_AS_DECLARED: Final = (
    "Make a new request with a list of steps like details.example_step, of what details.adapters declare."
)
_ABOUT_PLANS: Final = {ErrorCode.PLAN_INVALID, ErrorCode.ADAPTER_UNKNOWN}
_MOST_ADAPTERS: Final = 20
_LONGEST_MESSAGE: Final = 2000


class _Told(TypedDict):
    next: str
    details: Mapping[str, object]


def refused(context: ToolContext, arguments: Mapping[str, object], fault: NexusControlError) -> ErrorOutput:
    """The fault as an answer. Never raises."""
    told = fault_of(lambda: _told(context, arguments, fault))
    now: _Told = {"next": fault.next, "details": {}} if isinstance(told, NexusControlError) else told
    return {
        "code": str(fault.code),
        "message": bounded(fault.message, _LONGEST_MESSAGE),
        "details": {**_with_short_steps(context, fault.details), **now["details"]},
        "next": now["next"],
    }


def _with_short_steps(context: ToolContext, details: Mapping[str, object]) -> dict[str, object]:
    """The details, with the results of a run as every answer gives them."""
    if "results" not in details:
        return {**details}
    results = cast("list[StepLine]", details["results"])
    known = fault_of(lambda: run_steps(context, str(details["execution_id"]), results, truncated=False))
    others = {key: value for key, value in details.items() if key != "results"}
    return others if isinstance(known, NexusControlError) else {**others, **known}


def _told(context: ToolContext, arguments: Mapping[str, object], fault: NexusControlError) -> _Told:
    if fault.code in _FOR_THE_OPERATOR:
        return {"next": _FOR_THE_OPERATOR[fault.code], "details": {}}
    if declared := _declared(context, arguments, fault):
        return {"next": _AS_DECLARED, "details": declared}
    decision_id = arguments.get("request_id") or arguments.get("decision_id")
    if fault.code not in _OF_THE_STATE or not isinstance(decision_id, str):
        return {"next": fault.next, "details": {}}
    standing, now = current_view(context.store, decision_id)
    reasons = [*cast("list[BlockingReasonData]", fault.details.get("reasons", [])), *now]
    for reason in reasons:
        if standing["state"] == "approved" and reason["code"] in _OF_THE_ATTEMPT:
            return {"next": _OF_THE_ATTEMPT[reason["code"]], "details": {}}
    now_what = what_now(context, decision_id, standing["state"], reasons, has_asked=True)
    return {"next": now_what["next"], "details": {**now_what["details"]}}


def _declared(
    context: ToolContext, arguments: Mapping[str, object], fault: NexusControlError
) -> dict[str, Any]:
    """What a plan may call here, for a plan or an adapter that was refused."""
    if fault.code is ErrorCode.INVALID_ARGUMENT:
        fields = cast("list[dict[str, str]]", fault.details.get("fields", []))
        if not any(each["field"] == "plan" for each in fields):
            return {}
    elif fault.code not in _ABOUT_PLANS:
        return {}
    adapters = catalogue(context.router)
    if not adapters:
        return {}
    named = [each for each in adapters if each["adapter_id"] == arguments.get("adapter_id")] or adapters
    return {
        "adapters": [_short(each) for each in named[:_MOST_ADAPTERS]],
        "example_step": example_step(named[0]),
    }


def _short(adapter: AdapterData) -> dict[str, Any]:
    return {"adapter_id": adapter["adapter_id"], "methods": adapter["methods"]}
