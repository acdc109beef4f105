"""A package or a bundle as one HTML page for people: first whether it holds together, then its content and its checks.

    header  decision  from request to proof  approvals  plan  what ran  policy  digests  checks

A run bundle has only the header, what ran, the digests and the check; a file that cannot be read, without what ran.
Times are UTC to the second; an event's time in full is in its `datetime`. Of a decision of the store the page has also
what the store says of it here and now: what is missing, which approvals count, and the outputs that it keeps.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, cast

from nexus_control.approvals import Approval
from nexus_control.audit_package import AuditPackage
from nexus_control.bundle import DecisionBundle
from nexus_control.decision import Decision, counting_approvals, effect_of
from nexus_control.evidence.bundle_checks import History, history_of
from nexus_control.evidence.reading import Reading
from nexus_control.evidence.report import Check
from nexus_control.evidence.signed_approval import passkey_of
from nexus_control.facts import Facts
from nexus_control.lifecycle import THRESHOLD_MET, compute_timeline, counted, display_name
from nexus_control.policy import Policy
from nexus_control.render.checks import check_parts
from nexus_control.render.decision import imported_text
from nexus_control.render.html import Html, element, facts, joined, page, section, table, tag
from nexus_control.render.levels import checks_made, level_words
from nexus_control.render.moments import moments_of
from nexus_control.render.picture import timeline_picture
from nexus_control.render.planned import planned_steps
from nexus_control.render.steps import RunStep, step_list, steps_of
from nexus_control.render.text import View, listed
from nexus_control.render.times import after, duration, in_utc
from nexus_control.values.groups import of_each_group, slot_words
from nexus_control.values.instants import parse_instant
from nexus_control.values.payloads import ApprovalGrantedPayload

_KINDS = {"package": "audit package", "bundle": "decision bundle", "run bundle": "run bundle"}
_SHORT, _MOST_NAMES = 24, 3
_LIMITS = (
    "The checks recompute digests and replay the events. They show that this document holds together, not who wrote "
    "it: somebody who can edit it can seal it again, and its digest changes. Compare the digest with one that was kept "
    "where the writer of this file could not reach it."
)
_NO_OUTPUT = (
    "The outputs of the steps are not in this package: it names the run and the digest of its record. A package that "
    "holds them is made with `nexus-control audit ID --embed`."
)
_OTHER_RECORD = "The package holds the run's record, in another router's format; its steps cannot be shown."


def render_report(evidence: Reading, stored: View | None = None) -> str:
    """The page. `stored`: the answer of `inspect` for a decision of the store, whose exported document was read."""
    return page(report_title(evidence, stored), *report_parts(evidence, stored))


def report_title(evidence: Reading, stored: View | None = None) -> str:
    bundle = _bundle(evidence)
    kind = "Decision" if stored else _KINDS[evidence.kind].capitalize()
    return f"{kind} {bundle.decision.decision_id if bundle else ''}".strip()


def report_parts(evidence: Reading, stored: View | None = None) -> tuple[Html, ...]:
    """The content of the page, for a page that has a frame and a style of its own."""
    bundle, steps = _bundle(evidence), steps_of(_run_record(evidence)) or _kept_steps(stored)
    history = None if bundle is None else history_of(bundle)
    decided = history if isinstance(history, History) else None
    return (
        _header(evidence, decided, stored),
        *(_decided(evidence, bundle, decided, steps, stored) if bundle and decided else ()),
        *([section("What ran", step_list(step.line for step in steps))] if steps and not decided else ()),
        section("Digests", facts(_digests(evidence), kind="digests")),
        section("Checks", *check_parts(evidence)),
        tag("footer", _LIMITS),
    )


def _bundle(evidence: Reading) -> DecisionBundle | None:
    whole = evidence.whole
    return whole.control_bundle if isinstance(whole, AuditPackage) else whole


def _run_record(evidence: Reading) -> Mapping[str, object] | None:
    """The run's own record, where the document holds it."""
    if evidence.kind == "run bundle":
        return evidence.data
    return evidence.whole.router.bundle if isinstance(evidence.whole, AuditPackage) else None


def _kept_steps(stored: View | None) -> tuple[RunStep, ...]:
    """The steps of the run that a document links, as the store keeps them; it does not keep when each ended."""
    executions: Sequence[View] = stored["execution"] if stored else []
    linked = [each for each in executions if not each["rehearsal"]]
    return tuple(RunStep(line) for line in (linked[-1]["results"] or ())) if linked else ()


