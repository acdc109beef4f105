"""Conducts a soak: forks writers and watchers, kills each with SIGKILL after a while, and has the outcome judged.

It works in rounds. At the end of each the living are asked to stop with SIGTERM, and a process of its own judges all
that was done since the beginning. Only processes that were forked here are ever killed, and by their pid.
"""

import json
import os
import signal
import sys
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from types import FrameType
from typing import NoReturn, Protocol

from tests.concurrency.crashing import end_of, fork
from tests.soak.judging import judge
from tests.soak.places import PLACES, Place
from tests.soak.watching import Follower, Reader, Signer
from tests.soak.working import Writer

_STOPPED = 0
_FAILED = 2
_LOOK_SECONDS = 0.05
_WRITERS_LIVE = (0.5, 8.0)
_WATCHERS_LIVE = (2.0, 15.0)


class Living(Protocol):
    def step(self) -> None: ...


@dataclass
class Life:
    """A process: who it is, when it is killed, and how often somebody lived in its place before."""

    place: str
    number: int
    pid: int
    dies_at: float


@dataclass
class Soak:
    place: Place
    folder: Path
    seed: int
    writers: int = 8
    killed: int = 0
    upsets: dict[str, int] = field(default_factory=dict[str, int])
    problems: list[str] = field(default_factory=list[str])
    figures: dict[str, int] = field(default_factory=dict[str, int])

    def run(self, seconds: float, rounds: int) -> bool:
        """Whether all agreed after each round."""
        self.began = time.monotonic()
        for number in range(rounds):
            self._round(number, seconds / rounds)
            if not self._judged():
                return False
        if not self.figures["executed"]:
            self.problems.append("nothing was executed: there was no time to try anything")
        return not self.problems

    def _round(self, number: int, seconds: float) -> None:
        chance = Random(f"{self.seed}.{number}")
        ends = time.monotonic() + seconds
        places = [f"writer-{n}" for n in range(self.writers)]
        places += ["reader-0", "reader-1", "follower-0", "follower-1", "signer-0"]
        living = [self._born(place, number, 0, chance) for place in places]
        try:
            self._kill_and_bear(living, number, ends, chance)
        except BaseException:
            for life in living:
                os.kill(life.pid, signal.SIGKILL)
            raise
        for life in living:
            os.kill(life.pid, signal.SIGTERM)
        for life in living:
            self._buried(life, _STOPPED, -signal.SIGTERM)  # by SIGTERM: it was only just born

    def _kill_and_bear(self, living: list[Life], number: int, ends: float, chance: Random) -> None:
        told = upset = time.monotonic()
        while (now := time.monotonic()) < ends:
            time.sleep(_LOOK_SECONDS)
            for index, life in enumerate(living):
                if life.dies_at <= now:
                    os.kill(life.pid, signal.SIGKILL)
                    self._buried(life, -signal.SIGKILL)
                    self.killed += 1
                    living[index] = self._born(life.place, number, life.number + 1, chance)
            if now - upset >= 1:
                upset = now
                if (what := self.place.upset(chance)) is not None:
                    self.upsets[what] = self.upsets.get(what, 0) + 1
            if now - told >= 5:
                told = now
                _say(self._progress(number))

    def _born(self, place: str, round_number: int, number: int, chance: Random) -> Life:
        shortest, longest = _WRITERS_LIVE if place.startswith("writer") else _WATCHERS_LIVE
        name = f"{place}.{round_number}.{number}"
        pid = fork(lambda: self._live(place, name))
        return Life(place, number, pid, time.monotonic() + chance.uniform(shortest, longest))

    def _buried(self, life: Life, *expected: int) -> None:
        if (code := end_of(life.pid)) not in expected:
            self.problems.append(f"{life.place}, life {life.number}: ended with {code}")

    def _live(self, place: str, name: str) -> None:
        stopped: list[int] = []

        def stop(number: int, _frame: FrameType | None) -> None:
            stopped.append(number)

        signal.signal(signal.SIGTERM, stop)
        conductor = os.getppid()
        with _Exiting():
            one = self._one(place, name)
            while not stopped and os.getppid() == conductor:
                one.step()

    def _one(self, place: str, name: str) -> Living:
        tools = self.place.tools()
        match place.split("-")[0]:
            case "writer":
                return Writer(tools, self.folder, self.seed, name)
            case "reader":
                return Reader(tools, self.folder, self.seed, name)
            case "follower":
                return Follower(tools, self.folder, place, name)
            case _:
                return Signer(tools, self.folder, self.seed, name)

    def _judged(self) -> bool:
        verdict = self.folder / "verdict"
        verdict.unlink(missing_ok=True)
        began = time.monotonic()

        def work() -> None:
            with _Exiting():
                verdict.write_text(json.dumps(judge(self.place, self.folder)), encoding="utf-8")

        if end_of(fork(work)) != _STOPPED:
            self.problems.append("the judge failed")
            return False
        found, self.figures = json.loads(verdict.read_text(encoding="utf-8"))
        self.problems += found
        _say(
            f"  judged {self.figures['entries']} entries in {time.monotonic() - began:.0f} s: {_verdict(found)}"
        )
        return not found

    def _progress(self, number: int) -> str:
        size = sum(path.stat().st_size for path in self.folder.glob("*.calls"))
        upsets = ", ".join(f"{what} {count}" for what, count in self.upsets.items())
        return (
            f"{self.place.name} {time.monotonic() - self.began:5.0f} s  round {number}"
            f"  {self.killed} killed  {size // 1024} KiB of calls  {upsets}"
        )

    def table(self) -> str:
        rows = {
            "killed processes": self.killed,
            **self.upsets,
            **self.figures,
            "disagreements": len(self.problems),
        }
        lines = [f"{self.place.name}, seed {self.seed}", *(f"  {name:<18}{n:>9}" for name, n in rows.items())]
        return "\n".join([*lines, *self.problems])


def soak(storage: str, folder: Path, seconds: float, rounds: int, seed: int, writers: int) -> None:
    """Exits 1 where anything disagrees. For a process that may fork: see `in_nursery`."""
    place = PLACES[storage](folder)
    conductor = Soak(place, folder, seed, writers)
    try:
        agreed = conductor.run(seconds, rounds)
    finally:
        place.close()
    print(conductor.table(), flush=True)
    if not agreed:
        sys.exit(1)


def _say(line: str) -> None:
    print(line, flush=True)


def _verdict(found: list[str]) -> str:
    return "all agrees" if not found else f"{len(found)} disagreements"


class _Exiting:
    """Ends this process after the block: with 0, or with 2 and the traceback on standard error."""

    def __enter__(self) -> None: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: object
    ) -> NoReturn:
        if error is not None:
            traceback.print_exception(error)
        sys.stderr.flush()
        os._exit(_STOPPED if error is None else _FAILED)
