import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from nexus_control.canonical_json import require_canonical_domain
from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.execution.adapter import Adapters, RecordOutput
from nexus_control.execution.local_router import LocalRouter, StepProgress
from nexus_control.execution.python_adapter import PythonAdapter
from nexus_control.execution.response import read_response
from nexus_control.execution.router import (
    AdapterDescriber,
    PlanChecker,
    RouterOutcomeUnknown,
    RouterProtocol,
    RunExporter,
    RunStopped,
)
from nexus_control.execution.stopping import Order, Stop, heeding
from nexus_control.execution.subprocess_adapter import ArgvAdapter, ProcessSettings
from tests.execution.support import (
    CountingClock,
    eventually,
    keys_adapter,
    keys_router,
    lives,
    pids_in,
    plan,
    step,
    tool,
    vector,
)

ROOT = Path(__file__).parent.parent.parent
TOOLS = {
    "add": tool("sh", "-c", 'echo "$1" >> done', "sh", "{what}"),
    "fail": tool("sh", "-c", "echo broken >&2; exit 2"),
}


def done(folder: Path) -> list[str]:
    path = folder / "done"
    return path.read_text().split() if path.exists() else []


def event_types(bundle: dict[str, Any]) -> list[str]:
    return [event["type"] for event in bundle["events"]]


def python_router(
    method: Callable[..., object],
    on_step: Callable[[StepProgress], None] | None = None,
    db_path: str | Path = ":memory:",
) -> LocalRouter:
    adapters = Adapters([PythonAdapter("keys", {"m": method})])
    return LocalRouter(adapters, db_path, clock=CountingClock(), on_step=on_step)


def test_it_is_a_router_that_exports_runs_describes_adapters_and_checks_plans(tmp_path: Path) -> None:
    router: RouterProtocol = keys_router(tmp_path, TOOLS)
    assert isinstance(router, RunExporter)
    assert isinstance(router, AdapterDescriber)
    assert isinstance(router, PlanChecker)


def test_a_plan_is_executed_in_order_and_answered_in_the_shape_of_nexus_router(tmp_path: Path) -> None:
    router = keys_router(tmp_path, TOOLS)
    text = plan(step("add", "a", what="one"), step("add", "b", what="two"))
    response = router.run("goal", "subprocess:keys", dry_run=False, plan=text, max_steps=2)
    assert done(tmp_path) == ["one", "two"]
    original: dict[str, Any] = vector("router-response-apply.json")
    assert response.keys() == original.keys() - {"provenance"}
    assert response["summary"] == {
        **original["summary"],
        "tools_used": ["add"],
        "adapter_id": "subprocess:keys",
    }
    for key in ("run", "dispatch"):
        assert response[key].keys() == original[key].keys()
    assert response["results"][0].keys() == original["results"][0].keys()
    require_canonical_domain(response, max_bytes=100_000)


def test_its_run_is_exported_with_the_events_of_nexus_router(tmp_path: Path) -> None:
    router = keys_router(tmp_path, TOOLS)
    text = plan(step("add", "a", what="one"), step("add", "b", what="two"))
    response = router.run("goal", "subprocess:keys", dry_run=False, plan=text)
    bundle = router.export_run(response["run"]["run_id"])
    original: dict[str, Any] = vector("router-bundle-apply.json")["artifact"]
    expected = [event for event in original["events"] if event["type"] != "PROVENANCE_EMITTED"]
    assert event_types(bundle) == [event["type"] for event in expected]
    for ours, theirs in zip(bundle["events"], expected, strict=True):
        assert ours["payload"].keys() == theirs["payload"].keys()
    assert response["run"]["events_committed"] == len(bundle["events"])
    assert read_response(response, bundle).outcome == "completed"


def test_the_first_step_that_is_not_ok_ends_the_run_as_failed(tmp_path: Path) -> None:
    router = keys_router(tmp_path, TOOLS)
    text = plan(step("add", "a", what="one"), step("fail", "b"), step("add", "c", what="two"))
    response = router.run("goal", "subprocess:keys", dry_run=False, plan=text)
    report = read_response(response, router.export_run(response["run"]["run_id"]))
    assert done(tmp_path) == ["one"]
    assert (report.outcome, report.error_code, report.steps_executed) == ("failed", "NONZERO_EXIT", 2)
    assert "'b'" in (report.error_message or "")
    assert "broken" in (report.error_message or "")
    assert response["summary"]["outputs_skipped"] == 1


