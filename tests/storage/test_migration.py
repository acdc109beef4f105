"""A store of schema 4 to 7 is led to this version's schema when it is opened: as a whole, or not at all."""

import json
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from nexus_control import DecisionStore, NexusControlTools
from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.log.upkeep import find_faults
from nexus_control.storage import open_storage, sqlite_schema
from nexus_control.storage.contract import NEVER
from nexus_control.storage.sink_rows import EventSetAside, SinkRow
from nexus_control.storage.sqlite_schema import VERSION
from tests.concurrency.crashing import end_of, fork, in_nursery, kill_this_process
from tests.storage.steps import number, raw
from tests.support.governed import ALICE, data_of
from tests.support.places import REPOSITORY

STORES = REPOSITORY / "tests" / "vectors" / "stores"
VECTORS = {
    4: STORES / "store.db",
    5: STORES / "store-5.db",
    6: STORES / "store-6.db",
    7: STORES / "store-7.db",
}


@pytest.fixture(params=VECTORS)
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return Path(shutil.copy(VECTORS[request.param], tmp_path))


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


def test_there_is_a_vector_of_each_earlier_schema() -> None:
    assert tuple(VECTORS) == sqlite_schema.EARLIER
    for schema, vector in VECTORS.items():
        with closing(sqlite3.connect(f"{vector.as_uri()}?immutable=1", uri=True)) as connection:
            assert number(connection, "PRAGMA user_version") == schema


@pytest.mark.parametrize("schema", VECTORS)
def test_the_form_of_an_earlier_schema_is_that_of_its_stores(schema: int) -> None:
    sql = (
        "SELECT type, name, tbl_name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_stat%' ORDER BY name"
    )
    with closing(sqlite3.connect(":memory:")) as made:
        for statement in sqlite_schema.schema_of(schema):
            made.execute(statement)
        form = made.execute(sql).fetchall()
    with closing(sqlite3.connect(f"{VECTORS[schema].as_uri()}?immutable=1", uri=True)) as vector:
        assert vector.execute(sql).fetchall() == form


def test_approvals_count_afterwards_as_they_did_before(tmp_path: Path) -> None:
    path = Path(shutil.copy(VECTORS[5], tmp_path))
    with NexusControlTools(path) as tools:
        lines = data_of(tools.list_requests())["requests"]
        statuses = [data_of(tools.status(line["request_id"])) for line in lines]
        assert [(line["current_approvals"], line["state"]) for line in lines] == [
            (status["active_approvals"], status["state"]) for status in statuses
        ]
        assert [(status["total_approvals"], status["active_approvals"]) for status in statuses] == [
            (3, 1),
            (0, 0),
            (2, 1),
            (2, 2),
        ]


@pytest.mark.parametrize("spoiled", ["payload = '{'", "ts = 'once'", "kind = 'import'"])
def test_a_damaged_log_is_not_led_and_the_refusal_says_what_to_do(spoiled: str, tmp_path: Path) -> None:
    path = Path(shutil.copy(VECTORS[5], tmp_path))
    with raw(path) as connection:
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute(f"UPDATE entries SET {spoiled} WHERE position = 3")
        connection.commit()
    with pytest.RaisesExc(
        NexusControlError, check=lambda error: error.code == ErrorCode.STORE_UNAVAILABLE
    ) as told:
        DecisionStore(path)
    assert "backup" in told.value.next
    assert schema_of(path) == 5


@pytest.mark.parametrize("schema", [4, 5])
def test_a_storage_that_is_opened_without_the_rules_does_not_lead_it(schema: int, tmp_path: Path) -> None:
    path = Path(shutil.copy(VECTORS[schema], tmp_path))
    with pytest.RaisesExc(NexusControlError, check=lambda error: error.code == ErrorCode.STORE_UNAVAILABLE):
        open_storage(path)
    assert schema_of(path) < VERSION


def test_afterwards_it_has_the_form_of_a_new_store_and_rows_as_rebuilt_from_the_log(path: Path) -> None:
    with NexusControlTools(path) as tools:
        lines = data_of(tools.list_requests())["requests"]
        statuses = [data_of(tools.status(line["request_id"])) for line in lines]
        assert [(line["mode"], line["adapter_id"]) for line in lines] == [
            (status["requested_mode"], status["adapter_id"]) for status in statuses
        ]
        assert "apply" in {line["mode"] for line in lines}
    require_led(path)


@pytest.mark.parametrize(("schema", "cancelled_by"), [(6, ""), (7, "carol")])
def test_a_claim_is_held_afterwards_and_cancelled_as_it_was(
    tmp_path: Path, schema: int, cancelled_by: str
) -> None:
    path = Path(shutil.copy(VECTORS[schema], tmp_path))
    with DecisionStore(path) as store, store.reading() as session:
        (claim,) = session.rows.claims()
    assert (claim.seq, json.loads(claim.cancel)["actor"]["id"] if claim.cancel else "") == (3, cancelled_by)
    require_led(path)


def test_afterwards_nobody_is_told_anything_yet(path: Path) -> None:
    with DecisionStore(path) as store, store.reading() as session:
        assert session.rows.sinks() == []
    require_led(path)


def test_a_store_that_was_moved_refuses_what_is_new_afterwards_too(tmp_path: Path) -> None:
    path = Path(shutil.copy(VECTORS[7], tmp_path))
    with raw(path) as connection:
        for table in ("entries", "projections", "claims"):  # as this schema's version marked it
            text = f"this store goes on at /srv/b.db; the root of its log was {'0' * 64}"
            connection.execute(
                f"CREATE TRIGGER moved_{table} BEFORE INSERT ON {table} BEGIN SELECT RAISE(ABORT, '{text}'); END"
            )
    with closing(open_storage(path)) as storage:
        row, aside = SinkRow("chat", 0, "", NEVER, ""), EventSetAside("chat", 0, "evt_d_1", NEVER, "why")
        with pytest.raises(NexusControlError) as refused, storage.writing() as rows:
            rows.put_sink(row)
        with pytest.raises(NexusControlError) as refused_too, storage.writing() as rows:
            rows.set_event_aside(aside)
        assert {refused.value.code, refused_too.value.code} == {ErrorCode.STORE_MIGRATED}
        assert storage.form_differences() == []


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


def die_at_each_statement(folder: Path, vector: Path) -> None:
    """Copies of the store, each opened by a process that dies before or after one more call of SQLite."""
    for moment in range(1000):
        copy = folder / f"{moment}.db"
        shutil.copy(vector, copy)
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
    DecisionStore(path)
    sys.setprofile(None)


@pytest.mark.parametrize("schema", VECTORS)
def test_a_process_that_is_killed_on_the_way_leaves_the_earlier_or_the_new_form(
    tmp_path: Path, schema: int
) -> None:
    in_nursery(die_at_each_statement, tmp_path, VECTORS[schema])
    copies = list(tmp_path.glob("*.db"))
    schemas = {schema_of(copy) for copy in copies}
    assert schemas == {schema, VERSION}
    assert len(copies) > 20
    for copy in copies:
        NexusControlTools(copy).close()
        require_led(copy)
