"""Processes that race on a PostgreSQL server."""

from functools import partial
from pathlib import Path

import pytest

from nexus_control import NexusControlTools
from tests.concurrency.racing import Racers, runs_in
from tests.concurrency.test_races import execute_each
from tests.support.amounts import number_of
from tests.support.governed import approved, data_of, reasons, require_whole_store

RACES = number_of(200, few=20)


@pytest.mark.parametrize("has_folder", [True, False], ids=["log folder", "no log folder"])
def test_of_four_processes_that_execute_one_decision_exactly_one_runs_the_router(
    postgres_url: str, tmp_path: Path, has_folder: bool
) -> None:
    tally, folder = tmp_path / "tally", tmp_path / "log" if has_folder else None
    with NexusControlTools(postgres_url, log_folder=folder) as tools, Racers(4) as racers:
        request_ids = [approved(tools, goal=f"race {number}") for number in range(RACES)]
        results = racers.race(
            postgres_url, partial(execute_each, request_ids, tally), threads=4, log_folder=folder
        )
        assert runs_in(tally) == sorted(f"race {number}" for number in range(RACES))
        for number, request_id in enumerate(request_ids):
            losers = [each[number] for each in results if not each[number].success]
            assert len(losers) == 3
            assert {tuple(reasons(loser)) for loser in losers} <= {("EXECUTING",), ("ALREADY_EXECUTED",)}
            assert data_of(tools.status(request_id))["state"] == "completed"
        assert require_whole_store(tools.store) == request_ids[::-1]
