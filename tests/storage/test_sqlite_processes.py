import contextlib
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from nexus_control.storage import open_storage
from tests.storage import processes
from tests.storage.rows import decision_row, entry
from tests.storage.steps import append, log_size
from tests.support.places import REPOSITORY


@pytest.mark.parametrize(("openers", "count"), [(8, 1), (2, 50)])
def test_processes_that_open_one_new_file_at_once_lose_nothing(openers: int, count: int, path: Path) -> None:
    ready = processes.spawn.Barrier(openers)
    streams = [f"d{number}" for number in range(openers)]
    processes.run(processes.open_and_append, [(path, ready, stream, count) for stream in streams])
    storage = open_storage(path)
    with storage.reading() as rows:
        assert [placed.position for placed in rows.log()] == list(range(openers * count))
        assert [len(rows.entries("decision", stream, 0)) for stream in streams] == [count] * openers
    storage.close()


def test_threads_that_open_one_new_file_at_once_lose_nothing(path: Path) -> None:
    ready = threading.Barrier(8)

    def open_and_append(stream: str) -> None:
        ready.wait()
        storage = open_storage(path)
        append(storage, stream)
        storage.close()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(open_and_append, (f"d{number}" for number in range(8))))
    storage = open_storage(path)
    assert log_size(storage) == 8
    storage.close()


def _killed(target: Callable[[Path, Connection], None], path: Path, *, after: int | None) -> int:
    """Kill a process that writes, when it has acknowledged `after`; what it had acknowledged when it died."""
    ours, theirs = processes.spawn.Pipe()
    process = processes.spawn.Process(target=target, args=(path, theirs))
    process.start()
    theirs.close()
    acknowledged = 0
    while (message := ours.recv()) != after:
        acknowledged = message
    process.kill()
    process.join()
    with contextlib.suppress(EOFError, ConnectionResetError):
        while True:
            acknowledged = ours.recv()
    ours.close()
    return max(acknowledged, after or 0)


def test_a_kill_in_the_middle_of_a_transaction_leaves_what_was_acknowledged_and_nothing_else(
    path: Path,
) -> None:
    acknowledged = _killed(processes.stop_in_the_middle, path, after=None)
    assert acknowledged == processes.ACKNOWLEDGED_BEFORE_THE_MIDDLE
    storage = open_storage(path)
    with storage.reading() as rows:
        assert [placed.entry for placed in rows.log()] == [entry("d1", seq) for seq in range(acknowledged)]
        assert rows.decision_row("d1") == decision_row(event_count=acknowledged)
    append(storage, "lost")
    storage.close()


def test_a_kill_at_any_moment_loses_nothing_acknowledged_and_tears_nothing(path: Path) -> None:
    acknowledged = _killed(processes.append_pairs, path, after=40)
    storage = open_storage(path)
    with storage.reading() as rows:
        stored = rows.log_size()
        # At most the one transaction that was committed and not yet acknowledged is more.
        assert stored in (acknowledged, acknowledged + 2)
        assert [placed.entry.seq for placed in rows.log()] == list(range(stored))
        assert rows.decision_row("d1") == decision_row(event_count=stored)
    storage.close()


@pytest.mark.parametrize("arguments", [[], ["-X", "dev", "-W", "error"]])
def test_a_process_that_ends_without_closing_leaves_no_warning(arguments: list[str], path: Path) -> None:
    code = "from tests.storage.processes import leave_open as f; import pathlib, sys; f(pathlib.Path(sys.argv[1]))"
    ended = subprocess.run(
        [sys.executable, *arguments, "-c", code, str(path)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
    storage = open_storage(path)
    assert log_size(storage) == 1
    storage.close()


def _streams(path: Path) -> list[str]:
    storage = open_storage(path)
    with storage.reading() as rows:
        streams = [at.entry.stream for at in rows.log()]
    storage.close()
    return streams


def test_a_child_of_fork_goes_on_with_the_store_and_so_does_its_parent(path: Path) -> None:
    processes.run(processes.fork_between_transactions, [(path,)])
    assert _streams(path) == ["parent", "child", "parent"]


@pytest.mark.parametrize(
    ("work", "entries"),
    [
        (processes.fork_in_a_transaction, 2),
        (processes.return_into_a_transaction_of_the_parent, 2),
        (processes.fork_beside_a_transaction_that_does_not_end, 1),
    ],
)
def test_a_child_of_a_fork_in_a_transaction_may_not_use_the_file(
    work: Callable[[Path], None], entries: int, path: Path
) -> None:
    processes.run(work, [(path,)])
    assert _streams(path) == ["parent"] * entries


def test_a_store_in_memory_does_not_cross_fork() -> None:
    processes.run(processes.fork_with_a_store_in_memory, [()])
