"""What `execute` refuses before the claim costs nothing: the decision stays approved, and is executed well later."""

import os
import sys
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from nexus_control import DecisionStore, NexusControlTools
from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.execution.argv_template import ArgvTemplate
from nexus_control.execution.local_router import LocalRouter
from nexus_control.execution.nexus_router import NexusRouterBridge
from nexus_control.execution.python_adapter import PythonAdapter
from nexus_control.execution.router import RouterProtocol
from nexus_control.execution.subprocess_adapter import ArgvAdapter, ArgvTool, ProcessSettings
from nexus_control.values.results import ToolResult
from tests.execution.support import plan, step
from tests.joints.office import in_child, wait_for
from tests.support.governed import ADAPTER, BOB, SCHEDULER, approved, data_of, last_event, require_whole
from tests.support.routers import ScriptedRouter, good_answer

PROGRAMS = "subprocess:keys"
TWO_STEPS = plan(step("rotate", "s1"), step("rotate", "s2"))
ONE_STEP = plan(step("rotate"))


def rotate() -> str:
    return "rotated"


def local(runs: Path, *, capabilities: tuple[str, ...] = ("apply", "dry_run")) -> LocalRouter:
    return LocalRouter([PythonAdapter("keys", {"rotate": rotate}, capabilities=capabilities)], runs)


def programs(program: str, cwd: str = ".") -> Callable[[Path], LocalRouter]:
    def make(runs: Path) -> LocalRouter:
        tools = {"rotate": ArgvTool(argv=ArgvTemplate.of([program]))}
        settings = ProcessSettings(base=runs.parent, cwd=cwd)
        return LocalRouter([ArgvAdapter("keys", tools, capabilities=["apply"], settings=settings)], runs)

    return make


class Checking(ScriptedRouter):
    """A router whose word on the plan, or on itself, is what a test says."""

    def __init__(self, check: Callable[[], None], ready: Callable[[], None] = lambda: None) -> None:
        super().__init__(good_answer)
        self.check = check
        self.ready = ready

    def adapter_digest(self, adapter_id: str) -> str | None:
        return None

    def check_plan(self, adapter_id: str, plan: str | None, max_steps: int | None) -> None:
        self.check()

    def require_ready(self, adapter_id: str, dry_run: bool, plan: str | None) -> None:
        self.ready()


def raising(error: BaseException) -> Callable[[], Any]:
    def fail() -> Any:
        raise error

    return fail


def replaced(runs: Path) -> LocalRouter:
    router = local(runs)
    runs.rename(runs.with_name("older"))
    runs.write_bytes(runs.with_name("older").read_bytes())
    return router


def closed(runs: Path) -> LocalRouter:
    router = local(runs)
    router.close()
    return router


class BridgedTool(ModuleType):
    """`nexus_router.tool`, of which nothing is to be called."""

    def run(self, *_: object, **__: object) -> object:
        raise AssertionError("nexus-router was called")


def bridge(runs: Path) -> NexusRouterBridge:
    adapters = {ADAPTER: SimpleNamespace(capabilities=frozenset({"apply"}))}
    return NexusRouterBridge(adapters=adapters, db_path=str(runs))


Making = Callable[[Path], RouterProtocol]
CASES: dict[str, tuple[dict[str, Any], Making, str, str]] = {
    "an unknown adapter": ({"plan": ONE_STEP}, local, "python:nobody", "ADAPTER_UNKNOWN"),
    "a plan that is text": ({"plan": "rotate them all"}, local, ADAPTER, "PLAN_INVALID"),
    "no plan": ({}, local, ADAPTER, "PLAN_INVALID"),
    "a plan without steps": ({"plan": "[]"}, local, ADAPTER, "PLAN_INVALID"),
    "an undeclared method": ({"plan": plan(step("burn"))}, local, ADAPTER, "PLAN_INVALID"),
    "an undeclared argument": ({"plan": plan(step("rotate", x=1))}, local, ADAPTER, "PLAN_INVALID"),
    "a longer plan than is allowed": ({"plan": TWO_STEPS, "max_steps": 1}, local, ADAPTER, "PLAN_INVALID"),
    "an adapter that cannot apply": (
        {"plan": ONE_STEP},
        lambda runs: local(runs, capabilities=("dry_run",)),
        ADAPTER,
        "ROUTER_NOT_READY",
    ),
    "a program that is not there": (
        {"plan": ONE_STEP},
        programs("./rotate.sh"),
        PROGRAMS,
        "ROUTER_NOT_READY",
    ),
    "a program that is not on PATH": (
        {"plan": ONE_STEP},
        programs("no-such-tool"),
        PROGRAMS,
        "ROUTER_NOT_READY",
    ),
    "a program that may not be run": (
        {"plan": ONE_STEP},
        programs("/etc/passwd"),
        PROGRAMS,
        "ROUTER_NOT_READY",
    ),
    "a folder as a program": ({"plan": ONE_STEP}, programs("/tmp"), PROGRAMS, "ROUTER_NOT_READY"),
    "a folder that is a file": (
        {"plan": ONE_STEP},
        programs("true", cwd="d.db"),
        PROGRAMS,
        "ROUTER_NOT_READY",
    ),
    "a folder that is not there": (
        {"plan": ONE_STEP},
        programs("true", cwd="nowhere"),
        PROGRAMS,
        "ROUTER_NOT_READY",
    ),
    "a run log that was replaced": ({"plan": ONE_STEP}, replaced, ADAPTER, "ROUTER_NOT_READY"),
    "a router that was closed": ({"plan": ONE_STEP}, closed, ADAPTER, "ROUTER_NOT_READY"),
    "a longer plan than the bridge takes": (
        {"plan": TWO_STEPS, "max_steps": 1},
        bridge,
        ADAPTER,
        "PLAN_INVALID",
    ),
    "an adapter that the bridge has not": ({"plan": ONE_STEP}, bridge, "python:nobody", "ADAPTER_UNKNOWN"),
    "a run log that the bridge cannot write": (
        {"plan": ONE_STEP},
        lambda runs: bridge(runs / "nowhere" / "runs"),
        ADAPTER,
        "ROUTER_NOT_READY",
    ),
    "a check that raises": ({}, lambda _: Checking(raising(ValueError("no"))), ADAPTER, "ROUTER_ERROR"),
    "a check that exits": ({}, lambda _: Checking(raising(SystemExit(1))), ADAPTER, "ROUTER_ERROR"),
    "a router that is never ready": (
        {},
        lambda _: Checking(lambda: None, raising(OSError("no disk"))),
        ADAPTER,
        "ROUTER_ERROR",
    ),
    "capabilities that exit": (
        {},
        lambda _: ScriptedRouter(good_answer, raising(SystemExit(0))),
        ADAPTER,
        "ROUTER_ERROR",
    ),
    "capabilities that time out": (
        {},
        lambda _: ScriptedRouter(good_answer, raising(TimeoutError("slow"))),
        ADAPTER,
        "ROUTER_ERROR",
    ),
}


