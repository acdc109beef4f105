"""Commits that threads share: one thread does the writes that wait for it, and nobody hears before the COMMIT."""

import sqlite3
import threading
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import pytest

from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.storage.sqlite import SqliteStorage
from nexus_control.storage.sqlite_connection import connect, roll_back
from nexus_control.storage.sqlite_writer import Part, Writer
from nexus_control.storage.usage import Turn
from tests.storage.contract_suite import refused
from tests.storage.rows import entry
from tests.storage.steps import append, in_thread, log_size, raw

Work = Callable[[sqlite3.Connection], object]
Who = Literal["itself", "another thread"]
Answer = Future[tuple[object, Who]]
"""What came of a thread's write, and who did it."""
SECONDS = 240.0  # against a hang


class Counter:
    """A SQLite file with a table of numbers, its one connection for writing, and the writer's lock."""

    def __init__(self, path: Path) -> None:
        self.writer = Writer(str(path))
        self.connection = connect(path.as_uri(), 0)
        self.connection.execute(
            "CREATE TABLE numbers(n INTEGER PRIMARY KEY, other REFERENCES numbers DEFERRABLE INITIALLY DEFERRED)"
        )
        self.turn = Turn()
        self._threads = ThreadPoolExecutor(8)

    def begin(self) -> None:
        self.writer.take(self.turn, 0)
        self.connection.execute("BEGIN IMMEDIATE")

    def ask(self, *works: Work) -> list[Answer]:
        """Each in a thread of its own."""
        return [self._threads.submit(self._write, work) for work in works]

    def _write(self, work: Work) -> tuple[object, Who]:
        part, who = Part(work), "another thread"
        try:
            if self.writer.take(Turn(), SECONDS, part):
                who = "itself"
                self.connection.execute("BEGIN IMMEDIATE")
                part.run(self.connection)
                self.writer.commit(self.connection, ())
        finally:
            if who == "itself":
                roll_back(self.connection)
            self.writer.give_back()
        return part.result(), who

    def run_waiting(self, wanted: int) -> list[Part[object]]:
        """Run the parts that wait, until so many were run."""
        parts: list[Part[object]] = []
        while len(parts) < wanted:
            ran = self.writer.run_waiting(self.connection)
            assert ran is not None
            parts += ran
        return parts

    def numbers(self) -> list[int]:
        return [n for (n,) in self.connection.execute("SELECT n FROM numbers ORDER BY n")]


@pytest.fixture
def counter(tmp_path: Path) -> Generator[Counter]:
    counter = Counter(tmp_path / "numbers.db")
    yield counter
    counter.connection.close()


def adding(n: int) -> Work:
    def add(connection: sqlite3.Connection) -> str:
        connection.execute("INSERT INTO numbers(n) VALUES (?)", (n,))
        return f"added {n}"

    return add


def refusing(connection: sqlite3.Connection) -> None:
    connection.execute("INSERT INTO numbers(n) VALUES (99)")
    raise NexusControlError(ErrorCode.ALREADY_APPROVED, "no")


def errors(answers: list[Answer]) -> list[object]:
    return [type(answer.exception(SECONDS)) for answer in answers]


def test_writes_that_wait_are_committed_with_the_one_before_and_answered_after_it(counter: Counter) -> None:
    counter.begin()
    counter.connection.execute("INSERT INTO numbers(n) VALUES (0)")
    answers = counter.ask(*map(adding, range(1, 5)))
    parts = counter.run_waiting(4)
    assert [part.is_settled for part in parts] == [False] * 4
    assert not any(answer.done() for answer in answers)
    counter.writer.commit(counter.connection, parts)
    counter.writer.give_back()
    found = [answer.result(SECONDS) for answer in answers]
    assert found == [(f"added {n}", "another thread") for n in range(1, 5)]
    assert counter.numbers() == [0, 1, 2, 3, 4]


