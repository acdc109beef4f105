import contextlib
import gc
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.storage import open_storage
from nexus_control.storage.contract import Storage
from nexus_control.storage.memory import MemoryStorage
from nexus_control.storage.sqlite import SqliteStorage, migrate
from nexus_control.storage.sqlite_schema import APPLICATION_ID, MIGRATIONS
from tests.storage import processes
from tests.storage.contract_suite import contents, refused
from tests.storage.rows import entry, projection
from tests.support.places import REPOSITORY


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@pytest.fixture
def storage(path: Path) -> Iterator[Storage]:
    storage = open_storage(path)
    yield storage
    storage.close()


@contextlib.contextmanager
def raw(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection of somebody else."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection


def number(connection: sqlite3.Connection, sql: str) -> int:
    return connection.execute(sql).fetchone()[0]


def append(storage: Storage, stream: str, seq: int = 0) -> None:
    with storage.writing() as rows:
        rows.append([entry(stream, seq)])


def log_size(storage: Storage) -> int:
    with storage.reading() as rows:
        return rows.log_size()


def in_thread(work: Callable[[], object]) -> None:
    with ThreadPoolExecutor(1) as pool:
        pool.submit(work).result()


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


def test_a_migration_that_fails_changes_nothing(storage: Storage, path: Path) -> None:
    with raw(path) as connection:
        with pytest.raises(sqlite3.OperationalError):
            migrate(connection, str(path), [*MIGRATIONS, ("CREATE TABLE half(x)", "CREATE NONSENSE")])
        assert not connection.in_transaction
        assert number(connection, "PRAGMA user_version") == len(MIGRATIONS)
        assert number(connection, "SELECT count(*) FROM sqlite_master WHERE name = 'half'") == 0


# --- the log is append-only, whoever writes ----------------------------------------------------------------------

COLUMNS = "kind, stream, generation, seq, event_type, ts, actor_type, actor_id, payload, digest, leaf, origin"


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE entries SET payload = '{}'",
        "UPDATE entries SET position = 9 WHERE position = 1",
        "UPDATE OR REPLACE entries SET position = 0 WHERE position = 1",
        "DELETE FROM entries",
        "DELETE FROM entries WHERE position = 1",
        f"INSERT OR REPLACE INTO entries SELECT 0, {COLUMNS} FROM entries WHERE position = 1",
        f"REPLACE INTO entries SELECT position, {COLUMNS} FROM entries",
        f"INSERT OR REPLACE INTO entries SELECT 2, {COLUMNS} FROM entries WHERE position = 0",
        f"REPLACE INTO entries({COLUMNS}) SELECT {COLUMNS} FROM entries WHERE position = 0",
        f"INSERT INTO entries SELECT 7, 'import', {COLUMNS.partition(', ')[2]} FROM entries WHERE position = 0",
        f"INSERT INTO entries SELECT -1, 'import', {COLUMNS.partition(', ')[2]} FROM entries WHERE position = 0",
        f"INSERT INTO entries SELECT 2, 'other', {COLUMNS.partition(', ')[2]} FROM entries WHERE position = 0",
    ],
)
def test_the_database_itself_refuses_to_change_the_log(sql: str, storage: Storage, path: Path) -> None:
    append(storage, "d1")
    append(storage, "d2")
    before = contents(storage)
    with raw(path) as connection, pytest.raises(sqlite3.IntegrityError):
        connection.execute(sql)
    assert contents(storage) == before


# --- transactions ------------------------------------------------------------------------------------------------


def test_a_rolled_back_transaction_leaves_the_bytes_as_they_were(storage: Storage, path: Path) -> None:
    append(storage, "d1")
    wal = path.with_name("store.db-wal")
    before = (path.read_bytes(), wal.read_bytes())
    with pytest.raises(KeyboardInterrupt), storage.writing() as rows:
        rows.append([entry("d2")])
        rows.save(projection())
        raise KeyboardInterrupt
    assert (path.read_bytes(), wal.read_bytes()) == before


def test_a_reader_keeps_the_snapshot_of_its_beginning_while_others_write(storage: Storage) -> None:
    append(storage, "d1")
    with storage.reading() as rows:
        in_thread(lambda: append(storage, "d2"))
        assert rows.log_size() == 1
        in_thread(lambda: append(storage, "d3"))
        assert (rows.log_size(), len(rows.log())) == (1, 1)
    assert log_size(storage) == 3


def test_a_writer_does_not_hold_up_readers(storage: Storage) -> None:
    append(storage, "d1")
    with storage.writing() as rows:
        rows.append([entry("d2")])
        in_thread(lambda: append_is_unseen(storage))
    assert log_size(storage) == 2


def append_is_unseen(storage: Storage) -> None:
    assert log_size(storage) == 1


