"""Instants in text: strict ISO-8601 with an offset.

    instant = YYYY-MM-DD "T" HH:MM:SS [ "." 1-6 digits ] ( "Z" | ("+" | "-") HH:MM )

ASCII digits, upper-case T and Z, a day that the calendar has, no leap second, and a moment that UTC can express in
the years 1 to 9999. A text that was read is kept as it was written. `format_instant` writes new instants.
"""

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from nexus_control.errors import NexusControlError, invalid_argument

_INSTANT = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,6})?(?:Z|[+-][0-9]{2}:[0-5][0-9])"
)

_DURATION = re.compile(
    r"(?:([0-9]{1,5})w)?(?:([0-9]{1,5})d)?(?:([0-9]{1,5})h)?(?:([0-9]{1,5})m)?(?:([0-9]{1,5})s)?"
)


@lru_cache(maxsize=1024)  # a view of one decision asks several times for the same few
def parse_instant(text: str) -> datetime:
    """The instant that `text` names, in UTC. Raises INVALID_ARGUMENT."""
    if _INSTANT.fullmatch(text) is None:
        raise _refused(text)
    try:
        instant = datetime.fromisoformat(text)
        return instant if instant.tzinfo is UTC else instant.astimezone(UTC)
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
    if instant.tzinfo is UTC:
        return instant.isoformat(timespec="microseconds")
    if instant.utcoffset() is None:
        raise invalid_argument("instant", "must have an offset from UTC")
    return instant.astimezone(UTC).isoformat(timespec="microseconds")


def parse_duration(text: str) -> timedelta:
    """The duration that `text` names: weeks, days, hours, minutes and seconds in this order, such as "4h", "1h30m" or
    "2d". Raises INVALID_ARGUMENT for any other text, and for one that is not longer than nothing.
    """
    found = _DURATION.fullmatch(text)
    weeks, days, hours, minutes, seconds = (int(part or 0) for part in found.groups()) if found else (0,) * 5
    duration = timedelta(weeks=weeks, days=days, hours=hours, minutes=minutes, seconds=seconds)
    if not duration:
        raise invalid_argument("duration", f"{text!r:.60} is not a duration, such as 4h, 90m, 1h30m or 2d")
    return duration


def _refused(text: str) -> NexusControlError:
    return invalid_argument("instant", f"{text!r:.60} is not ISO-8601 with an offset, or Z")
