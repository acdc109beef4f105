"""The part of the contract that is about sinks: those who are told what happens (`nexus_control.notify`).

A storage keeps two more things beside the log:

* **sinks**, one row each, by name: how far the log was told to it, and which process tells it at this moment.
* **events set aside**, one row for each event that a sink was not told, and will not be told by itself.

They are operational data, as claims are. A backup holds them as they are. So after a restore a sink is told again what
it was told since the backup; no event is left out.
"""

from typing import NamedTuple, Protocol


class SinkRow(NamedTuple):
    """How far a sink is. `cursor` is the position of the log from which on it is to be told.

    `holder` is the text of the owner that tells it (`system.processes`), "" for nobody. From `held_until` on, UTC text,
    another process may take it over; NEVER where nobody holds it. `trying` says as JSON how the next event was tried so
    far, "" where it was not.
    """

    name: str
    cursor: int
    holder: str
    held_until: str
    trying: str


class EventSetAside(NamedTuple):
    """The event at `position` of the log, which the sink was not told. `at` is when that was given up."""

    sink: str
    position: int
    event_id: str
    at: str
    why: str


class SinkReader(Protocol):
    def sink(self, name: str) -> SinkRow | None: ...

    def sinks(self) -> list[SinkRow]:
        """All sinks, by name."""
        ...

    def events_set_aside(self, sink: str) -> list[EventSetAside]:
        """Those of this sink, by position."""
        ...

    def event_set_aside(self, sink: str, position: int) -> EventSetAside | None: ...


class SinkWriter(SinkReader, Protocol):
    def put_sink(self, row: SinkRow) -> None:
        """Insert or replace the sink's row."""
        ...

    def drop_sink(self, name: str) -> None:
        """The sink's row and its events that were set aside are gone."""
        ...

    def set_event_aside(self, event: EventSetAside) -> None:
        """Insert or replace the row of this sink and position."""
        ...

    def take_event_back(self, sink: str, position: int) -> None:
        """The event is no longer set aside."""
        ...
