from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from nexus_control.approvals import FOREVER
from nexus_control.bundle_parts import event_part, header_of, require_replayable
from nexus_control.decision import (
    Decision,
    DecisionState,
    counting_approvals,
    is_approved,
    require_may_approve,
    require_may_deny,
    require_may_revoke,
    require_may_withdraw,
    state_at,
)
from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.events import StoredEvent
from nexus_control.facts import Facts
from nexus_control.lifecycle import compute_lifecycle
from nexus_control.values.actors import Actor
from nexus_control.values.payloads import ApprovalGrantedPayload, PolicyAttachedPayload, SignedStatement
from tests.domain.histories import (
    ALICE,
    BOB,
    BOT,
    CAROL,
    COMPLETED,
    CREATED,
    DECISION_ID,
    DENIED,
    GRANTED,
    HEX,
    POLICY,
    REHEARSED,
    REQUESTED,
    REVOKED,
    STARTED,
    UNKNOWN,
    WITHDRAWN,
    Step,
    decision_of,
    event,
    facts_of,
    history,
    instant,
    until,
)
from tests.support.clock import FakeClock

BRIEF = ApprovalGrantedPayload(expires_at=until(10))
PICKY = PolicyAttachedPayload(
    min_approvals=1,
    allowed_modes=("apply",),
    approvers=("alice", "Bob"),
    allow_requester_approval=False,
    min_assurance="local",
)
EXPIRING = replace(POLICY, expires_at=until(10))


@pytest.mark.parametrize(
    ("steps", "state"),
    [
        ((CREATED,), DecisionState.DRAFT),
        ((CREATED, POLICY), DecisionState.PENDING_APPROVAL),
        ((CREATED, POLICY, GRANTED), DecisionState.APPROVED),
        ((CREATED, POLICY, GRANTED, REVOKED), DecisionState.PENDING_APPROVAL),
        ((CREATED, POLICY, GRANTED, REQUESTED), DecisionState.EXECUTING),
        ((CREATED, POLICY, GRANTED, REQUESTED, STARTED, COMPLETED), DecisionState.COMPLETED),
        ((CREATED, POLICY, GRANTED, REHEARSED, STARTED, COMPLETED), DecisionState.APPROVED),
        ((CREATED, POLICY, GRANTED, REQUESTED, STARTED, UNKNOWN), DecisionState.OUTCOME_UNKNOWN),
        ((CREATED, POLICY, DENIED), DecisionState.DENIED),
        ((CREATED, POLICY, WITHDRAWN), DecisionState.WITHDRAWN),
    ],
)
def test_the_state_follows_from_the_events(steps: tuple[Step, ...], state: DecisionState) -> None:
    assert decision_of(*steps).state is state


def test_a_decision_is_judged_at_its_last_event_unless_told_otherwise() -> None:
    steps = (CREATED, POLICY, BRIEF)
    assert decision_of(*steps).as_of == instant(2)
    assert decision_of(*steps).state is DecisionState.APPROVED
    assert decision_of(*steps, at=9).is_approved
    late = decision_of(*steps, at=10)
    assert (late.state, late.active_approval_count, late.as_of) == ("pending_approval", 0, instant(10))
    assert len(late.approvals) == 1


EXPIRED_OR_NOT: list[tuple[tuple[Step, ...], float, DecisionState, int]] = [
    ((CREATED, EXPIRING), 9.9, DecisionState.PENDING_APPROVAL, 0),
    ((CREATED, EXPIRING), 10, DecisionState.EXPIRED, 0),
    ((CREATED, EXPIRING, (GRANTED, BOB)), 9.9, DecisionState.APPROVED, 1),
    ((CREATED, EXPIRING, (GRANTED, BOB)), 10, DecisionState.EXPIRED, 0),
    ((CREATED, EXPIRING, (GRANTED, BOB), (REVOKED, BOB)), 10, DecisionState.EXPIRED, 0),
    ((CREATED, EXPIRING, (DENIED, BOB)), 10, DecisionState.DENIED, 0),
    ((CREATED, EXPIRING, WITHDRAWN), 10, DecisionState.WITHDRAWN, 0),
    ((CREATED, EXPIRING, (GRANTED, BOB), REQUESTED), 10, DecisionState.EXECUTING, 1),
    ((CREATED, EXPIRING, (GRANTED, BOB), REQUESTED, STARTED, UNKNOWN), 10, DecisionState.OUTCOME_UNKNOWN, 1),
    ((CREATED, EXPIRING, (GRANTED, BOB), REQUESTED, STARTED, COMPLETED), 10, DecisionState.COMPLETED, 1),
    ((CREATED, EXPIRING, (GRANTED, BOB), REHEARSED, STARTED, COMPLETED), 10, DecisionState.EXPIRED, 0),
    ((CREATED,), 99, DecisionState.DRAFT, 0),
]


