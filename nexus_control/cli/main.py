"""The command line as a whole: the options before a command, and how the process ends.

`cli.commands` names the commands. `cli.frame` says with which exit codes they end, and what they print on standard
output and on standard error.
"""

import sys
from typing import Annotated, cast

import typer

from nexus_control import __version__
from nexus_control.cli.commands import CommandGroup, group
from nexus_control.cli.exit_codes import REFUSED, USAGE
from nexus_control.cli.interrupting import Terminated
from nexus_control.cli.options import AllowedSigners, AsJson, Database, LogFolder, Origins
from nexus_control.cli.streams import (
    PrintingFailed,
    is_refusal_printed,
    open_standard_streams,
    tell_nothing_changed,
)
from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.system.signals import end_by

PROGRAM = "nexus-control"
_WIDEST_HELP = 120
# The class of all errors of usage. Newer versions of typer have their own copy of it, without a public name.
_USAGE_ERROR = cast("type[typer.BadParameter]", typer.BadParameter.__bases__[0])

app = group(
    cls=CommandGroup,
    add_completion=True,
    help="Approval and audit for agents that act.\n\nExample: nexus-control demo",
    context_settings={"help_option_names": ["--help", "-h"], "max_content_width": _WIDEST_HELP},
)


def main() -> None:
    """Run the command that the process was given, and exit."""
    open_standard_streams()
    try:
        code = app(prog_name=PROGRAM, standalone_mode=False)
        sys.stdout.flush()
    except PrintingFailed as failure:  # help, or the version
        tell_nothing_changed(failure)
        sys.exit(REFUSED)
    except _USAGE_ERROR as error:
        # pydantic's words, with which typer reads choices
        error.message = error.message.removeprefix("Value error, ")
        if "--json" not in sys.argv or not is_refusal_printed(_misused(error)):
            error.show()
        sys.exit(USAGE)
    except typer.Abort:
        sys.exit(REFUSED)
    except Terminated as ended:
        end_by(ended.number)
        raise
    sys.exit(code)


def _misused(error: typer.BadParameter) -> NexusControlError:
    """The fault for a call that the parser of the options does not understand."""
    parameter = getattr(error, "param", None)  # some errors of usage have none
    named = [] if parameter is None else sorted(parameter.opts, key=len)[-1:]
    fields = [
        {"field": each if each.startswith("-") else each.upper(), "problem": error.message} for each in named
    ]
    return NexusControlError(
        ErrorCode.INVALID_ARGUMENT, error.format_message(), {"fields": fields} if fields else None
    )


def _tell_version(asked: bool) -> None:
    if asked:
        typer.echo(f"{PROGRAM} {__version__}")
        raise typer.Exit


@app.callback()
def root(
    db: Database = None,
    log_folder: LogFolder = None,
    allowed_signers: AllowedSigners = None,
    origin: Origins = None,
    as_json: AsJson = False,
    version: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=_tell_version, help="Show the version and exit."),
    ] = False,
) -> None:
    """Takes the options before a command. `frame_of` reads them from the context."""
