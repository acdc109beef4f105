"""A store that was moved: the old place can be read, and says where the store goes on."""

import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from nexus_control import DecisionStore, NexusControlTools, ToolResult
from nexus_control.errors import NexusControlError
from nexus_control.log import migrating
from nexus_control.log.upkeep import find_faults
from nexus_control.storage.moved import Moved, parse_moved
from nexus_control.storage.sqlite_connection import connect
from tests.doors.dying import killed_at
from tests.doors.place import Place
from tests.doors.test_migrating import filled, migrated
from tests.support.governed import ADAPTER, ALICE, BOB, SCHEDULER, approved, data_of
from tests.support.postgres import PASSWORD, Cluster
from tests.support.routers import ScriptedRouter, good_answer


@pytest.fixture(params=["server", "file"])
def old(request: pytest.FixtureRequest, cluster: Cluster, tmp_path: Path) -> Callable[[], NexusControlTools]:
    """Opens the old place of a store that was moved, as a person without a log folder does. `approved.txt` in the
    folder names a request that was approved before, `pending.txt` one that waits for bob.
    """
    file, url, folder = tmp_path / "a.db", cluster.url(cluster.new_schema(), tcp=True), tmp_path / "log"
    filled(file)
    with NexusControlTools(file) as tools:
        (tmp_path / "approved.txt").write_text(approved(tools))
        pending = data_of(tools.request("Rotate", ALICE, mode="apply"))["request_id"]
        (tmp_path / "pending.txt").write_text(pending)
    migrated(file, url, folder)
    if request.param == "file":
        return lambda: NexusControlTools(file)
    with DecisionStore(url, log_folder=folder) as source, DecisionStore(tmp_path / "b.db") as target:
        migrating.migrate(source, target, "b.db")
    return lambda: NexusControlTools(url)


WRITES: dict[str, Callable[[NexusControlTools, str, str], ToolResult[Any]]] = {
    "request": lambda tools, _, __: tools.request("Rotate", ALICE),
    "approve": lambda tools, _, pending: tools.approve(pending, BOB),
    "deny": lambda tools, _, pending: tools.deny(pending, BOB, reason="r"),
    "withdraw": lambda tools, _, pending: tools.withdraw(pending, ALICE, reason="r"),
    "revoke": lambda tools, done, _: tools.revoke_approval(done, BOB, reason="r"),
    "execute": lambda tools, done, _: tools.execute(done, ADAPTER, SCHEDULER, ScriptedRouter(good_answer)),
    "template": lambda tools, _, __: tools.template_create("strict", ALICE),
}


@pytest.mark.parametrize("name", WRITES)
def test_nothing_is_recorded_at_the_old_place(
    old: Callable[[], NexusControlTools], tmp_path: Path, name: str
) -> None:
    done, pending = ((tmp_path / f"{each}.txt").read_text() for each in ("approved", "pending"))
    with old() as tools:
        result = WRITES[name](tools, done, pending)
        assert result.error_code == "STORE_MIGRATED"
        assert "migrated to" in str(result.error)
        assert PASSWORD not in str(result.error)
        with pytest.raises(NexusControlError, match="STORE_MIGRATED"):
            tools.store.create_decision()


def test_the_old_place_can_be_read_and_doctor_says_what_it_is(
    old: Callable[[], NexusControlTools], tmp_path: Path
) -> None:
    with old() as tools:
        assert data_of(tools.status((tmp_path / "approved.txt").read_text()))["state"] == "approved"
        assert [fault.code for fault in find_faults(tools.store)] == ["STORE_MIGRATED"]


def test_an_approval_is_refused_of_a_process_that_was_there_before_the_store_was_moved(
    postgres_url: str, tmp_path: Path
) -> None:
    with NexusControlTools(postgres_url) as tools, DecisionStore(postgres_url) as other:
        request_id = data_of(tools.request("Rotate", ALICE, min_approvals=2, mode="apply"))["request_id"]
        data_of(tools.approve(request_id, BOB))  # which remembers the decision's row
        with other.writing() as session:
            session.rows.move(Moved("elsewhere", "0" * 64))
        assert tools.deny(request_id, BOB, reason="r").error_code == "STORE_MIGRATED"
        assert data_of(tools.status(request_id))["state"] == "pending_approval"


