"""The one place that asks for the time and for fresh identifiers. Tests replace it; nothing else calls `now`."""

import uuid
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """The time (UTC) and fresh identifiers, as a store asks for them."""

    def now(self) -> datetime: ...

    def new_id(self) -> str: ...


class SystemClock:
    """The machine's clock, and random UUIDs (RFC 9562, version 4)."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def new_id(self) -> str:
        return str(uuid.uuid4())


SYSTEM_CLOCK = SystemClock()
