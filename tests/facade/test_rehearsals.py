"""Rehearse, then apply: people approve what the last rehearsal gave back, and nothing else is executed."""

import json
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from nexus_control import (
    LocalRouter,
    NexusControlTools,
    Policy,
    PythonAdapter,
    Trust,
    load_adapters,
    verify_bundle,
    verify_evidence,
)
from nexus_control.bundle import DecisionBundle
from nexus_control.canonical_json import canonical_json
from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.events import compute_event_digest
from nexus_control.integrity import prefixed, sha256_hex
from nexus_control.log.upkeep import find_faults, rebuild_derived
from nexus_control.store import DecisionStore
from nexus_control.values.payloads import Mode
from nexus_control.values.results import ToolResult
from tests.evidence.ssh import keygen, needs_ssh_keygen
from tests.facade.flow import CAROL, blocked_by, bundle_of, require_refused, state_of
from tests.facade.routers import CheckingRouter, FakeRouter
from tests.support.clock import FakeClock
from tests.support.contents import contents
from tests.support.governed import ALICE, BOB, SCHEDULER, data_of, reasons
from tests.support.routers import ScriptedRouter

CONFIG = """
[adapters.files]
kind = "subprocess"
capabilities = ["apply", "dry_run"]
cwd = "."
[adapters.files.tools.copy]
argv = ["cp", "--", "source.txt", "target.txt"]
dry_run_argv = ["cat", "source.txt"]
"""
PLAN: list[dict[str, Any]] = [
    {"step_id": "1", "intent": "Copy", "call": {"tool": "files", "method": "copy", "args": {}}}
]
ADAPTER = "subprocess:files"


class Place:
    """A store, and a folder whose file a real program copies; its dry run prints what would be copied."""

    def __init__(self, folder: Path, clock: FakeClock, **options: Any) -> None:
        self.folder, self.clock = folder, clock
        (folder / "nexus-control.toml").write_text(CONFIG)
        self.router = LocalRouter(load_adapters(folder / "nexus-control.toml"), folder / "store.db.runs")
        store = DecisionStore(folder / "store.db", clock=clock, **options)
        self.tools = NexusControlTools(store, plan_checker=self.router)
        self.source("one\n")

    def source(self, text: str) -> None:
        (self.folder / "source.txt").write_text(text)

    def asked(self, **policy: Any) -> str:
        policy = {"require_rehearsal": {"max_age_seconds": 600}, "plan": PLAN, "adapter_id": ADAPTER} | policy
        request_id: str = data_of(self.tools.request("Copy it", ALICE, mode="apply", **policy))["request_id"]
        return request_id

    def execute(self, request_id: str, *, dry_run: bool = False) -> ToolResult[Any]:
        return self.tools.execute(request_id, ADAPTER, SCHEDULER, self.router, dry_run)

    def rehearsed(self, request_id: str) -> dict[str, Any]:
        data_of(self.execute(request_id, dry_run=True))
        return data_of(self.tools.status(request_id))["rehearsal"]


@pytest.fixture
def place(tmp_path: Path, clock: FakeClock) -> Generator[Place]:
    made = Place(tmp_path, clock)
    yield made
    made.tools.close()
    made.router.close()


def test_a_request_is_rehearsed_approved_and_applied(place: Place) -> None:
    request_id = place.asked()
    require_refused(place.tools.approve(request_id, BOB), ErrorCode.REHEARSAL_REQUIRED)
    assert blocked_by(place.tools, request_id) == ["REHEARSAL_REQUIRED", "MISSING_APPROVALS"]
    line = place.rehearsed(request_id)
    assert (line["status"], line["is_fresh"], state_of(place.tools, request_id)) == (
        "completed", True, "pending_approval",
    )  # fmt: skip
    data_of(place.tools.approve(request_id, BOB, rehearsal_digest=line["digest"]))
    data_of(place.execute(request_id))
    assert (place.folder / "target.txt").read_text() == "one\n"
    package = data_of(place.tools.export_audit_package(request_id))["package"]
    assert verify_evidence(package).level == "L2"


