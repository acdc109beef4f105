"""Approvals of groups, through the facade: who resolves them, what is recorded, what every view says, and the proof."""

import json
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from nexus_control import DecisionStore, LocalRouter, NexusControlTools, Trust, verify_evidence
from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.evidence.reading import read_evidence
from nexus_control.execution.adapter import Adapters
from nexus_control.execution.python_adapter import PythonAdapter
from nexus_control.guards.governing import governed
from nexus_control.log.upkeep import find_faults, rebuild_derived
from nexus_control.render.report import render_report
from nexus_control.values.actors import Actor
from nexus_control.values.payloads import StateName
from tests.artifacts.samples import BUNDLES
from tests.evidence.packages import PLAN
from tests.evidence.signed_packages import ALLOWED_SIGNERS, SEEDS
from tests.evidence.ssh import signed
from tests.facade.flow import CAROL, DAVE, asked, blocked_by, bundle_of, require_refused, state_of
from tests.facade.routers import FakeRouter
from tests.support.clock import FakeClock
from tests.support.contents import contents
from tests.support.governed import ADAPTER, ALICE, BOB, SCHEDULER, data_of, reasons, require_whole_store

GROUPS = {"security": ["Alice", "bob"], "platform": ["bob", "carol"], "ops": ["dave"]}
BOTH: dict[str, Any] = {"min_approvals": 2, "required_from": {"security": 1, "platform": 1}}
ERIN = Actor("human", "erin")


def made(clock: FakeClock, groups: Mapping[str, Sequence[str]] | None = None) -> NexusControlTools:
    return NexusControlTools(clock=clock, groups=GROUPS if groups is None else groups)


@pytest.fixture
def tools(clock: FakeClock) -> NexusControlTools:
    return made(clock)


def approve(tools: NexusControlTools, request_id: str, *people: Actor) -> dict[str, Any]:
    return [data_of(tools.approve(request_id, each)) for each in people][-1]


def attached(tools: NexusControlTools, request_id: str) -> dict[str, Any]:
    return dict(tools.store.get_events(request_id)[1].payload)


def test_the_members_of_the_named_groups_are_recorded_with_the_request_and_no_others(
    tools: NexusControlTools,
) -> None:
    request_id = asked(tools, **BOTH)
    recorded = attached(tools, request_id)
    assert recorded["required_from"] == {"platform": 1, "security": 1}
    assert recorded["approver_groups"] == {"platform": ["bob", "carol"], "security": ["Alice", "bob"]}
    assert not {"required_from", "approver_groups"} & attached(tools, asked(tools)).keys()


def test_a_request_waits_until_different_people_fill_all_slots(tools: NexusControlTools) -> None:
    request_id = asked(tools, **BOTH)
    assert approve(tools, request_id, CAROL, DAVE)["is_approved"] is False
    assert state_of(tools, request_id) == "pending_approval"
    refused = tools.execute(request_id, ADAPTER, SCHEDULER, FakeRouter())
    require_refused(refused, ErrorCode.POLICY_NOT_SATISFIED)
    assert reasons(refused) == ["MISSING_APPROVALS"]
    assert "1 of security among them" in str(refused.next)
    status = data_of(tools.status(request_id))
    (reason,) = status["blocking_reasons"]
    assert reason["details"] == {"required": 2, "current": 2, "missing": 1, "groups": {"security": 1}}
    assert status["awaited"] == {
        "missing": 1,
        "eligible": None,
        "requester_may_approve": True,
        "min_assurance": None,
        "groups": {"security": {"missing": 1, "eligible": ["Alice", "bob"]}},
    }
    assert (status["is_approved"], status["active_approvals"], status["required_approvals"]) == (False, 2, 2)
    assert approve(tools, request_id, BOB) | {"request_id": ""} == {
        "request_id": "",
        "state": "approved",
        "current_approvals": 3,
        "required_approvals": 2,
        "is_approved": True,
        "groups_missing": {},
    }
    assert data_of(tools.status(request_id))["awaited"] is None
    assert data_of(tools.execute(request_id, ADAPTER, SCHEDULER, FakeRouter()))["run_id"]