@contextmanager
def bridged(monkeypatch: pytest.MonkeyPatch) -> Generator[None]:
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "nexus_router", ModuleType("nexus_router"))
        patch.setitem(sys.modules, "nexus_router.tool", BridgedTool("nexus_router.tool"))
        yield


def require_nothing_cost(
    tools: NexusControlTools, request_id: str, refused: ToolResult[Any], code: str
) -> None:
    """Refused with this code and an advice; and executed well by another router, with the approval that was given."""
    assert refused.error_code == code, refused.error
    assert refused.next
    assert str(last_event(tools.store, request_id).event_type) == "APPROVAL_GRANTED"
    assert data_of(tools.status(request_id))["state"] == "approved"
    done = ScriptedRouter(good_answer)
    assert data_of(tools.execute(request_id, ADAPTER, SCHEDULER, done))["steps_executed"] == 2
    assert done.runs == 1
    require_whole(tools.store, request_id)


@pytest.mark.parametrize("name", CASES)
def test_what_is_refused_before_the_claim_costs_no_approval(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, make, adapter_id, code = CASES[name]
    with DecisionStore(tmp_path / "d.db") as store, bridged(monkeypatch):
        tools = NexusControlTools(store)
        request_id = approved(tools, **asked)
        router = make(tmp_path / "runs")
        refused = tools.execute(request_id, adapter_id, SCHEDULER, router)
        require_nothing_cost(tools, request_id, refused, code)
        if isinstance(router, ScriptedRouter):
            assert router.runs == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="another user is needed, whom a file's mode keeps out")
def test_a_run_log_that_may_not_be_written_costs_no_approval(tmp_path: Path) -> None:
    def as_another_user() -> None:
        os.setuid(65534)
        with DecisionStore(folder / "d.db") as store, ThreadPoolExecutor(1) as another_thread:
            tools = NexusControlTools(store)
            request_id = approved(tools, plan=ONE_STEP)
            router = local(folder / "runs")
            (folder / "runs").chmod(0o400)
            refused = another_thread.submit(tools.execute, request_id, ADAPTER, SCHEDULER, router).result()
            require_nothing_cost(tools, request_id, refused, "ROUTER_NOT_READY")

    with TemporaryDirectory() as made:
        folder = Path(made)
        folder.chmod(0o777)
        wait_for(in_child(as_another_user))


@pytest.mark.parametrize("end", ["denied", "executed", "not there"])
@pytest.mark.parametrize("router", ["none", "raises", "is not ready"])
def test_a_decision_that_is_never_executed_is_refused_as_that_whatever_the_router_says(
    tmp_path: Path, end: str, router: str
) -> None:
    routers: dict[str, RouterProtocol | None] = {
        "none": None,
        "raises": ScriptedRouter(good_answer, raising(OSError("no"))),
        "is not ready": Checking(lambda: None, raising(NexusControlError(ErrorCode.ROUTER_NOT_READY, "no"))),
    }
    with DecisionStore(tmp_path / "d.db") as store:
        tools = NexusControlTools(store)
        request_id = approved(tools)
        if end == "denied":
            data_of(tools.deny(request_id, BOB, "no"))
        elif end == "executed":
            data_of(tools.execute(request_id, ADAPTER, SCHEDULER, ScriptedRouter(good_answer)))
        asked_for = "nobody" if end == "not there" else request_id
        refused = tools.execute(asked_for, ADAPTER, SCHEDULER, routers[router])
    assert refused.error_code == ("DECISION_NOT_FOUND" if end == "not there" else "POLICY_NOT_SATISFIED")
    assert "call execute" not in (refused.next or "")


def test_a_refusal_of_a_pending_decision_names_what_is_missing_and_asks_no_router(tmp_path: Path) -> None:
    asked: list[str] = []
    router = Checking(lambda: asked.append("plan"), lambda: asked.append("ready"))
    with DecisionStore(tmp_path / "d.db") as store:
        tools = NexusControlTools(store)
        request_id = data_of(tools.request("g", SCHEDULER, mode="apply"))["request_id"]
        refused = tools.execute(request_id, ADAPTER, SCHEDULER, router)
    assert refused.error_code == "POLICY_NOT_SATISFIED"
    assert asked == []
