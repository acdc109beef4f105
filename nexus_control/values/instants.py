"""Instants in text: strict ISO-8601 with an offset.

    instant = YYYY-MM-DD "T" HH:MM:SS [ "." 1-6 digits ] ( "Z" | ("+" | "-") HH:MM )

ASCII digits, upper-case T and Z, a day that the calendar has, no leap second, and a moment that UTC can express in
the years 1 to 9999. A text that was read is kept as it was written. `format_instant` writes new instants.
"""

import re
from datetime import UTC, datetime

from nexus_control.errors import NexusControlError, invalid_argument

_INSTANT = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,6})?(?:Z|[+-][0-9]{2}:[0-5][0-9])"
)


def parse_instant(text: str) -> datetime:
    """The instant that `text` names, in UTC. Raises INVALID_ARGUMENT."""
    if _INSTANT.fullmatch(text) is None:
        raise _refused(text)
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        raise _refused(text) from None


def is_instant(text: str) -> bool:
    """Whether `text` is an instant."""
    try:
        parse_instant(text)
    except NexusControlError:
        return False
    return True


def format_instant(instant: datetime) -> str:
    """`instant` in UTC, to the microsecond. Raises INVALID_ARGUMENT for a time without an offset."""
    if instant.utcoffset() is None:
        raise invalid_argument("instant", "must have an offset from UTC")
    return instant.astimezone(UTC).isoformat(timespec="microseconds")


def _refused(text: str) -> NexusControlError:
    return invalid_argument("instant", f"{text!r:.60} is not ISO-8601 with an offset, or Z")
