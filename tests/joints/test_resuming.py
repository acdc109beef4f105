"""A process that knows only an idempotency key is killed with SIGKILL, begins again, and still gets its one run.

It requests, waits until somebody else has approved, executes, and reads what the step gave back. Each try kills it
twice: at a line of one of these four phases, then at any moment, also inside SQLite. The third time it may end.
"""

import json
import os
import random
import select
import signal
import sys
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Final, Literal, TypeAlias, get_args

from nexus_control import LocalRouter, NexusControlTools, PythonAdapter
from nexus_control.execution import current
from tests.concurrency.crashing import end_of, fork, in_nursery, kill_this_process
from tests.support.amounts import number_of
from tests.support.governed import ALICE, BOB, SCHEDULER, data_of, require_whole_store
from tests.support.places import REPOSITORY

TRIES = number_of(100, few=20)
Phase: TypeAlias = Literal["request", "wait", "execute", "result"]
PHASES: Final[tuple[Phase, ...]] = get_args(Phase)
PACKAGE = str(REPOSITORY / "nexus_control")
PLAN = [
    {
        "step_id": "s1",
        "intent": "Book it",
        "call": {"tool": "ledger", "method": "book", "args": {"what": "x"}},
    }
]
_LONGEST = 0.15


@dataclass(frozen=True)
class Death:
    """The process dies at this line of the package, counted from the beginning of the phase."""

    phase: Phase
    line: int


class Life:
    """Counts the lines of each phase, and dies where it has to."""

    def __init__(self, death: Death | None) -> None:
        self.death = death
        self.lines = dict.fromkeys(PHASES, 0)
        self.phase: Phase = "request"

    @contextmanager
    def living(self, phase: Phase) -> Generator[None]:
        self.phase = phase
        sys.settrace(self._called)
        try:
            yield
        finally:
            sys.settrace(None)

    def _called(self, frame: FrameType, _event: str, _value: object) -> Callable[..., Any] | None:
        if frame.f_code.co_filename.startswith((PACKAGE, __file__)):
            return self._line
        return None

    def _line(self, _frame: FrameType, _event: str, _value: object) -> Callable[..., Any]:
        if self.death == Death(self.phase, self.lines[self.phase]):
            kill_this_process()
        self.lines[self.phase] += 1
        return self._line