def test_a_dry_run_has_no_effect_and_says_so(tmp_path: Path) -> None:
    router = keys_router(tmp_path, TOOLS)
    response = router.run("goal", "subprocess:keys", dry_run=True, plan=plan(step("add", what="one")))
    assert done(tmp_path) == []
    assert response["results"][0]["simulated"] is True
    assert response["summary"]["outputs_applied"] == 0
    assert read_response(response, dry_run=True).outcome == "completed"
    assert read_response(response).outcome == "unknown"  # as the answer to what was to have an effect


ADD = step("add", what="one")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({"adapter_id": "subprocess:nobody"}, "UNKNOWN_ADAPTER"),
        ({"adapter_id": "\ud800"}, "UNKNOWN_ADAPTER"),
        ({"require_capabilities": ["apply", "timeout"]}, "CAPABILITY_MISSING"),
        ({"plan": None}, "PLAN_INVALID"),
        ({"plan": "rotate"}, "PLAN_INVALID"),
        ({"plan": plan(ADD, step("add", "s2", what="x")), "max_steps": 1}, "PLAN_INVALID"),
        ({"plan": plan(ADD, step("nothing", "s2"))}, "PLAN_INVALID"),
        ({"plan": plan(ADD, step("add", "s2"))}, "PLAN_INVALID"),
        ({"plan": plan(ADD, step("add", "s2", what="x", more=1))}, "PLAN_INVALID"),
        ({"plan": plan(ADD, step("add", "s2", tool="other", what="x"))}, "PLAN_INVALID"),
        ({"plan": plan(ADD, step("add", "s2", what="--help"))}, "PLAN_INVALID"),
    ],
)
def test_what_cannot_run_whole_is_a_failed_run_without_a_step(
    tmp_path: Path, arguments: dict[str, Any], code: str
) -> None:
    router = keys_router(tmp_path, TOOLS)
    asked: dict[str, Any] = {"adapter_id": "subprocess:keys", "plan": plan(ADD)} | arguments
    response = router.run("g", dry_run=False, **asked)
    bundle = router.export_run(response["run"]["run_id"])
    report = read_response(response, bundle)
    assert (report.outcome, report.error_code, report.steps_executed) == ("failed", code, 0)
    assert event_types(bundle) == ["RUN_STARTED", "RUN_FAILED"]
    assert done(tmp_path) == []


@pytest.mark.parametrize("dry_run", [True, False])
def test_the_mode_itself_needs_its_capability(dry_run: bool) -> None:
    capabilities = ["apply" if dry_run else "dry_run"]
    adapter = PythonAdapter("keys", {"m": lambda: None}, capabilities=capabilities)
    response = LocalRouter(Adapters([adapter])).run("g", "python:keys", dry_run, plan(step("m")))
    assert response["error"]["code"] == "CAPABILITY_MISSING"


def test_a_plan_is_checked_as_it_would_be_run(tmp_path: Path) -> None:
    router = keys_router(tmp_path, TOOLS)
    router.check_plan("subprocess:keys", plan(ADD), 1)
    for adapter_id, text, max_steps in [
        ("subprocess:nobody", plan(ADD), None),
        ("subprocess:keys", None, None),
        ("subprocess:keys", plan(step("add", what=None)), None),
        ("subprocess:keys", plan(ADD, step("fail", "s2")), 1),
    ]:
        with pytest.raises(NexusControlError) as refused:
            router.check_plan(adapter_id, text, max_steps)
        known = adapter_id == "subprocess:keys"
        assert refused.value.code is (ErrorCode.PLAN_INVALID if known else ErrorCode.ADAPTER_UNKNOWN)


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ("keys", " (did you mean 'subprocess:keys'?)"),
        ("subprocess:kyes", " (did you mean 'subprocess:keys'?)"),
        ("python:keys", " (did you mean 'subprocess:keys'?)"),
        ("subprocess:other", ""),
        ("", ""),
        ("two", ""),
    ],
)
def test_an_adapter_that_is_not_declared_is_told_with_those_that_are(
    tmp_path: Path, given: str, hint: str
) -> None:
    two = [kind("two", {"m": lambda: None}) for kind in (PythonAdapter, _OtherKind)]
    router = LocalRouter(Adapters([keys_adapter(tmp_path, TOOLS), *two]))
    said = f"there is no adapter {given!r}{hint}; declared are: other:two, python:two, subprocess:keys"
    with pytest.raises(NexusControlError) as refused:
        router.check_plan(given, plan(ADD), None)
    assert refused.value.message == said
    assert router.run("g", given, dry_run=False, plan=plan(ADD))["error"]["message"] == said


