import contextlib
import gc
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.storage import open_storage
from nexus_control.storage.contract import Storage
from tests.storage.contract_suite import contents, refused
from tests.storage.rows import decision_row, entry
from tests.storage.steps import append, in_thread, log_size, raw

# --- the log is append-only for every program that writes --------------------------------------------------------

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
    with contextlib.suppress(KeyboardInterrupt), storage.writing() as rows:
        rows.append([entry("d2")])
        rows.save(decision_row())
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
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(log_size, storage).result() == 1
    assert log_size(storage) == 2


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


def test_a_store_that_another_process_writes_all_the_time_is_unavailable(path: Path) -> None:
    storage = open_storage(path, busy_seconds=0.05)
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
        rows.decision_row("d1")
    with refused(ErrorCode.STORE_UNAVAILABLE), storage.writing() as rows:
        rows.append([entry("d2")])
        rows.save(decision_row())
    assert log_size(storage) == 1


@pytest.mark.parametrize("labels", ["nonsense", "{}", "[1]"])
def test_damaged_labels_are_a_fault(labels: str, storage: Storage, path: Path) -> None:
    with storage.writing() as rows:
        rows.save(decision_row())
    with raw(path) as connection:
        connection.execute("UPDATE projections SET labels = ?", (labels,))
    with refused(ErrorCode.STORE_UNAVAILABLE), storage.reading() as rows:
        rows.decision_row("d1")


def test_a_file_that_has_gone_is_not_silently_replaced(storage: Storage, path: Path) -> None:
    append(storage, "d1")
    path.unlink()
    with refused(ErrorCode.STORE_REPLACED):
        in_thread(lambda: append(storage, "d2"))
    assert not path.exists()


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
