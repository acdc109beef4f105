"""The rows of sinks on SQLite: a part of `SqliteRows`, which gives it the transaction."""

from collections.abc import Callable
from typing import Any

from nexus_control.storage.sink_rows import EventSetAside, SinkRow

_SINK, _ASIDE = ", ".join(SinkRow._fields), ", ".join(EventSetAside._fields)
_ONE_SINK = f"SELECT {_SINK} FROM sinks WHERE name = ?"
_SINKS = f"SELECT {_SINK} FROM sinks ORDER BY name"
_PUT_SINK = f"INSERT OR REPLACE INTO sinks({_SINK}) VALUES (?, ?, ?, ?, ?)"
_SET_ASIDE = f"SELECT {_ASIDE} FROM events_set_aside WHERE sink = ? ORDER BY position"
_ONE_ASIDE = f"SELECT {_ASIDE} FROM events_set_aside WHERE sink = ? AND position = ?"
_PUT_ASIDE = f"INSERT OR REPLACE INTO events_set_aside({_ASIDE}) VALUES (?, ?, ?, ?, ?)"
_DROP_SINK = ("DELETE FROM events_set_aside WHERE sink = ?", "DELETE FROM sinks WHERE name = ?")
_TAKE_BACK = "DELETE FROM events_set_aside WHERE sink = ? AND position = ?"


class SqliteSinks:
    _execute: Callable[..., Any]

    def sink(self, name: str) -> SinkRow | None:
        row = self._execute(_ONE_SINK, (name,)).fetchone()
        return None if row is None else SinkRow._make(row)

    def sinks(self) -> list[SinkRow]:
        return [SinkRow._make(row) for row in self._execute(_SINKS, ()).fetchall()]

    def events_set_aside(self, sink: str) -> list[EventSetAside]:
        return [EventSetAside._make(row) for row in self._execute(_SET_ASIDE, (sink,)).fetchall()]

    def event_set_aside(self, sink: str, position: int) -> EventSetAside | None:
        row = self._execute(_ONE_ASIDE, (sink, position)).fetchone()
        return None if row is None else EventSetAside._make(row)

    def put_sink(self, row: SinkRow) -> None:
        self._execute(_PUT_SINK, row)

    def drop_sink(self, name: str) -> None:
        for statement in _DROP_SINK:
            self._execute(statement, (name,))

    def set_event_aside(self, event: EventSetAside) -> None:
        self._execute(_PUT_ASIDE, event)

    def take_event_back(self, sink: str, position: int) -> None:
        self._execute(_TAKE_BACK, (sink, position))
