"""Processes that tell one sink, of a file and of a PostgreSQL store."""

import multiprocessing
import signal
from pathlib import Path

import pytest

from nexus_control import NexusControlTools
from tests.notify.racing import courier, tell_and_die, tell_until_all_are_told
from tests.support.governed import ALICE, data_of

_SPAWN = multiprocessing.get_context("spawn")


@pytest.fixture(params=["file", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "file":
        return str(tmp_path / "store.db")
    return request.getfixturevalue("postgres_url")


def asked(place: str, count: int, file: Path) -> list[str]:
    """The ids of the events of so many requests. The sink was there before them."""
    with NexusControlTools(place) as tools:
        assert courier(tools.store, file).step() == "begun"
        made = [data_of(tools.request("Rotate", ALICE, mode="apply")) for _ in range(count)]
    return [f"evt_{each['request_id']}_1" for each in made]


def test_of_processes_that_race_for_a_sink_one_tells_each_event_in_order(place: str, tmp_path: Path) -> None:
    file, racers = tmp_path / "tally", 3
    events = asked(place, 15, file)
    ready = _SPAWN.Barrier(racers)
    processes = [
        _SPAWN.Process(target=tell_until_all_are_told, args=(place, file, ready, len(events)))
        for _ in range(racers)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * racers
    assert file.read_text().split() == events


def test_what_a_killed_process_sent_and_did_not_record_is_sent_again_at_once(
    place: str, tmp_path: Path
) -> None:
    file = tmp_path / "tally"
    events = asked(place, 2, file)
    process = _SPAWN.Process(target=tell_and_die, args=(place, file))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    with NexusControlTools(place) as tools:
        other = courier(tools.store, file)
        while other.step() != "idle":
            pass
    assert file.read_text().split() == [events[0], *events]
