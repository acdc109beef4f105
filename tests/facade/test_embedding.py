"""A package that embeds the run which the configured router keeps."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nexus_control import DecisionStore, LocalRouter, NexusControlTools, PythonAdapter
from nexus_control.audit_package import verify_audit_package
from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.usecases import exporting
from nexus_control.usecases.arguments import ExportAuditPackageArguments
from tests.facade.flow import require_refused
from tests.support.governed import ADAPTER, ALICE, approved, data_of
from tests.support.routers import KeepingRouter, good_answer
from tests.toolset.bench import Bench, new_bench

PLAN = json.dumps(
    [{"step_id": "s1", "intent": "rotate", "call": {"tool": "keys", "method": "rotate", "args": {}}}]
)


@pytest.fixture
def router() -> Iterator[LocalRouter]:
    with LocalRouter([PythonAdapter("keys", {"rotate": lambda: {"done": True}})]) as opened:
        yield opened


@pytest.fixture
def tools(router: LocalRouter) -> Iterator[NexusControlTools]:
    with NexusControlTools(plan_checker=router) as opened:
        yield opened


def executed(tools: NexusControlTools, router: Any) -> str:
    request_id = approved(tools, plan=PLAN)
    data_of(tools.execute(request_id, ADAPTER, ALICE, router))
    return request_id


def test_the_run_is_fetched_from_the_router_that_the_tools_have(
    tools: NexusControlTools, router: LocalRouter
) -> None:
    request_id = executed(tools, router)
    embedded = data_of(tools.export_audit_package(request_id, embed_router_bundle=True))["package"]
    assert verify_audit_package(embedded).ok
    run_id = embedded["control_bundle"]["router_link"]["run_id"]
    assert embedded["router"]["mode"] == "embedded"
    assert embedded["router"]["bundle"]["events"] == router.export_run(run_id)["events"]


def test_a_run_that_the_router_does_not_know_is_refused_by_its_id(tools: NexusControlTools) -> None:
    with LocalRouter([PythonAdapter("keys", {"rotate": lambda: None})]) as other:
        request_id = executed(tools, other)
    refused = tools.export_audit_package(request_id, embed_router_bundle=True)
    require_refused(refused, ErrorCode.ROUTER_RUN_NOT_FOUND)
    assert refused.details["run_id"] in str(refused.error)


def test_a_decision_without_a_run_is_refused_as_before(tools: NexusControlTools) -> None:
    refused = tools.export_audit_package(approved(tools, plan=PLAN), embed_router_bundle=True)
    require_refused(refused, ErrorCode.NO_ROUTER_LINK)


def test_without_a_router_that_keeps_its_runs_the_bundle_is_needed() -> None:
    with NexusControlTools() as tools:
        request_id = approved(tools)
        refused = tools.export_audit_package(request_id, embed_router_bundle=True)
        require_refused(refused, ErrorCode.INVALID_ARGUMENT)


@pytest.mark.parametrize(
    ("kept", "code"),
    [
        ({"run": {"run_id": "run-1"}, "digests": {"sha256": "0" * 64}}, ErrorCode.ROUTER_DIGEST_MISMATCH),
        (ConnectionError("lost"), ErrorCode.ROUTER_ERROR),
        (SystemExit(3), ErrorCode.ROUTER_ERROR),
        (NexusControlError(ErrorCode.ROUTER_RUN_NOT_FOUND, "no"), ErrorCode.ROUTER_RUN_NOT_FOUND),
    ],
)
def test_whatever_the_router_exports_or_raises_has_a_code(kept: object, code: ErrorCode) -> None:
    def later() -> object:
        if isinstance(kept, BaseException):
            raise kept
        return kept

    recorded = {"run": {"run_id": "run-1"}, "digests": {"sha256": "1" * 64}}
    with DecisionStore(":memory:") as store:
        tools = NexusControlTools(store)
        request_id = approved(tools)
        data_of(tools.execute(request_id, ADAPTER, ALICE, KeepingRouter(good_answer, lambda: recorded)))
        asked = ExportAuditPackageArguments(decision_id=request_id, embed_router_bundle=True)
        with pytest.raises(NexusControlError) as refused:
            exporting.export_audit_package(store, asked, KeepingRouter(good_answer, later))
    assert refused.value.code is code


def test_an_agents_tool_embeds_the_run_of_its_router(tmp_path: Path) -> None:
    bench: Bench = new_bench(tmp_path)
    request_id = bench.executed()
    answer = bench.data("export_audit_package", decision_id=request_id, embed_router_bundle=True)
    package = answer.get("package") or json.loads(Path(answer["path"]).read_text())
    assert package["router"]["mode"] == "embedded"
    assert verify_audit_package(package).ok
    bench.context.store.close()
