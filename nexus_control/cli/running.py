"""The commands that carry out requests: execute, recover, reconcile."""

import sys
from contextlib import suppress
from typing import Annotated

import typer

from nexus_control.cli.frame import Data, Frame, carry_out, frame_of, identity
from nexus_control.cli.interrupting import Terminated, interruptible
from nexus_control.cli.options import ActingAs, AllowedSigners, AsJson, Config, Database, RequestId, Router
from nexus_control.cli.screen import Mark, Screen
from nexus_control.cli.streams import output_is_ours
from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.execution.local_router import StepProgress
from nexus_control.execution.opening import opened_router
from nexus_control.store import DecisionStore
from nexus_control.usecases import arguments as door
from nexus_control.usecases import executing, settling

_FIND_OUT = "Find out what it did, then record that, completed or failed:"


def execute(
    context: typer.Context,
    request_id: RequestId,
    adapter: Annotated[str, typer.Option(metavar="KIND:NAME", help="The adapter that carries it out.")],
    config: Config = None,
    router: Router = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Rehearse: change nothing.")] = False,
    acting_as: ActingAs = None,
    allowed_signers: AllowedSigners = None,
    db: Database = None,
    as_json: AsJson = False,
) -> None:
    """Carry out an approved request, once.

    Example: nexus-control execute 0d1c0d39-88f2-4c08-bb25-6637d1ade8a9 --adapter subprocess:keys --dry-run
    """
    frame = frame_of(context, db, as_json, allowed_signers)

    def tell(step: StepProgress) -> None:
        if sys.stderr.isatty():
            Screen(sys.stderr).prose(f"step {step.index} of {step.total}, {step.step_id}: {step.status}")

    def run(store: DecisionStore) -> Data:
        actor, _ = identity(acting_as)
        values = {
            "request_id": request_id,
            "adapter_id": adapter,
            "actor": actor,
            "dry_run": True if dry_run else None,
        }
        checked = door.validated(door.ExecuteArguments, values)
        with (
            output_is_ours(),
            opened_router(database=frame.path, config=config, factory=router, on_step=tell) as opened,
            interruptible(),
        ):
            try:
                return executing.execute(store, checked, opened)
            except NexusControlError as fault:
                if fault.code is ErrorCode.OUTCOME_UNKNOWN:
                    fault.details["command"] = _settling(frame, request_id)
                raise
            except (KeyboardInterrupt, Terminated):
                _say_what_is_unknown(frame, store, request_id)
                raise

    def show(screen: Screen, data: Data) -> None:
        text = f"Run {data['run_id']}, {data['mode']}: {data['steps_executed']} steps."
        screen.prose(text, Mark("Done.", "good"))

    def done(data: Data) -> str:
        return f"Request {request_id} was executed in mode {data['mode']}: run {data['run_id']} completed"

    carry_out(frame, run, show, done)


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


def recover(
    context: typer.Context,
    request_id: Annotated[str | None, typer.Argument(metavar="[ID]", help="Only this request.")] = None,
    force: Annotated[
        bool,
        typer.Option("--force", help="Also if its process cannot be seen, as on another host; needs ID."),
    ] = False,
    db: Database = None,
    as_json: AsJson = False,
) -> None:
    """Give up executions whose process is gone: their outcome is unknown.

    Example: nexus-control recover
    """

    frame = frame_of(context, db, as_json)

    def run(store: DecisionStore) -> Data:
        values = {"request_id": request_id, "force": force}
        return settling.recover(store, door.validated(door.RecoverArguments, values))

    def show(screen: Screen, data: Data) -> None:
        screen.prose(f"{len(data['recovered'])} given up, {data['still_held']} still held.")
        if data["recovered"]:
            screen.prose(_FIND_OUT)
        for recovered in data["recovered"]:
            screen.verbatim(_settling(frame, recovered))

    def done(data: Data) -> str | None:
        return f"Given up: {', '.join(data['recovered'])}" if data["recovered"] else None

    carry_out(frame, run, show, done)


def reconcile(
    context: typer.Context,
    request_id: RequestId,
    outcome: Annotated[str, typer.Option(help="What really happened: completed or failed.")],
    evidence: Annotated[str, typer.Option(help="How you know; it is recorded.")],
    run_id: Annotated[str | None, typer.Option(help="The run, if it is known.")] = None,
    acting_as: ActingAs = None,
    db: Database = None,
    as_json: AsJson = False,
) -> None:
    """Settle an execution whose outcome was unknown.

    Example: nexus-control reconcile 0d1c0d39-88f2-4c08-bb25-6637d1ade8a9 --outcome failed --evidence "keys unchanged"
    """

    def run(store: DecisionStore) -> Data:
        values = {
            "request_id": request_id,
            "actor": identity(acting_as)[0],
            "outcome": outcome,
            "evidence": evidence,
            "run_id": run_id,
        }
        return settling.reconcile(store, door.validated(door.ReconcileArguments, values))

    def show(screen: Screen, data: Data) -> None:
        screen.prose(f"{data['request_id']} is {data['state']}.", Mark("Done.", "good"))

    def done(data: Data) -> str:
        return f"It is recorded that {data['request_id']} is {data['state']}"

    carry_out(frame_of(context, db, as_json), run, show, done)
