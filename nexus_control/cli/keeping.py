"""The commands that keep a store safe: backup, restore."""

from pathlib import Path
from typing import Annotated

import typer

from nexus_control.cli.files import output_file
from nexus_control.cli.frame import Answer, Frame, shared_options
from nexus_control.cli.screen import DONE, Screen, columns
from nexus_control.errors import invalid_argument
from nexus_control.log import backup as backups
from nexus_control.log.backup import Manifest
from nexus_control.system.clock import SYSTEM_CLOCK
from nexus_control.system.commands import absolute
from nexus_control.values.records import encode


@shared_options("db")
def backup(
    frame: Frame,
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", parser=output_file, help="The new file. Nothing may be there yet."),
    ],
    without_keys: Annotated[
        bool,
        typer.Option(
            "--without-keys", help="Leave the log's private key out. Keep it in another safe place."
        ),
    ] = False,
) -> Answer:
    """Write the whole store into one file, readable by you alone, also while others use the store.

    Example: nexus-control backup /var/backups/decisions-2026-11-26.zip
    """
    database = frame.file
    frame.require_place(makes=False)
    frame.require_writable("FILE", file)
    made = backups.back_up(database, absolute(file), at=SYSTEM_CLOCK.now(), with_keys=not without_keys)
    has_key = any(part.name.endswith(".key") for part in made.files)

    def show(screen: Screen) -> None:
        _show(screen, made, f"{file} holds the store as it was at {made.made_at}:")
        if has_key:
            screen.prose(
                "It holds the log's private key: everybody who reads this file can sign as this log."
            )
        else:
            screen.prose("It does not hold the log's private key: keep that in another safe place.")

    return Answer({"path": str(file), "has_key": has_key, **encode(made)}, show, f"{file} is written")


@shared_options("db")
def restore(
    frame: Frame,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A backup, as `backup` wrote it.")],
) -> Answer:
    """Lay a backup out as a store at a place where nothing is. It executes nothing until its owner accepts the loss.

    Example: nexus-control restore /var/backups/decisions-2026-11-26.zip --db /srv/team/decisions.db
    """
    database = frame.file
    if not file.is_file():
        raise invalid_argument("FILE", f"names {file}, where no file is")
    made = backups.restore(file, database)
    command = frame.command("doctor")

    def show(screen: Screen) -> None:
        _show(screen, made, f"{database} is the store as it was at {made.made_at}:")
        screen.prose(
            "It executes and signs nothing yet, because it does not know what was done after that. `doctor` says how"
            " its owner accepts the loss:"
        )
        screen.verbatim(command)

    data = {"path": str(database), **encode(made), "command": command}
    return Answer(data, show, f"{database} is laid out")


def _show(screen: Screen, made: Manifest, text: str) -> None:
    screen.prose(text, DONE)
    screen.grid(columns("file|bytes", [(part.name, str(part.bytes)) for part in made.files]))
    screen.prose(f"Its log has {made.log_size} entries, with this root:")
    screen.verbatim(made.log_root)
