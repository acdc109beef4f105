"""Several stores on one file in one process, beside another process that opens and ends."""

import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from nexus_control import DecisionStore, NexusControlTools
from nexus_control.errors import NexusControlError
from nexus_control.storage import open_storage
from nexus_control.store import TemplateStore
from tests.joints.office import approved, execute, requested, require_whole, run_plainly, runs_in
from tests.support.amounts import ROUNDS
from tests.support.places import REPOSITORY

_OTHER = """
import sys
from nexus_control import NexusControlTools
for path in sys.stdin:
    tools = NexusControlTools(db_path=path.strip())
    print(tools.list_requests().data["count"], flush=True)
    tools.store.close()
"""


@contextmanager
def other_process() -> Generator[Callable[[Path], int]]:
    """Opens a store, lists it and closes it, in a process of its own: the last to close a database removes its WAL."""
    command = [sys.executable, "-c", _OTHER]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=REPOSITORY, stdin=pipe, stdout=pipe, text=True, bufsize=1) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        write, read = child.stdin, child.stdout

        def listed(path: Path) -> int:
            write.write(f"{path}\n")
            write.flush()
            return int(read.readline())

        yield listed
        write.close()


def _open_and_close(path: Path) -> None:
    DecisionStore(path).close()


def _open_templates(path: Path) -> None:
    with DecisionStore(path) as store:
        TemplateStore(store).list_templates()


def _refuse_a_second_name(path: Path) -> None:
    link = path.with_name("link.db")
    link.hardlink_to(path)
    with pytest.raises(NexusControlError, match="hard link"):
        open_storage(link)
    link.unlink()


def _forget(path: Path) -> None:
    open_storage(path)


def _refuse_the_wal(path: Path) -> None:
    with pytest.raises(NexusControlError, match="not a database"):
        open_storage(path.with_name(f"{path.name}-wal"))


@pytest.mark.parametrize(
    "second", [_open_and_close, _open_templates, _refuse_a_second_name, _forget, _refuse_the_wal]
)
def test_what_is_acknowledged_beside_a_second_store_stays_and_runs_once(
    second: Callable[[Path], None], tmp_path: Path
) -> None:
    with other_process() as listed:
        for number in range(max(1, ROUNDS // 5)):
            path, runs = tmp_path / f"{number}.db", tmp_path / f"{number}.runs"
            tools = NexusControlTools(db_path=path)
            first = approved(tools)
            second(path)
            assert listed(path) == 1
            assert execute(tools, first, runs) is None
            second(path)
            later = requested(tools)
            assert listed(path) == 2
            fresh = NexusControlTools(db_path=path)
            assert execute(fresh, first, runs) == "POLICY_NOT_SATISFIED"
            fresh.store.close()
            tools.store.close()
            assert runs_in(runs) == 1
            require_whole(path, first, later)


_TWO_STORES = """
import subprocess, sys
from nexus_control import DecisionStore, NexusControlTools
command = [sys.executable, "-m", "nexus_control", "list", "--db", sys.argv[1]]
tools = NexusControlTools(db_path=sys.argv[1])
alice = {"type": "human", "id": "alice"}
for _ in range(3):
    request_id = tools.request("Rotate the keys", alice).data["request_id"]
    DecisionStore(sys.argv[1]).close()
    subprocess.run(command, check=True, capture_output=True)
    print(request_id, tools.request("Rotate the keys", alice).data["request_id"])
"""


def test_two_stores_in_one_process_lose_nothing_beside_a_command_line_in_another(tmp_path: Path) -> None:
    acknowledged = run_plainly(_TWO_STORES, tmp_path / "store.db").split()
    assert len(acknowledged) == 6
    require_whole(tmp_path / "store.db", *acknowledged)


def test_a_process_keeps_its_locks_when_a_second_store_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with DecisionStore(path) as store:
        store.create_decision()
        locked = _locks(path)
        assert locked
        _open_and_close(path)
        assert _locks(path) == locked


def _locks(path: Path) -> int:
    """How many locks this machine keeps on the file."""
    inode = path.stat().st_ino
    return sum(f":{inode} " in line for line in Path("/proc/locks").read_text().splitlines())


def test_nested_writing_through_two_stores_on_one_file_is_refused_and_does_not_wait(tmp_path: Path) -> None:
    with DecisionStore(tmp_path / "store.db") as one, DecisionStore(tmp_path / "store.db") as two:
        with one.writing(), pytest.raises(NexusControlError, match="inside another"), two.writing():
            pass
        with one.writing(), two.reading() as session:
            assert session.rows.log_size() == 0
