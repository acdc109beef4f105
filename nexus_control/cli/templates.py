"""The commands about policy templates: template create, get, list."""

from typing import Annotated, cast

import typer

from nexus_control.cli.commands import group
from nexus_control.cli.frame import Answer, Frame, shared_options
from nexus_control.cli.options import Approvers, Labels, MaxSteps, MinApprovals, MinAssurance
from nexus_control.cli.screen import DONE, Screen, columns
from nexus_control.usecases import arguments as door
from nexus_control.usecases import templating

Name = Annotated[str, typer.Argument(metavar="NAME", help="The template's name.")]

templates = group(help="Policies with a name.")


@templates.command()
@shared_options("acting_as", "db")
def create(
    frame: Frame,
    name: Name,
    description: Annotated[str, typer.Option(help="The purpose of the template.")] = "",
    min_approvals: MinApprovals = None,
    allowed_mode: Annotated[list[str] | None, typer.Option(help="dry_run or apply; may be repeated.")] = None,
    require_capability: Annotated[
        list[str] | None, typer.Option(help="What the adapter must be capable of; may be repeated.")
    ] = None,
    max_steps: MaxSteps = None,
    approver: Approvers = None,
    requester_may_approve: Annotated[
        bool, typer.Option(help="Whether the requester may be one of the approvers.")
    ] = True,
    min_assurance: MinAssurance = None,
    label: Labels = None,
    tighten_only: Annotated[
        bool, typer.Option("--tighten-only", help="Requests may only make the policy stricter.")
    ] = False,
) -> Answer:
    """Give a policy a name. It can never be changed.

    Example: nexus-control template create prod --min-approvals 2 --allowed-mode dry_run --allowed-mode apply
    """
    with frame.store(makes=True) as store:
        values = {
            "name": name,
            "actor": frame.actor,
            "description": description,
            "min_approvals": min_approvals,
            "allowed_modes": allowed_mode or None,
            "require_adapter_capabilities": require_capability or None,
            "max_steps": max_steps,
            "approvers": approver or None,
            "allow_requester_approval": None if requester_may_approve else False,
            "min_assurance": min_assurance,
            "labels": label or None,
            "overrides": "tighten_only" if tighten_only else "any",
        }
        data = templating.template_create(store, door.validated(door.TemplateCreateArguments, values))
    made = f"Template {data['template_name']}"

    def show(screen: Screen) -> None:
        screen.prose(f"{made} was made, for good.", DONE)
        options = {"--template": data["template_name"]}
        screen.verbatim(frame.command("request", argument="WHAT IS TO BE ACHIEVED", options=options))

    return Answer(data, show, f"{made} was made")


@templates.command()
@shared_options("db")
def get(frame: Frame, name: Name) -> Answer:
    """One template: its policy, who made it and when.

    Example: nexus-control template get prod
    """
    with frame.store() as store:
        data = templating.template_get(store, door.validated(door.TemplateGetArguments, {"name": name}))
    rows = [(field.replace("_", " "), _said(value)) for field, value in data["template"].items()]
    return Answer(data, lambda screen: screen.grid(columns("field|value", rows)))


@templates.command("list")
@shared_options("db")
def list_templates(
    frame: Frame,
    label: Annotated[str | None, typer.Option(help="Only with this label.")] = None,
    limit: Annotated[int, typer.Option(help="How many.")] = 20,
    offset: Annotated[int, typer.Option(help="How many to skip.")] = 0,
) -> Answer:
    """The templates, oldest first.

    Example: nexus-control template list --label prod
    """
    with frame.store() as store:
        values = {"label_filter": label, "limit": limit, "offset": offset}
        data = templating.template_list(store, door.validated(door.TemplateListArguments, values))

    def show(screen: Screen) -> None:
        rows = [
            (row["template_name"], str(row["min_approvals"]), _said(row["allowed_modes"]), row["description"])
            for row in data["templates"]
        ]
        if not rows:
            screen.prose("No templates.")
            return
        screen.grid(columns("name|approvals|modes|what it is for", rows))
        if data["count"] == data["limit"]:
            screen.prose("There may be more:")
            following = str(data["offset"] + data["count"])
            options = {"--label": label, "--limit": str(limit), "--offset": following}
            screen.verbatim(frame.command("template", "list", options=options))

    return Answer(data, show)


def _said(value: object) -> str:
    if isinstance(value, dict):  # an actor
        actor = cast("dict[str, str]", value)
        return f"{actor['type']}:{actor['id']}"
    if isinstance(value, list):
        return ", ".join(map(str, cast("list[object]", value))) or "-"
    return "-" if value in (None, "") else str(value)
