"""What a tool tells the model beside its data: what happened, and what to do now.

Only ids, numbers and our own words go in here; what people wrote stays in the data.
"""

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from nexus_control.decision import DecisionState
from nexus_control.toolset.tool import PREFIX, ToolContext, spelled

_OPEN = (DecisionState.PENDING_APPROVAL, DecisionState.APPROVED)
_USUAL_KEY = "~/.ssh/id_ed25519"


def approve_command(context: ToolContext, decision_id: str) -> str:
    """The command with which a person approves at their own terminal: signed, where the policy demands that."""
    words, store = ["nexus-control", "approve", decision_id, "--db", context.database], context.store
    policy = store.load(decision_id).facts.policy
    if policy is None or policy.min_assurance != "signed":
        return shlex.join(words)
    if store.allowed_signers is not None:
        words += ["--allowed-signers", str(store.allowed_signers.absolute())]
    return f"{shlex.join(words)} --sign {_USUAL_KEY}"


def tool_name(context: ToolContext, verb: str) -> str:
    """A tool's name in the style that this server advertises."""
    return spelled(PREFIX + verb, context.name_style)


def after_state(
    context: ToolContext,
    decision_id: str,
    state: str,
    blocking_reasons: Sequence[Mapping[str, Any]] = (),
) -> str:
    """What to do about a decision in this state, and with these reasons against executing it."""
    if state in _OPEN and is_final(blocking_reasons):
        return (
            "Make a new request, if it is still wanted: this history came by import, as evidence; it is never"
            " executed here."
        )
    if state in _OPEN and any(reason["code"] == "CLOCK_BEHIND" for reason in blocking_reasons):
        return (
            "Tell a person: this history was imported with events that are still to come here. Either the clock of this"
            " machine is behind, or the history is not to be trusted."
        )
    if state in _OPEN and any(reason["code"] == "IMPORTED_APPROVALS" for reason in blocking_reasons):
        return (
            "Get approvals that count here, or make a new request: what was imported, or signed by nobody who is"
            f" trusted here, is evidence and not authority. {_get_approved(context, decision_id)}"
        )
    match state:
        case DecisionState.PENDING_APPROVAL:
            return _get_approved(context, decision_id)
        case DecisionState.APPROVED:
            return f"Call {tool_name(context, 'execute')} with the adapter that should carry it out."
        case DecisionState.EXECUTING:
            return f"Call {tool_name(context, 'status')} with wait_seconds until the outcome is recorded."
        case DecisionState.COMPLETED:
            return f"Call {tool_name(context, 'export_audit_package')} for the proof."
        case DecisionState.OUTCOME_UNKNOWN:
            return "Ask a person to find out what really happened and to reconcile it; it never runs again."
        case DecisionState.FAILED:
            return "Read the execution's error; make a new request to try again."
        case _:
            return "Make a new request, if it is still wanted."


def is_final(blocking_reasons: Sequence[Mapping[str, Any]]) -> bool:
    """Whether an imported history is never executed here, however many approve it."""
    return any(reason["code"] in ("ALREADY_EXECUTED", "FORENSIC_IMPORT") for reason in blocking_reasons)


def _get_approved(context: ToolContext, decision_id: str) -> str:
    status = tool_name(context, "status")
    if context.approvals == "declared":
        return f"Let each approver approve with {tool_name(context, 'approve')}, then call {status}."
    command = approve_command(context, decision_id)
    return f"Ask a person to approve with `{command}`, then call {status} with wait_seconds."
