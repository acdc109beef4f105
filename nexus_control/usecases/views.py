"""What is shown of a decision: plain JSON values, made from its facts at an instant."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from nexus_control.blocking import BlockingReason, blocking_reasons
from nexus_control.decision import Decision, DecisionState, state_at, template_ref
from nexus_control.facts import Approval, Execution, Facts
from nexus_control.instants import format_instant
from nexus_control.lifecycle import Lifecycle, compute_lifecycle
from nexus_control.projection import StoredDecision
from nexus_control.render.decision import render_decision
from nexus_control.store import DecisionStore
from nexus_control.usecases.authority import authority_of
from nexus_control.usecases.describing import will_run

if TYPE_CHECKING:  # pydantic stays out until the first call
    from nexus_control.arguments import InspectArguments, StatusArguments


def state_view(facts: Facts, at: datetime) -> dict[str, Any]:
    """The id and the state."""
    return {"request_id": facts.decision_id, "state": str(state_at(facts, at))}


def approval_view(facts: Facts, at: datetime) -> dict[str, Any]:
    """Where the quorum stands."""
    return {
        **state_view(facts, at),
        "current_approvals": len(facts.active_approvals(at)),
        "required_approvals": facts.policy.min_approvals if facts.policy else 0,
        "is_approved": facts.is_approved(at),
    }


def status(store: DecisionStore, arguments: "StatusArguments") -> dict[str, Any]:
    """A decision's state now; the cost does not grow with its history unless events are asked for."""
    with store.reading() as session:
        decision = session.decision(arguments.request_id)
        events = session.events(decision) if arguments.include_events else []
        claim = session.rows.claim(arguments.request_id)
        now = session.now
        authority = authority_of(store, session, decision, now)
    facts = decision.facts
    data = {
        **state_view(facts, now),
        **decision_view(decision, now),
        "basis": decision.basis,
        "active_approvals": len(facts.active_approvals(now)),
        "total_approvals": len(facts.progress.approvals),
        "required_approvals": facts.policy.min_approvals if facts.policy else 0,
        "is_approved": facts.is_approved(now),
        "blocking_reasons": [
            reason.to_dict()
            for reason in (*blocking_reasons(facts, now, authority), *import_reasons(decision))
        ],
        "executions": [execution_line(each) for each in facts.progress.executions],
        "run": _run(facts),
        "event_count": facts.event_count,
    }
    if claim is not None and claim.late_outcome:
        data["late_outcome"] = json.loads(claim.late_outcome)
    if arguments.include_events:
        data["events"] = [event.to_dict() for event in events]
    return data


def decision_view(decision: StoredDecision, at: datetime) -> dict[str, Any]:
    """The decision's own fields."""
    facts, created, attached = decision.facts, decision.facts.created, decision.facts.attached
    view: dict[str, Any] = {
        "decision_id": facts.decision_id,
        "goal": created.goal if created else None,
        "plan": created.plan if created else None,
        "requested_mode": created.requested_mode if created else None,
        "labels": list(created.labels) if created else [],
        "requester": created.requester.to_dict() if created else None,
        "created_at": created.created_at if created else decision.reserved_at,
        "policy": facts.policy.to_dict() if facts.policy else None,
        "expires_at": attached.expires_at if attached else None,
        "adapter_id": attached.adapter_id if attached else None,
        "adapter_digest": attached.adapter_digest if attached else None,
        "as_of": format_instant(at),
    }
    if reference := template_ref(facts):
        view["template_name"], view["template_digest"] = reference.name, reference.digest
    if facts.progress.ending:
        ending = facts.progress.ending
        view["ending"] = {"actor": ending.actor.to_dict(), "ts": ending.ts, "reason": ending.reason}
    if decision.provenance:
        view["imported"] = provenance_view(decision)
    return view


def provenance_view(decision: StoredDecision) -> dict[str, Any]:
    """Where an imported decision came from."""
    provenance = decision.provenance
    if provenance is None:
        return {}
    return {
        "at": provenance.imported_at,
        "bundle_digest": provenance.bundle_digest,
        "events": decision.imported_count,
        "copied_from": provenance.copied_from,
        "forensic": provenance.forensic,
    }


def import_reasons(decision: StoredDecision) -> Iterator[BlockingReason]:
    """What keeps an imported history from being executed here beyond what its events say."""
    record = decision.provenance
    if record is not None and record.forensic:
        yield BlockingReason("FORENSIC_IMPORT", "This history was imported unchecked, as evidence only")
    if record is not None and record.ran_before and decision.facts.linked_execution is None:
        yield BlockingReason(
            "ALREADY_EXECUTED", "An earlier history of this decision has had its run here", {"run_id": None}
        )


