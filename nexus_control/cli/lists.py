"""`list`: one row a request, newest first, on one line each.

A terminal shows short ids and ages, and cuts the goal at its width. A pipe gets a tab between the columns and no
header, for `cut` and `awk`:

    id  created  state  approvals  requester  mode  origin  executable  goal  [cancel]

The last column is there only for a run under way that somebody has asked to cancel: who, and when. There ids
are whole, and times are in UTC. A backslash, a tab and a line end within a column are written as two characters: a
backslash, and another backslash, t or n. The columns keep their numbers; a later version may add some at the end.
"""

import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Final, get_args

import typer

from nexus_control.cli.frame import Answer, Frame, refuse, shared_options
from nexus_control.cli.naming import short
from nexus_control.cli.screen import Mark, Screen, columns, mark_of_state
from nexus_control.cli.streams import wait_while_read
from nexus_control.cli.times import Times
from nexus_control.errors import NexusControlError, invalid_argument
from nexus_control.lifecycle import display_name
from nexus_control.render.agreed import not_of_each_group
from nexus_control.store import DecisionStore
from nexus_control.usecases import listing
from nexus_control.usecases.checks import instant
from nexus_control.usecases.list_answers import RequestLine, RequestsData
from nexus_control.usecases.list_arguments import ListArguments
from nexus_control.usecases.run_answers import CancelLine
from nexus_control.values.actors import Actor
from nexus_control.values.instants import format_instant, parse_duration
from nexus_control.values.payloads import StateName

_POLL_SECONDS: Final = 1.0
_POLLS_UNTIL_REDRAWN: Final = 10
_WORDS: Final = {"pending_approval": "pending", "outcome_unknown": "unknown"}
_REQUESTER: Final = 5
_OPTIONS: Final = ("limit", "state", "label", "requester", "awaiting", "since", "text", "after")
_STATES: Final = ", ".join(get_args(StateName))


