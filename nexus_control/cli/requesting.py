"""The command `request`. It also prints the command with which an approver approves."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from nexus_control.cli.adapters import config_or_default
from nexus_control.cli.files import read_text
from nexus_control.cli.frame import Data, Frame, carry_out, frame_of, identity
from nexus_control.cli.options import (
    ActingAs,
    Approvers,
    AsJson,
    Database,
    Labels,
    MaxSteps,
    MinApprovals,
    MinAssurance,
    UsualConfig,
)
from nexus_control.cli.screen import Screen
from nexus_control.errors import NexusControlError, invalid_argument
from nexus_control.execution.config import load_adapters
from nexus_control.execution.opening import opened_router
from nexus_control.execution.router import PlanChecker
from nexus_control.storage import IN_MEMORY
from nexus_control.store import DecisionStore
from nexus_control.system.commands import approving
from nexus_control.usecases import arguments as door
from nexus_control.usecases import requesting


def request(
    context: typer.Context,
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
    acting_as: ActingAs = None,
    db: Database = None,
    as_json: AsJson = False,
) -> None:
    """Ask for an execution.

    Example: nexus-control request "Rotate the API keys" --mode apply --min-approvals 2
    """
    asking = _Asking(frame_of(context, db, as_json), config)

    def run(store: DecisionStore) -> Data:
        values: dict[str, object] = {
            "goal": goal,
            "actor": identity(acting_as)[0],
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
        return asking.ask(store, door.validated(door.RequestArguments, values))

    def done(data: Data) -> str:
        return f"Request {data['request_id']} was made"

    carry_out(asking.frame, run, asking.show, done, makes=True)


@dataclass(slots=True)
class _Asking:
    """Makes a request, then shows it with the command that approves it."""

    frame: Frame
    config: Path | None
    approving: str = ""

    def ask(self, store: DecisionStore, arguments: door.RequestArguments) -> Data:
        config = config_or_default(self.config)
        checked_by = config if arguments.adapter_id else None
        with opened_router(database=IN_MEMORY, config=checked_by, factory=None) as router:
            data = requesting.request(store, arguments, router if isinstance(router, PlanChecker) else None)
        policy = store.load(data["request_id"]).facts.policy
        self.approving = approving(
            data["request_id"],
            self.frame.path,
            config=_readable(config),
            allowed_signers=self.frame.allowed_signers,
            signed=policy is not None and policy.min_assurance == "signed",
        )
        return data

    def show(self, screen: Screen, data: Data) -> None:
        agreed = f"{data['current_approvals']} of {data['required_approvals']} approvals"
        screen.prose(f"{data['request_id']} is {data['state']}: {agreed}.")
        screen.verbatim(self.approving)


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
