"""Whether a store can be used, or made, at the place that was named. Raises INVALID_ARGUMENT, STORE_UNAVAILABLE."""

from pathlib import Path

from nexus_control.errors import ErrorCode, NexusControlError, invalid_argument
from nexus_control.storage import is_made, shown_url
from nexus_control.storage.log_folder import is_bound
from nexus_control.system.whole_files import is_folder


def require_file(database: Path, named_by: str, *, makes: bool) -> None:
    if is_folder(database):
        raise invalid_argument("--db", f"names {database}, which is a folder: name a file in it")
    try:
        is_there = database.stat().st_size > 0
    except FileNotFoundError:
        is_there = False
    except OSError as error:
        raise invalid_argument(
            "--db", f"names {database}, which cannot be looked at: {error.strerror}"
        ) from None
    if not is_there and not makes:
        raise _no_store(
            f"There is no database at {database} ({named_by}): `request` makes one", str(database)
        )


def require_on_server(url: str, log_folder: Path | None, named_by: str, *, makes: bool) -> None:
    """A log folder is made with the store only: a mistyped one has no head, and no older copy would be noticed."""
    is_there, shown = is_made(url), shown_url(url)
    if not is_there and log_folder is not None and is_bound(log_folder):
        problem = f"names {log_folder}, which holds the log of another store than {shown}"
        raise invalid_argument("--log-folder", f"{problem}: each store has a folder of its own")
    if not is_there and not makes:
        raise _no_store(f"There is no store at {shown} ({named_by}): `init` makes one", shown)
    if is_there and log_folder is not None and not is_folder(log_folder):
        raise invalid_argument("--log-folder", f"names {log_folder}, which is not there: `init` makes it")


def _no_store(problem: str, place: str) -> NexusControlError:
    return NexusControlError(ErrorCode.STORE_UNAVAILABLE, problem, {"path": place})