@shared_options("acting_as", "db")
def list_requests(
    frame: Frame,
    state: Annotated[
        StateName | None, typer.Option(metavar="STATE", help=f"Only this state: {_STATES}.")
    ] = None,
    executable: Annotated[bool, typer.Option("--executable", help="Only what can be executed.")] = False,
    mine: Annotated[bool, typer.Option("--mine", help="Only what waits for you.")] = False,
    awaiting: Annotated[
        str | None, typer.Option(metavar="ID", help="Only what this approver could approve.")
    ] = None,
    requester: Annotated[str | None, typer.Option(metavar="ID", help="Only of this requester.")] = None,
    label: Annotated[str | None, typer.Option(metavar="LABEL", help="Only with this label.")] = None,
    text: Annotated[str | None, typer.Option(metavar="TEXT", help="Only with this text in the goal.")] = None,
    since: Annotated[
        str | None,
        typer.Option(
            metavar="TIME", help="Only what was requested since then: ISO 8601, or so long ago, as 4h or 2d."
        ),
    ] = None,
    limit: Annotated[int, typer.Option(metavar="NUMBER", help="How many.")] = 20,
    after: Annotated[
        str | None, typer.Option(metavar="CURSOR", help="The next page: the cursor that the last one named.")
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Go on: show what changes, until Ctrl-C.")] = False,
) -> Answer:
    """The requests, newest first.

    A pipe gets one line a request, with a tab between the columns: id, created, state, approvals, requester, mode,
    local or imported, executable (yes or no), goal; and who asked to cancel a run, and when. A tab in a goal is
    written as \\t, a line end as \\n.

    Example: nexus-control list --state pending_approval --mine
    """
    if watch and frame.as_json:
        raise invalid_argument("--watch", "is not for --json, which prints one document")
    with frame.store() as store:
        checked = ListArguments(
            state=state,
            executable=executable or None,
            awaiting=frame.actor.id if mine else awaiting,
            requester=requester,
            label=label,
            text=text,
            since=_beginning(since, store.clock.now()),
            limit=limit,
            after=after,
        )
        data = listing.list_requests(store, checked)
        page = _page(store, data)
    if watch:
        return Answer(data, lambda screen: _watch(frame, checked, screen))

    def show(screen: Screen) -> None:
        page(screen)
        if data["cursor"]:
            beside = screen if screen.is_terminal else Screen(sys.stderr)
            beside.prose("There are more:")
            beside.verbatim(_next_page(frame, checked, data["cursor"]))

    return Answer(data, show)


def _beginning(since: str | None, now: datetime) -> str | None:
    """The instant that is named, or that was so long ago. Another text is left to the arguments' own check."""
    if since is None:
        return None
    try:
        return format_instant(now - parse_duration(since))
    except (NexusControlError, OverflowError):
        return since


def _watch(frame: Frame, arguments: ListArguments, screen: Screen) -> None:
    """Shows the page again whenever it may have changed; a pipe gets the rows that changed. Ends by an exception."""
    try:
        with frame.store() as store:
            seen: dict[str, tuple[str, ...]] = {}
            for _ in _changes(store):
                data = listing.list_requests(store, arguments)
                if screen.is_terminal:
                    screen.clear()
                    _page(store, data)(screen)
                    screen.prose("Ctrl-C ends.")
                    continue
                rows = {line["request_id"]: _record(line) for line in reversed(data["requests"])}
                for request_id, row in rows.items():
                    if seen.get(request_id) != row:
                        screen.record(row)
                seen |= rows
    except NexusControlError as fault:
        raise refuse(frame, fault) from None


def _changes(store: DecisionStore) -> Iterator[None]:
    """Now, after each event or cancel, and every few seconds: ages grow, and requests expire without an event."""
    seen, polls = None, 0
    while True:
        with store.reading() as session:
            cancels = [(claim.decision_id, claim.cancel) for claim in session.rows.claims()]
            before, seen = seen, (session.rows.log_size(), cancels)
        if seen != before or polls == _POLLS_UNTIL_REDRAWN:
            polls = 0
            yield
        polls += 1
        wait_while_read(_POLL_SECONDS)


def _next_page(frame: Frame, arguments: ListArguments, cursor: str) -> str:
    flags = ["--executable"] if arguments.executable else []
    given = {**asdict(arguments), "after": cursor}
    if arguments.since is not None:
        given["since"] = format_instant(instant(arguments.since))
    options = {f"--{name}": str(given[name]) for name in _OPTIONS if given[name] is not None}
    return frame.command("list", *flags, options=options)


def _page(store: DecisionStore, data: RequestsData) -> Callable[[Screen], None]:
    """Shows a page on a terminal, or its records in a pipe."""
    times = Times(store.clock.now())
    rows = [
        (
            short(store, line["request_id"]),
            times.age(line["created_at"]),
            _state(line, times),
            _agreed(line),
            line["mode"] or "",
            _who(line),
            line["goal"],
        )
        for line in data["requests"]
    ]

    def show(screen: Screen) -> None:
        if not screen.is_terminal:
            for line in data["requests"]:
                screen.record(_record(line))
        elif rows:
            screen.lines(columns("id|age|state|agreed|mode|requester|goal", rows), narrowing=_REQUESTER)
        else:
            screen.prose("No requests.")

    return show


def _record(line: RequestLine) -> tuple[str, ...]:
    requester = line["requester"]
    return (
        line["request_id"],
        line["created_at"],
        line["state"],
        _agreed(line),
        f"{requester['type']}:{requester['id']}" if requester else "",
        line["mode"] or "",
        "imported" if line["imported"] else "local",
        "yes" if line["executable"] else "no",
        line["goal"],
        *([f"{Actor.of(line['cancel']['actor'])} {line['cancel']['ts']}"] if "cancel" in line else []),
    )


def _state(line: RequestLine, times: Times) -> Mark:
    state = line["state"]
    blocked = state == "approved" and not line["executable"]
    said = [
        _WORDS.get(state, state),
        *(["imported"] if line["imported"] else []),
        *(["blocked"] if blocked else []),
        *([_cancelled(line["cancel"], times)] if "cancel" in line else []),
        *(["for a worker"] if state == "approved" and "dispatch" in line else []),
    ]
    kind = "stopped" if blocked else mark_of_state(state).kind
    return Mark(", ".join(said), kind)


def _cancelled(cancel: CancelLine, times: Times) -> str:
    return f"cancel by {display_name(Actor.of(cancel['actor']))} ({times.age(cancel['ts'])})"


def _agreed(line: RequestLine) -> str:
    return f"{line['current_approvals']}/{line['required_approvals']}{not_of_each_group(line)}"


def _who(line: RequestLine) -> str:
    requester = line["requester"]
    return display_name(Actor.of(requester)) if requester else ""
