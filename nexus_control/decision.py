"""Decision: the events of one request for execution, judged at an instant, and the rules of who may do what to it.

The state is the phase (`facts`), except for an open decision. That is expired from the request's `expires_at` on;
before, it is approved while enough approvals count, and otherwise pending_approval. No approval of an expired request
counts. Without an instant a decision is judged at its last event's `ts`, so the same events always give the same state.

The argument `authority` is the set of the `seq` of approvals that carry authority; None means all.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Protocol

from nexus_control.approvals import Approval, Authority
from nexus_control.errors import ErrorCode, NexusControlError, invalid_argument
from nexus_control.events import Actor, StoredEvent, read_ahead
from nexus_control.facts import Execution, Facts, replay_facts
from nexus_control.policy import Policy
from nexus_control.values.executions import lack_words
from nexus_control.values.instants import format_instant
from nexus_control.values.lookalikes import skeleton
from nexus_control.values.payloads import Assurance, Effect

_NAMED = 8
_SIGN = "Sign the approval. On the command line that is --sign KEY, with the approver's SSH key."
_WAIT_FOR_A_WORKER = "Wait until a worker has rehearsed it. If its last rehearsal failed, make a new request."
_BE_ASKED = "Approve on the command line as yourself, without --as and --yes, or sign with --sign KEY."


class DecisionState(StrEnum):
    """The state of a decision at an instant. Each member is a string.

    >>> decision.state == "pending_approval"
    True
    """

    DRAFT = "draft"
    PENDING_APPROVAL = "pending_approval"
    APPROVED = "approved"
    EXPIRED = "expired"
    EXECUTING = "executing"
    COMPLETED = "completed"
    FAILED = "failed"
    DENIED = "denied"
    WITHDRAWN = "withdrawn"
    OUTCOME_UNKNOWN = "outcome_unknown"


def state_at(facts: Facts, at: datetime, authority: Authority = None) -> DecisionState:
    """The state of these facts at this instant."""
    return standing_at(facts, at, authority)[0]


def standing_at(facts: Facts, at: datetime, authority: Authority = None) -> tuple[DecisionState, int]:
    """The state, and how many approvals count towards an execution then: no approval of an expired request does."""
    if request_expired(facts, at):
        return DecisionState.EXPIRED, 0
    counting = facts.current_approvals(at, authority)
    if facts.phase != "open":
        return DecisionState(facts.phase), counting
    suffice = facts.is_approved(at, authority)
    return (DecisionState.APPROVED if suffice else DecisionState.PENDING_APPROVAL), counting


def recorded_state(facts: Facts, at: datetime) -> DecisionState:
    """The state for a bundle. Documents have no state `expired`: approvals make the request approved or pending."""
    if not request_expired(facts, at):
        return state_at(facts, at)
    return DecisionState.APPROVED if facts.is_approved(at) else DecisionState.PENDING_APPROVAL


def counting_approvals(facts: Facts, at: datetime, authority: Authority = None) -> tuple[Approval, ...]:
    """The approvals that count towards an execution at this instant."""
    return () if request_expired(facts, at) else facts.active_approvals(at, authority)


def is_approved(facts: Facts, at: datetime, authority: Authority = None) -> bool:
    """Whether the approvals that count at this instant are those that the policy demands."""
    return not request_expired(facts, at) and facts.is_approved(at, authority)


def effect_of(execution: Execution) -> Effect | None:
    """What an execution is known to have done; None while it runs."""
    match execution.outcome:
        case "running":
            return None
        case "completed":
            return "none" if execution.dry_run else "done"
        case _:
            return execution.certain_effect or "unknown"


def request_expired(facts: Facts, at: datetime) -> bool:
    """Whether the request expired before it was executed or ended."""
    expires = facts.expires() if facts.phase == "open" else None
    return expires is not None and expires <= at


class EventSource(Protocol):
    """Anything that holds the events of decisions. Its `clock` attribute, if there is one, supplies the instant."""

    def get_events(self, decision_id: str) -> Sequence[StoredEvent]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateRef:
    """The template a decision was made from, as it was then. `digest` is bare hex."""

    name: str
    digest: str
    snapshot: Mapping[str, Any]
    overrides_applied: Mapping[str, Any]


def template_ref(facts: Facts) -> TemplateRef | None:
    """The template recorded with the policy, if there is one."""
    attached = facts.attached
    if attached is None or attached.template_name is None or attached.template_digest is None:
        return None
    return TemplateRef(
        name=attached.template_name,
        digest=attached.template_digest,
        snapshot=dict(attached.template_snapshot or {}),
        overrides_applied=dict(attached.overrides_applied or {}),
    )


@dataclass(frozen=True, slots=True)
class Decision:
    """A request for execution with everything that happened to it. Its state follows from its events, and from `as_of`.

    >>> Decision.load(store, request_id).active_approval_count
    1
    """

    facts: Facts
    events: tuple[StoredEvent, ...]
    as_of: datetime

    @classmethod
    def replay(
        cls, decision_id: str, events: Sequence[StoredEvent], at: datetime | None = None
    ) -> "Decision":
        """The decision after these events.

            >>> before_the_approval = Decision.replay(request_id, store.get_events(request_id)[:2])

        Judged at `at`, else at the last event's `ts`. Raises REPLAY_INVALID, also without events.
        """
        if not events:
            raise NexusControlError(ErrorCode.REPLAY_INVALID, f"decision {decision_id} has no events")
        read_ahead(events)
        facts = replay_facts(decision_id, events)
        return cls(facts, tuple(events), at or events[-1].instant)

    @classmethod
    def load(cls, source: EventSource, decision_id: str, *, at: datetime | None = None) -> "Decision":
        """The decision as `source` holds it: a store, or anything that has `get_events`.

            >>> decision = Decision.load(store, request_id)

        Judged at `at`, else at its clock's now, else at its last event. Raises DECISION_NOT_FOUND, REPLAY_INVALID.
        """
        events = source.get_events(decision_id)
        clock = getattr(source, "clock", None)
        return cls.replay(decision_id, events, at or (clock.now() if clock else None))

    @property
    def decision_id(self) -> str:
        return self.facts.decision_id

    @property
    def state(self) -> DecisionState:
        return state_at(self.facts, self.as_of)

    @property
    def goal(self) -> str:
        return self.facts.created.goal if self.facts.created else ""

    @property
    def plan(self) -> str | None:
        return self.facts.created.plan if self.facts.created else None

    @property
    def requested_mode(self) -> str:
        return self.facts.created.requested_mode if self.facts.created else "dry_run"

    @property
    def labels(self) -> tuple[str, ...]:
        return self.facts.created.labels if self.facts.created else ()

    @property
    def requester(self) -> Actor | None:
        return self.facts.created.requester if self.facts.created else None

    @property
    def policy(self) -> Policy | None:
        return self.facts.policy

    @property
    def template_ref(self) -> TemplateRef | None:
        return template_ref(self.facts)

    @property
    def approvals(self) -> Mapping[str, Approval]:
        """The latest approval of each person, by the actor id as it was written."""
        return MappingProxyType({a.actor.id: a for a in self.facts.progress.approvals})

    @property
    def executions(self) -> tuple[Execution, ...]:
        return self.facts.progress.executions

    @property
    def active_approval_count(self) -> int:
        return standing_at(self.facts, self.as_of)[1]

    @property
    def is_approved(self) -> bool:
        return is_approved(self.facts, self.as_of)

    @property
    def latest_execution(self) -> Execution | None:
        return self.facts.last_execution

    @property
    def latest_run_id(self) -> str | None:
        return self.facts.last_execution.run_id if self.facts.last_execution else None

    def to_dict(self) -> dict[str, Any]:
        """The decision's fields as JSON, `event_count` in place of the events.

        >>> decision.to_dict()["event_count"]
        3
        """
        created = self.facts.created
        return {
            "decision_id": self.decision_id,
            "state": str(self.state),
            "goal": self.goal,
            "plan": self.plan,
            "requested_mode": self.requested_mode,
            "labels": list(self.labels),
            "requester": created.requester.to_dict() if created else None,
            "created_at": created.created_at if created else None,
            "policy": self.policy.to_dict() if self.policy else None,
            "active_approval_count": self.active_approval_count,
            "is_approved": self.is_approved,
            "event_count": len(self.events),
            "as_of": format_instant(self.as_of),
        }


def require_may_approve(
    facts: Facts,
    actor: Actor,
    assurance: Assurance,
    at: datetime,
    authority: Authority = None,
) -> None:
    """Raises INVALID_STATE, NOT_ELIGIBLE, REQUESTER_MAY_NOT_APPROVE, ASSURANCE_TOO_LOW, ALREADY_APPROVED,
    REHEARSAL_REQUIRED, or INVALID_ARGUMENT for an id that looks like that of somebody who has approved, or of a
    requester who may not.

    `authority` are the approvals that count at dispatch here, by `seq`; None: all.
    """
    policy = require_open(facts, at, "approve")
    _require_eligible(facts, policy, actor)
    if not policy.accepts_assurance(assurance):
        raise NexusControlError(
            ErrorCode.ASSURANCE_TOO_LOW,
            f"This policy needs assurance {policy.min_assurance}; this approval is only {assurance}",
            {"required": policy.min_assurance, "given": assurance},
            _SIGN if policy.min_assurance == "signed" else _BE_ASKED,
        )
    earlier = facts.approval_of(actor)
    if earlier and facts.is_current(earlier, at):
        counts_here = authority is None or earlier.seq in authority
        uncounted = (
            "; it does not count here (imported, or by a key or page not trusted here): revoke it first"
        )
        remedy = "" if counts_here else uncounted
        raise NexusControlError(
            ErrorCode.ALREADY_APPROVED,
            f"{actor.id} has already approved this decision{remedy}",
            {"approver": actor.id, "counts_here": counts_here},
        )
    require_rehearsed(facts, at)
    # Among all approvals, also those without authority now: a signer can be trusted again later.
    _require_other_looks(facts, policy, actor, facts.active_approvals(at))


def require_rehearsed(facts: Facts, at: datetime) -> None:
    """Raises REHEARSAL_REQUIRED where the policy requires a rehearsal, and nobody can approve by the last one."""
    lack = facts.rehearsal_lack(at)
    if lack is not None and facts.policy is not None and facts.policy.require_rehearsal is not None:
        last, max_age = facts.last_rehearsal, facts.policy.require_rehearsal.max_age_seconds
        by_worker = facts.attached is not None and facts.attached.dispatch == "worker"
        raise NexusControlError(
            ErrorCode.REHEARSAL_REQUIRED,
            f"People approve what a rehearsal gave back, and {lack_words(lack, max_age)}",
            {
                "request_id": facts.decision_id,
                "lack": lack,
                "max_age_seconds": max_age,
                "execution": last.seq if last else None,
                **({"dispatch": "worker"} if by_worker else {}),
            },
            _WAIT_FOR_A_WORKER if by_worker else None,
        )


def require_may_deny(facts: Facts, actor: Actor, at: datetime) -> None:
    """Raises INVALID_STATE, NOT_ELIGIBLE or REQUESTER_MAY_NOT_APPROVE."""
    _require_eligible(facts, require_open(facts, at, "deny"), actor)


def require_basis(shown: str | None, now: str | None, decision_id: str, *, what: str = "The request") -> None:
    """Raises BASIS_CHANGED when `shown`, unless it is None, is not the basis of the decision now."""
    if shown is not None and shown != now:
        raise NexusControlError(
            ErrorCode.BASIS_CHANGED,
            f"{what} is not what was shown: nothing was decided",
            {"request_id": decision_id, "shown": shown, "now": now},
        )


def require_may_withdraw(facts: Facts, actor: Actor, at: datetime) -> None:
    """Raises INVALID_STATE or NOT_REQUESTER."""
    require_open(facts, at, "withdraw")
    if facts.created is None or actor != facts.created.requester:
        raise NexusControlError(ErrorCode.NOT_REQUESTER, "Only the requester may withdraw a decision")


def require_may_revoke(facts: Facts, actor: Actor, at: datetime) -> None:
    """Raises INVALID_STATE or NO_ACTIVE_APPROVAL; only one's own approval, by type and id, can be revoked."""
    if facts.phase != "open":
        raise wrong_state(facts, at, "revoke an approval of")
    approval = facts.approval_of(actor)
    if approval is None or approval.actor.type != actor.type or not facts.is_current(approval, at):
        raise NexusControlError(
            ErrorCode.NO_ACTIVE_APPROVAL, f"{actor} has no active approval of this decision"
        )