def test_the_digest_is_of_step_id_status_output_and_error_alone(place: Place) -> None:
    request_id = place.asked()
    first, second = place.rehearsed(request_id), place.rehearsed(request_id)
    shown = [{"step_id": "1", "status": "ok", "output": "one\n", "error": None}]
    assert first["digest"] == second["digest"] == prefixed(sha256_hex(canonical_json(shown)))
    assert first["run_id"] != second["run_id"]


def test_a_rehearsal_that_gives_back_something_else_makes_approvals_stale(place: Place) -> None:
    request_id = place.asked(min_approvals=2)
    place.rehearsed(request_id)
    for person in (BOB, CAROL):
        data_of(place.tools.approve(request_id, person))
    place.rehearsed(request_id)
    assert state_of(place.tools, request_id) == "approved"
    place.source("two\n")
    place.rehearsed(request_id)
    refused = place.execute(request_id)
    assert reasons(refused) == ["APPROVAL_STALE", "MISSING_APPROVALS"]
    status = data_of(place.tools.status(request_id))
    assert (status["state"], status["active_approvals"]) == ("pending_approval", 0)
    assert {each["inactive_because"] for each in status["approvals"]} == {"stale"}
    assert data_of(place.tools.list_requests(state="approved"))["count"] == 0
    assert data_of(place.tools.list_requests(awaiting="bob"))["count"] == 1
    for person in (BOB, CAROL):
        data_of(place.tools.approve(request_id, person))
    data_of(place.execute(request_id))
    assert (place.folder / "target.txt").read_text() == "two\n"


def test_an_approval_lands_on_no_other_rehearsal_than_the_one_that_was_shown(place: Place) -> None:
    request_id = place.asked()
    shown = place.rehearsed(request_id)
    place.source("two\n")
    now = place.rehearsed(request_id)
    before = contents(place.tools.store)
    refused = place.tools.approve(request_id, BOB, rehearsal_digest=shown["digest"])
    require_refused(refused, ErrorCode.BASIS_CHANGED)
    assert refused.details == {"request_id": request_id, "shown": shown["digest"], "now": now["digest"]}
    assert contents(place.tools.store) == before


def test_a_rehearsal_grows_too_old_to_be_approved_and_what_was_approved_stays_approved(place: Place) -> None:
    request_id = place.asked(min_approvals=2)
    place.rehearsed(request_id)
    data_of(place.tools.approve(request_id, BOB))
    place.clock.advance(seconds=601)
    require_refused(place.tools.approve(request_id, CAROL), ErrorCode.REHEARSAL_REQUIRED)
    assert data_of(place.tools.list_requests())["requests"][0]["rehearsal"]["is_fresh"] is False
    assert data_of(place.tools.list_requests(awaiting="carol"))["count"] == 0
    place.rehearsed(request_id)
    assert data_of(place.tools.approve(request_id, CAROL))["is_approved"]


def test_a_rehearsal_that_fails_keeps_approvals_and_lets_nobody_else_approve(place: Place) -> None:
    request_id = place.asked()
    place.rehearsed(request_id)
    data_of(place.tools.approve(request_id, BOB))
    (place.folder / "source.txt").unlink()
    failed = place.execute(request_id, dry_run=True)
    require_refused(failed, ErrorCode.ROUTER_ERROR)
    assert state_of(place.tools, request_id) == "approved"
    require_refused(place.tools.approve(request_id, CAROL), ErrorCode.REHEARSAL_REQUIRED)


@pytest.mark.parametrize("answer", [{"run_id": "r", "status": "ok"}, {"run_id": "r", "results": []}])
def test_a_rehearsal_without_steps_is_nothing_to_approve(place: Place, answer: dict[str, Any]) -> None:
    request_id = place.asked(adapter_id=None)
    data_of(place.tools.execute(request_id, ADAPTER, SCHEDULER, FakeRouter(answer), dry_run=True))
    refused = place.tools.approve(request_id, BOB)
    require_refused(refused, ErrorCode.REHEARSAL_REQUIRED)
    assert (refused.details["lack"], data_of(place.tools.status(request_id))["rehearsal"]["digest"]) == (
        "no_steps", None,
    )  # fmt: skip


