"""`inspect` as Markdown: one line says whether the decision can be executed, then sections say why.

    ✓ Decision approved (ready to execute)
    ✗ Decision not executable (missing 1 approval)

    ## Decision  ## Lifecycle  ## Approval  ## Policy  ## Template (if one was used)
    ## What will run (while it is open)  ## Rehearsal (if the policy requires one)  ## Execution
    ## Router (linked)  ## Timeline  ## Integrity

The first line names the first blocking reason. It has ✓ only if nothing blocks, or if the run was completed. The plan
is shown in full.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from nexus_control.integrity import sha256_hex
from nexus_control.lifecycle import counted, effect_words
from nexus_control.render.policy import policy_lines, template_lines
from nexus_control.render.rehearsed import rehearsal_lines, standing_words
from nexus_control.render.results import step_lines
from nexus_control.render.text import View, bullet, code_block, escape, listed, page, section
from nexus_control.render.will_run import will_run_lines
from nexus_control.values.groups import of_each_group, slot_words
from nexus_control.values.guarded import is_guarded


def render_decision(view: View) -> str:
    """The Markdown of the view that `inspect` answers."""
    sections = [
        section("Decision", _decision(view["decision"])),
        section("Lifecycle", _lifecycle(view["lifecycle"], view["approval"])),
        section("Approval", _approval(view["approval"])),
        section("Policy", _policy(view)),
        *([section("Template", template_lines(view["template"]))] if view["template"] else []),
        *(
            [section("What will run", will_run_lines(view["decision"], view["will_run"]))]
            if view["will_run"]
            else []
        ),
        *([section("Rehearsal", _rehearsal(view["decision"]))] if "rehearsal" in view["decision"] else []),
        section("Execution", _executions(view)),
        section("Router (linked)", _router(view["execution"])),
        section("Timeline", _timeline(view)),
        section("Integrity", _integrity(view)),
    ]
    return page(verdict_line(view["lifecycle"]["blocking_reasons"]), *sections)


def _policy(view: View) -> Iterator[str]:
    if view["policy"]:
        yield from policy_lines(view["policy"], view["decision"].get("approver_groups"))
    else:
        yield "- (none)"


def verdict_line(blocking_reasons: Sequence[View]) -> str:
    """One line that says whether the decision can be executed, or was executed."""
    return escape(verdict_text(blocking_reasons))


def verdict_text(blocking_reasons: Sequence[View]) -> str:
    """The verdict line, not yet escaped."""
    if not blocking_reasons:
        return "✓ Decision approved (ready to execute)"
    first = blocking_reasons[0]
    return _VERDICTS.get(first["code"], _not_executable)(first)


def _not_executable(reason: View) -> str:
    return f"✗ Decision not executable ({reason['message']})"


_VERDICTS: dict[str, Callable[[View], str]] = {
    "NO_POLICY": lambda _: "✗ Decision not executable (no policy is attached)",
    "ALREADY_EXECUTED": lambda r: (
        f"✓ Decision executed (run {r['details']['run_id']})"
        if r["details"]["run_id"]
        else _not_executable(r)  # the run belongs to a history that was superseded here
    ),
    "EXECUTION_FAILED": lambda r: f"✗ Decision failed ({r['details']['error_code']})",
    "DENIED": lambda r: f"✗ Decision denied (by {r['details']['actor']})",
    "WITHDRAWN": lambda r: f"✗ Decision withdrawn (by {r['details']['actor']})",
    "EXPIRED": lambda r: f"✗ Decision not executable (the request expired at {r['details']['expires_at']})",
    "EXECUTING": lambda _: "✗ Decision executing (the outcome is not known yet)",
    "OUTCOME_UNKNOWN": lambda _: "✗ Decision outcome unknown (it must be reconciled)",
    "APPROVAL_EXPIRED": lambda r: (
        f"✗ Decision not executable ({counted(r['details']['expired_count'], 'approval')} expired)"
    ),
    "APPROVAL_STALE": lambda r: (
        f"✗ Decision not executable (the last rehearsal gave back something else than"
        f" {counted(r['details']['stale_count'], 'approval')} covered)"
    ),
    "REHEARSAL_REQUIRED": lambda _: (
        "✗ Decision not executable (it must be rehearsed before anybody can approve)"
    ),
    "MISSING_APPROVALS": lambda r: (
        f"✗ Decision not executable (missing {counted(r['details']['missing'], 'approval')}"
        f"{needed_of(r['details'])})"
    ),
    "IMPORTED_APPROVALS": lambda r: (
        "✗ Decision not executable (approvals that were imported, or signed by nobody trusted here, carry no authority"
        f"{of_each_group(r['details'].get('groups'))})"
    ),
}


def needed_of(details: View) -> str:
    """The approvals of groups that are still needed, behind their number: `, 1 of security`; empty where none is."""
    return f", {slot_words(details['groups'])}" if details.get("groups") else ""


_OPEN = ("PENDING_APPROVAL", "APPROVED")
_OTHERS = {
    "expired": "expired",
    "stale": "of another rehearsal than the last",
    "not_accepted": "not accepted by the policy",
    "imported": "imported, as evidence",
    "not_trusted": "signed by nobody who is trusted here, or by a passkey on a page that is not allowed",
    "request_expired": "of an expired request",
}
"""Why an approval does not count although nobody revoked it, by the view's `inactive_because`."""
_REMARKS = {
    "expires_at": "until",
    "revoked_at": "revoked at",
    "revoke_reason": "because:",
    "comment": "comment:",
}