def test_views_name_the_groups_their_members_and_what_is_missing(tools: NexusControlTools) -> None:
    request_id = asked(tools, **BOTH)
    approve(tools, request_id, CAROL)
    for view in (tools.status(request_id).data, tools.inspect(request_id).data["decision"]):
        assert view.get("approver_groups") == attached(tools, request_id)["approver_groups"]
        assert (view["policy"] or {}).get("required_from") == BOTH["required_from"]
    rendered = tools.inspect(request_id).data.get("rendered", "")
    assert rendered.startswith("✗ Decision not executable (missing 1 approval, 1 of security)")
    assert "- Of groups: 1 of platform, 1 of security" in rendered
    assert "- Members of security: Alice, bob" in rendered
    assert "- [MISSING_APPROVALS] Missing 1 approval (1 of 2), still needed: 1 of security" in rendered
    plain = tools.inspect(asked(tools)).data.get("rendered", "")
    assert "Of groups" not in plain


def test_lists_say_pending_until_the_slots_are_filled_and_while_they_are(
    tools: NexusControlTools, clock: FakeClock
) -> None:
    request_id = asked(tools, **BOTH)
    approve(tools, request_id, CAROL, DAVE)

    def listed(state: StateName) -> list[str]:
        return [each["request_id"] for each in tools.list_requests(state=state).data["requests"]]

    (line,) = tools.list_requests().data["requests"]
    assert (line["state"], line["is_approved"], line["current_approvals"]) == ("pending_approval", False, 2)
    assert (line.get("groups_filled"), line["executable"]) == (False, False)
    assert (listed("pending_approval"), listed("approved")) == ([request_id], [])
    data_of(tools.approve(request_id, BOB, expires_at=clock.now().replace(year=2027).isoformat()))
    (line,) = tools.list_requests().data["requests"]
    assert (line["state"], line["is_approved"], line["executable"]) == ("approved", True, True)
    assert line.get("groups_filled") is True
    assert (listed("pending_approval"), listed("approved")) == ([], [request_id])
    clock.advance(days=800)  # bob's approval ends, and there are two others
    (line,) = tools.list_requests().data["requests"]
    assert (line["state"], line["is_approved"], line["current_approvals"]) == ("pending_approval", False, 2)
    assert (listed("pending_approval"), listed("approved")) == ([request_id], [])
    assert blocked_by(tools, request_id) == ["APPROVAL_EXPIRED", "MISSING_APPROVALS"]
    asked(tools)
    assert "groups_filled" not in tools.list_requests().data["requests"][0]
    require_whole_store(tools.store)
    assert find_faults(tools.store) == []


def test_a_line_of_an_executed_decision_still_says_that_it_was_approved(tools: NexusControlTools) -> None:
    request_id = asked(tools, **BOTH)
    approve(tools, request_id, CAROL, BOB)
    data_of(tools.execute(request_id, ADAPTER, SCHEDULER, FakeRouter()))
    (line,) = tools.list_requests().data["requests"]
    assert (line["state"], line["is_approved"], line.get("groups_filled")) == ("completed", True, True)
    assert data_of(tools.status(request_id))["is_approved"] is True


