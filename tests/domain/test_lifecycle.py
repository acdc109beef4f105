"""Blocking reasons in their order with their details, what an attempt adds, progress and timeline."""

from collections.abc import Set as AbstractSet
from dataclasses import replace
from typing import Any

import pytest

from nexus_control.blocking import Attempt, BlockingReason, attempt_reasons, blocking_reasons, in_order
from nexus_control.decision import DecisionState
from nexus_control.lifecycle import (
    DEFAULT_TIMELINE_LIMIT,
    THRESHOLD_MET,
    compute_blocking_reasons,
    compute_lifecycle,
    compute_progress,
    compute_timeline,
)
from nexus_control.policy import Policy
from nexus_control.values.payloads import ApprovalGrantedPayload
from tests.domain.histories import (
    BOB,
    BOT,
    CAROL,
    COMPLETED,
    CREATED,
    DENIED,
    FAILED,
    GRANTED,
    HEX,
    POLICY,
    RECONCILED,
    REHEARSED,
    REQUESTED,
    REVOKED,
    STARTED,
    UNKNOWN,
    WITHDRAWN,
    Step,
    codes,
    decision_of,
    facts_of,
    instant,
    until,
)

OPEN: tuple[Step, ...] = (CREATED, POLICY)
RUNNING: tuple[Step, ...] = (*OPEN, (GRANTED, BOB), REQUESTED, STARTED)
TWO = replace(POLICY, min_approvals=2)
EXPIRING = replace(POLICY, expires_at=until(10))
BRIEF = ApprovalGrantedPayload(expires_at=until(10))
LONG = ApprovalGrantedPayload(expires_at=until(50))

Reason = tuple[str, dict[str, Any]]


def missing(required: int, current: int) -> Reason:
    details = {"required": required, "current": current, "missing": required - current}
    return ("MISSING_APPROVALS", details)


def expired(count: int, valid: int, required: int) -> Reason:
    return ("APPROVAL_EXPIRED", {"expired_count": count, "current_valid": valid, "required": required})


BLOCKED: list[tuple[str, tuple[Step, ...], float, AbstractSet[int] | None, list[Reason]]] = [
    ("without events", (), 5, None, [("NO_POLICY", {})]),
    ("a draft", (CREATED,), 5, None, [("NO_POLICY", {})]),
    ("nobody approved", OPEN, 5, None, [missing(1, 0)]),
    ("one of two", (CREATED, TWO, GRANTED), 5, None, [missing(2, 1)]),
    ("approved", (*OPEN, GRANTED), 5, None, []),
    ("revoked", (*OPEN, GRANTED, REVOKED), 5, None, [missing(1, 0)]),
    ("expired", (*OPEN, BRIEF), 10, None, [expired(1, 0, 1), missing(1, 0)]),
    (
        "one of two expired",
        (CREATED, TWO, BRIEF, (GRANTED, BOB)),
        10,
        None,
        [expired(1, 1, 2), missing(2, 1)],
    ),
    ("one of three expired", (CREATED, TWO, BRIEF, (GRANTED, BOB), (GRANTED, CAROL)), 10, None, []),
    ("the request expired", (CREATED, EXPIRING, GRANTED), 10, None, [("EXPIRED", {"expires_at": until(10)})]),
    (
        "everything expired",
        (CREATED, EXPIRING, BRIEF),
        10,
        None,
        [("EXPIRED", {"expires_at": until(10)}), expired(1, 0, 1), missing(1, 0)],
    ),
    ("executing", RUNNING, 9, None, [("EXECUTING", {"requested_at": until(3)})]),
    ("completed", (*RUNNING, COMPLETED), 9, None, [("ALREADY_EXECUTED", {"run_id": "run-1"})]),
    (
        "failed",
        (*RUNNING, FAILED),
        9,
        None,
        [("EXECUTION_FAILED", {"error_code": "BOOM", "error_message": "it broke", "effect": "unknown"})],
    ),
    (
        "denied",
        (*OPEN, (DENIED, BOB)),
        9,
        None,
        [("DENIED", {"actor": "human:bob", "reason": "too risky", "ts": until(2)})],
    ),
    (
        "withdrawn",
        (*OPEN, WITHDRAWN),
        9,
        None,
        [("WITHDRAWN", {"actor": "human:alice", "reason": "not needed", "ts": until(2)})],
    ),
    ("unknown", (*RUNNING, UNKNOWN), 9, None, [("OUTCOME_UNKNOWN", {})]),
    ("reconciled", (*RUNNING, UNKNOWN, RECONCILED), 9, None, [("ALREADY_EXECUTED", {"run_id": "run-9"})]),
    ("rehearsed", (*OPEN, GRANTED, REHEARSED, STARTED, COMPLETED), 9, None, []),
    (
        "imported approvals",
        (CREATED, TWO, GRANTED, (GRANTED, BOB)),
        9,
        {3},
        [("IMPORTED_APPROVALS", {"required": 2, "with_authority": 1, "imported": 1})],
    ),
    ("enough given here", (CREATED, TWO, GRANTED, (GRANTED, BOB), (GRANTED, CAROL)), 9, {3, 4}, []),
    (
        "too few of any kind",
        (CREATED, TWO, GRANTED),
        9,
        set(),
        [missing(2, 0), ("IMPORTED_APPROVALS", {"required": 2, "with_authority": 0, "imported": 1})],
    ),
    (
        "enough imported, one of ours expired",
        (CREATED, TWO, GRANTED, (GRANTED, BOB), (BRIEF, CAROL)),
        10,
        {4},
        [expired(1, 0, 2), ("IMPORTED_APPROVALS", {"required": 2, "with_authority": 0, "imported": 2})],
    ),
]


