"""Children that are killed with SIGKILL, at named points or at any moment, and what they had acknowledged by then.

The children are forked from a fresh process that has loaded everything and has no threads, so that a hundred of them
cost little: `in_nursery` runs a function in such a process.
"""

import json
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NoReturn

from nexus_control import DecisionStore, NexusControlTools
from nexus_control.execution.adapter import Adapters
from nexus_control.execution.argv_template import ArgvTemplate
from nexus_control.execution.local_router import LocalRouter
from nexus_control.execution.router import RouterProtocol
from nexus_control.execution.subprocess_adapter import ArgvAdapter, ArgvTool, ProcessSettings
from nexus_control.storage import open_storage
from nexus_control.values.results import ToolResult
from tests.concurrency.racing import TallyRouter
from tests.support.governed import ALICE, BOB, SCHEDULER, approved, data_of
from tests.support.watched_storage import Moment, WatchedStorage

THREADS = 6

Ack = tuple[str, str]
"""What was acknowledged ("request", "approve" or "execute"), and for which decision."""


def in_nursery(work: Callable[..., object], *arguments: object) -> None:
    """Run `work` in a fresh process that may fork. A failure shows on stderr."""
    process = multiprocessing.get_context("spawn").Process(target=_warm_up_and_work, args=(work, arguments))
    process.start()
    process.join()
    assert process.exitcode == 0


def _warm_up_and_work(work: Callable[..., object], arguments: tuple[object, ...]) -> None:
    approved(NexusControlTools(db_path=":memory:"))
    work(*arguments)


def kill_this_process() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("still alive")


def fork(work: Callable[[], object]) -> int:
    """The pid of a child that does `work`, and exits 1 if that ends at all."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        finally:
            os._exit(1)
    return pid


def end_of(pid: int) -> int:
    """The exit code of a child; negative, the signal."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


# --- at named points ----------------------------------------------------------------------------------------------

Point = tuple[Moment, str]
BEFORE_THE_ROUTER_ACTS: Point = ("commit", "the router's act")
AFTER_THE_ROUTER_ACTED: Point = ("committed", "the router's act")


class _DyingRouter(TallyRouter):
    """Dies before or after it acted, if that is the point."""

    def __init__(self, tally: Path, point: Point) -> None:
        super().__init__(tally)
        self.point = point

    def run(self, *arguments: Any, **keywords: Any) -> dict[str, Any]:
        if self.point == BEFORE_THE_ROUTER_ACTS:
            kill_this_process()
        answer = super().run(*arguments, **keywords)
        if self.point == AFTER_THE_ROUTER_ACTED:
            kill_this_process()
        return answer


def die_at_each(points: Mapping[str, Point], folder: Path) -> None:
    """For each point, a store in which a child has died there, and the tally of its router."""
    for name, point in points.items():
        pid = fork(lambda name=name, point=point: _live_until(point, folder / name))
        assert end_of(pid) == -signal.SIGKILL, name


def _live_until(point: Point, folder: Path) -> None:
    def watch(moment: Moment, types: frozenset[str]) -> None:
        if moment == point[0] and point[1] in types:
            kill_this_process()

    folder.mkdir()
    storage = WatchedStorage(open_storage(folder / "decisions.db"), watch)
    tools = NexusControlTools(DecisionStore(storage=storage))
    request_id = approved(tools, goal="the goal")
    tools.execute(request_id, "python:keys", SCHEDULER, _DyingRouter(folder / "tally", point))


# --- at any moment ------------------------------------------------------------------------------------------------


def kill_at_random(database: Path, tally: Path, acks: Path, marker: str, kills: int) -> None:
    """Kill that many children, one after the other, that loop through the governed flow on one store."""
    moments = random.Random(20260101)
    known: list[Ack] = []
    for n in range(kills):
        readable, writable = os.pipe()
        with_steps = n % 5 == 0
        pid = fork(
            lambda n=n, out=writable, steps=with_steps: _loop(
                database, tally, out, n, marker if steps else ""
            )
        )
        os.close(writable)
        with os.fdopen(readable) as pipe:
            first = pipe.readline()
            time.sleep(moments.uniform(0, 0.12 if with_steps else 0.03))
            os.kill(pid, signal.SIGKILL)
            assert end_of(pid) == -signal.SIGKILL
            known += [json.loads(line) for line in (first, *pipe)]
    acks.write_text(json.dumps(known))