class _OtherKind(PythonAdapter):
    kind = "other"


def test_a_step_of_another_adapter_is_told_with_the_tool_that_was_given(tmp_path: Path) -> None:
    with pytest.raises(NexusControlError, match="tool must be 'keys', the adapter's name, not 'kyes'"):
        keys_router(tmp_path, TOOLS).check_plan("subprocess:keys", plan(step("add", tool="kyes")), None)


def test_a_step_that_was_cut_off_leaves_an_apply_run_unknown_and_a_dry_run_failed(tmp_path: Path) -> None:
    slow = tool("sleep", "3600", dry_run=["sleep", "3601"])
    router = LocalRouter(Adapters([keys_adapter(tmp_path, {"slow": slow}, timeout_seconds=1)]))
    with pytest.raises(RouterOutcomeUnknown) as unknown:
        router.run("g", "subprocess:keys", dry_run=False, plan=plan(step("slow")))
    assert unknown.value.run_id is not None
    bundle = router.export_run(unknown.value.run_id)
    assert bundle["run"]["status"] == "FAILED"
    assert bundle["events"][-1]["payload"]["outcome"] == "unknown"
    response = router.run("g", "subprocess:keys", dry_run=True, plan=plan(step("slow")))
    assert read_response(response).error_code == "TIMED_OUT"


def test_progress_is_told_after_it_was_logged() -> None:
    told: list[tuple[int, int, str, str, str]] = []

    def on_step(at: StepProgress) -> None:
        logged = event_types(router.export_run(at.run_id))[-1]
        told.append((at.index, at.total, at.step_id, at.status, logged))

    def method(fail: bool) -> None:
        if fail:
            raise ValueError

    router = python_router(method, on_step)
    steps = [step("m", name, fail=name == "b") for name in "abc"]
    router.run("g", "python:keys", dry_run=False, plan=plan(*steps))
    assert told == [
        (1, 3, "a", "started", "TOOL_CALL_REQUESTED"),
        (1, 3, "a", "ok", "STEP_COMPLETED"),
        (2, 3, "b", "started", "TOOL_CALL_REQUESTED"),
        (2, 3, "b", "error", "STEP_COMPLETED"),
    ]


@pytest.mark.parametrize("error", [KeyboardInterrupt, GeneratorExit])
def test_an_interrupt_is_logged_and_goes_on_up(error: type[BaseException]) -> None:
    def interrupt() -> None:
        raise error

    router = python_router(interrupt)
    with pytest.raises(error):
        router.run("g", "python:keys", dry_run=False, plan=plan(step("m")))
    bundle = router.export_run("id-1")
    assert bundle["events"][-1]["type"] == "RUN_FAILED"
    assert bundle["events"][-1]["payload"] == {"outcome": "unknown", "reason": error.__name__}


def test_an_order_to_stop_between_two_steps_begins_no_further_one() -> None:
    stop, called = Stop(), list[str]()

    def method(name: str) -> None:
        called.append(name)
        stop.order("the server ended")

    router = python_router(method)
    with heeding(stop):
        steps = [step("m", "first", name="first"), step("m", "second", name="second")]
        response = router.run("g", "python:keys", dry_run=False, plan=plan(*steps))
    assert called == ["first"]
    assert response["error"] == {
        "code": "STOPPED",
        "message": "step 'second' was not begun because the server ended",
    }
    assert response["summary"]["steps"] == 1
    assert event_types(router.export_run("id-1"))[-1] == "RUN_FAILED"