def _header(evidence: Reading, history: History | None, stored: View | None) -> Html:
    failing = [check.name for check in evidence.checks if check.status == "fail"]
    kind, report = _KINDS[evidence.kind].capitalize(), evidence.report
    if failing:
        lines = [tag("h1", f"{kind} does not hold together"), tag("p", f"Failed: {listed(failing)}.")]
        made = tag("p", f"{checks_made(evidence.checks)}.")
        return tag("header", *lines, made, tag("p", "Do not rely on anything below."), kind="fail")
    short = report is not None and not report.ok
    reached = f", but {report.required} is not reached" if report is not None and short else ""
    lines = [tag("h1", f"{kind} holds together{reached}")]
    if stored is not None:
        lines = [tag("h1", f"Decision {_words(stored['lifecycle']['state'])}{reached}")]
        short |= stored["lifecycle"]["state"] not in ("approved", "completed")
    if history is not None:
        open_here = stored is not None and history.decision.facts.phase == "open"
        lines.append(tag("p", _standing(stored) if stored and open_here else _outcome(history)))
    lines.append(tag("p", f"{checks_made(evidence.checks)}.{_skipped(evidence.checks)}"))
    lines += [tag("p", sentence) for sentence in level_words(evidence)]
    return tag("header", *lines, kind="short" if short else "pass")


def _standing(stored: View) -> str:
    """What an open decision waits for, in its store, at the instant of the view."""
    approval, at = stored["approval"], in_utc(stored["decision"]["as_of"])
    reasons = "; ".join(reason["message"] for reason in stored["lifecycle"]["blocking_reasons"])
    waits = f"Not executable: {reasons}." if reasons else "Nothing keeps it from being executed."
    return f"At {at} UTC {approval['current']} of {counted(approval['required'], 'approval')} counted here. {waits}"


def _words(state: str) -> str:
    return state.replace("_", " ")


def _skipped(checks: Sequence[Check]) -> str:
    count = sum(check.status == "skipped" for check in checks)
    return (
        f" {counted(count, 'check')} {'was' if count == 1 else 'were'} skipped; why is said below."
        if count
        else ""
    )


def _outcome(history: History) -> str:
    known, run = history.decision.facts, history.decision.facts.linked_execution
    state = _words(str(history.decision.state))
    approved = counted(len(_approved_by(history)), "approval")
    if run is None and known.phase == "open":
        end = known.attached.expires_at if known.attached else None
        ends = f" The request ends at {in_utc(end)} UTC." if end else ""
        lacking = known.lacking(history.decision.as_of) if state == "pending approval" else None
        return (
            f"At its last event, at {in_utc(history.decision.events[-1].ts)} UTC, the decision was {state}, with "
            f"{approved}{of_each_group(lacking or None)}; they count in the store where they were given.{ends} Nothing"
            " was executed."
        )
    if run is None:
        return f"The decision is {state}, with {approved}. Nothing was executed."
    required = known.policy.min_approvals if known.policy else 0
    slots = known.policy.required_from if known.policy else None
    of_groups = f", {slot_words(slots)} among them" if slots else ""
    requester = display_name(known.created.requester) if known.created else "somebody"
    return (
        f"The decision is {state}. {requester} requested it, {_people(_approved_by(history))} approved "
        f"({len(_approved_by(history))} of {required} needed{of_groups}), and {run.adapter_id} was called at "
        f"{in_utc(run.requested_at)} UTC."
    )


def _people(approvals: Sequence[Approval]) -> str:
    """Up to three approvers by name, and the number of the others."""
    names = [display_name(each.actor) for each in approvals[:_MOST_NAMES]]
    others = len(approvals) - len(names)
    if others:
        names.append(counted(others, "other"))
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]])) or "nobody"


def _decided(
    evidence: Reading, bundle: DecisionBundle, history: History, steps: Sequence[RunStep], stored: View | None
) -> Iterator[Html]:
    known = history.decision.facts
    yield section("Decision", facts([*_decision(bundle, known, stored), *_imported(evidence, stored)]))
    yield section("From request to proof", _timeline(evidence, history.decision, steps))
    yield section("Approvals", _approvals(history, stored))
    yield section("Plan", _plan(known.created.plan if known.created else None))
    yield section("What ran", *_runs(evidence, known, steps, stored))
    yield section("Policy", facts(_policy(known)))


