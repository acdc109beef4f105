"""Whether a store can be used, or made, at the place that was named. Raises INVALID_ARGUMENT, STORE_UNAVAILABLE."""

from pathlib import Path

from nexus_control.cli.wording import options_of
from nexus_control.errors import ErrorCode, NexusControlError, invalid_argument
from nexus_control.storage import is_file, is_made, is_postgres, scheme_problem, shown_url
from nexus_control.storage.log_folder import is_bound
from nexus_control.system.whole_files import is_folder

_ON_SERVER = (
    "Look at the URL: the server, the name of the database, and its schema (`options=-csearch_path%3DNAME`). `init`"
    " makes a store there."
)
_SOURCE = "Name the place of the store that is to be moved. Nothing was copied."


def require_file(database: Path, named_by: str, *, makes: bool, maker: str = "request") -> None:
    """`maker` is the command that is named as one that makes a store."""
    if is_folder(database):
        raise invalid_argument("--db", f"names {database}, which is a folder: name a file in it")
    if not _holds_something(database, "--db") and not makes:
        raise _no_store(
            f"There is no database at {database} ({named_by}): `{maker}` makes one", str(database)
        )


def require_on_server(url: str, log_folder: Path | None, named_by: str, *, makes: bool) -> None:
    """A log folder is made with the store only: a mistyped one has no head, and no older copy would be noticed."""
    is_there, shown = _is_made(url, "--db"), shown_url(url)
    if not is_there:
        _require_unbound(log_folder, shown)
    if not is_there and not makes:
        raise _no_store(f"There is no store at {shown} ({named_by})", shown, _ON_SERVER)
    if is_there and log_folder is not None and not is_folder(log_folder):
        raise invalid_argument(
            "--log-folder",
            f"names {log_folder}, which is not there: leave it out unless you execute or sign here. On the one machine"
            " that does, `init` makes it",
        )


def require_source(place: str, log_folder: Path | None) -> None:
    """Returns if `migrate` can read a store there."""
    _require_place("--from", place)
    shown = shown_url(place)
    is_there = _is_made(place, "--from") if is_postgres(place) else _holds_something(Path(place), "--from")
    if not is_there:
        raise _no_store(f"There is no store at {shown} (--from)", shown, _SOURCE)
    if is_postgres(place) and log_folder is not None and not is_folder(log_folder):
        problem = f"names {log_folder}, which is not there: name the folder of the store at {shown}"
        raise invalid_argument("--log-folder", problem)


def require_target(place: str, log_folder: Path | None) -> None:
    """Returns if `migrate` may make a store there; one that is there already is looked at when it is open."""
    _require_place("--to", place)
    if is_postgres(place) and not _is_made(place, "--to"):
        _require_unbound(log_folder, shown_url(place))


def _is_made(url: str, option: str) -> bool:
    with options_of({"path_or_url": option}):
        return is_made(url)


def _require_place(option: str, place: str) -> None:
    if problem := scheme_problem(place):
        raise invalid_argument(option, problem)
    if is_file(place) and is_folder(Path(place)):
        raise invalid_argument(option, f"names {place}, which is a folder: name a file in it")


def _require_unbound(log_folder: Path | None, shown: str) -> None:
    if log_folder is not None and is_bound(log_folder):
        problem = f"names {log_folder}, which holds the log of another store than {shown}"
        raise invalid_argument("--log-folder", f"{problem}: each store has a folder of its own")


def _holds_something(file: Path, option: str) -> bool:
    try:
        return file.stat().st_size > 0
    except FileNotFoundError:
        return False
    except OSError as error:
        raise invalid_argument(option, f"names {file}, which cannot be looked at: {error.strerror}") from None


def _no_store(problem: str, place: str, advice: str | None = None) -> NexusControlError:
    return NexusControlError(ErrorCode.STORE_UNAVAILABLE, problem, {"path": place}, advice)