@pytest.mark.parametrize("filled_until", ["~", "", "2030-01-01T00:00:00.000000+00:00"])
def test_a_row_that_says_otherwise_than_the_approvals_is_damage(
    tmp_path: Path, clock: FakeClock, filled_until: str
) -> None:
    path = tmp_path / "store.db"
    with NexusControlTools(path, clock=clock, groups=GROUPS) as tools:
        request_id = asked(tools, **BOTH)
        data_of(tools.approve(request_id, CAROL, expires_at="2029-01-01T00:00:00Z"))
        data_of(tools.approve(request_id, BOB, expires_at="2028-01-01T00:00:00Z"))
        held = json.loads(_progress(path))["listing"]["filled_until"]
        assert held == "2028-01-01T00:00:00.000000+00:00"
    with sqlite3.connect(path) as rows:
        changed = _progress(path).replace(held, filled_until)
        rows.execute("UPDATE projections SET progress = ?", (changed,))
    rows.close()
    with DecisionStore(path, clock=clock) as store:
        assert find_faults(store)
        with pytest.raises(NexusControlError) as refused:
            store.load(request_id)
    assert refused.value.code == ErrorCode.STORE_UNAVAILABLE


def _progress(path: Path) -> str:
    rows = sqlite3.connect(path)
    ((text,),) = rows.execute("SELECT progress FROM projections").fetchall()
    rows.close()
    return str(text)


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"required_from": {"legal": 1}}, "required_from", "names legal, which is not a group here"),
    ({"required_from": {"Security": 1}}, "required_from", "names Security, which is not a group here"),
    ({"required_from": {"security": 2}}, "min_approvals", "must be at least 2, the sum of required_from"),
    ({"min_approvals": 1} | {"required_from": BOTH["required_from"]}, "min_approvals", "must be at least 2"),
    ({"required_from": {"security": 0}}, "required_from", "must be an object of groups"),
    ({"required_from": {"security": True}}, "required_from", "must be an object of groups"),
    ({"required_from": {"security": 1.0}}, "required_from", "must be an object of groups"),
    ({"required_from": {"security": "1"}}, "required_from", "must be an object of groups"),
    ({"required_from": {"": 1}}, "required_from", "must be an object of groups"),
    ({"required_from": {"s\u200b": 1}}, "required_from", "must be an object of groups"),
    ({"required_from": ["security"]}, "required_from", "must be an object of groups"),
    ({"required_from": "security=1"}, "required_from", "must be an object of groups"),
    ({"required_from": {"ops": 2}, "min_approvals": 2}, "required_from", "1 of ops would still be needed"),
    (
        {"required_from": {"security": 2, "platform": 2}, "min_approvals": 4},
        "required_from",
        "can never be met by different people",
    ),
    ({"required_from": {"ops": 1}, "approvers": ["bob", "carol"]}, "required_from", "1 of ops"),
    (
        {"required_from": {"security": 2}, "min_approvals": 2, "allow_requester_approval": False},
        "required_from",
        "1 of security would still be needed",
    ),
]


@pytest.mark.parametrize(("policy", "field", "words"), REFUSED)
def test_slots_that_are_wrong_or_can_never_be_filled_are_refused_and_nothing_is_written(
    tools: NexusControlTools, policy: dict[str, Any], field: str, words: str
) -> None:
    before = contents(tools.store)
    refused = tools.request("g", ALICE, **policy)
    require_refused(refused, ErrorCode.INVALID_ARGUMENT)
    assert [each["field"] for each in refused.details["fields"]] == [field]
    assert words in str(refused.error)
    assert contents(tools.store) == before


def test_slots_that_named_approvers_and_the_requester_can_fill_are_taken(tools: NexusControlTools) -> None:
    named = asked(tools, required_from={"security": 1}, approvers=["ALICE", "carol"])
    approve(tools, named, ALICE)
    assert state_of(tools, named) == "approved"
    assert asked(tools, required_from={"security": 2}, min_approvals=2)


def test_ids_that_look_alike_fill_one_slot(clock: FakeClock) -> None:
    tools = made(clock, {"security": ["Y\u0131lmaz", "Yilmaz"]})
    refused = tools.request("g", ALICE, min_approvals=2, required_from={"security": 2})
    require_refused(refused, ErrorCode.INVALID_ARGUMENT)


