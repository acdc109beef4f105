"""Storages: one contract, and one test suite that each of them passes.

`open_storage` opens a place: ":memory:" is SQLite in memory. "sqlite:///absolute/path" (taken literally, no %-escapes)
and any path without a scheme are a SQLite file. "postgresql://..." and "postgres://..." are a PostgreSQL database
(libpq's connection URIs), which may have a log folder (`storage.log_folder`).

A URL may hold a password. It is never shown: every message names a store by `shown_url`.
"""

import os
import re
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from nexus_control.errors import ErrorCode, NexusControlError, invalid_argument
from nexus_control.storage import log_folder as log_folders
from nexus_control.storage.contract import BUSY_SECONDS, Derive, Storage, unled
from nexus_control.storage.sidecar import NoSidecar
from nexus_control.storage.sqlite import IN_MEMORY as IN_MEMORY
from nexus_control.storage.sqlite import SqliteStorage
from nexus_control.system.commands import names_a_server_oddly, without_password
from nexus_control.system.whole_files import is_regular

_SQLITE_URL = "sqlite://"
_POSTGRES_URLS = ("postgresql://", "postgres://")
_BESIDE_A_DATABASE = ("", "-wal", "-shm", "-journal")
_FILES = (
    *_BESIDE_A_DATABASE,
    *(f".runs{suffix}" for suffix in _BESIDE_A_DATABASE),
    *(".key", ".key.next", ".checkpoint", ".head"),
)
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*:)(?://|\Z)")


def open_storage(
    path_or_url: str | os.PathLike[str],
    *,
    busy_seconds: float = BUSY_SECONDS,
    log_folder: Path | None = None,
    derive: Derive = unled,
) -> Storage:
    """The storage at this place, made if nothing is there. A store of an earlier form is led to this one, with
    `derive`. Raises INVALID_ARGUMENT, STORE_UNAVAILABLE, STORE_FORKED.
    """
    given = os.fspath(path_or_url)
    if not given or "\0" in given:
        raise _refused("must be a path or URL")
    if given.startswith(_SQLITE_URL) and not given.startswith(f"{_SQLITE_URL}/"):
        raise _refused(f"must name an absolute path after {_SQLITE_URL}")
    place = place_of(given)
    if problem := scheme_problem(place):
        raise _refused(problem)
    if is_postgres(place):
        return _on_postgres(place, busy_seconds, log_folder)
    if log_folder is not None:
        raise invalid_argument(
            "log_folder", "is for a store on a PostgreSQL server: the log of any other lies beside it"
        )
    return SqliteStorage(place, busy_seconds, derive=derive)


def _on_postgres(url: str, busy_seconds: float, folder: Path | None) -> Storage:
    with _driver():
        from nexus_control.storage.postgres import PostgresStorage
    if folder is None:
        return PostgresStorage(url, busy_seconds, sidecar=NoSidecar(log_folders.WITHOUT))
    sidecar = log_folders.sidecar_in(folder)
    storage = PostgresStorage(url, busy_seconds, sidecar=sidecar)
    try:
        log_folders.bind(folder, storage.identity(), sidecar)
    except BaseException:
        storage.close()
        raise
    return storage


@contextmanager
def _driver() -> Generator[None]:
    """The block imports the storage whose driver is an extra. Raises STORE_UNAVAILABLE without it."""
    try:
        yield
    except ImportError as error:
        raise NexusControlError(
            ErrorCode.STORE_UNAVAILABLE,
            f"A store on PostgreSQL needs a driver that is not installed: {error.name}",
            advice="Install it: pip install 'nexus-control[postgres]'.",
        ) from error


def is_made(place: str, busy_seconds: float = BUSY_SECONDS) -> bool:
    """Whether there is a store at this place, which is not made for it. Raises STORE_UNAVAILABLE where the server
    cannot be asked.
    """
    if is_postgres(place):
        with _driver():
            from nexus_control.storage import postgres
        return postgres.is_made(place, busy_seconds)
    return is_regular(place)


def scheme_problem(place: str) -> str | None:
    """Why no store can be at the place that this URL names; None where one can, or where `url` is a path."""
    if is_postgres(place):
        return None
    url = _URL.match(place)
    return url and (
        f"has the unknown scheme {url[1]} (known are {_SQLITE_URL}/absolute/path, postgresql://host/database and"
        f" {IN_MEMORY})"
    )


def is_postgres(place: str) -> bool:
    """Whether a store at this place is in a PostgreSQL database."""
    return place.startswith(_POSTGRES_URLS)


def shown_url(place: str) -> str:
    """The place as people and logs are shown it: a URL loses its password."""
    return without_password(place)


def place_of(path_or_url: str | os.PathLike[str]) -> str:
    """The absolute path of the store's file, with every link followed; the other files of the store lie beside it. The
    name of a store in memory, and a URL of another scheme, are returned as they are.
    """
    given = os.fspath(path_or_url)
    path = given.removeprefix(_SQLITE_URL)
    if names_a_server_oddly(given):
        raise _refused(
            "must begin with postgresql:// where it names a server; it is not shown, for its password"
        )
    if not is_file(path):
        return given
    try:
        return os.path.realpath(path)
    except OSError:  # a relative path asks for the working folder
        raise _refused("must be absolute where the working folder is gone") from None


def is_file(place: str) -> bool:
    """Whether a store at this place is a file."""
    return place != IN_MEMORY and not _URL.match(place)


def base_of(place: str, log_folder: Path | None = None) -> Path | None:
    """The path that the names of the files beside a store begin with; None where it has none."""
    if is_file(place):
        return Path(place)
    return log_folders.base_in(log_folder) if log_folder is not None and is_postgres(place) else None


def artifacts_of(place: str, log_folder: Path | None = None) -> Path | None:
    """The folder for artifacts beside a store; None where nothing lies beside it."""
    base = Path(place) if place == IN_MEMORY else base_of(place, log_folder)
    return None if base is None else Path(f"{base}.artifacts")


def files_of(place: str, log_folder: Path | None = None) -> tuple[Path, ...]:
    """The files that a store at this place, and its run log, have or may come to have. No other file may have their
    names.
    """
    base = base_of(place, log_folder)
    return () if base is None else tuple(Path(f"{base}{suffix}") for suffix in _FILES)


def main_files_of(path: Path) -> list[Path]:
    """The databases that a file of this name could belong to: itself, and those whose names it begins with."""
    return [
        Path(name)
        for suffix in _FILES
        if (name := str(path).removesuffix(suffix)) and str(path).endswith(suffix)
    ]


def _refused(problem: str) -> NexusControlError:
    return invalid_argument("path_or_url", problem)