def test_the_adapter_that_applies_is_the_one_that_rehearsed(place: Place) -> None:
    request_id = place.asked(adapter_id=None)
    place.rehearsed(request_id)
    data_of(place.tools.approve(request_id, BOB))
    other = place.tools.execute(request_id, "subprocess:others", SCHEDULER, FakeRouter())
    assert reasons(other) == ["ADAPTER_MISMATCH"]
    data_of(place.execute(request_id))


def test_a_rehearsal_keeps_every_other_rule(place: Place) -> None:
    expired = place.asked(expires_in="5m")
    place.clock.advance(minutes=6)
    assert reasons(place.execute(expired, dry_run=True)) == ["EXPIRED"]
    lacking = place.asked(adapter_id=None, require_adapter_capabilities=["magic"])
    assert reasons(place.execute(lacking, dry_run=True)) == ["CAPABILITIES_MISSING"]
    denied = place.asked()
    data_of(place.tools.deny(denied, BOB, "no"))
    assert reasons(place.execute(denied, dry_run=True)) == ["DENIED"]
    plain = place.asked(require_rehearsal=None)
    assert reasons(place.execute(plain, dry_run=True)) == ["MISSING_APPROVALS"]


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"allowed_modes": ["apply"]}, "allowed_modes"),
        ({"adapter_id": "function:deploy.rotate"}, "require_rehearsal"),
        ({"require_rehearsal": {"max_age_seconds": 0}}, "require_rehearsal.max_age_seconds"),
        ({"require_rehearsal": {}}, "require_rehearsal.max_age_seconds"),
        ({"require_rehearsal": {"max_age_seconds": 5, "min": 1}}, "require_rehearsal.min"),
        ({"require_rehearsal": "1h"}, "require_rehearsal"),
    ],
)
def test_a_rehearsal_that_could_never_be_had_is_refused_with_the_request(
    tools: NexusControlTools, given: dict[str, Any], field: str
) -> None:
    policy: dict[str, Any] = {"require_rehearsal": {"max_age_seconds": 600}} | given
    refused = tools.request("g", ALICE, mode="apply", **policy)
    require_refused(refused, ErrorCode.INVALID_ARGUMENT)
    assert [each["field"] for each in refused.details["fields"]] == [field]


def test_a_template_that_may_only_be_tightened_keeps_its_rehearsal(tools: NexusControlTools) -> None:
    rule: dict[str, Any] = {
        "allowed_modes": ["dry_run", "apply"],
        "require_rehearsal": {"max_age_seconds": 3600},
    }
    data_of(tools.template_create("t", ALICE, overrides="tighten_only", **rule))

    def asked(**own: Any) -> ToolResult[Any]:
        return tools.request("g", ALICE, mode="apply", template_name="t", **own)

    require_refused(asked(require_rehearsal={"max_age_seconds": 3601}), ErrorCode.TEMPLATE_WEAKENED)
    stricter = {"require_rehearsal": {"max_age_seconds": 60}}
    policies = [
        data_of(tools.status(data_of(asked(**own))["request_id"]))["policy"]
        for own in (dict[str, Any](), stricter)
    ]
    assert [each["require_rehearsal"]["max_age_seconds"] for each in policies] == [3600, 60]


def test_a_strict_template_without_a_rehearsal_lets_no_request_demand_one(tools: NexusControlTools) -> None:
    modes: list[Mode] = ["dry_run", "apply"]
    data_of(
        tools.template_create("two", ALICE, min_approvals=2, allowed_modes=modes, overrides="tighten_only")
    )
    demanded = {"max_age_seconds": 1}
    for asked in (
        tools.request("g", ALICE, mode="apply", template_name="two", require_rehearsal=demanded),
        tools.request("g", ALICE, mode="apply", template_name="two", override_require_rehearsal=demanded),
    ):
        require_refused(asked, ErrorCode.TEMPLATE_WEAKENED)


