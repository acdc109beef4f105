"""Whether the files that were unpacked from a backup are a store. They are looked at before they get their places.

The digests of a backup say only that nothing was damaged since it was written. A trigger that somebody added to the
database would run at the next request, and junk as the key would be found at the next signature. So the database
must have the tables, indexes and triggers that this version makes, and no others; this is compared before anything else
is read. Its log must be the one of the manifest, and continue the checkpoint; the keys must be keys, and the runs a run
log.
"""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.execution.run_log import require_run_log
from nexus_control.log import checkpoints, head, log_keys
from nexus_control.log.ledger import Ledger
from nexus_control.storage.sidecar import FileSidecar
from nexus_control.storage.sqlite import require_form


def require_store(database: Path, size: int, root: str) -> None:
    """Raises INTEGRITY_MISMATCH where the database and the files beside it are not a store whose log has this size and
    root.
    """
    sidecar = FileSidecar(database)
    with _blaming(database):
        require_form(database)
    with Ledger(database) as ledger, ledger.reading() as session:
        with _blaming(database):
            known = head.head_of(session)
            if (known.size, known.root) != (size, root):
                raise spoiled(database.name, "has another log than the manifest says")
        with _blaming(Path(sidecar.place(checkpoints.LAST))):
            checkpoints.last_in(session, sidecar, sidecar.read(checkpoints.LAST))
    for name in (log_keys.KEY, log_keys.NEXT_KEY):
        with _blaming(Path(sidecar.place(name))):
            log_keys.key_in(sidecar, name)
    runs = database.with_name(f"{database.name}.runs")
    if runs.exists():
        with _blaming(runs):
            require_run_log(runs)


def spoiled(name: str, problem: str) -> NexusControlError:
    return NexusControlError(
        ErrorCode.INTEGRITY_MISMATCH,
        f"{name} in the backup {problem}",
        {"file": name},
        "Use another backup; this one was damaged or changed.",
    )


@contextmanager
def _blaming(file: Path) -> Generator[None]:
    """Refuse the backup where this file of it is refused. A store of another version is refused as such."""
    try:
        yield
    except NexusControlError as fault:
        if "file" in fault.details or "schema" in fault.details:
            raise
        problem = fault.message.replace(f"{file.parent}/", "")
        raise spoiled(file.name, f"is not part of a store: {problem}") from fault
    except (TypeError, ValueError) as error:  # SQLite may not look at the values of a table without row ids
        raise spoiled(
            file.name, f"is not part of a store: it holds a value of another type ({error})"
        ) from error
