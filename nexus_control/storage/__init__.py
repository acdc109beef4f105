"""Storages: one contract, one test suite over all of them.

`open_storage` reads a place: ":memory:" is SQLite in memory, "memory:" the model in plain Python,
"sqlite:///absolute/path" (taken literally, no %-escapes) and any path without a scheme a SQLite file.
"""

import os
import re

from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.storage.contract import BUSY_SECONDS, Storage
from nexus_control.storage.memory import MemoryStorage
from nexus_control.storage.sqlite import SqliteStorage

__all__ = ["open_storage"]

_SQLITE_URL = "sqlite://"
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


def open_storage(path_or_url: str | os.PathLike[str], *, busy_seconds: float = BUSY_SECONDS) -> Storage:
    """The storage at this place, made if it is not there. Raises INVALID_ARGUMENT, STORE_UNAVAILABLE, STORE_FORKED."""
    place = os.fspath(path_or_url)
    if not place or "\0" in place:
        raise _refused("must be a path or URL")
    if place == "memory:":
        return MemoryStorage(busy_seconds)
    if place.startswith(_SQLITE_URL):
        path = place.removeprefix(_SQLITE_URL)
        if not path.startswith("/"):
            raise _refused(f"must name an absolute path after {_SQLITE_URL}")
        return SqliteStorage(path, busy_seconds)
    if url := _URL.match(place):
        raise _refused(f"has the unknown scheme {url[1]}://; known is {_SQLITE_URL}/absolute/path")
    return SqliteStorage(place, busy_seconds)


def _refused(problem: str) -> NexusControlError:
    return NexusControlError(ErrorCode.INVALID_ARGUMENT, f"path_or_url {problem}", {"field": "path_or_url"})
