"""The facts that a decision's events add up to, independent of the clock: a pure fold.

The phases, and the events that move between them:

    draft      --DECISION_CREATED, POLICY_ATTACHED-->  open
    open       --APPROVAL_GRANTED, APPROVAL_REVOKED--> open          (pending or approved: that depends on the instant)
    open       --APPROVAL_DENIED-->    denied          open --DECISION_WITHDRAWN--> withdrawn
    open       --EXECUTION_REQUESTED, EXECUTION_STARTED--> executing
    executing  --EXECUTION_COMPLETED--> completed      executing --EXECUTION_FAILED--> failed
    executing  --EXECUTION_OUTCOME_UNKNOWN--> outcome_unknown --EXECUTION_RECONCILED--> completed or failed

A rehearsal (a dry run of a decision whose mode is apply) leads back to open, where another execution would end. Where
the policy requires a rehearsal, an approval is legal only while the last rehearsal is good and young enough, and names
its digest. A later good rehearsal that gives back something else, or by another adapter or another declaration of it,
makes all approvals before it stale for ever: they do not stand, and may be given again.

The fold accepts every decodable event. `step` returns None for an event that is illegal in its phase; `fold` then only
counts it.

Facts and progress are named tuples: a history is folded by the thousand, and a frozen dataclass takes five times as
long to make.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from functools import partial, reduce
from typing import Any, Literal, NamedTuple, TypeAlias

from nexus_control.approvals import (
    FOREVER,
    NO_APPROVALS,
    NO_GROUPS,
    NO_QUORUMS,
    NO_TALLY,
    Approval,
    Approvals,
    Authority,
    Quorums,
    Since,
    Tally,
    filled_until,
    groups_by_person,
    lacking,
)
from nexus_control.events import (
    Actor,
    ApprovalDeniedPayload,
    ApprovalGrantedPayload,
    ApprovalRevokedPayload,
    DecisionCreatedPayload,
    DecisionWithdrawnPayload,
    EventType,
    ExecutionOutcomeUnknownPayload,
    ExecutionReconciledPayload,
    ExecutionRequestedPayload,
    ExecutionStartedPayload,
    PolicyAttachedPayload,
    StoredEvent,
)
from nexus_control.policy import Policy
from nexus_control.values.executions import (
    Cover,
    Created,
    Ending,
    Execution,
    Lack,
    Settled,
    cover_after,
    lack_of,
)
from nexus_control.values.instants import parse_instant
from nexus_control.values.payloads import Payload

Phase: TypeAlias = Literal[
    "draft", "open", "executing", "completed", "failed", "denied", "withdrawn", "outcome_unknown"
]


class Progress(NamedTuple):
    """Everything about a decision that still changes after its policy is attached. `tally` is of the approvals that
    stand, `given_here` of those among them that were not imported. `cover` is what approvals cover; None before the
    first good rehearsal, and where the policy requires none.
    """

    phase: Phase = "draft"
    approvals: Approvals = NO_APPROVALS
    tally: Tally = NO_TALLY
    given_here: Tally = NO_TALLY
    quorums: Quorums = NO_QUORUMS
    executions: tuple[Execution, ...] = ()
    ending: Ending | None = None
    cover: Cover | None = None


class Facts(NamedTuple):
    """A decision without a clock: all that its events say. `policy_seq` is -1 until the policy is attached. The events
    before `given_from` were imported by the store that is asked. `belongs` has the groups of each of their members, by
    folded id, as the request recorded them.
    """

    decision_id: str
    created: Created | None = None
    policy: Policy | None = None
    attached: PolicyAttachedPayload | None = None
    policy_seq: int = -1
    progress: Progress = Progress()
    event_count: int = 0
    last_ts: str = ""
    given_from: int = 0
    belongs: Mapping[str, tuple[str, ...]] = NO_GROUPS

    @property
    def phase(self) -> Phase:
        return self.progress.phase

    @property
    def last_execution(self) -> Execution | None:
        return self.progress.executions[-1] if self.progress.executions else None

    @property
    def linked_execution(self) -> Execution | None:
        """The execution that bundles and packages link: the last one that is not a rehearsal."""
        return next((e for e in reversed(self.progress.executions) if not e.rehearsal), None)

    @property
    def last_rehearsal(self) -> Execution | None:
        return next((e for e in reversed(self.progress.executions) if e.rehearsal), None)

    @property
    def needs_rehearsal(self) -> bool:
        """Whether people approve what a rehearsal gave back. A request of mode dry_run is only a rehearsal itself."""
        if self.policy is None or self.policy.require_rehearsal is None or self.created is None:
            return False
        return self.created.requested_mode == "apply"

    def rehearsal_lack(self, at: datetime) -> Lack | None:
        """Why nobody can approve by the last rehearsal at this instant; None where it is good and young enough, or none
        is required.
        """
        required = self.policy.require_rehearsal if self.policy and self.needs_rehearsal else None
        return required and lack_of(self.last_rehearsal, required.max_age_seconds, at, since=self.given_from)

    def is_stale(self, approval: Approval) -> bool:
        """Whether a later rehearsal gave back something else than this approval covers, or was by another adapter."""
        return self.progress.cover is not None and approval.seq < self.progress.cover.since

    def is_current(self, approval: Approval, at: datetime) -> bool:
        """Whether this approval is neither revoked nor expired nor stale."""
        return approval.is_current(at) and not self.is_stale(approval)

    def approval_of(self, actor: Actor) -> Approval | None:
        """The latest approval of this person, whatever the type of the actor."""
        return self.progress.approvals.of(actor.key)

    def counts(self, approval: Approval) -> bool:
        """Whether the policy accepts this approval from this person, whether or not it is current."""
        if self.policy is None or self.created is None:
            return False
        return (
            self.policy.is_eligible(approval.actor)
            and (self.policy.allow_requester_approval or approval.actor.key != self.created.requester.key)
            and self.policy.accepts_assurance(approval.assurance)
        )

    def stands(self, approval: Approval) -> bool:
        """Whether this approval counts until it expires."""
        return approval.revoked_at is None and not self.is_stale(approval) and self.counts(approval)

    def standing_approvals(self, authority: Authority = None) -> tuple[Approval, ...]:
        """The approvals that count until they expire. `authority`: only these, by `seq`; None: all."""
        return tuple(
            each
            for each in self.progress.approvals
            if self.stands(each) and (authority is None or each.seq in authority)
        )

    def active_approvals(self, at: datetime, authority: Authority = None) -> tuple[Approval, ...]:
        """The approvals that count at this instant, whether or not the request itself has expired."""
        return tuple(a for a in self.standing_approvals(authority) if not a.is_expired(at))

    def current_approvals(self, at: datetime, authority: Authority = None) -> int:
        """How many approvals count at this instant, whether or not the request itself has expired."""
        return self.tally(authority).current(at)

    def is_approved(self, at: datetime, authority: Authority = None) -> bool:
        """Whether enough approvals count, and different people fill all slots of groups, whether or not it expired."""
        if self.policy is None or self.current_approvals(at, authority) < self.policy.min_approvals:
            return False
        return self.policy.required_from is None or not self.lacking(at, authority)

    def lacking(self, at: datetime, authority: Authority = None) -> dict[str, int]:
        """How many more approvals each group that the policy names needs at this instant."""
        if self.policy is None or self.policy.required_from is None:
            return {}
        people = (each.actor.key for each in self._of_members(authority) if not each.is_expired(at))
        return lacking(self.policy.required_from, self.belongs, people)

    def filled_until(self, authority: Authority = None) -> datetime | None:
        """When a slot of a group becomes free if nothing else happens; None when one is free already."""
        slots = self.policy.required_from if self.policy else None
        return FOREVER if slots is None else filled_until(slots, self.belongs, self._of_members(authority))

    def _of_members(self, authority: Authority) -> Iterator[Approval]:
        for each in map(self.progress.approvals.of, self.belongs):
            if each is not None and self.stands(each) and (authority is None or each.seq in authority):
                yield each

    def tally(self, authority: Authority = None) -> Tally:
        """The tally of the approvals that stand. `authority`: only of these, by `seq`."""
        if authority is None:
            return self.progress.tally
        if isinstance(authority, Since) and authority.seq == self.given_from:
            return self.progress.given_here
        return Tally.of(self.standing_approvals(authority))

    def after_import(self) -> "Facts":
        """The same facts, where all events so far were imported."""
        progress = self.progress._replace(given_here=NO_TALLY)
        return self._replace(progress=progress, given_from=self.event_count)

    def approved_until(self, authority: Authority = None) -> datetime | None:
        """When the quorum stops holding if nothing else happens; None when it does not hold."""
        until = self.policy and self.tally(authority).holds_until(self.policy.min_approvals)
        filled = until and self.filled_until(authority)
        return until and filled and min(until, filled)

    def expires(self) -> datetime | None:
        """When the request itself expires; None for never."""
        expires_at = self.attached.expires_at if self.attached else None
        return None if expires_at is None else parse_instant(expires_at)


def replay_facts(decision_id: str, events: Iterable[StoredEvent]) -> Facts:
    """The facts after all of `events`. Raises REPLAY_INVALID for a payload that does not decode."""
    return reduce(fold, events, Facts(decision_id=decision_id))


def fold(facts: Facts, event: StoredEvent) -> Facts:
    """The facts after one more event."""
    return step(facts, event) or _after(facts, event)


def step(facts: Facts, event: StoredEvent) -> Facts | None:
    """The facts that a legal event leads to; None when it is illegal here."""
    content = event.content
    rule = _RULES.get(event.event_type)
    return rule(facts, event, content) if rule else None


def _create(facts: Facts, event: StoredEvent, content: DecisionCreatedPayload) -> Facts | None:
    if facts.event_count:
        return None
    return _after(facts, event)._replace(created=Created.of(event.actor, event.ts, content))


def _attach(facts: Facts, event: StoredEvent, content: PolicyAttachedPayload) -> Facts | None:
    if facts.created is None or facts.policy is not None:
        return None
    opened = _changed(facts, event, phase="open")
    policy, belongs = Policy.of(content), groups_by_person(content.approver_groups)
    return opened._replace(policy=policy, attached=content, policy_seq=event.seq, belongs=belongs)


def _grant(facts: Facts, event: StoredEvent, content: ApprovalGrantedPayload) -> Facts | None:
    earlier = facts.approval_of(event.actor)
    if facts.phase != "open" or (earlier and facts.is_current(earlier, event.instant)):
        return None
    if facts.needs_rehearsal and not is_covered(facts, content.rehearsal_digest, event.instant):
        return None
    approval = Approval(
        actor=event.actor,
        seq=event.seq,
        granted_at=event.ts,
        expires_at=content.expires_at,
        comment=content.comment,
        assurance=content.assurance,
        rehearsal_digest=content.rehearsal_digest,
    )
    return _with_approval(facts, event, earlier, approval)


def is_covered(facts: Facts, digest: str | None, at: datetime) -> bool:
    """Whether an approval at this instant is about the last rehearsal, which is good and young enough."""
    cover = facts.progress.cover
    return cover is not None and digest == cover.digest and facts.rehearsal_lack(at) is None


def _revoke(facts: Facts, event: StoredEvent, content: ApprovalRevokedPayload) -> Facts | None:
    approval = facts.approval_of(event.actor)
    if facts.phase != "open" or approval is None or approval.revoked_at is not None:
        return None
    if approval.actor.type != event.actor.type:
        return None
    return _with_approval(facts, event, approval, approval.revoked(event.ts, content.reason))


def _with_approval(facts: Facts, event: StoredEvent, before: Approval | None, after: Approval) -> Facts:
    now = facts.progress
    left = before if before and facts.stands(before) else None
    came = after if facts.stands(after) else None
    tally = now.tally.changed(left, came)
    given_here = now.given_here.changed(left, came, facts.given_from) if facts.given_from else tally
    approvals, settled = now.approvals.having(after), (now.executions, now.ending, now.cover)
    progress = Progress(now.phase, approvals, tally, given_here, now.quorums, *settled)
    following = _after(facts, event, progress)
    if came is None or not following.is_approved(event.instant) or facts.is_approved(event.instant):
        return following
    return following._replace(progress=progress._replace(quorums=now.quorums.plus(event.seq)))


def _end(
    facts: Facts, event: StoredEvent, content: ApprovalDeniedPayload | DecisionWithdrawnPayload, phase: Phase
) -> Facts | None:
    if facts.phase != "open":
        return None
    ending = Ending(actor=event.actor, ts=event.ts, reason=content.reason)
    return _changed(facts, event, phase=phase, ending=ending)


def _request(facts: Facts, event: StoredEvent, content: ExecutionRequestedPayload) -> Facts | None:
    if facts.phase != "open" or facts.created is None:
        return None
    execution = Execution(
        seq=event.seq,
        actor=event.actor,
        adapter_id=content.adapter_id,
        dry_run=content.dry_run,
        rehearsal=content.dry_run and facts.created.requested_mode == "apply",
        requested_at=event.ts,
    )
    return _changed(facts, event, phase="executing", executions=(*facts.progress.executions, execution))


def _start(facts: Facts, event: StoredEvent, content: ExecutionStartedPayload) -> Facts | None:
    execution = facts.last_execution
    if facts.phase != "executing" or execution is None or execution.started_at is not None:
        return None
    started = replace(execution, started_at=event.ts, request_digest=content.router_request_digest)
    return _changed(facts, event, executions=(*facts.progress.executions[:-1], started))


def _settle(
    facts: Facts,
    event: StoredEvent,
    content: Payload,
    outcome: Settled,
    settles: Phase = "executing",
    **findings: str,
) -> Facts | None:
    execution = facts.last_execution
    if facts.phase != settles or execution is None:
        return None
    settled = execution.settled(outcome, event.ts, content, **findings)
    phase: Phase = "open" if execution.rehearsal and outcome != "outcome_unknown" else outcome
    changes: dict[str, Any] = {"phase": phase, "executions": (*facts.progress.executions[:-1], settled)}
    cover = cover_after(facts.progress.cover, settled) if facts.needs_rehearsal else None
    if cover != facts.progress.cover:  # every approval so far is before it
        changes |= {"cover": cover, "tally": NO_TALLY, "given_here": NO_TALLY}
    return _changed(facts, event, **changes)


def _lose(facts: Facts, event: StoredEvent, content: ExecutionOutcomeUnknownPayload) -> Facts | None:
    return _settle(
        facts, event, content, "outcome_unknown", error_code=content.reason, error_message=content.detail
    )


def _reconcile(facts: Facts, event: StoredEvent, content: ExecutionReconciledPayload) -> Facts | None:
    return _settle(facts, event, content, content.outcome, settles="outcome_unknown")


def _changed(facts: Facts, event: StoredEvent, **changes: Any) -> Facts:
    return _after(facts, event, facts.progress._replace(**changes))


def _after(facts: Facts, event: StoredEvent, progress: Progress | None = None) -> Facts:
    """The facts with one more event counted. Every event passes here, and `replace` would be three times as slow."""
    decision_id, created, policy, attached, policy_seq, before, count, _, given_from, belongs = facts
    progress = progress or before
    return Facts(
        decision_id, created, policy, attached, policy_seq, progress, count + 1, event.ts, given_from, belongs
    )


_RULES: dict[EventType, Callable[[Facts, StoredEvent, Any], Facts | None]] = {
    EventType.DECISION_CREATED: _create,
    EventType.POLICY_ATTACHED: _attach,
    EventType.APPROVAL_GRANTED: _grant,
    EventType.APPROVAL_REVOKED: _revoke,
    EventType.APPROVAL_DENIED: partial(_end, phase="denied"),
    EventType.DECISION_WITHDRAWN: partial(_end, phase="withdrawn"),
    EventType.EXECUTION_REQUESTED: _request,
    EventType.EXECUTION_STARTED: _start,
    EventType.EXECUTION_COMPLETED: partial(_settle, outcome="completed"),
    EventType.EXECUTION_FAILED: partial(_settle, outcome="failed"),
    EventType.EXECUTION_OUTCOME_UNKNOWN: _lose,
    EventType.EXECUTION_RECONCILED: _reconcile,
}
