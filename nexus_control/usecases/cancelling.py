"""Cancel: somebody who has a part in a decision stops its execution while it is under way.

The cancel is kept beside the claim (`usecases.cancels`), and is no event. The process that executes sees it, stops what
can be stopped, and records the execution as failed: CANCELLED, with who asked and why, and with the effect as far as it
is known. An outcome that is recorded before stands, and so does one that comes because the run could not be stopped.

Of several cancels of one execution the first counts. Where a caller runs the tool itself (`tools.claim`), the cancel is
shown to whom it concerns, and that caller's record says what became of it.
"""

from dataclasses import replace

from nexus_control.decision import DecisionState, state_at
from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.facts import Execution, Facts
from nexus_control.log.projection import Projection
from nexus_control.log.session import ReadSession, WriteSession
from nexus_control.storage.contract import Claim
from nexus_control.store import DecisionStore
from nexus_control.system.processes import Owner
from nexus_control.usecases.arguments import CancelArguments
from nexus_control.usecases.cancels import Cancel, cancel_of
from nexus_control.usecases.resulting import id_of
from nexus_control.usecases.run_answers import CancelData
from nexus_control.usecases.settling import owner_of, standing_of
from nexus_control.values.actors import Actor, require_new_actor
from nexus_control.values.instants import format_instant

_ADVICE = {
    DecisionState.DRAFT: "Nothing was asked for yet, so there is nothing to stop.",
    DecisionState.PENDING_APPROVAL: "The requester can withdraw it, and an approver can deny it.",
    DecisionState.APPROVED: "The requester can withdraw it, and an approver can deny it.",
    DecisionState.EXPIRED: "It is never executed. The requester can withdraw it, and an approver can deny it.",
    DecisionState.OUTCOME_UNKNOWN: "Find out what it did, then reconcile.",
}


def cancel(store: DecisionStore, arguments: CancelArguments) -> CancelData:
    """Ask that the execution under way ends.

    Raises INVALID_STATE where nothing is being executed or nobody is there to stop, NOT_ELIGIBLE, and CLAIM_HELD for an
    imported execution.
    """
    with store.writing() as session:
        decision = session.decision(arguments.request_id)
        execution = _under_way(decision, session)
        _require_may_cancel(decision.facts, execution, arguments.actor)
        claim = _claim_of(decision, session)
        asked, is_new = cancel_of(claim), False
        if asked is None:
            actor, ts, is_new = require_new_actor(arguments.actor), format_instant(session.now), True
            asked = Cancel(actor=actor, reason=arguments.reason, ts=ts)
            session.rows.put_claim(replace(claim, cancel=asked.to_text()))
    owner = Owner.find(claim.owner)
    return {
        "request_id": decision.decision_id,
        "state": "executing",
        "execution_id": id_of(decision, execution),
        "cancel": asked.to_line(),
        "asked": is_new,
        "run_by": "caller" if owner is not None and owner.is_a_process else "router",
    }


def require_under_way(store: DecisionStore, decision_id: str) -> None:
    """Returns while the decision is being executed. Raises DECISION_NOT_FOUND, INVALID_STATE."""
    with store.reading() as session:
        _under_way(session.decision(decision_id), session)


def _under_way(decision: Projection, session: ReadSession) -> Execution:
    """The execution that is under way. Raises INVALID_STATE."""
    facts = decision.facts
    if facts.phase == "executing" and facts.last_execution is not None:
        return facts.last_execution
    state = state_at(facts, session.now)
    raise NexusControlError(
        ErrorCode.INVALID_STATE,
        f"Cannot cancel decision in state {state}: nothing is being executed",
        {"state": str(state)},
        _ADVICE.get(state, "It has ended, so there is nothing left to stop; look at the status."),
    )


def _require_may_cancel(facts: Facts, execution: Execution, actor: Actor) -> None:
    requester, policy = facts.created and facts.created.requester, facts.policy
    if actor in (requester, execution.actor) or (policy is not None and policy.is_eligible(actor)):
        return
    raise NexusControlError(
        ErrorCode.NOT_ELIGIBLE,
        f"{actor.id} is not the requester, not one of this policy's approvers, and not who executes it",
        {"actor": actor.to_dict(), "approvers": list(policy.approvers) if policy else []},
        "Ask the requester, one of the approvers or who executes it to cancel.",
    )


def _claim_of(decision: Projection, session: WriteSession) -> Claim:
    """The claim of the execution under way. Raises CLAIM_HELD where this store holds none, INVALID_STATE where its
    owner has ended.
    """
    claim = session.rows.claim(decision.decision_id)
    if claim is None or claim.recovered:
        raise NexusControlError(
            ErrorCode.CLAIM_HELD,
            "The execution was imported: its claim is in another store",
            advice="Cancel it in the store where it is executed.",
        )
    if standing_of(claim) == "gone":
        raise NexusControlError(
            ErrorCode.INVALID_STATE,
            f"Nobody is there to stop: {owner_of(claim)} ended before it reported an outcome",
            {"state": "executing"},
            "Give the execution up with recover: its outcome is unknown.",
        )
    return claim