def _loop(database: Path, tally: Path, out: int, n: int, marker: str) -> None:
    def acknowledge(what: str, result: ToolResult[Any]) -> str:
        request_id: str = data_of(result)["request_id"]
        os.write(out, f"{json.dumps([what, request_id])}\n".encode())
        return request_id

    tools = NexusControlTools(db_path=database)
    router: RouterProtocol = sleeping_router(tally.parent) if marker else TallyRouter(tally)
    for number in range(1_000_000):
        goal = f"{n}.{number}"
        plan = sleeping_plan(marker) if marker else None
        request_id = acknowledge("request", tools.request(goal, ALICE, mode="apply", plan=plan))
        acknowledge("approve", tools.approve(request_id, BOB))
        acknowledge("execute", tools.execute(request_id, "subprocess:sleep", SCHEDULER, router))


def kill_threads_at_random(database: Path, acks: Path, kills: int) -> None:
    """Kill that many children, one after the other, whose threads ask and approve at once on one store."""
    moments = random.Random(20261127)
    known: list[Ack] = []
    for n in range(kills):
        readable, writable = os.pipe()
        pid = fork(lambda n=n, out=writable: _loop_in_threads(database, out, n))
        os.close(writable)
        with os.fdopen(readable) as pipe:
            first = pipe.readline()
            time.sleep(moments.uniform(0, 0.05))
            os.kill(pid, signal.SIGKILL)
            assert end_of(pid) == -signal.SIGKILL
            known += [json.loads(line) for line in (first, *pipe)]
    acks.write_text(json.dumps(known))


def _loop_in_threads(database: Path, out: int, n: int) -> None:
    tools = NexusControlTools(db_path=database)

    def loop(thread: int) -> None:
        for number in range(1_000_000):
            asked = data_of(tools.request(f"{n}.{thread}.{number}", ALICE))["request_id"]
            os.write(out, f"{json.dumps(['request', asked])}\n".encode())
            data_of(tools.approve(asked, BOB))
            os.write(out, f"{json.dumps(['approve', asked])}\n".encode())

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(loop, range(THREADS)))


# --- real child processes -----------------------------------------------------------------------------------------


def sleeping_router(folder: Path) -> LocalRouter:
    """A router whose one method runs `sleep` for as long as `seconds` says, after a line in the file `slept`."""
    script = f'echo "$1" >> {folder}/slept; exec sleep "$1"'
    argv = ArgvTemplate.of(["sh", "-c", script, "sh", "{seconds}"])
    settings = ProcessSettings(base=folder, timeout_seconds=600)
    adapter = ArgvAdapter("sleep", {"sleep": ArgvTool(argv=argv)}, capabilities=["apply"], settings=settings)
    return LocalRouter(Adapters([adapter]), folder / "runs.db")


def sleeping_plan(seconds: str) -> list[dict[str, object]]:
    call = {"tool": "sleep", "method": "sleep", "args": {"seconds": seconds}}
    return [{"step_id": "s1", "intent": "Sleep", "call": call}]


def kill_in_mid_step(folder: Path, marker: str) -> None:
    """Kill a child while a step of its plan certainly runs."""
    os.mkfifo(folder / "slept")
    pid = fork(
        lambda: _loop(folder / "decisions.db", folder / "tally", os.open(os.devnull, os.O_WRONLY), 0, marker)
    )
    assert (folder / "slept").read_text() == f"{marker}\n"
    os.kill(pid, signal.SIGKILL)
    assert end_of(pid) == -signal.SIGKILL


def processes_with(marker: str) -> list[str]:
    """The command lines of all living processes that have this word among their arguments."""
    found: list[str] = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                arguments = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            except OSError:
                continue
            if marker in arguments:
                found.append(" ".join(arguments))
    return found