@pytest.mark.parametrize(
    "results",
    [[{"step_id": "1", "status": "ok", "output": "x" * 1_500_000}], [{"step_id": "1"}, {"id": "2"}]],
)
def test_what_nobody_can_be_shown_whole_is_not_approved(place: Place, results: list[dict[str, Any]]) -> None:
    request_id = place.asked(adapter_id=None, plan=None)
    router = ScriptedRouter(lambda: {"run_id": "r", "results": results})
    data_of(place.tools.execute(request_id, ADAPTER, SCHEDULER, router, True))
    refused = place.tools.approve(request_id, BOB)
    require_refused(refused, ErrorCode.REHEARSAL_REQUIRED)
    assert "whole" in (refused.error or "")


def test_what_is_derived_is_rebuilt_as_it_was(place: Place) -> None:
    request_id = place.asked(min_approvals=2)
    place.rehearsed(request_id)
    for person in (BOB, CAROL):
        data_of(place.tools.approve(request_id, person))
    place.source("two\n")
    place.rehearsed(request_id)
    data_of(place.tools.approve(request_id, BOB))
    before = contents(place.tools.store)
    rebuild_derived(place.tools.store)
    assert contents(place.tools.store) == before
    assert list(find_faults(place.tools.store)) == []
    with NexusControlTools(db_path=place.folder / "store.db", clock=place.clock) as again:
        assert data_of(again.status(request_id)) == data_of(place.tools.status(request_id))


def sealed_again(bundle: dict[str, Any]) -> dict[str, Any]:
    """A bundle whose events were edited, with every digest made to fit."""
    for each in bundle["events"]:
        each["digest"] = compute_event_digest(each["type"], each["payload"])
    bundle["integrity"]["canonical_digest"] = DecisionBundle.from_dict(bundle).content_digest()
    return bundle


def failing(bundle: dict[str, Any]) -> set[str]:
    return {check.name for check in verify_bundle(bundle).checks if check.status == "fail"}


def executed(place: Place) -> str:
    request_id = place.asked()
    place.rehearsed(request_id)
    data_of(place.tools.approve(request_id, BOB))
    data_of(place.execute(request_id))
    return request_id


def test_an_edited_digest_is_found_without_the_store_however_well_it_is_sealed_again(place: Place) -> None:
    request_id, other = executed(place), f"sha256:{'0' * 64}"
    assert failing(sealed_again(bundle_of(place.tools, request_id))) == set()
    for kind in ("APPROVAL_GRANTED", "EXECUTION_COMPLETED"):
        bundle = bundle_of(place.tools, request_id)
        event = next(each for each in bundle["events"] if each["type"] == kind)
        event["payload"]["rehearsal_digest"] = other
        assert "event_digests" in failing(bundle)
        assert {"state_machine", "policy_satisfied"} <= failing(sealed_again(bundle))


def test_an_execution_after_another_rehearsal_than_the_approved_one_is_found_offline(place: Place) -> None:
    request_id = place.asked()
    place.rehearsed(request_id)
    data_of(place.tools.approve(request_id, BOB))
    place.rehearsed(request_id)
    data_of(place.execute(request_id))
    bundle = bundle_of(place.tools, request_id)
    second = [each for each in bundle["events"] if each["type"] == "EXECUTION_COMPLETED"][1]
    second["payload"]["rehearsal_digest"] = f"sha256:{'0' * 64}"
    report = verify_bundle(sealed_again(bundle))
    found = next(check for check in report.checks if check.name == "policy_satisfied")
    assert (found.status, "state_machine" in failing(bundle)) == ("fail", False)
    assert "1 approval is of another rehearsal than the last" in (found.detail or "")