def test_reasons_of_other_origins_stand_before_what_an_approval_mends() -> None:
    mixed = [
        "ADAPTER_CHANGED",
        "IMPORTED_APPROVALS",
        "APPROVAL_EXPIRED",
        "SOME_IMPORT",
        "EXPIRED",
        "ALREADY_EXECUTED",
    ]
    ordered = in_order(BlockingReason(code, code) for code in mixed)
    assert codes(ordered) == [
        "ALREADY_EXECUTED",
        "EXPIRED",
        "SOME_IMPORT",
        "APPROVAL_EXPIRED",
        "IMPORTED_APPROVALS",
        "ADAPTER_CHANGED",
    ]


@pytest.mark.parametrize(
    ("steps", "at", "authority", "expected"), [row[1:] for row in BLOCKED], ids=[row[0] for row in BLOCKED]
)
def test_every_reason_is_given_in_order_with_its_numbers(
    steps: tuple[Step, ...], at: float, authority: AbstractSet[int] | None, expected: list[Reason]
) -> None:
    reasons = blocking_reasons(facts_of(*steps), instant(at), authority)
    assert [(reason.code, dict(reason.details)) for reason in reasons] == expected
    assert all(reason.message and reason.to_dict()["message"] == reason.message for reason in reasons)


ATTEMPT = Attempt(adapter_id="python:keys", dry_run=False, capabilities={"timeout"}, adapter_digest=None)
DRY = replace(ATTEMPT, dry_run=True)
ASKED_DRY = replace(CREATED, requested_mode="dry_run")
NEEDY = replace(POLICY, require_adapter_capabilities=("timeout", "apply"))
BOUND = replace(POLICY, adapter_id="python:keys", adapter_digest="sha256:" + HEX)
ONLY_DRY = replace(POLICY, allowed_modes=("dry_run",))
ONLY_APPLY = replace(POLICY, allowed_modes=("apply",))
ATTEMPTS: list[tuple[str, tuple[Step, ...], Attempt, list[Reason]]] = [
    ("apply", OPEN, ATTEMPT, []),
    ("a rehearsal", OPEN, DRY, []),
    (
        "apply of a dry run",
        (ASKED_DRY, POLICY),
        ATTEMPT,
        [
            (
                "MODE_NOT_ALLOWED",
                {"mode": "apply", "requested_mode": "dry_run", "allowed_modes": ["dry_run", "apply"]},
            )
        ],
    ),
    (
        "apply, not allowed",
        (CREATED, ONLY_DRY),
        ATTEMPT,
        [("MODE_NOT_ALLOWED", {"mode": "apply", "requested_mode": "apply", "allowed_modes": ["dry_run"]})],
    ),
    (
        "a rehearsal, not allowed",
        (CREATED, ONLY_APPLY),
        DRY,
        [("MODE_NOT_ALLOWED", {"mode": "dry_run", "requested_mode": "apply", "allowed_modes": ["apply"]})],
    ),
    (
        "a capability is missing",
        (CREATED, NEEDY),
        ATTEMPT,
        [("CAPABILITIES_MISSING", {"required": ["timeout", "apply"], "missing": ["apply"]})],
    ),
    (
        "capabilities are unknown",
        (CREATED, NEEDY),
        replace(ATTEMPT, capabilities=None),
        [("CAPABILITIES_UNKNOWN", {"required": ["timeout", "apply"], "missing": ["apply", "timeout"]})],
    ),
    ("no capability is needed", OPEN, replace(ATTEMPT, capabilities=None), []),
    (
        "all capabilities are there",
        (CREATED, NEEDY),
        replace(ATTEMPT, capabilities=["apply", "timeout", "x"]),
        [],
    ),
    (
        "another adapter",
        (CREATED, BOUND),
        replace(ATTEMPT, adapter_id="python:other"),
        [("ADAPTER_MISMATCH", {"bound": "python:keys", "given": "python:other"})],
    ),
    (
        "a changed adapter",
        (CREATED, BOUND),
        replace(ATTEMPT, adapter_digest="sha256:" + "0" * 64),
        [("ADAPTER_CHANGED", {"bound": "sha256:" + HEX, "given": "sha256:" + "0" * 64})],
    ),
    (
        "an adapter that nobody can describe any more",
        (CREATED, BOUND),
        ATTEMPT,
        [("ADAPTER_CHANGED", {"bound": "sha256:" + HEX, "given": None})],
    ),
    ("the adapter as it was", (CREATED, BOUND), replace(ATTEMPT, adapter_digest="sha256:" + HEX), []),
]


