"""What the runs of a request gave back: `run show`. On a terminal long outputs are cut, elsewhere they are whole."""

from functools import partial
from typing import Annotated

import typer

from nexus_control.cli.commands import group
from nexus_control.cli.frame import Answer, Frame, shared_options
from nexus_control.cli.naming import any_request, chosen
from nexus_control.cli.options import FittingId
from nexus_control.cli.screen import Screen, mark_of_state
from nexus_control.cli.steps import show_steps, show_text
from nexus_control.facts import Execution
from nexus_control.lifecycle import counted, effect_words
from nexus_control.render.guarded import output_of
from nexus_control.render.results import pretty, step_texts
from nexus_control.usecases import arguments as door
from nexus_control.usecases import resulting, settling
from nexus_control.usecases.run_answers import ResultData
from nexus_control.values.guarded import is_guarded

run = group(help="What the runs of a request gave back.\n\nExample: nexus-control run show 0d1c0d39")


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
        executions = store.load(data["request_id"]).facts.progress.executions
        number, ran = next(each for each in enumerate(executions, 1) if each[1].seq == data["execution"])
        goes_on = ran.outcome == "running" and settling.is_seen_at_work(store, data["request_id"])
    which = f"execution {number} of {len(executions)} (seq {ran.seq})"
    show_it = partial(_show_call, ran=ran) if is_guarded(ran.adapter_id) else partial(_show, goes_on=goes_on)
    show_it = partial(show_it, which=which)
    return Answer(data, lambda screen: show_it(screen, data, whole=full or not screen.is_terminal))


def _show_call(screen: Screen, data: ResultData, *, ran: Execution, which: str, whole: bool) -> None:
    """A guarded call, which has no steps: its caller ran the tool."""
    effect = "" if data["effect"] is None else f": {effect_words(data['effect'])}"
    tool = ran.adapter_id.partition(":")[2]
    screen.prose(f"The caller ran {tool} itself, {which}{effect}.", mark_of_state(data["outcome"]))
    if ran.error_code:
        screen.prose(f"{ran.error_code}: {ran.error_message}")
    output = output_of(data)
    if output is not None:
        screen.prose("It gave back:")
        if show_text(screen, output, whole=whole):
            screen.prose("--full shows all of it.")
    elif data["truncated"]:
        screen.prose("What it gave back was too long to be kept.")
    elif data["outcome"] == "completed":
        screen.prose("It gave nothing back.")


def _show(screen: Screen, data: ResultData, *, goes_on: bool, which: str, whole: bool) -> None:
    what = "Rehearsal" if data["rehearsal"] else "Run"
    named = f"{what} {data['run_id'] or 'without a known id'}, {which}"
    effect = "" if data["effect"] is None else f", {effect_words(data['effect'])}"
    steps = counted(len(data["results"]), "step") if data["results"] else "no step is known"
    screen.prose(f"{named}: {steps}{effect}.", mark_of_state(data["outcome"]))
    show_steps(screen, data["results"], truncated=data["truncated"], whole=whole, goes_on=goes_on)
    is_cut = not whole and step_texts(data["results"]) != step_texts(data["results"], whole=True)
    if "answer" in data:
        screen.prose("The router answered, without listing steps:")
        is_cut = show_text(screen, pretty(data["answer"]), whole=whole) or is_cut
    if is_cut:
        screen.prose("--full shows all of it.")
