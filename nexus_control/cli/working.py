"""The command `worker`: it executes what was requested for a worker, one decision at a time.

    {"at":"2026-11-26T10:00:00.000000+00:00","what":"execute","request_id":"0d1c…","execution_id":"0d1c…:0:3",
     "adapter_id":"subprocess:keys","outcome":"completed","effect":"done","error_code":null}

Standard output has one such line for each action, and nothing else. `what` is execute, rehearse, refuse, recover,
checkpoint, store or notify. A line holds no output of a program, no text of a program's error and no secret. A refusal
has `reasons` too, a checkpoint its `size`, a message to a sink its `sink` and `event_id`, and what the store, a
checkpoint or a sink lacks is its `message`.

A line that cannot be written ends the worker with 1, after the execution that it tells of was recorded. SIGTERM ends it
with 0; it ends by SIGINT and SIGHUP as other commands do. With `--once` it ends with 1 where an execution failed, or
has an unknown outcome; a sink that was not told does not count. Other faults end it as a refusal, with the exit codes
of `cli.frame`.
"""

import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Annotated, Final

import typer

from nexus_control.cli.adapters import config_or_default, no_adapters
from nexus_control.cli.exit_codes import REFUSED
from nexus_control.cli.files import output_file
from nexus_control.cli.frame import Frame, frame_of, identity, refuse
from nexus_control.cli.options import (
    AdaptersFrom,
    AllowedSigners,
    AsJson,
    Database,
    LogFolder,
    Origins,
    UsualConfig,
)
from nexus_control.cli.screen import Mark, Screen
from nexus_control.cli.settings import adapters_file
from nexus_control.cli.steps import tell_step
from nexus_control.cli.streams import PrintingFailed, lines_on_output, require_output, wait_while_read
from nexus_control.cli.wording import options_of
from nexus_control.cli.worker_ending import Ending
from nexus_control.cli.worker_loop import Loop, Orders
from nexus_control.cli.worker_notifying import Notifying
from nexus_control.configuration import ADAPTERS, Source
from nexus_control.errors import NexusControlError, invalid_argument
from nexus_control.execution.opening import opened_router
from nexus_control.execution.stopping import Stop, heeding
from nexus_control.notify.reading import no_sinks, sinks_in, unused_sinks
from nexus_control.notify.sinks import Sink
from nexus_control.system.clock import SYSTEM_CLOCK
from nexus_control.system.signals import end_by
from nexus_control.usecases.working import Action
from nexus_control.values.actors import Actor
from nexus_control.values.instants import format_instant, parse_duration
from nexus_control.values.records import encode
from nexus_control.values.results import fault_of

_USUAL_CHECKPOINTS: Final = "1h"
_ALWAYS: Final = ("what", "request_id", "execution_id", "adapter_id", "outcome", "effect", "error_code")

Once = Annotated[bool, typer.Option("--once", help="Do what is due now, and end: for cron, or a timer.")]
WorkingAs = Annotated[
    str | None, typer.Option(metavar="system:ID", help="Who executes. Default: system:worker@HOST.")
]
CheckpointEvery = Annotated[
    str | None,
    typer.Option(metavar="TIME", help="How often to sign a checkpoint. Default: 1h with --checkpoint-to."),
]
CheckpointTo = Annotated[
    Path | None,
    typer.Option(metavar="FILE", parser=output_file, help="Where the last checkpoint is written, too."),
]
RecoverEvery = Annotated[
    str, typer.Option(metavar="TIME", help="How often to look for executions whose process is gone.")
]
Poll = Annotated[str, typer.Option(metavar="TIME", help="How often to look for new events.")]
Grace = Annotated[str, typer.Option(metavar="TIME", help="How long a run may go on after a signal to end.")]