@pytest.mark.parametrize("dry_run", [False, True])
def test_a_step_that_an_order_to_stop_cuts_off_has_an_unknown_effect_unless_it_has_none(
    tmp_path: Path, dry_run: bool
) -> None:
    stop, argv = Stop(), ("sh", "-c", "echo $$ >> pids; exec sleep 3600")
    router = keys_router(tmp_path, {"wait": tool(*argv, dry_run=[*argv])})

    def order() -> None:
        pids_in(tmp_path / "pids", 1)
        stop.order("the server ended")

    with ThreadPoolExecutor() as pool, heeding(stop):
        pool.submit(order)
        if dry_run:
            error = router.run("g", "subprocess:keys", True, plan=plan(step("wait")))["error"]
            assert error["code"] == "STOPPED"
        else:
            with pytest.raises(RunStopped, match="because the server ended"):
                router.run("g", "subprocess:keys", False, plan=plan(step("wait")))
    assert not lives(pids_in(tmp_path / "pids", 1)[0])


class Cancelled:
    """A cancel that was asked for, or comes by `ask`."""

    def __init__(self) -> None:
        self.order: Order | None = None

    def ask(self) -> None:
        self.order = Order("cancel", "ada cancelled the run: wrong cluster")

    def given(self, *, at_once: bool) -> Order | None:
        return self.order


@pytest.mark.parametrize("record_output", ["whole", "digest"])
@pytest.mark.parametrize("dry_run", [False, True])
def test_a_run_that_is_cancelled_during_a_program_has_failed_and_says_who_and_why(
    tmp_path: Path, dry_run: bool, record_output: RecordOutput
) -> None:
    cancelled, argv = Cancelled(), ("sh", "-c", "echo $$ >> pids; exec sleep 3600")
    settings = ProcessSettings(base=tmp_path, timeout_seconds=3600, record_output=record_output)
    tools = {"add": TOOLS["add"], "wait": tool(*argv, dry_run=[*argv])}
    adapter = ArgvAdapter("keys", tools, capabilities=["apply", "dry_run"], settings=settings)
    router = LocalRouter([adapter])

    def order() -> None:
        pids_in(tmp_path / "pids", 1)
        cancelled.ask()

    with ThreadPoolExecutor() as pool, heeding(Stop()), heeding(cancelled):
        pool.submit(order)
        steps = plan(step("add", "a", what="a"), step("wait", "b"), step("add", "c", what="c"))
        response = router.run("g", "subprocess:keys", dry_run, plan=steps)
    assert not lives(pids_in(tmp_path / "pids", 1)[0])
    assert response["error"] == {
        "code": "CANCELLED",
        "message": "step 'b': it was cut off because ada cancelled the run: wrong cluster",
    }
    report = read_response(response, router.export_run(response["run"]["run_id"]), dry_run=dry_run)
    assert (report.outcome, report.effect) == ("failed", "none" if dry_run else "unknown")
    assert (report.error_code, done(tmp_path)) == ("CANCELLED", [] if dry_run else ["a"])


def test_a_run_that_is_cancelled_before_its_first_step_has_done_nothing() -> None:
    cancelled, called = Cancelled(), list[int]()
    cancelled.ask()
    with heeding(cancelled):
        response = python_router(lambda: called.append(1)).run("g", "python:keys", False, plan(step("m")))
    report = read_response(response)
    assert (report.outcome, report.error_code, report.effect) == ("failed", "CANCELLED", "none")
    assert called == []


def test_an_apply_run_whose_end_could_not_be_logged_has_an_unknown_outcome(tmp_path: Path) -> None:
    router = python_router((tmp_path / "runs").unlink, db_path=tmp_path / "runs")
    with pytest.raises(RouterOutcomeUnknown) as unknown:
        router.run("g", "python:keys", dry_run=False, plan=plan(step("m")))
    assert unknown.value.run_id == "id-1"


def test_a_log_that_cannot_be_written_stops_a_run_before_its_first_step() -> None:
    called: list[int] = []
    router = python_router(lambda: called.append(1))
    router.close()
    with pytest.raises(NexusControlError) as refused:
        router.run("g", "python:keys", dry_run=False, plan=plan(step("m")))
    assert refused.value.code is ErrorCode.ROUTER_NOT_READY
    assert called == []


