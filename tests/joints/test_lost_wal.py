"""A process is killed, and then its WAL is lost, cut, older or somebody else's; or an older copy is put back under the
store's own inode. What was executed is not executed again, doctor names it, and what lies beside the store is left.
"""

import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from nexus_control import DecisionStore, NexusControlTools
from nexus_control.errors import ErrorCode
from nexus_control.log.upkeep import examine, refusal_to_write
from tests.concurrency.crashing import end_of, fork, in_nursery, kill_this_process
from tests.joints.office import approved, execute, runs_in
from tests.support.amounts import sample_of
from tests.support.governed import BOB, data_of

LOST = {ErrorCode.STORE_ROLLED_BACK, ErrorCode.DECISION_NOT_FOUND}


@dataclass(frozen=True)
class Wreck:
    """What a killed process left: two decisions that were executed, the first of them before the WAL was copied, and
    one that was denied in between.
    """

    folder: Path

    @property
    def path(self) -> Path:
        return self.folder / "store.db"

    @property
    def wal(self) -> Path:
        return self.folder / "store.db-wal"

    @property
    def earlier_wal(self) -> Path:
        return self.folder / "earlier-wal"

    @property
    def runs(self) -> Path:
        return self.folder / "runs"

    @property
    def request_ids(self) -> list[str]:
        return (self.folder / "ids").read_text().split()

    def beside(self) -> dict[str, bytes]:
        return {each.name: each.read_bytes() for each in self.folder.glob("store.db.*")}


def wreck(folder: Path, is_new: bool) -> None:
    """Live and die; a store that is new has all of its tables in the WAL."""
    pid = fork(lambda: _live(Wreck(folder), is_new))
    assert end_of(pid) == -signal.SIGKILL


def _live(left: Wreck, is_new: bool) -> None:
    if not is_new:
        with NexusControlTools(left.path) as tools:
            (left.folder / "ids").write_text(" ".join(approved(tools) for _ in range(3)))
    tools = NexusControlTools(left.path)
    if is_new:
        (left.folder / "ids").write_text(" ".join(approved(tools) for _ in range(3)))
    first, second, third = left.request_ids
    assert execute(tools, first, left.runs) is None
    shutil.copy(left.wal, left.earlier_wal)
    data_of(tools.deny(second, BOB, "Not now"))
    assert execute(tools, third, left.runs) is None
    kill_this_process()