def worker(
    context: typer.Context,
    config: UsualConfig = None,
    adapters_from: AdaptersFrom = None,
    once: Once = False,
    actor: WorkingAs = None,
    checkpoint_every: CheckpointEvery = None,
    checkpoint_to: CheckpointTo = None,
    recover_every: RecoverEvery = "5m",
    poll: Poll = "1s",
    grace: Grace = "30s",
    allowed_signers: AllowedSigners = None,
    origin: Origins = None,
    db: Database = None,
    log_folder: LogFolder = None,
    as_json: AsJson = False,
) -> None:
    """Execute the approved requests that were made for a worker, as they come, and tell the sinks what happens.

    Prints one line of JSON for each action. Times are seconds, or 90s, 5m, 1h.

    Example: nexus-control worker --db /srv/decisions.db --config /etc/nexus-control.toml
    """
    frame = frame_of(
        context,
        db=db,
        log_folder=log_folder,
        as_json=as_json,
        allowed_signers=allowed_signers,
        origin=origin,
        config=config,
    )
    ending = Ending(Stop())

    def run() -> int:
        every = checkpoint_every or (_USUAL_CHECKPOINTS if checkpoint_to else None)
        frame.require_writable("--checkpoint-to", checkpoint_to)
        orders = Orders(
            actor=_worker(actor),
            once=once,
            poll=_span("--poll", poll),
            recover_every=_span("--recover-every", recover_every),
            checkpoint_every=_span("--checkpoint-every", every) if every else None,
            keep=partial(_keep, frame, checkpoint_to),
            rules=frame.rules,
        )
        ending.grace = _span("--grace", grace)
        frame.require_place(makes=False)
        found, sinks = _configured(frame, adapters_file(config, adapters_from))
        return _work(frame, found, sinks, orders, ending)

    code = fault_of(run)
    if isinstance(code, NexusControlError):
        raise refuse(frame, code)
    if ending.number is not None and ending.number is not signal.SIGTERM:
        end_by(ending.number)
    raise typer.Exit(code)


def _configured(frame: Frame, file: Path | None) -> tuple[Source | None, Sequence[Sink]]:
    """The file with adapters, and the sinks. Raises CONFIG_INVALID, and ROUTER_NOT_CONFIGURED without either."""
    found = config_or_default(file, frame, project=False)
    sinks = sinks_in(frame.configuration)
    if sinks and found is not None and found.fault is None and ADAPTERS not in found.table:
        found = None
    if found is None and not sinks:
        raise no_sinks(frame.configuration) if unused_sinks(frame.configuration) else no_adapters()
    return found, sinks


def _keep(frame: Frame, place: Path | None, note: bytes) -> None:
    if place is not None:
        frame.write_bytes("--checkpoint-to", place, note)


def _worker(given: str | None) -> Actor:
    if given is None:
        return Actor("system", f"worker@{os.uname().nodename}")
    actor, _ = identity(given, option="--actor")
    if actor.type != "system":
        raise invalid_argument("--actor", "must be system:ID, because a worker is no person")
    return actor


def _span(option: str, text: str) -> timedelta:
    with options_of({"duration": option}):
        return parse_duration(f"{text}s" if text.isascii() and text.isdecimal() else text)


def _work(frame: Frame, config: Source | None, sinks: Sequence[Sink], orders: Orders, ending: Ending) -> int:
    """The exit code of a worker that has ended. Without `config` it executes nothing, and only tells the sinks."""
    inbox = frame.inbox if sinks else None
    with (
        frame.store() as store,
        opened_router(
            database=frame.path, log_folder=frame.log_folder, config=config, factory=None, on_step=tell_step
        ) as router,
        heeding(ending.stop),
        ending.heeding() as woken_by,
        lines_on_output() as line,
    ):
        tell = partial(_tell, line)
        notifying = Notifying(store, sinks, inbox, poll=orders.poll, tell=tell)

        def is_over() -> bool:
            return ending.number is not None or notifying.failure is not None

        loop = Loop(
            store,
            router,
            orders,
            tell=tell,
            wait=lambda pause: wait_while_read(pause.total_seconds(), woken_by=woken_by),
            is_over=is_over,
        )
        try:
            require_output()
            if orders.once:
                loop.run()
                notifying.tell_all(is_over)
            else:
                with notifying.going_on(lambda: ending.grace):
                    loop.run()
            if notifying.failure is not None:
                raise notifying.failure
        except PrintingFailed as failure:
            text = f"The worker has ended, because its output could not be written: {failure.reason}."
            Screen(sys.stderr).prose(f"{text} What it executed is recorded.")
            return REFUSED
    return REFUSED if orders.once and loop.has_failed else 0


def _tell(line: Callable[[str], None], action: Action) -> None:
    """One line, in ASCII, for a program; and a sentence for a person at a terminal."""
    said = {name: getattr(action, name) for name in _ALWAYS} | encode(action)
    line(json.dumps({"at": format_instant(SYSTEM_CLOCK.now()), **said}, separators=(",", ":")))
    if sys.stderr.isatty():
        why = action.message if action.sink else action.error_code
        about = ", ".join(filter(None, (action.sink, action.request_id))) or "the log"
        text = f"{about}: {action.outcome.replace('_', ' ')}{f', {why}' if why else ''}."
        Screen(sys.stderr).prose(text, Mark(f"{action.what}:", "bad" if action.error_code else "good"))