@pytest.mark.parametrize(("steps", "at", "state", "counting"), EXPIRED_OR_NOT)
def test_only_an_open_request_expires_and_no_approval_of_it_counts_then(
    steps: tuple[Step, ...], at: float, state: DecisionState, counting: int
) -> None:
    decision = decision_of(*steps, at=at)
    assert (decision.state, decision.active_approval_count) == (state, counting)
    assert decision.is_approved == (counting > 0)
    assert decision.to_dict()["state"] == state
    assert Decision.load(ClockedSource(history(*steps), FakeClock(instant(at))), DECISION_ID).state == state


@pytest.mark.parametrize(("steps", "at", "state", "_counting"), EXPIRED_OR_NOT)
def test_a_bundle_states_what_the_approvals_make_of_an_expired_request(
    steps: tuple[Step, ...], at: float, state: DecisionState, _counting: int
) -> None:
    stated = header_of(decision_of(*steps, at=at)).status
    in_time = decision_of(*steps, at=9.9).state
    assert stated == str(in_time if state is DecisionState.EXPIRED else state).upper()


def test_a_request_without_an_end_never_expires() -> None:
    assert decision_of(*OPEN, at=None).facts.expires() is None
    assert state_at(facts_of(*OPEN), FOREVER) is DecisionState.PENDING_APPROVAL


@pytest.mark.parametrize(
    ("authority", "state", "counting"),
    [
        (None, "approved", 2),
        ({2}, "approved", 1),
        (set[int](), "pending_approval", 0),
        ({9}, "pending_approval", 0),
    ],
)
def test_which_approvals_carry_authority_is_an_argument(
    authority: set[int] | None, state: str, counting: int
) -> None:
    decision = decision_of(*OPEN, (GRANTED, BOB), (GRANTED, CAROL))
    assert state_at(decision.facts, decision.as_of, authority) == state
    assert len(counting_approvals(decision.facts, decision.as_of, authority)) == counting
    assert is_approved(decision.facts, decision.as_of, authority) == (state == "approved")
    assert (decision.state, decision.is_approved) == ("approved", True)
    lifecycle = compute_lifecycle(decision, authority=None if authority is None else frozenset(authority))
    assert (lifecycle.state, lifecycle.progress.approvals_current) == (state, counting)


class Source:
    """Events without a clock."""

    def __init__(self, events: Sequence[StoredEvent]) -> None:
        self.events = events

    def get_events(self, decision_id: str) -> Sequence[StoredEvent]:
        return self.events


class ClockedSource(Source):
    def __init__(self, events: Sequence[StoredEvent], clock: FakeClock) -> None:
        super().__init__(events)
        self.clock = clock


def test_loading_judges_at_the_clock_of_the_source_where_it_has_one() -> None:
    events = history(CREATED, POLICY, BRIEF)
    assert Decision.load(Source(events), DECISION_ID).as_of == instant(2)
    clocked = ClockedSource(events, FakeClock(instant(11)))
    assert Decision.load(clocked, DECISION_ID).state is DecisionState.PENDING_APPROVAL
    assert Decision.load(clocked, DECISION_ID, at=instant(3)).state is DecisionState.APPROVED


def test_a_decision_needs_events_that_decode() -> None:
    created, policy = history(CREATED, POLICY)
    for events in (
        [],
        [created, replace(policy, payload={"min_approvals": 0})],
        [replace(created, payload={})],
    ):
        with pytest.raises(NexusControlError) as refused:
            Decision.replay(DECISION_ID, events)
        assert refused.value.code == ErrorCode.REPLAY_INVALID


def test_extra_keys_of_a_payload_are_kept_and_never_interpreted() -> None:
    created = history(CREATED)[0]
    strange = replace(created, payload={**created.payload, "min_approvals": 0, "x": {"y": 1.5}})
    decision = Decision.replay(DECISION_ID, [strange])
    assert decision.events[0].payload["x"] == {"y": 1.5}
    assert decision.policy is None


