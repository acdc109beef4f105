"""Options and arguments that several commands share, with one spelling and one help text (`cli.files` has --output)."""

from pathlib import Path
from typing import Annotated

import typer

from nexus_control.cli.completing import adapter_ids, request_ids, template_names
from nexus_control.errors import NexusControlError, invalid_argument
from nexus_control.values.instants import parse_duration
from nexus_control.values.payloads import Assurance

DEFAULT_DATABASE = "nexus-control.db"

Database = Annotated[
    str | None,
    typer.Option(
        "--db",
        metavar="PATH",
        help="The database: a file, or postgresql://HOST/NAME. Default: NEXUS_CONTROL_DB, else the configured one, else"
        f" {DEFAULT_DATABASE} in this folder.",
    ),
]
LogFolder = Annotated[
    Path | None,
    typer.Option(
        "--log-folder",
        metavar="DIR",
        help="Where a database on PostgreSQL has its log's key, checkpoint and head. Default:"
        " NEXUS_CONTROL_LOG_FOLDER, else the configured one.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]
InUtc = Annotated[bool, typer.Option("--utc", help="Show times in UTC, not in the time of this machine.")]
AllowedSigners = Annotated[
    Path | None,
    typer.Option(
        "--allowed-signers",
        metavar="FILE",
        help="Whose signed approvals count: an OpenSSH allowed signers file. Default: NEXUS_CONTROL_ALLOWED_SIGNERS,"
        " else the configured one.",
    ),
]
Origins = Annotated[
    list[str] | None,
    typer.Option(
        "--origin",
        metavar="ORIGIN",
        help="A page where passkeys may sign, as https://approve.example.org; may be repeated. Default:"
        " NEXUS_CONTROL_ORIGINS, else [inbox] of the configuration.",
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
    str,
    typer.Argument(
        metavar="ID",
        help="The request's id, or its beginning from 4 characters on.",
        autocompletion=request_ids,
    ),
]
FittingId = Annotated[
    str | None,
    typer.Argument(
        metavar="ID",
        help="The request's id, or its beginning from 4 characters on. May be left out if only one request fits.",
        autocompletion=request_ids,
    ),
]
UsualConfig = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="The settings and adapters. Default: nexus-control.toml in this folder or above, and others: config show.",
    ),
]
GroupsConfig = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="The settings, with [groups]. Default: see config show."),
]
AdaptersFrom = Annotated[
    Path | None,
    typer.Option(
        "--adapters-from",
        metavar="FILE",
        help="Only the adapters of this nexus-control.toml; its other settings are not used.",
    ),
]
Router = Annotated[
    str | None, typer.Option(metavar="MODULE:FACTORY", help="A router of your own, made without arguments.")
]
Template = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="The template whose policy applies.", autocompletion=template_names),
]
BoundAdapter = Annotated[
    str | None,
    typer.Option(
        metavar="KIND:NAME",
        help="The adapter that is to carry it out; it checks the plan.",
        autocompletion=adapter_ids,
    ),
]
Approvers = Annotated[
    list[str] | None, typer.Option(metavar="ID", help="Who may approve; may be repeated. Default: anyone.")
]
RequesterMayApprove = Annotated[
    bool | None,
    typer.Option(
        "--requester-may-approve/--no-requester-may-approve",
        help="Whether the requester may be one of the approvers. Default: yes.",
    ),
]
Capabilities = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME", help="What the adapter must be capable of; may be repeated."),
]
Labels = Annotated[list[str] | None, typer.Option(metavar="LABEL", help="A label; may be repeated.")]
MinApprovals = Annotated[
    int | None, typer.Option(metavar="N", help="How many people must approve. Default: 1.")
]
MaxSteps = Annotated[int | None, typer.Option(metavar="N", help="The longest plan that may run.")]
RequireRehearsal = Annotated[
    str | None,
    typer.Option(
        metavar="DURATION",
        help="People approve what a rehearsal gave back that is at most so old, such as 1h. Default: none is needed.",
    ),
]
RequiredFrom = Annotated[
    list[str] | None,
    typer.Option(
        metavar="GROUP=N",
        help="How many of the approvals must be of this group; may be repeated. Default: of no group.",
    ),
]
MinAssurance = Annotated[
    Assurance | None, typer.Option(help="How approvers must at least be known. Default: in any way.")
]


def slots_of(given: list[str] | None) -> dict[str, int] | None:
    """The policy's rule for `--required-from`. Raises INVALID_ARGUMENT."""
    slots = dict[str, int]()
    for each in given or ():
        group, _, count = each.rpartition("=")
        if not (group and count.isascii() and count.isdecimal() and len(count) < 10):
            raise invalid_argument("required_from", "must be GROUP=N, such as security=1")
        if group in slots:
            raise invalid_argument("required_from", f"names {group} twice")
        slots[group] = int(count)
    return slots or None


def rehearsal_of(duration: str | None) -> dict[str, int] | None:
    """The policy's rule for `--require-rehearsal`. Raises INVALID_ARGUMENT."""
    if duration is None:
        return None
    try:
        return {"max_age_seconds": int(parse_duration(duration).total_seconds())}
    except NexusControlError:
        raise invalid_argument("require_rehearsal", "must be a duration, such as 1h, 90m or 2d") from None
