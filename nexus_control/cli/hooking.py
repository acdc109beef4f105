"""The command `hook`, where it is not the first word of the command line, or where its help is asked for.

`nexus_control.__main__` begins the hook itself otherwise, without this module: see `guards.hook_process`.
"""

from pathlib import Path
from typing import Annotated

import typer

from nexus_control.guards.hook_process import main


def hook(
    context: typer.Context,
    db: Annotated[
        str | None,
        typer.Option(metavar="PATH", help="The database: a file, or a URL. Default: the configured one."),
    ] = None,
    log_folder: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Where a database on PostgreSQL has its log's key, checkpoint and head. Default: the configured one.",
        ),
    ] = None,
    allowed_signers: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Whose signed approvals count. Default: the configured file."),
    ] = None,
    origin: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ORIGIN",
            help="A page where passkeys may sign; may be repeated. Default: the configured ones.",
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="The file with the rule book. Default: the system's file, else your own."
        ),
    ] = None,
) -> None:
    """Judge, ask for and record each call of a tool, as the hook of Claude Code or Codex.

    The host's input is read on standard input. Every path is absolute, and no variable is read.

    Example: nexus-control hook --db /srv/decisions.db --config /srv/nexus-control.toml
    """
    before = context.find_root().params
    named = {
        "--db": db or before["db"],
        "--log-folder": log_folder or before["log_folder"],
        "--allowed-signers": allowed_signers or before["allowed_signers"],
        "--config": config,
    }
    words = [word for option, value in named.items() if value for word in (option, str(value))]
    main([*words, *(word for each in origin or before["origin"] or () for word in ("--origin", each))])
