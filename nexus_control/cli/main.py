"""The commands and their options; each is carried out by a module of its own.

`cli.frame` says with which codes they end, and what goes to standard output and to standard error.
"""

import sys
from pathlib import Path
from typing import Annotated, cast

import typer

from nexus_control import __version__
from nexus_control.cli import (
    deciding,
    exporting,
    health,
    hosting,
    keys,
    log,
    looking,
    reporting,
    running,
    signing,
    templates,
    verifying,
)
from nexus_control.cli.frame import (
    REFUSED,
    USAGE,
    AllowedSigners,
    AsJson,
    Database,
    Frame,
    frame_of,
    from_environment,
    refuse,
    untold,
)
from nexus_control.cli.interrupting import Terminated, end_by
from nexus_control.cli.streams import PrintingFailed, open_standard_streams
from nexus_control.errors import ErrorCode, NexusControlError

PROGRAM = "nexus-control"
# Every error of usage; typer has its own copy of the class from one version on, and gives it no public name.
_USAGE_ERROR = cast("type[typer.BadParameter]", typer.BadParameter.__bases__[0])

app = typer.Typer(
    help="Approval and audit for agents that act.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # help is plain text: it is read in pipes too
    pretty_exceptions_enable=False,
)


def main() -> None:
    """Run the command that the process was given, and exit."""
    open_standard_streams()
    try:
        code = app(prog_name=PROGRAM, standalone_mode=False)
        sys.stdout.flush()
    except PrintingFailed as failure:  # help, or the version
        sys.exit(untold(failure, None).exit_code)
    except _USAGE_ERROR as error:
        sys.exit(_misused(error))
    except typer.Abort:
        sys.exit(REFUSED)
    except Terminated as ended:
        end_by(ended.number)
        raise
    sys.exit(code)


def _misused(error: typer.BadParameter) -> int:
    """What the parser of the options says of a call that it does not understand."""
    if "--json" not in sys.argv:
        error.show()
    else:
        parameter = getattr(error, "param", None)  # not of every error of usage
        named = [] if parameter is None else sorted(parameter.opts, key=len)[-1:]
        fields = [{"field": _field(each), "problem": error.message} for each in named]
        fault = NexusControlError(
            ErrorCode.INVALID_ARGUMENT, error.format_message(), {"fields": fields} if fields else None
        )
        refuse(Frame(as_json=True), fault)
    return USAGE


def _field(name: str) -> str:
    """A parameter as the help names it: an argument in capitals."""
    return name if name.startswith("-") else name.upper()


def _tell_version(asked: bool) -> None:
    if asked:
        typer.echo(f"{PROGRAM} {__version__}")
        raise typer.Exit


@app.callback()
def root(
    context: typer.Context,
    db: Database = None,
    allowed_signers: AllowedSigners = None,
    as_json: AsJson = False,
    version: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=_tell_version, help="Show the version and exit."),
    ] = False,
) -> None:
    context.obj = from_environment().with_options(db, as_json, allowed_signers)


@app.command()
def demo(
    context: typer.Context,
    keep: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Leave the files, the database and the audit package in DIR, which is new or empty.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Rotate the keys of a made-up service, from request to verified proof. Needs no set-up.

    Example: nexus-control demo --keep demo
    """
    from nexus_control.cli.demo.command import run_demo

    raise typer.Exit(run_demo(keep, as_json=frame_of(context, None, as_json).as_json))


for commands in (
    deciding,
    signing,
    looking,
    running,
    templates,
    exporting,
    verifying,
    reporting,
    log,
    keys,
    health,
    hosting,
):
    commands.register(app)
