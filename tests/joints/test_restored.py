"""After a backup was put back, many execute what has had its run: the router runs no second time."""

import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from nexus_control import DecisionStore, NexusControlTools
from nexus_control.log.upkeep import accept_rollback, find_faults
from nexus_control.values.results import ToolResult
from tests.concurrency.racing import Racers, Start, TallyRouter, runs_in
from tests.support.amounts import ROUNDS
from tests.support.governed import ADAPTER, ALICE, BOB, SCHEDULER, approved, data_of

THREADS = 4


@pytest.fixture(scope="module", params=[1, 2], ids=["one process", "two processes"])
def racers(request: pytest.FixtureRequest) -> Iterator[Racers]:
    with Racers(request.param) as racers:
        yield racers


def restore(backup: Path, database: Path) -> None:
    """While nothing is open. Two that close at the same moment may leave the newer -wal."""
    for leftover in database.parent.glob("d.db-*"):
        leftover.unlink()
    shutil.copy(backup, database)


def execute(
    request_id: str, tally: Path, tools: NexusControlTools, number: int, start: Start
) -> list[ToolResult[Any]]:
    start()
    return [tools.execute(request_id, ADAPTER, SCHEDULER, TallyRouter(tally)) for _ in range(2)]


def append_and_deny(tools: NexusControlTools, number: int, start: Start) -> list[ToolResult[Any]]:
    """Makes the restored log longer than the head, and brings the head forward where it may."""
    start()
    return [tools.deny(approved(tools), BOB, "r") for _ in range(2)]


def test_of_many_who_execute_after_a_restore_none_runs_the_router(racers: Racers, tmp_path: Path) -> None:
    backup, database = tmp_path / "backup", tmp_path / "d.db"
    with DecisionStore(backup) as store:
        request_id = approved(NexusControlTools(store), goal="once")
    for number in range(ROUNDS):
        database.with_name("d.db.head").unlink(missing_ok=True)
        tally = tmp_path / f"tally-{number}"
        run_once = partial(execute, request_id, tally)
        restore(backup, database)
        first = racers.race(database, run_once, threads=THREADS)
        assert [result.error_code for results in first for result in results].count(None) == 1
        restore(backup, database)
        results = racers.race(database, [run_once, append_and_deny], threads=THREADS)
        assert runs_in(tally) == ["once"]
        for thread in range(0, THREADS, 2):
            assert {result.error_code for result in results[thread]} == {"STORE_ROLLED_BACK"}
            assert all(result.success for result in results[thread + 1])
        with DecisionStore(database) as store:
            assert [fault.code for fault in find_faults(store)] == ["STORE_ROLLED_BACK"]


def test_of_many_who_execute_while_the_owner_accepts_the_loss_one_runs_the_router(
    racers: Racers, tmp_path: Path
) -> None:
    backup, database = tmp_path / "backup", tmp_path / "d.db"
    with DecisionStore(backup) as store:
        request_id = approved(NexusControlTools(store), goal="once")
    for number in range(ROUNDS):
        database.with_name("d.db.head").unlink(missing_ok=True)
        tally = tmp_path / f"tally-{number}"
        restore(backup, database)
        with DecisionStore(database) as store:
            router = TallyRouter(tally)
            data_of(NexusControlTools(store).execute(request_id, ADAPTER, SCHEDULER, router))
        restore(backup, database)
        results = racers.race(database, [partial(execute, request_id, tally), accept], threads=THREADS)
        codes = [result.error_code for results in results[::2] for result in results]
        assert set(codes) <= {None, "STORE_ROLLED_BACK", "EXECUTING", "POLICY_NOT_SATISFIED"}
        assert len(runs_in(tally)) == 1 + codes.count(None) <= 2
        with DecisionStore(database) as store:
            assert find_faults(store) == []


def accept(tools: NexusControlTools, number: int, start: Start) -> list[ToolResult[Any]]:
    start()
    accept_rollback(tools.store, ALICE)
    return []
