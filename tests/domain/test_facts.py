"""The whole transition table: every event type in every phase."""

from dataclasses import replace

import pytest

from nexus_control.approvals import FOREVER
from nexus_control.facts import Facts, Phase, fold, replay_facts, step
from nexus_control.values.actors import Actor
from nexus_control.values.payloads import (
    ApprovalGrantedPayload,
    EventType,
    ExecutionReconciledPayload,
    PolicyAttachedPayload,
)
from tests.domain.histories import (
    ALICE,
    BOB,
    BOT,
    CAROL,
    COMPLETED,
    CREATED,
    DECISION_ID,
    DENIED,
    FAILED,
    GRANTED,
    POLICY,
    RECONCILED,
    REHEARSED,
    REQUESTED,
    REVOKED,
    SAMPLES,
    STARTED,
    UNKNOWN,
    WITHDRAWN,
    Step,
    event,
    facts_of,
    history,
    instant,
    until,
)

OPEN: tuple[Step, ...] = (CREATED, POLICY)
STARTED_UP: tuple[Step, ...] = (*OPEN, REQUESTED, STARTED)
STAGES: dict[str, tuple[Step, ...]] = {
    "nothing": (),
    "draft": (CREATED,),
    "open": OPEN,
    "open, approved by alice": (*OPEN, GRANTED),
    "open, revoked by alice": (*OPEN, GRANTED, REVOKED),
    "requested": (*OPEN, REQUESTED),
    "started": STARTED_UP,
    "rehearsing": (*OPEN, REHEARSED, STARTED),
    "rehearsed": (*OPEN, REHEARSED, STARTED, COMPLETED),
    "rehearsal lost": (*OPEN, REHEARSED, STARTED, UNKNOWN),
    "lost": (*STARTED_UP, UNKNOWN),
    "completed": (*STARTED_UP, COMPLETED),
    "failed": (*STARTED_UP, FAILED),
    "denied": (*OPEN, DENIED),
    "withdrawn": (*OPEN, WITHDRAWN),
    "reconciled": (*STARTED_UP, UNKNOWN, RECONCILED),
}
ENDS: dict[EventType, Phase] = {
    EventType.APPROVAL_DENIED: "denied",
    EventType.DECISION_WITHDRAWN: "withdrawn",
    EventType.EXECUTION_REQUESTED: "executing",
}
GRANT: dict[EventType, Phase] = {EventType.APPROVAL_GRANTED: "open"}
REVOKE: dict[EventType, Phase] = {EventType.APPROVAL_REVOKED: "open"}
START: dict[EventType, Phase] = {EventType.EXECUTION_STARTED: "executing"}
OUTCOMES: dict[EventType, Phase] = {
    EventType.EXECUTION_COMPLETED: "completed",
    EventType.EXECUTION_FAILED: "failed",
    EventType.EXECUTION_OUTCOME_UNKNOWN: "outcome_unknown",
}
REHEARSAL_OUTCOMES: dict[EventType, Phase] = {
    EventType.EXECUTION_COMPLETED: "open",
    EventType.EXECUTION_FAILED: "open",
    EventType.EXECUTION_OUTCOME_UNKNOWN: "outcome_unknown",
}
LEGAL: dict[str, dict[EventType, Phase]] = {
    "nothing": {EventType.DECISION_CREATED: "draft"},
    "draft": {EventType.POLICY_ATTACHED: "open"},
    "open": GRANT | ENDS,
    "open, approved by alice": REVOKE | ENDS,
    "open, revoked by alice": GRANT | ENDS,
    "requested": START | OUTCOMES,
    "started": OUTCOMES,
    "rehearsing": REHEARSAL_OUTCOMES,
    "rehearsed": GRANT | ENDS,
    "rehearsal lost": {EventType.EXECUTION_RECONCILED: "open"},
    "lost": {EventType.EXECUTION_RECONCILED: "completed"},
}


@pytest.mark.parametrize("event_type", list(EventType))
@pytest.mark.parametrize("stage", list(STAGES))
def test_each_event_is_legal_in_exactly_the_phases_of_the_table(stage: str, event_type: EventType) -> None:
    before = facts_of(*STAGES[stage])
    following = event(before.event_count, SAMPLES[event_type])
    expected = LEGAL.get(stage, {}).get(event_type)
    after = step(before, following)
    assert (after.phase if after else None) == expected
    folded = fold(before, following)
    assert folded.event_count == before.event_count + 1
    assert folded.last_ts == following.ts
    if expected is None:
        assert folded._replace(event_count=before.event_count, last_ts=before.last_ts) == before


def test_the_samples_are_all_event_types() -> None:
    assert set(SAMPLES) == set(EventType)
    assert LEGAL.keys() <= STAGES.keys()


def test_creation_is_legal_only_as_the_first_event() -> None:
    facts = facts_of(GRANTED, CREATED, POLICY)
    assert facts == Facts(decision_id=DECISION_ID, event_count=3, last_ts=facts.last_ts)


