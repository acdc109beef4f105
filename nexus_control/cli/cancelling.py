"""The command that stops a run: cancel. It asks no question, because a run that does harm is stopped in a hurry."""

from typing import Annotated

import typer

from nexus_control.cli.frame import Answer, Frame, shared_options
from nexus_control.cli.naming import chosen, executing, short
from nexus_control.cli.options import FittingId
from nexus_control.cli.screen import DONE, Screen
from nexus_control.errors import invalid_argument
from nexus_control.lifecycle import display_name
from nexus_control.usecases import arguments as door
from nexus_control.usecases import cancelling
from nexus_control.usecases.run_answers import CancelData
from nexus_control.values.actors import Actor
from nexus_control.values.results import looking_after


@shared_options("acting_as", "db")
def cancel(
    frame: Frame,
    request_id: FittingId = None,
    reason: Annotated[
        str | None, typer.Option(help="Why; it is needed, and recorded with the outcome.")
    ] = None,
) -> Answer:
    """Stop an execution that is under way. It asks no question.

    Example: nexus-control cancel 0d1c0d39 --reason "wrong cluster"
    """
    with frame.store() as store:
        chosen_id = chosen(store, request_id, executing())
        if reason is None:  # what has ended needs no reason
            cancelling.require_under_way(store, chosen_id)
            raise invalid_argument("--reason", "is needed: it is recorded with the outcome")
        values = {"request_id": chosen_id, "actor": frame.actor, "reason": reason}
        data = cancelling.cancel(store, door.validated(door.CancelArguments, values))
        done = f"It is recorded that {data['request_id']} is to be cancelled"
        with looking_after(done):
            named = short(store, data["request_id"])

    def show(screen: Screen) -> None:
        request = named if screen.is_terminal else data["request_id"]
        screen.prose(f"{_asked(data)} {_what_follows(data)}", DONE)
        screen.verbatim(frame.command("wait", argument=request))

    return Answer(data, show, done)


def _asked(data: CancelData) -> str:
    if data["asked"]:
        return "The run is asked to end."
    by = display_name(Actor.of(data["cancel"]["actor"]))
    return f"{by} has asked already that the run ends: {data['cancel']['reason']}"


def _what_follows(data: CancelData) -> str:
    if data["run_by"] == "caller":
        return "A caller runs the tool itself, and nothing here can stop it. Wait for what it records:"
    return "No further step begins, and a program that runs is killed. Wait for the outcome:"
