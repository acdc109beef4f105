"""Commits that threads share: one thread does the writes that wait for it, and nobody hears before the COMMIT."""

import ctypes
import os
import sqlite3
import sys
import threading
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.storage import sqlite_file, sqlite_writer
from nexus_control.storage.sqlite import SqliteStorage
from nexus_control.storage.sqlite_file import SqliteFile
from nexus_control.storage.usage import Turn
from tests.concurrency.crashing import end_of, fork
from tests.storage.contract_suite import refused
from tests.storage.rows import entry
from tests.storage.steps import append, in_thread, log_size, raw
from tests.support.interrupting import AtLine, has_ended

Work = Callable[[sqlite3.Connection], int]
"""A write, which returns the thread that did it."""

SECONDS = 240.0  # against a hang
_SHARING = {"share", "_run_offered", "_begun", "_leave", "_commit", "_commit_others"}
"""The functions of `sqlite_file` that share commits."""


class Numbers:
    """A file with a log of numbers, as one process with several threads writes it."""

    def __init__(self, path: Path, busy_seconds: float = SECONDS) -> None:
        self.path = path
        self.file = SqliteFile(path, self._prepare, busy_seconds)
        self.commits: list[list[bool]] = []
        """For each COMMIT, which of the answers had been given before it."""
        self.answers: list[Future[int]] = []
        self.did_handle = False
        self._threads = ThreadPoolExecutor(40)

    def _prepare(self, connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("CREATE TABLE IF NOT EXISTS known(n INTEGER PRIMARY KEY)")
        connection.execute(
            "CREATE TABLE IF NOT EXISTS log(n, of REFERENCES known DEFERRABLE INITIALLY DEFERRED)"
        )
        connection.set_trace_callback(self._trace)

    def _trace(self, statement: str) -> None:
        if statement == "COMMIT":
            self.commits.append([answer.done() for answer in self.answers])

    def submit(self, call: Callable[[], int]) -> Future[int]:
        return self._threads.submit(call)

    def ask(self, *works: Work) -> list[Future[int]]:
        """Each in a thread of its own."""
        asked = [self._threads.submit(self.file.write, work) for work in works]
        self.answers += asked
        return asked

    def leading(self, *works: Work) -> Work:
        """A write of 0 during which these are asked, and come to wait."""

        def lead(connection: sqlite3.Connection) -> int:
            adding(0)(connection)
            if not self.answers:
                self.ask(*works)
                self.wait_for(len(works))
            return threading.get_ident()

        return lead

    def wait_for(self, parts: int) -> None:
        while self.file.writer.offered() < parts:
            pass

    def numbers(self) -> list[int]:
        with raw(self.path) as connection:
            return [n for (n,) in connection.execute("SELECT n FROM log ORDER BY n")]


@pytest.fixture
def numbers(tmp_path: Path) -> Generator[Numbers]:
    numbers = Numbers(tmp_path / "numbers.db")
    yield numbers
    numbers.file.close()


def adding(n: int) -> Work:
    def add(connection: sqlite3.Connection) -> int:
        connection.execute("INSERT INTO log(n) VALUES (?)", (n,))
        return threading.get_ident()

    return add


def refusing_at_once(_: sqlite3.Connection) -> int:
    raise NexusControlError(ErrorCode.ALREADY_APPROVED, "no")


def refusing(connection: sqlite3.Connection) -> int:
    adding(99)(connection)
    return refusing_at_once(connection)


def dangling(connection: sqlite3.Connection) -> int:
    """Fails at its COMMIT."""
    connection.execute("INSERT INTO log(n, of) VALUES (3, 77)")
    return 0


def results(answers: list[Future[int]]) -> list[int]:
    return [answer.result(SECONDS) for answer in answers]


def test_writes_that_wait_are_committed_with_the_one_before_and_answered_after_it(numbers: Numbers) -> None:
    leader = numbers.file.write(numbers.leading(*map(adding, range(1, 5))))
    assert results(numbers.answers) == [leader] * 4
    assert numbers.commits == [[False] * 4]
    assert numbers.numbers() == [0, 1, 2, 3, 4]


def test_a_refused_write_takes_nothing_of_the_others_with_it_and_hears_after_the_commit(
    numbers: Numbers,
) -> None:
    leader = numbers.file.write(numbers.leading(adding(1), refusing, adding(2)))
    first, refusal, last = numbers.answers
    with refused(ErrorCode.ALREADY_APPROVED):
        refusal.result(SECONDS)
    assert results([first, last]) == [leader] * 2
    assert numbers.commits == [[False] * 3]
    assert numbers.numbers() == [0, 1, 2]


def test_everybody_hears_that_a_commit_failed_and_nothing_is_stored(numbers: Numbers) -> None:
    with pytest.raises(sqlite3.IntegrityError):
        numbers.file.write(numbers.leading(adding(1), dangling, refusing))
    faults = [answer.exception(SECONDS) for answer in numbers.answers]
    assert [type(fault) for fault in faults] == [sqlite3.IntegrityError] * 3
    assert numbers.numbers() == []


@pytest.mark.parametrize("fault", [sqlite3.OperationalError("disk I/O error"), ValueError("a defect")])
def test_after_a_fault_of_one_write_each_thread_does_its_own(numbers: Numbers, fault: Exception) -> None:
    did: list[int] = []

    def failing(_: sqlite3.Connection) -> int:
        did.append(threading.get_ident())
        raise fault

    leader = numbers.file.write(numbers.leading(adding(1), failing, adding(2)))
    first, failed, last = numbers.answers
    assert failed.exception(SECONDS) is fault
    assert len(set(did)) == len(did) == 2
    assert first.result(SECONDS) != leader
    last.result(SECONDS)
    assert numbers.numbers() == [0, 1, 2]


def test_a_commit_is_shared_by_so_many_writes_and_no_more(numbers: Numbers) -> None:
    leader = numbers.file.write(numbers.leading(*map(adding, range(1, 35))))
    shared = [thread for thread in results(numbers.answers) if thread == leader]
    assert 0 < len(shared) <= 32
    assert numbers.numbers() == list(range(35))


def test_a_transaction_that_is_alone_lets_the_writes_that_wait_go_first(numbers: Numbers) -> None:
    """Otherwise a thread that takes the lock again and again keeps all others waiting."""
    answers: list[Future[int]] = []
    while not answers or not all(answer.done() for answer in answers):
        with numbers.file.transaction("BEGIN IMMEDIATE", writing=True) as connection:
            connection.execute("INSERT INTO log(n) VALUES (0)")
            answers = answers or numbers.ask(*map(adding, range(1, 9)))
    results(answers)
    assert [n for n in numbers.numbers() if n] == list(range(1, 9))


def test_a_thread_whose_writes_are_refused_all_the_time_does_those_that_wait(numbers: Numbers) -> None:
    answers: list[Future[int]] = []
    while not answers or not all(answer.done() for answer in answers):
        with refused(ErrorCode.ALREADY_APPROVED):
            numbers.file.write(refusing)
        answers = answers or numbers.ask(*map(adding, range(1, 9)))
    results(answers)
    assert numbers.numbers() == list(range(1, 9))


@pytest.mark.parametrize("writes", [True, False])
@pytest.mark.parametrize(
    ("work", "stored", "fault"),
    [(adding(1), [1], type(None)), (dangling, [], sqlite3.IntegrityError)],
    ids=["stored", "failed"],
)
def test_a_refusal_stands_whatever_comes_of_the_write_that_waits(
    work: Work, stored: list[int], fault: type[object], writes: bool, numbers: Numbers
) -> None:
    """Where it wrote nothing, the transaction goes on: between two another program could take the lock."""
    seen: list[str] = []

    def ask_and_refuse(connection: sqlite3.Connection) -> int:
        numbers.ask(work)
        numbers.wait_for(1)
        connection.set_trace_callback(seen.append)
        return refusing(connection) if writes else refusing_at_once(connection)

    with refused(ErrorCode.ALREADY_APPROVED):
        numbers.file.write(ask_and_refuse)
    assert type(numbers.answers[0].exception(SECONDS)) is fault
    assert numbers.numbers() == stored
    assert ("BEGIN IMMEDIATE" in seen) == writes


def test_what_one_store_left_of_a_thread_does_not_end_what_it_writes_through_another(
    numbers: Numbers,
) -> None:
    other = Numbers(numbers.path)
    left = numbers.file.transaction("BEGIN", writing=False)
    left.__enter__()
    left.is_over = True  # as an interruption leaves it
    with other.file.transaction("BEGIN IMMEDIATE", writing=True) as connection:
        adding(1)(connection)
        with numbers.file.transaction("BEGIN", writing=False):
            pass

        def take() -> None:
            with refused(ErrorCode.STORE_UNAVAILABLE):
                numbers.file.writer.take(Turn(), 0)

        in_thread(take)
        adding(2)(connection)
    assert numbers.numbers() == [1, 2]
    other.file.close()


def test_a_file_that_is_replaced_meanwhile_is_told_to_all_who_shared_the_commit(numbers: Numbers) -> None:
    lead = numbers.leading(adding(1))

    def replacing(connection: sqlite3.Connection) -> int:
        lead(connection)
        numbers.path.rename(numbers.path.with_suffix(".away"))
        numbers.path.write_bytes(b"")
        return 0

    with refused(ErrorCode.STORE_REPLACED):
        numbers.file.write(replacing)
    with refused(ErrorCode.STORE_REPLACED):
        numbers.answers[0].result(SECONDS)


def test_two_stores_on_one_file_share_commits_also_after_a_fork(numbers: Numbers) -> None:
    other = Numbers(numbers.path)
    other.file.write(adding(1))
    assert end_of(fork(lambda: os._exit(0))) == 0  # which closed every connection
    (numbers.path.parent / "something new").touch()  # so that -wal and -shm get other inodes than before

    def lead(_: sqlite3.Connection) -> int:
        other.ask(adding(2))
        numbers.wait_for(1)
        return threading.get_ident()

    leader = numbers.file.write(lead)
    assert results(other.answers) == [leader]
    assert numbers.numbers() == [1, 2]
    other.file.close()


def test_who_waits_too_long_is_refused_and_leaves_nothing_to_do(tmp_path: Path) -> None:
    numbers = Numbers(tmp_path / "numbers.db", busy_seconds=0)

    def lead(_: sqlite3.Connection) -> int:
        (answer,) = numbers.ask(adding(1))
        with refused(ErrorCode.STORE_UNAVAILABLE):
            answer.result(SECONDS)
        return numbers.file.writer.offered()

    assert numbers.file.write(lead) == 0
    assert numbers.numbers() == []
    numbers.file.close()


# --- interruptions ------------------------------------------------------------------------------------------------


def shares_commits(frame: FrameType) -> bool:
    file, name = frame.f_code.co_filename, frame.f_code.co_name
    if file == sqlite_writer.__file__:
        return name != "offered"  # in which a test waits, so that its lines are no fixed number
    return file == sqlite_file.__file__ and name in _SHARING


def test_a_thread_that_is_interrupted_at_any_line_neither_loses_nor_doubles_the_write_of_another(
    tmp_path: Path,
) -> None:
    line, told = 0, list[str]()
    while True:
        line += 1
        numbers, trace = Numbers(tmp_path / f"{line}.db"), AtLine(line, shares_commits)
        is_whole = has_ended(trace, partial(numbers.file.write, numbers.leading(adding(1))))
        numbers.file.write(adding(2))  # what the thread was kept from leaving, it leaves at its next call
        for answer in numbers.answers:
            fault = answer.exception(SECONDS)
            told.append("stored" if fault is None else str(getattr(fault, "code", fault)))
            assert numbers.numbers().count(1) in ({1} if fault is None else {0, 1})
        assert numbers.numbers().count(0) in ({1} if is_whole else {0, 1})
        assert numbers.numbers().count(2) == 1
        numbers.file.close()
        if trace.remaining > 0:
            break
    assert line > 50
    assert set(told) == {"stored", "STORE_UNAVAILABLE"}


@pytest.mark.parametrize("line", range(1, 60))
def test_what_a_thread_that_is_interrupted_while_it_waits_had_to_write_is_written_by_nobody(
    line: int, tmp_path: Path
) -> None:
    numbers = Numbers(tmp_path / "numbers.db")

    def lead(_: sqlite3.Connection) -> int:
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(
                has_ended, AtLine(line, shares_commits), lambda: numbers.file.write(adding(1))
            )
            assert not waiting.result(SECONDS)
        return adding(0)(_)

    numbers.file.write(lead)
    numbers.file.write(adding(2))
    assert numbers.numbers() == [0, 2]


def test_a_thread_that_is_interrupted_while_another_does_its_write_finds_out_what_came_of_it(
    numbers: Numbers,
) -> None:
    is_over, found = threading.Event(), list[list[int]]()

    def interrupted() -> int:
        asker = threading.get_ident()

        def interrupting(connection: sqlite3.Connection) -> int:
            ctypes.pythonapi.PyThreadState_SetAsyncExc(
                ctypes.c_ulong(asker), ctypes.py_object(KeyboardInterrupt)
            )
            is_over.wait(0.3)  # before the COMMIT, if its thread is too early
            return adding(1)(connection)

        try:
            return numbers.file.write(interrupting)
        except KeyboardInterrupt:
            found.append(numbers.numbers())
            is_over.set()
            raise

    def lead(connection: sqlite3.Connection) -> int:
        numbers.answers.append(numbers.submit(interrupted))
        numbers.wait_for(1)
        return adding(0)(connection)

    numbers.file.write(lead)
    assert isinstance(numbers.answers[0].exception(SECONDS), KeyboardInterrupt)
    assert found == [[0, 1]]


def test_what_the_handler_of_a_signal_undid_is_not_acknowledged(numbers: Numbers) -> None:
    """It comes where the thread ends its transaction, which then looks like one that an interruption left open."""

    def lead(connection: sqlite3.Connection) -> int:
        numbers.ask(adding(1))
        numbers.wait_for(1)
        return adding(0)(connection)

    def handler(frame: FrameType, event: str, _argument: object) -> Callable[..., Any] | None:
        if frame.f_code.co_name == "_commit" and event == "line" and not numbers.did_handle:
            numbers.did_handle = True
            sys.settrace(None)
            numbers.file.write(adding(2))
        return handler

    sys.settrace(handler)
    try:
        with refused(ErrorCode.STORE_UNAVAILABLE):
            numbers.file.write(lead)
    finally:
        sys.settrace(None)
    with refused(ErrorCode.STORE_UNAVAILABLE):
        numbers.answers[0].result(SECONDS)
    assert numbers.numbers() == [2]


# --- many threads -------------------------------------------------------------------------------------------------


def test_threads_of_two_stores_on_one_file_lose_and_double_nothing(tmp_path: Path) -> None:
    path, threads, each = tmp_path / "decisions.db", 8, 25
    stores = [SqliteStorage(path), SqliteStorage(path)]
    begin = threading.Barrier(threads)

    def write(number: int) -> None:
        store = stores[number % 2]
        begin.wait()
        for n in range(each):
            if n % 5 == 4:
                append(store, f"d{number}.{n}")  # in a transaction of its own
            else:
                store.write(lambda rows, n=n: rows.append([entry(f"d{number}.{n}", 0)]))

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(write, range(threads)))
    assert [log_size(store) for store in stores] == [threads * each] * 2
    with raw(path) as connection:
        rows = connection.execute("SELECT stream, position FROM entries ORDER BY position").fetchall()
    assert [position for _, position in rows] == list(range(threads * each))
    assert {stream for stream, _ in rows} == {
        f"d{number}.{n}" for number in range(threads) for n in range(each)
    }
    for store in stores:
        store.close()
