"""Options and arguments that several commands share: an option has one spelling and one help text everywhere."""

from pathlib import Path
from typing import Annotated

import typer

from nexus_control.system.whole_files import is_folder

DEFAULT_DATABASE = "nexus-control.db"
_STANDARD_OUTPUT = {Path("-"), Path("/dev/stdout"), Path("/dev/fd/1"), Path("/proc/self/fd/1")}


def output_file(given: str) -> Path:
    """The file that an option names for something new. A Path would forget that the name says it is a folder."""
    if given.endswith("/") and not is_folder(given):
        raise typer.BadParameter(f"{given} is not a folder.")
    return Path(given)


def _unless_standard(output: Path | None) -> Path | None:
    return None if output in _STANDARD_OUTPUT else output


Database = Annotated[
    str | None,
    typer.Option(
        "--db",
        metavar="PATH",
        help=f"The database. Default: NEXUS_CONTROL_DB, else {DEFAULT_DATABASE} in this folder.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]
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
RequestId = Annotated[str, typer.Argument(metavar="ID", help="The request's id.")]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        parser=output_file,
        callback=_unless_standard,
        help="Write it here rather than to standard output, which is also -.",
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
LogKey = Annotated[
    str | None,
    typer.Option(
        "--log-key",
        metavar="KEY",
        help="The log's verifier key, NAME+ID+BASE64, as you got it from its owner.",
    ),
]
