"""What people do to an open decision: approve, revoke, deny, withdraw. Only approvers who count may decide."""

from typing import TYPE_CHECKING, Any

from nexus_control.decision import (
    require_may_approve,
    require_may_deny,
    require_may_revoke,
    require_may_withdraw,
)
from nexus_control.instants import format_instant
from nexus_control.payloads import (
    ApprovalDeniedPayload,
    ApprovalGrantedPayload,
    ApprovalRevokedPayload,
    Assurance,
    DecisionWithdrawnPayload,
    Elicitation,
)
from nexus_control.store import DecisionStore
from nexus_control.usecases.requesting import require_future
from nexus_control.usecases.views import approval_view, state_view

if TYPE_CHECKING:  # pydantic stays out until the first call
    from nexus_control.arguments import ApproveArguments, EndArguments, RevokeArguments


def approve(
    store: DecisionStore,
    arguments: "ApproveArguments",
    *,
    assurance: Assurance = "declared",
    elicitation: Elicitation | None = None,
) -> dict[str, Any]:
    """One person's approval. `assurance` is how the caller of this function knows who it is."""
    with store.writing() as session:
        decision = session.decision(arguments.request_id)
        now = session.instant_of_next(decision)
        require_may_approve(decision.facts, arguments.actor, assurance, now, decision.authority)
        require_future(arguments.expires_at, now, "expires_at")
        granted = ApprovalGrantedPayload(
            expires_at=format_instant(arguments.expires_at) if arguments.expires_at else None,
            comment=arguments.comment,
            assurance=assurance,
            elicitation=elicitation,
        )
        stored = session.append(decision, arguments.actor, granted)
        return approval_view(stored.facts, now)


def revoke_approval(store: DecisionStore, arguments: "RevokeArguments") -> dict[str, Any]:
    """Take back one's own approval, before dispatch."""
    with store.writing() as session:
        decision = session.decision(arguments.request_id)
        now = session.instant_of_next(decision)
        require_may_revoke(decision.facts, arguments.actor, now)
        stored = session.append(decision, arguments.actor, ApprovalRevokedPayload(reason=arguments.reason))
        return approval_view(stored.facts, now)


def deny(
    store: DecisionStore,
    arguments: "EndArguments",
    *,
    assurance: Assurance = "declared",
    elicitation: Elicitation | None = None,
) -> dict[str, Any]:
    """One approver's refusal; it ends the decision."""
    with store.writing() as session:
        decision = session.decision(arguments.request_id)
        now = session.instant_of_next(decision)
        require_may_deny(decision.facts, arguments.actor, now)
        denied = ApprovalDeniedPayload(reason=arguments.reason, assurance=assurance, elicitation=elicitation)
        return state_view(session.append(decision, arguments.actor, denied).facts, now)


def withdraw(store: DecisionStore, arguments: "EndArguments") -> dict[str, Any]:
    """The requester takes the request back."""
    with store.writing() as session:
        decision = session.decision(arguments.request_id)
        now = session.instant_of_next(decision)
        require_may_withdraw(decision.facts, arguments.actor, now)
        withdrawn = DecisionWithdrawnPayload(reason=arguments.reason)
        return state_view(session.append(decision, arguments.actor, withdrawn).facts, now)
