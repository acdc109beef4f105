import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from nexus_control import DecisionStore, NexusControlTools
from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.log.checkpoints import prove
from nexus_control.log.head import Head
from nexus_control.log.upkeep import accept_rollback, find_faults
from nexus_control.storage import open_storage
from nexus_control.storage.contract import Storage
from nexus_control.storage.memory import MemoryStorage
from nexus_control.storage.sqlite import SqliteStorage, migrate
from nexus_control.storage.sqlite_schema import APPLICATION_ID, MIGRATIONS
from tests.storage import processes
from tests.storage.contract_suite import refused
from tests.storage.steps import append, copy_to_schema, in_thread, log_size, number, raw
from tests.support.governed import ALICE, BOB, data_of, overwritten

# --- places ------------------------------------------------------------------------------------------------------


def test_a_place_is_a_path_a_sqlite_url_or_a_kind_of_memory(path: Path) -> None:
    for place in (path, str(path), f"sqlite://{path}"):
        storage = open_storage(place)
        append(storage, str(place) + type(place).__name__)
        storage.close()
    with raw(path) as connection:
        assert number(connection, "SELECT count(*) FROM entries") == 3
    for place, kind in ((":memory:", SqliteStorage), ("memory:", MemoryStorage)):
        storage = open_storage(place)
        assert type(storage) is kind
        storage.close()


@pytest.mark.parametrize(
    "place", ["", "a\0b", "sqlite://", "sqlite://relative.db", "mysql://host/db", "file:///x"]
)
def test_a_place_that_is_none_is_an_invalid_argument(place: str) -> None:
    with refused(ErrorCode.INVALID_ARGUMENT):
        open_storage(place)


def test_a_relative_path_stays_what_it_was_when_the_store_was_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    storage = open_storage("odd name #1?%20é.db")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    in_thread(lambda: append(storage, "d1"))
    storage.close()
    assert [file.name for file in tmp_path.iterdir() if file.is_file()] == ["odd name #1?%20é.db"]


# --- files that are not ours -------------------------------------------------------------------------------------


def _text(path: Path) -> None:
    path.write_text("dear diary, " * 100)


def _short(path: Path) -> None:
    path.write_bytes(b"SQLite format 3\0")


def _foreign_tables(path: Path) -> None:
    with raw(path) as connection:
        connection.execute("CREATE TABLE decisions(id TEXT)")


def _foreign_tables_in_wal_mode(path: Path) -> None:
    with raw(path) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE decisions(id TEXT)")


def _foreign_application(path: Path) -> None:
    with raw(path) as connection:
        connection.execute("PRAGMA application_id = 7")


def _foreign_version(path: Path) -> None:
    with raw(path) as connection:
        connection.execute("PRAGMA user_version = 1")


def _newer(path: Path) -> None:
    open_storage(path).close()
    with raw(path) as connection:
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")


def _damaged(path: Path) -> None:
    open_storage(path).close()
    content = path.read_bytes()
    path.write_bytes(content[:100] + b"\xa5" * (len(content) - 100))


def _folder(path: Path) -> None:
    path.mkdir()


def _pipe(path: Path) -> None:
    os.mkfifo(path)


@pytest.mark.parametrize(
    "make",
    [
        _text,
        _short,
        _foreign_tables,
        _foreign_tables_in_wal_mode,
        _foreign_application,
        _foreign_version,
        _newer,
        _damaged,
        _folder,
        _pipe,
    ],
)
def test_what_is_not_our_database_is_refused_and_left_as_it_was(
    make: Callable[[Path], None], path: Path
) -> None:
    make(path)
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(NexusControlError) as caught:
        open_storage(path)
    assert caught.value.code == ErrorCode.STORE_UNAVAILABLE
    assert caught.value.details["path"] == str(path)
    assert str(path) in caught.value.message
    assert (path.read_bytes() if path.is_file() else None) == before


def test_a_foreign_database_whose_tables_are_still_in_its_wal_is_refused(path: Path) -> None:
    with raw(path) as owner:
        owner.execute("PRAGMA journal_mode = WAL")
        owner.execute("CREATE TABLE decisions(id TEXT)")
        before = path.read_bytes()
        with refused(ErrorCode.STORE_UNAVAILABLE):
            open_storage(path)
        assert path.read_bytes() == before
        assert number(owner, "SELECT count(*) FROM sqlite_master") == 1


def test_a_foreign_database_that_was_left_by_a_crash_is_not_even_recovered(path: Path) -> None:
    wal = path.with_name("store.db-wal")
    with raw(path.with_name("running.db")) as owner:
        owner.execute("PRAGMA journal_mode = WAL")
        owner.execute("CREATE TABLE decisions(id TEXT)")
        owner.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        owner.execute("INSERT INTO decisions VALUES ('d1')")
        shutil.copy(path.with_name("running.db"), path)
        shutil.copy(path.with_name("running.db-wal"), wal)
    before = (path.read_bytes(), wal.read_bytes())
    with refused(ErrorCode.STORE_UNAVAILABLE):
        open_storage(path)
    assert (path.read_bytes(), wal.read_bytes()) == before


