"""The command `request`. It also prints the command with which an approver approves."""

from pathlib import Path
from typing import Annotated

import typer

from nexus_control.cli.adapters import config_or_default
from nexus_control.cli.files import read_text
from nexus_control.cli.frame import Answer, Frame, shared_options
from nexus_control.cli.options import Approvers, Labels, MaxSteps, MinApprovals, MinAssurance, UsualConfig
from nexus_control.cli.screen import Screen
from nexus_control.errors import NexusControlError, invalid_argument
from nexus_control.execution.config import load_adapters
from nexus_control.execution.opening import opened_router
from nexus_control.execution.router import PlanChecker
from nexus_control.storage import IN_MEMORY
from nexus_control.system.commands import approving
from nexus_control.usecases import arguments as door
from nexus_control.usecases import requesting


@shared_options("acting_as", "db")
def request(
    frame: Frame,
    goal: Annotated[str, typer.Argument(help="What is to be achieved.")],
    mode: Annotated[str, typer.Option(help="dry_run or apply.")] = "dry_run",
    plan: Annotated[str | None, typer.Option(help="The plan, as text.")] = None,
    plan_file: Annotated[Path | None, typer.Option(metavar="FILE", help="The plan, from a file.")] = None,
    template: Annotated[str | None, typer.Option(help="The template whose policy applies.")] = None,
    min_approvals: MinApprovals = None,
    approver: Approvers = None,
    label: Labels = None,
    max_steps: MaxSteps = None,
    min_assurance: MinAssurance = None,
    expires_at: Annotated[str | None, typer.Option(help="When the request runs out (ISO 8601).")] = None,
    adapter: Annotated[str | None, typer.Option(metavar="KIND:NAME", help="Bind it to this adapter.")] = None,
    config: UsualConfig = None,
) -> Answer:
    """Ask for an execution.

    Example: nexus-control request "Rotate the API keys" --mode apply --min-approvals 2
    """
    with frame.store(makes=True) as store:
        values: dict[str, object] = {
            "goal": goal,
            "actor": frame.actor,
            "mode": mode,
            "plan": _plan(plan, plan_file),
            "template_name": template,
            "min_approvals": min_approvals,
            "approvers": approver or None,
            "labels": label or None,
            "max_steps": max_steps,
            "min_assurance": min_assurance,
            "expires_at": expires_at,
            "adapter_id": adapter,
        }
        arguments, found = door.validated(door.RequestArguments, values), config_or_default(config)
        checked_by = found if arguments.adapter_id else None
        with opened_router(database=IN_MEMORY, config=checked_by, factory=None) as router:
            data = requesting.request(store, arguments, router if isinstance(router, PlanChecker) else None)
        policy = store.load(data["request_id"]).facts.policy
        to_approve = approving(
            data["request_id"],
            frame.path,
            config=_readable(found),
            allowed_signers=frame.allowed_signers,
            signed=policy is not None and policy.min_assurance == "signed",
        )

    def show(screen: Screen) -> None:
        agreed = f"{data['current_approvals']} of {data['required_approvals']} approvals"
        screen.prose(f"{data['request_id']} is {data['state']}: {agreed}.")
        screen.verbatim(to_approve)

    return Answer(data, show, f"Request {data['request_id']} was made")


def _readable(config: Path | None) -> Path | None:
    """The adapters' file, if it can be read. A broken file is left out of the approver's command, which would fail."""
    try:
        if config is not None:
            load_adapters(config)
    except NexusControlError:
        return None
    return config


def _plan(text: str | None, file: Path | None) -> str | None:
    if text is not None and file is not None:
        raise invalid_argument("--plan", "and --plan-file exclude each other")
    return text if file is None else read_text("--plan-file", file)
