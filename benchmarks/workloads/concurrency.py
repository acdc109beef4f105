"""Threads and processes that request and approve on one file, and one decision that all of them approve.

Afterwards each acknowledgement is compared with the log, read by a new instance.
"""

from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from time import perf_counter

from pydantic import BaseModel, ConfigDict

from benchmarks.people import ALICE, BOB, CAROL, opened
from benchmarks.results import Outcome
from benchmarks.workloads import Setting
from benchmarks.workloads.together import Processes, begin_together, in_threads
from nexus_control import Actor, DecisionStore, NexusControlTools

TURNS = 2
HOT_THREADS = 8
HOT_EACH = 20


class Tally(BaseModel):
    """What one worker was told: how many events of which decision are acknowledged, and how many calls were refused."""

    model_config = ConfigDict(extra="forbid")

    acknowledged: dict[str, int] = {}
    refusals: int = 0
    seconds: float = 0.0


def run(setting: Setting) -> Outcome:
    metrics: dict[str, float] = {}
    shared: dict[Path, list[Tally]] = {}
    processes, database = setting.sizes.processes, setting.folder / "processes.db"
    workers = Processes[tuple[str, int, float]](processes)  # forked before a store is open
    with closing(workers):
        shared[database] = workers(
            _process, [(str(database), number, setting.sizes.seconds) for number in range(processes)]
        )
    metrics[f"processes_{processes}_events_per_s"] = _rate(shared[database])
    for database, tallies in _threads(setting).items():
        shared[database] = [tally for turn in tallies for tally in turn]
        seconds = sum(max(tally.seconds for tally in turn) for turn in tallies)
        metrics[f"{database.stem}_events_per_s"] = _acknowledged(shared[database]) / seconds
    hot = setting.folder / "hot.db"
    shared[hot] = _hot(hot)
    metrics["hot_decision_approvals_per_s"] = _rate(shared[hot])
    return Outcome(metrics=metrics | _compared(shared))


def _threads(setting: Setting) -> dict[Path, list[list[Tally]]]:
    """For each number of threads its turns, each the tallies of its threads; the numbers take turns."""
    stores = {setting.folder / f"threads_{threads}.db": threads for threads in setting.sizes.threads}
    tallies: dict[Path, list[list[Tally]]] = {database: [] for database in stores}
    with ExitStack() as stores_are_open:
        tools = {database: stores_are_open.enter_context(opened(database)) for database in stores}
        for _ in range(TURNS):
            for database, threads in stores.items():
                tallies[database].append(_one_turn(tools[database], threads, setting.sizes.seconds / TURNS))
    return tallies


def _one_turn(tools: NexusControlTools, threads: int, seconds: float) -> list[Tally]:
    def prepare(number: int) -> "Work":
        return Work(tools, f"thread {number}", seconds)

    return in_threads(threads, prepare)


class Work:
    """Requests with two approvals each, until the time is up."""

    def __init__(self, tools: NexusControlTools, name: str, seconds: float) -> None:
        tools.list_requests(limit=1)  # opens this thread's connection
        self._tools, self._name, self._seconds = tools, name, seconds

    def __call__(self) -> Tally:
        tally, begun = Tally(), perf_counter()
        while perf_counter() < begun + self._seconds:
            asked = self._tools.request(self._name, ALICE, mode="apply", min_approvals=2)
            if not asked.success:
                tally.refusals += 1
                continue
            decision_id = asked.data["request_id"]
            tally.acknowledged[decision_id] = 2
            for person in (BOB, CAROL):
                if self._tools.approve(decision_id, person).success:
                    tally.acknowledged[decision_id] += 1
                else:
                    tally.refusals += 1
        tally.seconds = perf_counter() - begun
        return tally


def _process(given: tuple[str, int, float]) -> Tally:
    database, number, seconds = given
    elsewhere = NexusControlTools()  # loads what the calls use, which is not what is measured
    asked = elsewhere.request("Warm up", ALICE, mode="apply", min_approvals=2)
    elsewhere.approve(asked.data["request_id"], BOB)
    with opened(database) as tools:
        work = Work(tools, f"process {number}", seconds)
        begin_together()
        return work()


def _hot(database: Path) -> list[Tally]:
    with opened(database) as tools:
        asked = tools.request("Rotate", ALICE, mode="apply", min_approvals=1000)
        decision_id = asked.data["request_id"]

        def prepare(thread: int) -> "Approvals":
            return Approvals(tools, decision_id, thread)

        return [Tally(acknowledged={decision_id: 2}), *in_threads(HOT_THREADS, prepare)]


class Approvals:
    """So many people approve one decision, one after the other."""

    def __init__(self, tools: NexusControlTools, decision_id: str, thread: int) -> None:
        tools.status(decision_id)
        self._tools, self._decision_id, self._thread = tools, decision_id, thread

    def __call__(self) -> Tally:
        tally, begun = Tally(acknowledged={self._decision_id: 0}), perf_counter()
        for number in range(HOT_EACH):
            if self._tools.approve(
                self._decision_id, Actor(type="human", id=f"person-{self._thread}-{number}")
            ).success:
                tally.acknowledged[self._decision_id] += 1
            else:
                tally.refusals += 1
        tally.seconds = perf_counter() - begun
        return tally


def _acknowledged(tallies: Sequence[Tally]) -> int:
    return sum(sum(tally.acknowledged.values()) for tally in tallies)


def _rate(tallies: Sequence[Tally]) -> float:
    return _acknowledged(tallies) / max(tally.seconds for tally in tallies)


def _compared(shared: dict[Path, list[Tally]]) -> dict[str, float]:
    """What was acknowledged, with what is in the logs."""
    found = dict.fromkeys(("bad_lost_events", "bad_unacknowledged_events", "bad_sequences"), 0)
    for database, tallies in shared.items():
        wanted: dict[str, int] = {}
        for tally in tallies:
            for decision_id, events in tally.acknowledged.items():
                wanted[decision_id] = wanted.get(decision_id, 0) + events
        with DecisionStore(str(database)) as store:
            for decision_id, events in wanted.items():
                seqs = [event.seq for event in store.get_events(decision_id)]
                found["bad_lost_events"] += max(0, events - len(seqs))
                found["bad_unacknowledged_events"] += max(0, len(seqs) - events)
                found["bad_sequences"] += seqs != list(range(len(seqs)))
    refusals = sum(tally.refusals for tallies in shared.values() for tally in tallies)
    return {**found, "bad_refusals": refusals}