def _timeline(evidence: Reading, decision: Decision, steps: Sequence[RunStep]) -> Html:
    """The picture, and beside it the same events as a table."""
    rows, before = list[tuple[object, ...]](), None
    for each in compute_timeline(decision):
        number = "" if each.event_type == THRESHOLD_MET else each.seq  # no event of its own
        rows.append((number, _time(each.ts, before), each.summary))
        before = each.ts
    events = table(["#", "Time (UTC)", "What happened"], rows, whole=["#", "Time (UTC)"])
    picture = timeline_picture(moments_of(evidence, decision, steps))
    return tag("div", tag("div", picture, kind="picture"), events, kind="sides")


def _time(instant: str, before: str | None = None) -> Html:
    """An instant, to the second, and how long after the one before it was."""
    shown = element("time", {"datetime": instant}, in_utc(instant))
    span = after(before, instant)
    later = tag("div", f"{duration(span)} later", kind="soft") if span else Html("")
    return joined([shown, later]) if later else shown


def _decision(bundle: DecisionBundle, known: Facts, stored: View | None) -> Iterator[tuple[str, object]]:
    created, attached, ending = known.created, known.attached, known.progress.ending
    yield "Goal", bundle.decision.goal
    yield "Mode", bundle.decision.mode
    yield "State", stored["decision"]["status"] if stored else bundle.decision.status
    yield "Requested by", str(created.requester) if created else None
    yield "Requested at", _time(bundle.decision.created_at)
    yield "Labels", ", ".join(created.labels) if created else None
    yield "Request ends", _time(attached.expires_at) if attached and attached.expires_at else None
    yield "Bound to adapter", attached.adapter_id if attached else None
    yield "Executed by", "a worker, and nobody else" if attached and attached.dispatch else None
    yield "Ended by", f"{ending.actor} at {in_utc(ending.ts)} UTC: {ending.reason}" if ending else None
    yield "Decision id", bundle.decision.decision_id


def _imported(evidence: Reading, stored: View | None) -> Iterator[tuple[str, object]]:
    origin = next((check for check in evidence.checks if check.name == "origin"), None)
    if stored is not None:
        imported = stored["decision"].get("imported")
        yield "Imported", imported_text(imported) if imported else None
    elif evidence.kind == "package" and origin is not None and origin.status == "skipped":
        yield "Imported", origin.detail


def _approvals(history: History, stored: View | None) -> Html:
    """Who approved. What counted at dispatch is said by the document; without a run its store knows what counts now."""
    counting = {approval.seq for approval in _approved_by(history)}
    dispatched = history.decision.facts.linked_execution is not None
    here: Sequence[View] = [] if stored is None or dispatched else stored["approval"]["approvals"]
    idle = {(line["actor"]["id"], line["granted_at"]): line["inactive_because"] for line in here}
    rows = [
        (
            display_name(each.actor),
            _time(each.granted_at),
            each.assurance or "declared",
            _counts(each.seq in counting, idle.get((each.actor.id, each.granted_at))),
            "; ".join(_remarks(each, history.decision)) or "-",
        )
        for each in history.decision.facts.progress.approvals
    ]
    if not rows:
        return tag("p", "Nobody approved.")
    counted_at = "Counted at dispatch" if dispatched else "Counts here" if here else "Counted at the end"
    columns = ["Who", "When (UTC)", "Known as", counted_at, "Remarks"]
    whole = ["When (UTC)", "Known as", counted_at, *_if_short("Who", [each[0] for each in rows])]
    return table(columns, rows, whole=whole)


def _counts(counts: bool, idle: str | None) -> str:
    return f"no, {_words(idle)}" if idle else "yes" if counts else "no"


def _if_short(column: str, texts: Sequence[str]) -> list[str]:
    """The column, if its texts are short enough to stand on one line each."""
    return [column] if all(len(text) <= _SHORT for text in texts) else []


def _approved_by(history: History) -> tuple[Approval, ...]:
    """The approvals that counted when the run was dispatched; without a run, those that count after the last event."""
    run = history.decision.facts.linked_execution
    if run is None:
        return counting_approvals(history.decision.facts, history.decision.as_of)
    at: datetime = parse_instant(run.requested_at)
    return history.dispatched[run.seq].active_approvals(at)


def _remarks(approval: Approval, decision: Decision) -> Iterator[str]:
    content = next((each.content for each in decision.events if each.seq == approval.seq), None)
    if isinstance(content, ApprovalGrantedPayload) and (passkey := passkey_of(content.signed)):
        yield passkey
    if approval.expires_at:
        yield f"until {in_utc(approval.expires_at)}"
    if approval.revoked_at:
        yield f"revoked at {in_utc(approval.revoked_at)}"
    if approval.revoke_reason:
        yield f"because {approval.revoke_reason}"
    if approval.comment:
        yield approval.comment


