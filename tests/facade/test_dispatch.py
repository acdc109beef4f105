"""A request for a worker is executed by a worker, and by nobody else."""

from typing import Any

import pytest

from nexus_control import NexusControlTools, verify_evidence
from nexus_control.execution.adapter import Adapters
from nexus_control.execution.local_router import LocalRouter
from nexus_control.execution.python_adapter import PythonAdapter
from nexus_control.usecases.arguments import ExecuteArguments, validated
from nexus_control.usecases.executing import execute
from nexus_control.values.results import ToolResult
from tests.execution.support import step
from tests.support.clock import FakeClock
from tests.support.governed import ADAPTER, ALICE, BOB, SCHEDULER, approved, data_of, reasons

PLAN = [step("rotate")]


@pytest.fixture
def router(runs: list[str]) -> LocalRouter:
    def rotate() -> str:
        runs.append("rotate")
        return "rotated"

    return LocalRouter(Adapters([PythonAdapter("keys", {"rotate": rotate})]))


@pytest.fixture
def runs() -> list[str]:
    return []


@pytest.fixture
def tools() -> NexusControlTools:
    return NexusControlTools(clock=FakeClock())


def for_a_worker(tools: NexusControlTools, **request: Any) -> ToolResult[Any]:
    asked: dict[str, Any] = {"mode": "apply", "plan": PLAN, "adapter_id": ADAPTER, "dispatch": "worker"}
    return tools.request("Rotate the keys", ALICE, **(asked | request))


@pytest.mark.parametrize(
    "request_",
    [{"adapter_id": None}, {"dispatch": "somebody"}, {"dispatch": ""}, {"adapter_id": "tool:Bash"}],
    ids=["no adapter", "another word", "empty", "a guarded call"],
)
def test_a_request_for_a_worker_says_what_a_worker_is_to_run(
    tools: NexusControlTools, request_: dict[str, Any]
) -> None:
    refused = for_a_worker(tools, **request_)
    assert refused.error_code == "INVALID_ARGUMENT"
    assert [each["field"] for each in refused.details["fields"]] == ["dispatch"]
    assert data_of(tools.list_requests())["count"] == 0


@pytest.mark.parametrize("dry_run", [None, True, False])
def test_nobody_but_a_worker_executes_or_rehearses_it(
    tools: NexusControlTools, router: LocalRouter, runs: list[str], dry_run: bool | None
) -> None:
    request_id = approved(tools, plan=PLAN, adapter_id=ADAPTER, dispatch="worker")
    refused = tools.execute(request_id, ADAPTER, SCHEDULER, router, dry_run=dry_run)
    assert reasons(refused) == ["DISPATCH_BY_WORKER"]
    assert "wait" in (refused.next or "").lower()
    without_adapters = tools.execute(request_id, ADAPTER, SCHEDULER, None, dry_run=dry_run)
    assert reasons(without_adapters) == ["DISPATCH_BY_WORKER"]
    assert reasons(tools.claim(request_id, ADAPTER, SCHEDULER, dry_run=dry_run)) == ["DISPATCH_BY_WORKER"]
    assert (runs, data_of(tools.status(request_id))["event_count"]) == ([], 3)


def test_before_the_approvals_the_refusal_names_both_and_advises_to_wait(
    tools: NexusControlTools, router: LocalRouter
) -> None:
    request_id = data_of(for_a_worker(tools))["request_id"]
    refused = tools.execute(request_id, ADAPTER, SCHEDULER, router)
    assert reasons(refused) == ["MISSING_APPROVALS", "DISPATCH_BY_WORKER"]
    assert (refused.next or "").startswith("Wait: a worker")