@needs_ssh_keygen
def test_a_signed_approval_names_the_rehearsal_and_no_other_fits(tmp_path: Path, clock: FakeClock) -> None:
    key, signers = tmp_path / "id_ed25519", tmp_path / "allowed_signers"
    assert keygen("-q", "-t", "ed25519", "-N", "", "-C", "bob", "-f", key).returncode == 0
    signers.write_text(f"bob {key.with_suffix('.pub').read_text()}")
    place = Place(tmp_path, clock, allowed_signers=signers)

    def signed(statement: str) -> dict[str, str]:
        file = tmp_path / "approval.json"
        file.write_text(statement)
        file.with_suffix(".json.sig").unlink(missing_ok=True)
        assert keygen("-Y", "sign", "-f", key, "-n", "nexus-control.approval.v1", file).returncode == 0
        return {"statement": statement, "signature": file.with_suffix(".json.sig").read_text()}

    with place.tools, place.router:
        request_id = place.asked(min_assurance="signed")
        require_refused(place.tools.approval_statement(request_id, "bob"), ErrorCode.REHEARSAL_REQUIRED)
        first = place.rehearsed(request_id)
        statement = data_of(place.tools.approval_statement(request_id, "bob"))["statement"]
        assert json.loads(statement)["rehearsal_digest"] == first["digest"]
        place.source("two\n")
        place.rehearsed(request_id)
        refused = place.tools.approve(request_id, BOB, **signed(statement))
        require_refused(refused, ErrorCode.SIGNATURE_INVALID)
        assert refused.details == {"fields": ["rehearsal_digest"]}
        unnamed = {name: text for name, text in json.loads(statement).items() if name != "rehearsal_digest"}
        refused = place.tools.approve(request_id, BOB, **signed(canonical_json(unnamed)))
        assert refused.details == {"fields": ["rehearsal_digest"]}
        again = data_of(place.tools.approval_statement(request_id, "bob"))["statement"]
        data_of(place.tools.approve(request_id, BOB, **signed(again)))
        denial = data_of(place.tools.approval_statement(request_id, "bob", "deny"))["statement"]
        assert "rehearsal_digest" not in json.loads(denial)
        data_of(place.execute(request_id))
        package = data_of(place.tools.export_audit_package(request_id))["package"]
    report = verify_evidence(package, trust=Trust(allowed_signers=signers.read_text()))
    assert {check.name: check.status for check in report.checks}["approval_signatures"] == "pass"


def page(*functions: str) -> LocalRouter:
    """A router whose declarations differ by the functions that they name."""
    return LocalRouter([PythonAdapter("page", dict.fromkeys(functions, lambda: "out"))])


def of_a_page(tools: NexusControlTools) -> str:
    """A request that is bound to no declaration, because the tools have no plan checker."""
    plan: list[dict[str, Any]] = [
        {"step_id": "1", "intent": "Publish", "call": {"tool": "page", "method": "publish", "args": {}}}
    ]
    rule = {"max_age_seconds": 600}
    asked = tools.request(
        "Publish", ALICE, mode="apply", plan=plan, adapter_id="python:page", require_rehearsal=rule
    )
    return data_of(asked)["request_id"]


def test_the_declaration_that_applies_is_the_one_that_rehearsed(tools: NexusControlTools) -> None:
    request_id, rehearsed, other = of_a_page(tools), page("publish"), page("publish", "unpublish")
    data_of(tools.execute(request_id, "python:page", SCHEDULER, rehearsed, dry_run=True))
    data_of(tools.approve(request_id, BOB))
    refused = tools.execute(request_id, "python:page", SCHEDULER, other)
    assert reasons(refused) == ["ADAPTER_CHANGED"]
    assert (refused.next or "").startswith("Rehearse it again")
    unknown = tools.execute(request_id, "python:page", SCHEDULER, FakeRouter())
    assert reasons(unknown) == ["ADAPTER_CHANGED"]
    data_of(tools.execute(request_id, "python:page", SCHEDULER, rehearsed))


def test_a_rehearsal_by_another_declaration_makes_approvals_stale(tools: NexusControlTools) -> None:
    request_id, other = of_a_page(tools), page("publish", "unpublish")
    data_of(tools.execute(request_id, "python:page", SCHEDULER, page("publish"), dry_run=True))
    data_of(tools.approve(request_id, BOB))
    data_of(tools.execute(request_id, "python:page", SCHEDULER, other, dry_run=True))
    refused = tools.execute(request_id, "python:page", SCHEDULER, other)
    assert reasons(refused) == ["APPROVAL_STALE", "MISSING_APPROVALS"]
    data_of(tools.approve(request_id, BOB))
    data_of(tools.execute(request_id, "python:page", SCHEDULER, other))
    assert failing(bundle_of(tools, request_id)) == set()


