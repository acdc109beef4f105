"""Options and arguments that several commands share, with one spelling and one help text (`cli.files` has --output)."""

from pathlib import Path
from typing import Annotated

import typer

DEFAULT_DATABASE = "nexus-control.db"

Database = Annotated[
    str | None,
    typer.Option(
        "--db",
        metavar="PATH",
        help=f"The database. Default: NEXUS_CONTROL_DB, else {DEFAULT_DATABASE} in this folder.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]
InUtc = Annotated[bool, typer.Option("--utc", help="Show times in UTC, not in the time of this machine.")]
AllowedSigners = Annotated[
    Path | None,
    typer.Option(
        "--allowed-signers",
        metavar="FILE",
        help="Whose signed approvals count: an OpenSSH allowed signers file. Default: NEXUS_CONTROL_ALLOWED_SIGNERS.",
    ),
]
ActingAs = Annotated[
    str | None,
    typer.Option(
        "--as",
        metavar="TYPE:ID",
        envvar="NEXUS_CONTROL_ACTOR",
        help="Act as this human or system. Default: your login here.",
    ),
]
RequestId = Annotated[
    str, typer.Argument(metavar="ID", help="The request's id, or its beginning from 4 characters on.")
]
FittingId = Annotated[
    str | None,
    typer.Argument(
        metavar="[ID]",
        help="The request's id, or its beginning from 4 characters on. May be left out if only one request fits.",
    ),
]
Config = Annotated[Path | None, typer.Option(metavar="FILE", help="The adapters: a nexus-control.toml.")]
UsualConfig = Annotated[
    Path | None,
    typer.Option(
        "--config", metavar="FILE", help="The adapters. Default: nexus-control.toml in this folder, if there."
    ),
]
Router = Annotated[
    str | None, typer.Option(metavar="MODULE:FACTORY", help="A router of your own, made without arguments.")
]
Approvers = Annotated[list[str] | None, typer.Option(help="Who may approve; may be repeated.")]
Labels = Annotated[list[str] | None, typer.Option(help="A label; may be repeated.")]
MinApprovals = Annotated[int | None, typer.Option(help="How many people must approve.")]
MaxSteps = Annotated[int | None, typer.Option(help="The longest plan that may run.")]
MinAssurance = Annotated[
    str | None, typer.Option(help="How approvers must be known: declared, elicited, local or signed.")
]