def test_a_member_who_looks_like_a_requester_who_may_not_approve_fills_no_slot(clock: FakeClock) -> None:
    tools = made(clock, {"security": ["Y\u0131lmaz"]})
    slot: dict[str, Any] = {"required_from": {"security": 1}}
    asking = Actor("human", "Yilmaz")
    require_refused(
        tools.request("g", asking, allow_requester_approval=False, **slot), ErrorCode.INVALID_ARGUMENT
    )
    data_of(tools.request("g", asking, **slot))


@pytest.mark.parametrize("typed", ["human:alice", "system:agent@host"])
def test_an_id_with_a_type_before_it_is_nobodys_in_groups_and_among_approvers(
    tools: NexusControlTools, typed: str
) -> None:
    words = f"must be the id alone: {typed.partition(':')[2]}"
    with pytest.raises(NexusControlError) as refused:
        NexusControlTools(groups={"security": [typed]})
    assert words in str(refused.value)
    for asking in (
        tools.request("g", ALICE, approvers=[typed]),
        tools.template_create("t", ALICE, approvers=[typed]),
    ):
        require_refused(asking, ErrorCode.INVALID_ARGUMENT)
        assert words in str(asking.error)
    assert asked(tools, approvers=["humane:alice", "alice:human"])


@pytest.mark.parametrize("given", [{"security": []}, {"security": "alice"}, {"": ["alice"]}, ["security"]])
def test_groups_that_cannot_be_are_refused_when_the_store_is_opened(given: Any) -> None:
    with pytest.raises(NexusControlError) as refused:
        NexusControlTools(groups=given)
    assert refused.value.code == ErrorCode.INVALID_ARGUMENT


def test_groups_belong_to_the_store_that_is_handed_in(clock: FakeClock) -> None:
    with DecisionStore(clock=clock, groups=GROUPS) as store:
        with pytest.raises(NexusControlError, match="belongs to the store"):
            NexusControlTools(store, groups=GROUPS)
        assert asked(NexusControlTools(store), **BOTH)


def test_groups_that_are_read_when_they_are_needed_stand_in_the_way_of_no_other_request(
    clock: FakeClock,
) -> None:
    def broken() -> Any:
        raise NexusControlError(ErrorCode.CONFIG_INVALID, "groups.security must be a list of ids")

    with DecisionStore(clock=clock, groups=broken) as store:
        tools = NexusControlTools(store)
        assert asked(tools)
        require_refused(tools.request("g", ALICE, required_from={"security": 1}), ErrorCode.CONFIG_INVALID)


def test_a_request_that_is_asked_again_is_the_same_whoever_is_in_its_groups_now(tmp_path: Path) -> None:
    content: dict[str, Any] = {"goal": "g", "actor": ALICE, "idempotency_key": "k", **BOTH}
    with NexusControlTools(tmp_path / "a.db", groups=GROUPS) as tools:
        first = data_of(tools.request(**content))
    for groups in ({"security": ["zoe"], "platform": ["yan"]}, {}):  # others now, or no such groups at all
        with NexusControlTools(tmp_path / "a.db", groups=groups) as tools:
            again = data_of(tools.request(**content))
            assert (again["request_id"], again["created"]) == (first["request_id"], False)
            changed: dict[str, Any] = {**content, "required_from": {"security": 1}}
            other = tools.request(**changed)
            require_refused(other, ErrorCode.IDEMPOTENCY_CONFLICT)
            assert other.details["fields"] == ["required_from"]


def test_a_change_of_the_groups_changes_no_request_that_was_made(tmp_path: Path) -> None:
    with NexusControlTools(tmp_path / "a.db", groups=GROUPS) as tools:
        request_id = asked(tools, **BOTH)
    with NexusControlTools(tmp_path / "a.db", groups={"security": ["erin"], "platform": ["erin"]}) as tools:
        assert approve(tools, request_id, ERIN, CAROL)["is_approved"] is False
        assert approve(tools, request_id, BOB)["is_approved"] is True