def _decision(decision: View) -> Iterator[str]:
    yield bullet("ID", decision["decision_id"])
    yield bullet("Goal", decision["goal"])
    yield bullet("Status", decision["status"])
    yield bullet("Mode", decision["requested_mode"])
    yield bullet("Requester", _who(decision["requester"]))
    yield bullet("Created", decision["created_at"])
    yield bullet("Labels", listed(decision["labels"]))
    if decision["expires_at"]:
        yield bullet("Expires", decision["expires_at"])
    if decision["adapter_id"]:
        yield bullet("Adapter", decision["adapter_id"])
    if decision.get("dispatch") == "worker":
        yield bullet("Executed by", "a worker, and nobody else")
    if decision["adapter_digest"]:
        yield bullet("Adapter digest", decision["adapter_digest"])
    if ending := decision.get("ending"):
        yield bullet("Ended by", f"{_who(ending['actor'])} at {ending['ts']}: {ending['reason']}")
    if imported := decision.get("imported"):
        yield bullet("Imported", imported_text(imported))
    plan: str | None = decision["plan"]
    if plan is None:
        yield bullet("Plan", None)
    else:
        yield f"- Plan ({counted(len(plan.encode()), 'byte')}, sha256 {sha256_hex(plan)}):"
        yield f"\n{code_block(plan)}"


def imported_text(imported: View) -> str:
    """The import of a decision in words: how many events, by whom, when, and from which bundle."""
    copied = f", copied from {imported['copied_from']}" if imported["copied_from"] else ""
    forensic = ", unchecked: evidence only" if imported["forensic"] else ""
    rolled_back = ", over a history that it does not extend" if imported["rolled_back"] else ""
    final = ", ended by a dry run as 1.0 let it" if imported["final_rehearsal"] else ""
    by = f" by {_who(imported['by'])}" if imported["by"] else ""
    return (
        f"{counted(imported['events'], 'event')}{by} at {imported['at']}"
        f"{copied}, from bundle {imported['bundle_digest']}{forensic}{rolled_back}{final}"
    )


def _lifecycle(lifecycle: View, approval: View) -> Iterator[str]:
    approvals, of_groups = approval["approvals"], escape(of_each_group(approval.get("groups_missing")))
    yield bullet("State", lifecycle["state"])
    yield f"- Progress: {lifecycle['progress']['approvals']} approvals{of_groups}{_not_counted(approvals)}"
    for reason in lifecycle["blocking_reasons"]:
        yield f"- [{reason['code']}] {escape(reason['message'])}"
    if not lifecycle["blocking_reasons"]:
        yield "- Nothing blocks the execution"


def _not_counted(approvals: Sequence[View]) -> str:
    """The approvals that do not count: how many there are for each reason."""
    found = Counter(each["inactive_because"] for each in approvals)
    said = [f"{found[why]} {words}" for why, words in _OTHERS.items() if found[why]]
    return f" (not counted: {'; '.join(said)})" if said else ""


