"""A migration that is killed: `python -m tests.doors.dying SOURCE TARGET LOG_FOLDER CALLS`. Either is on the server.

It kills itself before the call of this number that changes something: rows, files beside the stores, or a commit.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

from nexus_control import DecisionStore
from nexus_control.log import migrating
from nexus_control.storage import is_postgres
from nexus_control.storage.postgres_rows import PostgresRows
from nexus_control.storage.sidecar import FileSidecar
from nexus_control.storage.slot import FileSlot
from nexus_control.storage.sqlite_rows import SqliteRows
from tests.support.places import REPOSITORY

CHANGES: tuple[tuple[type[Any], str], ...] = (
    (PostgresRows, "append"),
    (PostgresRows, "replace_decision_rows"),
    (PostgresRows, "keep_answer"),
    (PostgresRows, "commit"),
    (SqliteRows, "append"),
    (SqliteRows, "replace_decision_rows"),
    (SqliteRows, "move"),
    (SqliteRows, "end"),
    (FileSidecar, "create_secret"),
    (FileSidecar, "replace"),
    (FileSlot, "update"),
)


def killed_at(call: int, source: str, target: str, folder: Path) -> bool:
    """Migrate in a process that is killed before this change; False where it ended before."""
    words = [sys.executable, "-m", "tests.doors.dying", source, target, str(folder), str(call)]
    ran = subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True, timeout=240)
    assert ran.returncode in (0, -signal.SIGKILL), ran.stderr
    return ran.returncode != 0


def _dying(change: Callable[..., Any], calls: "count[int]", last: int) -> Callable[..., Any]:
    def call(*arguments: Any, **options: Any) -> Any:
        if next(calls) == last:
            os.kill(os.getpid(), signal.SIGKILL)
        return change(*arguments, **options)

    return call


if __name__ == "__main__":
    numbers = count(1)
    for owner, name in CHANGES:
        setattr(owner, name, _dying(getattr(owner, name), numbers, int(sys.argv[4])))
    places, folder = sys.argv[1:3], sys.argv[3]
    old, new = (DecisionStore(each, log_folder=folder if is_postgres(each) else None) for each in places)
    with old, new:
        here = (
            "" if is_postgres(places[1]) else f" on {os.uname().nodename}"
        )  # as the command names the place
        migrating.migrate(old, new, places[1] + here)