def test_a_template_names_groups_and_the_request_resolves_them(
    tools: NexusControlTools, clock: FakeClock
) -> None:
    policy: dict[str, Any] = {"allowed_modes": ["dry_run", "apply"], "overrides": "tighten_only", **BOTH}
    data_of(tools.template_create("prod", ALICE, **policy))
    snapshot = data_of(tools.template_get("prod"))["snapshot"]
    assert snapshot["required_from"] == BOTH["required_from"]
    assert "approver_groups" not in snapshot
    request_id = asked(tools, template_name="prod")
    assert attached(tools, request_id)["approver_groups"] == {
        "platform": ["bob", "carol"],
        "security": ["Alice", "bob"],
    }
    stricter = {"security": 1, "platform": 1, "ops": 1}
    assert asked(tools, template_name="prod", min_approvals=3, override_required_from=stricter)
    for weaker in ({}, {"security": 1}, {"security": 1, "ops": 1}):
        require_refused(
            tools.request("g", ALICE, template_name="prod", required_from=weaker), ErrorCode.TEMPLATE_WEAKENED
        )
    elsewhere = made(clock, {})
    data_of(elsewhere.template_create("prod", ALICE, **policy))
    refused = elsewhere.request("g", ALICE, template_name="prod")
    require_refused(refused, ErrorCode.INVALID_ARGUMENT)
    assert "names platform in template prod" in str(refused.error)
    below = tools.template_create("bad", ALICE, required_from={"security": 2})
    require_refused(below, ErrorCode.INVALID_ARGUMENT)


def test_a_template_names_no_group_that_is_not_configured(tools: NexusControlTools) -> None:
    before = contents(tools.store)
    refused = tools.template_create("prod", ALICE, required_from={"secruity": 1})
    require_refused(refused, ErrorCode.INVALID_ARGUMENT)
    assert "names secruity, which is not a group here (groups here: ops, platform, security)" in str(
        refused.error
    )
    assert contents(tools.store) == before


def test_a_requester_who_may_not_approve_is_no_member_who_could(clock: FakeClock) -> None:
    tools = made(clock, {"security": ["Alice"]})
    only: dict[str, Any] = {"required_from": {"security": 1}}
    refused = tools.request("g", ALICE, **only, allow_requester_approval=False)
    require_refused(refused, ErrorCode.INVALID_ARGUMENT)
    assert [each["field"] for each in refused.details["fields"]] == ["required_from"]
    approved = asked(tools, **only)
    approve(tools, approved, ALICE)
    assert state_of(tools, approved) == "approved"


def test_approvers_and_groups_hold_together(tools: NexusControlTools) -> None:
    request_id = asked(tools, required_from={"platform": 1}, min_approvals=2, approvers=["carol", "dave"])
    assert approve(tools, request_id, DAVE)["groups_missing"] == {"platform": 1}
    awaited = data_of(tools.status(request_id))["awaited"]
    assert (awaited["eligible"], awaited["groups"]["platform"]["eligible"]) == (["carol"], ["carol"])
    require_refused(tools.approve(request_id, BOB), ErrorCode.NOT_ELIGIBLE)
    assert approve(tools, request_id, CAROL)["is_approved"] is True


def test_the_advice_names_the_group_also_where_its_approval_has_expired(
    tools: NexusControlTools, clock: FakeClock
) -> None:
    request_id = asked(tools, required_from={"security": 1})
    data_of(tools.approve(request_id, BOB, expires_at=clock.now().replace(year=2027).isoformat()))
    clock.advance(days=800)
    refused = tools.execute(request_id, ADAPTER, SCHEDULER, FakeRouter())
    assert reasons(refused) == ["APPROVAL_EXPIRED", "MISSING_APPROVALS"]
    assert "1 of security among them" in str(refused.next)


