"""An office at a store: its people, an approved request, a router that writes down each run, plain child processes."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nexus_control import NexusControlTools
from nexus_control.log.upkeep import find_faults
from tests.support.amounts import ROUNDS
from tests.support.governed import ADAPTER, ALICE, BOB, SCHEDULER, data_of
from tests.support.places import REPOSITORY
from tests.support.routers import ScriptedRouter


class CountingRouter(ScriptedRouter):
    """Adds a line to a file for each run: also the runs of other processes are counted there."""

    def __init__(self, file: Path) -> None:
        super().__init__(self._run)
        self._file = file

    def _run(self) -> dict[str, Any]:
        self.meanwhile()
        with self._file.open("a") as lines:
            lines.write("run\n")
        return {"run_id": "r1", "status": "completed", "steps_executed": 1}

    def meanwhile(self) -> None:
        """What else happens in the run."""


def runs_in(runs: Path) -> int:
    return len(runs.read_text().splitlines()) if runs.exists() else 0


def requested(tools: NexusControlTools, goal: str = "Rotate the keys") -> str:
    return data_of(tools.request(goal, ALICE, mode="apply"))["request_id"]


def approved(tools: NexusControlTools) -> str:
    request_id = requested(tools)
    data_of(tools.approve(request_id, BOB))
    return request_id


def execute(tools: NexusControlTools, request_id: str, runs: Path) -> str | None:
    """None when it ran, else the code of the refusal."""
    return tools.execute(request_id, ADAPTER, SCHEDULER, CountingRouter(runs)).error_code


def require_whole(path: Path, *request_ids: str) -> None:
    """Nothing that was acknowledged is gone, and the log is whole."""
    tools = NexusControlTools(db_path=path)
    for request_id in request_ids:
        data_of(tools.status(request_id))
    assert find_faults(tools.store) == []
    tools.store.close()


def in_child(work: Callable[[], None]) -> int:
    """Fork, do the work in the child and end it there; the child's process id."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        work()
        status = 0
    finally:
        os._exit(status)


def wait_for(*pids: int) -> None:
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids] == [0] * len(pids)


def run_plainly(code: str, *arguments: object, **environment: str) -> str:
    """What a fresh Python prints that runs this code; it must end well, and never by a signal."""
    ended = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=REPOSITORY,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60 + 3 * ROUNDS,
    )
    assert ended.returncode == 0, (ended.returncode, ended.stderr)
    return ended.stdout
