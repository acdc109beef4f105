"""A history that is folded at once leads where its events lead one by one."""

from dataclasses import replace
from functools import reduce

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nexus_control.bundle_parts import event_part
from nexus_control.events import StoredEvent
from nexus_control.facts import Facts, fold, step
from nexus_control.log.replaying import replay, replay_legal
from nexus_control.values.instants import format_instant
from nexus_control.values.payloads import ApprovalGrantedPayload, ApprovalRevokedPayload
from tests.domain.histories import (
    ALICE,
    BOB,
    CAROL,
    CREATED,
    DECISION_ID,
    GRANTED,
    POLICY,
    REVOKED,
    instant,
)
from tests.domain.test_replay import (
    ACTORS,
    EXPIRY,
    HISTORIES,
    MINUTES,
    OPENINGS,
    PAYLOADS,
    Step,
    numbered,
)
from tests.support.amounts import number_of

GRANTS = st.builds(
    ApprovalGrantedPayload,
    expires_at=EXPIRY,
    comment=st.none() | st.just("ok"),
    assurance=st.sampled_from([None, "declared", "local", "signed"]),
)
REVOKES = st.builds(ApprovalRevokedPayload, reason=st.none() | st.just("wrong window"))
OF_APPROVALS = st.lists(st.tuples(st.one_of(GRANTS, REVOKES), ACTORS, MINUTES), max_size=40)
ANY_STEP = st.lists(st.tuples(PAYLOADS, ACTORS, MINUTES), max_size=2)
RUNS = st.tuples(OPENINGS, OF_APPROVALS, ANY_STEP, OF_APPROVALS).map(
    lambda parts: numbered([step for part in parts for step in part])
)
START = Facts(decision_id=DECISION_ID)

SIGNED_ONLY = replace(POLICY, min_assurance="signed")
ENDS_AT_5 = ApprovalGrantedPayload(expires_at=format_instant(instant(5)))
SIGNED = ApprovalGrantedPayload(assurance="signed")
CASES: dict[str, list[Step]] = {
    "given again at the very instant at which the earlier one ends": [
        (CREATED, ALICE, 0), (POLICY, ALICE, 0), (ENDS_AT_5, BOB, 1), (GRANTED, BOB, 5),
    ],
    "given again an instant too early": [
        (CREATED, ALICE, 0), (POLICY, ALICE, 0), (ENDS_AT_5, BOB, 1), (GRANTED, BOB, 4),
    ],
    "taken back, and given again": [
        (CREATED, ALICE, 0), (POLICY, ALICE, 0), (GRANTED, BOB, 1), (REVOKED, BOB, 2), (GRANTED, BOB, 3),
    ],
    "one that has an end is taken back": [
        (CREATED, ALICE, 0), (POLICY, ALICE, 0), (ENDS_AT_5, BOB, 1), (GRANTED, CAROL, 2), (REVOKED, BOB, 3),
    ],
    "one person declared, then signed": [
        (CREATED, ALICE, 0), (SIGNED_ONLY, ALICE, 0), (GRANTED, BOB, 1), (REVOKED, BOB, 2), (SIGNED, BOB, 3),
    ],
}  # fmt: skip


def _replay_legal(events: list[StoredEvent]) -> Facts | None:
    return replay_legal(START, list(map(event_part, events)), [event.instant for event in events])


@pytest.mark.parametrize("case", CASES)
def test_each_rule_of_a_run_is_that_of_its_events(case: str) -> None:
    """Also where the history was imported up to any of its events."""
    events = numbered(CASES[case])
    for came in range(len(events) + 1):
        imported = reduce(fold, events[:came], START).after_import()
        assert replay(imported, events[came:]) == reduce(fold, events[came:], imported)
    is_legal = all(step(reduce(fold, events[:seq], START), each) for seq, each in enumerate(events))
    assert (_replay_legal(events) is not None) == is_legal


@settings(max_examples=number_of(400, few=100))
@given(HISTORIES | RUNS, st.integers(0, 60))
def test_a_history_folded_at_once_is_what_it_is_event_by_event(events: list[StoredEvent], came: int) -> None:
    imported = reduce(fold, events[:came], START).after_import()
    assert replay(START, events[:came]).after_import() == imported
    for before, following in ((START, events), (imported, events[came:])):
        folded, one_by_one = replay(before, following), reduce(fold, following, before)
        assert folded == one_by_one
        for each in one_by_one.progress.approvals:
            assert folded.progress.approvals.of(each.actor.key) == each


@settings(max_examples=number_of(400, few=100))
@given(HISTORIES | RUNS)
def test_a_history_is_legal_as_a_whole_where_each_event_is_legal(events: list[StoredEvent]) -> None:
    legal = 0
    facts = START
    for each in events:
        after = step(facts, each)
        if after is None:
            break
        facts, legal = after, legal + 1
    assert _replay_legal(events[:legal]) == facts
    if legal < len(events):
        assert _replay_legal(events) is None
