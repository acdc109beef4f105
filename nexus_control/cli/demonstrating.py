"""The command `demo`: the whole way from a request to a verified proof, on a made-up service."""

from pathlib import Path
from typing import Annotated

import typer

from nexus_control.cli.demo.command import run_demo
from nexus_control.cli.frame import frame_of
from nexus_control.cli.options import AsJson


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
    raise typer.Exit(run_demo(keep, as_json=frame_of(context, as_json=as_json).as_json))
