import copy
import sys
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.evidence.run_bundle import run_bundle_digest
from nexus_control.execution.nexus_router import NexusRouterBridge
from nexus_control.execution.response import read_response
from nexus_control.execution.router import PlanChecker, RouterProtocol, RunExporter
from tests.execution.support import plan, step, vector

RUN_ID = "d1471c92-473a-40d4-9279-1dd5b15fff8a"
ADAPTERS = {"fake:echo": SimpleNamespace(capabilities=frozenset({"apply", "dry_run"}))}

Change = Callable[[dict[str, Any]], object]


class FakeTool(ModuleType):
    """`nexus_router.tool` as the vectors know it."""

    def __init__(self) -> None:
        super().__init__("nexus_router.tool")
        self.requests: list[tuple[dict[str, Any], str, object]] = []
        self.exported: dict[str, Any] = vector("router-bundle-apply.json")

    def run(self, request: dict[str, Any], *, db_path: str, adapters: object) -> dict[str, Any]:
        self.requests.append((request, db_path, adapters))
        return vector("router-response-apply.json")

    def export(self, request: dict[str, str]) -> dict[str, Any]:
        assert request == {"db_path": "router.db", "run_id": RUN_ID}
        return self.exported


class RaisingRegistry:
    def get(self, adapter_id: str, /) -> object:
        raise KeyError(adapter_id)


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> FakeTool:
    fake = FakeTool()
    monkeypatch.setitem(sys.modules, "nexus_router", ModuleType("nexus_router"))
    monkeypatch.setitem(sys.modules, "nexus_router.tool", fake)
    return fake


def bridge() -> NexusRouterBridge:
    return NexusRouterBridge(adapters=ADAPTERS, db_path="router.db")


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nexus_router", None)
    monkeypatch.delitem(sys.modules, "nexus_router.tool", raising=False)
    with pytest.raises(NexusControlError) as refused:
        bridge()
    assert refused.value.code is ErrorCode.ROUTER_NOT_CONFIGURED
    assert "nexus-router" in refused.value.message


@pytest.mark.usefixtures("tool")
def test_it_is_a_router_that_exports_runs_and_checks_plans() -> None:
    router: RouterProtocol = bridge()
    assert isinstance(router, RunExporter)
    assert isinstance(router, PlanChecker)


def test_a_run_is_a_request_to_nexus_router(tool: FakeTool) -> None:
    text = plan(step("say", tool="echo", text="hi é"))
    response = bridge().run("demo", "fake:echo", False, text, max_steps=3, require_capabilities=["apply"])
    request = {
        "goal": "demo",
        "mode": "apply",
        "policy": {"allow_apply": True, "max_steps": 3},
        "dispatch": {"adapter_id": "fake:echo", "require_capabilities": ["apply"]},
        "plan_override": [step("say", tool="echo", text="hi é")],
    }
    assert tool.requests == [(request, "router.db", ADAPTERS)]
    assert read_response(response, bridge().export_run(RUN_ID)).outcome == "completed"


def test_what_was_not_asked_for_is_left_out(tool: FakeTool) -> None:
    bridge().run("demo", "fake:echo", dry_run=True)
    ((request, _, _),) = tool.requests
    assert request == {
        "goal": "demo",
        "mode": "dry_run",
        "policy": {"allow_apply": False},
        "dispatch": {"adapter_id": "fake:echo"},
    }


@pytest.mark.parametrize("text", [plan(step("a", "1"), step("b", "2")), "rotate", "{}"])
def test_a_plan_that_is_too_long_or_no_list_never_reaches_nexus_router(tool: FakeTool, text: str) -> None:
    for ask in (
        lambda: bridge().run("demo", "fake:echo", dry_run=False, plan=text, max_steps=1),
        lambda: bridge().check_plan("fake:echo", text, 1),
    ):
        with pytest.raises(NexusControlError) as refused:
            ask()
        assert refused.value.code is ErrorCode.PLAN_INVALID
    assert tool.requests == []


@pytest.mark.usefixtures("tool")
def test_capabilities_are_those_of_its_registry() -> None:
    assert bridge().get_adapter_capabilities("fake:echo") == {"apply", "dry_run"}
    assert bridge().get_adapter_capabilities("fake:nobody") is None
    assert bridge().adapter_digest("fake:echo") is None
    raising = NexusRouterBridge(adapters=RaisingRegistry(), db_path="router.db")
    assert raising.get_adapter_capabilities("fake:nobody") is None


def test_an_exported_run_is_unwrapped(tool: FakeTool) -> None:
    assert bridge().export_run(RUN_ID) == tool.exported["artifact"]


CHANGES: dict[str, tuple[Change, ErrorCode]] = {
    "not ok": (lambda answer: answer.update(ok=False), ErrorCode.ROUTER_RUN_NOT_FOUND),
    "no artifact": (lambda answer: answer.update(artifact=None), ErrorCode.ROUTER_RUN_NOT_FOUND),
    "another goal": (lambda answer: answer["artifact"]["run"].update(goal="x"), ErrorCode.INTEGRITY_MISMATCH),
    "an event less": (lambda answer: answer["artifact"]["events"].pop(), ErrorCode.INTEGRITY_MISMATCH),
    "no digests": (lambda answer: answer["artifact"].pop("digests"), ErrorCode.INTEGRITY_MISMATCH),
    "no events": (lambda answer: answer["artifact"].pop("events"), ErrorCode.INTEGRITY_MISMATCH),
}


@pytest.mark.parametrize(("change", "code"), CHANGES.values(), ids=CHANGES)
def test_an_export_that_is_not_what_it_says_is_refused(
    tool: FakeTool, change: Change, code: ErrorCode
) -> None:
    tool.exported = copy.deepcopy(tool.exported)
    change(tool.exported)
    with pytest.raises(NexusControlError) as refused:
        bridge().export_run(RUN_ID)
    assert refused.value.code is code


def test_the_run_of_another_is_refused(tool: FakeTool) -> None:
    other = vector("router-bundle-apply.json")["artifact"]
    other["run"]["run_id"] = "another"
    tool.exported = {"ok": True, "artifact": other | {"digests": {"sha256": run_bundle_digest(other)}}}
    with pytest.raises(NexusControlError) as refused:
        bridge().export_run(RUN_ID)
    assert refused.value.code is ErrorCode.ROUTER_DIGEST_MISMATCH