@pytest.fixture(scope="module", params=[True, False], ids=["a new store", "a store that was closed before"])
def sunk(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Wreck:
    folder = tmp_path_factory.mktemp("sunk")
    in_nursery(wreck, folder, request.param)
    return Wreck(folder)


@pytest.fixture
def left(sunk: Wreck, tmp_path: Path) -> Wreck:
    shutil.copytree(sunk.folder, tmp_path / "left")
    return Wreck(tmp_path / "left")


def _remove(left: Wreck) -> None:
    left.wal.unlink()


def _remove_both(left: Wreck) -> None:
    left.wal.unlink()
    left.wal.with_name("store.db-shm").unlink()


def _empty(left: Wreck) -> None:
    os.truncate(left.wal, 0)


def _put_an_earlier_one(left: Wreck) -> None:
    shutil.copy(left.earlier_wal, left.wal)


def _put_that_of_another_store(left: Wreck) -> None:
    other = left.folder / "other.db"
    tools = NexusControlTools(other)
    approved(tools)
    shutil.copy(f"{other}-wal", left.wal)
    tools.store.close()


def _fill_with_nonsense(left: Wreck) -> None:
    left.wal.write_bytes(b"\xa5" * left.wal.stat().st_size)


@pytest.mark.parametrize(
    "lose",
    [_remove, _remove_both, _empty, _put_an_earlier_one, _put_that_of_another_store, _fill_with_nonsense],
)
def test_a_store_whose_wal_was_lost_executes_nothing_again_and_doctor_names_it(
    lose: Callable[[Wreck], None], left: Wreck
) -> None:
    before = left.beside()
    lose(left)
    require_noticed(left)
    assert left.beside() == before


def require_noticed(left: Wreck) -> None:
    """What is there is a beginning of what was acknowledged, and nothing is executed from it."""
    with NexusControlTools(left.path) as tools:
        assert {execute(tools, each, left.runs) for each in left.request_ids} <= LOST
        (fault,), _ = examine(tools.store, refusal_to_write(tools.store))
    assert fault.code == ErrorCode.STORE_ROLLED_BACK
    assert f"{left.path}.head" in fault.detail
    assert runs_in(left.runs) == 2


def test_a_wal_that_is_cut_anywhere_leaves_a_beginning_of_what_was_acknowledged(left: Wreck) -> None:
    """Only the very end, the outcome of the last run, is not known to the head: the execution is still under way."""
    whole, database = left.wal.read_bytes(), left.path.read_bytes()
    frame = 24 + 4096
    sizes = [32 + frame * number for number in range((len(whole) - 32) // frame)]
    for size in [*sample_of(sizes, 6), *sample_of([size + 1000 for size in sizes], 3), len(whole) - 1]:
        left.path.write_bytes(database)
        left.wal.write_bytes(whole[:size])
        left.wal.with_name("store.db-shm").unlink(missing_ok=True)
        with DecisionStore(left.path) as store:
            faults, _ = examine(store, refusal_to_write(store))
            states = [_state(store, each) for each in left.request_ids]
        if not faults:
            assert states == ["completed", "denied", "executing"], size
        else:
            assert [fault.code for fault in faults] == [ErrorCode.STORE_ROLLED_BACK], size
            require_noticed(left)


def _state(store: DecisionStore, request_id: str) -> str | None:
    found = NexusControlTools(store).status(request_id)
    return found.data["state"] if found.success else found.error_code


def _copy_over(source: Path, target: Path) -> None:
    """As `cp` does it: into the file that is there. By another process, since POSIX drops our locks otherwise."""
    subprocess.run(["cp", str(source), str(target)], check=True)


@pytest.fixture
def backed_up(tmp_path: Path) -> Wreck:
    """A closed store, with a copy from before its decisions were executed and denied."""
    left = Wreck(tmp_path)
    with NexusControlTools(left.path) as tools:
        (tmp_path / "ids").write_text(" ".join(approved(tools) for _ in range(3)))
    shutil.copy(left.path, tmp_path / "backup")
    with NexusControlTools(left.path) as tools:
        first, second, third = left.request_ids
        assert execute(tools, first, left.runs) is None
        data_of(tools.deny(second, BOB, "Not now"))
        assert execute(tools, third, left.runs) is None
    return left


def test_an_older_copy_that_is_copied_over_a_closed_store_is_noticed(backed_up: Wreck) -> None:
    _copy_over(backed_up.folder / "backup", backed_up.path)
    require_noticed(backed_up)


@pytest.mark.parametrize("writes_first", [False, True], ids=["before it wrote", "after it wrote"])
def test_an_older_copy_that_is_copied_over_a_store_that_is_open_runs_nothing_again(
    writes_first: bool, backed_up: Wreck
) -> None:
    """SQLite then mixes pages of both in the open process. Nothing is dispatched, and doctor names what is there."""
    with NexusControlTools(backed_up.path) as tools:
        if writes_first:
            approved(tools)
        _copy_over(backed_up.folder / "backup", backed_up.path)
        refused = {execute(tools, each, backed_up.runs) for each in backed_up.request_ids}
        assert refused <= {ErrorCode.STORE_UNAVAILABLE, ErrorCode.STORE_ROLLED_BACK}
        assert examine(tools.store, refusal_to_write(tools.store))[0]
    with DecisionStore(backed_up.path) as store:
        assert examine(store, refusal_to_write(store))[0]
    assert runs_in(backed_up.runs) == 2
