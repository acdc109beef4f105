"""The commands that only look: status, inspect, list."""

from typing import Annotated

import typer

from nexus_control.cli.adapters import adapters_at_hand
from nexus_control.cli.frame import Answer, Frame, shared_options
from nexus_control.cli.naming import any_request, chosen
from nexus_control.cli.options import FittingId, UsualConfig
from nexus_control.cli.screen import Cell, Mark, Screen, columns
from nexus_control.render.decision import imported_text, render_decision
from nexus_control.usecases import arguments as door
from nexus_control.usecases import listing, views

_GOOD, _BAD = {"approved", "completed"}, {"failed", "outcome_unknown"}


@shared_options("allowed_signers", "db")
def status(frame: Frame, request_id: FittingId = None) -> Answer:
    """Where a request stands, and what keeps it from being executed.

    Example: nexus-control status 0d1c0d39
    """
    with frame.store() as store:
        checked = door.validated(
            door.StatusArguments, {"request_id": chosen(store, request_id, any_request())}
        )
        data = views.status(store, checked, look_beside=True)

    def show(screen: Screen) -> None:
        screen.prose(f"{data['goal']}", _mark(data["state"], blocked=bool(data["blocking_reasons"])))
        screen.prose(f"{data['active_approvals']} of {data['required_approvals']} approvals.")
        if imported := data.get("imported"):
            screen.prose(f"Imported: {imported_text(imported)}.")
        if data["blocking_reasons"]:
            rows = [(reason["code"], reason["message"]) for reason in data["blocking_reasons"]]
            screen.grid(columns("reason|what it says", rows))

    return Answer(data, show)


@shared_options("allowed_signers", "db")
def inspect(frame: Frame, request_id: FittingId = None, config: UsualConfig = None) -> Answer:
    """Everything about a request, as Markdown.

    Example: nexus-control inspect 0d1c0d39
    """
    with frame.store() as store:
        decision_id = chosen(store, request_id, any_request())
        checked = door.validated(door.InspectArguments, {"decision_id": decision_id, "render": frame.as_json})
        with adapters_at_hand(config) as router:
            data = views.inspect(store, checked, router)
    return Answer(data, lambda _: print(render_decision(data)))


@shared_options("acting_as", "db")
def list_requests(
    frame: Frame,
    state: Annotated[
        str | None, typer.Option(help="Only this state, such as pending_approval, approved or expired.")
    ] = None,
    label: Annotated[str | None, typer.Option(help="Only with this label.")] = None,
    requester: Annotated[str | None, typer.Option(help="Only of this requester's id.")] = None,
    awaiting: Annotated[str | None, typer.Option(help="Only what this approver's id could approve.")] = None,
    mine: Annotated[bool, typer.Option("--mine", help="Only what waits for you.")] = False,
    limit: Annotated[int, typer.Option(help="How many.")] = 20,
    after: Annotated[
        str | None, typer.Option(help="The next page: the cursor that the last one named.")
    ] = None,
) -> Answer:
    """The requests, newest first.

    Example: nexus-control list --state pending_approval --mine
    """
    values = {"state": state, "label": label, "requester": requester, "awaiting": awaiting, "limit": limit}
    with frame.store() as store:
        if mine:
            values["awaiting"] = frame.actor.id
        data = listing.list_requests(store, door.validated(door.ListArguments, {**values, "after": after}))

    def show(screen: Screen) -> None:
        rows: list[tuple[Cell, ...]] = [
            (
                line["request_id"],
                _mark(line["state"], blocked=not line["executable"]),
                f"{line['current_approvals']}/{line['required_approvals']}"
                + (" (imported)" if line["imported"] else ""),
                line["goal"],
            )
            for line in data["requests"]
        ]
        if not rows:
            screen.prose("No requests.")
            return
        screen.grid(columns("id|state|agreed|goal", rows))
        if data["cursor"]:
            screen.prose("There are more:")
            options = {f"--{name}": None if value is None else str(value) for name, value in values.items()}
            screen.verbatim(frame.command("list", options={**options, "--after": data["cursor"]}))

    return Answer(data, show)


def _mark(state: str, *, blocked: bool) -> Mark:
    """The state as a mark. A request that is approved but cannot be executed here, such as an unchecked import, gets a
    mark of its own.
    """
    if state == "approved" and blocked:
        return Mark("approved, not executable", "stopped")
    return Mark(state, "good" if state in _GOOD else "bad" if state in _BAD else "stopped")