def test_enough_imported_approvals_of_the_wrong_people_are_not_counted_as_too_few(
    tools: NexusControlTools, clock: FakeClock
) -> None:
    request_id = asked(tools, required_from={"security": 1})
    approve(tools, request_id, BOB)
    there = made(clock, {})
    data_of(there.import_bundle(bundle_of(tools, request_id)))
    approve(there, request_id, DAVE)
    (reason,) = data_of(there.status(request_id))["blocking_reasons"]
    assert reason["code"] == "IMPORTED_APPROVALS"
    assert reason["message"].startswith("1 of 2 approvals carry authority here, still needed: 1 of security;")


def test_a_template_without_a_strict_rule_can_be_freed_of_its_groups(tools: NexusControlTools) -> None:
    data_of(tools.template_create("prod", ALICE, **BOTH))
    request_id = data_of(tools.request("g", ALICE, template_name="prod", required_from={}))["request_id"]
    recorded = attached(tools, request_id)
    assert not {"required_from", "approver_groups"} & recorded.keys()
    assert recorded["overrides_applied"] == {"required_from": {}}
    overrides = "- Overrides: required_from, 1 of platform, 1 of security → any"
    rendered = tools.inspect(request_id).data.get("rendered", "").replace("\\", "")
    assert overrides in rendered


def test_imported_approvals_fill_no_slot_here(tools: NexusControlTools, clock: FakeClock) -> None:
    request_id = asked(tools, **BOTH)
    approve(tools, request_id, BOB, CAROL)
    bundle = bundle_of(tools, request_id)
    there = made(clock, {})
    data_of(there.import_bundle(bundle))
    (line,) = there.list_requests().data["requests"]
    assert (line["state"], line["is_approved"], line.get("groups_filled")) == (
        "pending_approval",
        False,
        False,
    )
    approve(there, request_id, DAVE, ERIN)
    status = data_of(there.status(request_id))
    assert (status["state"], status["active_approvals"]) == ("pending_approval", 2)
    (reason,) = status["blocking_reasons"]
    assert reason["code"] == "IMPORTED_APPROVALS"
    assert reason["details"]["groups"] == {"platform": 1, "security": 1}
    assert status["awaited"]["groups"]["platform"] == {"missing": 1, "eligible": ["bob", "carol"]}
    approve(there, request_id, ALICE)
    data_of(there.revoke_approval(request_id, CAROL))
    approve(there, request_id, CAROL)
    assert state_of(there, request_id) == "approved"
    require_whole_store(there.store)


def test_a_bundle_has_the_groups_beside_everything_that_1_0_wrote(tools: NexusControlTools) -> None:
    """So a reader of 1.0, which keeps unknown keys of a payload and never interprets them, reads it."""
    request_id = asked(tools, **BOTH)
    bundle = bundle_of(tools, request_id)
    old = next(iter(BUNDLES.values()))
    assert bundle.keys() - {"evidence"} == old.keys() - {"evidence"}
    assert all(event.keys() == old["events"][0].keys() for event in bundle["events"])
    known = next(event["payload"] for event in old["events"] if event["type"] == "POLICY_ATTACHED")
    written = bundle["events"][1]["payload"]
    of_1_0 = {"min_approvals", "allowed_modes", "require_adapter_capabilities", "max_steps", "labels"}
    assert of_1_0 <= written.keys() & known.keys()
    assert {name: type(written[name]) for name in of_1_0} == {name: type(known[name]) for name in of_1_0}
    assert written.keys() - of_1_0 == {"required_from", "approver_groups"}
    elsewhere = NexusControlTools()
    data_of(elsewhere.import_bundle(bundle))
    assert (
        data_of(elsewhere.export_bundle(request_id))["digest"]
        == data_of(tools.export_bundle(request_id))["digest"]
    )


def test_a_report_names_the_groups_and_their_members(tools: NexusControlTools) -> None:
    request_id = asked(tools, **BOTH)
    approve(tools, request_id, BOB, CAROL)
    page = render_report(read_evidence(json.dumps(bundle_of(tools, request_id)).encode()))
    for words in ("1 of platform, 1 of security", "Members of security", "Alice, bob"):
        assert words in page