def test_an_answer_depends_on_nothing_but_the_run() -> None:
    def answer() -> dict[str, Any]:
        return python_router(lambda: {"n": 1}).run("g", "python:keys", dry_run=False, plan=plan(step("m")))

    assert answer() == answer()


def test_a_result_as_deep_as_can_be_stays_inside_the_canonical_domain() -> None:
    result: list[object] = []
    for _ in range(63):
        result = [result]
    router = python_router(lambda: result)
    response = router.run("g", "python:keys", dry_run=False, plan=plan(step("m")))
    require_canonical_domain(response, max_bytes=100_000)
    require_canonical_domain(router.export_run(response["run"]["run_id"]), max_bytes=100_000)


def test_capabilities_and_digests_of_unknown_adapters_are_not_known(tmp_path: Path) -> None:
    router = keys_router(tmp_path, TOOLS)
    assert router.get_adapter_capabilities("subprocess:keys") == {"apply", "dry_run"}
    assert router.get_adapter_capabilities("subprocess:nobody") is None
    assert router.adapter_digest("subprocess:nobody") is None
    assert router.adapter_digest("subprocess:keys") == keys_router(tmp_path, TOOLS).adapter_digest(
        "subprocess:keys"
    )


def test_threads_share_a_router(tmp_path: Path) -> None:
    def same(n: int) -> int:
        return n

    adapters = Adapters([PythonAdapter("keys", {"m": same})])
    with LocalRouter(adapters, tmp_path / "runs.db") as router, ThreadPoolExecutor(4) as pool:

        def run(n: int) -> tuple[Any, str]:
            response = router.run(
                "g", "python:keys", dry_run=False, plan=plan(step("m", "a", n=n), step("m", "b", n=n))
            )
            status = router.export_run(response["run"]["run_id"])["run"]["status"]
            return response["results"][1]["output"]["result"], status

        assert list(pool.map(run, range(12))) == [(n, "COMPLETED") for n in range(12)]


PARENT = """
import sys
from nexus_control.execution.config import load_adapters
from nexus_control.execution.local_router import LocalRouter
with LocalRouter(load_adapters("nexus-control.toml"), "runs.db") as router:
    router.run("g", "subprocess:keys", dry_run=False, plan=sys.argv[1])
"""
CONFIG = """
[adapters.keys]
kind = "subprocess"
capabilities = ["apply"]
[adapters.keys.tools.slow]
argv = ["sh", "-c", "echo $$ >> pids; sleep 3600 & echo $! >> pids; wait"]
"""


def test_a_killed_router_leaves_no_child_and_a_run_without_an_end(tmp_path: Path) -> None:
    (tmp_path / "nexus-control.toml").write_text(CONFIG)
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, plan(step("slow"))],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as parent:
        pids = pids_in(tmp_path / "pids", 2)
        parent.send_signal(signal.SIGKILL)
    assert eventually(lambda: not any(map(lives, pids))), "a child outlived its router"
    connection = sqlite3.connect(tmp_path / "runs.db")
    ((run_id,),) = connection.execute("SELECT run_id FROM runs")
    connection.close()
    with LocalRouter(Adapters(), tmp_path / "runs.db") as router:
        bundle = router.export_run(run_id)
    assert bundle["run"]["status"] == "RUNNING"
    assert event_types(bundle)[-2:] == ["STEP_STARTED", "TOOL_CALL_REQUESTED"]
    assert read_response({"run_id": run_id}, bundle).outcome == "unknown"


def test_a_method_that_changes_its_arguments_changes_no_later_run_of_the_same_plan() -> None:
    seen: list[object] = []

    def method(names: list[str]) -> None:
        seen.append(list(names))
        names.append("changed")

    router = python_router(method)
    text = plan(step("m", names=["one"]))
    for _ in range(2):
        router.check_plan("python:keys", text, None)
        router.describe("python:keys", text)
        router.run("g", "python:keys", dry_run=False, plan=text)
    assert seen == [["one"], ["one"]]
