"""Forks: of a process whose threads write, by a pre-forking server, and in the middle of things."""

import os
import sys
import threading
from functools import partial
from pathlib import Path

import pytest

from nexus_control import NexusControlTools
from nexus_control.errors import ErrorCode
from nexus_control.execution.adapter import Adapters
from nexus_control.execution.local_router import LocalRouter
from nexus_control.execution.python_adapter import PythonAdapter
from tests.execution.support import plan, step
from tests.joints.office import (
    approved,
    execute,
    in_child,
    requested,
    require_whole,
    run_plainly,
    runs_in,
    wait_for,
)
from tests.support.amounts import ROUNDS
from tests.support.governed import ADAPTER, ALICE, BOB, SCHEDULER, data_of
from tests.support.routers import ScriptedRouter

# The tests fork fresh processes: pytest's own has threads of others.
_WRITING_PARENT = """
import os, sys, threading
from pathlib import Path
from tests.joints import test_fork
test_fork.fork_while_a_thread_writes(Path(sys.argv[1]), int(sys.argv[2]))
"""
_PREFORK = """
import sys
from pathlib import Path
from tests.joints import test_fork
test_fork.serve_with_workers(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
"""
_RACE = """
import sys
from pathlib import Path
from tests.joints import test_fork
test_fork.race_in_children(Path(sys.argv[1]), int(sys.argv[2]))
"""


def fork_while_a_thread_writes(folder: Path, rounds: int) -> None:
    """Children with their parent's store, and with a fresh one, write while a thread of the parent does. The parent
    goes on, closes the store or ends, all before its children end.
    """
    for number in range(rounds):
        path, acknowledged = folder / f"{number}.db", folder / f"{number}.txt"
        done, end = os.pipe()
        parent = in_child(partial(_write_and_fork, path, acknowledged, ("go on", "close", "end")[number % 3]))
        os.close(end)
        wait_for(parent)
        assert os.read(done, 1) == b""  # every process that had the other end has ended
        os.close(done)
        require_whole(path, *acknowledged.read_text().split())


def _write_and_fork(path: Path, acknowledged: Path, then: str) -> None:
    tools, stop, begun = NexusControlTools(db_path=path), threading.Event(), threading.Event()

    def write() -> None:
        while not stop.is_set():
            _acknowledge(tools, acknowledged, 1)
            begun.set()

    def fresh() -> None:
        _acknowledge(NexusControlTools(db_path=path), acknowledged, 3)

    threading.Thread(target=write, daemon=True).start()
    begun.wait()
    children = [in_child(work) for work in (lambda: _acknowledge(tools, acknowledged, 3), fresh)]
    if then == "end":
        return
    stop.set()
    if then == "close":
        tools.store.close()
    wait_for(*children)
    _acknowledge(NexusControlTools(db_path=path), acknowledged, 1)


def _acknowledge(tools: NexusControlTools, file: Path, requests: int) -> None:
    """Make requests, and write down those that were acknowledged: nobody else may forget them."""
    for _ in range(requests):
        result = tools.request("Rotate the keys", ALICE)
        if result.success:
            with file.open("a") as lines:
                lines.write(f"{result.data['request_id']}\n")
        else:  # of a thread whose store was closed
            assert result.error_code == ErrorCode.STORE_UNAVAILABLE, result.error


def serve_with_workers(path: Path, workers: int, requests: int) -> None:
    """A pre-forking server: the store is opened before the workers are forked, and a thread of the parent writes."""
    tools = NexusControlTools(db_path=path)
    stop, written = threading.Event(), [requested(tools)]

    def write() -> None:
        while not stop.is_set():
            written.append(requested(tools))

    def work(file: Path) -> None:
        file.write_text("\n".join(requested(tools) for _ in range(requests)))

    writer = threading.Thread(target=write)
    writer.start()
    files = [path.with_name(f"worker{number}") for number in range(workers)]
    wait_for(*[in_child(lambda file=file: work(file)) for file in files])
    stop.set()
    writer.join()
    tools.store.close()
    served = [file.read_text().split() for file in files]
    assert [len(each) for each in served] == [requests] * workers
    require_whole(path, *written, *(request_id for each in served for request_id in each))