def test_distinct_people_count_whatever_their_type_or_case() -> None:
    facts = facts_of(*OPEN, (GRANTED, BOB), (GRANTED, Actor(type="system", id="BOB")), (GRANTED, CAROL))
    assert [a.actor for a in facts.progress.approvals] == [BOB, CAROL]
    assert len(facts.active_approvals(instant(99))) == 2


def test_an_expired_approval_may_be_given_again_by_the_same_person() -> None:
    brief = ApprovalGrantedPayload(expires_at=until(3))
    facts = facts_of(*OPEN, (brief, BOB), (GRANTED, BOB))
    (approval,) = facts.progress.approvals
    assert (approval.seq, approval.expires_at) == (3, None)
    too_early = replay_facts(DECISION_ID, [*history(*OPEN, (brief, BOB)), event(3, GRANTED, BOB, minute=2.9)])
    assert [approval.seq for approval in too_early.progress.approvals] == [2]


def test_a_revoked_approval_may_be_given_again_under_another_type() -> None:
    system_bob = Actor(type="system", id="bob")
    facts = facts_of(*OPEN, (GRANTED, BOB), (REVOKED, BOB), (GRANTED, system_bob))
    (approval,) = facts.progress.approvals
    assert (approval.actor, approval.seq, approval.revoked_at) == (system_bob, 4, None)


def test_revoking_needs_the_same_type_and_id() -> None:
    facts = facts_of(*OPEN, (GRANTED, BOB), (REVOKED, Actor(type="system", id="bob")), (REVOKED, ALICE))
    assert [approval.revoked_at for approval in facts.progress.approvals] == [None]


def test_an_approval_counts_until_the_instant_at_which_it_expires() -> None:
    facts = facts_of(*OPEN, (ApprovalGrantedPayload(expires_at=until(10)), BOB))
    assert facts.is_approved(instant(9.999))
    assert not facts.is_approved(instant(10))
    assert facts.approved_until() == instant(10)


def test_approved_until_is_when_the_quorum_breaks() -> None:
    two = PolicyAttachedPayload(min_approvals=2, allowed_modes=("apply",))
    brief, long = ApprovalGrantedPayload(expires_at=until(10)), ApprovalGrantedPayload(expires_at=until(20))
    assert facts_of(CREATED, two, (brief, BOB)).approved_until() is None
    assert facts_of(CREATED, two, (brief, BOB), (long, CAROL)).approved_until() == instant(10)
    assert facts_of(CREATED, two, (brief, BOB), (long, CAROL), GRANTED).approved_until() == instant(20)
    assert facts_of(CREATED, two, (GRANTED, BOB), GRANTED).approved_until() == FOREVER


def test_only_approvals_that_the_policy_accepts_count() -> None:
    strict = PolicyAttachedPayload(
        min_approvals=1,
        allowed_modes=("apply",),
        approvers=("alice", "bob"),
        allow_requester_approval=False,
        min_assurance="local",
    )
    local = ApprovalGrantedPayload(assurance="local")
    assert (
        facts_of(CREATED, strict, (local, ALICE), (local, CAROL), (GRANTED, BOB)).active_approvals(instant(9))
        == ()
    )
    assert len(facts_of(CREATED, strict, (local, BOB)).active_approvals(instant(9))) == 1


def test_a_rehearsal_good_or_failed_stays_on_record_and_is_never_linked() -> None:
    for outcome, word in ((COMPLETED, "completed"), (FAILED, "failed")):
        facts = facts_of(*OPEN, GRANTED, REHEARSED, STARTED, outcome)
        (execution,) = facts.progress.executions
        assert (facts.phase, execution.rehearsal, execution.outcome) == ("open", True, word)
        assert facts.linked_execution is None
        assert facts.is_approved(instant(99))


def test_the_linked_execution_is_the_last_that_is_no_rehearsal() -> None:
    facts = facts_of(*OPEN, REHEARSED, STARTED, COMPLETED, REQUESTED, STARTED, FAILED)
    assert facts.linked_execution == facts.last_execution == facts.progress.executions[1]
    assert len(facts.progress.executions) == 2


def test_a_dry_run_of_a_dry_run_decision_is_no_rehearsal() -> None:
    facts = facts_of(replace(CREATED, requested_mode="dry_run"), POLICY, REHEARSED, STARTED, COMPLETED)
    assert facts.phase == "completed"
    assert facts.linked_execution is not None


def test_what_a_reconciliation_found_out_supersedes_the_doubt() -> None:
    (execution,) = facts_of(*STAGES["lost"], (RECONCILED, BOT)).progress.executions
    assert (execution.outcome, execution.run_id, execution.error_code) == ("completed", "run-9", None)
    failed = ExecutionReconciledPayload(outcome="failed", evidence="rolled back")
    facts = facts_of(*STAGES["lost"], failed)
    assert facts.phase == "failed"
    assert facts.progress.executions[0].error_code == "OWNER_GONE"


def test_an_ending_keeps_who_when_and_why() -> None:
    facts = facts_of(*OPEN, (DENIED, BOB))
    assert facts.progress.ending is not None
    assert (facts.progress.ending.actor, facts.progress.ending.reason) == (BOB, "too risky")
