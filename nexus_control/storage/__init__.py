"""Storages: one contract, and one test suite that each of them passes.

`open_storage` opens a place: ":memory:" is SQLite in memory. "sqlite:///absolute/path" (taken literally, no %-escapes)
and any path without a scheme are a SQLite file.
"""

import os
import re
from pathlib import Path

from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.storage.contract import BUSY_SECONDS, Derive, Storage, unled
from nexus_control.storage.sqlite import IN_MEMORY as IN_MEMORY
from nexus_control.storage.sqlite import SqliteStorage

_SQLITE_URL = "sqlite://"
_BESIDE_A_DATABASE = ("", "-wal", "-shm", "-journal")
_FILES = (
    *_BESIDE_A_DATABASE,
    *(f".runs{suffix}" for suffix in _BESIDE_A_DATABASE),
    *(".key", ".key.next", ".checkpoint", ".head"),
)
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*:)(?://|\Z)")


def open_storage(
    path_or_url: str | os.PathLike[str], *, busy_seconds: float = BUSY_SECONDS, derive: Derive = unled
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
    return SqliteStorage(place, busy_seconds, derive=derive)


def scheme_problem(place: str) -> str | None:
    """Why no store can be at the place that this URL names; None where one can, or where `url` is a path."""
    url = _URL.match(place)
    return url and f"has the unknown scheme {url[1]} (known are {_SQLITE_URL}/absolute/path and {IN_MEMORY})"


def place_of(path_or_url: str | os.PathLike[str]) -> str:
    """The absolute path of the store's file, with every link followed; the other files of the store lie beside it. The
    name of a store in memory, and a URL of another scheme, are returned as they are.
    """
    given = os.fspath(path_or_url)
    path = given.removeprefix(_SQLITE_URL)
    if not is_file(path):
        return given
    try:
        return os.path.realpath(path)
    except OSError:  # a relative path asks for the working folder
        raise _refused("must be absolute where the working folder is gone") from None


def is_file(place: str) -> bool:
    """Whether a store at this place is a file."""
    return place != IN_MEMORY and not _URL.match(place)


def files_of(place: str) -> tuple[Path, ...]:
    """The files that a store at this place, and its run log, have or may come to have. No other file may have their
    names.
    """
    return tuple(Path(f"{place}{suffix}") for suffix in _FILES) if is_file(place) else ()


def main_files_of(path: Path) -> list[Path]:
    """The databases that a file of this name could belong to: itself, and those whose names it begins with."""
    return [
        Path(name)
        for suffix in _FILES
        if (name := str(path).removesuffix(suffix)) and str(path).endswith(suffix)
    ]


def _refused(problem: str) -> NexusControlError:
    return NexusControlError(ErrorCode.INVALID_ARGUMENT, f"path_or_url {problem}", {"field": "path_or_url"})
