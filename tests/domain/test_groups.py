"""Slots of groups: who fills them, whether a quorum by groups holds, and until when, against models that try it all."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import reduce
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nexus_control.advice import advice_on
from nexus_control.approvals import FOREVER
from nexus_control.blocking import blocking_reasons
from nexus_control.decision import Decision, DecisionState, state_at
from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.events import StoredEvent
from nexus_control.facts import Facts, fold
from nexus_control.lifecycle import compute_timeline
from nexus_control.log.replaying import replay
from nexus_control.values.actors import Actor
from nexus_control.values.groups import groups_of, slot_words
from nexus_control.values.payloads import (
    ApprovalDeniedPayload,
    ApprovalGrantedPayload,
    Assurance,
    PolicyAttachedPayload,
)
from nexus_control.values.seating import Seating
from tests.domain.histories import (
    ALICE,
    BOB,
    CAROL,
    CREATED,
    DECISION_ID,
    GRANTED,
    POLICY,
    REVOKED,
    Step,
    codes,
    decision_of,
    event,
    facts_of,
    instant,
    until,
)
from tests.support.amounts import number_of
from tests.support.slots import are_filled, most_filled

DAVE, ERIN = Actor("human", "dave"), Actor("system", "erin")
MEMBERS = {"security": ["Alice", "bob"], "platform": ["bob", "carol", "dave"]}
GROUPED = replace(
    POLICY, min_approvals=2, required_from={"security": 1, "platform": 1}, approver_groups=MEMBERS
)
OPEN: tuple[Step, ...] = (CREATED, GROUPED)
NAMES = "abcd"
SLOTS = st.dictionaries(st.sampled_from(NAMES), st.integers(1, 2), min_size=1)
PEOPLE = st.lists(st.lists(st.sampled_from(NAMES), unique=True), max_size=6)


@settings(max_examples=number_of(500, few=200))
@given(SLOTS, PEOPLE)
def test_as_many_slots_are_filled_as_trying_everything_can_fill(
    slots: dict[str, int], people: list[list[str]]
) -> None:
    seating, filled = Seating(slots), 0
    for count, groups in enumerate(people, start=1):
        was = sum(seating.lacking.values())
        filled += seating.add(groups)
        assert filled == most_filled(slots, people[:count])
        assert sum(seating.lacking.values()) == sum(slots.values()) - filled
        assert was - sum(seating.lacking.values()) in (0, 1)
        assert seating.is_full == are_filled(slots, people[:count]) == (not seating.lacking)


@pytest.mark.parametrize(
    ("slots", "people", "lacking"),
    [
        ({"a": 1, "b": 1}, ["ab"], {"b": 1}),
        ({"a": 1, "b": 1}, ["ab", "a"], {}),
        ({"a": 1, "b": 1, "c": 1}, ["ab", "bc", "a"], {}),
        ({"a": 1, "b": 1}, ["a", "a", "a"], {"b": 1}),
        ({"a": 2}, ["a", "b", ""], {"a": 1}),
        ({"a": 1, "b": 2}, ["ab", "ab", "a"], {}),
    ],
)
def test_people_move_over_where_that_leaves_a_slot_free(
    slots: dict[str, int], people: list[str], lacking: dict[str, int]
) -> None:
    seating = Seating(slots)
    for groups in people:
        seating.add(list(groups))
    assert seating.lacking == lacking


class Counted(str):
    """The name of a group that counts how often any of them is looked up."""

    __slots__ = ()
    looked = 0

    def __hash__(self) -> int:
        Counted.looked += 1
        return super().__hash__()


@pytest.mark.parametrize("shared", [1, 5, 50])
def test_fifty_groups_and_two_hundred_people_are_seated_in_few_steps(shared: int) -> None:
    """However many groups each person is in, and with a slot too many: the longest search there is."""
    names = [Counted(f"group-{n}") for n in range(50)]
    slots: dict[str, int] = {**dict.fromkeys(names, 4), Counted("nobody"): 1}
    Counted.looked = 0
    seating = Seating(slots)
    for person in range(200):
        seating.add([names[(person + n) % 50] for n in range(shared)])
    assert seating.lacking == {"nobody": 1}
    for _ in range(200):  # too many people: the groups are found tight once
        seating.add(names[:shared])
    assert Counted.looked <= 40 * 400 * shared


@pytest.mark.parametrize(
    ("given", "field"),
    [
        (["alice"], "groups"),
        ({"": ["alice"]}, "groups"),
        ({"s\u200b": ["alice"]}, "groups"),
        ({7: ["alice"]}, "groups"),
        ({"s" * 65: ["alice"]}, "groups"),
        ({f"g{n}": ["alice"] for n in range(257)}, "groups"),
        ({"security": ["alice"], "Security": ["bob"]}, "groups.Security"),
        ({"security": "alice"}, "groups.security"),
        ({"security": []}, "groups.security"),
        ({"security": [f"p{n}" for n in range(257)]}, "groups.security"),
        ({"security": {"alice": 1}}, "groups.security"),
        ({"security": ["alice", 5]}, "groups.security[1]"),
        ({"security": ["alice", ""]}, "groups.security[1]"),
        ({"security": ["alice", "bob", "Alice"]}, "groups.security[2]"),
        ({"security": ["\u0430lice"]}, "groups.security[0]"),
        ({"security": ["x" * 257]}, "groups.security[0]"),
    ],
)
def test_groups_that_cannot_be_are_refused_by_the_name_of_the_field(given: Any, field: str) -> None:
    with pytest.raises(NexusControlError) as refused:
        groups_of(given)
    assert refused.value.code == ErrorCode.INVALID_ARGUMENT
    fields = refused.value.details["fields"]
    assert fields == [{"field": field, "problem": str(refused.value.message).removeprefix(f"{field} ")}]


def test_groups_are_kept_as_they_are_written_and_slots_have_words() -> None:
    assert groups_of({"security": ["Alice", "b ob"], "ops": ("x",)}) == {
        "security": ("Alice", "b ob"),
        "ops": ("x",),
    }
    assert slot_words({"security": 1, "platform": 2}) == "1 of security, 2 of platform"


def test_a_quorum_by_groups_needs_the_number_and_the_slots() -> None:
    assert codes(blocking_reasons(facts_of(*OPEN, (GRANTED, ERIN), (GRANTED, DAVE)), instant(9))) == [
        "MISSING_APPROVALS"
    ]
    one_of_both = facts_of(*OPEN, (GRANTED, BOB))
    (reason,) = blocking_reasons(one_of_both, instant(9))
    assert reason.details == {"required": 2, "current": 1, "missing": 1, "groups": {"security": 1}}
    assert reason.message == "Missing 1 approval (1 of 2), still needed: 1 of security"
    assert "1 of security among them" in advice_on([reason])
    assert facts_of(*OPEN, (GRANTED, BOB), (GRANTED, CAROL)).is_approved(instant(9))
    assert facts_of(*OPEN, (GRANTED, ALICE), (GRANTED, BOB)).is_approved(instant(9))
    enough_but_of_one_group = facts_of(*OPEN, (GRANTED, DAVE), (GRANTED, CAROL), (GRANTED, ERIN))
    (reason,) = blocking_reasons(enough_but_of_one_group, instant(9))
    assert reason.details == {"required": 2, "current": 3, "missing": 1, "groups": {"security": 1}}
    assert state_at(enough_but_of_one_group, instant(9)) == DecisionState.PENDING_APPROVAL


def test_one_person_fills_one_slot_and_the_case_of_an_id_does_not_matter() -> None:
    assert not facts_of(*OPEN, (GRANTED, BOB), (GRANTED, ERIN)).is_approved(instant(9))
    assert facts_of(*OPEN, (GRANTED, Actor("system", "ALICE")), (GRANTED, BOB)).is_approved(instant(9))


def test_the_quorum_is_said_where_the_slots_are_filled_and_not_where_the_number_is_reached() -> None:
    decision = decision_of(*OPEN, (GRANTED, DAVE), (GRANTED, CAROL), (GRANTED, ALICE), (GRANTED, BOB))
    met = [each for each in compute_timeline(decision) if each.event_type == "THRESHOLD_MET"]
    assert [(each.seq, each.summary) for each in met] == [
        (4, "Quorum met: 2 of 2 approvals (1 of security, 1 of platform)")
    ]
    assert decision.facts.progress.quorums.last == (4,)
    assert compute_timeline(decision)[1].summary.startswith(
        "Policy attached: 2 approvals (1 of security, 1 of platform), modes"
    )


@pytest.mark.parametrize(
    "recorded", [None, {"security": ["alice"]}, {"platform": ["bob"], "other": ["alice"]}]
)
def test_a_slot_of_a_group_whose_members_are_not_recorded_is_never_filled(recorded: Any) -> None:
    opened = (CREATED, replace(GROUPED, approver_groups=recorded))
    everybody = ((GRANTED, each) for each in (ALICE, BOB, CAROL, DAVE, ERIN))
    facts = facts_of(*opened, *everybody)
    assert not facts.is_approved(instant(9))
    assert facts.approved_until() is None


@pytest.mark.parametrize(
    "changes",
    [
        {"required_from": {}},
        {"required_from": {"security": 0}},
        {"required_from": {"security": 3}},
        {"required_from": {"security": True}},
        {"required_from": {"": 1}},
        {"required_from": ["security"]},
        {"approver_groups": {}},
        {"approver_groups": {"security": "alice"}},
        {"approver_groups": {"security": [5]}},
        {"approver_groups": {"security": ["a\u200b"]}},
    ],
)
def test_an_event_with_slots_that_cannot_be_does_not_decode(changes: dict[str, Any]) -> None:
    attached = event(1, GROUPED)
    with pytest.raises(NexusControlError) as refused:
        Decision.replay(
            DECISION_ID, [event(0, CREATED), replace(attached, payload={**attached.payload, **changes})]
        )
    assert refused.value.code == ErrorCode.REPLAY_INVALID


def test_a_policy_without_groups_is_written_as_before() -> None:
    assert not {"required_from", "approver_groups"} & POLICY.to_dict().keys()


@dataclass
class Given:
    person: Actor
    ends: datetime
    is_local: bool
    revoked: bool = False


@dataclass
class Model:
    """What happened, in lists; each question is answered by trying everything."""

    policy: PolicyAttachedPayload
    given: list[Given] = field(default_factory=list[Given])
    denied: bool = False

    def current(self, person: Actor, at: datetime) -> Given | None:
        mine = [each for each in self.given if each.person.key == person.key]
        return mine[-1] if mine and not mine[-1].revoked and mine[-1].ends > at else None

    def counting(self, at: datetime) -> list[Actor]:
        found = (self.current(each, at) for each in WHO)
        return [each.person for each in found if each is not None and self.counts(each)]

    def counts(self, each: Given) -> bool:
        approvers = {name.casefold() for name in self.policy.approvers}
        return (
            (not approvers or each.person.key in approvers)
            and (self.policy.allow_requester_approval or each.person.key != ALICE.key)
            and (self.policy.min_assurance is None or each.is_local)
        )

    def holds(self, at: datetime) -> bool:
        people = self.counting(at)
        groups = [
            [name for name, ids in MEMBERS.items() if person.key in map(str.casefold, ids)]
            for person in people
        ]
        return len(people) >= self.policy.min_approvals and are_filled(self.policy.required_from, groups)


WHO = (ALICE, BOB, CAROL, DAVE, ERIN)


def policy_of(
    slots: dict[str, int], more: int, approvers: tuple[str, ...], *, own: bool, assurance: Assurance | None
) -> PolicyAttachedPayload:
    return replace(
        GROUPED,
        required_from=slots,
        min_approvals=sum(slots.values()) + more,
        approvers=approvers,
        allow_requester_approval=own,
        min_assurance=assurance,
    )


POLICIES = st.builds(
    policy_of,
    st.dictionaries(st.sampled_from([*MEMBERS, *MEMBERS, "unknown"]), st.integers(1, 2), min_size=1),
    st.integers(0, 1),
    st.sampled_from([(), (), ("ALICE", "bob", "carol"), ("bob", "dave", "erin")]),
    own=st.booleans(),
    assurance=st.sampled_from([None, None, "local"]),
)
ACTS = st.lists(
    st.one_of(
        st.tuples(
            st.just("grant"),
            st.sampled_from(WHO),
            st.none() | st.integers(1, 9),
            st.sampled_from([True, True, False]),
        ),
        st.tuples(st.just("revoke"), st.sampled_from(WHO), st.none(), st.just(value=False)),
        st.tuples(st.just("wait"), st.none(), st.integers(1, 6), st.just(value=False)),
        st.tuples(
            st.sampled_from(["wait"] * 9 + ["deny"]), st.none(), st.integers(1, 2), st.just(value=False)
        ),
    ),
    max_size=20,
)


def played(
    policy: PolicyAttachedPayload, acts: Sequence[tuple[str, Actor | None, int | None, bool]]
) -> tuple[list[StoredEvent], Model, int, list[int]]:
    """The events of these acts, what the model makes of them, the last minute, and each seq that met the quorum."""
    events, model, minute = [event(0, CREATED, minute=0), event(1, policy, minute=0)], Model(policy), 0
    met = list[int]()
    for kind, who, minutes, is_local in acts:
        seq, at = len(events), instant(minute)
        match kind, who:
            case "grant", Actor() as person:
                ends = None if minutes is None else minute + minutes
                assurance = "local" if is_local else "declared"
                content = ApprovalGrantedPayload(
                    expires_at=None if ends is None else until(ends), assurance=assurance
                )
                events.append(event(seq, content, person, minute))
                if not model.denied and model.current(person, at) is None:
                    held = model.holds(at)
                    model.given.append(Given(person, FOREVER if ends is None else instant(ends), is_local))
                    if model.holds(at) and not held:
                        met.append(seq)
            case "revoke", Actor() as person:
                events.append(event(seq, REVOKED, person, minute))
                mine = [each for each in model.given if each.person.key == person.key]
                if mine and not model.denied and mine[-1].person.type == person.type:
                    mine[-1].revoked = True
            case "deny", _:
                events.append(event(seq, ApprovalDeniedPayload(reason="no"), BOB, minute))
                model.denied = True
            case _:
                minute += minutes or 0
    return events, model, minute, met


@settings(max_examples=number_of(600, few=200))
@given(POLICIES, ACTS, st.integers(0, 12))
def test_a_quorum_by_groups_is_that_of_a_model_that_tries_everything(
    policy: PolicyAttachedPayload, acts: list[tuple[str, Actor | None, int | None, bool]], later: int
) -> None:
    """People in several groups, expiry, revocation, denial, the requester, named approvers and assurance."""
    events, model, minute, met = played(policy, acts)
    start = Facts(decision_id=DECISION_ID)
    facts = reduce(fold, events, start)
    assert replay(start, events) == facts
    at = instant(minute + later)
    assert facts.is_approved(at) == model.holds(at)
    assert facts.current_approvals(at) == len(model.counting(at))
    instants = [instant(n) for n in range(minute + later, minute + later + 12)]
    ended = next((each for each in instants if not model.holds(each)), None)
    holds_until = facts.approved_until()
    if model.holds(at):
        assert holds_until is not None
        assert holds_until == (ended or FOREVER)
    else:
        assert holds_until is None or holds_until <= at
    assert facts.progress.quorums.total == len(met)
    assert list(facts.progress.quorums.last) == met[-20:]
    lacking, people = facts.lacking(at), [set(facts.belongs.get(each.key, ())) for each in model.counting(at)]
    assert policy.required_from is not None
    assert sum(lacking.values()) == sum(policy.required_from.values()) - most_filled(
        policy.required_from, people
    )
    reasons = {each.code: each.details for each in blocking_reasons(facts, at)}
    if facts.phase == "open":
        assert ("MISSING_APPROVALS" in reasons) != model.holds(at)
        missing = reasons.get("MISSING_APPROVALS", {})
        assert missing.get("groups", {}) == lacking


@settings(max_examples=number_of(200, few=60))
@given(POLICIES, ACTS, st.sets(st.integers(0, 25)))
def test_only_approvals_with_authority_fill_slots(
    policy: PolicyAttachedPayload, acts: list[tuple[str, Actor | None, int | None, bool]], authority: set[int]
) -> None:
    events, _, minute, _ = played(policy, acts)
    facts, at = reduce(fold, events, Facts(decision_id=DECISION_ID)), instant(minute)
    counting = facts.active_approvals(at, authority)
    groups = [facts.belongs.get(each.actor.key, ()) for each in counting]
    holds = len(counting) >= policy.min_approvals and are_filled(policy.required_from, groups)
    assert facts.is_approved(at, authority) == holds
    assert (state_at(facts, at, authority) == DecisionState.APPROVED) == (holds and facts.phase == "open")
    assert (not blocking_reasons(facts, at, authority)) == (holds and facts.phase == "open")
