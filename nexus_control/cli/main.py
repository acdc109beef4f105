"""The commands and their options; each is carried out by a module of its own.

Exit codes: 0 done; 1 refused, or not as it should be; 2 usage, or a file that is missing or cannot be read;
3 verification failed. What people read of a fault goes to standard error; with `--json` it is on standard output.
"""

from pathlib import Path
from typing import Annotated

import typer

from nexus_control import __version__
from nexus_control.cli import deciding, looking, running
from nexus_control.cli.demo.command import run_demo
from nexus_control.cli.frame import AsJson, Database, Frame, frame_of

PROGRAM = "nexus-control"

app = typer.Typer(
    help="Approval and audit for agents that act.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # help is plain text: it is read in pipes too
    pretty_exceptions_enable=False,
)


def main() -> None:
    """Run the command that the process was given, and exit."""
    app(prog_name=PROGRAM)


def _tell_version(asked: bool) -> None:
    if asked:
        typer.echo(f"{PROGRAM} {__version__}")
        raise typer.Exit


@app.callback()
def root(
    context: typer.Context,
    db: Database = None,
    as_json: AsJson = False,
    version: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=_tell_version, help="Show the version and exit."),
    ] = False,
) -> None:
    context.obj = Frame(db, as_json)


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
    raise typer.Exit(run_demo(keep, as_json=frame_of(context, None, as_json).as_json))


for commands in (deciding, looking, running):
    commands.register(app)
