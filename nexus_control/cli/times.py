"""Instants as people read them: in the local time of this machine, and how long ago.

    Times(now).moment("2026-03-02T13:03:00+00:00")             14:03 today, 5 min ago
    Times(now, utc=True).moment("2026-03-02T13:03:00+00:00")   2026-03-02 13:03 UTC, 5 min ago

JSON and pipes get the instants as they are stored, in UTC.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from nexus_control.lifecycle import counted
from nexus_control.values.instants import parse_instant

_MINUTE, _HOUR, _DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
_YEAR: Final = timedelta(days=365)
_NEAR: Final = {-1: "yesterday", 0: "today", 1: "tomorrow"}


@dataclass(frozen=True, slots=True)
class Times:
    """`now` is the time of the store's clock."""

    now: datetime
    utc: bool = False

    def moment(self, instant: str) -> str:
        """`14:03 today, 5 min ago`."""
        at = parse_instant(instant)
        return f"{self._when(at)}, {_distance(at - self.now)}"

    def age(self, instant: str) -> str:
        """How long ago, in at most four characters: `5m`, `3h`, `12d`, `2y`."""
        span = self.now - parse_instant(instant)
        units = ((_MINUTE, _HOUR, "m"), (_HOUR, _DAY, "h"), (_DAY, _YEAR, "d"))
        if span < _MINUTE:
            return "now"
        return next((f"{span // unit}{name}" for unit, end, name in units if span < end), f"{span // _YEAR}y")

    def _when(self, at: datetime) -> str:
        local = None if self.utc else _local(at)
        today = _local(self.now)
        if local is None or today is None:
            return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
        near = _NEAR.get((local.date() - today.date()).days)
        return f"{local:%H:%M} {near}" if near else f"{local:%Y-%m-%d %H:%M}"


def _local(at: datetime) -> datetime | None:
    """The local time; None at the ends of the calendar, which some zones do not reach."""
    try:
        return at.astimezone()
    except (OverflowError, ValueError, OSError):
        return None


def _distance(span: timedelta) -> str:
    length = abs(span)
    if length < _MINUTE:
        return "just now" if span <= timedelta() else "in less than a minute"
    if length < _HOUR:
        said = f"{length // _MINUTE} min"
    elif length < _DAY:
        said = f"{length // _HOUR} h"
    elif length < 2 * _YEAR:
        said = counted(length // _DAY, "day")
    else:
        said = f"{length // _YEAR} years"
    return f"{said} ago" if span < timedelta() else f"in {said}"
