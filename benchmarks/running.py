"""A run: rounds over the workloads, and within each workload the implementations in turns, a process each."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter

import nexus_control
from benchmarks.job import Job, outcome_path
from benchmarks.machine import machine
from benchmarks.results import BEFORE, OF_BEFORE, THIS, Outcome, Results, gather
from benchmarks.sizes import Sizes
from benchmarks.syncs import build_counter

HERE = Path(__file__).resolve().parents[1]
MEMORY = Path("/dev/shm")
PATIENCE = 900


@dataclass(slots=True, kw_only=True)
class Run:
    """`folder` is on the disk to measure; `postgresql` is the URL of a server."""

    folder: Path
    sizes: Sizes
    workloads: Sequence[str]
    against: Path | None = None
    postgresql: str | None = None
    problems: list[str] = field(default_factory=list[str])
    skipped: dict[str, str] = field(default_factory=dict[str, str])
    library: Path | None = None

    @property
    def checkouts(self) -> dict[str, Path]:
        return {THIS: HERE} | ({BEFORE: self.against} if self.against else {})

    def results(self) -> Results:
        begun = perf_counter()
        self.library = build_counter(self.folder)
        made = self._make_fixtures()
        rounds = [self._round(number) for number in range(self.sizes.rounds if made else 0)]
        return Results(
            version=nexus_control.__version__,
            machine=machine(self.postgresql),
            sizes=self.sizes,
            seconds=round(perf_counter() - begun),
            workloads=tuple(self.workloads),
            measured=gather(rounds),
            skipped=self.skipped,
            problems=self.problems,
        )

    def _make_fixtures(self) -> bool:
        """Side by side, since nothing is measured. Answers whether each version made its own."""
        for name in self.checkouts:
            self._fixtures(name).mkdir()
        with ThreadPoolExecutor(len(self.checkouts)) as pool:
            made = list(pool.map(self._perform, self.checkouts))
        if BEFORE in self.checkouts:
            for package in self._fixtures(THIS).glob("package-*.json"):
                shutil.copy(package, self._fixtures(BEFORE))
        whole = None not in made
        _say("stores and documents are made" if whole else "without stores and documents nothing is measured")
        return whole

    def _round(self, number: int) -> Mapping[tuple[str, str], Outcome]:
        begun, outcomes = perf_counter(), dict[tuple[str, str], Outcome]()
        names = list(self.checkouts)
        order = names[number % len(names) :] + names[: number % len(names)]
        for workload in self.workloads:
            for name in order:
                outcome = self._perform(name, workload)
                if outcome is not None:
                    outcomes[workload, name] = outcome
        _say(f"round {number + 1} of {self.sizes.rounds}: {perf_counter() - begun:.0f} s")
        return outcomes

    def _perform(self, name: str, workload: str | None = None) -> Outcome | None:
        """The outcome; None where the workload is skipped, or its process failed."""
        if workload == "postgresql" and (reason := self._why_no_postgresql()):
            self.skipped[workload] = reason
            return None
        above = MEMORY if workload is None and os.access(MEMORY, os.W_OK) else self.folder
        with tempfile.TemporaryDirectory(dir=above, prefix="benchmarks-") as folder:
            job = Job(
                checkout=self.checkouts[name],
                folder=Path(folder),
                fixtures=self._fixtures(name),
                sizes=self.sizes,
                workload=workload,
                with_packages=name == THIS,
                postgresql=self.postgresql if workload == "postgresql" else None,
            )
            problem = self._process(job)
            if problem is not None:
                self._note(name, f"{workload or 'fixtures'}: {problem}")
                return None
            outcome = Outcome.model_validate_json(outcome_path(job.folder).read_bytes())
        if workload is not None and name == THIS:
            self.skipped |= {f"{workload}.{metric}": why for metric, why in outcome.skipped.items()}
        return outcome

    def _process(self, job: Job) -> str | None:
        """Why the job's process failed, or None."""
        path = os.pathsep.join([str(job.checkout), str(HERE)])
        environment = {**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": "0"}
        if self.library is not None:
            environment["LD_PRELOAD"] = str(self.library)
        try:
            ran = subprocess.run(
                [sys.executable, "-P", "-m", "benchmarks.job"],
                cwd=job.folder,
                env=environment,
                input=job.model_dump_json(),
                stderr=subprocess.PIPE,
                text=True,
                timeout=PATIENCE,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return f"was not done in {PATIENCE} s"
        lines = ran.stderr.strip().splitlines()
        return None if ran.returncode == 0 else (lines[-1] if lines else f"exit code {ran.returncode}")

    def _note(self, name: str, problem: str) -> None:
        """A problem of the version before only leaves its figures out. Its text may name folders of this machine, so
        only its kind is kept.
        """
        _say(f"{name}: {problem}")
        if name == THIS:
            self.problems.append(problem)
        else:
            workload, _, text = problem.partition(": ")
            self.skipped[OF_BEFORE + workload] = kind_of(text)

    def _fixtures(self, name: str) -> Path:
        return self.folder / f"fixtures-{name}"

    def _why_no_postgresql(self) -> str | None:
        if find_spec("psycopg") is None:
            return "psycopg is not installed"
        return (
            None
            if self.postgresql
            else "there is no server: --postgresql URL, or the server's programs on PATH"
        )


def _say(text: str) -> None:
    print(f"# {text}", file=sys.stderr, flush=True)


def kind_of(problem: str) -> str:
    """The kind of a problem, without its text: the name of the exception, or the exit code.

    >>> kind_of("ImportError: cannot import name 'x' from 'y' (/somewhere/y.py)")
    'ImportError'
    """
    named = re.match(r"[A-Za-z_][\w.]*(?=:|$)|exit code -?\d+$", problem)
    return named[0] if named else "a fault"
