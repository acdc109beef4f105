"""The commands about sinks: notify list, test, retry, forget."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, TypedDict

import typer

from nexus_control.cli.commands import group
from nexus_control.cli.exit_codes import REFUSED
from nexus_control.cli.frame import Answer, Frame, shared_options, told
from nexus_control.cli.screen import Mark, Screen, columns
from nexus_control.errors import invalid_argument
from nexus_control.lifecycle import counted
from nexus_control.notify.messages import message_of_a_test
from nexus_control.notify.reading import no_sinks, sinks_in
from nexus_control.notify.sinks import Reply, Sink, tried
from nexus_control.notify.standing import (
    RetriedLine,
    forget_sink,
    problems_of_sinks,
    retry_set_aside,
    sink_lines,
)
from nexus_control.system.clock import SYSTEM_CLOCK
from nexus_control.values.instants import format_instant

notify = group(
    help="The sinks: who is told what happens, and what they were not told."
    "\n\nExample: nexus-control notify test --config nexus-control.toml"
)

SinksFile = Annotated[
    Path | None,
    typer.Option(
        "--config", metavar="FILE", help="The file with the sinks. Default: the system's file, else your own."
    ),
]
SinkName = Annotated[str, typer.Argument(metavar="NAME", help="The name of a sink.")]


class ReplyLine(TypedDict):
    name: str
    kind: str
    where: str
    delivered: bool
    why: str


@notify.command("list")
@shared_options("db")
def list_sinks(frame: Frame, file: SinksFile = None) -> Answer:
    """How far each sink was told, since when it fails, and what it was not told.

    Example: nexus-control notify list --db decisions.db
    """
    with _having_read(frame, file).store() as store:
        lines = sink_lines(store)
    problems = problems_of_sinks(lines)

    def show(screen: Screen) -> None:
        if not lines:
            screen.prose("No sink was told anything yet: a worker tells those of its configuration.")
            return
        rows = [
            (each["name"], str(each["behind"]), each["failing_since"] or "-", str(len(each["set_aside"])))
            for each in lines
        ]
        screen.grid(columns("sink|entries behind|fails since|set aside", rows))
        screen.blank()
        for problem in problems:
            screen.prose(f"{problem}.", Mark("not told:", "bad"))

    return Answer({"sinks": lines}, show)


@notify.command("test")
@shared_options()
def try_sinks(
    frame: Frame,
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Only this sink. Default: every sink.")
    ] = None,
    file: SinksFile = None,
) -> Answer:
    """Send each sink a message that says that it is a test, and tell what came back. No cursor moves.

    Example: nexus-control notify test chat --config nexus-control.toml
    """
    sinks, inbox = _configured(_having_read(frame, file))
    chosen = sinks if name is None else [_named(sinks, name)]
    at = format_instant(SYSTEM_CLOCK.now())
    message = message_of_a_test(f"test_{SYSTEM_CLOCK.new_id()}", at, inbox)
    lines = [_line(sink, tried(sink.target, message, SYSTEM_CLOCK.now())) for sink in chosen]

    def show(screen: Screen) -> None:
        for each in lines:
            mark = Mark(f"{each['name']}:", "good" if each["delivered"] else "bad")
            screen.prose(f"{each['where']}: {each['why']}.", mark)

    is_done = all(each["delivered"] for each in lines)
    return Answer({"sinks": lines}, show, code=0 if is_done else REFUSED)


@notify.command()
@shared_options("db", "allowed_signers")
def retry(frame: Frame, name: SinkName, file: SinksFile = None) -> Answer:
    """Send a sink what was set aside for it, in order, until a try fails. What it refuses for good stays set aside.

    Example: nexus-control notify retry chat --db decisions.db --config nexus-control.toml
    """
    frame = _having_read(frame, file)
    with frame.store() as store:
        sinks, inbox = _configured(frame)
        lines = retry_set_aside(store, _named(sinks, name), inbox)
    taken = sum(each["delivered"] for each in lines)

    def show(screen: Screen) -> None:
        if not lines:
            screen.prose("Nothing is set aside for this sink.")
        for each in lines:
            screen.prose(f"{each['event_id']}: {each['why']}.", _mark(each))

    said = f"{counted(taken, 'event')} that had been set aside went to {name}" if taken else None
    is_done = not any(each["is_set_aside"] for each in lines)
    return Answer({"name": name, "events": lines}, show, said, 0 if is_done else REFUSED)


def _mark(line: RetriedLine) -> Mark:
    if line["delivered"]:
        return Mark("told:", "good")
    return Mark("not told:", "bad") if line["is_set_aside"] else Mark("dropped:", "stopped")


@notify.command()
@shared_options("db")
def forget(frame: Frame, name: SinkName, file: SinksFile = None) -> Answer:
    """Forget what a sink was not told, and how far it is. While it is configured, it begins again at the log's end.

    Example: nexus-control notify forget chat --db decisions.db
    """
    with _having_read(frame, file).store() as store:
        dropped = forget_sink(store, name)
    said = f"{name} is forgotten, with {counted(dropped, 'event')} that had been set aside"
    return Answer({"name": name, "set_aside": dropped}, told(f"{said}."), said)


def _having_read(frame: Frame, file: Path | None) -> Frame:
    """The frame with the settings of this file, too."""
    return frame if file is None else replace(frame, config=file)


def _configured(frame: Frame) -> tuple[Sequence[Sink], str | None]:
    """The sinks of the file that has some, and the address of the inbox. Raises CONFIG_INVALID."""
    configuration = frame.configuration
    sinks = sinks_in(configuration)
    if not sinks:
        raise no_sinks(configuration)
    return sinks, frame.inbox


def _named(sinks: Sequence[Sink], name: str) -> Sink:
    found = next((sink for sink in sinks if sink.name == name), None)
    if found is None:
        known = ", ".join(sink.name for sink in sinks)
        raise invalid_argument("NAME", f"names no configured sink; there are: {known}")
    return found


def _line(sink: Sink, reply: Reply) -> ReplyLine:
    return {
        "name": sink.name,
        "kind": sink.target.kind,
        "where": sink.target.where,
        "delivered": reply.outcome == "delivered",
        "why": reply.why,
    }
