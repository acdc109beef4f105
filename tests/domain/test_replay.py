"""Replay is total, deterministic and honest for any sequence of decodable events, legal or not."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from nexus_control.bundle_parts import event_part, link_part, template_part
from nexus_control.decision import Decision, DecisionState
from nexus_control.events import StoredEvent, compute_event_digest
from nexus_control.facts import Facts, fold, replay_facts, step
from nexus_control.lifecycle import compute_lifecycle
from nexus_control.log.projection import Projection, approval_rows, from_row, to_row
from nexus_control.log.row_texts import listing_of
from nexus_control.values.actors import Actor, fold_id
from nexus_control.values.instants import format_instant
from nexus_control.values.payloads import (
    ApprovalDeniedPayload,
    ApprovalGrantedPayload,
    ApprovalRevokedPayload,
    DecisionCreatedPayload,
    DecisionWithdrawnPayload,
    ExecutionCompletedPayload,
    ExecutionFailedPayload,
    ExecutionOutcomeUnknownPayload,
    ExecutionReconciledPayload,
    ExecutionRequestedPayload,
    ExecutionStartedPayload,
    Payload,
    PolicyAttachedPayload,
    TemplateCreatedPayload,
)
from tests.domain.histories import ALICE, CREATED, DECISION_ID, HEX, instant
from tests.support.slots import are_filled

Step = tuple[Payload, Actor, int]
FINAL = {"completed", "failed", "denied", "withdrawn"}
MINUTES = st.integers(0, 60)
ACTORS = st.sampled_from(
    [
        Actor(type="human", id="alice"),
        Actor(type="human", id="bob"),
        Actor(type="system", id="BOB"),
        Actor(type="human", id="carol"),
    ]
)
MODES = st.sampled_from([("dry_run",), ("apply",), ("dry_run", "apply")])
SOME_HEX = st.none() | st.just(HEX)
SOME_ID = st.none() | st.just("run-1")
EXPIRY = st.none() | MINUTES.map(instant).map(format_instant)

MEMBERS = {"security": ["Alice", "bob"], "platform": ["bob", "carol"]}
UNGROUPED = st.builds(
    PolicyAttachedPayload,
    min_approvals=st.integers(1, 3),
    allowed_modes=MODES,
    approvers=st.sampled_from([(), ("alice", "bob"), ("Carol",)]),
    allow_requester_approval=st.booleans(),
    min_assurance=st.sampled_from([None, "declared", "local"]),
    expires_at=EXPIRY,
)


def grouped(policy: PolicyAttachedPayload, slots: dict[str, int], more: int) -> PolicyAttachedPayload:
    required = sum(slots.values()) + more
    return replace(policy, required_from=slots, min_approvals=required, approver_groups=MEMBERS)


GROUPED = st.builds(
    grouped,
    UNGROUPED,
    st.sampled_from([{"security": 1}, {"security": 1, "platform": 1}, {"platform": 2}]),
    st.integers(0, 1),
)
POLICIES = UNGROUPED | GROUPED
PAYLOADS: st.SearchStrategy[Payload] = st.one_of(
    st.builds(
        DecisionCreatedPayload, goal=st.just("g"), requested_mode=st.sampled_from(["dry_run", "apply"])
    ),
    POLICIES,
    st.builds(
        ApprovalGrantedPayload, expires_at=EXPIRY, assurance=st.sampled_from([None, "declared", "signed"])
    ),
    st.builds(ApprovalRevokedPayload, reason=st.none()),
    st.builds(ApprovalDeniedPayload, reason=st.just("no")),
    st.builds(DecisionWithdrawnPayload, reason=st.just("no")),
    st.builds(ExecutionRequestedPayload, adapter_id=st.just("a"), dry_run=st.booleans()),
    st.builds(ExecutionStartedPayload, router_request_digest=st.just(HEX)),
    st.builds(
        ExecutionCompletedPayload,
        run_id=st.just("run-1"),
        response_digest=st.just(HEX),
        steps_executed=st.integers(0, 3),
    ),
    st.builds(
        ExecutionFailedPayload,
        error_code=st.just("E"),
        error_message=st.just("m"),
        run_id=SOME_ID,
        response_digest=SOME_HEX,
    ),
    st.builds(
        ExecutionOutcomeUnknownPayload,
        reason=st.just("R"),
        detail=st.just("d"),
        run_id=SOME_ID,
        response_digest=SOME_HEX,
    ),
    st.builds(
        ExecutionReconciledPayload,
        outcome=st.sampled_from(["completed", "failed"]),
        evidence=st.just("e"),
        run_id=SOME_ID,
    ),
    st.builds(TemplateCreatedPayload, name=st.just("t"), min_approvals=st.just(1), allowed_modes=MODES),
)


def opened(policy: Payload) -> list[Step]:
    return [(CREATED, ALICE, 0), (policy, ALICE, 0)]


OPENINGS = POLICIES.map(opened)
STEPS: st.SearchStrategy[list[Step]] = st.lists(st.tuples(PAYLOADS, ACTORS, MINUTES), max_size=25)


def numbered(steps: list[Step]) -> list[StoredEvent]:
    events: list[StoredEvent] = []
    for seq, (payload, actor, minute) in enumerate(steps):
        content = payload.to_dict()
        events.append(
            StoredEvent(
                decision_id=DECISION_ID,
                seq=seq,
                event_type=payload.event_type,
                ts=format_instant(instant(minute)),
                actor=actor,
                payload=content,
                digest=compute_event_digest(payload.event_type, content),
            )
        )
    return events


ANY_EVENTS = STEPS.map(numbered)
OPENED_EVENTS = st.tuples(OPENINGS, STEPS).map(lambda parts: numbered([*parts[0], *parts[1]]))
HISTORIES = ANY_EVENTS | OPENED_EVENTS


@given(HISTORIES)
def test_replay_of_any_prefix_never_raises_and_is_deterministic(events: list[StoredEvent]) -> None:
    facts = Facts(decision_id=DECISION_ID)
    for length, each in enumerate(events, start=1):
        legal = step(facts, each)
        before, facts = facts, fold(facts, each)
        assert facts == replay_facts(DECISION_ID, events[:length])
        assert facts.event_count == length
        if legal is None:
            assert facts._replace(event_count=before.event_count, last_ts=before.last_ts) == before
        decision = Decision.replay(DECISION_ID, events[:length])
        assert decision == Decision.replay(DECISION_ID, tuple(events[:length]))
        assert decision.as_of == each.instant
        assert decision.state in DecisionState
        decision.to_dict()


@given(HISTORIES)
def test_whatever_happened_can_be_shown(events: list[StoredEvent]) -> None:
    for at in (None, instant(0), instant(30), instant(99)):
        for decision in (Decision.replay(DECISION_ID, events, at),) if events else ():
            lifecycle = compute_lifecycle(decision)
            assert lifecycle.timeline_total >= len(events)
            assert lifecycle.is_blocked == bool(lifecycle.blocking_reasons)
            assert lifecycle.progress.ready_to_execute != lifecycle.is_blocked
            lifecycle.to_dict()
            template_part(decision.facts).to_dict()
            link_part(decision).to_dict()
            [event_part(each).to_dict() for each in events]


@given(OPENED_EVENTS)
def test_an_end_is_final_and_at_most_one_execution_is_no_rehearsal(events: list[StoredEvent]) -> None:
    facts = Facts(decision_id=DECISION_ID)
    for each in events:
        before, facts = facts, fold(facts, each)
        if before.phase in FINAL:
            assert facts.progress == before.progress
        assert sum(not execution.rehearsal for execution in facts.progress.executions) <= 1
        people = [approval.actor.key for approval in facts.progress.approvals]
        assert len(people) == len(set(people))
        assert facts.created == (before.created or facts.created)
        assert facts.policy == (before.policy or facts.policy)


@given(OPENED_EVENTS, MINUTES)
def test_the_quorum_holds_exactly_until_approved_until(events: list[StoredEvent], minute: int) -> None:
    facts, at = replay_facts(DECISION_ID, events), instant(minute)
    until = facts.approved_until()
    assert facts.is_approved(at) == (until is not None and until > at)
    assert facts.policy is not None
    active = facts.active_approvals(at)
    groups = [
        [group for group, ids in MEMBERS.items() if each.actor.key in map(fold_id, ids)] for each in active
    ]
    filled = are_filled(facts.policy.required_from, groups)
    assert facts.is_approved(at) == (len(active) >= facts.policy.min_approvals and filled)


@given(HISTORIES, MINUTES)
def test_a_projection_decodes_to_the_very_facts_of_the_replay(events: list[StoredEvent], minute: int) -> None:
    facts = replay_facts(DECISION_ID, events)
    stored = Projection(facts=facts, ordinal=1, reserved_at=events[0].ts if events else "")
    row = to_row(stored)
    decoded = from_row(row, approval_rows(facts.progress.approvals), events[: max(row.policy_seq, 0) + 1])
    assert decoded.facts == facts
    assert to_row(decoded) == row
    listing = listing_of(row)
    assert (listing is None) == (facts.policy is None)
    if listing is not None:
        current = listing.current_approvals(format_instant(instant(minute)))
        assert current == len(facts.active_approvals(instant(minute)))
        assert listing.are_filled(format_instant(instant(minute))) == (not facts.lacking(instant(minute)))
        if facts.phase == "open":
            until, ends = facts.approved_until(), facts.expires()
            holds = until is not None and min(until, ends or until) > instant(minute)
            assert (row.approved_until > format_instant(instant(minute))) == holds