def _rotate(n: int) -> int:
    return n


@pytest.mark.parametrize(("member", "status"), [("bob", "pass"), ("dave", "skipped")])
def test_signed_approvals_are_enough_where_they_fill_the_slots_by_themselves(
    tmp_path: Path, clock: FakeClock, member: str, status: str
) -> None:
    signers = tmp_path / "allowed_signers"
    signers.write_text(ALLOWED_SIGNERS)
    tools = NexusControlTools(clock=clock, allowed_signers=signers, groups={"security": [member]})
    router = LocalRouter(Adapters([PythonAdapter("keys", {"rotate": _rotate})]), clock=clock)
    request_id = asked(tools, plan=PLAN, min_approvals=2, required_from={"security": 1})
    for person in (BOB, CAROL):
        text = data_of(tools.approval_statement(request_id, person.id))["statement"]
        data_of(
            tools.approve(
                request_id, person, statement=text, signature=signed(SEEDS[person.id], text.encode())
            )
        )
    if member == "dave":
        assert state_of(tools, request_id) == "pending_approval"
        approve(tools, request_id, DAVE)
    data_of(tools.execute(request_id, ADAPTER, SCHEDULER, router))
    package = data_of(tools.export_audit_package(request_id))["package"]
    trust = Trust(allowed_signers=ALLOWED_SIGNERS, log_keys=(package["evidence"]["log_key"],))
    report = verify_evidence(package, trust=trust)
    (check,) = (each for each in report.checks if each.name == "approval_signatures")
    assert check.status == status, check.detail
    assert ("1 of security" in (check.detail or "")) == (member == "dave")
    assert [each.name for each in report.checks if each.status == "fail"] == []


def test_a_signer_who_is_trusted_no_more_fills_no_slot(tmp_path: Path, clock: FakeClock) -> None:
    signers = tmp_path / "allowed_signers"
    signers.write_text(ALLOWED_SIGNERS)
    tools = NexusControlTools(clock=clock, allowed_signers=signers, groups={"security": ["bob"]})
    request_id = asked(tools, min_approvals=2, required_from={"security": 1})
    text = data_of(tools.approval_statement(request_id, "bob"))["statement"]
    data_of(tools.approve(request_id, BOB, statement=text, signature=signed(SEEDS["bob"], text.encode())))
    approve(tools, request_id, CAROL, DAVE)
    assert state_of(tools, request_id) == "approved"
    signers.write_text(
        "".join(line for line in ALLOWED_SIGNERS.splitlines(keepends=True) if "bob" not in line)
    )
    status = data_of(tools.status(request_id))
    assert (status["state"], status["active_approvals"], status["is_approved"]) == (
        "pending_approval",
        2,
        False,
    )
    assert [each["code"] for each in status["blocking_reasons"]] == ["IMPORTED_APPROVALS"]
    require_refused(
        tools.execute(request_id, ADAPTER, SCHEDULER, FakeRouter()), ErrorCode.POLICY_NOT_SATISFIED
    )


def test_a_governed_function_asks_for_approvals_of_groups(tools: NexusControlTools) -> None:
    @governed(tools, name="rotate", min_approvals=2, required_from={"security": 1})
    def rotate(key: str) -> str:
        return key

    proposal = rotate.propose("billing")
    approve(tools, proposal.request_id, CAROL, DAVE)
    assert state_of(tools, proposal.request_id) == "pending_approval"
    approve(tools, proposal.request_id, BOB)
    assert proposal.execute() == "billing"


def test_rows_are_made_again_as_they_were(tools: NexusControlTools) -> None:
    request_id = asked(tools, **BOTH)
    approve(tools, request_id, CAROL, DAVE, BOB)
    before = contents(tools.store)
    rebuild_derived(tools.store)
    assert contents(tools.store) == before