@pytest.mark.parametrize(
    ("steps", "attempt", "expected"), [row[1:] for row in ATTEMPTS], ids=[row[0] for row in ATTEMPTS]
)
def test_an_attempt_adds_its_own_reasons_behind_those_of_the_decision(
    steps: tuple[Step, ...], attempt: Attempt, expected: list[Reason]
) -> None:
    approved = attempt_reasons(facts_of(*steps, GRANTED), instant(9), attempt)
    assert [(reason.code, dict(reason.details)) for reason in approved] == expected
    pending = attempt_reasons(facts_of(*steps), instant(9), attempt)
    assert codes(pending) == ["MISSING_APPROVALS", *(code for code, _ in expected)]


def test_an_attempt_gives_every_reason_at_once() -> None:
    policy = replace(
        BOUND, allowed_modes=("dry_run",), require_adapter_capabilities=("x",), expires_at=until(2)
    )
    attempt = replace(ATTEMPT, adapter_id="python:other")
    assert codes(attempt_reasons(facts_of(CREATED, policy), instant(9), attempt)) == [
        "EXPIRED",
        "MISSING_APPROVALS",
        "MODE_NOT_ALLOWED",
        "CAPABILITIES_MISSING",
        "ADAPTER_MISMATCH",
    ]
    assert codes(attempt_reasons(facts_of(CREATED), instant(9), attempt)) == ["NO_POLICY"]


def labels(*steps: Step) -> list[tuple[str, int]]:
    return [(entry.label, entry.seq) for entry in compute_timeline(decision_of(*steps))]


def test_threshold_met_follows_the_approval_that_met_the_quorum() -> None:
    assert labels(CREATED, TWO, GRANTED, (GRANTED, BOB), (GRANTED, CAROL)) == [
        ("created", 0),
        ("policy", 1),
        ("approved", 2),
        ("approved", 3),
        ("quorum met", 3),
        ("approved", 4),
    ]


def test_threshold_met_returns_when_the_quorum_broke_in_between() -> None:
    revoked = labels(*OPEN, GRANTED, REVOKED, GRANTED)
    assert [seq for label, seq in revoked if label == "quorum met"] == [2, 4]
    brief = ApprovalGrantedPayload(expires_at=until(2.5))
    lapsed = labels(*OPEN, brief, GRANTED)
    assert [seq for label, seq in lapsed if label == "quorum met"] == [2, 3]


def test_an_approval_that_does_not_count_meets_no_quorum() -> None:
    picky = replace(POLICY, approvers=("bob",))
    assert "quorum met" not in dict(labels(CREATED, picky, GRANTED))
    late = labels(*OPEN, REQUESTED, (GRANTED, BOB))
    assert "quorum met" not in dict(late)