def resume(folder: Path, key: str, out: int, life: Life) -> None:
    """All that the process does; it knows the key alone."""
    ledger = folder / "ledger"

    def book(what: str) -> dict[str, str]:
        receipt = {"booked": what, "by": current().execution_id}
        descriptor = os.open(ledger, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(descriptor, f"{current().request_id}\n".encode())
        os.close(descriptor)
        return receipt

    def tell(**said: object) -> None:
        os.write(out, f"{json.dumps(said)}\n".encode())

    tools = NexusControlTools(folder / "store.db")
    router = LocalRouter([PythonAdapter("ledger", {"book": book})], folder / "store.db.runs")
    data_of(tools.recover())
    with life.living("request"):
        asked = data_of(tools.request("Book it", ALICE, mode="apply", plan=PLAN, idempotency_key=key))
    request_id: str = asked["request_id"]
    tell(asked=request_id)
    with life.living("wait"):
        state = data_of(tools.wait_for(request_id, ["approved", "completed", "failed"], timeout=240))["state"]
    if state == "approved":
        with life.living("execute"):
            data_of(tools.execute(request_id, "python:ledger", SCHEDULER, router))
    with life.living("result"):
        result = data_of(tools.result(request_id))
    tell(ended=request_id, results=result["results"], outcome=result["outcome"], lines=life.lines)


class Desk:
    """The nursery's side of one try: it approves what is asked for, and settles what nobody knows."""

    def __init__(self, folder: Path, key: str) -> None:
        self.folder, self.key = folder, key
        self.settled: str | None = None

    def live(self, death: Death | None = None, seconds: float | None = None) -> dict[str, Any] | None:
        """One life of the process; what it told at its end, None if it was killed before. It is killed at `death`, or
        after so many seconds, if it has not ended by then.
        """
        readable, writable = os.pipe()
        pid = fork(lambda: resume(self.folder, self.key, writable, Life(death)))
        os.close(writable)
        told: dict[str, Any] = {}
        with os.fdopen(readable) as pipe:
            if seconds is not None:
                if self._has_asked(pipe.fileno(), seconds):
                    told = self._heard(pipe.readline())
                    select.select([pipe], [], [], seconds)
                os.kill(pid, signal.SIGKILL)
            for line in pipe:
                told = self._heard(line)
        end = end_of(pid)
        assert end in (1, -signal.SIGKILL), end  # 1: `fork` ends so, when it has done its work
        return told if "ended" in told else None

    def _has_asked(self, pipe: int, seconds: float) -> bool:
        return bool(select.select([pipe], [], [], seconds)[0])

    def _heard(self, line: str) -> dict[str, Any]:
        told = json.loads(line or "{}")
        if "asked" in told:
            self._decide(told["asked"])
        return told

    def _decide(self, request_id: str) -> None:
        with NexusControlTools(self.folder / "store.db") as tools:
            state = data_of(tools.status(request_id))["state"]
            if state == "pending_approval":
                data_of(tools.approve(request_id, BOB))
            if state == "outcome_unknown":
                self.settled = "completed" if booked(self.folder, request_id) else "failed"
                data_of(tools.reconcile(request_id, ALICE, self.settled, "Looked into the ledger"))


def booked(folder: Path, request_id: str) -> int:
    ledger = folder / "ledger"
    return ledger.read_text().splitlines().count(request_id) if ledger.exists() else 0


def die_and_resume(folder: Path, tries: int) -> None:
    """Writes what came of each try to the file `tries`."""
    chance = random.Random(20261126)
    whole = Desk(folder, "whole").live()
    assert whole is not None
    ends: list[Mapping[str, Any]] = [{"key": "whole", "deaths": 0, "settled": None, **whole}]
    dead = 0
    for number in range(3 * tries):
        if number >= tries and dead >= tries:
            break  # a process that is quick enough outlives its death: then another has to die
        phase = PHASES[number % len(PHASES)]
        death = Death(phase, chance.randrange(whole["lines"][phase]))
        desk = Desk(folder, f"key-{number}")
        early = desk.live(death)
        late = early or desk.live(seconds=chance.uniform(0, _LONGEST))
        told = desk.live()
        assert told is not None
        deaths = [early, late].count(None)
        dead += deaths
        ends.append({"key": desk.key, "phase": phase, "deaths": deaths, "settled": desk.settled, **told})
    (folder / "tries").write_text(json.dumps(ends))


def test_who_knows_only_the_key_gets_one_run_and_the_steps_own_value_however_often_killed(
    tmp_path: Path,
) -> None:
    in_nursery(die_and_resume, tmp_path, TRIES)
    ends = json.loads((tmp_path / "tries").read_text())
    with NexusControlTools(tmp_path / "store.db") as tools:
        for end in ends:
            require_one_run(tools, tmp_path, end)
        assert sorted(require_whole_store(tools.store)) == sorted(end["ended"] for end in ends)
    assert {end["phase"] for end in ends[1:] if end["deaths"]} == set(PHASES)
    assert sum(end["deaths"] for end in ends) >= TRIES


def require_one_run(tools: NexusControlTools, folder: Path, end: Mapping[str, Any]) -> None:
    """One decision, one execution, one line in the ledger, and the receipt; or none, as a person found out."""
    again = data_of(tools.request("Book it", ALICE, mode="apply", plan=PLAN, idempotency_key=end["key"]))
    assert (again["request_id"], again["created"]) == (end["ended"], False)
    status = data_of(tools.status(end["ended"]))
    (execution,) = status["executions"]
    receipt = {"booked": "x", "by": execution["execution_id"]}
    lines = booked(folder, end["ended"])
    assert status["state"] == execution["outcome"] == end["outcome"] == (end["settled"] or "completed")
    assert lines == (1 if end["outcome"] == "completed" else 0), end
    found = [(step["status"], step["output"]) for step in end["results"]]
    if end["settled"] is None:
        assert found == [("ok", receipt)]
    elif lines:  # it died in the run: the run log knows the step's value, or that the step was begun
        assert found in ([("ok", receipt)], [("unknown", None)]), end
    else:  # before its effect
        assert found in ([("unknown", None)], []), end