def test_a_command_that_writes_names_the_new_place(postgres_url: str, tmp_path: Path) -> None:
    file = tmp_path / "a.db"
    filled(file)
    Place(postgres_url, tmp_path / "log").answer("migrate", "--from", str(file), "--to", postgres_url)
    said = Place(str(file)).answer("request", "g", code=1)
    assert said["code"] == "STORE_MIGRATED"
    assert said["details"]["moved_to"].startswith("postgresql://")


def test_the_owner_can_go_on_at_the_old_place(postgres_url: str, tmp_path: Path) -> None:
    folder = tmp_path / "log"
    with DecisionStore(postgres_url, log_folder=folder) as source, DecisionStore(tmp_path / "b.db") as target:
        with NexusControlTools(postgres_url, log_folder=folder) as tools:
            request_id = approved(tools)
        migrating.log_keys.give_key(source)
        migrating.migrate(source, target, "b.db")
    Place(postgres_url, folder).answer("doctor", "--accept-rollback")
    with NexusControlTools(postgres_url, log_folder=folder) as tools:
        data_of(tools.execute(request_id, ADAPTER, SCHEDULER, ScriptedRouter(good_answer)))
        assert find_faults(tools.store) == []


def test_a_copy_of_a_file_that_was_moved_says_so_too(postgres_url: str, tmp_path: Path) -> None:
    file, copy = tmp_path / "a.db", tmp_path / "copy.db"
    filled(file)
    migrated(file, postgres_url, tmp_path / "log")
    shutil.copy(file, copy)
    with NexusControlTools(copy) as tools:
        assert tools.request("g", ALICE).error_code == "STORE_MIGRATED"
        assert tools.store.form_differences() == []
        tools.store.mend_form()
        assert tools.request("g", ALICE).error_code == "STORE_MIGRATED"


def test_a_trigger_that_only_has_the_name_of_the_mark_is_a_fault(tmp_path: Path) -> None:
    file = tmp_path / "a.db"
    with NexusControlTools(file) as tools:
        tools.store.create_decision()
        with closing(connect(str(file), 5)) as connection:
            connection.execute(
                "CREATE TRIGGER moved_entries BEFORE INSERT ON entries BEGIN SELECT RAISE(IGNORE); END"
            )
        assert [fault.code for fault in find_faults(tools.store)] == ["FORM_DIFFERS"]


@pytest.mark.parametrize(
    "place", ["/srv/it's here.db", "postgresql://db/x?options=-csearch_path%3Da", "a\nb", "ü"]
)
def test_a_mark_is_read_as_it_was_written(tmp_path: Path, place: str) -> None:
    moved = Moved(place, "0" * 64)
    with DecisionStore(tmp_path / "a.db") as store:
        with store.writing() as session:
            session.rows.move(moved)
        with store.reading() as session:
            assert session.rows.moved() == moved
        with pytest.raises(NexusControlError, match="STORE_MIGRATED"):
            store.create_decision()
    assert parse_moved(f"{moved} and more") is None


def test_a_killed_migration_from_a_server_never_leaves_two_places_that_record(
    postgres_url: str, tmp_path: Path
) -> None:
    first, back, folder = tmp_path / "a.db", tmp_path / "b.db", tmp_path / "log"
    request_id = filled(first)
    migrated(first, postgres_url, folder)
    call = 1
    while killed_at(call, postgres_url, str(back), folder):
        call += 1
        with DecisionStore(back) as target, target.reading() as session:
            is_there = bool(session.rows.log_size())
        with DecisionStore(postgres_url) as source, source.reading() as session:
            is_moved = session.rows.moved() is not None
        assert is_moved or not is_there
        if is_there:
            break
    assert call > 7
    told = Place(postgres_url, folder).answer("migrate", "--from", postgres_url, "--to", str(back))
    assert told["migrated_before"] is True
    router = ScriptedRouter(good_answer)
    with NexusControlTools(back) as tools, NexusControlTools(postgres_url) as old:
        data_of(tools.execute(request_id, ADAPTER, SCHEDULER, router))
        assert old.execute(request_id, ADAPTER, SCHEDULER, router).error_code == "STORE_MIGRATED"
        assert find_faults(tools.store) == []
    assert router.runs == 1
