"""Shows the steps of a run to people: how each went, and what it gave back."""

import sys
from collections.abc import Iterable
from typing import Final

from nexus_control.cli.screen import Kind, Mark, Screen, one_line
from nexus_control.execution.local_router import StepProgress
from nexus_control.render.results import Sign, cut, step_texts
from nexus_control.render.text import View

_KINDS: Final[dict[Sign, Kind]] = {"✓": "good", "✗": "bad", "?": "stopped", "…": "stopped"}


def tell_step(step: StepProgress) -> None:
    """Tell a person at a terminal how far a run has come."""
    if sys.stderr.isatty():
        Screen(sys.stderr).prose(f"step {step.index} of {step.total}, {step.step_id}: {step.status}")


def show_text(screen: Screen, text: str, *, whole: bool) -> bool:
    """A text that a run gave back. Returns whether it was cut."""
    text = text.strip("\n")
    shown = text if whole else cut(text)
    for line in shown.split("\n"):
        screen.verbatim(line)
    return shown != text


def show_steps(
    screen: Screen,
    results: Iterable[View],
    *,
    truncated: bool = False,
    whole: bool = False,
    goes_on: bool = False,
) -> None:
    """The steps of one run, as an answer lists them in `results`. `truncated`: the store keeps only a part of them.
    Without `whole` long outputs are cut. `goes_on`: the run is under way.
    """
    for step in step_texts(results, whole=whole, goes_on=goes_on):
        screen.prose(f"{one_line(step.step_id)}: {one_line(step.said)}", Mark(step.sign, _KINDS[step.sign]))
        for name, text in step.blocks:
            if name:
                screen.verbatim(f"{name}:")
            for line in text.split("\n"):
                screen.verbatim(line)
    if truncated:
        screen.prose("This is a part of the answer: it was too long to be kept whole.")
