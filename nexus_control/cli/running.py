"""The commands that carry out requests: execute, recover, reconcile."""

import sys
from contextlib import suppress
from typing import Annotated, Literal, TypeAlias

import typer

from nexus_control.cli.completing import adapter_ids
from nexus_control.cli.frame import Answer, Frame, shared_options, told
from nexus_control.cli.interrupting import Terminated, interruptible
from nexus_control.cli.options import Config, RequestId, Router
from nexus_control.cli.screen import DONE, Mark, Screen
from nexus_control.cli.steps import show_steps
from nexus_control.cli.streams import output_is_ours
from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.execution.local_router import StepProgress
from nexus_control.execution.opening import opened_router
from nexus_control.render.text import counted
from nexus_control.store import DecisionStore
from nexus_control.usecases import arguments as door
from nexus_control.usecases import executing, settling

Outcome: TypeAlias = Literal["completed", "failed"]
_FIND_OUT = "Find out what it did, then record that, completed or failed:"


@shared_options("acting_as", "allowed_signers", "db")
def execute(
    frame: Frame,
    request_id: RequestId,
    adapter: Annotated[
        str,
        typer.Option(
            metavar="KIND:NAME", help="The adapter that carries it out.", autocompletion=adapter_ids
        ),
    ],
    config: Config = None,
    router: Router = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Rehearse: change nothing.")] = False,
) -> Answer:
    """Carry out an approved request, once.

    Example: nexus-control execute 0d1c0d39-88f2-4c08-bb25-6637d1ade8a9 --adapter subprocess:keys --dry-run
    """

    def tell(step: StepProgress) -> None:
        if sys.stderr.isatty():
            Screen(sys.stderr).prose(f"step {step.index} of {step.total}, {step.step_id}: {step.status}")

    with frame.store() as store:
        values = {
            "request_id": request_id,
            "adapter_id": adapter,
            "actor": frame.actor,
            "dry_run": dry_run or None,
        }
        checked = door.validated(door.ExecuteArguments, values)
        with (
            output_is_ours(),
            opened_router(database=frame.path, config=config, factory=router, on_step=tell) as opened,
            interruptible(),
        ):
            try:
                data = executing.execute(store, checked, opened)
            except NexusControlError as fault:
                if fault.code is ErrorCode.OUTCOME_UNKNOWN:
                    fault.details["command"] = _settling(frame, request_id)
                raise
            except (KeyboardInterrupt, Terminated):
                _say_what_is_unknown(frame, store, request_id)
                raise

    def show(screen: Screen) -> None:
        steps = counted(data["steps_executed"], "step")
        screen.prose(f"Run {data['run_id']}, {data['mode']}: {steps}.", DONE)
        show_steps(screen, data["results"], truncated=data["truncated"])

    done = f"Request {request_id} was executed in mode {data['mode']}: run {data['run_id']} completed"
    return Answer(data, show, done)


def _say_what_is_unknown(frame: Frame, store: DecisionStore, request_id: str) -> None:
    """Tell the person who interrupted a run what to do, on standard error, also with `--json`."""
    with suppress(NexusControlError):  # the interruption is raised again in any case
        if store.load(request_id).facts.phase != "outcome_unknown":
            return
        screen = Screen(sys.stderr)
        screen.prose(
            f"The run was interrupted, and its outcome is unknown. {_FIND_OUT}", Mark("Interrupted.", "bad")
        )
        screen.verbatim(_settling(frame, request_id))


def _settling(frame: Frame, request_id: str) -> str:
    options = {"--outcome": "completed", "--evidence": "HOW YOU KNOW"}
    return frame.command("reconcile", argument=request_id, options=options)


@shared_options("db")
def recover(
    frame: Frame,
    request_id: Annotated[str | None, typer.Argument(metavar="ID", help="Only this request.")] = None,
    force: Annotated[
        bool,
        typer.Option("--force", help="Also if its process cannot be seen, as on another host; needs ID."),
    ] = False,
) -> Answer:
    """Give up executions whose process is gone: their outcome is unknown.

    Example: nexus-control recover
    """
    with frame.store() as store:
        values = {"request_id": request_id, "force": force}
        data = settling.recover(store, door.validated(door.RecoverArguments, values))
    recovered = data["recovered"]

    def show(screen: Screen) -> None:
        screen.prose(f"{len(recovered)} given up, {data['still_held']} still held.")
        if recovered:
            screen.prose(_FIND_OUT)
        for each in recovered:
            screen.verbatim(_settling(frame, each))

    return Answer(data, show, f"Given up: {', '.join(recovered)}" if recovered else None)


@shared_options("acting_as", "db")
def reconcile(
    frame: Frame,
    request_id: RequestId,
    outcome: Annotated[Outcome, typer.Option(help="What really happened.")],
    evidence: Annotated[str, typer.Option(help="How you know; it is recorded.")],
    run_id: Annotated[str | None, typer.Option(help="The run, if it is known.")] = None,
) -> Answer:
    """Settle an execution whose outcome was unknown.

    Example: nexus-control reconcile 0d1c0d39-88f2-4c08-bb25-6637d1ade8a9 --outcome failed --evidence "keys unchanged"
    """
    with frame.store() as store:
        settled = {"outcome": outcome, "evidence": evidence, "run_id": run_id}
        values = {"request_id": request_id, "actor": frame.actor, **settled}
        data = settling.reconcile(store, door.validated(door.ReconcileArguments, values))
    text = f"{data['request_id']} is {data['state']}"
    return Answer(data, told(f"{text}."), f"It is recorded that {text}")
