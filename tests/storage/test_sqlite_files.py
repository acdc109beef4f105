import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.integrity import sha256_hex
from nexus_control.storage import open_storage, sqlite
from nexus_control.storage.contract import Storage
from nexus_control.storage.sqlite import SqliteStorage
from nexus_control.storage.sqlite_schema import APPLICATION_ID, EARLIER, SCHEMA, VERSION
from tests.storage import processes
from tests.storage.contract_suite import refused
from tests.storage.steps import append, in_thread, log_size, number, raw

# --- places ------------------------------------------------------------------------------------------------------


def test_a_place_is_a_path_a_sqlite_url_or_memory(path: Path) -> None:
    for place in (path, str(path), f"sqlite://{path}"):
        storage = open_storage(place)
        append(storage, str(place) + type(place).__name__)
        storage.close()
    with raw(path) as connection:
        assert number(connection, "SELECT count(*) FROM entries") == 3
    storage = open_storage(":memory:")
    assert type(storage) is SqliteStorage
    storage.close()


@pytest.mark.parametrize(
    "place", ["", "a\0b", "sqlite://", "sqlite://relative.db", "mysql://host/db", "file:///x", "memory:"]
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
        connection.execute(f"PRAGMA user_version = {VERSION + 1}")


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


def test_a_new_store_in_a_folder_that_may_not_be_written_is_refused() -> None:
    # Outside tmp_path, which only its owner may enter: as root the attempt is made as nobody.
    folder = Path(tempfile.mkdtemp())
    try:
        folder.chmod(0o555)
        processes.run(processes.make_without_permission, [(folder / "new.db",)])
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


def test_a_store_that_another_program_keeps_for_itself_is_unavailable_until_it_lets_go(path: Path) -> None:
    storage = open_storage(path)
    append(storage, "d1")
    storage.close()
    before = path.read_bytes()
    with raw(path) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(NexusControlError) as caught:
            open_storage(path, busy_seconds=0.05)
        assert caught.value.code == ErrorCode.STORE_UNAVAILABLE
        assert caught.value.details == {"path": str(path), "sqlite_errorname": "SQLITE_BUSY"}
        other.execute("ROLLBACK")
    assert path.read_bytes() == before
    storage = open_storage(path)
    assert log_size(storage) == 1
    storage.close()


# --- the schema --------------------------------------------------------------------------------------------------


def test_an_empty_database_becomes_a_store_that_is_marked_as_ours(path: Path) -> None:
    with raw(path) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
    assert path.stat().st_size > 0
    open_storage(path).close()
    with raw(path) as connection:
        assert number(connection, "PRAGMA user_version") == VERSION == 8
        assert number(connection, "PRAGMA application_id") == APPLICATION_ID == 0x4E784374
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_what_a_store_is_made_of_is_frozen_with_its_version(storage: Storage, path: Path) -> None:
    """Every file of this version holds these texts: with others, `doctor` would report each of them as changed."""
    assert storage.form_differences() == []
    with raw(path) as connection:
        made = connection.execute(
            "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY name"
        ).fetchall()
    assert sha256_hex(repr(made)) == "fb30ce25735be13c370358d744f67bbd223771a6881983cf99297a661e02a39c"


def test_a_store_that_is_opened_again_keeps_its_bytes(path: Path) -> None:
    storage = open_storage(path)
    append(storage, "d1")
    storage.close()
    before = path.read_bytes()
    storage = open_storage(path)
    assert log_size(storage) == 1
    storage.close()
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("schema", "advice"),
    [*((each, "Export the decisions") for each in range(EARLIER[0])), (VERSION + 1, "Upgrade")],
)
def test_a_store_of_another_schema_is_refused_with_what_to_do(schema: int, advice: str, path: Path) -> None:
    storage = open_storage(path)
    append(storage, "d1")
    storage.close()
    with raw(path) as connection:
        connection.execute(f"PRAGMA user_version = {schema}")
    before = path.read_bytes()
    with pytest.raises(
        NexusControlError, match=f"its schema is {schema}, this version reads {VERSION}"
    ) as caught:
        open_storage(path)
    assert (caught.value.code, caught.value.next.startswith(advice)) == (ErrorCode.STORE_UNAVAILABLE, True)
    assert caught.value.details == {"path": str(path), "schema": schema}
    assert path.read_bytes() == before


def test_a_store_that_cannot_be_made_whole_is_not_made_at_all(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "SCHEMA", (*SCHEMA, "CREATE NONSENSE"))
    with refused(ErrorCode.STORE_UNAVAILABLE):
        open_storage(path)
    with raw(path) as connection:
        assert number(connection, "PRAGMA user_version") == 0
        assert number(connection, "SELECT count(*) FROM sqlite_master") == 0
    monkeypatch.undo()
    open_storage(path).close()
