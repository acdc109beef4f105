"""`append_event` on PostgreSQL with one connection and with eight, beside single-row commits of psycopg.

All happens in a database of its own, which is dropped afterwards.
"""

import os
from collections.abc import Callable, Generator
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from time import perf_counter
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import sql

from benchmarks.people import append_verdict, begin_decision
from benchmarks.results import Outcome
from benchmarks.timing import in_turns
from benchmarks.workloads import Setting
from benchmarks.workloads.append import Appending
from benchmarks.workloads.limits import ROW
from benchmarks.workloads.together import in_threads
from nexus_control import DecisionStore

CONNECTIONS = 8
DECISIONS = 40
TURNS = 2
NO_STORAGE = "this version has no storage in PostgreSQL"


def run(setting: Setting) -> Outcome:
    if setting.postgresql is None:
        raise ValueError("this workload needs a server")
    with _database(setting.postgresql) as url:
        with closing(_connected(url)) as connection:
            connection.execute("CREATE TABLE raw (number bigserial PRIMARY KEY, content text)")
        if find_spec("nexus_control.storage.postgres") is None:
            return _raw_only(url, setting.sizes.seconds)
        return _beside_raw(url, setting.folder / "log", setting.sizes.seconds)


def _raw_only(url: str, seconds: float) -> Outcome:
    with closing(_connected(url)) as connection:
        raw = in_turns({"raw": _raw_commits(connection)}, seconds)["raw"].per_second
    together = _rate_of([_raw_turn(url, seconds)])
    metrics = {"calib_commits_per_s": raw, f"calib_commits_{CONNECTIONS}_per_s": together}
    return Outcome(metrics=metrics, skipped={"bad_missing_events": NO_STORAGE, "events_per_s": NO_STORAGE})


def _beside_raw(url: str, log_folder: Path, seconds: float) -> Outcome:
    options: dict[str, Any] = {"log_folder": log_folder}  # versions without this storage do not know it
    with ExitStack() as opened:
        store = opened.enter_context(DecisionStore(url, **options))
        connection = opened.enter_context(closing(_connected(url)))
        alone = Appending(store, DECISIONS)
        timed = in_turns({"raw": _raw_commits(connection), "alone": alone}, 2 * seconds)
        shared = [
            [begin_decision(store) for _ in range(DECISIONS // CONNECTIONS)] for _ in range(CONNECTIONS)
        ]
        numbers = [count() for _ in range(CONNECTIONS)]
        raw: list[list[Turn]] = []
        ours: list[list[Turn]] = []
        for _ in range(TURNS):
            raw.append(_raw_turn(url, seconds / TURNS))
            ours.append(_our_turn(store, shared, numbers, seconds / TURNS))
        wanted = sum(each.calls for turn in ours for each in turn) + 2 * sum(map(len, shared))
        in_log = sum(len(store.get_events(each)) for decisions in shared for each in decisions)
        missing = alone.missing() + abs(wanted - in_log)
    return Outcome(
        metrics={
            "calib_commits_per_s": timed["raw"].per_second,
            f"calib_commits_{CONNECTIONS}_per_s": _rate_of(raw),
            "events_per_s": timed["alone"].per_second,
            f"events_{CONNECTIONS}_per_s": _rate_of(ours),
            "bad_missing_events": missing,
        }
    )


class Turn:
    """Calls again and again until its seconds are up."""

    def __init__(self, call: Callable[[], object], seconds: float) -> None:
        self.calls, self.seconds = 0, 0.0
        self._call, self._wanted = call, seconds

    def __call__(self) -> "Turn":
        begun = perf_counter()
        while self.seconds < self._wanted:
            self._call()
            self.calls += 1
            self.seconds = perf_counter() - begun
        return self


def _rate_of(turns: list[list[Turn]]) -> float:
    calls = sum(each.calls for turn in turns for each in turn)
    return calls / sum(max(each.seconds for each in turn) for turn in turns)


def _raw_turn(url: str, seconds: float) -> list[Turn]:
    with ExitStack() as opened:
        connections = [opened.enter_context(closing(_connected(url))) for _ in range(CONNECTIONS)]

        def prepare(number: int) -> Turn:
            return Turn(_raw_commits(connections[number]), seconds)

        return in_threads(CONNECTIONS, prepare)


def _our_turn(
    store: DecisionStore, decisions: list[list[str]], numbers: list["count[int]"], seconds: float
) -> list[Turn]:
    def append(thread: int) -> None:
        number, mine = next(numbers[thread]), decisions[thread]
        append_verdict(store, mine[number % len(mine)], number // len(mine))

    def prepare(thread: int) -> Turn:
        store.decision_exists(decisions[thread][0])  # opens this thread's connection
        return Turn(partial(append, thread), seconds)

    return in_threads(CONNECTIONS, prepare)


def _raw_commits(connection: psycopg.Connection) -> Callable[[], object]:
    return lambda: connection.execute("INSERT INTO raw (content) VALUES (%s)", (ROW,), prepare=True)


def _connected(url: str) -> psycopg.Connection:
    connection = psycopg.connect(url, autocommit=True)
    connection.execute("SET synchronous_commit = on")
    return connection


@contextmanager
def _database(server: str) -> Generator[str]:
    """The URL of a new database on this server."""
    name = f"benchmarks_{os.getpid()}"
    with closing(_connected(server)) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        try:
            yield urlunsplit(urlsplit(server)._replace(path=f"/{name}"))
        finally:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
