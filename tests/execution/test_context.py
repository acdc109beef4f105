"""What executed code knows of its execution."""

import asyncio
import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from nexus_control import LocalRouter, NexusControlTools, PythonAdapter
from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.execution import current
from nexus_control.execution.context import CurrentExecution, executing
from nexus_control.execution.router import RouterOutcomeUnknown
from tests.execution.support import keys_router, plan, step, tool
from tests.support.governed import ALICE, SCHEDULER, approved, data_of


def told() -> dict[str, Any]:
    known = current()
    return {
        "request_id": known.request_id,
        "execution_id": known.execution_id,
        "requester": known.requester.to_dict(),
        "rehearsal": known.rehearsal,
    }


async def told_async() -> dict[str, Any]:
    await asyncio.sleep(0)
    return await asyncio.get_running_loop().create_task(_told_in_a_task())


async def _told_in_a_task() -> dict[str, Any]:
    return told()


def told_in_a_thread() -> dict[str, Any]:
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(contextvars.copy_context().run, told).result()


def told_in_a_bare_thread() -> list[str]:
    codes: list[str] = []

    def look() -> None:
        try:
            current()
        except NexusControlError as fault:
            codes.append(str(fault.code))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    return codes


def run_of(function: Callable[[], object], *, rehearse: bool = False) -> tuple[str, dict[str, Any]]:
    """The request's id, and the data of its execution."""
    adapter = PythonAdapter("keys", {"tell": function}, dry_run_methods={"tell": function})
    with NexusControlTools() as tools, LocalRouter([adapter]) as router:
        request_id = approved(tools, plan=plan(step("tell")))
        ran = tools.execute(request_id, "python:keys", SCHEDULER, router, dry_run=rehearse)
        return request_id, data_of(ran)


@pytest.mark.parametrize("function", [told, told_async, told_in_a_thread], ids=lambda each: each.__name__)
@pytest.mark.parametrize("rehearse", [False, True])
def test_a_function_knows_its_execution(function: Callable[[], object], rehearse: bool) -> None:
    request_id, data = run_of(function, rehearse=rehearse)
    assert data["execution_id"] == f"{request_id}:0:3"
    assert data["results"][0]["output"] == {
        "request_id": request_id,
        "execution_id": data["execution_id"],
        "requester": ALICE.to_dict(),
        "rehearsal": rehearse,
    }


def test_a_thread_without_the_context_knows_nothing() -> None:
    assert run_of(told_in_a_bare_thread)[1]["results"][0]["output"] == ["INVALID_STATE"]


def test_outside_an_execution_nothing_is_known() -> None:
    run_of(told)
    with pytest.raises(NexusControlError) as caught:
        current()
    assert caught.value.code is ErrorCode.INVALID_STATE


def test_a_dry_run_that_was_asked_for_is_no_rehearsal() -> None:
    adapter = PythonAdapter("keys", {"tell": told}, dry_run_methods={"tell": told})
    with NexusControlTools() as tools, LocalRouter([adapter]) as router:
        request_id = approved(tools, mode="dry_run", plan=plan(step("tell")))
        data = data_of(tools.execute(request_id, "python:keys", SCHEDULER, router))
    assert data["results"][0]["output"]["rehearsal"] is False


def test_an_execution_inside_another_has_its_own_and_gives_the_outer_back() -> None:
    inner: list[str] = []

    def outer() -> list[str]:
        before = current().execution_id
        inner.append(run_of(told)[1]["execution_id"])
        return [before, current().execution_id]

    _, data = run_of(outer)
    assert data["results"][0]["output"] == [data["execution_id"]] * 2
    assert inner[0] != data["execution_id"]


def test_programs_get_both_ids_in_their_environment(tmp_path: Path) -> None:
    script = 'echo "[\\"$NEXUS_CONTROL_REQUEST_ID\\", \\"$NEXUS_CONTROL_EXECUTION_ID\\"]"'
    router = keys_router(tmp_path, {"tell": tool("sh", "-c", script)})
    with NexusControlTools() as tools, router:
        request_id = approved(tools, plan=plan(step("tell")))
        data = data_of(tools.execute(request_id, "subprocess:keys", SCHEDULER, router))
    assert data["results"][0]["output"] == [request_id, data["execution_id"]]


EXECUTION = CurrentExecution(request_id="d1", execution_id="d1:0:3", requester=ALICE, rehearsal=False)


def test_one_execution_has_one_run_also_in_a_later_process(tmp_path: Path) -> None:
    runs: list[str] = []

    def once() -> str:
        runs.append("run")
        return "done"

    for _ in range(2):
        with LocalRouter([PythonAdapter("keys", {"tell": once})], tmp_path / "runs.db") as router:
            try:
                with executing(EXECUTION):
                    router.run("g", "python:keys", False, plan(step("tell")))
            except RouterOutcomeUnknown as unknown:
                assert "d1:0:3" in unknown.detail
                assert [unknown.run_id] == [each.run_id for each in router.runs_of("d1")]
            (known,) = router.runs_of("d1")
            assert (known.execution_id, known.has_ended) == ("d1:0:3", True)
            assert [each.output for each in known.steps] == ["done"]
            assert router.runs_of("d2") == ()
    assert runs == ["run"]


def test_runs_outside_an_execution_belong_to_none() -> None:
    with LocalRouter([PythonAdapter("keys", {"tell": lambda: 1})]) as router:
        for _ in range(2):
            router.run("g", "python:keys", False, plan(step("tell")))
        assert router.runs_of("d1") == ()