def test_a_folder_that_is_missing_is_not_made(tmp_path: Path) -> None:
    with refused(ErrorCode.STORE_UNAVAILABLE):
        open_storage(tmp_path / "missing" / "store.db")
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_no_file_can_have_is_refused(tmp_path: Path) -> None:
    with refused(ErrorCode.STORE_UNAVAILABLE):
        open_storage(tmp_path / ("x" * 5000))


def test_a_file_or_folder_that_may_not_be_written_is_refused() -> None:
    # Outside tmp_path, which only its owner may enter: as root the attempt is made as nobody.
    folder = Path(tempfile.mkdtemp())
    try:
        open_storage(folder / "store.db").close()
        (folder / "store.db").chmod(0o444)
        folder.chmod(0o555)
        processes.run(processes.open_without_permission, [(folder / "store.db",), (folder / "new.db",)])
    finally:
        folder.chmod(0o755)
        shutil.rmtree(folder)


def test_a_new_file_that_somebody_else_keeps_locked_is_unavailable(path: Path) -> None:
    with raw(path) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(NexusControlError) as caught:
            open_storage(path, busy_seconds=0.05)
        assert caught.value.code == ErrorCode.STORE_UNAVAILABLE
        assert caught.value.details["sqlite_errorname"] == "SQLITE_BUSY"
        other.execute("ROLLBACK")
    open_storage(path).close()


# --- migrations --------------------------------------------------------------------------------------------------


def test_an_empty_database_is_brought_up_to_date_and_marked_as_ours(path: Path) -> None:
    with raw(path) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
    assert path.stat().st_size > 0
    open_storage(path).close()
    with raw(path) as connection:
        assert number(connection, "PRAGMA user_version") == len(MIGRATIONS)
        assert number(connection, "PRAGMA application_id") == APPLICATION_ID == 0x4E784374
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_store_that_is_opened_again_is_not_migrated(path: Path) -> None:
    storage = open_storage(path)
    append(storage, "d1")
    storage.close()
    before = path.read_bytes()
    storage = open_storage(path)
    assert log_size(storage) == 1
    storage.close()
    assert path.read_bytes() == before


def test_a_migration_is_applied_once_and_keeps_what_is_there(storage: Storage, path: Path) -> None:
    append(storage, "d1")
    later = [*MIGRATIONS, ("CREATE TABLE added(x)", "INSERT INTO added VALUES (1)")]
    with raw(path) as connection:
        migrate(connection, str(path), later)
        migrate(connection, str(path), later)
        assert number(connection, "PRAGMA user_version") == len(later)
        assert number(connection, "SELECT count(*) FROM added") == 1
        assert number(connection, "SELECT count(*) FROM entries") == 1
    with refused(ErrorCode.STORE_UNAVAILABLE):
        open_storage(path)


@pytest.mark.parametrize("schema", range(1, len(MIGRATIONS)))
def test_a_store_of_an_earlier_schema_gets_what_it_lacks_and_keeps_everything(
    schema: int, path: Path, tmp_path: Path
) -> None:
    """Its log can be signed from then on, and proves what was appended before there was a tree; its owner can accept
    a rollback of it.
    """
    with NexusControlTools(db_path=path).store as store:
        tools = NexusControlTools(store)
        tools.template_create("rotation", ALICE, min_approvals=1)
        for goal in ("one", "two", "three"):
            request_id = data_of(tools.request(goal, ALICE, template_name="rotation"))["request_id"]
            data_of(tools.approve(request_id, BOB))
        data_of(overwritten(tools, request_id))
        with store.reading() as session:
            expected = session.rows.log(), session.rows.subtrees()
    old = tmp_path / "old.db"
    copy_to_schema(schema, path, old)
    with DecisionStore(old) as migrated:
        with migrated.reading() as session:
            assert (session.rows.log(), session.rows.subtrees()) == expected
        assert find_faults(migrated) == []
        proof = prove(migrated, request_id, 0, 0)
        proof.require_leaf(bytes.fromhex(expected[0][proof.index].entry.leaf))
        migrated.sidecar.slot("head").update(lambda _: Head(size=99, root="0" * 64).to_bytes())
        assert accept_rollback(migrated, ALICE)
        assert find_faults(migrated) == []


def test_a_migration_that_fails_changes_nothing(storage: Storage, path: Path) -> None:
    with raw(path) as connection:
        with pytest.raises(sqlite3.OperationalError):
            migrate(connection, str(path), [*MIGRATIONS, ("CREATE TABLE half(x)", "CREATE NONSENSE")])
        assert not connection.in_transaction
        assert number(connection, "PRAGMA user_version") == len(MIGRATIONS)
        assert number(connection, "SELECT count(*) FROM sqlite_master WHERE name = 'half'") == 0
