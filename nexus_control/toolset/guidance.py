"""The sentences that a tool gives the model beside its data: what happened, and what to do now.

What to do follows from the decision's state. Where it is a call, `details.call` holds the tool and all its arguments,
so that a model can make it as it is. A model that makes each such call reaches an end: only a `status` that waits is
followed by the same call.

The sentences hold only ids, numbers and words of this module; text that people wrote stays in the data. A command for a
person is never an instruction in them, because a model with a shell would run it. It stands in `details.command`, and
the advice is to show it.
"""

from collections.abc import Sequence

from typing_extensions import TypedDict

from nexus_control.advice import advice_for, after_failure
from nexus_control.blocking import BlockingReasonData, awaits_rehearsal
from nexus_control.decision import DecisionState, require_may_approve
from nexus_control.errors import NexusControlError
from nexus_control.execution.catalogue import AdapterLister
from nexus_control.execution.plan import parse_plan
from nexus_control.storage import place_of
from nexus_control.system.commands import approving
from nexus_control.toolset.inputs import MAX_WAIT_SECONDS
from nexus_control.toolset.outputs import CallData, Details
from nexus_control.toolset.tool import PREFIX, ToolContext, spelled
from nexus_control.usecases.views import authority_now
from nexus_control.values.pages import page_of

_OPEN = (DecisionState.PENDING_APPROVAL, DecisionState.APPROVED)
_FOR_PEOPLE = ("STORE_ROLLED_BACK", "STORE_MIGRATED", "ADAPTER_CHANGED", "CLOCK_BEHIND")


class WhatNow(TypedDict):
    """What to do now: a sentence, and what it refers to."""

    next: str
    details: Details


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


def for_a_person(context: ToolContext, decision_id: str) -> Details:
    """Where a person decides: the command, and the page of the inbox where there is one."""
    details: Details = {"command": approve_command(context, decision_id)}
    if context.inbox is not None:
        details["page"] = page_of(context.inbox, decision_id)
    return details


def what_to_show(context: ToolContext) -> str:
    """What to show to a person: the fields of `for_a_person`."""
    return "details.command" if context.inbox is None else "details.page or details.command"


def tool_name(context: ToolContext, verb: str) -> str:
    """The tool's name in the style that this server lists."""
    return spelled(PREFIX + verb, context.name_style)


def what_now(
    context: ToolContext,
    decision_id: str,
    state: str,
    blocking_reasons: Sequence[BlockingReasonData] = (),
    *,
    has_asked: bool = False,
) -> WhatNow:
    """What to do about a decision in this state, and with these reasons against executing it. `has_asked`: a person was
    asked already, or waited for.
    """
    if state in _OPEN and is_final(blocking_reasons):
        return _only(
            "Make a new request, if it is still wanted: this history came by import, as evidence; it is never"
            " executed here."
        )
    found = {each["code"]: each["details"] for each in blocking_reasons} if state in _OPEN else {}
    codes = found.keys()
    if told := next((advice_for(code, found[code]) for code in _FOR_PEOPLE if code in codes), None):
        return _only(told)
    match state:
        case DecisionState.PENDING_APPROVAL if "REHEARSAL_REQUIRED" in codes:
            return _execute(context, decision_id, rehearsing=True)
        case DecisionState.PENDING_APPROVAL:
            now = _get_approved(context, decision_id, has_asked=has_asked)
            return _as_evidence(now) if "IMPORTED_APPROVALS" in codes else now
        case DecisionState.APPROVED:
            return _execute(context, decision_id)
        case DecisionState.EXECUTING:
            return wait_for_outcome(context, decision_id)
        case DecisionState.COMPLETED:
            return export_proof(context, decision_id)
        case DecisionState.OUTCOME_UNKNOWN:
            return _only(
                "Ask a person to find out what really happened and to reconcile it; it never runs again."
            )
        case DecisionState.FAILED:
            failed = (each["details"] for each in blocking_reasons if each["code"] == "EXECUTION_FAILED")
            return _only(after_failure(next((details["effect"] for details in failed), "unknown")))
        case DecisionState.DRAFT:
            return _only("Make the request again: this one was never completed.")
        case _:
            return _only("Make a new request, if it is still wanted.")


def is_final(blocking_reasons: Sequence[BlockingReasonData]) -> bool:
    """Whether an imported history is never executed here, however many people approve it."""
    return any(reason["code"] in ("ALREADY_EXECUTED", "FORENSIC_IMPORT") for reason in blocking_reasons)


def wait_for_outcome(context: ToolContext, decision_id: str) -> WhatNow:
    """A run goes on."""
    status = tool_name(context, "status")
    return {
        "next": f"Call {status} with wait_seconds until the outcome is recorded; do not call execute again.",
        "details": _waiting(context, decision_id),
    }


def export_proof(context: ToolContext, decision_id: str) -> WhatNow:
    """The run has ended well."""
    if context.read_only:
        return _only("It was executed; there is nothing left to do.")
    return _call(context, "export_audit_package", {"decision_id": decision_id}, "for the proof.")


def look(context: ToolContext, decision_id: str, why: str) -> WhatNow:
    """Look at the status first."""
    return _call(context, "status", {"request_id": decision_id}, why)


