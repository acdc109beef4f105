"""Cost against size, as SVG: the same result gives the same file, with the same version of matplotlib."""

# pyright: reportUnknownMemberType=false
# matplotlib leaves the types of many keywords open.

from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from benchmarks.report.figures import Line, digest_of, lines_of
from benchmarks.report.rows import GROWING, Growing
from benchmarks.results import Results

STYLE: dict[Any, Any] = {
    "svg.hashsalt": "nexus-control",
    "svg.fonttype": "none",
    "font.family": ["DejaVu Sans"],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
}
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#000000")
LIMITS = ("#777777", "#999999", "#bbbbbb")


def draw(results: Results, folder: Path) -> list[Path]:
    """A file for each thing that grows."""
    folder.mkdir(exist_ok=True)
    drawn: list[Path] = []
    with mpl.rc_context(STYLE):
        for growing in GROWING:
            lines = lines_of(results, growing)
            if lines:
                _draw(growing, lines, folder / growing.plot)
                drawn.append(folder / growing.plot)
    return drawn


def _draw(growing: Growing, lines: list[Line], path: Path) -> None:
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    now = [line for line in lines if not line.is_before and not line.is_limit]
    colours = dict(zip([line.name for line in now], COLOURS, strict=False))
    colours |= dict(zip([line.name for line in lines if line.is_limit], LIMITS, strict=False))
    for line in lines:
        sizes, milliseconds = zip(*line.points, strict=True)
        style = ":" if line.is_before else "--" if line.is_limit else "-"
        label = None if line.is_before else line.name
        axes.loglog(
            sizes,
            milliseconds,
            style,
            color=colours[line.name],
            label=label,
            marker=None if line.is_before else "o",
        )
    before = " (dotted: the version before)" if any(line.is_before for line in lines) else ""
    axes.set_title(growing.title + before, fontsize=11)
    axes.set_xlabel(growing.things)
    axes.set_ylabel("milliseconds")
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False)
    figure.savefig(path, metadata={"Date": None, "Creator": None, "Description": digest_of(lines)})
