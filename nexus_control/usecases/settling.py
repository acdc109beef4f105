"""After a crash: find executions whose owner is gone, and let a person settle what really happened.

Nothing is ever run again. `recover` only says that the outcome is unknown; `reconcile` records what a person found.
"""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from nexus_control.decision import state_at
from nexus_control.entries import SYSTEM_ACTOR
from nexus_control.errors import ErrorCode, NexusControlError, invalid_argument
from nexus_control.payloads import ExecutionOutcomeUnknownPayload, ExecutionReconciledPayload
from nexus_control.projection import StoredDecision
from nexus_control.session import WriteSession
from nexus_control.storage.contract import Claim
from nexus_control.store import DecisionStore
from nexus_control.usecases.ownership import Owner
from nexus_control.usecases.views import authority_now, state_view

if TYPE_CHECKING:  # pydantic stays out until the first call
    from nexus_control.arguments import ReconcileArguments, RecoverArguments


def recover(store: DecisionStore, arguments: "RecoverArguments") -> dict[str, Any]:
    """Turn abandoned executions into outcome unknown: all of this host's, or the named one.

    Another host's claim is only given up when it is named and forced. Raises CLAIM_HELD for a named claim that
    somebody still owns, INVALID_STATE when the named decision is not executing.
    """
    if arguments.force and arguments.request_id is None:
        raise invalid_argument("force", "needs request_id: only a named execution can be given up by force")
    with store.writing() as session:
        if arguments.request_id is None:
            held = [claim for claim in session.rows.claims() if not claim.recovered]
            abandoned = [claim for claim in held if _is_abandoned(claim, force=False)]
        else:
            held = [_named_claim(store, session, arguments.request_id)]
            abandoned = [claim for claim in held if _is_abandoned(claim, arguments.force)]
            if not abandoned:
                raise _held(held[0])
        for claim in abandoned:
            _give_up(session, claim)
    recovered = [claim.decision_id for claim in abandoned]
    return {"recovered": recovered, "still_held": len(held) - len(abandoned)}


def reconcile(store: DecisionStore, arguments: "ReconcileArguments") -> dict[str, Any]:
    """Record what a person found out about an execution whose outcome was unknown."""
    with store.writing() as session:
        decision = session.decision(arguments.request_id)
        if decision.facts.phase != "outcome_unknown":
            raise _wrong_state(store, session, decision, "reconcile")
        reconciled = ExecutionReconciledPayload(
            outcome=arguments.outcome,
            evidence=arguments.evidence,
            run_id=arguments.run_id,
            response_digest=arguments.response_digest,
        )
        stored = session.append(decision, arguments.actor, reconciled)
        authority = authority_now(store, session, stored, session.now)
        return {**state_view(stored.facts, session.now, authority), "outcome": arguments.outcome}


def _named_claim(store: DecisionStore, session: WriteSession, decision_id: str) -> Claim:
    decision = session.decision(decision_id)
    claim = session.rows.claim(decision_id)
    if decision.facts.phase != "executing" or claim is None or claim.recovered:
        raise _wrong_state(store, session, decision, "recover")
    return claim


def _wrong_state(
    store: DecisionStore, session: WriteSession, decision: StoredDecision, verb: str
) -> NexusControlError:
    authority = authority_now(store, session, decision, session.now)
    state = str(state_at(decision.facts, session.now, authority))
    return NexusControlError(
        ErrorCode.INVALID_STATE, f"Cannot {verb} decision in state {state}", {"state": state}
    )


def _is_abandoned(claim: Claim, force: bool) -> bool:
    owner = Owner.from_text(claim.owner)
    return force if owner.is_elsewhere() else owner.is_gone()


def _held(claim: Claim) -> NexusControlError:
    owner = Owner.from_text(claim.owner)
    where = f"process {owner.pid} on host {owner.host}"
    return NexusControlError(
        ErrorCode.CLAIM_HELD, f"The execution belongs to {where}", {"host": owner.host, "pid": owner.pid}
    )


def _give_up(session: WriteSession, claim: Claim) -> None:
    owner = Owner.from_text(claim.owner)
    detail = f"process {owner.pid} on host {owner.host} ended before it reported an outcome"
    unknown = ExecutionOutcomeUnknownPayload(reason="OWNER_GONE", detail=detail)
    session.append(session.decision(claim.decision_id), SYSTEM_ACTOR, unknown)
    session.rows.put_claim(replace(claim, recovered=True))