def _only(sentence: str) -> WhatNow:
    return {"next": sentence, "details": {}}


def _call(context: ToolContext, verb: str, arguments: dict[str, object], why: str) -> WhatNow:
    name = tool_name(context, verb)
    return {"next": f"Call {name} {why}", "details": {"call": {"tool": name, "arguments": arguments}}}


def _waiting(context: ToolContext, decision_id: str) -> Details:
    arguments = {"request_id": decision_id, "wait_seconds": MAX_WAIT_SECONDS}
    return {"call": {"tool": tool_name(context, "status"), "arguments": arguments}}


def _as_evidence(now: WhatNow) -> WhatNow:
    return {
        **now,
        "next": "Get approvals that count here, or make a new request: what was imported, or signed by nobody who is"
        f" trusted here, is evidence and not authority. {now['next']}",
    }


def is_for_a_worker(context: ToolContext, decision_id: str) -> bool:
    """Whether a worker executes the decision, and nobody else."""
    attached = context.store.load(decision_id).facts.attached
    return attached is not None and attached.dispatch == "worker"


def _is_to_be_rehearsed(context: ToolContext, decision_id: str) -> bool:
    return awaits_rehearsal(context.store.load(decision_id).facts, context.store.clock.now())


def _execute(context: ToolContext, decision_id: str, *, rehearsing: bool = False) -> WhatNow:
    """Execute it, or rehearse it first."""
    if is_for_a_worker(context, decision_id):
        if rehearsing and not _is_to_be_rehearsed(context, decision_id):
            return _only(
                "Read why the last execution, a rehearsal, did not serve; have that mended, and make a new request: no"
                " worker makes this rehearsal again, and nobody can approve without it."
            )
        done = "rehearsed" if rehearsing else "executed"
        return {
            "next": f"Call {tool_name(context, 'status')} with wait_seconds until a worker has {done} it; do not call"
            " execute.",
            "details": _waiting(context, decision_id),
        }
    stands = "It must be rehearsed before anybody can approve" if rehearsing else "It is approved"
    if context.read_only:
        return _only(f"{stands}; this server only reads, and executes nothing.")
    if context.router is None:
        return _only(f"{stands}, but this server was started without adapters: tell the person who runs it.")
    attached = context.store.load(decision_id).facts.attached
    known = context.router.adapters.ids() if isinstance(context.router, AdapterLister) else ()
    bound = attached.adapter_id if attached else None
    adapter_id = known[0] if bound is None and len(known) == 1 else bound
    if adapter_id is not None:
        arguments: dict[str, object] = {"request_id": decision_id, "adapter_id": adapter_id}
        if rehearsing:
            arguments["dry_run"] = True
            return _call(
                context, "execute", arguments, "as details.call says; people approve what it gives back."
            )
        return _call(context, "execute", arguments, "as details.call says; it runs once.")
    name = f"{tool_name(context, 'execute')}{' with dry_run,' if rehearsing else ''}"
    if known:
        return {
            "next": f"Call {name} with the one of details.adapter_ids that should carry it out.",
            "details": {"adapter_ids": list(known)},
        }
    return _only(f"Call {name} with the adapter that should carry it out.")


def lacks_steps(context: ToolContext, plan: str | None) -> bool:
    """Whether the adapters that are declared here could never run this plan: it is missing, or not a list of steps."""
    if not isinstance(context.router, AdapterLister) or not context.router.adapters.ids():
        return False
    try:
        parse_plan(plan)
    except NexusControlError:
        return True
    return False


def _get_approved(context: ToolContext, decision_id: str, *, has_asked: bool) -> WhatNow:
    approve, status = tool_name(context, "approve"), tool_name(context, "status")
    asking: CallData = {"tool": approve, "arguments": {"request_id": decision_id}}
    deciding, shown = for_a_person(context, decision_id), what_to_show(context)
    if context.approvals == "declared" and not context.read_only:
        if _may_approve(context, decision_id):
            return {
                "next": f"Let each approver approve with {approve}, then call {status}.",
                "details": {"call": asking},
            }
        return {
            "next": f"Let others approve with {approve} and their actor, or show {shown} to them."
            f" Then call {status} with wait_seconds.",
            "details": {**_waiting(context, decision_id), **deciding},
        }
    if context.approvals == "human" and not (has_asked or context.read_only):
        return {
            "next": f"Call {approve}, which asks a person where your host can; else show {shown} to a person;"
            f" do not run it yourself. Then call {status} with wait_seconds.",
            "details": {"call": asking, **deciding},
        }
    return {
        "next": f"Show {shown} to a person; do not run it yourself. Then call {status} with wait_seconds.",
        "details": {**_waiting(context, decision_id), **deciding},
    }


def _may_approve(context: ToolContext, decision_id: str) -> bool:
    """Whether the server's own actor can still approve."""
    with context.store.reading() as session:
        decision, now = session.decision(decision_id), session.now
        authority = authority_now(context.store, session, decision, now)
    try:
        require_may_approve(decision.facts, context.actor, "declared", now, authority)
    except NexusControlError:
        return False
    return True