def require_future(instant: datetime | None, at: datetime, field: str) -> None:
    """Raises INVALID_ARGUMENT when `instant` is not after `at`."""
    if instant is not None and instant <= at:
        raise invalid_argument(field, "must be in the future")


def require_open(facts: Facts, at: datetime, verb: str) -> Policy:
    """The policy of a decision that can still be decided. Raises INVALID_STATE; an expired one can only be ended."""
    if facts.phase != "open" or facts.policy is None:
        raise wrong_state(facts, at, verb)
    if request_expired(facts, at) and verb == "approve":
        expires_at = facts.attached.expires_at if facts.attached else None
        raise NexusControlError(
            ErrorCode.INVALID_STATE,
            f"Cannot approve decision in state expired: the request ended at {expires_at}",
            {"state": str(DecisionState.EXPIRED), "expires_at": expires_at},
        )
    return facts.policy


def _require_eligible(facts: Facts, policy: Policy, actor: Actor) -> None:
    requester = facts.created.requester if facts.created else None
    if not policy.is_eligible(actor):
        code, problem = ErrorCode.NOT_ELIGIBLE, f"{actor.id} is not one of this policy's approvers"
    elif requester is not None and requester.key == actor.key and not policy.allow_requester_approval:
        code, problem = ErrorCode.REQUESTER_MAY_NOT_APPROVE, "This policy does not let the requester decide"
    else:
        return
    able = policy.approvers_but(requester)
    who = f"{', '.join(able[:_NAMED]) or 'anybody else'}{', …' if able[_NAMED:] else ''}"
    raise NexusControlError(code, f"{problem}; {who} may", {"approver": actor.id, "approvers": list(able)})


def _require_other_looks(facts: Facts, policy: Policy, actor: Actor, counting: Sequence[Approval]) -> None:
    """Ids that look alike count as one person. A denial needs no such check: it stops the decision in any case."""
    others = [each.actor for each in counting]
    if facts.created is not None and not policy.allow_requester_approval:
        others.append(facts.created.requester)
    looks = skeleton(actor.id)
    for other in others:
        if other.key != actor.key and skeleton(other.id) == looks:
            problem = f"looks like {other.id!a}, who already has a part in this decision: use another id"
            raise invalid_argument("actor.id", problem)


def wrong_state(facts: Facts, at: datetime, verb: str, authority: Authority = None) -> NexusControlError:
    """INVALID_STATE: this cannot be done to a decision that is where it is now."""
    state = state_at(facts, at, authority).value
    problem = f"Cannot {verb} decision in state {state}"
    return NexusControlError(ErrorCode.INVALID_STATE, problem, {"state": state})
