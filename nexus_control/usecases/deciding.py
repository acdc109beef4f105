"""What people do to an open decision: approve, revoke, deny, withdraw. Only approvers who count may decide.

`basis` commits to what the person was shown. If the decision is no longer that one, the verdict is refused. Where the
policy requires a rehearsal, an approval covers what the last one gave back, and carries its digest; `rehearsal_digest`
says which one the person was shown.

A verdict that is signed (`signing`) is verified before its event is written, and stored with its signature. A verdict
that stops a decision brings the head beside the store forward, so that an older copy of the store is noticed.
"""

from datetime import datetime

from nexus_control.decision import (
    require_basis,
    require_future,
    require_may_approve,
    require_may_deny,
    require_may_revoke,
    require_may_withdraw,
)
from nexus_control.errors import invalid_argument
from nexus_control.evidence.signed_approval import SignedVerdict
from nexus_control.evidence.statement import Verdict
from nexus_control.log import head
from nexus_control.log.projection import Projection
from nexus_control.log.session import ReadSession, WriteSession
from nexus_control.store import DecisionStore
from nexus_control.usecases import signing
from nexus_control.usecases.answers import ApprovalData, StateData
from nexus_control.usecases.arguments import (
    ApproveArguments,
    DenyArguments,
    RevokeArguments,
    ShownArguments,
    VerdictArguments,
    WithdrawArguments,
)
from nexus_control.usecases.authority import authority_of
from nexus_control.usecases.views import approval_view, authority_now, state_view
from nexus_control.values.actors import Actor
from nexus_control.values.instants import format_instant, parse_instant
from nexus_control.values.payloads import (
    ApprovalDeniedPayload,
    ApprovalGrantedPayload,
    ApprovalRevokedPayload,
    Assurance,
    DecisionWithdrawnPayload,
    Elicitation,
)


def require_may_decide(store: DecisionStore, arguments: ShownArguments, assurance: Assurance) -> None:
    """Refuse what the verdict would be refused for, before a person is shown the request and asked. `assurance` is that
    of the verdict. The verdict checks it all again, because the request may have changed since.
    """
    with store.reading() as session:
        decision, now = _shown(session, arguments)
        match arguments:
            case ApproveArguments():
                _require_may_approve(store, session, decision, arguments.actor, assurance, now)
                require_future(arguments.expires_at, now, "expires_at")
            case DenyArguments():
                require_may_deny(decision.facts, arguments.actor, now)
            case RevokeArguments():
                require_may_revoke(decision.facts, arguments.actor, now)
            case _:
                require_may_withdraw(decision.facts, arguments.actor, now)


def _require_may_approve(
    store: DecisionStore,
    session: ReadSession,
    decision: Projection,
    actor: Actor,
    known: Assurance,
    now: datetime,
) -> None:
    # Authority matters only for a second approval, whose refusal says whether the first one counts.
    is_first = decision.facts.approval_of(actor) is None
    authority = None if is_first else authority_of(store, session, decision, now)
    require_may_approve(decision.facts, actor, known, now, authority)


def approve(
    store: DecisionStore,
    arguments: ApproveArguments,
    *,
    assurance: Assurance = "declared",
    elicitation: Elicitation | None = None,
) -> ApprovalData:
    """One person's approval. `assurance` is how the caller knows who that is; a signed one has "signed"."""
    known: Assurance = "signed" if arguments.signed else assurance

    def work(session: WriteSession) -> ApprovalData:
        decision, now = _shown(session, arguments)
        cover = decision.facts.progress.cover
        shown = arguments.rehearsal_digest
        require_basis(shown, cover and cover.digest, decision.decision_id, what="The last rehearsal")
        _require_may_approve(store, session, decision, arguments.actor, known, now)
        expires_at = format_instant(arguments.expires_at) if arguments.expires_at else None
        if opened := _require_signed(store, session, decision, arguments, "approve", now):
            expires_at = _same_expiry(arguments.expires_at, opened.statement.expires_at)
        require_future(parse_instant(expires_at) if expires_at else None, now, "expires_at")
        granted = ApprovalGrantedPayload(
            expires_at=expires_at,
            comment=arguments.comment,
            assurance=known,
            signed=opened and opened.signed,
            elicitation=elicitation,
            rehearsal_digest=cover and cover.digest,
        )
        stored = session.append(decision, arguments.actor, granted)
        return approval_view(stored.facts, now, authority_of(store, session, stored, now))

    return store.write(work)


def revoke_approval(store: DecisionStore, arguments: RevokeArguments) -> ApprovalData:
    """An approver takes back their own approval, before dispatch."""

    def work(session: WriteSession) -> ApprovalData:
        decision, now = _shown(session, arguments)
        require_may_revoke(decision.facts, arguments.actor, now)
        opened = _require_signed(store, session, decision, arguments, "revoke", now)
        revoked = ApprovalRevokedPayload(reason=arguments.reason, signed=opened and opened.signed)
        stored = session.append(decision, arguments.actor, revoked)
        return approval_view(stored.facts, now, authority_now(store, session, stored, now))

    with head.remembering(store):
        return store.write(work)


def deny(
    store: DecisionStore,
    arguments: DenyArguments,
    *,
    assurance: Assurance = "declared",
    elicitation: Elicitation | None = None,
) -> StateData:
    """One approver's denial. It ends the decision."""

    def work(session: WriteSession) -> StateData:
        decision, now = _shown(session, arguments)
        require_may_deny(decision.facts, arguments.actor, now)
        opened = _require_signed(store, session, decision, arguments, "deny", now)
        denied = ApprovalDeniedPayload(
            reason=arguments.reason,
            assurance="signed" if opened else assurance,
            signed=opened and opened.signed,
            elicitation=elicitation,
        )
        stored = session.append(decision, arguments.actor, denied)
        return state_view(stored.facts, now, stored.authority)

    with head.remembering(store):
        return store.write(work)


def _shown(session: ReadSession, arguments: ShownArguments) -> tuple[Projection, datetime]:
    """The decision, which must be the one that the person was shown, and the instant of their verdict. Raises
    DECISION_NOT_FOUND, BASIS_CHANGED or CLOCK_BEHIND.
    """
    decision = session.decision(arguments.request_id)
    require_basis(arguments.basis, decision.basis, decision.decision_id)
    return decision, session.instant_of_verdict(decision)


def _require_signed(
    store: DecisionStore,
    session: ReadSession,
    decision: Projection,
    arguments: VerdictArguments,
    verdict: Verdict,
    at: datetime,
) -> SignedVerdict | None:
    """The signed verdict; None when the arguments hold no signature. Raises SIGNATURE_INVALID or BASIS_CHANGED."""
    if (signed := arguments.signed) is None:
        return None
    signing.require_basis_of(signed.statement, arguments.basis)
    return signing.require_signed(store, session, decision, arguments.actor, verdict, signed, at)


def _same_expiry(given: datetime | None, stated: str | None) -> str | None:
    if given is not None and (stated is None or parse_instant(stated) != given):
        raise invalid_argument("expires_at", f"is not the statement's, which is {stated}")
    return stated


def withdraw(store: DecisionStore, arguments: WithdrawArguments) -> StateData:
    """The requester takes the request back."""

    def work(session: WriteSession) -> StateData:
        decision, now = _shown(session, arguments)
        require_may_withdraw(decision.facts, arguments.actor, now)
        withdrawn = DecisionWithdrawnPayload(reason=arguments.reason)
        stored = session.append(decision, arguments.actor, withdrawn)
        return state_view(stored.facts, now, stored.authority)

    with head.remembering(store):
        return store.write(work)
