"""What a plot shows, without drawing it: its lines, and their digest."""

import json
from dataclasses import dataclass
from hashlib import sha256

from benchmarks.report.rows import Growing
from benchmarks.results import BEFORE, THIS, Results


@dataclass(frozen=True, slots=True)
class Line:
    name: str
    is_limit: bool
    is_before: bool
    points: tuple[tuple[int, float], ...]
    """Size and milliseconds, the median over the rounds."""


def lines_of(results: Results, growing: Growing) -> list[Line]:
    lines = [
        *(_line(results, growing, name, THIS) for name in growing.names),
        *(_line(results, growing, name, THIS) for name in growing.limits),
        *(_line(results, growing, name, BEFORE) for name in growing.names),
    ]
    return [line for line in lines if line.points]


def _line(results: Results, growing: Growing, name: str, implementation: str) -> Line:
    points: list[tuple[int, float]] = []
    for size in growing.sizes(results.sizes):
        metric = f"{name}_{growing.place.format(size)}_ms"
        found = results.spread(growing.workload, metric, implementation)
        if found is not None:
            points.append((size, found.median))
    shown = (
        name.removeprefix("calib_").replace("json_", "json.")
        if name in growing.limits
        else name.replace("_", " ")
    )
    return Line(shown, name in growing.limits, implementation == BEFORE, tuple(points))


def digest_of(lines: list[Line]) -> str:
    """Of what is shown; the plot's file carries it."""
    shown = json.dumps([[line.name, line.is_limit, line.is_before, line.points] for line in lines])
    return f"sha256:{sha256(shown.encode()).hexdigest()}"