def _approval(approval: View) -> Iterator[str]:
    yield f"- Required: {approval['required']}"
    yield f"- Current: {approval['current']}"
    for each in approval["approvals"]:
        yield f"- {'✓' if each['active'] else '✗'} {escape(_who(each['actor']))}: {escape(approval_words(each))}"


def approval_words(approval: View) -> str:
    """When and how somebody approved, and whether that counts; not yet escaped."""
    said = [f"approved at {approval['granted_at']} ({approval['assurance']})"]
    if approval["imported"]:
        said.append("imported")
    if why := _OTHERS.get(approval["inactive_because"]):
        said.append(f"does not count: {why}")
    said += [f"{words} {approval[field]}" for field, words in _REMARKS.items() if approval[field]]
    return ", ".join(said)


def _rehearsal(decision: View) -> Iterator[str]:
    rehearsal = decision["rehearsal"]
    yield from rehearsal_lines(rehearsal)
    if rehearsal is not None and decision["status"] in _OPEN:
        yield bullet("Approvals", f"{standing_words(rehearsal)}; its steps are under Execution")


def _executions(view: View) -> Iterator[str]:
    executions, cancel, decision = view["execution"], view.get("cancel"), view["decision"]
    rehearsal: View | None = decision.get("rehearsal") if decision["status"] in _OPEN else None
    covered = rehearsal and rehearsal["seq"]
    for each in executions:
        kind = "rehearsal" if each["rehearsal"] else "dry run" if each["dry_run"] else "apply"
        yield bullet(f"{each['outcome'].replace('_', ' ').capitalize()} ({kind})", _ran(each))
        yield from step_lines(each["results"] or (), whole=each["seq"] == covered)
        if each["truncated"]:
            yield "  - The router's answer was longer: this is a part of it"
    if cancel:
        yield bullet("Cancel", f"asked by {_who(cancel['actor'])} at {cancel['ts']}: {cancel['reason']}")
    if not executions:
        yield "- (none)"


def _ran(execution: View) -> str:
    said = [f"adapter {execution['adapter_id']}", f"requested at {execution['requested_at']}"]
    if execution["completed_at"]:
        said.append(f"ended at {execution['completed_at']}")
    if execution["run_id"]:
        said.append(f"run {execution['run_id']}")
    if is_guarded(execution["adapter_id"]):
        said.append("run by its caller")
    elif execution["steps_executed"] is not None:
        said.append(counted(execution["steps_executed"], "step"))
    if execution["error_code"]:
        said.append(f"{execution['error_code']}: {execution['error_message']}")
    if execution["outcome"] == "failed":
        said.append(effect_words(execution["effect"]))
    return ", ".join(said)


def _router(executions: Sequence[View]) -> Iterator[str]:
    linked = next((each for each in reversed(executions) if not each["rehearsal"]), None)
    if linked is None:
        yield "- (no execution)"
        return
    yield bullet("Run ID", linked["run_id"])
    yield bullet("Adapter", linked["adapter_id"])
    yield bullet("Outcome", linked["outcome"])


def _timeline(view: View) -> Iterator[str]:
    lifecycle, timeline = view["lifecycle"], view["timeline"]
    if lifecycle["timeline_truncated"]:
        yield f"- The last {len(timeline)} of {lifecycle['timeline_total']} entries"
    for entry in timeline:
        summary: str = entry["summary"]
        says_it = summary.lower().startswith((entry["label"], f"{entry['actor']} {entry['label']}".lower()))
        label = "" if says_it else f"{entry['label']}: "
        yield f"- {entry['ts']} {label}{escape(summary)}"


def _integrity(view: View) -> Iterator[str]:
    decision = view["decision"]
    yield f"- Events: {decision['event_count']}"
    yield bullet("Chain head", view["head"])
    yield bullet("Basis", view["basis"])
    if view["template"]:
        yield bullet("Template digest", f"sha256:{view['template']['digest']}")
    if digest := decision.get("rules_digest"):
        yield bullet("Rules digest", digest)
    yield bullet("Judged at", decision["as_of"])


def _who(actor: View | None) -> str | None:
    return None if actor is None else f"{actor['type']}:{actor['id']}"