def race_in_children(folder: Path, rounds: int) -> None:
    """Parent, a child with the parent's store and a child with a fresh one execute one decision."""
    for number in range(rounds):
        path, runs = folder / f"{number}.db", folder / f"{number}.runs"
        tools = NexusControlTools(db_path=path)
        request_id = approved(tools)
        race = partial(_race, tools, request_id, runs)
        fresh = partial(_race, path, request_id, runs)
        children = [in_child(race), in_child(fresh)]
        race()
        wait_for(*children)
        assert runs_in(runs) == 1
        tools.store.close()
        require_whole(path, request_id)


def _race(tools: NexusControlTools | Path, request_id: str, runs: Path) -> None:
    ours = NexusControlTools(db_path=tools) if isinstance(tools, Path) else tools
    assert execute(ours, request_id, runs) in (None, "EXECUTING", "POLICY_NOT_SATISFIED")


_FORKING_STEP = """
import sys
from pathlib import Path
from tests.joints import test_fork
test_fork.execute_a_step_that_forks(Path(sys.argv[1]), sys.argv[2])
"""


def execute_a_step_that_forks(folder: Path, how_the_child_leaves: str) -> None:
    """The child comes back out of the step, through the router and through execute, and must record nothing."""
    parent = os.getpid()

    def step() -> str:
        child = os.fork()
        if child:
            os.waitpid(child, 0)
        elif how_the_child_leaves == "exit":
            sys.exit(3)
        elif how_the_child_leaves == "fault":
            raise LookupError
        return "done"

    router = LocalRouter(Adapters([PythonAdapter("keys", {"rotate": step})]), folder / "runs")
    tools = NexusControlTools(db_path=folder / "store.db", plan_checker=router)
    call: dict[str, object] = {"tool": "keys", "method": "rotate", "args": {}}
    plan = [{"step_id": "s1", "intent": "", "call": call}]
    request_id = data_of(tools.request("Rotate", ALICE, mode="apply", plan=plan))["request_id"]
    data_of(tools.approve(request_id, BOB))
    try:
        answer = tools.execute(request_id, ADAPTER, SCHEDULER, router)
    finally:
        if os.getpid() != parent:
            os._exit(0)
    run = router.export_run(data_of(answer)["run_id"])["run"]
    assert run["status"] == "COMPLETED"
    assert data_of(tools.status(request_id))["state"] == "completed"
    assert [event["type"] for event in router.export_run(run["run_id"])["events"]].count(
        "STEP_COMPLETED"
    ) == 1
    tools.store.close()
    require_whole(folder / "store.db", request_id)


@pytest.mark.parametrize("how_the_child_leaves", ["return", "exit", "fault"])
def test_a_child_that_a_step_forks_records_nothing_of_the_execution(
    how_the_child_leaves: str, tmp_path: Path
) -> None:
    run_plainly(_FORKING_STEP, tmp_path, how_the_child_leaves)


def test_nothing_is_lost_when_a_process_forks_while_its_thread_writes(tmp_path: Path) -> None:
    run_plainly(_WRITING_PARENT, tmp_path, ROUNDS)


def test_a_pre_forking_server_loses_no_worker_and_no_request(tmp_path: Path) -> None:
    run_plainly(_PREFORK, tmp_path / "store.db", 4, 50)


def test_a_decision_runs_once_when_parent_and_children_execute_it(tmp_path: Path) -> None:
    run_plainly(_RACE, tmp_path, ROUNDS)


_EXITING_CHILD = """
import sys
from tests.joints import test_fork
test_fork.execute_what_forks_and_exits(sys.argv[1])
"""


def execute_what_forks_and_exits(where: str) -> None:
    ended: list[int] = []

    def fork_and_exit() -> dict[str, object]:
        pid = os.fork()
        if not pid:
            sys.exit(7)
        ended.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        return {"run_id": "run-1", "steps_executed": 1}

    tools = NexusControlTools()
    request_id = data_of(tools.request("g", ALICE, mode="apply", plan=plan(step("go"))))["request_id"]
    data_of(tools.approve(request_id, BOB))
    router = (
        LocalRouter([PythonAdapter("keys", {"go": fork_and_exit})])
        if where == "step"
        else ScriptedRouter(fork_and_exit)
    )
    assert data_of(tools.execute(request_id, ADAPTER, SCHEDULER, router))["steps_executed"] == 1
    assert ended == [7]


@pytest.mark.parametrize("where", ["step", "router"])
def test_a_child_that_the_executed_code_forks_ends_itself_and_the_run_goes_on(where: str) -> None:
    run_plainly(_EXITING_CHILD, where)
