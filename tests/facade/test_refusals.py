"""Every code that the facade can give, what provokes it, and that a refusal writes nothing."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.evidence.formats.keys import generate
from nexus_control.execution.local_router import LocalRouter
from nexus_control.execution.python_adapter import PythonAdapter
from nexus_control.log.checkpoints import publish
from nexus_control.log.head import Head
from nexus_control.storage.moved import Moved
from nexus_control.store import DecisionStore
from nexus_control.tool import NexusControlTools, ToolResult
from nexus_control.values.payloads import ExecutionOutcomeUnknownPayload
from tests.facade.flow import CAROL, asked, bundle_of, executed, require_refused
from tests.facade.routers import ANSWER, DescribingRouter, FakeRouter, raising
from tests.support.clock import FakeClock
from tests.support.contents import contents
from tests.support.governed import ADAPTER, ALICE, BOB, SCHEDULER, approved, data_of

Call = Callable[[], ToolResult[Any]]
Provocation = Callable[[NexusControlTools], Call]

NOT_FROM_THE_FACADE = {
    # of the command line: tests/cli
    ErrorCode.AMBIGUOUS_ID,
    # of the rule book, with NexusControlTools(rules=…): tests/rules/test_demands.py
    ErrorCode.RULE_UNDECIDED,
    ErrorCode.RULES_DISAGREE,
    ErrorCode.DENIED_BY_RULE,
    # of the inbox: tests/web
    ErrorCode.PAGE_OUTDATED,
    # of MCP servers: tests/execution
    ErrorCode.TOOL_DEFINITION_CHANGED,
    # of governed functions: tests/guards
    ErrorCode.ALREADY_EXECUTED,
    # of the file and the process: tests/joints
    ErrorCode.STORE_FORKED,
    ErrorCode.STORE_IN_USE,
    ErrorCode.STORE_REPLACED,
    ErrorCode.ARTIFACTS_UNAVAILABLE,
    ErrorCode.ROUTER_RUN_NOT_FOUND,
    ErrorCode.PACKAGE_INVALID_SCHEMA,
    ErrorCode.ACTOR_MISMATCH,
    ErrorCode.IMPORT_NEEDS_OWNER,
    ErrorCode.APPROVAL_NEEDS_A_PERSON,
    ErrorCode.NOT_CONFIRMED,
    ErrorCode.CONFIG_INVALID,
    ErrorCode.SHUTTING_DOWN,
}


def signed_by_nobody_trusted(tools: NexusControlTools) -> Call:
    request_id = asked(tools)
    return lambda: tools.approve(request_id, BOB, statement="{}", signature="x")


def nothing_rehearsed(tools: NexusControlTools) -> Call:
    request_id = asked(tools, require_rehearsal={"max_age_seconds": 60})
    return lambda: tools.approve(request_id, BOB)


def another_basis(tools: NexusControlTools) -> Call:
    request_id = asked(tools)
    return lambda: tools.approve(request_id, BOB, basis=f"sha256:{'0' * 64}")


def another_key_beside(tools: NexusControlTools) -> Call:
    request_id = executed(tools)
    publish(tools.store)
    tools.store.sidecar.replace("key", generate().to_pem())
    return lambda: tools.export_audit_package(request_id)


def another_checkpoint_beside(tools: NexusControlTools) -> Call:
    request_id = executed(tools)
    publish(tools.store)
    tools.store.sidecar.replace("checkpoint", publish(DecisionStore()).note.encode())
    return lambda: tools.export_audit_package(request_id)


def another_head_beside(tools: NexusControlTools) -> Call:
    request_id = approved(tools)
    tools.store.sidecar.slot("head").update(lambda _: Head(size=1, root="0" * 64).to_bytes())
    return lambda: tools.execute(request_id, ADAPTER, SCHEDULER, FakeRouter())


def moved_away(tools: NexusControlTools) -> Call:
    with tools.store.writing() as session:
        session.rows.move(Moved("/srv/new.db", "0" * 64))
    return lambda: tools.request("g", ALICE)


def template_weakened(tools: NexusControlTools) -> Call:
    data_of(tools.template_create("strict", ALICE, min_approvals=2, overrides="tighten_only"))
    return lambda: tools.request("g", ALICE, template_name="strict", override_min_approvals=1)


def template_exists(tools: NexusControlTools) -> Call:
    data_of(tools.template_create("prod", ALICE))
    return lambda: tools.template_create("prod", BOB, min_approvals=2)


def already_approved(tools: NexusControlTools) -> Call:
    request_id = approved(tools)
    return lambda: tools.approve(request_id, {"type": "system", "id": "BOB"})


def not_eligible(tools: NexusControlTools) -> Call:
    request_id = asked(tools, approvers=["bob"])
    return lambda: tools.approve(request_id, CAROL)


def own_request(tools: NexusControlTools) -> Call:
    request_id = asked(tools, allow_requester_approval=False)
    return lambda: tools.approve(request_id, ALICE)


def nothing_to_revoke(tools: NexusControlTools) -> Call:
    request_id = approved(tools)
    return lambda: tools.revoke_approval(request_id, CAROL)


def another_s_request(tools: NexusControlTools) -> Call:
    request_id = asked(tools)
    return lambda: tools.withdraw(request_id, BOB, "not mine")


def too_weak_an_approval(tools: NexusControlTools) -> Call:
    request_id = asked(tools, min_assurance="signed")
    return lambda: tools.approve(request_id, BOB)


def denied_already(tools: NexusControlTools) -> Call:
    request_id = asked(tools)
    data_of(tools.deny(request_id, BOB, "too risky"))
    return lambda: tools.approve(request_id, CAROL)


def unapproved(tools: NexusControlTools) -> Call:
    request_id = asked(tools)
    return lambda: tools.execute(request_id, ADAPTER, SCHEDULER, FakeRouter())


def without_a_router(tools: NexusControlTools) -> Call:
    request_id = approved(tools)
    return lambda: tools.execute(request_id, ADAPTER, SCHEDULER, None)


def bad_plan(tools: NexusControlTools) -> Call:
    def refuse() -> None:
        raise NexusControlError(ErrorCode.PLAN_INVALID, "step 1 is not a step")

    checking = NexusControlTools(tools.store, plan_checker=DescribingRouter(None, refuse))
    return lambda: checking.request("g", ALICE, plan="[]", adapter_id=ADAPTER)


def unknown_adapter(tools: NexusControlTools) -> Call:
    request_id = approved(tools)
    return lambda: tools.execute(request_id, ADAPTER, SCHEDULER, LocalRouter([]))


def closed_router(tools: NexusControlTools) -> Call:
    step = '[{"step_id": "s1", "intent": "i", "call": {"tool": "keys", "method": "none", "args": {}}}]'
    request_id = approved(tools, plan=step)
    router = LocalRouter([PythonAdapter("keys", {"none": lambda: None})])
    router.close()
    return lambda: tools.execute(request_id, ADAPTER, SCHEDULER, router)


def defect(tools: NexusControlTools) -> Call:
    def break_down() -> None:
        raise RuntimeError("a secret")

    checking = NexusControlTools(tools.store, plan_checker=DescribingRouter(None, break_down))
    return lambda: checking.request("g", ALICE, adapter_id=ADAPTER)


def indescribable_adapter(tools: NexusControlTools) -> Call:
    request_id = approved(tools)
    router = FakeRouter()
    router.get_adapter_capabilities = raising(OSError("no config"))  # type: ignore[method-assign]
    return lambda: tools.execute(request_id, ADAPTER, SCHEDULER, router)


def claim_held(tools: NexusControlTools) -> Call:
    request_id = approved(tools)
    answers: list[ToolResult[Any]] = []

    def recover_meanwhile() -> object:
        answers.append(tools.recover(request_id))
        return ANSWER

    data_of(tools.execute(request_id, ADAPTER, SCHEDULER, FakeRouter(recover_meanwhile)))
    return lambda: answers[0]


def being_executed(tools: NexusControlTools) -> Call:
    request_id = approved(tools)
    answers: list[ToolResult[Any]] = []

    def meanwhile() -> object:
        answers.append(tools.execute(request_id, ADAPTER, SCHEDULER, FakeRouter()))
        return ANSWER

    tools.execute(request_id, ADAPTER, SCHEDULER, FakeRouter(meanwhile))
    return answers.pop


def conflicting_key(tools: NexusControlTools) -> Call:
    data_of(tools.request("g", ALICE, idempotency_key="once"))
    return lambda: tools.request("h", ALICE, idempotency_key="once")


def outcome_unknown(tools: NexusControlTools) -> Call:
    request_id = approved(tools)
    return lambda: tools.execute(request_id, ADAPTER, SCHEDULER, FakeRouter({"status": "completed"}))


def outcome_refused(tools: NexusControlTools) -> Call:
    request_id = approved(tools)

    def given_up_meanwhile() -> object:
        unknown = ExecutionOutcomeUnknownPayload(reason="GIVEN_UP", detail="by hand")
        tools.store.append_event(request_id, unknown.event_type, SCHEDULER, unknown)
        return ANSWER

    return lambda: tools.execute(request_id, ADAPTER, SCHEDULER, FakeRouter(given_up_meanwhile))


def changed_bundle(tools: NexusControlTools) -> Call:
    bundle = bundle_of(tools, asked(tools))
    bundle["decision"]["goal"] = "Rotate nothing"
    return lambda: tools.import_bundle(bundle, conflict_mode="new_decision_id")


def undecodable_history(tools: NexusControlTools) -> Call:
    bundle = bundle_of(tools, asked(tools))
    bundle["events"][1]["seq"] = 5
    return lambda: tools.import_bundle(bundle, verify_digest=False, conflict_mode="new_decision_id")


def known_decision(tools: NexusControlTools) -> Call:
    bundle = bundle_of(tools, asked(tools))
    return lambda: tools.import_bundle(bundle)


def of_the_future(tools: NexusControlTools) -> Call:
    bundle = bundle_of(tools, asked(tools))
    bundle["events"][1]["ts"] = "2099-01-01T00:00:00+00:00"
    options: dict[str, Any] = {"conflict_mode": "new_decision_id", "verify_digest": False}
    imported = data_of(tools.import_bundle(bundle, **options))["imported"]["decision_id"]
    return lambda: tools.approve(imported, BOB)


def older_history(tools: NexusControlTools) -> Call:
    request_id = asked(tools)
    bundle = bundle_of(tools, request_id)
    data_of(tools.approve(request_id, BOB))
    return lambda: tools.import_bundle(bundle, conflict_mode="overwrite")


def never_run(tools: NexusControlTools) -> Call:
    request_id = approved(tools)
    return lambda: tools.export_audit_package(request_id)


def another_run(tools: NexusControlTools) -> Call:
    request_id = executed(tools)
    return lambda: tools.export_audit_package(request_id, router_bundle_digest="sha256:" + "0" * 64)


def copied(tools: NexusControlTools) -> Call:
    bundle = bundle_of(tools, executed(tools))
    imported = data_of(tools.import_bundle(bundle, conflict_mode="new_decision_id"))["imported"]
    return lambda: tools.export_audit_package(imported["decision_id"])


def unspeakable_run_bundle(tools: NexusControlTools) -> Call:
    request_id = executed(tools)
    bundle = {"note": "\ud800", "digests": {"sha256": "0" * 64}}
    return lambda: tools.export_audit_package(
        request_id, embed_router_bundle=True, router_bundle=bundle, verify_router_bundle_digest=False
    )


def goal_empty(tools: NexusControlTools) -> Call:
    return lambda: tools.request("", ALICE)


def unknown_decision(tools: NexusControlTools) -> Call:
    return lambda: tools.status("nowhere")


def unknown_template(tools: NexusControlTools) -> Call:
    return lambda: tools.template_get("nowhere")


def request_of_unknown_template(tools: NexusControlTools) -> Call:
    return lambda: tools.request("g", ALICE, template_name="nowhere")


def empty_bundle(tools: NexusControlTools) -> Call:
    return lambda: tools.import_bundle("{}")


def not_json(tools: NexusControlTools) -> Call:
    return lambda: tools.import_bundle("not JSON")


def unknown_conflict_mode(tools: NexusControlTools) -> Call:
    unchecked: Any = tools.import_bundle
    return lambda: unchecked("{}", conflict_mode="merge")


def mode_not_allowed(tools: NexusControlTools) -> Call:
    return lambda: tools.request("g", ALICE, mode="apply", allowed_modes=["dry_run"])


REFUSALS: list[tuple[ErrorCode, Provocation]] = [
    (ErrorCode.BASIS_CHANGED, another_basis),
    (ErrorCode.REHEARSAL_REQUIRED, nothing_rehearsed),
    (ErrorCode.INVALID_ARGUMENT, goal_empty),
    (ErrorCode.DECISION_NOT_FOUND, unknown_decision),
    (ErrorCode.TEMPLATE_NOT_FOUND, unknown_template),
    (ErrorCode.TEMPLATE_NOT_FOUND, request_of_unknown_template),
    (ErrorCode.TEMPLATE_ALREADY_EXISTS, template_exists),
    (ErrorCode.TEMPLATE_WEAKENED, template_weakened),
    (ErrorCode.INVALID_STATE, denied_already),
    (ErrorCode.ALREADY_APPROVED, already_approved),
    (ErrorCode.NOT_ELIGIBLE, not_eligible),
    (ErrorCode.REQUESTER_MAY_NOT_APPROVE, own_request),
    (ErrorCode.NO_ACTIVE_APPROVAL, nothing_to_revoke),
    (ErrorCode.NOT_REQUESTER, another_s_request),
    (ErrorCode.ASSURANCE_TOO_LOW, too_weak_an_approval),
    (ErrorCode.POLICY_NOT_SATISFIED, unapproved),
    (ErrorCode.EXECUTING, being_executed),
    (ErrorCode.IDEMPOTENCY_CONFLICT, conflicting_key),
    (ErrorCode.PLAN_INVALID, bad_plan),
    (ErrorCode.ADAPTER_UNKNOWN, unknown_adapter),
    (ErrorCode.ROUTER_NOT_CONFIGURED, without_a_router),
    (ErrorCode.ROUTER_NOT_READY, closed_router),
    (ErrorCode.ROUTER_ERROR, indescribable_adapter),
    (ErrorCode.CLAIM_HELD, claim_held),
    (ErrorCode.CLOCK_BEHIND, of_the_future),
    (ErrorCode.BUNDLE_INVALID_SCHEMA, empty_bundle),
    (ErrorCode.BUNDLE_INVALID_SCHEMA, not_json),
    (ErrorCode.INTEGRITY_MISMATCH, changed_bundle),
    (ErrorCode.DECISION_EXISTS, known_decision),
    (ErrorCode.CONFLICT_MODE_INVALID, unknown_conflict_mode),
    (ErrorCode.REPLAY_INVALID, undecodable_history),
    (ErrorCode.ROLLBACK_REFUSED, older_history),
    (ErrorCode.NO_ROUTER_LINK, never_run),
    (ErrorCode.ROUTER_DIGEST_MISMATCH, another_run),
    (ErrorCode.IMPORTED_COPY, copied),
    (ErrorCode.SIGNATURE_INVALID, signed_by_nobody_trusted),
    (ErrorCode.KEY_UNUSABLE, another_key_beside),
    (ErrorCode.LOG_INCONSISTENT, another_checkpoint_beside),
    (ErrorCode.STORE_ROLLED_BACK, another_head_beside),
    (ErrorCode.STORE_MIGRATED, moved_away),
    (ErrorCode.JSON_INVALID, unspeakable_run_bundle),
    (ErrorCode.INTERNAL, defect),
]
RECORDED: list[tuple[ErrorCode, Provocation]] = [
    (ErrorCode.OUTCOME_UNKNOWN, outcome_unknown),
    (ErrorCode.OUTCOME_REFUSED, outcome_refused),
]


@pytest.mark.parametrize(("code", "provoke"), REFUSALS)
def test_a_refusal_has_its_code_and_writes_nothing(
    tools: NexusControlTools, code: ErrorCode, provoke: Provocation
) -> None:
    call = provoke(tools)
    before = contents(tools.store)
    require_refused(call(), code)
    assert contents(tools.store) == before


@pytest.mark.parametrize(("code", "provoke"), RECORDED)
def test_an_outcome_that_is_no_success_has_its_code_and_is_recorded(
    tools: NexusControlTools, code: ErrorCode, provoke: Provocation
) -> None:
    call = provoke(tools)
    before = contents(tools.store)
    require_refused(call(), code)
    assert len(contents(tools.store).log) > len(before.log)


def test_every_method_of_a_closed_store_says_that_it_is_unavailable() -> None:
    store = DecisionStore(clock=FakeClock())
    tools = NexusControlTools(store)
    request_id = executed(tools)
    bundle = bundle_of(tools, request_id)
    store.close()
    store.close()
    calls: list[Call] = [
        lambda: tools.request("g", ALICE),
        lambda: tools.approve(request_id, BOB),
        lambda: tools.revoke_approval(request_id, BOB),
        lambda: tools.deny(request_id, BOB, "r"),
        lambda: tools.withdraw(request_id, ALICE, "r"),
        lambda: tools.approval_statement(request_id, "bob"),
        lambda: tools.execute(request_id, ADAPTER, SCHEDULER, FakeRouter()),
        lambda: tools.recover(),
        lambda: tools.reconcile(request_id, ALICE, "failed", "e"),
        lambda: tools.status(request_id),
        lambda: tools.inspect(request_id),
        lambda: tools.list_requests(),
        lambda: tools.template_create("t", ALICE),
        lambda: tools.template_get("t"),
        lambda: tools.template_list(),
        lambda: tools.export_bundle(request_id),
        lambda: tools.import_bundle(bundle),
        lambda: tools.export_audit_package(request_id),
        lambda: tools.export_audit_record(request_id),
    ]
    for call in calls:
        require_refused(call(), ErrorCode.STORE_UNAVAILABLE)


def test_every_code_is_provoked_or_belongs_to_another_door() -> None:
    provoked = {code for code, _ in REFUSALS + RECORDED} | {ErrorCode.STORE_UNAVAILABLE}
    assert provoked | NOT_FROM_THE_FACADE == set(ErrorCode)
    assert not provoked & NOT_FROM_THE_FACADE


def test_a_defect_is_answered_without_its_text(tools: NexusControlTools) -> None:
    answer = defect(tools)()
    assert "secret" not in json.dumps(answer.to_dict())


@pytest.mark.parametrize(
    ("phrase", "provoke"),
    [
        ("already approved", already_approved),
        ("Cannot approve decision in state", denied_already),
        (
            "not in allowed_modes",
            mode_not_allowed,
        ),
        ("TEMPLATE_NOT_FOUND", unknown_template),
        ("TEMPLATE_ALREADY_EXISTS", template_exists),
        ("NO_ROUTER_LINK", never_run),
        ("DECISION_EXISTS", known_decision),
        ("Policy validation failed", unapproved),
        ("Router execution failed", indescribable_adapter),
        ("Router execution failed", outcome_unknown),
    ],
)
def test_phrases_are_kept_for_people_who_match_on_them(
    tools: NexusControlTools, phrase: str, provoke: Provocation
) -> None:
    assert phrase in (provoke(tools)().error or "")