def test_the_timeline_keeps_its_last_entries() -> None:
    steps: list[Step] = [CREATED, POLICY]
    for _ in range(15):
        steps += [GRANTED, REVOKED]
    decision = decision_of(*steps)
    whole = compute_timeline(decision)
    lifecycle = compute_lifecycle(decision)
    assert len(whole) == lifecycle.timeline_total == 2 + 15 * 3
    assert lifecycle.timeline == whole[-DEFAULT_TIMELINE_LIMIT:]
    assert lifecycle.timeline_truncated
    exact = compute_lifecycle(decision, timeline_limit=len(whole))
    assert (exact.timeline, exact.timeline_truncated) == (whole, False)
    unlimited = compute_lifecycle(decision, timeline_limit=None)
    assert (unlimited.timeline, unlimited.timeline_truncated) == (whole, False)
    assert compute_timeline(decision, timeline_limit=None) == whole
    assert compute_timeline(decision, timeline_limit=3) == whole[-3:]
    for none in (0, -5):
        assert compute_lifecycle(decision, timeline_limit=none).timeline == ()


def test_systems_are_shown_with_their_type_and_every_event_has_a_line() -> None:
    steps = (CREATED, POLICY, (GRANTED, BOB), (REVOKED, BOB), (REQUESTED, BOT), STARTED, UNKNOWN, RECONCILED)
    timeline = compute_timeline(decision_of(*steps))
    shown = {entry.label: entry.actor for entry in timeline}
    assert shown["requested"] == "system:bot"
    assert shown["approved"] == "bob"
    assert all(entry.summary and entry.category and entry.ts for entry in timeline)
    endings = [compute_timeline(decision_of(*OPEN, ending))[-1] for ending in (DENIED, WITHDRAWN)]
    assert [entry.summary for entry in endings] == [
        "alice denied: too risky",
        "alice withdrew the request: not needed",
    ]
    outcomes = [compute_timeline(decision_of(*RUNNING, outcome))[-1] for outcome in (COMPLETED, FAILED)]
    assert [entry.event_type for entry in outcomes] == ["EXECUTION_COMPLETED", "EXECUTION_FAILED"]


def test_a_lifecycle_is_judged_when_its_decision_was_unless_told_otherwise() -> None:
    decision = decision_of(*OPEN, BRIEF)
    assert compute_lifecycle(decision).state is DecisionState.APPROVED
    late = compute_lifecycle(decision, at=instant(10))
    assert (late.state, codes(late.blocking_reasons)) == (
        DecisionState.PENDING_APPROVAL,
        ["APPROVAL_EXPIRED", "MISSING_APPROVALS"],
    )
    assert codes(compute_blocking_reasons(decision, at=instant(10))) == codes(late.blocking_reasons)
    assert late.progress == compute_progress(decision, at=instant(10))


def test_the_readme_call_takes_the_events_and_the_policy() -> None:
    decision = decision_of(*OPEN, GRANTED)
    same = compute_lifecycle(decision, decision.events, decision.policy)
    assert same == compute_lifecycle(decision)
    stricter = compute_lifecycle(decision, decision.events, Policy(min_approvals=3))
    assert stricter.progress.approvals_required == 3
    assert codes(stricter.blocking_reasons) == ["MISSING_APPROVALS"]


def test_progress_speaks_of_the_execution_that_is_no_rehearsal() -> None:
    rehearsed = compute_progress(decision_of(*OPEN, GRANTED, REHEARSED, STARTED, FAILED))
    assert (rehearsed.ready_to_execute, rehearsed.has_executed, rehearsed.execution_outcome) == (
        True,
        False,
        None,
    )
    done = compute_progress(decision_of(*RUNNING, COMPLETED))
    assert (done.ready_to_execute, done.has_executed, done.execution_outcome) == (False, True, "completed")
    assert (done.approvals_current, done.approvals_required) == (1, 1)


def test_a_lifecycle_as_json_has_lists_and_plain_values() -> None:
    shown = compute_lifecycle(decision_of(*OPEN, GRANTED)).to_dict()
    assert shown["state"] == "approved"
    assert shown["is_blocked"] is False
    assert (shown["timeline"][-1]["label"], shown["timeline"][-1]["event_type"]) == (
        "quorum met",
        THRESHOLD_MET,
    )
    assert shown["progress"]["approvals"] == "1/1"
    assert compute_lifecycle(decision_of(CREATED)).to_dict()["blocking_reasons"] == [
        {"code": "NO_POLICY", "message": "No policy is attached", "details": {}}
    ]
