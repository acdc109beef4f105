"""Whether a run's answers were right: every `bad_…` is 0, every `check_…` is 1, and none of them is missing.

A workload declares its checks (`benchmarks.workloads`). A declared check that a round did not give is a complaint,
unless it may be skipped and says why. Times are never judged.
"""

from collections.abc import Iterator

from benchmarks.results import THIS, Results
from benchmarks.workloads import WORKLOADS, Workload


def complaints(results: Results) -> list[str]:
    """What is wrong with this implementation's answers; an empty list where they are right."""
    if not results.workloads:
        return ["no workload was run"]
    wrong = [text for name in results.workloads for text in _of_workload(results, WORKLOADS[name])]
    return [*results.problems, *wrong]


def checks_made(results: Results) -> int:
    """How many answers were judged, over all rounds."""
    return sum(
        len(results.values(name, metric)) for name in results.workloads for metric in WORKLOADS[name].checks
    )


def _of_workload(results: Results, workload: Workload) -> Iterator[str]:
    metrics = results.measured.get(workload.name, {}).get(THIS, {})
    judged = {metric for metric in metrics if metric.startswith(("bad_", "check_"))}
    for metric in sorted(workload.checks | judged):
        if metric not in workload.checks:
            yield f"{workload.name}.{metric}: no workload declares it"
        elif not _is_skipped(results, workload, metric):
            yield from _of_metric(f"{workload.name}.{metric}", metrics.get(metric, []), results.sizes.rounds)


def _is_skipped(results: Results, workload: Workload, metric: str) -> bool:
    named = workload.name, f"{workload.name}.{metric}"
    return metric in workload.skippable and any(results.skipped.get(name) for name in named)


def _of_metric(name: str, values: list[float | None], rounds: int) -> Iterator[str]:
    wanted = 0 if name.partition(".")[2].startswith("bad_") else 1
    if len(values) != rounds:
        yield f"{name}: has {len(values)} values in {rounds} rounds"
    for number, value in enumerate(values, start=1):
        if value != wanted:
            yield f"{name}: is {'missing' if value is None else f'{value:g}'} in round {number}, not {wanted}"
