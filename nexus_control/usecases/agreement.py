"""Who approved a decision, which approvals count here and now, and whose are still missing."""

from datetime import datetime

from nexus_control.approvals import Approval, Authority
from nexus_control.decision import DecisionState, request_expired, state_at
from nexus_control.facts import Facts
from nexus_control.log.projection import Projection
from nexus_control.policy import Policy
from nexus_control.usecases.answers import ApprovalLine, AwaitedData, Inactive
from nexus_control.values.actors import fold_id


def approval_lines(decision: Projection, at: datetime, authority: Authority) -> list[ApprovalLine]:
    """Each approval, and whether it counts."""
    return [
        _approval_line(decision, each, _inactive(decision, each, at, authority))
        for each in decision.facts.progress.approvals
    ]


def awaited(decision: Projection, at: datetime, authority: Authority) -> AwaitedData | None:
    """Whose approvals are still missing; None where none is, or where none would count any more."""
    facts = decision.facts
    policy = facts.policy
    if policy is None or state_at(facts, at, authority) != DecisionState.PENDING_APPROVAL:
        return None
    if decision.provenance is not None and decision.provenance.is_evidence_only:
        return None
    return {
        "missing": policy.min_approvals - facts.current_approvals(at, authority),
        "eligible": _eligible(facts, policy, at, authority) if policy.approvers else None,
        "requester_may_approve": policy.allow_requester_approval,
        "min_assurance": policy.min_assurance,
    }


def _eligible(facts: Facts, policy: Policy, at: datetime, authority: Authority) -> list[str]:
    """The approvers of the policy who may still approve."""
    done = {approval.actor.key for approval in facts.active_approvals(at, authority)}
    if facts.created is not None and not policy.allow_requester_approval:
        done.add(facts.created.requester.key)
    return [each for each in policy.approvers if fold_id(each) not in done]


def _inactive(
    decision: Projection, approval: Approval, at: datetime, authority: Authority
) -> Inactive | None:
    """Why this approval does not count; None where it does."""
    if approval.revoked_at is not None:
        return "revoked"
    if approval.is_expired(at):
        return "expired"
    if not decision.facts.counts(approval):
        return "not_accepted"
    if authority is not None and approval.seq not in authority:
        return "imported" if approval.seq < decision.imported_count else "not_trusted"
    return "request_expired" if request_expired(decision.facts, at) else None


def _approval_line(decision: Projection, approval: Approval, inactive: Inactive | None) -> ApprovalLine:
    return {
        "actor": approval.actor.to_dict(),
        "granted_at": approval.granted_at,
        "expires_at": approval.expires_at,
        "comment": approval.comment,
        "assurance": approval.assurance or "declared",
        "revoked_at": approval.revoked_at,
        "revoke_reason": approval.revoke_reason,
        "active": inactive is None,
        "inactive_because": inactive,
        "imported": approval.seq < decision.imported_count,
    }
