"""A clock that stands still until it is told otherwise, and identifiers in order."""

from datetime import UTC, datetime, timedelta
from itertools import count

from nexus_control.system.clock import SYSTEM_CLOCK

START = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)


class FakeClock:
    """The same instants and identifiers in every run."""

    def __init__(self, start: datetime = START) -> None:
        self.instant = start
        self._ids = count(1)

    def now(self) -> datetime:
        return self.instant

    def new_id(self) -> str:
        return f"00000000-0000-4000-8000-{next(self._ids):012}"

    def advance(self, **span: float) -> datetime:
        """Move by days=, hours=, minutes=, seconds=, microseconds=; the new instant."""
        self.instant += timedelta(**span)
        return self.instant


def an_hour_later() -> FakeClock:
    """A clock on which every file that is made now is old."""
    return FakeClock(SYSTEM_CLOCK.now() + timedelta(hours=1))