def test_the_workers_own_call_executes_it_once(
    tools: NexusControlTools, router: LocalRouter, runs: list[str]
) -> None:
    request_id = approved(tools, plan=PLAN, adapter_id=ADAPTER, dispatch="worker")
    values = {"request_id": request_id, "adapter_id": ADAPTER, "actor": SCHEDULER}
    ran = execute(tools.store, validated(ExecuteArguments, values), router, by_worker=True)
    assert (ran["effect"], runs) == ("done", ["rotate"])
    assert reasons(tools.execute(request_id, ADAPTER, SCHEDULER, router))[0] == "ALREADY_EXECUTED"


def test_the_package_of_what_a_worker_executed_satisfies_its_policy(
    tools: NexusControlTools, router: LocalRouter
) -> None:
    request_id = approved(tools, plan=PLAN, adapter_id=ADAPTER, dispatch="worker")
    values = {"request_id": request_id, "adapter_id": ADAPTER, "actor": SCHEDULER}
    execute(tools.store, validated(ExecuteArguments, values), router, by_worker=True)
    package = data_of(tools.export_audit_package(request_id))["package"]
    report = verify_evidence(package)
    assert [each.name for each in report.checks if each.status == "fail"] == []


def test_who_executes_is_shown_wherever_a_request_is_shown(tools: NexusControlTools) -> None:
    request_id = data_of(for_a_worker(tools))["request_id"]
    (line,) = data_of(tools.list_requests())["requests"]
    inspected = data_of(tools.inspect(request_id))
    shown = [data_of(tools.status(request_id)), inspected["decision"], line]
    assert [each["dispatch"] for each in shown] == ["worker"] * 3
    assert "Executed by: a worker, and nobody else" in inspected["rendered"].replace("**", "")


def test_a_request_for_anybody_says_nothing_of_it(tools: NexusControlTools) -> None:
    request_id = data_of(for_a_worker(tools, dispatch=None))["request_id"]
    status = data_of(tools.status(request_id, include_events=True))
    (line,) = data_of(tools.list_requests())["requests"]
    assert "dispatch" not in {**status, **line, **status["events"][1]["payload"]}


def test_who_executes_is_part_of_what_an_idempotency_key_stands_for(tools: NexusControlTools) -> None:
    first = data_of(for_a_worker(tools, idempotency_key="k"))
    again = data_of(for_a_worker(tools, idempotency_key="k"))
    assert (again["request_id"], again["created"]) == (first["request_id"], False)
    other = for_a_worker(tools, idempotency_key="k", dispatch=None)
    assert (other.error_code, other.details["fields"]) == ("IDEMPOTENCY_CONFLICT", ["dispatch"])


@pytest.mark.parametrize(("adapter_id", "is_bound"), [(ADAPTER, True), ("subprocess:vault", False)])
def test_it_is_bound_to_the_declaration_where_that_is_known(
    router: LocalRouter, adapter_id: str, is_bound: bool
) -> None:
    tools = NexusControlTools(plan_checker=router)
    asked = data_of(for_a_worker(tools, adapter_id=adapter_id))
    assert (data_of(tools.status(asked["request_id"]))["adapter_digest"] is not None) is is_bound
    assert [adapter_id in each for each in asked["warnings"]] == ([] if is_bound else [True])


def test_what_the_adapter_here_would_not_take_is_refused_for_a_worker_too(router: LocalRouter) -> None:
    tools = NexusControlTools(plan_checker=router)
    assert for_a_worker(tools, plan=[step("destroy")]).error_code == "PLAN_INVALID"
    assert for_a_worker(tools, adapter_id="subprocess:vault", dispatch=None).error_code == "ADAPTER_UNKNOWN"


def test_its_history_goes_through_a_bundle(tools: NexusControlTools) -> None:
    request_id = data_of(for_a_worker(tools))["request_id"]
    data_of(tools.approve(request_id, BOB))
    bundle = data_of(tools.export_bundle(request_id))["bundle"]
    with NexusControlTools() as other:
        assert data_of(other.import_bundle(bundle))["replay_ran"]
        (line,) = data_of(other.list_requests())["requests"]
        assert (line["dispatch"], data_of(other.status(request_id))["dispatch"]) == ("worker", "worker")
