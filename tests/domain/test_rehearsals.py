"""Which approvals count where a policy requires a rehearsal: the fold, against a model that looks at everything."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import reduce

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nexus_control.approvals import FOREVER
from nexus_control.blocking import blocking_reasons
from nexus_control.decision import require_may_approve
from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.events import StoredEvent
from nexus_control.facts import Facts, fold, step
from nexus_control.log.replaying import replay
from nexus_control.values.actors import Actor
from nexus_control.values.payloads import (
    ApprovalGrantedPayload,
    ExecutionCompletedPayload,
    ExecutionRequestedPayload,
    Payload,
    RequiredRehearsal,
)
from tests.domain.histories import (
    ALICE,
    BOB,
    CAROL,
    COMPLETED,
    CREATED,
    DECISION_ID,
    FAILED,
    GRANTED,
    POLICY,
    RECONCILED,
    REHEARSED,
    REQUESTED,
    REVOKED,
    STARTED,
    UNKNOWN,
    Step,
    codes,
    event,
    facts_of,
    instant,
    until,
)
from tests.support.amounts import number_of

MAX_AGE = 10
REQUIRED = replace(POLICY, min_approvals=2, require_rehearsal=RequiredRehearsal(MAX_AGE * 60))
ONE, TWO = f"sha256:{'1' * 64}", f"sha256:{'2' * 64}"
OPEN: tuple[Step, ...] = (CREATED, REQUIRED)


def gave(digest: str | None, adapter: str = "python:keys") -> tuple[Payload, Payload, Payload]:
    """A rehearsal that completed."""
    return _by(adapter, replace(COMPLETED, rehearsal_digest=digest))


def _by(adapter: str, outcome: Payload) -> tuple[Payload, Payload, Payload]:
    """A rehearsal with this outcome. `a:a@1` is another declaration of the adapter `a:a`."""
    adapter_id, _, declaration = adapter.partition("@")
    if declaration and isinstance(outcome, ExecutionCompletedPayload):
        outcome = replace(outcome, adapter_digest=f"sha256:{declaration * 64}")
    return ExecutionRequestedPayload(adapter_id=adapter_id, dry_run=True), STARTED, outcome


def of(digest: str | None, expires_at: str | None = None) -> ApprovalGrantedPayload:
    return ApprovalGrantedPayload(rehearsal_digest=digest, expires_at=expires_at)


@dataclass
class Given:
    person: Actor
    seq: int
    ends: datetime
    covers: tuple[str, str]
    revoked: bool = False


@dataclass
class Model:
    """Everything that happened, in lists; each question is answered by looking at all of it."""

    good: list[tuple[int, str, str]] = field(default_factory=list[tuple[int, str, str]])
    """The seq, the digest and the adapter of each good rehearsal."""
    last_is_good: bool = False
    completed: datetime = FOREVER
    given: list[Given] = field(default_factory=list[Given])

    def is_stale(self, each: Given) -> bool:
        return any((digest, adapter) != each.covers for seq, digest, adapter in self.good if seq > each.seq)

    def latest(self, person: Actor) -> Given | None:
        return next((each for each in reversed(self.given) if each.person.key == person.key), None)

    def is_current(self, each: Given | None, at: datetime) -> bool:
        return each is not None and not each.revoked and each.ends > at and not self.is_stale(each)

    def counting(self, at: datetime) -> set[str]:
        latest = filter(None, map(self.latest, (ALICE, BOB, CAROL)))
        return {each.person.id for each in latest if self.is_current(each, at)}

    def grant(self, seq: int, person: Actor, at: datetime, digest: str | None, ends: datetime) -> None:
        is_young = (at - self.completed).total_seconds() <= MAX_AGE * 60
        if not (self.last_is_good and is_young and digest == self.good[-1][1]):
            return
        if not self.is_current(self.latest(person), at):
            self.given.append(Given(person, seq, ends, self.good[-1][1:]))

    def revoke(self, person: Actor) -> None:
        if (held := self.latest(person)) is not None:
            held.revoked = True

    def rehearse(self, seq: int, at: datetime, adapter: str, outcome: Payload) -> None:
        digest: str | None = getattr(outcome, "rehearsal_digest", None)
        self.last_is_good, self.completed = digest is not None, at
        if digest is not None:
            self.good.append((seq, digest, adapter))


PEOPLE = st.sampled_from([ALICE, BOB, CAROL])
ACTS = st.lists(
    st.one_of(
        st.tuples(
            st.just("grant"), PEOPLE, st.sampled_from([ONE, ONE, TWO, None]), st.none() | st.integers(1, 9)
        ),
        st.tuples(st.just("revoke"), PEOPLE, st.none(), st.none()),
        st.tuples(
            st.just("rehearse"),
            st.sampled_from(["a:a", "a:a", "b:b", "a:a@1", "a:a@2"]),
            st.sampled_from([ONE, ONE, TWO]),
            st.none(),
        ),
        st.tuples(st.just("rehearse"), st.just("a:a"), st.sampled_from([None, "failed"]), st.none()),
        st.tuples(st.just("wait"), st.integers(1, 12), st.none(), st.none()),
    ),
    max_size=25,
)


def played(acts: Sequence[tuple[str, object, object, object]]) -> tuple[list[StoredEvent], Model, int]:
    """The events of these acts, what the model makes of them, and the minute in which they end."""
    events, model, minute = [event(0, CREATED, minute=0), event(1, REQUIRED, minute=0)], Model(), 0
    for kind, who, what, after in acts:
        seq, at = len(events), instant(minute)
        match kind, who, what, after:
            case "wait", int(minutes), _, _:
                minute += minutes
            case "grant", Actor() as person, (str() | None) as digest, minutes:
                ends = None if not isinstance(minutes, int) else minute + minutes
                content = of(digest, None if ends is None else until(ends))
                events.append(event(seq, content, person, minute))
                model.grant(seq, person, at, digest, FOREVER if ends is None else instant(ends))
            case "revoke", Actor() as person, _, _:
                events.append(event(seq, REVOKED, person, minute))
                model.revoke(person)
            case _, str(adapter), (str() | None) as digest, _:
                outcome = FAILED if digest == "failed" else replace(COMPLETED, rehearsal_digest=digest)
                for offset, content in enumerate(_by(adapter, outcome)):
                    events.append(event(seq + offset, content, ALICE, minute))
                model.rehearse(seq, at, adapter, outcome)
            case _:
                raise AssertionError(kind)
    return events, model, minute


@settings(max_examples=number_of(400, few=150))
@given(ACTS, st.integers(0, 12))
def test_the_approvals_that_count_are_those_of_a_model_that_looks_at_everything(
    acts: list[tuple[str, object, object, object]], later: int
) -> None:
    events, model, minute = played(acts)
    facts, at = reduce(fold, events, Facts(DECISION_ID)), instant(minute + later)
    counting = model.counting(at)
    assert {each.actor.id for each in facts.active_approvals(at)} == counting
    assert facts.current_approvals(at) == len(counting)
    ends = sorted((model.latest(Actor("human", each)) or model.given[0]).ends for each in model.counting(at))
    assert facts.approved_until() == (ends[-2] if len(ends) >= 2 else facts.approved_until())
    assert (facts.approved_until() or at) <= at if len(ends) < 2 else True
    assert replay(Facts(DECISION_ID), events) == facts
    stale = [each for each in (model.latest(p) for p in (ALICE, BOB, CAROL)) if each and not each.revoked]
    expected = len(counting) < 2 and any(each.ends > at and model.is_stale(each) for each in stale)
    assert ("APPROVAL_STALE" in codes(blocking_reasons(facts, at))) == expected


def test_an_approval_before_a_rehearsal_or_of_another_one_is_illegal() -> None:
    for before in ((), gave(None), (REHEARSED, STARTED, FAILED)):
        facts = facts_of(*OPEN, *before)
        for digest in (None, ONE):
            assert step(facts, event(facts.event_count, of(digest), BOB)) is None
    rehearsed = facts_of(*OPEN, *gave(ONE))
    assert step(rehearsed, event(5, of(TWO), BOB)) is None
    assert step(rehearsed, event(5, GRANTED, BOB)) is None
    assert step(rehearsed, event(5, of(ONE), BOB)) is not None


def test_a_rehearsal_is_young_enough_to_the_second() -> None:
    rehearsed = facts_of(*OPEN, *gave(ONE))  # it completed in minute 4
    assert rehearsed.rehearsal_lack(instant(4 + MAX_AGE)) is None
    assert rehearsed.rehearsal_lack(instant(4 + MAX_AGE + 1 / 60)) == "old"


def test_what_was_stale_once_stays_stale_when_the_earlier_result_comes_back() -> None:
    facts = facts_of(*OPEN, *gave(ONE), (of(ONE), BOB), *gave(TWO), *gave(ONE))
    assert facts.current_approvals(instant(99)) == 0
    again = fold(facts, event(facts.event_count, of(ONE), BOB))
    assert again.current_approvals(instant(99)) == 1


def test_a_failed_rehearsal_leaves_the_approvals_and_keeps_others_from_approving() -> None:
    facts = facts_of(*OPEN, *gave(ONE), (of(ONE), BOB), REHEARSED, STARTED, FAILED)
    assert facts.current_approvals(instant(9)) == 1
    assert facts.rehearsal_lack(instant(9)) == "failed"


def test_a_rehearsal_that_was_lost_gives_nothing_to_approve_however_it_is_settled() -> None:
    facts = facts_of(*OPEN, REHEARSED, STARTED, UNKNOWN, RECONCILED)
    assert (facts.phase, facts.rehearsal_lack(instant(6))) == ("open", "no_steps")


def test_a_request_for_a_dry_run_needs_no_rehearsal_of_itself() -> None:
    facts = facts_of(replace(CREATED, requested_mode="dry_run"), REQUIRED, (GRANTED, BOB))
    assert not facts.needs_rehearsal
    assert facts.current_approvals(instant(9)) == 1


def test_digests_mean_nothing_where_the_policy_requires_no_rehearsal() -> None:
    facts = facts_of(CREATED, POLICY, *gave(ONE), (of(TWO), BOB), *gave(TWO))
    assert facts.progress.cover is None
    assert facts.current_approvals(instant(9)) == 1


def test_a_run_for_real_gives_no_cover() -> None:
    facts = facts_of(*OPEN, *gave(ONE), (of(ONE), BOB), (of(ONE), CAROL), REQUESTED, STARTED, COMPLETED)
    assert facts.progress.cover is not None
    assert facts.progress.cover.since == 2


@pytest.mark.parametrize("lack", ["none", "failed", "no_steps", "old"])
def test_why_nobody_can_approve_yet_is_said(lack: str) -> None:
    rehearsal = {
        "none": (),
        "failed": (REHEARSED, STARTED, FAILED),
        "no_steps": gave(None),
        "old": gave(ONE),
    }[lack]
    facts = facts_of(*OPEN, *rehearsal)
    with pytest.raises(NexusControlError) as refused:
        require_may_approve(facts, BOB, "local", instant(99))
    assert refused.value.code is ErrorCode.REHEARSAL_REQUIRED
    assert refused.value.details["lack"] == lack
    assert codes(blocking_reasons(facts, instant(99))) == ["REHEARSAL_REQUIRED", "MISSING_APPROVALS"]
    assert blocking_reasons(facts, instant(99), dry_run=True) == ()