def test_a_refused_write_takes_nothing_of_the_others_with_it_and_hears_after_the_commit(
    counter: Counter,
) -> None:
    counter.begin()
    answers = counter.ask(adding(1), refusing, adding(2))
    parts = counter.run_waiting(3)
    assert not any(answer.done() for answer in answers)
    counter.writer.commit(counter.connection, parts)
    counter.writer.give_back()
    with refused(ErrorCode.ALREADY_APPROVED):
        answers[1].result(SECONDS)
    assert [answers[0].result(SECONDS), answers[2].result(SECONDS)] == [
        ("added 1", "another thread"),
        ("added 2", "another thread"),
    ]
    assert counter.numbers() == [1, 2]


def test_everybody_hears_that_a_commit_failed_and_nothing_is_stored(counter: Counter) -> None:
    def dangling(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO numbers(n, other) VALUES (3, 77)")

    counter.connection.execute("PRAGMA foreign_keys = ON")
    counter.begin()
    answers = counter.ask(adding(1), dangling, refusing)
    parts = counter.run_waiting(3)
    with pytest.raises(sqlite3.IntegrityError):
        counter.writer.commit(counter.connection, parts)
    counter.writer.give_back()
    assert errors(answers) == [sqlite3.IntegrityError] * 3
    assert counter.numbers() == []


@pytest.mark.parametrize("fault", [sqlite3.OperationalError("disk I/O error"), ValueError("a defect")])
def test_after_a_fault_of_one_write_each_thread_does_its_own(counter: Counter, fault: Exception) -> None:
    def failing(_: sqlite3.Connection) -> None:
        raise fault

    counter.begin()
    counter.connection.execute("INSERT INTO numbers(n) VALUES (0)")
    answers = counter.ask(adding(1), failing, adding(2))
    while counter.writer.run_waiting(counter.connection) is not None:
        pass
    assert not counter.connection.in_transaction
    counter.writer.give_back()
    assert [answers[0].result(SECONDS)[0], answers[1].exception(SECONDS), answers[2].result(SECONDS)[0]] == [
        "added 1",
        fault,
        "added 2",
    ]
    assert counter.numbers() == [1, 2]


def test_an_interrupted_thread_leaves_the_writes_of_others_to_themselves(counter: Counter) -> None:
    interruptions = iter([KeyboardInterrupt()])

    def interrupted_once(connection: sqlite3.Connection) -> object:
        for interruption in interruptions:
            raise interruption
        return adding(2)(connection)

    counter.begin()
    answers = counter.ask(adding(1), interrupted_once)
    with pytest.raises(KeyboardInterrupt):
        counter.run_waiting(2)
    assert not counter.connection.in_transaction
    counter.writer.give_back()
    assert [answer.result(SECONDS) for answer in answers] == [("added 1", "itself"), ("added 2", "itself")]
    assert counter.numbers() == [1, 2]


def test_a_write_whose_commit_was_interrupted_is_not_done_twice(counter: Counter) -> None:
    """The thread that committed is gone before it could tell anybody."""
    counter.begin()
    (answer,) = counter.ask(adding(1))
    (part,) = counter.run_waiting(1)
    part.fault = sqlite3.OperationalError("interrupted")  # as `commit` does before its COMMIT
    counter.connection.execute("COMMIT")
    counter.writer.give_back()
    assert errors([answer]) == [sqlite3.OperationalError]
    assert counter.numbers() == [1]


def test_a_write_that_nobody_calls_looks_for_the_lock_itself(counter: Counter) -> None:
    counter.begin()
    (answer,) = counter.ask(adding(1))
    counter.run_waiting(1)
    counter.connection.execute("ROLLBACK")
    counter.writer.give_back()  # and the part was neither settled nor given back
    assert answer.result(SECONDS) == ("added 1", "itself")


def test_who_waits_too_long_is_refused_and_leaves_nothing_to_do(counter: Counter) -> None:
    counter.begin()

    def wait_a_moment() -> None:
        with refused(ErrorCode.STORE_UNAVAILABLE):
            counter.writer.take(Turn(), 0.0, Part(adding(1)))

    in_thread(wait_a_moment)
    assert counter.writer.run_waiting(counter.connection) == []
    counter.connection.execute("ROLLBACK")
    counter.writer.give_back()


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
