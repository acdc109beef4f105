"""The sentences that a tool gives the model beside its data: what happened, and what to do now.

The sentences hold only ids, numbers and words of this module; text that people wrote stays in the data. A command for a
person is never an instruction in them, because a model with a shell would run it. It stands in `details.command`, and
the advice is to show it.
"""

from collections.abc import Sequence
from typing import NotRequired

from typing_extensions import TypedDict

from nexus_control.advice import ADVICE, after_failure
from nexus_control.blocking import BlockingReasonData
from nexus_control.decision import DecisionState
from nexus_control.storage import place_of
from nexus_control.system.commands import approving
from nexus_control.toolset.tool import PREFIX, ToolContext, spelled
from nexus_control.usecases.answers import JsonObject

_OPEN = (DecisionState.PENDING_APPROVAL, DecisionState.APPROVED)


def approve_command(context: ToolContext, decision_id: str) -> str:
    """The command with which a person approves at their own terminal, from any folder; with a signature where the
    policy demands one.
    """
    policy = context.store.load(decision_id).facts.policy
    return approving(
        decision_id,
        place_of(context.database),
        config=context.config,
        allowed_signers=context.store.allowed_signers,
        signed=policy is not None and policy.min_assurance == "signed",
    )


class WhatNow(TypedDict):
    """What to do now; `details.command` while a person's approval is waited for."""

    next: str
    details: NotRequired[JsonObject]


def what_now(
    context: ToolContext, decision_id: str, state: str, blocking_reasons: Sequence[BlockingReasonData] = ()
) -> WhatNow:
    """What to do about a decision in this state, and with these reasons against executing it."""
    now: WhatNow = {"next": _after_state(context, state, blocking_reasons)}
    is_waited_for = state == DecisionState.PENDING_APPROVAL and not is_final(blocking_reasons)
    if is_waited_for and context.approvals != "declared":
        now["details"] = {"command": approve_command(context, decision_id)}
    return now


def tool_name(context: ToolContext, verb: str) -> str:
    """The tool's name in the style that this server lists."""
    return spelled(PREFIX + verb, context.name_style)


def _after_state(context: ToolContext, state: str, blocking_reasons: Sequence[BlockingReasonData]) -> str:
    if state in _OPEN and is_final(blocking_reasons):
        return (
            "Make a new request, if it is still wanted: this history came by import, as evidence; it is never"
            " executed here."
        )
    codes = {reason["code"] for reason in blocking_reasons} if state in _OPEN else set[str]()
    for code in ("STORE_ROLLED_BACK", "ADAPTER_CHANGED", "CLOCK_BEHIND"):
        if code in codes:
            return ADVICE[code]
    if "IMPORTED_APPROVALS" in codes:
        return (
            "Get approvals that count here, or make a new request: what was imported, or signed by nobody who is"
            f" trusted here, is evidence and not authority. {_get_approved(context)}"
        )
    match state:
        case DecisionState.PENDING_APPROVAL:
            return _get_approved(context)
        case DecisionState.APPROVED:
            return f"Call {tool_name(context, 'execute')} with the adapter that should carry it out."
        case DecisionState.EXECUTING:
            return f"Call {tool_name(context, 'status')} with wait_seconds until the outcome is recorded."
        case DecisionState.COMPLETED:
            return f"Call {tool_name(context, 'export_audit_package')} for the proof."
        case DecisionState.OUTCOME_UNKNOWN:
            return "Ask a person to find out what really happened and to reconcile it; it never runs again."
        case DecisionState.FAILED:
            failed = (each["details"] for each in blocking_reasons if each["code"] == "EXECUTION_FAILED")
            return after_failure(next((details["effect"] for details in failed), "unknown"))
        case _:
            return "Make a new request, if it is still wanted."


def is_final(blocking_reasons: Sequence[BlockingReasonData]) -> bool:
    """Whether an imported history is never executed here, however many people approve it."""
    return any(reason["code"] in ("ALREADY_EXECUTED", "FORENSIC_IMPORT") for reason in blocking_reasons)


def _get_approved(context: ToolContext) -> str:
    approve, status = tool_name(context, "approve"), tool_name(context, "status")
    if context.approvals == "declared":
        return f"Let each approver approve with {approve}, then call {status}."
    asked = (
        f"Call {approve}, which asks a person where your host can; else show"
        if context.approvals == "human"
        else "Show"
    )
    return (
        f"{asked} details.command to a person; do not run it yourself. Then call {status} with wait_seconds."
    )
