"""The commands about policy templates: template create, get, list."""

from typing import Annotated, TypeAlias, cast

import typer

from nexus_control.cli.commands import group
from nexus_control.cli.completing import template_names
from nexus_control.cli.frame import Answer, Frame, shared_options
from nexus_control.cli.options import (
    Approvers,
    Capabilities,
    GroupsConfig,
    Labels,
    MaxSteps,
    MinApprovals,
    MinAssurance,
    RequesterMayApprove,
    RequiredFrom,
    RequireRehearsal,
    rehearsal_of,
    slots_of,
)
from nexus_control.cli.screen import DONE, NOTE, Screen, columns
from nexus_control.render.policy import policy_words
from nexus_control.store import DecisionStore
from nexus_control.usecases import arguments as door
from nexus_control.usecases import templating
from nexus_control.usecases.answers import TemplateData

Name = Annotated[str, typer.Argument(metavar="NAME", help="The template's name.")]
_DRY_RUNS_ONLY = (
    "It allows dry runs only. For one that allows more, give --allowed-mode dry_run --allowed-mode apply."
)
Existing = Annotated[
    str, typer.Argument(metavar="NAME", help="The template's name.", autocompletion=template_names)
]

_NO_GROUPS = (
    "No groups are configured here ([groups]): nobody has checked the names of the groups that it needs."
)
templates = group(help="Policies with a name.\n\nExample: nexus-control template list")


_TightenOnly: TypeAlias = Annotated[
    bool, typer.Option("--tighten-only", help="Requests may only make the policy stricter.")
]


@templates.command()
@shared_options("acting_as", "db")
def create(
    frame: Frame,
    name: Name,
    description: Annotated[str, typer.Option(metavar="TEXT", help="The purpose of the template.")] = "",
    min_approvals: MinApprovals = None,
    allowed_mode: Annotated[
        list[str] | None,
        typer.Option(
            metavar="<dry_run|apply>", help="A mode of its requests; may be repeated. Default: dry_run only."
        ),
    ] = None,
    require_capability: Capabilities = None,
    max_steps: MaxSteps = None,
    approver: Approvers = None,
    required_from: RequiredFrom = None,
    requester_may_approve: RequesterMayApprove = None,
    min_assurance: MinAssurance = None,
    require_rehearsal: RequireRehearsal = None,
    label: Labels = None,
    config: GroupsConfig = None,
    tighten_only: _TightenOnly = False,
) -> Answer:
    """Give a policy a name. It can never be changed.

    Example: nexus-control template create prod --min-approvals 2 --tighten-only
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
            "required_from": slots_of(required_from),
            "allow_requester_approval": requester_may_approve,
            "min_assurance": min_assurance,
            "require_rehearsal": rehearsal_of(require_rehearsal),
            "labels": label or None,
            "overrides": "tighten_only" if tighten_only else "any",
        }
        data = templating.template_create(store, door.validated(door.TemplateCreateArguments, values))
        policy = _template(store, name)["template"]
        is_unchecked = policy.get("required_from") is not None and not store.groups
    made, modes = f"Template {data['template_name']}", policy["allowed_modes"]

    def show(screen: Screen) -> None:
        screen.prose(f"{made} was made, for good.", DONE)
        screen.prose(f"Requests under it: {policy_words(policy)}.")
        if "apply" not in modes:
            screen.prose(_DRY_RUNS_ONLY, NOTE)
        if is_unchecked:
            screen.prose(_NO_GROUPS, NOTE)
        screen.prose("To ask for something under it:")
        options = {"--template": data["template_name"], "--mode": "apply" if "apply" in modes else None}
        screen.verbatim(frame.command("request", argument="WHAT IS TO BE ACHIEVED", options=options))

    return Answer(data, show, f"{made} was made")


@templates.command()
@shared_options("db")
def get(frame: Frame, name: Existing) -> Answer:
    """One template: its policy, who made it and when.

    Example: nexus-control template get prod
    """
    with frame.store() as store:
        data = _template(store, name)
    rows = [(field.replace("_", " "), _said(value)) for field, value in data["template"].items()]
    return Answer(data, lambda screen: screen.grid(columns("field|value", rows)))


@templates.command("list")
@shared_options("db")
def list_templates(
    frame: Frame,
    label: Annotated[str | None, typer.Option(metavar="LABEL", help="Only with this label.")] = None,
    limit: Annotated[int, typer.Option(metavar="N", help="How many.")] = 20,
    offset: Annotated[int, typer.Option(metavar="N", help="How many to skip.")] = 0,
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


def _template(store: DecisionStore, name: str) -> TemplateData:
    return templating.template_get(store, door.validated(door.TemplateGetArguments, {"name": name}))


def _said(value: object) -> str:
    if isinstance(value, dict):
        fields = cast("dict[str, object]", value)
        if "type" in fields:  # an actor
            return f"{fields['type']}:{fields['id']}"
        return ", ".join(f"{name}={each}" for name, each in fields.items())
    if isinstance(value, list):
        return ", ".join(map(str, cast("list[object]", value))) or "-"
    return "-" if value in (None, "") else str(value)
