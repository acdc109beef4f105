"""Instants for people: UTC to the second, and how long after each other two of them are.

A page that is kept does not know its reader's local time, so it shows UTC everywhere.
"""

from datetime import timedelta
from typing import Final

from nexus_control.values.instants import is_instant, parse_instant

_UNITS: Final = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))
_MILLISECONDS: Final = 1_000


def in_utc(instant: str) -> str:
    """`2026-01-02 03:04:05` of an instant with any offset. Another text is answered as it is.

    >>> in_utc("2026-01-02T04:04:05.000006+01:00")
    '2026-01-02 03:04:05'
    """
    return parse_instant(instant).isoformat(sep=" ")[:19] if is_instant(instant) else instant


def after(earlier: str | None, later: str | None) -> timedelta | None:
    """The time between two instants; None if one is missing, cannot be read, or they are in the other order."""
    if earlier is None or later is None or not (is_instant(earlier) and is_instant(later)):
        return None
    span = parse_instant(later) - parse_instant(earlier)
    return None if span < timedelta() else span


def duration(span: timedelta) -> str:
    """The two largest units of a span of time.

    >>> duration(timedelta(hours=26, minutes=3, seconds=9))
    '1 d 2 h'
    >>> duration(timedelta(milliseconds=250))
    '250 ms'
    """
    seconds = int(span.total_seconds())
    if not seconds:
        return f"{int(span.total_seconds() * _MILLISECONDS)} ms"
    words = list[str]()
    for size, unit in _UNITS:
        count, seconds = divmod(seconds, size)
        if count or words:
            words.append(f"{count} {unit}")
    return " ".join(word for word in words[:2] if not word.startswith("0 "))
