"""The result of a run, and the arithmetic over its rounds.

A metric is named by what it means:

| name | meaning |
|---|---|
| `…_per_s` | larger is better |
| `…_ms`, `…_mib` | smaller is better |
| `bad_…` | must be 0 in each round |
| `check_…` | must be 1 in each round |
| `calib_…` | what this machine can do at best, measured in turns with the rest |
| `info_…` | context |

A metric has one value a round, null where the round did not give it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal, TypeAlias

from pydantic import BaseModel, ConfigDict

from benchmarks.sizes import Sizes

THIS = "this"
BEFORE = "before"
OF_BEFORE = f"{BEFORE} "
"""What was left out of the earlier version begins so. It may lack what a workload needs."""
Values: TypeAlias = Sequence[float | None]


class Machine(BaseModel):
    """What the figures depend on, without saying whose machine it is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cores: int
    system: str
    python: str
    sqlite: str
    postgresql: str | None
    psycopg: str | None
    eventsourcing: str | None


class Outcome(BaseModel):
    """What one process measured, and why it left metrics out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    metrics: dict[str, float] = {}
    skipped: dict[str, str] = {}


class Results(BaseModel):
    """A whole run. `skipped` names a workload or `workload.metric`, `problems` the processes that failed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["nexus-control-benchmarks-1"] = "nexus-control-benchmarks-1"
    version: str
    machine: Machine
    sizes: Sizes
    seconds: float
    workloads: tuple[str, ...]
    measured: dict[str, dict[str, dict[str, list[float | None]]]]
    """By workload, implementation and metric."""
    skipped: dict[str, str] = {}
    problems: list[str] = []

    def values(self, workload: str, metric: str, implementation: str = THIS) -> Values:
        """One value a round; nothing for what was not measured."""
        return self.measured.get(workload, {}).get(implementation, {}).get(metric, [])

    def spread(self, workload: str, metric: str, implementation: str = THIS) -> "Spread | None":
        return spread([value for value in self.values(workload, metric, implementation) if value is not None])

    def since_before(self, workload: str, metric: str) -> "Spread | None":
        """How many times better this one is than the version before, in the same round."""
        now, then = self.values(workload, metric), self.values(workload, metric, BEFORE)
        return spread(ratios(now, then, better=better(metric)))


@dataclass(frozen=True, slots=True)
class Spread:
    median: float
    low: float
    high: float


def spread(values: Sequence[float]) -> Spread | None:
    return Spread(median(values), min(values), max(values)) if values else None


def ratios(numerator: Values, denominator: Values, *, better: int = 1) -> list[float]:
    """Round by round. With `better` of -1 (smaller is better) it is turned over, so that more is always better."""
    pairs = zip(numerator, denominator, strict=False)
    given = [(a, b) for a, b in pairs if a is not None and b is not None and a > 0 and b > 0]
    return [a / b if better >= 0 else b / a for a, b in given]


def better(metric: str) -> int:
    """1: larger is better, -1: smaller is better, 0: only context."""
    if metric.startswith(("bad_", "check_", "info_")):
        return 0
    if metric.endswith("_per_s"):
        return 1
    return -1 if metric.endswith(("_ms", "_mib")) else 0


def gather(
    rounds: Sequence[Mapping[tuple[str, str], Outcome]],
) -> dict[str, dict[str, dict[str, list[float | None]]]]:
    """The outcomes of each round, by workload and implementation, as one list a metric."""
    measured: dict[str, dict[str, dict[str, list[float | None]]]] = {}
    for number, outcomes in enumerate(rounds):
        for (workload, implementation), outcome in outcomes.items():
            table = measured.setdefault(workload, {}).setdefault(implementation, {})
            for metric, value in outcome.metrics.items():
                table.setdefault(metric, [None] * len(rounds))[number] = float(f"{value:.4g}")
    return measured
