"""Whether a decision may be executed now: by its own rules, and by those of one attempt. Nothing is written."""

from nexus_control.advice import advice_on
from nexus_control.blocking import Attempt, attempt_reasons, blocking_reasons, dispatch_reasons, in_order
from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.log import head
from nexus_control.log.projection import Projection
from nexus_control.log.session import ReadSession
from nexus_control.store import DecisionStore
from nexus_control.usecases.authority import authority_of
from nexus_control.usecases.views import import_reasons


def require_open(store: DecisionStore, request_id: str, *, dry_run: bool = False) -> None:
    """Raises what keeps the decision from being executed here by any router and adapter, as `execute` does."""
    known = head.look_at(store)
    with store.reading() as session:
        decision = session.decision(request_id)
        head.require_continued(session, store.sidecar, known)
        require_allowed(store, session, decision, dry_run=dry_run)


def require_allowed(
    store: DecisionStore,
    session: ReadSession,
    decision: Projection,
    attempt: Attempt | None = None,
    *,
    dry_run: bool = False,
    by_worker: bool = False,
) -> None:
    """Raises POLICY_NOT_SATISFIED where the decision must not be executed: in this attempt, or, if it is None, in any
    (with `dry_run` in any rehearsal), where `by_worker` says whether a worker makes it. Raises EXECUTING while it is
    being executed.
    """
    now = session.instant_of_next(decision)
    authority = authority_of(store, session, decision, now)
    if attempt is None:
        own = (
            *blocking_reasons(decision.facts, now, authority, dry_run=dry_run),
            *dispatch_reasons(decision.facts, by_worker=by_worker),
        )
    else:
        own = attempt_reasons(decision.facts, now, attempt, authority)
    reasons = in_order((*own, *import_reasons(decision, session.now)))
    if reasons:
        details = {"request_id": decision.decision_id, "reasons": [reason.to_dict() for reason in reasons]}
        if decision.facts.phase == "executing":  # another caller was faster; this one did nothing wrong
            running = "Another call is executing this decision; it runs once"
            raise NexusControlError(ErrorCode.EXECUTING, running, details, advice_on(reasons))
        raise NexusControlError(
            ErrorCode.POLICY_NOT_SATISFIED,
            "Policy validation failed: " + "; ".join(reason.message for reason in reasons),
            details,
            advice_on(reasons),
        )
