"""A package or a bundle as one HTML page for people: first whether it holds together, then its content and its checks.

    header  decision  approvals  plan  policy  what ran  timeline  digests  checks

For a file that cannot be read as a package or a bundle the page has only the header, the digests and the checks.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, cast

from nexus_control.audit_package import AuditPackage
from nexus_control.bundle import DecisionBundle
from nexus_control.canonical_json import parse_json
from nexus_control.decision import counting_approvals, effect_of
from nexus_control.errors import NexusControlError
from nexus_control.evidence.bundle_checks import History, history_of
from nexus_control.evidence.reading import Reading
from nexus_control.evidence.report import Check
from nexus_control.facts import Approval, Facts
from nexus_control.lifecycle import compute_timeline, display_name
from nexus_control.render.html import Html, facts, page, section, table, tag
from nexus_control.render.text import counted, listed
from nexus_control.values.instants import parse_instant

_KINDS = {"package": "audit package", "bundle": "decision bundle", "run bundle": "run bundle"}
_LIMITS = (
    "The checks recompute digests and replay the events. They show that this document holds together, not who wrote "
    "it: somebody who can edit it can seal it again, and its digest changes. Compare the digest with one that was kept "
    "where the writer of this file could not reach it."
)


def render_report(evidence: Reading) -> str:
    """The page."""
    bundle = _bundle(evidence)
    history = None if bundle is None else history_of(bundle)
    decided = isinstance(history, History)
    return page(
        f"{_KINDS[evidence.kind].capitalize()} {bundle.decision.decision_id if bundle else ''}".strip(),
        _header(evidence, history if decided else None),
        *(_decided(evidence, bundle, history) if bundle and isinstance(history, History) else ()),
        section("Digests", facts(_digests(evidence))),
        section("Checks", _checks(evidence.checks)),
        tag("footer", _LIMITS),
    )


def _bundle(evidence: Reading) -> DecisionBundle | None:
    whole = evidence.whole
    return whole.control_bundle if isinstance(whole, AuditPackage) else whole


def _header(evidence: Reading, history: History | None) -> Html:
    failing = [check.name for check in evidence.checks if check.status == "fail"]
    kind = _KINDS[evidence.kind].capitalize()
    if failing:
        lines = [tag("h1", f"{kind} does not hold together"), tag("p", f"Failed: {listed(failing)}.")]
        return tag("header", *lines, tag("p", "Do not rely on anything below."), kind="fail")
    return tag(
        "header",
        tag("h1", f"{kind} holds together"),
        *([tag("p", _outcome(history))] if history else []),
        tag("p", f"All {len(evidence.checks)} checks were made, none failed.{_level(evidence)}"),
        kind="pass",
    )


def _level(evidence: Reading) -> str:
    level = evidence.report.level if evidence.report is not None else None
    return f" It reaches level {level}, with no key from elsewhere." if level else ""


def _outcome(history: History) -> str:
    known, run = history.decision.facts, history.decision.facts.linked_execution
    state = str(history.decision.state).replace("_", " ")
    approved = counted(len(_approved_by(history)), "approval")
    if run is None and known.phase == "open":
        ends = (
            f" The request ends at {known.attached.expires_at}." if known.expires() and known.attached else ""
        )
        return (
            f"At its last event, at {history.decision.events[-1].ts}, the decision was {state}, with {approved}; they"
            f" count in the store where they were given.{ends} Nothing was executed."
        )
    if run is None:
        return f"The decision is {state}, with {approved}. Nothing was executed."
    required = known.policy.min_approvals if known.policy else 0
    return (
        f"The decision is {state}: run {run.run_id or '(unknown)'} was dispatched at {run.requested_at} with "
        f"{approved} of {required} that were needed."
    )


def _decided(evidence: Reading, bundle: DecisionBundle, history: History) -> Iterator[Html]:
    known = history.decision.facts
    yield section("Decision", facts([*_decision(bundle, known), *_imported(evidence)]))
    yield section("Approvals", _approvals(history))
    yield section("Plan", _plan(known.created.plan if known.created else None))
    yield section("Policy", facts(_policy(known)))
    yield section("What ran", *_runs(evidence, known))
    rows = [(each.seq, each.ts, each.label, each.summary) for each in compute_timeline(history.decision)]
    yield section(
        "Timeline", table(["#", "Time", "Event", "What happened"], rows, whole=["#", "Time", "Event"])
    )


def _decision(bundle: DecisionBundle, known: Facts) -> Iterator[tuple[str, object]]:
    created, attached, ending = known.created, known.attached, known.progress.ending
    yield "Goal", bundle.decision.goal
    yield "Mode", bundle.decision.mode
    yield "State", bundle.decision.status
    yield "Requested by", str(created.requester) if created else None
    yield "Requested at", bundle.decision.created_at
    yield "Labels", ", ".join(created.labels) if created else None
    yield "Request ends", attached.expires_at if attached else None
    yield "Bound to adapter", attached.adapter_id if attached else None
    yield "Ended by", f"{ending.actor} at {ending.ts}: {ending.reason}" if ending else None
    yield "Decision id", bundle.decision.decision_id


def _imported(evidence: Reading) -> Iterator[tuple[str, object]]:
    origin = next((check for check in evidence.checks if check.name == "origin"), None)
    if origin is not None and origin.status == "skipped":
        yield "Imported", origin.detail


def _approvals(history: History) -> Html:
    counting = {approval.seq for approval in _approved_by(history)}
    dispatched = history.decision.facts.linked_execution is not None
    rows = [
        (
            display_name(each.actor),
            each.granted_at,
            each.assurance or "declared",
            "yes" if each.seq in counting else "no",
            "; ".join(_remarks(each)) or "-",
        )
        for each in history.decision.facts.progress.approvals
    ]
    if not rows:
        return tag("p", "Nobody approved.")
    counted_at = "Counted at dispatch" if dispatched else "Counted at the end"
    columns = ["Who", "When", "Known as", counted_at, "Remarks"]
    return table(columns, rows, whole=["When", "Known as", counted_at])


def _approved_by(history: History) -> tuple[Approval, ...]:
    """The approvals that counted when the run was dispatched; without a run, those that count after the last event."""
    run = history.decision.facts.linked_execution
    if run is None:
        return counting_approvals(history.decision.facts, history.decision.as_of)
    at: datetime = parse_instant(run.requested_at)
    return history.dispatched[run.seq].active_approvals(at)


def _remarks(approval: Approval) -> Iterator[str]:
    if approval.expires_at:
        yield f"until {approval.expires_at}"
    if approval.revoked_at:
        yield f"revoked at {approval.revoked_at}"
    if approval.revoke_reason:
        yield f"because {approval.revoke_reason}"
    if approval.comment:
        yield approval.comment


def _plan(plan: str | None) -> Html:
    if plan is None:
        return tag("p", "The request has no plan.")
    steps = _steps(plan)
    if steps is None:
        return tag("pre", plan)
    items = [tag("li", step["intent"], tag("pre", _called(step["call"]))) for step in steps]
    return tag("ol", *items, kind="plan")


def _steps(plan: str) -> Sequence[Mapping[str, Any]] | None:
    """The steps of a plan that is a list of steps. None for any other plan, which is then shown as text."""
    try:
        parsed = parse_json(plan)
    except NexusControlError:
        return None
    steps = cast("list[object]", parsed) if isinstance(parsed, list) else []
    if not all(_is_step(step) for step in steps):
        return None
    return cast("list[dict[str, Any]]", steps) or None


def _is_step(step: object) -> bool:
    call, *texts = _fields(step, "call", "intent", "step_id") or [None]
    called = _fields(call, "args", "method", "tool")
    return [*map(type, [*texts, *called])] == [str, str, dict, str, str]


def _fields(value: object, *names: str) -> list[object]:
    """The values of these fields if `value` is an object with exactly these fields; otherwise an empty list."""
    fields = cast("dict[str, object]", value) if isinstance(value, dict) else {}
    return [fields[name] for name in names] if sorted(fields) == list(names) else []


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
    yield "Who may approve", ", ".join(policy.approvers) or "anyone"
    yield "The requester too", "yes" if policy.allow_requester_approval else "no"
    yield "Known at least as", policy.min_assurance
    yield "Modes", ", ".join(policy.allowed_modes)
    yield "Capabilities", ", ".join(policy.require_adapter_capabilities)
    yield "Longest plan", policy.max_steps
    yield "Template", attached.template_name
    yield "Overridden", ", ".join(sorted(attached.overrides_applied or {}))


def _runs(evidence: Reading, known: Facts) -> Iterator[Html]:
    rows = [
        (
            "rehearsal" if each.rehearsal else "dry run" if each.dry_run else "apply",
            each.requested_at,
            each.adapter_id,
            each.outcome.replace("_", " "),
            "; ".join(filter(None, [each.run_id, each.error_code, each.error_message])) or "-",
            effect_of(each) or "-",
        )
        for each in known.progress.executions
    ]
    columns = ["Kind", "When", "Adapter", "Outcome", "Run", "Effect"]
    whole = ["Kind", "When", "Outcome"]
    yield table(columns, rows, whole=whole) if rows else tag("p", "Nothing was executed.")
    router = evidence.whole.router if isinstance(evidence.whole, AuditPackage) else None
    if router is not None:
        held = (
            "This package holds the run's whole record."
            if router.bundle
            else "The run's record is kept elsewhere."
        )
        yield tag("p", held, kind="note")


def _digests(evidence: Reading) -> Iterator[tuple[str, object]]:
    yield f"This {_KINDS[evidence.kind]}", evidence.digest
    bundle, whole = _bundle(evidence), evidence.whole
    if isinstance(whole, AuditPackage):
        yield "Control bundle", whole.binding.control_digest
        yield "Run", whole.binding.router_digest
        yield "Link", whole.binding.control_router_link_digest
    if whole is not None and bundle is not None:
        yield "Exported at", whole.meta.exported_at


def _checks(checks: Sequence[Check]) -> Html:
    rows = [(each.name, tag("span", each.status, kind=each.status), _found(each)) for each in checks]
    return table(["Check", "Result", "What was found"], rows, whole=["Check", "Result"])


def _found(check: Check) -> str:
    if check.expected is None or check.status != "fail":
        return check.detail or "-"
    return f"{check.detail}\nexpected {check.expected}\nfound {check.actual}"
