"""The command `serve`: it serves the tools to an agent host."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from nexus_control.cli.adapters import config_or_default
from nexus_control.cli.exit_codes import USAGE
from nexus_control.cli.frame import Frame, frame_of, identity, refuse
from nexus_control.cli.loading import load
from nexus_control.cli.options import (
    AdaptersFrom,
    AllowedSigners,
    Database,
    LogFolder,
    Origins,
    Router,
    UsualConfig,
)
from nexus_control.cli.settings import adapters_file
from nexus_control.errors import NexusControlError, invalid_argument
from nexus_control.server.starting import start
from nexus_control.values.actors import Actor
from nexus_control.values.results import fault_of


def serve(
    context: typer.Context,
    actor: Annotated[
        str | None,
        typer.Option(metavar="TYPE:ID", help="The identity of the server. Default: system:agent@HOST."),
    ] = None,
    approver: Annotated[
        str | None,
        typer.Option(metavar="TYPE:ID", help="Whom the host's forms ask. Default: your login here."),
    ] = None,
    approvals: Annotated[
        str,
        typer.Option(help="human: a person must answer; declared: a model's word counts; off: no approving."),
    ] = "human",
    tool_names: Annotated[
        str, typer.Option(help="dotted, or underscore for hosts that refuse dots.")
    ] = "dotted",
    artifacts: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where large artifacts go. Default: DB.artifacts.")
    ] = None,
    config: UsualConfig = None,
    adapters_from: AdaptersFrom = None,
    router: Router = None,
    read_only: Annotated[bool, typer.Option("--read-only", help="Offer only tools that read.")] = False,
    allowed_signers: AllowedSigners = None,
    origin: Origins = None,
    db: Database = None,
    log_folder: LogFolder = None,
) -> None:
    """Serve the 11 tools to an agent host: MCP over standard input and output.

    Example: nexus-control serve --db /srv/decisions.db --config /srv/nexus-control.toml
    """
    frame = frame_of(
        context, db=db, log_folder=log_folder, allowed_signers=allowed_signers, origin=origin, config=config
    )

    def run() -> None:
        pipes = start()
        server = load("nexus_control.server.protocol")  # loaded after the client's pipes are private
        frame.look_at_signers()
        frame.require_place(makes=True)  # with --read-only the server itself refuses a missing one
        named = adapters_file(config, adapters_from)
        settings = server.Settings(
            database=frame.path,
            log_folder=frame.log_folder,
            actor=_agent() if actor is None else identity(actor, option="--actor")[0],
            approver=identity(approver, option="--approver")[0],
            approvals=_one_of("--approvals", approvals, ("human", "declared", "off")),
            name_style=_one_of("--tool-names", tool_names, ("dotted", "underscore")),
            artifacts=artifacts,
            config=named if router else config_or_default(named, project=False),
            router=router,
            read_only=read_only,
            allowed_signers=frame.allowed_signers,
            passkey_origins=frame.passkey_origins,
        )
        server.serve_stdio(settings, pipes)

    _run(frame, run)


def _run(frame: Frame, serving: Callable[[], None]) -> None:
    ended = fault_of(serving)
    if isinstance(ended, NexusControlError):
        refuse(frame, ended)
        raise typer.Exit(USAGE)


def _agent() -> Actor:
    return Actor(type="system", id=f"agent@{os.uname().nodename}")


def _one_of(option: str, value: str, options: tuple[str, ...]) -> str:
    if value not in options:
        raise invalid_argument(option, f"must be one of {', '.join(options)}")
    return value
