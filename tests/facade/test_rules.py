"""R1 to R8 of the design, each through the facade, with time that moves only when told."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from nexus_control.errors import ErrorCode
from nexus_control.facts import replay_facts
from nexus_control.tool import NexusControlTools
from nexus_control.values.instants import format_instant
from tests.facade.flow import CAROL, DAVE, asked, blocked_by, bundle_of, executed, require_refused, state_of
from tests.facade.routers import DescribingRouter, ExportingRouter, FakeRouter, raising
from tests.support.clock import START, FakeClock
from tests.support.contents import contents
from tests.support.governed import ADAPTER, ALICE, BOB, SCHEDULER, approved, data_of, reasons

FAILED_ANSWER = {"run_id": "run-1", "status": "failed", "error": {"code": "BOOM", "message": "it broke"}}


def after(**span: float) -> str:
    return format_instant(START + timedelta(**span))


# R1: a request is validated whole before its first event, and never changes afterwards.


def test_r1_a_request_is_two_events_at_one_instant(tools: NexusControlTools) -> None:
    request_id = asked(tools, plan="first this, then that\n", labels=["prod"])
    events = tools.store.get_events(request_id)
    assert [event.event_type for event in events] == ["DECISION_CREATED", "POLICY_ATTACHED"]
    assert {event.ts for event in events} == {format_instant(START)}
    assert events[0].payload == {
        "goal": "Rotate the keys",
        "plan": "first this, then that\n",
        "requested_mode": "apply",
        "labels": ["prod"],
    }


def test_r1_goal_plan_mode_and_policy_outlive_everything_that_follows(tools: NexusControlTools) -> None:
    request_id = asked(tools, plan="p", min_approvals=2, max_steps=3)
    fixed = ("goal", "plan", "requested_mode", "policy", "labels", "requester", "created_at")
    before = {key: data_of(tools.status(request_id))[key] for key in fixed}
    tools.approve(request_id, BOB)
    tools.approve(request_id, CAROL)
    tools.execute(request_id, ADAPTER, SCHEDULER, FakeRouter())
    assert {key: data_of(tools.status(request_id))[key] for key in fixed} == before


def test_r1_a_plan_of_steps_is_stored_as_its_canonical_json(tools: NexusControlTools) -> None:
    steps: Any = [{"step_id": "1", "call": {"tool": "keys", "args": {"b": 1, "a": "é"}}}]
    stored = '[{"call":{"args":{"a":"é","b":1},"tool":"keys"},"step_id":"1"}]'
    assert data_of(tools.status(asked(tools, plan=steps)))["plan"] == stored
    assert data_of(tools.status(asked(tools, plan=tuple(steps))))["plan"] == stored


def test_r1_the_default_modes_follow_from_the_requested_mode(tools: NexusControlTools) -> None:
    dry, apply = asked(tools, mode="dry_run"), asked(tools, mode="apply")
    assert data_of(tools.status(dry))["policy"]["allowed_modes"] == ["dry_run"]
    assert data_of(tools.status(apply))["policy"]["allowed_modes"] == ["dry_run", "apply"]


# R2: distinct approvers count; expired and revoked approvals do not, and may be given again.


def test_r2_people_count_and_not_approvals(tools: NexusControlTools) -> None:
    request_id = asked(tools, min_approvals=2)
    assert data_of(tools.approve(request_id, BOB))["current_approvals"] == 1
    require_refused(tools.approve(request_id, {"type": "system", "id": "Bob"}), ErrorCode.ALREADY_APPROVED)
    second = data_of(tools.approve(request_id, CAROL))
    assert (second["current_approvals"], second["is_approved"], second["state"]) == (2, True, "approved")
    third = data_of(tools.approve(request_id, DAVE))
    assert third["current_approvals"] == 3


def test_r2_an_expired_approval_does_not_count_and_may_be_given_again(
    tools: NexusControlTools, clock: FakeClock
) -> None:
    request_id = asked(tools)
    data_of(tools.approve(request_id, BOB, expires_at=after(minutes=10)))
    clock.advance(minutes=10, microseconds=-1)
    assert state_of(tools, request_id) == "approved"
    require_refused(tools.approve(request_id, BOB), ErrorCode.ALREADY_APPROVED)
    clock.advance(microseconds=1)
    assert state_of(tools, request_id) == "pending_approval"
    assert blocked_by(tools, request_id) == ["APPROVAL_EXPIRED", "MISSING_APPROVALS"]
    refused = tools.execute(request_id, ADAPTER, SCHEDULER, FakeRouter())
    assert reasons(refused) == ["APPROVAL_EXPIRED", "MISSING_APPROVALS"]
    assert data_of(tools.approve(request_id, BOB))["is_approved"]


def test_r2_a_revoked_approval_does_not_count_and_may_be_given_again(tools: NexusControlTools) -> None:
    request_id = approved(tools)
    revoked = data_of(tools.revoke_approval(request_id, BOB, "wrong window"))
    assert (revoked["current_approvals"], revoked["is_approved"]) == (0, False)
    assert data_of(tools.approve(request_id, BOB))["current_approvals"] == 1
    assert data_of(tools.status(request_id))["total_approvals"] == 1


# R3: instants need an offset, and expiry is in the future.


@pytest.mark.parametrize(
    ("given", "written"),
    [
        ("2099-01-01T02:00:00+02:00", "2099-01-01T00:00:00.000000+00:00"),
        ("2099-01-01T00:00:00Z", "2099-01-01T00:00:00.000000+00:00"),
        (datetime(2099, 1, 1, tzinfo=UTC), "2099-01-01T00:00:00.000000+00:00"),
        (datetime(2099, 1, 1, tzinfo=timezone(timedelta(hours=-5))), "2099-01-01T05:00:00.000000+00:00"),
    ],
)
def test_r3_all_instants_are_utc(tools: NexusControlTools, given: Any, written: str) -> None:
    request_id = asked(tools, expires_at=given)
    assert data_of(tools.status(request_id))["expires_at"] == written
    data_of(tools.approve(request_id, BOB, expires_at=given))
    assert tools.store.get_events(request_id)[-1].payload["expires_at"] == written


@pytest.mark.parametrize(
    "given",
    [
        datetime(2099, 1, 1),  # noqa: DTZ001 - naive is the point
        datetime.max.replace(tzinfo=timezone(timedelta(hours=-5))),
        datetime.min.replace(tzinfo=timezone(timedelta(hours=5))),
        START,
        START - timedelta(microseconds=1),
        "9999-12-31T23:59:59-05:00",
    ],
)
def test_r3_an_instant_that_is_naive_past_or_beyond_utc_is_refused(
    tools: NexusControlTools, given: Any
) -> None:
    request_id = asked(tools)
    before = contents(tools.store)
    require_refused(tools.request("g", ALICE, expires_at=given), ErrorCode.INVALID_ARGUMENT)
    require_refused(tools.approve(request_id, BOB, expires_at=given), ErrorCode.INVALID_ARGUMENT)
    assert contents(tools.store) == before


def test_r3_ts_never_goes_back_with_the_clock_and_rules_are_judged_at_it(
    tools: NexusControlTools, clock: FakeClock
) -> None:
    request_id = asked(tools, min_approvals=2)
    data_of(tools.approve(request_id, BOB, expires_at=after(minutes=10)))
    clock.advance(minutes=20)
    data_of(tools.approve(request_id, CAROL))
    data_of(tools.approve(request_id, DAVE))
    clock.advance(minutes=-15)
    data_of(tools.revoke_approval(request_id, DAVE))
    refused = tools.execute(request_id, ADAPTER, SCHEDULER, FakeRouter())
    assert reasons(refused) == ["APPROVAL_EXPIRED", "MISSING_APPROVALS"]
    require_refused(tools.approve(request_id, DAVE, expires_at=after(minutes=10)), ErrorCode.INVALID_ARGUMENT)
    stamps = [event.ts for event in tools.store.get_events(request_id)]
    assert stamps == sorted(stamps)
    assert stamps[-1] == after(minutes=20)


# R4: who may approve, deny, revoke and withdraw, and when.


def test_r4_only_eligible_approvers_decide(tools: NexusControlTools) -> None:
    request_id = asked(tools, approvers=["Bob", "carol"], min_approvals=2)
    require_refused(tools.approve(request_id, DAVE), ErrorCode.NOT_ELIGIBLE)
    require_refused(tools.deny(request_id, DAVE, "no"), ErrorCode.NOT_ELIGIBLE)
    require_refused(tools.approve(request_id, ALICE), ErrorCode.NOT_ELIGIBLE)
    data_of(tools.approve(request_id, BOB))
    assert data_of(tools.approve(request_id, CAROL))["is_approved"]


def test_r4_the_requester_may_be_kept_from_deciding(tools: NexusControlTools) -> None:
    free, strict = asked(tools), asked(tools, allow_requester_approval=False)
    assert data_of(tools.approve(free, ALICE))["is_approved"]
    require_refused(tools.approve(strict, ALICE), ErrorCode.REQUESTER_MAY_NOT_APPROVE)
    require_refused(
        tools.approve(strict, {"type": "system", "id": "ALICE"}), ErrorCode.REQUESTER_MAY_NOT_APPROVE
    )
    require_refused(tools.deny(strict, ALICE, "no"), ErrorCode.REQUESTER_MAY_NOT_APPROVE)
    assert data_of(tools.approve(strict, BOB))["is_approved"]


def test_r4_the_assurance_must_reach_the_policy_s(tools: NexusControlTools) -> None:
    for wanted in ("elicited", "local", "signed"):
        refused = tools.approve(asked(tools, min_assurance=wanted), BOB)
        require_refused(refused, ErrorCode.ASSURANCE_TOO_LOW)
        assert refused.details == {"required": wanted, "given": "declared"}
    request_id = asked(tools, min_assurance="declared")
    assert data_of(tools.approve(request_id, BOB))["is_approved"]
    assert tools.store.get_events(request_id)[-1].payload["assurance"] == "declared"


def test_r4_one_denial_ends_the_decision(tools: NexusControlTools) -> None:
    request_id = approved(tools)
    assert data_of(tools.deny(request_id, CAROL, "not on a Friday"))["state"] == "denied"
    for attempt in (
        tools.approve(request_id, DAVE),
        tools.deny(request_id, DAVE, "me too"),
        tools.withdraw(request_id, ALICE, "then not"),
        tools.revoke_approval(request_id, BOB),
        tools.reconcile(request_id, ALICE, "failed", "e"),
        tools.recover(request_id),
    ):
        require_refused(attempt, ErrorCode.INVALID_STATE)
    refused = tools.execute(request_id, ADAPTER, SCHEDULER, FakeRouter())
    assert reasons(refused) == ["DENIED"]
    ending = data_of(tools.status(request_id))["ending"]
    assert (ending["actor"]["id"], ending["reason"]) == ("carol", "not on a Friday")


def test_r4_the_requester_s_withdrawal_ends_the_decision(tools: NexusControlTools) -> None:
    request_id = approved(tools)
    require_refused(tools.withdraw(request_id, BOB, "not mine"), ErrorCode.NOT_REQUESTER)
    require_refused(
        tools.withdraw(request_id, {"type": "system", "id": "alice"}, "not I"), ErrorCode.NOT_REQUESTER
    )
    assert data_of(tools.withdraw(request_id, ALICE, "no longer needed"))["state"] == "withdrawn"
    assert reasons(tools.execute(request_id, ADAPTER, SCHEDULER, FakeRouter())) == ["WITHDRAWN"]
    require_refused(tools.approve(request_id, CAROL), ErrorCode.INVALID_STATE)


def test_r4_approvals_are_revoked_by_their_own_giver_and_only_before_dispatch(
    tools: NexusControlTools,
) -> None:
    request_id = approved(tools)
    require_refused(tools.revoke_approval(request_id, CAROL), ErrorCode.NO_ACTIVE_APPROVAL)
    require_refused(
        tools.revoke_approval(request_id, {"type": "system", "id": "bob"}), ErrorCode.NO_ACTIVE_APPROVAL
    )
    attempts: list[Any] = []

    def revoke_meanwhile() -> object:
        attempts.append(tools.revoke_approval(request_id, BOB))
        attempts.append(tools.approve(request_id, CAROL))
        attempts.append(tools.deny(request_id, CAROL, "stop"))
        return {"run_id": "run-1"}

    data_of(tools.execute(request_id, ADAPTER, SCHEDULER, FakeRouter(revoke_meanwhile)))
    for attempt in (*attempts, tools.revoke_approval(request_id, BOB)):
        require_refused(attempt, ErrorCode.INVALID_STATE)


# R5: what execute needs at that instant.


def test_r5_a_request_that_expired_is_neither_approved_nor_executed(
    tools: NexusControlTools, clock: FakeClock
) -> None:
    request_id = approved(tools, expires_at=after(hours=1))
    clock.advance(hours=1, microseconds=-1)
    assert blocked_by(tools, request_id) == []
    clock.advance(microseconds=1)
    assert blocked_by(tools, request_id) == ["EXPIRED"]
    assert reasons(tools.execute(request_id, ADAPTER, SCHEDULER, FakeRouter())) == ["EXPIRED"]
    require_refused(tools.approve(request_id, CAROL), ErrorCode.INVALID_STATE)
    assert state_of(tools, request_id) == "expired"


def test_r5_a_decision_for_a_dry_run_never_applies(tools: NexusControlTools) -> None:
    request_id = approved(tools, mode="dry_run", allowed_modes=["dry_run", "apply"])
    refused = tools.execute(request_id, ADAPTER, SCHEDULER, FakeRouter(), dry_run=False)
    assert reasons(refused) == ["MODE_NOT_ALLOWED"]
    router = FakeRouter()
    assert data_of(tools.execute(request_id, ADAPTER, SCHEDULER, router))["mode"] == "dry_run"
    assert router.calls[0]["dry_run"] is True


def test_r5_capabilities_must_be_known_and_present(tools: NexusControlTools) -> None:
    request_id = approved(tools, require_adapter_capabilities=["timeout"])
    for capabilities, reason in ((None, "CAPABILITIES_UNKNOWN"), ({"apply"}, "CAPABILITIES_MISSING")):
        refused = tools.execute(request_id, ADAPTER, SCHEDULER, FakeRouter(capabilities=capabilities))
        assert reasons(refused) == [reason]
    router = FakeRouter(capabilities={"timeout", "apply"})
    data_of(tools.execute(request_id, ADAPTER, SCHEDULER, router))
    assert router.calls[0]["require_capabilities"] == ["timeout"]


def test_r5_a_request_that_names_its_adapter_binds_it_and_its_declaration(tools: NexusControlTools) -> None:
    one, other = "sha256:" + "1" * 64, "sha256:" + "2" * 64
    binding = NexusControlTools(tools.store, plan_checker=DescribingRouter(one))
    request_id = approved(binding, adapter_id=ADAPTER)
    assert data_of(tools.status(request_id))["adapter_digest"] == one
    assert reasons(tools.execute(request_id, "python:x", SCHEDULER, DescribingRouter(one))) == [
        "ADAPTER_MISMATCH"
    ]
    for router in (DescribingRouter(other), DescribingRouter(None), FakeRouter()):
        assert reasons(tools.execute(request_id, ADAPTER, SCHEDULER, router)) == ["ADAPTER_CHANGED"]
        assert router.calls == []
    data_of(tools.execute(request_id, ADAPTER, SCHEDULER, DescribingRouter(one)))


def test_r5_a_refusal_names_every_reason_writes_nothing_and_asks_no_router(
    tools: NexusControlTools, clock: FakeClock
) -> None:
    request_id = asked(
        tools,
        mode="dry_run",
        min_approvals=2,
        require_adapter_capabilities=["timeout"],
        adapter_id=ADAPTER,
        expires_at=after(hours=1),
    )
    data_of(tools.approve(request_id, BOB, expires_at=after(minutes=1)))
    clock.advance(hours=2)
    before, router = contents(tools.store), FakeRouter()
    refused = tools.execute(request_id, "python:x", SCHEDULER, router, dry_run=False)
    assert reasons(refused) == [
        "EXPIRED",
        "APPROVAL_EXPIRED",
        "MISSING_APPROVALS",
        "MODE_NOT_ALLOWED",
        "CAPABILITIES_UNKNOWN",
        "ADAPTER_MISMATCH",
    ]
    assert contents(tools.store) == before
    assert router.calls == []


# R6: rehearsals, and what is final.


@pytest.mark.parametrize("answer", [{"run_id": "run-0", "steps_executed": 1}, FAILED_ANSWER])
def test_r6_a_rehearsal_good_or_failed_leaves_the_decision_approved(
    tools: NexusControlTools, answer: object
) -> None:
    request_id = approved(tools)
    rehearsal = tools.execute(request_id, ADAPTER, SCHEDULER, FakeRouter(answer), dry_run=True)
    assert rehearsal.success == (answer is not FAILED_ANSWER)
    assert state_of(tools, request_id) == "approved"
    require_refused(tools.export_audit_package(request_id), ErrorCode.NO_ROUTER_LINK)
    assert data_of(tools.status(request_id))["run"] is None
    data_of(tools.execute(request_id, ADAPTER, SCHEDULER, FakeRouter({"run_id": "run-2"})))
    status = data_of(tools.status(request_id))
    assert [(line["dry_run"], line["rehearsal"]) for line in status["executions"]] == [
        (True, True),
        (False, False),
    ]
    assert status["run"] == {"run_id": "run-2", "status": "completed"}
    assert bundle_of(tools, request_id)["router_link"]["run_id"] == "run-2"


def test_r6_an_execution_is_final_completed_or_failed(tools: NexusControlTools) -> None:
    for router, reason in (
        (FakeRouter(), "ALREADY_EXECUTED"),
        (FakeRouter(FAILED_ANSWER), "EXECUTION_FAILED"),
    ):
        request_id = executed(tools, router)
        for dry_run in (None, True, False):
            refused = tools.execute(request_id, ADAPTER, SCHEDULER, router, dry_run=dry_run)
            assert reasons(refused) == [reason]
        assert len(router.calls) == 1


def test_r6_an_unknown_outcome_waits_for_a_person(tools: NexusControlTools) -> None:
    request_id = approved(tools)
    router = FakeRouter(raising(TimeoutError("too slow")))
    require_refused(tools.execute(request_id, ADAPTER, SCHEDULER, router), ErrorCode.OUTCOME_UNKNOWN)
    assert reasons(tools.execute(request_id, ADAPTER, SCHEDULER, router)) == ["OUTCOME_UNKNOWN"]
    require_refused(tools.export_audit_package(request_id), ErrorCode.NO_ROUTER_LINK)
    settled = data_of(
        tools.reconcile(
            request_id, ALICE, "completed", "seen in the console", run_id="r-7", response_digest="0" * 64
        )
    )
    assert (settled["state"], settled["outcome"]) == ("completed", "completed")
    assert data_of(tools.export_audit_package(request_id))["package"]["router"]["ref"]["run_id"] == "r-7"
    require_refused(tools.reconcile(request_id, ALICE, "failed", "again"), ErrorCode.INVALID_STATE)


def test_r6_an_exported_run_is_bound_by_the_digest_of_its_bundle(tools: NexusControlTools) -> None:
    bundle = {"run": {"run_id": "run-1", "status": "completed"}, "digests": {"sha256": "3" * 64}}
    request_id = executed(tools, ExportingRouter(bundle))
    package = data_of(tools.export_audit_package(request_id))["package"]
    assert package["router"]["ref"] == {"run_id": "run-1", "digest": "sha256:" + "3" * 64}


# R7 is a table of its own in tests/domain/test_lifecycle.py; what status says is what execute says.


def test_r7_status_and_inspect_give_the_reasons_for_which_execute_refuses(
    tools: NexusControlTools, clock: FakeClock
) -> None:
    request_id = asked(tools, min_approvals=2)
    data_of(tools.approve(request_id, BOB, expires_at=after(minutes=1)))
    clock.advance(minutes=5)
    refused = tools.execute(request_id, ADAPTER, SCHEDULER, FakeRouter())
    status, inspected = data_of(tools.status(request_id)), data_of(tools.inspect(request_id))
    assert (
        refused.details["reasons"] == status["blocking_reasons"] == inspected["lifecycle"]["blocking_reasons"]
    )
    assert inspected["lifecycle"]["is_blocked"]
    assert not inspected["lifecycle"]["progress"]["ready_to_execute"]


# R8: templates are immutable, snapshotted, and overridden only as they allow.

PROD: dict[str, Any] = {
    "min_approvals": 2,
    "allowed_modes": ["dry_run", "apply"],
    "require_adapter_capabilities": ["timeout"],
    "max_steps": 10,
    "labels": ["prod"],
    "approvers": ["alice", "bob", "carol"],
    "allow_requester_approval": False,
    "min_assurance": "declared",
}


def test_r8_a_template_s_policy_is_snapshotted_and_its_digest_recomputes(tools: NexusControlTools) -> None:
    made = data_of(tools.template_create("prod", DAVE, "Production", **PROD))
    asked_for = data_of(tools.request("Deploy", ALICE, "apply", template_name="prod"))
    assert asked_for["template_name"] == "prod"
    assert asked_for["template_digest"] == made["digest"]
    assert asked_for["overrides_applied"] == {}
    status = data_of(tools.status(asked_for["request_id"]))
    assert status["policy"] == PROD
    assert status["labels"] == ["prod"]
    snapshot = bundle_of(tools, asked_for["request_id"])["template_snapshot"]
    assert snapshot["digest"] == "sha256:" + made["digest"]
    assert snapshot["snapshot"] == data_of(tools.template_get("prod"))["snapshot"]
    assert snapshot["snapshot"]["created_by"] == DAVE.to_dict()
    assert snapshot["overrides"] is None


@pytest.mark.parametrize("prefix", ["", "override_"])
def test_r8_an_override_replaces_the_field_and_is_recorded(tools: NexusControlTools, prefix: str) -> None:
    data_of(tools.template_create("prod", DAVE, **PROD))
    overrides: dict[str, Any] = {"min_approvals": 1, "labels": ["x"], "approvers": []}
    given = {prefix + field: value for field, value in overrides.items()}
    asked_for = data_of(tools.request("Deploy", ALICE, "apply", template_name="prod", **given))
    assert asked_for["overrides_applied"] == overrides
    policy = data_of(tools.status(asked_for["request_id"]))["policy"]
    assert (policy["min_approvals"], policy["labels"], policy.get("approvers", [])) == (1, ["x"], [])
    assert policy["max_steps"] == 10
    assert bundle_of(tools, asked_for["request_id"])["template_snapshot"]["overrides"] == overrides


def test_r8_an_override_that_is_none_is_none_given(tools: NexusControlTools) -> None:
    data_of(tools.template_create("prod", DAVE, **PROD))
    asked_for = tools.request("Deploy", ALICE, "apply", template_name="prod", override_min_approvals=None)
    assert data_of(asked_for)["overrides_applied"] == {}


@pytest.mark.parametrize(
    ("field", "weaker", "tighter"),
    [
        ("min_approvals", 1, 3),
        ("require_adapter_capabilities", [], ["timeout", "apply"]),
        ("max_steps", 11, 9),
        ("approvers", ["alice", "bob", "carol", "dave"], ["bob", "carol"]),
        ("allow_requester_approval", True, False),
        ("min_assurance", None, "local"),
    ],
)
def test_r8_a_template_that_may_only_be_tightened(
    tools: NexusControlTools, field: str, weaker: Any, tighter: Any
) -> None:
    data_of(tools.template_create("prod", DAVE, overrides="tighten_only", **PROD))
    if weaker is not None:
        refused = tools.request("Deploy", ALICE, "apply", template_name="prod", **{field: weaker})
        require_refused(refused, ErrorCode.TEMPLATE_WEAKENED)
        assert refused.details == {"fields": [field]}
    data_of(tools.request("Deploy", DAVE, "apply", template_name="prod", **{field: tighter}))


def test_r8_an_allowed_mode_may_be_dropped_but_not_added(tools: NexusControlTools) -> None:
    data_of(tools.template_create("dry", DAVE, overrides="tighten_only"))
    refused = tools.request("g", ALICE, "apply", template_name="dry", allowed_modes=["apply"])
    require_refused(refused, ErrorCode.TEMPLATE_WEAKENED)
    require_refused(tools.request("g", ALICE, "apply", template_name="dry"), ErrorCode.INVALID_ARGUMENT)


def test_r8_a_template_never_changes(tools: NexusControlTools, clock: FakeClock) -> None:
    data_of(tools.template_create("prod", DAVE, **PROD))
    before = data_of(tools.template_get("prod"))
    clock.advance(days=1)
    require_refused(tools.template_create("prod", DAVE), ErrorCode.TEMPLATE_ALREADY_EXISTS)
    assert data_of(tools.template_get("prod")) == before


# What depends on the clock, and what must not.


def test_status_and_list_judge_now(tools: NexusControlTools, clock: FakeClock) -> None:
    request_id = asked(tools)
    data_of(tools.approve(request_id, BOB, expires_at=after(minutes=10)))

    def seen() -> tuple[str, bool, str, bool, int, int]:
        status = data_of(tools.status(request_id))
        (line,) = data_of(tools.list_requests())["requests"]
        found = data_of(tools.list_requests(state="approved"))["count"]
        return (
            status["state"],
            status["is_approved"],
            line["state"],
            line["is_approved"],
            line["current_approvals"],
            found,
        )

    assert seen() == ("approved", True, "approved", True, 1, 1)
    clock.advance(minutes=10)
    assert seen() == ("pending_approval", False, "pending_approval", False, 0, 0)
    assert data_of(tools.list_requests(state="pending_approval"))["count"] == 1


def test_the_same_events_export_to_the_same_digest_before_and_after_an_approval_expires(
    tools: NexusControlTools, clock: FakeClock
) -> None:
    request_id = asked(tools, expires_at=after(hours=1))
    data_of(tools.approve(request_id, BOB, expires_at=after(minutes=10)))
    before = data_of(tools.export_bundle(request_id))
    clock.advance(hours=2)
    assert state_of(tools, request_id) == "expired"
    late = data_of(tools.export_bundle(request_id))
    assert late["digest"] == before["digest"]
    assert late["bundle"]["decision"]["status"] == "APPROVED"
    assert late["bundle"]["meta"] != before["bundle"]["meta"]


def test_loaded_facts_are_those_of_the_replay(tools: NexusControlTools) -> None:
    for request_id in (asked(tools), approved(tools), executed(tools)):
        assert tools.store.load(request_id).facts == replay_facts(
            request_id, tools.store.get_events(request_id)
        )
