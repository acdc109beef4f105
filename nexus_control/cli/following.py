"""The commands that follow a store: wait for one request, and read the events of all as they come.

Each line of `events` is one event as JSON. Its `cursor` is what `--after` takes to go on behind it, so that a reader
that was interrupted asks again with the cursor of the last whole line that it has.

`events --follow` looks for new events a few times a second, because any process may write the store. It goes on while
the store is busy or cannot be read, and says so once. It ends with a refusal if the store was replaced, with SIGPIPE
when its reader is gone, and as Ctrl-C, SIGTERM or SIGHUP end it.
"""

import json
import sys
import time
from collections.abc import Iterator
from itertools import islice
from typing import Annotated, Final

import typer

from nexus_control.cli.adapters import adapter_of
from nexus_control.cli.exit_codes import REFUSED
from nexus_control.cli.frame import Answer, Frame, refuse, shared_options
from nexus_control.cli.interrupting import interruptible
from nexus_control.cli.naming import chosen, short, unfinished
from nexus_control.cli.options import FittingId
from nexus_control.cli.screen import Mark, Screen, mark_of_state
from nexus_control.cli.streams import wait_while_read
from nexus_control.errors import ErrorCode, NexusControlError, invalid_argument
from nexus_control.render.guarded import how_to_go_on, who_runs
from nexus_control.render.policy import agreed
from nexus_control.storage.faults import is_damage
from nexus_control.store import DecisionStore
from nexus_control.usecases import arguments as door
from nexus_control.usecases import following, views
from nexus_control.usecases.answers import FeedEvent, StatusData, WaitData
from nexus_control.values.guarded import is_guarded

_PAUSE: Final = 0.25
_PAGE: Final = 500


@shared_options("allowed_signers", "db")
def wait(
    frame: Frame,
    request_id: FittingId = None,
    until: Annotated[
        list[str] | None,
        typer.Option(
            metavar="STATE",
            help="Wait for this state, such as approved; may be repeated. Default: any but pending_approval and"
            " executing.",
        ),
    ] = None,
    timeout: Annotated[
        str, typer.Option(metavar="TIME", help="How long to wait at most: seconds, or 90s, 5m, 1h.")
    ] = "1h",
) -> Answer:
    """Wait until a request is approved or ended; ends with 1 if the time is up before.

    Example: nexus-control wait 0d1c0d39 --until approved --until denied --timeout 8h
    """
    values = {"until": until or None, "timeout": timeout}
    with frame.store() as store:
        request_id = chosen(store, request_id, unfinished(until))
        checked = door.validated(door.WaitArguments, {**values, "request_id": request_id})
        progress = _Progress(store, request_id)
        data = following.wait_for(store, checked, pause=progress.pause)
        named, adapter = short(store, request_id), adapter_of(store, request_id)

    def show(screen: Screen) -> None:
        screen.prose(str(data["goal"]), mark_of_state(data["state"]))
        screen.prose(f"{_approvals(data)}.{' The time is up.' if data['timed_out'] else ''}")
        if data["state"] == "approved" and is_guarded(adapter):
            screen.prose(f"{who_runs(adapter)} {how_to_go_on(adapter)}")
        screen.verbatim(frame.command("status", argument=named if screen.is_terminal else request_id))

    return Answer(data, show, code=REFUSED if data["timed_out"] else 0)


class _Progress:
    """Tells a person at a terminal, between two looks, where the request stands: once for each change."""

    def __init__(self, store: DecisionStore, request_id: str) -> None:
        self._store = store
        self._asked = door.validated(door.StatusArguments, {"request_id": request_id})
        self._told = ("", "")

    def pause(self, seconds: float) -> None:
        if sys.stderr.isatty():
            data = views.status(self._store, self._asked)
            if (standing := (data["state"], _approvals(data))) != self._told:
                self._told = standing
                Screen(sys.stderr).prose(f"Still {standing[0]}: {standing[1]}.")
        time.sleep(seconds)


def _approvals(data: StatusData | WaitData) -> str:
    return agreed(data["active_approvals"], data["required_approvals"], data.get("groups_missing"))


@shared_options("db")
def events(
    frame: Frame,
    after: Annotated[
        int, typer.Option(metavar="CURSOR", min=0, help="Only what came behind the event with this cursor.")
    ] = 0,
    limit: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="At most so many events. Default: all.")
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", help="Go on with what comes, until it is interrupted.")
    ] = False,
) -> Answer:
    """The events of all requests in the order of the store, each as one line of JSON.

    Example: nexus-control events --after 41 --follow
    """
    if follow:
        if frame.as_json:
            raise invalid_argument("--json", "is not for --follow: its lines are JSON already, and never end")
        return Answer({}, lambda _: _follow(frame, after, limit))
    with frame.store() as store:
        _require_reached(store, after)
        found = list(islice(_pages(store, after), limit))
    cursor = _cursor(found[-1]) if found else after

    def show(_: Screen) -> None:
        for event in found:
            _print(event)

    return Answer({"events": found, "cursor": cursor}, show)


def _follow(frame: Frame, cursor: int, limit: int | None) -> None:
    """Print events as they come, until `limit` were printed. A fault ends the command as a refusal."""
    left = limit
    try:
        with interruptible(), frame.store() as store:
            _require_reached(store, cursor)
            trouble = ""
            while left is None or left > 0:
                try:
                    for event in islice(_pages(store, cursor), left):
                        _print(event)
                        sys.stdout.flush()
                        cursor, left = _cursor(event), None if left is None else left - 1
                    trouble = ""
                except NexusControlError as fault:
                    if fault.code is not ErrorCode.STORE_UNAVAILABLE or is_damage(fault):
                        raise
                    trouble = _said_once(fault, trouble)
                wait_while_read(0 if left == 0 else _PAUSE)
    except NexusControlError as fault:
        raise refuse(frame, fault) from None


def _said_once(fault: NexusControlError, before: str) -> str:
    """Note on standard error that the store cannot be read now, unless that was the last note."""
    if fault.message != before:
        Screen(sys.stderr).prose(f"{fault.message}. It is tried again.", Mark("Note:", "stopped"))
    return fault.message


def _pages(store: DecisionStore, cursor: int) -> Iterator[FeedEvent]:
    """All events from this cursor to the store's end, a page at a time."""
    while True:
        values = {"cursor": cursor, "limit": _PAGE}
        page = following.events_since(store, door.validated(door.EventsArguments, values))
        yield from page["events"]
        cursor = page["cursor"]
        if len(page["events"]) < _PAGE:
            return


def _require_reached(store: DecisionStore, cursor: int) -> None:
    """Returns if the log reaches to the cursor. Raises STORE_REPLACED, since a log never becomes shorter."""
    with store.reading() as session:
        size = session.rows.log_size()
    if cursor > size:
        raise NexusControlError(
            ErrorCode.STORE_REPLACED,
            f"The log has {size} entries, and --after is {cursor}: the cursor is of another store, or of a later state"
            " of this one",
            {"size": size, "cursor": cursor},
            "Find out which database this is, or begin again without --after.",
        )


def _cursor(event: FeedEvent) -> int:
    return event["position"] + 1


def _print(event: FeedEvent) -> None:
    """One line, in ASCII, without any character that could command a terminal."""
    line = json.dumps({**event, "cursor": _cursor(event)}, separators=(",", ":"))
    print(line.replace("\x7f", "\\u007f"))
