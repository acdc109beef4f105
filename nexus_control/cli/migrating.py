"""The command `migrate`: a store is copied to another place, and used only there from then on."""

import os
import sys
import time
from typing import Annotated

import typer

from nexus_control.cli.frame import Answer, Frame, shared_options
from nexus_control.cli.places import require_source, require_target
from nexus_control.cli.screen import DONE, Screen, columns
from nexus_control.errors import invalid_argument
from nexus_control.log import migrating
from nexus_control.storage import is_postgres
from nexus_control.storage.log_folder import as_it_was
from nexus_control.store import DecisionStore

_EVERY_SECONDS = 1.0


@shared_options("log_folder")
def migrate(
    frame: Frame,
    source: Annotated[
        str, typer.Option("--from", metavar="PLACE", help="The store: a file, or postgresql://HOST/NAME.")
    ],
    target: Annotated[
        str,
        typer.Option("--to", metavar="PLACE", help="The new place: a file, or a database without a store."),
    ],
) -> Answer:
    """Copy a whole store to another place, and prove that its log is the same there; then it is used only there.

    One of the places is a file, the other a database on PostgreSQL, whose --log-folder is needed: the log's key,
    checkpoint, head and runs go with the store. Refused are a store that is not whole, that is an older copy, whose
    log's key is not there or which executes something, and a new place that has a log already. The old place then
    executes and signs nothing. A migration that was cut short is finished by the same command.

    Example: nexus-control migrate --from decisions.db --to postgresql://db.example/decisions --log-folder /srv/log
    """
    old, new = _end(frame, "--from", source), _end(frame, "--to", target)
    _require_two_places(old, new)
    require_source(old.path, old.log_folder)
    require_target(new.path, new.log_folder)
    folder = new.log_folder if is_postgres(new.path) else None
    with _opened(old) as theirs, as_it_was(folder), _opened(new) as ours:
        before = migrating.completed(theirs, ours, _now_at(new))
        moved = before or migrating.migrate(theirs, ours, _now_at(new), _Telling())
    kept = {
        "entries": moved.log_size,
        "decisions": len(moved.decisions),
        "approvals": sum(len(approvals) for _, approvals in moved.decisions),
        "answers": len(moved.answers),
        "claims": len(moved.claims),
    }
    done = f"{old.shown} is migrated to {new.shown}"
    said = f"{done}." if before is None else f"{done} already: nothing was done."

    def show(screen: Screen) -> None:
        screen.prose(said, DONE)
        screen.grid(columns("what|migrated", [(name, str(number)) for name, number in kept.items()]))
        screen.prose("Both logs had this root, and this digest over all entries:")
        screen.verbatim(moved.log_root)
        screen.verbatim(moved.log_digest)
        screen.prose(
            f"Chains, tree and derived tables were computed again at the new place. {old.shown} can only be"
            " read any more. Name the new place wherever the old one was named:"
        )
        screen.verbatim(new.command("doctor"))

    data = {
        "from": old.shown,
        "to": new.shown,
        "migrated_before": before is not None,
        "log_root": moved.log_root,
        "log_digest": moved.log_digest,
        **kept,
        "command": new.command("doctor"),
    }
    return Answer(data, show, done if before is None else None)


def _end(frame: Frame, option: str, place: str) -> Frame:
    end = Frame(database=place, named_log_folder=frame.named_log_folder, as_json=frame.as_json, option=option)
    _ = end.path  # raises for a name that no store can have
    return end


def _require_two_places(old: Frame, new: Frame) -> None:
    if is_postgres(old.path) and is_postgres(new.path):
        raise invalid_argument(
            "--to", "is on PostgreSQL, as --from is: move that with pg_dump and pg_restore"
        )
    if old.path == new.path:
        raise invalid_argument("--to", "names the place of --from")
    if old.base is None or new.base is None:
        raise invalid_argument("--log-folder", "is needed: the log's key and head go with the store")


def _now_at(new: Frame) -> str:
    """Where the store is from now on, for those who read it at another machine."""
    return new.shown if is_postgres(new.path) else f"{new.shown} on {os.uname().nodename}"


def _opened(end: Frame) -> DecisionStore:
    return DecisionStore(end.path, log_folder=end.log_folder)


class _Telling:
    """Says on standard error how far the copying is, once a second."""

    def __init__(self) -> None:
        self._next = time.monotonic() + _EVERY_SECONDS

    def __call__(self, done: int, size: int) -> None:
        if time.monotonic() >= self._next:
            self._next += _EVERY_SECONDS
            Screen(sys.stderr).prose(f"{done} of {size} entries are copied")
