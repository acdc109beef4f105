"""The mark of a store that goes on at another place: it lies in the database itself, so everybody who opens it sees it.

    this store goes on at postgresql://db.example/decisions; the root of its log was 9f86d081...0f00a08

A writing transaction that would change anything is refused while the mark is there; reading stays possible. The text is
the error that the database itself gives a program that does not know the mark. It holds no password.
"""

import re
from typing import NamedTuple

from nexus_control.errors import ErrorCode, NexusControlError

_TEXT = re.compile(r"this store goes on at (.*); the root of its log was ([0-9a-f]{64})", re.DOTALL)


class Moved(NamedTuple):
    """Where the store is now, as people read it, and the root of the log that was moved."""

    place: str
    root: str

    def __str__(self) -> str:
        plain = self.place.encode("utf-8", "backslashreplace").decode()
        return f"this store goes on at {plain}; the root of its log was {self.root}"


def parse_moved(text: str | None) -> Moved | None:
    """The mark in this text; None for any other text.

    >>> parse_moved(str(Moved("/srv/b.db", "0" * 64))).place
    '/srv/b.db'
    """
    found = _TEXT.fullmatch(text or "")
    return None if found is None else Moved(found[1], found[2])


def migrated(moved: Moved) -> NexusControlError:
    """STORE_MIGRATED: nothing is recorded here any more."""
    return NexusControlError(
        ErrorCode.STORE_MIGRATED,
        f"The store was migrated to {moved.place}, where its log goes on: nothing is recorded, executed or signed here",
        {"moved_to": moved.place},
    )
