"""Closing a store while other threads are in calls, in the middle of an execution, and at the interpreter's end."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from nexus_control import NexusControlTools
from nexus_control.errors import ErrorCode
from nexus_control.execution.adapter import Adapters
from nexus_control.execution.local_router import LocalRouter
from nexus_control.execution.python_adapter import PythonAdapter
from tests.joints.office import CountingRouter, approved, require_whole, run_plainly
from tests.support.amounts import ROUNDS
from tests.support.governed import ADAPTER, ALICE, BOB, SCHEDULER, data_of

_CLOSING = """
import sys
from pathlib import Path
from tests.joints import test_close
test_close.close_under_threads(Path(sys.argv[1]), int(sys.argv[2]))
"""
_ENDING = """
import sys, threading
from nexus_control import NexusControlTools
from tests.joints.office import requested
tools, begun = NexusControlTools(db_path=sys.argv[1]), threading.Event()
def write():
    while True:
        requested(tools)
        begun.set()
for _ in range(4):
    threading.Thread(target=write, daemon=True).start()
begun.wait()
"""
THREADS = 8
PLACES = ("store.db", ":memory:")


def close_under_threads(folder: Path, rounds: int) -> None:
    """Each call either is acknowledged, and then is there, or says that the store is closed."""
    for number in range(rounds):
        path = folder / f"{number}.db"
        tools = NexusControlTools(db_path=path)
        meeting = threading.Barrier(THREADS + 1)

        def call(tools: NexusControlTools = tools, meeting: threading.Barrier = meeting) -> list[str]:
            meeting.wait()
            acknowledged: list[str] = []
            while (result := tools.request("Rotate the keys", ALICE)).success:
                acknowledged.append(result.data["request_id"])
                tools.status(acknowledged[-1])
            assert result.error_code == ErrorCode.STORE_UNAVAILABLE, result.error
            return acknowledged

        with ThreadPoolExecutor(THREADS) as pool:
            calls = [pool.submit(call) for _ in range(THREADS)]
            meeting.wait()
            tools.store.close()
            acknowledged = [request_id for each in calls for request_id in each.result()]
        require_whole(path, *acknowledged)


def test_closing_under_eight_threads_crashes_nothing_and_loses_nothing(tmp_path: Path) -> None:
    run_plainly(_CLOSING, tmp_path, ROUNDS)


def test_an_interpreter_that_ends_under_writing_threads_does_not_crash(tmp_path: Path) -> None:
    for number in range(max(2, ROUNDS // 10)):
        run_plainly(_ENDING, tmp_path / f"{number}.db")
        require_whole(tmp_path / f"{number}.db")


class _ClosedInMidRun(CountingRouter):
    """Somebody closes the store while the router runs; then this thread tries to."""

    def __init__(self, runs: Path, tools: NexusControlTools) -> None:
        super().__init__(runs)
        self._tools = tools
        self.refused: str | None = None

    def meanwhile(self) -> None:
        try:
            self._tools.store.close()
        except ValueError as error:
            self.refused = str(error)
        with ThreadPoolExecutor(1) as pool:
            pool.submit(self._tools.store.close).result()


@pytest.mark.parametrize("place", PLACES)
def test_an_execution_records_its_outcome_although_the_store_was_closed_meanwhile(
    place: str, tmp_path: Path
) -> None:
    path = tmp_path / place
    tools = NexusControlTools(db_path=place if place.endswith(":") else path)
    request_id = approved(tools)
    router = _ClosedInMidRun(tmp_path / "runs", tools)
    assert data_of(tools.execute(request_id, ADAPTER, SCHEDULER, router))["run_id"] == "r1"
    assert router.refused is not None
    assert router.refused.startswith("STORE_IN_USE")
    assert tools.status(request_id).error_code == ErrorCode.STORE_UNAVAILABLE
    if path.exists():
        again = NexusControlTools(db_path=path)
        assert data_of(again.status(request_id))["state"] == "completed"
        again.store.close()


def test_a_run_is_logged_to_its_end_although_its_router_was_closed_meanwhile(tmp_path: Path) -> None:
    def close_elsewhere() -> str:
        with ThreadPoolExecutor(1) as pool:
            pool.submit(router.close).result()
        return "done"

    adapters = Adapters([PythonAdapter("keys", {"rotate": close_elsewhere})])
    router = LocalRouter(adapters, tmp_path / "runs")
    call: dict[str, object] = {"tool": "keys", "method": "rotate", "args": {}}
    plan = [{"step_id": "s1", "intent": "", "call": call}]
    with NexusControlTools(plan_checker=router).store as store:
        tools = NexusControlTools(store)
        asked = tools.request("Rotate", ALICE, mode="apply", plan=plan)
        request_id = data_of(asked)["request_id"]
        data_of(tools.approve(request_id, BOB))
        run_id = data_of(tools.execute(request_id, ADAPTER, SCHEDULER, router))["run_id"]
    with LocalRouter(adapters, tmp_path / "runs") as again:
        assert again.export_run(run_id)["run"]["status"] == "COMPLETED"
