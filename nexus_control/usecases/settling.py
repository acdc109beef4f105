"""After a crash: find executions whose owner is gone, and let a person settle what really happened.

Nothing is ever run again. `recover` records that the outcome is unknown. `give_up_own` does so for executions that this
process leaves behind. `reconcile` records what a person found out.
"""

from contextlib import suppress
from dataclasses import replace

from nexus_control.decision import wrong_state
from nexus_control.errors import ErrorCode, NexusControlError, invalid_argument
from nexus_control.log.entries import SYSTEM_ACTOR
from nexus_control.log.session import WriteSession
from nexus_control.storage.contract import Claim
from nexus_control.store import DecisionStore
from nexus_control.system.processes import Owner, Standing
from nexus_control.usecases.answers import ReconcileData
from nexus_control.usecases.arguments import ReconcileArguments, RecoverArguments
from nexus_control.usecases.resulting import runs_by_execution, step_lines
from nexus_control.usecases.run_answers import RecoverData, RecoveredRun
from nexus_control.usecases.views import authority_now, state_view
from nexus_control.values.payloads import ExecutionOutcomeUnknownPayload, ExecutionReconciledPayload

_TO_RECOVER = (
    "If nothing executes it any more, recover it first: its outcome is unknown then. Then reconcile."
)


def recover(store: DecisionStore, arguments: RecoverArguments, router: object = None) -> RecoverData:
    """Turn abandoned executions into outcome unknown: all of this host's, or the named one.

    Two kinds of execution are only given up when named and forced: one whose owner cannot be seen from here (on another
    host, or hidden by /proc), and one with which an imported history ends, because its claim is in another store.
    Raises CLAIM_HELD for a named claim that a process still owns, INVALID_STATE when the named decision is not
    executing. `router` may know what the runs did; else the run log beside the store is asked.
    """
    if arguments.force and arguments.request_id is None:
        raise invalid_argument("force", "needs request_id: only a named execution can be given up by force")
    with store.writing() as session:
        if arguments.request_id is None:
            held = [claim for claim in session.rows.claims() if not claim.recovered]
            abandoned = [claim for claim in held if _is_abandoned(claim, force=False)]
        else:
            named = _named_claim(store, session, arguments.request_id)
            if named is None:
                _give_up_unclaimed(session, arguments.request_id, arguments.force)
                return {"recovered": [arguments.request_id], "still_held": 0, "runs": []}
            held = [named]
            abandoned = [claim for claim in held if _is_abandoned(claim, arguments.force)]
            if not abandoned:
                raise _held(named)
        for claim in abandoned:
            _give_up(session, claim, "OWNER_GONE", f"{owner_of(claim)} ended before it reported an outcome")
    return {
        "recovered": [claim.decision_id for claim in abandoned],
        "still_held": len(held) - len(abandoned),
        "runs": [_run_of(store, claim, router) for claim in abandoned],
    }


def _run_of(store: DecisionStore, claim: Claim, router: object) -> RecoveredRun:
    """What the router's log knows of the run of this claim. It is read after the transaction."""
    execution_id = f"{claim.decision_id}:{claim.generation}:{claim.seq}"
    known = runs_by_execution(store, claim.decision_id, router).get(execution_id)
    return {
        "request_id": claim.decision_id,
        "execution_id": execution_id,
        "run_id": known.run_id if known else None,
        "results": step_lines(known.steps if known else ()),
    }


def give_up_own(store: DecisionStore, why: str) -> None:
    """Record the outcome as unknown for each execution that this process still runs; `why` says what ends them."""
    with store.reading() as session:
        own = [claim for claim in session.rows.claims() if not claim.recovered and _is_own(claim)]
    for claim in own:
        # One at a time: an execution that cannot be recorded now is recovered at the next start.
        with suppress(NexusControlError), store.writing() as session:
            kept = session.rows.claim(claim.decision_id)
            if kept is not None and replace(kept, cancel="") == replace(claim, cancel=""):
                # otherwise its outcome has come meanwhile
                _give_up(session, kept, "STOPPED", f"the run could not be ended, and was left because {why}")


def reconcile(store: DecisionStore, arguments: ReconcileArguments) -> ReconcileData:
    """Record what a person found out about an execution whose outcome was unknown."""
    with store.writing() as session:
        decision = session.decision(arguments.request_id)
        if decision.facts.phase != "outcome_unknown":
            authority = authority_now(store, session, decision, session.now)
            fault = wrong_state(decision.facts, session.now, "reconcile", authority)
            if decision.facts.phase == "executing":
                raise NexusControlError(fault.code, fault.message, fault.details, _TO_RECOVER)
            raise fault
        reconciled = ExecutionReconciledPayload(
            outcome=arguments.outcome,
            evidence=arguments.evidence,
            run_id=arguments.run_id,
            response_digest=arguments.response_digest,
        )
        stored = session.append(decision, arguments.actor, reconciled)
        authority = authority_now(store, session, stored, session.now)
        return {**state_view(stored.facts, session.now, authority), "outcome": arguments.outcome}


def _named_claim(store: DecisionStore, session: WriteSession, decision_id: str) -> Claim | None:
    """The claim of this execution; None where this store holds none."""
    decision = session.decision(decision_id)
    claim = session.rows.claim(decision_id)
    if decision.facts.phase != "executing":
        raise wrong_state(
            decision.facts, session.now, "recover", authority_now(store, session, decision, session.now)
        )
    return None if claim is None or claim.recovered else claim


def _is_abandoned(claim: Claim, force: bool) -> bool:
    standing = standing_of(claim)
    return standing == "gone" or (force and standing == "unseen")


def standing_of(claim: Claim) -> Standing:
    """Whether the process that executes is still there."""
    owner = Owner.find(claim.owner)
    return "unseen" if owner is None else owner.standing()


def is_seen_at_work(store: DecisionStore, decision_id: str) -> bool:
    """Whether the decision is being executed by a process that is seen to be there."""
    with store.reading() as session:
        claim = session.rows.claim(decision_id)
    return claim is not None and not claim.recovered and standing_of(claim) == "alive"


def _is_own(claim: Claim) -> bool:
    owner = Owner.find(claim.owner)
    return owner is not None and owner.is_under_way_here()


def _held(claim: Claim) -> NexusControlError:
    owner = Owner.find(claim.owner)
    unseen = ", which cannot be seen from here" if standing_of(claim) == "unseen" else ""
    return NexusControlError(
        ErrorCode.CLAIM_HELD,
        f"The execution belongs to {owner_of(claim)}{unseen}",
        {} if owner is None else {"host": owner.host, "pid": owner.pid},
    )


def owner_of(claim: Claim) -> str:
    """The process that executes, in words."""
    owner = Owner.find(claim.owner)
    if owner is None:
        return "an owner that another version wrote down"
    return f"process {owner.pid} on host {owner.host}"


def _give_up_unclaimed(session: WriteSession, decision_id: str, force: bool) -> None:
    if not force:
        raise NexusControlError(
            ErrorCode.CLAIM_HELD, "The execution was imported: its claim is in another store"
        )
    detail = "the history was imported while it was being executed elsewhere"
    unknown = ExecutionOutcomeUnknownPayload(reason="NO_CLAIM", detail=detail)
    session.append(session.decision(decision_id), SYSTEM_ACTOR, unknown)


def _give_up(session: WriteSession, claim: Claim, reason: str, detail: str) -> None:
    unknown = ExecutionOutcomeUnknownPayload(reason=reason, detail=detail)
    session.append(session.decision(claim.decision_id), SYSTEM_ACTOR, unknown)
    session.rows.put_claim(replace(claim, recovered=True))
