"""What runs gave back: `run show`, and the steps of a run as people see them.

    rotate  ok, exit code 0
        {
          "rotated": 3
        }
    notify  error, effect unknown
        NOT_ZERO: the program ended with exit code 1

On a terminal a long output is cut, and its size named. Elsewhere it is whole.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Annotated, Final

import typer

from nexus_control.cli.commands import group
from nexus_control.cli.frame import Answer, Frame, shared_options
from nexus_control.cli.naming import any_request, chosen
from nexus_control.cli.options import FittingId
from nexus_control.cli.screen import Mark, Screen
from nexus_control.lifecycle import effect_words
from nexus_control.render.text import counted
from nexus_control.usecases import arguments as door
from nexus_control.usecases import resulting
from nexus_control.usecases.run_answers import ResultData, StepLine

_MOST_LINES: Final = 20
_MOST_CHARACTERS: Final = 2000
_GOOD, _BAD = {"ok", "completed"}, {"error", "failed", "outcome_unknown"}

run = group(help="What the runs of a request gave back.")


@run.callback()
def _group() -> None:
    """Keeps `show` a command of the group, which has no other."""


@run.command()
@shared_options("db")
def show(
    frame: Frame,
    request_id: FittingId = None,
    execution: Annotated[
        int | None,
        typer.Option(metavar="SEQ", min=0, help="The execution, by its seq. Default: the one that counts."),
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="Long outputs as a whole on a terminal, too.")] = False,
) -> Answer:
    """What each step of a run gave back, of a rehearsal and of a run that was cut off, too.

    Example: nexus-control run show 0d1c0d39 --full
    """
    with frame.store() as store:
        values = {"request_id": chosen(store, request_id, any_request()), "execution": execution}
        checked = door.validated(door.ResultArguments, values)
        data = resulting.result(store, checked)
    return Answer(data, lambda screen: _show(screen, data, whole=full or not screen.is_terminal))


def _show(screen: Screen, data: ResultData, *, whole: bool) -> None:
    what = "Rehearsal" if data["rehearsal"] else "Run"
    named = f"{what} {data['run_id'] or 'without a known id'}, execution {data['execution']}"
    effect = "" if data["effect"] is None else f", {effect_words(data['effect'])}"
    steps = counted(len(data["results"]), "step") if data["results"] else "no step is known"
    screen.prose(f"{named}: {steps}{effect}.", _mark(data["outcome"]))
    show_steps(screen, data["results"], whole=whole)
    if "answer" in data:
        screen.prose("The router answered, without listing steps:")
        _show_text(screen, _text_of(data["answer"]), whole=whole)
    if data["truncated"]:
        screen.prose("The answer was too long to be kept: what is shown is the beginning of each part.")


def show_steps(screen: Screen, steps: Sequence[StepLine], *, whole: bool) -> None:
    """Each step with its status, then its output, its error, and what it wrote to standard error. Without `whole` a
    long output is cut.
    """
    for step in steps:
        screen.blank()
        screen.prose(f"{step['step_id']}{_remarks(step)}", _mark(step["status"]))
        if step["output"] not in (None, ""):
            _show_text(screen, _text_of(step["output"]), whole=whole)
        if (error := step["error"]) is not None:
            screen.prose(f"{error['code']}: {error['message']}", Mark("Error:", "bad"))
        if (said := step.get("stderr", "")).strip():
            screen.prose("On standard error:")
            _show_text(screen, said, whole=whole)


def _mark(word: str) -> Mark:
    return Mark(word, "good" if word in _GOOD else "bad" if word in _BAD else "stopped")


def _remarks(step: StepLine) -> str:
    return "".join(f", {each}" for each in _said_of(step))


def _said_of(step: StepLine) -> Iterator[str]:
    if step["exit_code"] is not None:
        yield f"exit code {step['exit_code']}"
    yield f"effect {step['effect']}"
    if step.get("simulated"):
        yield "rehearsed"
    if step.get("truncated"):
        yield "output cut by the adapter"
    if note := step.get("note"):
        yield note


def _text_of(output: object) -> str:
    return output if isinstance(output, str) else json.dumps(output, ensure_ascii=False, indent=2)


def _show_text(screen: Screen, text: str, *, whole: bool) -> None:
    """A text of many lines, verbatim. A cut one ends with its size, and how to see the rest."""
    text = text.rstrip("\n")
    shown = text if whole else "\n".join(text.split("\n")[:_MOST_LINES])[:_MOST_CHARACTERS]
    for line in shown.split("\n"):
        screen.verbatim(line)
    if shown != text:
        lines, characters = counted(text.count("\n") + 1, "line"), counted(len(text), "character")
        screen.prose(f"… {lines}, {characters} in all; --full shows them.")
