"""Views of a decision: plain JSON values, made from its facts at an instant.

A view counts only approvals with authority here (`usecases.authority`), and none of an expired request. So no view says
approved where `execute` would refuse for missing approvals.
"""

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any, cast

from nexus_control.approvals import Authority
from nexus_control.blocking import BlockingReason, blocking_reasons, in_order
from nexus_control.decision import (
    DecisionState,
    is_approved,
    request_expired,
    standing_at,
    state_at,
    template_ref,
)
from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.facts import Facts
from nexus_control.lifecycle import (
    DEFAULT_TIMELINE_LIMIT,
    THRESHOLD_MET,
    Lifecycle,
    LifecycleEntry,
    recent_lifecycle,
)
from nexus_control.log import head
from nexus_control.log.entries import to_event
from nexus_control.log.projection import Projection
from nexus_control.log.session import ReadSession
from nexus_control.render.decision import render_decision
from nexus_control.store import DecisionStore
from nexus_control.usecases.agreement import approval_lines, approver_groups, awaited, rehearsal_line
from nexus_control.usecases.answers import (
    ApprovalData,
    BlockingReasonData,
    DecisionFields,
    ImportLine,
    InspectData,
    LifecycleData,
    LifecycleEntryData,
    LifecycleProgressData,
    PolicyData,
    ReconciledLine,
    StateData,
    StatusData,
    UsedTemplate,
)
from nexus_control.usecases.arguments import InspectArguments, StatusArguments
from nexus_control.usecases.authority import authority_of
from nexus_control.usecases.cancels import cancel_of
from nexus_control.usecases.describing import will_run
from nexus_control.usecases.obstacles import changed_adapter_reasons, rollback_reasons
from nexus_control.usecases.resulting import cut_off_line, executions_view, needs_run_log
from nexus_control.usecases.run_answers import LinkedRun
from nexus_control.values.instants import format_instant
from nexus_control.values.payloads import ExecutionReconciledPayload


def state_view(facts: Facts, at: datetime, authority: Authority) -> StateData:
    """The id and the state."""
    return {"request_id": facts.decision_id, "state": state_at(facts, at, authority).value}


def approval_view(facts: Facts, at: datetime, authority: Authority) -> ApprovalData:
    """How many approvals count, and how many are needed."""
    state, current = standing_at(facts, at, authority)
    data: ApprovalData = {
        "request_id": facts.decision_id,
        "state": state.value,
        "current_approvals": current,
        "required_approvals": _required(facts),
        "is_approved": is_approved(facts, at, authority),
    }
    if (missing := _groups_missing(facts, at, authority)) is not None:
        data["groups_missing"] = missing
    return data


def _groups_missing(facts: Facts, at: datetime, authority: Authority) -> dict[str, int] | None:
    """How many more approvals each group needs; None where the policy names no group."""
    if facts.policy is None or facts.policy.required_from is None:
        return None
    return facts.lacking(at, () if request_expired(facts, at) else authority)


def _required(facts: Facts) -> int:
    return facts.policy.min_approvals if facts.policy else 0


def authority_now(
    store: DecisionStore, session: ReadSession, decision: Projection, at: datetime
) -> Authority:
    """The approvals that count, for an answer that needs no authority. Where the signers cannot be read none counts,
    and the answer is still given.
    """
    try:
        return authority_of(store, session, decision, at)
    except NexusControlError as fault:
        if fault.code is not ErrorCode.INVALID_ARGUMENT:
            raise
        return ()


def current_view(store: DecisionStore, decision_id: str) -> tuple[ApprovalData, list[BlockingReasonData]]:
    """How many approvals count now, and every reason that keeps the decision from being executed."""
    with store.reading() as session:
        decision = session.decision(decision_id)
        now = session.now
        authority = authority_now(store, session, decision, now)
    reasons = [reason.to_dict() for reason in reasons_of(decision, now, authority)]
    return approval_view(decision.facts, now, authority), reasons


def status(
    store: DecisionStore, arguments: StatusArguments, *, look_beside: bool = False, router: object = None
) -> StatusData:
    """A decision's state now. The cost does not grow with its history unless events are asked for. `look_beside` reads
    the head's file, and so also tells whether the store was rolled back. `router` may know the steps of a run that gave
    no answer.
    """
    known = head.look_at(store) if look_beside else b""
    with store.reading() as session:
        decision = session.decision(arguments.request_id)
        here = tuple(rollback_reasons(store, session, decision.facts, known)) if known else ()
        events = session.events(decision) if arguments.include_events else []
        executed = bool(decision.facts.progress.executions)
        claim = session.rows.claim(arguments.request_id) if executed else None
        cancel = cancel_of(claim) if claim is not None else None
        now = session.now
        authority = authority_of(store, session, decision, now)
        executions = executions_view(session, decision, last=1)
        reconciled = _reconciled(session, decision)
    if needs_run_log(decision):
        executions[-1] = cut_off_line(store, decision, router)
    facts = decision.facts
    state, current = standing_at(facts, now, authority)
    required, lines = _required(facts), approval_lines(decision, now, authority)
    data: StatusData = {
        "request_id": facts.decision_id,
        "state": state.value,
        **decision_view(decision, now),
        "basis": decision.basis,
        "active_approvals": current,
        "total_approvals": len(facts.progress.approvals),
        "required_approvals": required,
        "is_approved": is_approved(facts, now, authority),
        "blocking_reasons": [reason.to_dict() for reason in reasons_of(decision, now, authority, here)],
        "approvals": lines,
        "awaited": awaited(decision, state, lines),
        "executions": executions,
        "run": _run(facts),
        "event_count": facts.event_count,
    }
    if (missing := _groups_missing(facts, now, authority)) is not None:
        data["groups_missing"] = missing
    if reconciled is not None:
        data["reconciled"] = reconciled
    if claim is not None and claim.late_outcome:
        data["late_outcome"] = json.loads(claim.late_outcome)
    if cancel is not None:
        data["cancel"] = cancel.to_line()
    if arguments.include_events:
        data["events"] = [event.to_dict() for event in events]
    return data


