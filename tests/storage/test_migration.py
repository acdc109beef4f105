"""A store of schema 4 is led to this version's schema when it is opened: as a whole, or not at all."""

import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from nexus_control import DecisionStore, NexusControlTools
from nexus_control.log.upkeep import find_faults
from nexus_control.storage import open_storage, sqlite_schema
from nexus_control.storage.sqlite_schema import VERSION
from tests.concurrency.crashing import end_of, fork, in_nursery, kill_this_process
from tests.storage.steps import number, raw
from tests.support.governed import ALICE, data_of
from tests.support.places import REPOSITORY

EARLIER = REPOSITORY / "tests" / "vectors" / "stores" / "store.db"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return Path(shutil.copy(EARLIER, tmp_path))


def schema_of(path: Path) -> int:
    with raw(path) as connection:
        return number(connection, "PRAGMA user_version")


def require_led(path: Path) -> None:
    """The store has the form of a new one, and its rows say what its log says."""
    assert schema_of(path) == VERSION
    with closing(open_storage(path)) as storage:
        assert storage.form_differences() == []
    with DecisionStore(path) as store:
        assert find_faults(store) == []


def test_the_vector_is_of_schema_4() -> None:
    with closing(sqlite3.connect(f"{EARLIER.as_uri()}?immutable=1", uri=True)) as connection:
        assert number(connection, "PRAGMA user_version") == sqlite_schema.EARLIER == VERSION - 1


def test_afterwards_it_has_the_form_of_a_new_store_and_rows_as_rebuilt_from_the_log(path: Path) -> None:
    with NexusControlTools(path) as tools:
        lines = data_of(tools.list_requests())["requests"]
        statuses = [data_of(tools.status(line["request_id"])) for line in lines]
        assert [(line["mode"], line["adapter_id"]) for line in lines] == [
            (status["requested_mode"], status["adapter_id"]) for status in statuses
        ]
        assert {line["mode"] for line in lines} == {"apply"}
    require_led(path)


def test_afterwards_it_knows_idempotency_keys_and_keeps_answers(path: Path) -> None:
    with NexusControlTools(path) as tools:
        made = [data_of(tools.request("Rotate", ALICE, idempotency_key="k")) for _ in range(2)]
        assert [each["created"] for each in made] == [True, False]
    require_led(path)


def test_processes_that_open_it_at_once_all_succeed(path: Path) -> None:
    code = "import sys; from nexus_control import NexusControlTools as T; T(sys.argv[1]).list_requests().data"
    words = [sys.executable, "-c", code, str(path)]
    processes = [subprocess.Popen(words, cwd=REPOSITORY) for _ in range(4)]
    assert [process.wait(240) for process in processes] == [0] * 4
    require_led(path)


def die_at_each_statement(folder: Path) -> None:
    """Copies of the store, each opened by a process that dies before or after one more call of SQLite."""
    for moment in range(1000):
        copy = folder / f"{moment}.db"
        shutil.copy(EARLIER, copy)
        if end_of(fork(lambda copy=copy, moment=moment: _open_until(moment, copy))) != -signal.SIGKILL:
            return
    raise AssertionError("it never ends")


def _open_until(moment: int, path: Path) -> None:
    left = [moment]

    def count(_frame: object, event: str, called: object) -> None:
        if event in ("c_call", "c_return") and getattr(called, "__name__", "") == "execute":
            if left[0] == 0:
                kill_this_process()
            left[0] -= 1

    sys.setprofile(count)
    open_storage(path)
    sys.setprofile(None)


def test_a_process_that_is_killed_on_the_way_leaves_the_earlier_or_the_new_form(tmp_path: Path) -> None:
    in_nursery(die_at_each_statement, tmp_path)
    copies = list(tmp_path.glob("*.db"))
    schemas = {schema_of(copy) for copy in copies}
    assert schemas == {4, VERSION}
    assert len(copies) > 20
    for copy in copies:
        NexusControlTools(copy).close()
        require_led(copy)
