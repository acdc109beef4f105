"""The rows of sinks on PostgreSQL: a part of `PostgresRows`, which gives it the transaction."""

from collections.abc import Sequence
from typing import Any

from nexus_control.storage.postgres_link import Row
from nexus_control.storage.sink_rows import EventSetAside, SinkRow

_SINK, _ASIDE = ", ".join(SinkRow._fields), ", ".join(EventSetAside._fields)


def _put(table: str, key: str, columns: Sequence[str]) -> str:
    changes = ", ".join(f"{name} = excluded.{name}" for name in columns)
    return f"""INSERT INTO {table}({", ".join(columns)}) VALUES (%s, %s, %s, %s, %s)
    ON CONFLICT ({key}) DO UPDATE SET {changes}"""


_ONE_SINK = f"SELECT {_SINK} FROM sinks WHERE name = %s"
_SINKS = f"SELECT {_SINK} FROM sinks ORDER BY name"
_PUT_SINK = _put("sinks", "name", SinkRow._fields)
_SET_ASIDE = f"SELECT {_ASIDE} FROM events_set_aside WHERE sink = %s ORDER BY position"
_ONE_ASIDE = f"SELECT {_ASIDE} FROM events_set_aside WHERE sink = %s AND position = %s"
_PUT_ASIDE = _put("events_set_aside", "sink, position", EventSetAside._fields)
_DROP_SINK = ("DELETE FROM events_set_aside WHERE sink = %s", "DELETE FROM sinks WHERE name = %s")
_TAKE_BACK = "DELETE FROM events_set_aside WHERE sink = %s AND position = %s"


class PostgresSinks:
    def _read(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        raise NotImplementedError

    def _write(self, sql: str, parameters: Sequence[Any] = ()) -> None:
        raise NotImplementedError

    def sink(self, name: str) -> SinkRow | None:
        rows = self._read(_ONE_SINK, (name,))
        return SinkRow._make(rows[0]) if rows else None

    def sinks(self) -> list[SinkRow]:
        return [SinkRow._make(row) for row in self._read(_SINKS)]

    def events_set_aside(self, sink: str) -> list[EventSetAside]:
        return [EventSetAside._make(row) for row in self._read(_SET_ASIDE, (sink,))]

    def event_set_aside(self, sink: str, position: int) -> EventSetAside | None:
        rows = self._read(_ONE_ASIDE, (sink, position))
        return EventSetAside._make(rows[0]) if rows else None

    def put_sink(self, row: SinkRow) -> None:
        self._write(_PUT_SINK, row)

    def drop_sink(self, name: str) -> None:
        for statement in _DROP_SINK:
            self._write(statement, (name,))

    def set_event_aside(self, event: EventSetAside) -> None:
        self._write(_PUT_ASIDE, event)

    def take_event_back(self, sink: str, position: int) -> None:
        self._write(_TAKE_BACK, (sink, position))