def test_what_a_decision_shows() -> None:
    snapshot = {"template_name": "prod"}
    policy = replace(
        POLICY,
        template_name="prod",
        template_digest=HEX,
        template_snapshot=snapshot,
        overrides_applied={"min_approvals": 1},
    )
    created = replace(CREATED, plan="steps", labels=("prod",))
    decision = decision_of(created, policy, (GRANTED, BOB), REQUESTED, STARTED, COMPLETED)
    assert (decision.goal, decision.plan, decision.requested_mode) == ("Rotate the keys", "steps", "apply")
    assert (decision.labels, decision.requester) == (("prod",), ALICE)
    assert list(decision.approvals) == ["bob"]
    assert decision.template_ref is not None
    assert (decision.template_ref.name, decision.template_ref.digest) == ("prod", HEX)
    assert decision.template_ref.snapshot == snapshot
    assert decision.template_ref.overrides_applied == {"min_approvals": 1}
    assert decision.latest_run_id == "run-1"
    assert decision.latest_execution == decision.executions[0]
    assert decision.to_dict()["state"] == "completed"
    assert decision.to_dict()["as_of"] == until(5)


def test_an_empty_draft_shows_nothing_and_raises_nothing() -> None:
    decision = Decision.replay(DECISION_ID, [event(0, GRANTED)])
    assert (decision.goal, decision.plan, decision.labels, decision.requester) == ("", None, (), None)
    assert (decision.latest_run_id, decision.template_ref, decision.policy) == (None, None, None)
    assert decision.to_dict()["requester"] is None


def test_what_is_given_out_cannot_change_the_decision() -> None:
    decision = decision_of(CREATED, POLICY, GRANTED)
    approvals: Any = decision.approvals
    with pytest.raises(TypeError):
        approvals["mallory"] = approvals["alice"]
    assert isinstance(decision.events, tuple)
    assert isinstance(decision.executions, tuple)


def approve(actor: Actor, at: float = 5, assurance: Any = "declared") -> Callable[[Facts], None]:
    return lambda facts: require_may_approve(facts, actor, assurance, instant(at))


def deny(actor: Actor, at: float = 5) -> Callable[[Facts], None]:
    return lambda facts: require_may_deny(facts, actor, instant(at))


def withdraw(actor: Actor, at: float = 5) -> Callable[[Facts], None]:
    return lambda facts: require_may_withdraw(facts, actor, instant(at))


def revoke(actor: Actor, at: float = 5) -> Callable[[Facts], None]:
    return lambda facts: require_may_revoke(facts, actor, instant(at))