def _reconciled(session: ReadSession, decision: Projection) -> ReconciledLine | None:
    """Who settled the decision's execution; it is the last event, because it ends the decision."""
    if decision.facts.phase not in ("completed", "failed"):
        return None
    last = decision.facts.event_count - 1
    (entry,) = session.rows.entries("decision", decision.decision_id, decision.generation, last, last + 1)
    event = to_event(entry)
    if not isinstance(event.content, ExecutionReconciledPayload):
        return None
    return {
        "actor": event.actor.to_dict(),
        "ts": event.ts,
        "outcome": event.content.outcome,
        "evidence": event.content.evidence,
    }


def decision_view(decision: Projection, at: datetime) -> DecisionFields:
    """The decision's own fields."""
    facts, created, attached = decision.facts, decision.facts.created, decision.facts.attached
    view: DecisionFields = {
        "decision_id": facts.decision_id,
        "goal": created.goal if created else None,
        "plan": created.plan if created else None,
        "requested_mode": created.requested_mode if created else None,
        "labels": list(created.labels) if created else [],
        "requester": created.requester.to_dict() if created else None,
        "created_at": created.created_at if created else decision.reserved_at,
        "policy": _policy(facts),
        "expires_at": attached.expires_at if attached else None,
        "adapter_id": attached.adapter_id if attached else None,
        "adapter_digest": attached.adapter_digest if attached else None,
        "as_of": format_instant(at),
    }
    if reference := template_ref(facts):
        view["template_name"], view["template_digest"] = reference.name, reference.digest
    if groups := approver_groups(facts):
        view["approver_groups"] = groups
    if attached and attached.rules_digest is not None:
        view["rules_digest"] = attached.rules_digest
    if attached and attached.dispatch is not None:
        view["dispatch"] = attached.dispatch
    if created and created.idempotency_key is not None:
        view["idempotency_key"] = created.idempotency_key
    if created and created.metadata is not None:
        view["metadata"] = {name: str(text) for name, text in created.metadata.items()}
    if created and created.supersedes is not None:
        view["supersedes"] = created.supersedes
    if facts.progress.ending:
        ending = facts.progress.ending
        view["ending"] = {"actor": ending.actor.to_dict(), "ts": ending.ts, "reason": ending.reason}
    if facts.needs_rehearsal:
        view["rehearsal"] = rehearsal_line(facts, at)
    if (imported := provenance_view(decision)) is not None:
        view["imported"] = imported
    return view


def provenance_view(decision: Projection) -> ImportLine | None:
    """Where an imported decision came from; None for one that was made here."""
    provenance = decision.provenance
    if provenance is None:
        return None
    return {
        "at": provenance.imported_at,
        "by": provenance.imported_by.to_dict() if provenance.imported_by else None,
        "bundle_digest": provenance.bundle_digest,
        "events": decision.imported_count,
        "copied_from": provenance.copied_from,
        "forensic": provenance.forensic,
        "rolled_back": provenance.rolled_back,
        "final_rehearsal": provenance.final_rehearsal,
    }


def reasons_of(
    decision: Projection, at: datetime, authority: Authority, here: tuple[BlockingReason, ...] = ()
) -> tuple[BlockingReason, ...]:
    """Every reason that keeps the decision from being executed at this instant, whatever the attempt. `here` are the
    reasons of the place (`usecases.obstacles`).
    """
    reasons = blocking_reasons(decision.facts, at, authority)
    others = here if decision.provenance is None else (*import_reasons(decision, at), *here)
    return in_order((*reasons, *others)) if others else reasons


def import_reasons(decision: Projection, at: datetime) -> Iterator[BlockingReason]:
    """The reasons, beyond its events, that keep an imported history from being executed here."""
    record = decision.provenance
    if decision.is_ahead_of(at):
        last_ts = decision.facts.last_ts
        yield BlockingReason(
            "CLOCK_BEHIND",
            f"It was imported with events up to {last_ts}, still to come",
            {"last_ts": last_ts},
        )
    if record is not None and record.forensic:
        yield BlockingReason("FORENSIC_IMPORT", "This history was imported unchecked, as evidence only")
    if record is not None and record.ran_before and decision.facts.linked_execution is None:
        yield BlockingReason(
            "ALREADY_EXECUTED", "An earlier history of this decision has had its run here", {"run_id": None}
        )