def test_a_reader_is_told_that_the_adapter_here_is_not_the_one_that_rehearsed(clock: FakeClock) -> None:
    here = page("publish", "unpublish")
    with NexusControlTools(DecisionStore(clock=clock)) as tools:
        request_id = of_a_page(tools)
        data_of(tools.execute(request_id, "python:page", SCHEDULER, page("publish"), dry_run=True))
        data_of(tools.approve(request_id, BOB))
        with NexusControlTools(tools.store, plan_checker=here) as readers:
            seen = data_of(readers.inspect(request_id))["lifecycle"]["blocking_reasons"]
            assert [each["code"] for each in seen] == ["ADAPTER_CHANGED"]


def test_an_edited_digest_of_the_adapter_that_rehearsed_is_found_offline(tools: NexusControlTools) -> None:
    request_id, router = of_a_page(tools), page("publish")
    data_of(tools.execute(request_id, "python:page", SCHEDULER, router, dry_run=True))
    data_of(tools.approve(request_id, BOB))
    data_of(tools.execute(request_id, "python:page", SCHEDULER, router, dry_run=True))
    data_of(tools.execute(request_id, "python:page", SCHEDULER, router))
    bundle = bundle_of(tools, request_id)
    assert failing(bundle) == set()
    first, second, applied = (each for each in bundle["events"] if each["type"] == "EXECUTION_COMPLETED")
    assert first["payload"]["adapter_digest"] == router.adapter_digest("python:page")
    assert "adapter_digest" not in applied["payload"]
    second["payload"]["adapter_digest"] = f"sha256:{'0' * 64}"
    assert failing(sealed_again(bundle)) >= {"policy_satisfied"}


@pytest.mark.parametrize("given", ["1h", 3600, True, [3600]])
def test_a_rehearsal_in_another_shape_is_refused_with_the_shape(tools: NexusControlTools, given: Any) -> None:
    refused = tools.request("g", ALICE, mode="apply", require_rehearsal=given)
    require_refused(refused, ErrorCode.INVALID_ARGUMENT)
    assert '{"max_age_seconds": 3600}' in (refused.error or "")
    with pytest.raises(ValueError, match='"max_age_seconds": 3600'):
        Policy(require_rehearsal=given)


def test_a_template_that_no_request_could_use_is_refused(tools: NexusControlTools) -> None:
    rule = {"max_age_seconds": 600}
    before = contents(tools.store)
    refused = tools.template_create("t", ALICE, allowed_modes=["apply"], require_rehearsal=rule)
    require_refused(refused, ErrorCode.INVALID_ARGUMENT)
    assert [each["field"] for each in refused.details["fields"]] == ["allowed_modes"]
    assert contents(tools.store) == before
    tools.template_store.create_template("old", ALICE, allowed_modes=["apply"], require_rehearsal=rule)
    refused = tools.request("g", ALICE, mode="apply", template_name="old")
    assert "add dry_run" in (refused.error or "")
    assert "template old" in (refused.error or "")


def test_a_rule_that_has_no_effect_on_a_dry_run_is_warned_of(tools: NexusControlTools) -> None:
    rule = {"max_age_seconds": 600}
    (warning,) = data_of(tools.request("g", ALICE, require_rehearsal=rule))["warnings"]
    assert warning.startswith("require_rehearsal has no effect")
    assert data_of(tools.request("g", ALICE, mode="apply", require_rehearsal=rule))["warnings"] == []


def test_a_router_that_only_checks_plans_is_asked_before_the_claim(tools: NexusControlTools) -> None:
    def refuse() -> None:
        raise NexusControlError(ErrorCode.PLAN_INVALID, "step 1 is not a step")

    router = CheckingRouter(refuse)
    request_id = data_of(tools.request("g", ALICE, mode="apply", plan="[]"))["request_id"]
    data_of(tools.approve(request_id, BOB))
    require_refused(tools.execute(request_id, ADAPTER, SCHEDULER, router), ErrorCode.PLAN_INVALID)
    assert (state_of(tools, request_id), router.calls) == ("approved", [])
    checking = NexusControlTools(tools.store, plan_checker=router)
    require_refused(checking.request("g", ALICE, plan="[]", adapter_id=ADAPTER), ErrorCode.PLAN_INVALID)
