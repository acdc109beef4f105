"""Who approved a decision, which approvals count here and now, and whose are still missing."""

from collections.abc import Sequence
from datetime import datetime
from typing import cast

from nexus_control import approvals
from nexus_control.approvals import Approval, Authority, AwaitedData, Inactive
from nexus_control.decision import DecisionState, request_expired
from nexus_control.facts import Facts
from nexus_control.log.projection import Projection
from nexus_control.usecases.answers import ApprovalLine
from nexus_control.usecases.run_answers import RehearsalLine


def approval_lines(decision: Projection, at: datetime, authority: Authority) -> list[ApprovalLine]:
    """Each approval, and whether it counts."""
    lines, imported_count = list[ApprovalLine](), decision.imported_count
    ended: Inactive | None = "request_expired" if request_expired(decision.facts, at) else None
    # In one loop, and spelled out: all are shown, however many there are, and most of a long history were taken back.
    for each in decision.facts.progress.approvals:
        inactive, actor = "revoked", each.actor
        if each.revoked_at is None:
            inactive = _inactive(decision, each, at, authority) or ended
        line: ApprovalLine = {
            "actor": {"type": actor.type, "id": actor.id},
            "granted_at": each.granted_at,
            "expires_at": each.expires_at,
            "comment": each.comment,
            "assurance": each.assurance or "declared",
            "revoked_at": each.revoked_at,
            "revoke_reason": each.revoke_reason,
            "active": inactive is None,
            "inactive_because": inactive,
            "imported": each.seq < imported_count,
        }
        if each.rehearsal_digest is not None:
            line["rehearsal_digest"] = each.rehearsal_digest
        lines.append(line)
    return lines


def rehearsal_line(facts: Facts, at: datetime) -> RehearsalLine | None:
    """The last rehearsal; None before the first."""
    last = facts.last_rehearsal
    return last and {
        "seq": last.seq,
        "run_id": last.run_id,
        "digest": last.rehearsal_digest,
        "at": last.completed_at or last.requested_at,
        "status": last.outcome,
        "is_fresh": facts.rehearsal_lack(at) is None,
    }


def awaited(decision: Projection, state: DecisionState, lines: Sequence[ApprovalLine]) -> AwaitedData | None:
    """Whose approvals are still missing; None where none is, or where none would count any more. `state` and the
    `lines` of its approvals are those at one instant.
    """
    facts = decision.facts
    policy = facts.policy
    if policy is None or state is not DecisionState.PENDING_APPROVAL:
        return None
    if decision.provenance is not None and decision.provenance.is_evidence_only:
        return None
    requester = facts.created.requester if facts.created else None
    approved = [each["actor"]["id"] for each in lines if each["active"]]
    return approvals.awaited(policy, approver_groups(facts), requester, approved)


def approver_groups(facts: Facts) -> dict[str, list[str]]:
    """The members of the groups that the policy names, as the request recorded them."""
    recorded = facts.attached.approver_groups if facts.attached else None
    return {group: list(cast("Sequence[str]", ids)) for group, ids in (recorded or {}).items()}


def _inactive(
    decision: Projection, approval: Approval, at: datetime, authority: Authority
) -> Inactive | None:
    """Why an approval that was not taken back does not count, as long as the request has not expired; None: it does."""
    if approval.is_expired(at):
        return "expired"
    if decision.facts.is_stale(approval):
        return "stale"
    if not decision.facts.counts(approval):
        return "not_accepted"
    if authority is not None and approval.seq not in authority:
        return "imported" if approval.seq < decision.imported_count else "not_trusted"
    return None
