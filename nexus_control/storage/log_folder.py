"""The log folder of a store on a PostgreSQL server: what lies beside a SQLite file lies here.

    log.store         which store the folder belongs to: its identity, one line
    log.key           the log's private key, and log.key.next while it is replaced
    log.checkpoint    the last signed checkpoint
    log.head          by which an older copy of the database is noticed
    log.runs          the run log of LocalRouter

* The folder lies on one machine, and has one owner. A folder that its group or others may write is refused: they could
  put an older head, or another key, in place of what is there.
* A folder belongs to one store. The first store that is opened with it writes its identity into it; any other store is
  refused. A copy of a store has the same identity: the head tells them apart, as it does beside a file.
* A user who may not write to the folder reads what may be read in it, as beside a file.
* The head is made before the folder gets its store, and empty. So a folder without one was laid out from a copy, and
  nobody knows what came after it: nothing is executed or signed with it (`log.head`).
"""

import stat
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from nexus_control.errors import NexusControlError, invalid_argument
from nexus_control.storage.faults import unavailable
from nexus_control.storage.sidecar import FileSidecar
from nexus_control.system.whole_files import create_file, is_folder, is_regular, read_regular

_BASE: Final = "log"
_STORE: Final = f"{_BASE}.store"
_HEAD: Final = "head"
_OTHERS_WRITE: Final = 0o022
_MOST_BYTES: Final = 256
WITHOUT: Final = "no log folder is named"
NAME_ONE: Final = (
    "Name the folder of this store's log: --log-folder DIR, NEXUS_CONTROL_LOG_FOLDER, or log_folder beside database in"
    " nexus-control.toml; in Python log_folder=."
)


def base_in(folder: Path) -> Path:
    """The path that the names of the store's files in this folder begin with."""
    return folder / _BASE


def sidecar_in(folder: Path) -> FileSidecar:
    """What lies beside the store, in this folder, which is made if only it is missing. Raises INVALID_ARGUMENT."""
    try:
        folder.mkdir(mode=0o755, exist_ok=True)
        mode = folder.stat().st_mode
    except FileNotFoundError as error:
        raise _refused(
            f"names {folder}, but {folder.parent} is not there: make it first, with mkdir -p {folder.parent}"
        ) from error
    except OSError as error:
        raise _refused(f"names {folder}, which cannot be used: {error.strerror}") from error
    if stat.S_IMODE(mode) & _OTHERS_WRITE:
        raise _refused(f"names {folder}, which others than its owner may write: run chmod go-w on it")
    return FileSidecar(base_in(folder), folder, made_with=(_HEAD,))


def bind(folder: Path, identity: str, sidecar: FileSidecar) -> None:
    """Make sure that the folder is this store's: it gets the store's identity where it has none.

    Raises INVALID_ARGUMENT for the folder of another store, STORE_UNAVAILABLE where that cannot be read.
    """
    file = folder / _STORE
    try:
        if not is_regular(file):
            sidecar.slot(_HEAD).require_writable()
            create_file(file, f"{identity}\n".encode(), 0o644)
    except FileExistsError:
        pass  # another process was faster
    except PermissionError:
        return  # who may not write here signs nothing, and executes nothing with the head of this folder
    except NexusControlError as fault:
        if isinstance(fault.__cause__, PermissionError):
            return
        raise
    except OSError as error:
        raise unavailable(f"{file} cannot be created: {error.strerror}", path=str(file)) from error
    try:
        found = read_regular(file, _MOST_BYTES)
    except PermissionError:
        return
    except OSError as error:
        raise unavailable(f"{file} cannot be read: {error.strerror}", path=str(file)) from error
    if found.strip() != identity.encode():
        raise _refused(
            f"names {folder}, which holds the log of another store: each store has a folder of its own"
        )


@contextmanager
def as_it_was(folder: Path | None) -> Generator[None]:
    """If the block fails, a folder that belonged to no store before belongs to none again."""
    was_there = folder is None or is_folder(folder)
    was_bound = folder is None or is_bound(folder)
    try:
        yield
    except NexusControlError:
        if folder is not None and not was_bound:
            with suppress(OSError):
                made = {_STORE, f"{_BASE}.{_HEAD}"}
                if {each.name for each in folder.iterdir()} <= made:
                    for name in made:
                        (folder / name).unlink(missing_ok=True)
                if not was_there:
                    folder.rmdir()
        raise


def is_bound(folder: Path) -> bool:
    """Whether the folder belongs to a store already."""
    return is_regular(folder / _STORE)


def is_in_log_folder(path: Path) -> bool:
    """Whether the name is one that files of a log folder have, in a folder that is one."""
    return path.name.startswith(f"{_BASE}.") and is_regular(path.with_name(_STORE))


def _refused(problem: str) -> NexusControlError:
    return invalid_argument("log_folder", problem)
