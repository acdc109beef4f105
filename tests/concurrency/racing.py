"""Threads of one process, or of several, that all start at the same moment on one store.

Processes are spawned, not forked: a test process has threads.
"""

import multiprocessing
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

from nexus_control import NexusControlTools
from nexus_control.values.results import ToolResult

PATIENCE = 240.0
"""Seconds after which somebody who does not come to the start has failed."""

Start = Callable[[], object]


class Work(Protocol):
    """What one thread does; `number` tells it from all others. `start` waits until everybody has called it."""

    def __call__(self, tools: NexusControlTools, number: int, start: Start) -> list[ToolResult[Any]]: ...


class Racers:
    """So many processes, this one or fresh ones, that wait for races."""

    def __init__(self, processes: int) -> None:
        self._processes = processes
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> "Racers":
        if self._processes > 1:
            spawn = multiprocessing.get_context("spawn")
            meeting = spawn.Barrier(self._processes)
            self._pool = ProcessPoolExecutor(
                self._processes, mp_context=spawn, initializer=_enter, initargs=(meeting,)
            )
        return self

    def __exit__(self, *exception: object) -> None:
        if self._pool is not None:
            self._pool.shutdown()

    def race(
        self,
        db_path: Path | str,
        work: Work | Sequence[Work],
        *,
        threads: int = 8,
        log_folder: Path | None = None,
    ) -> list[list[ToolResult[Any]]]:
        """What each thread got, by its number. Several works are dealt out to the threads in turn."""
        works = work if isinstance(work, Sequence) else [work]
        if self._pool is None:
            return _run(db_path, works, range(threads), None, log_folder)
        each = threads // self._processes
        jobs = [
            self._pool.submit(_run_and_meet, db_path, works, range(first, first + each), log_folder)
            for first in range(0, threads, each)
        ]
        return [results for job in jobs for results in job.result()]


_meetings: list[Any] = []


def _enter(meeting: Any) -> None:
    _meetings.append(meeting)


def _meet() -> None:
    _meetings[0].wait(PATIENCE)


def _run_and_meet(
    db_path: Path | str, works: Sequence[Work], numbers: range, log_folder: Path | None
) -> list[list[ToolResult[Any]]]:
    return _run(db_path, works, numbers, _meet, log_folder)


def _run(
    db_path: Path | str,
    works: Sequence[Work],
    numbers: range,
    meet: Callable[[], None] | None,
    log_folder: Path | None,
) -> list[list[ToolResult[Any]]]:
    barrier = threading.Barrier(len(numbers), action=meet, timeout=PATIENCE)
    tools = NexusControlTools(db_path=db_path, log_folder=log_folder)
    with ThreadPoolExecutor(len(numbers)) as pool:
        jobs = [pool.submit(works[n % len(works)], tools, n, barrier.wait) for n in numbers]
        results = [job.result() for job in jobs]
    tools.store.close()
    return results


class TallyRouter:
    """Writes a line with the goal to a file for each of its runs, whichever process runs it."""

    def __init__(self, tally: Path) -> None:
        self.tally = tally

    def run(
        self,
        goal: str,
        adapter_id: str,
        dry_run: bool,
        plan: str | None = None,
        max_steps: int | None = None,
        require_capabilities: list[str] | None = None,
    ) -> dict[str, Any]:
        descriptor = os.open(self.tally, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        try:
            os.write(descriptor, f"{goal}\n".encode())
        finally:
            os.close(descriptor)
        return {"run_id": f"run of {goal}", "steps_executed": 1}

    def get_adapter_capabilities(self, adapter_id: str) -> set[str] | None:
        return {"apply"}


def runs_in(tally: Path) -> list[str]:
    """The goals that were run, sorted."""
    return sorted(tally.read_text().splitlines()) if tally.exists() else []