def _lifecycle(decision: Decision, stored: StoredDecision, authority: frozenset[int] | None) -> Lifecycle:
    lifecycle = compute_lifecycle(decision, authority=authority)
    reasons = (*lifecycle.blocking_reasons, *import_reasons(stored))
    return replace(
        lifecycle,
        is_blocked=bool(reasons),
        blocking_reasons=reasons,
        progress=replace(lifecycle.progress, ready_to_execute=not reasons),
    )


def inspect(store: DecisionStore, arguments: "InspectArguments", router: object = None) -> dict[str, Any]:
    """Everything about a decision for a reviewer, all of one instant; `router` may know what its steps would run."""
    with store.reading() as session:
        stored = session.decision(arguments.decision_id)
        events = session.events(stored)
        now = session.now
        authority = authority_of(store, session, stored, now)
    decision = Decision(stored.facts, tuple(events), now)
    lifecycle = _lifecycle(decision, stored, authority).to_dict()
    timeline = lifecycle.pop("timeline")
    facts = stored.facts
    data: dict[str, Any] = {
        "ok": True,
        "decision": {
            **decision_view(stored, now),
            "status": str(decision.state).upper(),
            "event_count": facts.event_count,
        },
        "lifecycle": lifecycle,
        "approval": {
            "required": facts.policy.min_approvals if facts.policy else 0,
            "current": len(facts.active_approvals(now)),
            "is_approved": facts.is_approved(now),
            "approvals": [_approval_line(facts, each, now) for each in facts.progress.approvals],
        },
        "policy": facts.policy.to_dict() if facts.policy else None,
        "template": template_view(facts),
        "will_run": will_run(facts, router),
        "execution": [execution_line(each) for each in facts.progress.executions],
        "timeline": timeline,
        "basis": stored.basis,
        "head": stored.head,
    }
    if decision.state is DecisionState.COMPLETED:
        data["decision"]["status"] = "EXECUTED"
    if arguments.include_events:
        data["events"] = [event.to_dict() for event in events]
    if arguments.include_compiled_router_request:
        data["compiled_router_request"] = _compiled(facts)
    return data | {"rendered": render_decision(data)} if arguments.render else data


def _approval_line(facts: Facts, approval: Approval, at: datetime) -> dict[str, Any]:
    return {
        "actor": approval.actor.to_dict(),
        "granted_at": approval.granted_at,
        "expires_at": approval.expires_at,
        "comment": approval.comment,
        "assurance": approval.assurance or "declared",
        "revoked_at": approval.revoked_at,
        "revoke_reason": approval.revoke_reason,
        "active": approval.is_current(at) and facts.counts(approval),
    }


def execution_line(execution: Execution) -> dict[str, Any]:
    """One execution as JSON values."""
    return {
        "adapter_id": execution.adapter_id,
        "dry_run": execution.dry_run,
        "rehearsal": execution.rehearsal,
        "outcome": execution.outcome,
        "requested_at": execution.requested_at,
        "started_at": execution.started_at,
        "completed_at": execution.completed_at,
        "run_id": execution.run_id,
        "steps_executed": execution.steps_executed,
        "error_code": execution.error_code,
        "error_message": execution.error_message,
    }


def _run(facts: Facts) -> dict[str, Any] | None:
    linked = facts.linked_execution
    return {"run_id": linked.run_id, "status": linked.outcome} if linked else None


def template_view(facts: Facts) -> dict[str, Any] | None:
    """The template that the policy was made from, and what of it was overridden."""
    reference = template_ref(facts)
    if reference is None:
        return None
    return {
        "name": reference.name,
        "digest": reference.digest,
        "snapshot": dict(reference.snapshot),
        "overrides_applied": dict(reference.overrides_applied),
    }


def _compiled(facts: Facts) -> dict[str, Any] | None:
    """What the router would be, or was, asked; the adapter is the one that ran, else the one that was bound."""
    created, policy, attached = facts.created, facts.policy, facts.attached
    if created is None or policy is None or attached is None:
        return None
    execution = facts.linked_execution
    adapter_id = execution.adapter_id if execution else attached.adapter_id
    request = policy.compile_to_router_request(
        created.goal, created.plan, adapter_id or "", created.requested_mode == "dry_run"
    )
    return request if adapter_id else {**request, "adapter_id": None}