OPEN: tuple[Step, ...] = (CREATED, POLICY)
Permission = Callable[[Facts], None]
REFUSALS: list[tuple[str, tuple[Step, ...], Permission, ErrorCode]] = [
    ("approve a draft", (CREATED,), approve(BOB), ErrorCode.INVALID_STATE),
    ("approve while executing", (*OPEN, REQUESTED), approve(BOB), ErrorCode.INVALID_STATE),
    ("approve the completed", (*OPEN, REQUESTED, COMPLETED), approve(BOB), ErrorCode.INVALID_STATE),
    ("approve the denied", (*OPEN, DENIED), approve(BOB), ErrorCode.INVALID_STATE),
    ("approve the withdrawn", (*OPEN, WITHDRAWN), approve(BOB), ErrorCode.INVALID_STATE),
    ("approve the unknown", (*OPEN, REQUESTED, UNKNOWN), approve(BOB), ErrorCode.INVALID_STATE),
    ("approve an expired request", (CREATED, EXPIRING), approve(BOB, at=10), ErrorCode.INVALID_STATE),
    ("approve twice", (*OPEN, (GRANTED, BOB)), approve(BOB), ErrorCode.ALREADY_APPROVED),
    (
        "approve twice as a system",
        (*OPEN, (GRANTED, BOB)),
        approve(Actor(type="system", id="BOB")),
        ErrorCode.ALREADY_APPROVED,
    ),
    ("approve before it expires", (*OPEN, (BRIEF, BOB)), approve(BOB, at=9.9), ErrorCode.ALREADY_APPROVED),
    ("approve as anyone", (CREATED, PICKY), approve(CAROL, assurance="local"), ErrorCode.NOT_ELIGIBLE),
    (
        "approve as requester",
        (CREATED, PICKY),
        approve(ALICE, assurance="local"),
        ErrorCode.REQUESTER_MAY_NOT_APPROVE,
    ),
    ("approve on one's word", (CREATED, PICKY), approve(BOB), ErrorCode.ASSURANCE_TOO_LOW),
    ("deny as anyone", (CREATED, PICKY), deny(CAROL), ErrorCode.NOT_ELIGIBLE),
    ("deny as requester", (CREATED, PICKY), deny(ALICE), ErrorCode.REQUESTER_MAY_NOT_APPROVE),
    ("deny while executing", (*OPEN, REQUESTED), deny(BOB), ErrorCode.INVALID_STATE),
    ("deny twice", (*OPEN, DENIED), deny(BOB), ErrorCode.INVALID_STATE),
    ("withdraw another's", OPEN, withdraw(BOB), ErrorCode.NOT_REQUESTER),
    ("withdraw as one's bot", OPEN, withdraw(Actor(type="system", id="alice")), ErrorCode.NOT_REQUESTER),
    ("withdraw while executing", (*OPEN, REQUESTED), withdraw(ALICE), ErrorCode.INVALID_STATE),
    ("withdraw twice", (*OPEN, WITHDRAWN), withdraw(ALICE), ErrorCode.INVALID_STATE),
    ("withdraw a draft", (CREATED,), withdraw(ALICE), ErrorCode.INVALID_STATE),
    ("revoke nothing", OPEN, revoke(BOB), ErrorCode.NO_ACTIVE_APPROVAL),
    ("revoke another's", (*OPEN, (GRANTED, BOB)), revoke(CAROL), ErrorCode.NO_ACTIVE_APPROVAL),
    (
        "revoke as another type",
        (*OPEN, (GRANTED, BOB)),
        revoke(Actor(type="system", id="bob")),
        ErrorCode.NO_ACTIVE_APPROVAL,
    ),
    ("revoke the expired", (*OPEN, (BRIEF, BOB)), revoke(BOB, at=10), ErrorCode.NO_ACTIVE_APPROVAL),
    ("revoke twice", (*OPEN, (GRANTED, BOB), (REVOKED, BOB)), revoke(BOB), ErrorCode.NO_ACTIVE_APPROVAL),
    ("revoke after dispatch", (*OPEN, (GRANTED, BOB), REQUESTED), revoke(BOB), ErrorCode.INVALID_STATE),
    (
        "revoke after the run",
        (*OPEN, (GRANTED, BOB), REQUESTED, COMPLETED),
        revoke(BOB),
        ErrorCode.INVALID_STATE,
    ),
]
PERMISSIONS: list[tuple[str, tuple[Step, ...], Permission]] = [
    ("approve", OPEN, approve(BOB)),
    ("approve one's own request", OPEN, approve(ALICE)),
    ("approve the approved", (*OPEN, (GRANTED, BOB)), approve(CAROL)),
    ("approve again after expiry", (*OPEN, (BRIEF, BOB)), approve(BOB, at=10)),
    ("approve again after revoking", (*OPEN, (GRANTED, BOB), (REVOKED, BOB)), approve(BOB)),
    ("approve after a rehearsal", (*OPEN, REHEARSED, STARTED, COMPLETED), approve(BOB)),
    ("approve as eligible", (CREATED, PICKY), approve(BOB, assurance="signed")),
    ("approve before the request expires", (CREATED, EXPIRING), approve(BOB, at=9.9)),
    ("deny", OPEN, deny(BOB)),
    ("deny as a bot", OPEN, deny(BOT)),
    ("deny the approved", (*OPEN, (GRANTED, BOB)), deny(BOB)),
    ("deny an expired request", (CREATED, EXPIRING), deny(BOB, at=10)),
    ("withdraw", OPEN, withdraw(ALICE)),
    ("withdraw the approved", (*OPEN, (GRANTED, BOB)), withdraw(ALICE)),
    ("revoke", (*OPEN, (GRANTED, BOB)), revoke(BOB)),
    ("revoke what no policy counts", (CREATED, PICKY, (GRANTED, CAROL)), revoke(CAROL)),
]


@pytest.mark.parametrize(
    ("steps", "attempt", "code"), [row[1:] for row in REFUSALS], ids=[row[0] for row in REFUSALS]
)
def test_nobody_may(steps: tuple[Step, ...], attempt: Permission, code: ErrorCode) -> None:
    with pytest.raises(NexusControlError) as refused:
        attempt(facts_of(*steps))
    assert refused.value.code == code


@pytest.mark.parametrize(
    ("steps", "attempt"), [row[1:] for row in PERMISSIONS], ids=[row[0] for row in PERMISSIONS]
)
def test_one_may(steps: tuple[Step, ...], attempt: Permission) -> None:
    attempt(facts_of(*steps))


def test_a_history_that_is_held_against_a_long_request_too_often_is_not_replayed() -> None:
    signed = SignedStatement(format="sshsig", statement="{}", signature="")
    steps = [replace(GRANTED, signed=signed), REVOKED] * 500
    plan = "x" * 256 * 1024
    require_replayable(list(map(event_part, history(CREATED, POLICY, *steps))))
    require_replayable(list(map(event_part, history(replace(CREATED, plan=plan), POLICY, *steps))))
    with pytest.raises(NexusControlError) as refused:
        require_replayable(list(map(event_part, history(replace(CREATED, plan=10 * plan), POLICY, *steps))))
    assert refused.value.code is ErrorCode.REPLAY_INVALID