def _lifecycle_data(lifecycle: Lifecycle, reasons: tuple[BlockingReason, ...]) -> LifecycleData:
    """`reasons` are all that count here, not only those that the events give."""
    progress = LifecycleProgressData(**lifecycle.progress.to_dict())
    progress["ready_to_execute"] = not reasons
    return {
        "state": lifecycle.state.value,
        "is_blocked": bool(reasons),
        "blocking_reasons": [reason.to_dict() for reason in reasons],
        "progress": progress,
        "timeline_total": lifecycle.timeline_total,
        "timeline_truncated": lifecycle.timeline_truncated,
    }


def _timeline_line(entry: LifecycleEntry, imported_count: int) -> LifecycleEntryData:
    line = LifecycleEntryData(**entry.to_dict())
    if entry.event_type == THRESHOLD_MET and entry.seq < imported_count:
        line["summary"] += ", before the import"
    return line


def inspect(store: DecisionStore, arguments: InspectArguments, router: object = None) -> InspectData:
    """Everything about a decision for a reviewer, all at one instant. `router` may know what its steps would run."""
    known = head.look_at(store)
    with store.reading() as session:
        stored = session.decision(arguments.decision_id)
        first = 0 if arguments.include_events else stored.facts.event_count - DEFAULT_TIMELINE_LIMIT
        events = session.events(stored, start=max(first, 0))
        now = session.now
        authority = authority_now(store, session, stored, now)
        template = template_view(session, stored)
        here = (
            *rollback_reasons(store, session, stored.facts, known),
            *changed_adapter_reasons(stored.facts, router),
        )
        executions = executions_view(session, stored)
        claim = session.rows.claim(arguments.decision_id) if executions else None
        cancel = cancel_of(claim) if claim is not None else None
    if needs_run_log(stored):
        executions[-1] = cut_off_line(store, stored, router)
    lifecycle = recent_lifecycle(stored.facts, events[-DEFAULT_TIMELINE_LIMIT:], now, authority)
    reasons = reasons_of(stored, now, authority, here)
    facts, state = stored.facts, lifecycle.state
    standing = approval_view(facts, now, authority)
    data: InspectData = {
        "ok": True,
        "decision": {
            **decision_view(stored, now),
            "status": "EXECUTED" if state == DecisionState.COMPLETED else state.upper(),
            "event_count": facts.event_count,
        },
        "lifecycle": _lifecycle_data(lifecycle, reasons),
        "approval": {
            "required": standing["required_approvals"],
            "current": standing["current_approvals"],
            "is_approved": standing["is_approved"],
            "approvals": approval_lines(stored, now, authority),
        },
        "policy": _policy(facts),
        "template": template,
        "will_run": will_run(facts, router),
        "execution": executions,
        "timeline": [_timeline_line(entry, stored.imported_count) for entry in lifecycle.timeline],
        "basis": stored.basis,
        "head": stored.head,
    }
    if "groups_missing" in standing:
        data["approval"]["groups_missing"] = standing["groups_missing"]
    if cancel is not None:
        data["cancel"] = cancel.to_line()
    if arguments.include_events:
        data["events"] = [event.to_dict() for event in events]
    if arguments.include_compiled_router_request:
        data["compiled_router_request"] = _compiled(facts)
    if arguments.render:
        data["rendered"] = render_decision(data)
    return data


def _policy(facts: Facts) -> PolicyData | None:
    return cast("PolicyData", facts.policy.to_dict()) if facts.policy else None


def _run(facts: Facts) -> LinkedRun | None:
    linked = facts.linked_execution
    return {"run_id": linked.run_id, "status": linked.outcome} if linked else None


def template_view(session: ReadSession, decision: Projection) -> UsedTemplate | None:
    """The template that the policy was made from, and the fields that were overridden. An imported one can differ from
    the template of the same name in this store.
    """
    reference = template_ref(decision.facts)
    if reference is None:
        return None
    here = session.find_template(reference.name) if decision.imported_count else None
    return {
        "is_of_this_store": not decision.imported_count
        or (here is not None and here.digest == reference.digest),
        "name": reference.name,
        "digest": reference.digest,
        "snapshot": dict(reference.snapshot),
        "overrides_applied": dict(reference.overrides_applied),
    }


def _compiled(facts: Facts) -> dict[str, Any] | None:
    """The request that the router got, or would get. Its adapter is the one that ran, else the one that is bound."""
    created, policy, attached = facts.created, facts.policy, facts.attached
    if created is None or policy is None or attached is None:
        return None
    execution = facts.linked_execution
    adapter_id = execution.adapter_id if execution else attached.adapter_id
    request = policy.compile_to_router_request(
        created.goal, created.plan, adapter_id or "", created.requested_mode == "dry_run"
    )
    return request if adapter_id else {**request, "adapter_id": None}