def _plan(plan: str | None) -> Html:
    if plan is None:
        return tag("p", "The request has no plan.")
    steps = planned_steps(plan)
    if steps is None:
        return tag("pre", plan)
    items = [tag("li", step["intent"], tag("pre", _called(step["call"]))) for step in steps]
    return tag("ol", *items, kind="plan")


def _called(call: Mapping[str, Any]) -> str:
    args = "".join(
        f"\n  {name} = {json.dumps(value, ensure_ascii=False)}" for name, value in call["args"].items()
    )
    return f"{call['tool']}.{call['method']}{args}"


def _policy(known: Facts) -> Iterator[tuple[str, object]]:
    policy, attached = known.policy, known.attached
    if policy is None or attached is None:
        return
    yield "Approvals needed", policy.min_approvals
    if policy.required_from:
        yield "Of groups", slot_words(policy.required_from)
        for group, members in sorted((attached.approver_groups or {}).items()):
            yield f"Members of {group}", ", ".join(cast("Sequence[str]", members))
    yield "Who may approve", ", ".join(policy.approvers) or "anyone"
    yield "The requester too", "yes" if policy.allow_requester_approval else "no"
    yield "Known at least as", policy.min_assurance
    yield "Rehearsal", _rehearsal(policy)
    yield "Modes", ", ".join(policy.allowed_modes)
    yield "Capabilities", ", ".join(policy.require_adapter_capabilities)
    yield "Longest plan", policy.max_steps
    yield "Template", attached.template_name
    yield "Overridden", ", ".join(sorted(attached.overrides_applied or {}))
    yield "Rules", attached.rules_digest


def _rehearsal(policy: Policy) -> str | None:
    required = policy.require_rehearsal
    return required and f"approvals cover one of at most {counted(required.max_age_seconds, 'second')} before"


def _runs(evidence: Reading, known: Facts, steps: Sequence[RunStep], stored: View | None) -> Iterator[Html]:
    rows = [
        (
            _kind_of(each.rehearsal, each.dry_run),
            _time(each.requested_at),
            each.adapter_id,
            _words(each.outcome),
            "; ".join(filter(None, [each.run_id, each.error_code, each.error_message])) or "-",
            effect_of(each) or "-",
        )
        for each in known.progress.executions
    ]
    columns = ["Kind", "When (UTC)", "Adapter", "Outcome", "Run", "Effect"]
    whole = ["Kind", "When (UTC)", "Outcome", *_if_short("Adapter", [each[2] for each in rows])]
    if not rows:
        yield tag("p", "Nothing was executed.")
        return
    yield table(columns, rows, whole=whole)
    yield from _kept(stored) if stored else _recorded(evidence, known, steps)


def _recorded(evidence: Reading, known: Facts, steps: Sequence[RunStep]) -> Iterator[Html]:
    """The outputs that the document holds, or how to get a document that holds them."""
    if steps:
        yield tag("p", "The steps of the run, as its router recorded them:", kind="note")
        yield step_list(step.line for step in steps)
    elif isinstance(evidence.whole, AuditPackage):
        yield tag("p", _OTHER_RECORD if evidence.whole.router.bundle else _NO_OUTPUT, kind="note")
    if any(each.rehearsal for each in known.progress.executions):
        yield tag("p", "Outputs of rehearsals are kept by the store, not in this document.", kind="note")


def _kept(stored: View) -> Iterator[Html]:
    """The outputs of every execution that the store keeps."""
    for each in stored["execution"]:
        kind = _kind_of(each["rehearsal"], each["dry_run"])
        at, part = in_utc(each["requested_at"]), ", a part of them" if each["truncated"] else ""
        if each["results"]:
            yield tag("p", f"The steps of the {kind} at {at} UTC{part}:", kind="note")
            yield step_list(each["results"])
        else:
            yield tag("p", f"The store keeps no outputs of the {kind} at {at} UTC.", kind="note")


def _kind_of(rehearsal: bool, dry_run: bool) -> str:
    return "rehearsal" if rehearsal else "dry run" if dry_run else "apply"


def _digests(evidence: Reading) -> Iterator[tuple[str, object]]:
    yield f"This {_KINDS[evidence.kind]}", evidence.digest
    bundle, whole = _bundle(evidence), evidence.whole
    if isinstance(whole, AuditPackage):
        yield "Control bundle", whole.binding.control_digest
        yield "Run", whole.binding.router_digest
        yield "Link", whole.binding.control_router_link_digest
    if whole is not None and bundle is not None:
        yield "Exported at", _time(whole.meta.exported_at)