def test_a_writer_waits_for_the_writers_before_it_in_its_own_process(storage: Storage) -> None:
    with ThreadPoolExecutor(4) as pool:
        with storage.writing() as rows:
            waiting = [pool.submit(append, storage, f"d{number}") for number in range(4)]
            rows.append([entry("first")])
        for future in waiting:
            future.result()
    with storage.reading() as rows:
        assert [placed.entry.stream for placed in rows.log(0, 1)] == ["first"]
        assert rows.log_size() == 5


# --- faults ------------------------------------------------------------------------------------------------------


def test_a_store_that_another_process_writes_all_the_time_is_unavailable(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nexus_control.storage.sqlite._BUSY_SECONDS", 0.05)
    storage = open_storage(path)
    with raw(path) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(NexusControlError) as caught, storage.writing():
            pass
        assert caught.value.code == ErrorCode.STORE_UNAVAILABLE
        assert caught.value.details == {"path": str(path), "sqlite_errorname": "SQLITE_BUSY"}
        assert log_size(storage) == 0
    append(storage, "d1")
    with refused(ErrorCode.STORE_UNAVAILABLE), storage.writing():
        in_thread(lambda: append(storage, "d2"))
    assert log_size(storage) == 1
    storage.close()


def test_a_fault_of_the_driver_is_never_raised_as_it_is(storage: Storage, path: Path) -> None:
    append(storage, "d1")
    with raw(path) as connection:
        connection.execute("ALTER TABLE projections RENAME TO taken_away")
    with refused(ErrorCode.STORE_UNAVAILABLE), storage.reading() as rows:
        rows.projection("d1")
    with refused(ErrorCode.STORE_UNAVAILABLE), storage.writing() as rows:
        rows.append([entry("d2")])
        rows.save(projection())
    assert log_size(storage) == 1


@pytest.mark.parametrize("labels", ["nonsense", "{}", "[1]"])
def test_damaged_labels_are_a_fault(labels: str, storage: Storage, path: Path) -> None:
    with storage.writing() as rows:
        rows.save(projection())
    with raw(path) as connection:
        connection.execute("UPDATE projections SET labels = ?", (labels,))
    with refused(ErrorCode.STORE_UNAVAILABLE), storage.reading() as rows:
        rows.projection("d1")


def test_a_file_that_has_gone_is_not_silently_replaced(storage: Storage, path: Path) -> None:
    append(storage, "d1")
    path.unlink()
    with refused(ErrorCode.STORE_UNAVAILABLE):
        in_thread(lambda: append(storage, "d2"))
    assert not path.exists()


def test_closing_ends_the_transactions_of_other_threads(storage: Storage) -> None:
    append(storage, "d1")
    with refused(ErrorCode.STORE_UNAVAILABLE), storage.reading() as rows:
        in_thread(storage.close)
        rows.log_size()


# --- threads -----------------------------------------------------------------------------------------------------


def open_connections() -> int:
    gc.collect()
    return sum(isinstance(thing, sqlite3.Connection) for thing in gc.get_objects())


def test_the_connections_of_dead_threads_are_closed(storage: Storage) -> None:
    # The second group is alive beside the first, so that no identifier of a thread is used again.
    first_may_end, second_may_read = threading.Event(), threading.Event()
    first_has_read = threading.Barrier(9)

    def read_first() -> None:
        log_size(storage)
        first_has_read.wait()
        first_may_end.wait()

    def read_second() -> None:
        second_may_read.wait()
        log_size(storage)

    before = open_connections()
    first = [threading.Thread(target=read_first) for _ in range(8)]
    second = [threading.Thread(target=read_second) for _ in range(8)]
    for thread in (*first, *second):
        thread.start()
    first_has_read.wait()
    assert open_connections() == before + 8
    first_may_end.set()
    for thread in first:
        thread.join()
    second_may_read.set()
    for thread in second:
        thread.join()
    assert before < open_connections() <= before + 8
    storage.close()
    assert open_connections() == before - 1


def test_a_storage_that_is_forgotten_closes_its_connections(path: Path) -> None:
    before = open_connections()
    for place in (path, ":memory:"):
        storage = open_storage(place)
        append(storage, "d1")
        in_thread(lambda storage=storage: log_size(storage))
        del storage
    assert open_connections() == before


# --- processes ---------------------------------------------------------------------------------------------------


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
        assert rows.projection("d1") == projection(event_count=acknowledged)
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
        assert rows.projection("d1") == projection(event_count=stored)
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


def test_a_child_of_fork_has_connections_of_its_own(path: Path) -> None:
    processes.run(processes.fork_twice, [(path,)])
    storage = open_storage(path)
    with storage.reading() as rows:
        assert [at.entry.stream for at in rows.log()] == ["parent", "parent", "child", "parent"]
    storage.close()


def test_a_store_in_memory_does_not_cross_fork() -> None:
    processes.run(processes.fork_with_a_store_in_memory, [()])
