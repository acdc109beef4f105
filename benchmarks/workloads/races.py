"""Several at once execute one approved decision, or approve as one person: exactly one succeeds."""

from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from time import sleep

from benchmarks.fixtures import ADAPTER
from benchmarks.people import ALICE, BOB, DAVE, CountingRouter, opened
from benchmarks.results import Outcome
from benchmarks.workloads import Setting
from benchmarks.workloads.together import Processes, begin_together, in_threads
from nexus_control import Actor, EventType, NexusControlTools

THREADS = 8
PROCESSES = 4
RUN_SECONDS = 0.002
APART = 0.0015


def run(setting: Setting) -> Outcome:
    workers = Processes[tuple[str, str, str, float]](PROCESSES)  # forked before a store is open
    with closing(workers):
        of_processes = [
            _race_of_processes(workers, setting.folder, number) for number in range(setting.sizes.races)
        ]
    with opened(setting.folder / "threads.db") as tools:
        of_threads = [_race_of_threads(tools, number) for number in range(setting.sizes.races)]
        twice = sum(_approvals_of_one_person(tools) - 1 for _ in range(setting.sizes.races))
        again = _runs_of_a_second_execute(tools) - 1
    runs = [*of_processes, *of_threads]
    return Outcome(
        metrics={
            "bad_second_runs_of_processes": sum(max(0, each - 1) for each in of_processes),
            "bad_second_runs_of_threads": sum(max(0, each - 1) for each in of_threads),
            "bad_races_without_a_run": runs.count(0),
            "bad_person_counted_twice": twice,
            "bad_execute_ran_again": again,
            "info_races": len(runs),
        }
    )


def _approved(tools: NexusControlTools) -> str:
    decision_id = tools.request("Rotate", ALICE, mode="apply", min_approvals=1).data["request_id"]
    _ = tools.approve(decision_id, BOB).data
    return decision_id


def _pause(race: int, number: int) -> float:
    """Contenders of every second race come one after the other, as they do in life."""
    return number * APART * (race % 2)


def _race_of_threads(tools: NexusControlTools, race: int) -> int:
    decision_id, router = _approved(tools), CountingRouter(seconds=RUN_SECONDS)

    def prepare(number: int) -> Callable[[], None]:
        return partial(_execute, tools, decision_id, router, _pause(race, number))

    in_threads(THREADS, prepare)
    return router.runs


def _race_of_processes(workers: Processes[tuple[str, str, str, float]], folder: Path, race: int) -> int:
    database, log = folder / f"race-{race}.db", folder / f"race-{race}.log"
    log.touch()
    [decision_id] = _in_a_child(workers, database)
    workers(
        _contend, [(str(database), decision_id, str(log), _pause(race, each)) for each in range(PROCESSES)]
    )
    return len(log.read_text(encoding="utf-8").splitlines())


def _in_a_child(workers: Processes[tuple[str, str, str, float]], database: Path) -> list[str]:
    """Made by a child, since this process forks and so opens no store."""
    return workers(_prepare, [(str(database), "", "", 0.0)])


def _prepare(given: tuple[str, str, str, float]) -> str:
    with opened(given[0]) as tools:
        return _approved(tools)


def _contend(given: tuple[str, str, str, float]) -> None:
    database, decision_id, log, pause = given
    with opened(database) as tools:
        tools.status(decision_id)
        begin_together()
        _execute(tools, decision_id, CountingRouter(seconds=RUN_SECONDS, log=Path(log)), pause)


def _execute(tools: NexusControlTools, decision_id: str, router: CountingRouter, pause: float) -> None:
    sleep(pause)
    tools.execute(decision_id, ADAPTER, DAVE, router)


def _approvals_of_one_person(tools: NexusControlTools) -> int:
    decision_id = tools.request("Rotate", ALICE, mode="apply", min_approvals=2).data["request_id"]

    def prepare(_: int) -> Callable[[], object]:
        return partial(tools.approve, decision_id, Actor(type="human", id="one-person"))

    in_threads(THREADS, prepare)
    return sum(
        event.event_type == EventType.APPROVAL_GRANTED for event in tools.store.get_events(decision_id)
    )


def _runs_of_a_second_execute(tools: NexusControlTools) -> int:
    decision_id, router = _approved(tools), CountingRouter()
    for _ in range(2):
        tools.execute(decision_id, ADAPTER, DAVE, router)
    return router.runs
