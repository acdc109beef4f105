"""The embedded router's record of its runs: an append-only SQLite file of its own.

Each step is committed before it begins, and its result after it ended, both durably (WAL, FULL). So a run that was
killed within a step has a STEP_STARTED without an end, and its status stays RUNNING. The last event gives the status:
COMPLETED after RUN_COMPLETED, FAILED after RUN_FAILED.

The execution that a run belongs to (`execution.context`) is recorded with its first event. A second run of the same
execution is refused, and the runs of a request are found by the request's id, also after a crash.

`storage.sqlite_file` says how a process shares the file with other processes, threads and forks. A run that is under
way may still be written after `close()`. Every fault of the file is STORE_UNAVAILABLE.
"""

import json
import os
import sqlite3
from collections.abc import Generator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias, cast

from nexus_control.canonical_json import C_ENCODER, encoding_by
from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.evidence.run_bundle import make_run_bundle
from nexus_control.evidence.run_steps import steps_of_events
from nexus_control.execution.context import CurrentExecution, find_current
from nexus_control.execution.router import KnownRun, RouterOutcomeUnknown
from nexus_control.storage.faults import forked, old_for_a_reader, unavailable
from nexus_control.storage.sqlite_connection import connect, transaction
from nexus_control.storage.sqlite_file import SqliteFile
from nexus_control.storage.sqlite_form import damages, differences, form_of
from nexus_control.storage.sqlite_memory import SqliteMemory
from nexus_control.storage.sqlite_reading import keeps_from_writing
from nexus_control.storage.sqlite_schema import require_usable_path
from nexus_control.system.clock import Clock
from nexus_control.values.instants import format_instant

RunEvent: TypeAlias = tuple[str, Mapping[str, object]]
"""An event's type and payload; the payload is inside the canonical domain."""

_End: TypeAlias = tuple[int, str]
"""How many events a run has, and when the last one was."""

APPLICATION_ID = 0x4E58524C  # "NXRL"
_VERSION = 2
_EARLIER = 1  # which did not know the executions
# Earlier files of this version have the same columns in STRICT tables, which need SQLite 3.37. In earlier ones event_id
# is also UNIQUE. It holds the primary key, so an index of its own would only double the pages that a step writes.
_SCHEMA = """
CREATE TABLE runs (
    run_id     TEXT NOT NULL PRIMARY KEY CHECK (typeof(run_id) = 'text'),
    mode       TEXT NOT NULL CHECK (typeof(mode) = 'text'),
    goal       TEXT NOT NULL CHECK (typeof(goal) = 'text'),
    created_at TEXT NOT NULL CHECK (typeof(created_at) = 'text')
) WITHOUT ROWID;
CREATE TABLE events (
    run_id   TEXT NOT NULL REFERENCES runs CHECK (typeof(run_id) = 'text'),
    seq      INTEGER NOT NULL CHECK (typeof(seq) = 'integer'),
    event_id TEXT NOT NULL CHECK (typeof(event_id) = 'text'),
    type     TEXT NOT NULL CHECK (typeof(type) = 'text'),
    payload  TEXT NOT NULL CHECK (typeof(payload) = 'text'),
    ts       TEXT NOT NULL CHECK (typeof(ts) = 'text'),
    PRIMARY KEY (run_id, seq)
) WITHOUT ROWID;
"""
_EXECUTIONS = """
CREATE TABLE executions (
    execution_id TEXT NOT NULL PRIMARY KEY CHECK (typeof(execution_id) = 'text'),
    request_id   TEXT NOT NULL CHECK (typeof(request_id) = 'text'),
    run_id       TEXT NOT NULL REFERENCES runs CHECK (typeof(run_id) = 'text')
) WITHOUT ROWID;
CREATE INDEX executions_by_request ON executions(request_id);
"""
_TRIGGER = """
CREATE TRIGGER {table}_{verb} BEFORE {verb} ON {table}
BEGIN SELECT RAISE(ABORT, 'the run log is append-only'); END;
"""
_spelled = encoding_by(C_ENCODER, json.JSONEncoder(sort_keys=True))
_ENDED = {"RUN_COMPLETED": "COMPLETED", "RUN_FAILED": "FAILED"}


@dataclass(slots=True)
class OpenRun:
    """A run that its router is writing. Nobody else writes its events, so it knows where the next one goes."""

    log: "RunLog"
    run_id: str
    pid: int
    end: _End | None

    def append(self, *events: RunEvent) -> int:
        """Commits these events together and returns how many the run has now. Raises STORE_FORKED in a child process
        that a step forked: only the parent writes its run.
        """
        if self.pid != os.getpid():
            raise forked(f"run {self.run_id}")
        known, self.end = self.end, None  # where this is interrupted, only the file knows what was committed
        self.end = self.log.append(self.run_id, events, end=known)
        return self.end[0]


class RunLog:
    """Runs and their events, in a file or in memory. Any thread may use it. With `reads_only` the file is there, and
    nothing is written to it or beside it.
    """

    def __init__(self, path: str | Path, clock: Clock, *, reads_only: bool = False) -> None:
        self._clock = clock
        is_file = path != ":memory:"
        with _translated():
            file = Path(os.path.realpath(path))
            self._place = _opened(file, reads_only=reads_only) if is_file else SqliteMemory(_prepare)

    def held(self) -> AbstractContextManager[None]:
        """Inside this context, the thread may go on writing its run after `close()`."""
        return self._place.held()

    def close(self) -> None:
        self._place.close()

    def require_writable(self) -> None:
        """Returns when a run can be written; otherwise raises STORE_UNAVAILABLE or another fault of the file. It writes
        and commits a page, because only a write shows that the disk, or this user's share of it, is full.
        """
        with self._transaction() as connection:
            connection.execute("SELECT 1 FROM runs, events LIMIT 1")
            connection.execute(f"PRAGMA user_version = {_VERSION}")

    def begin(self, mode: str, goal: str, *events: RunEvent) -> OpenRun:
        """Begin a run with RUN_STARTED and the events that are known before its first step."""
        run_id = self._clock.new_id()
        created_at = format_instant(self._clock.now())
        execution = find_current()
        with self._transaction() as connection:
            connection.execute("INSERT INTO runs VALUES (?, ?, ?, ?)", (run_id, mode, goal, created_at))
            if execution is not None:
                self._belong(connection, run_id, execution)
            started = "RUN_STARTED", {"goal": goal, "mode": mode}
            end = self._insert(connection, run_id, (started, *events), (0, ""))
        return OpenRun(self, run_id, os.getpid(), end)

    def runs_of(self, request_id: str) -> tuple[KnownRun, ...]:
        """The runs that were made for this request, oldest first."""
        with _translated(), self._place.transaction("BEGIN", writing=False) as connection:
            rows = connection.execute(
                "SELECT execution_id, run_id FROM executions JOIN runs USING (run_id) WHERE request_id = ?"
                " ORDER BY created_at, run_id",
                (request_id,),
            ).fetchall()
            events = {
                run_id: connection.execute(
                    "SELECT type, payload FROM events WHERE run_id = ? ORDER BY seq", (run_id,)
                ).fetchall()
                for _, run_id in rows
            }
        return tuple(
            KnownRun(
                run_id=run_id,
                execution_id=execution_id,
                has_ended=events[run_id][-1][0] in _ENDED,
                steps=steps_of_events(
                    [{"type": kind, "payload": json.loads(text)} for kind, text in events[run_id]]
                ),
            )
            for execution_id, run_id in rows
        )

    def _belong(self, connection: sqlite3.Connection, run_id: str, execution: CurrentExecution) -> None:
        """Record to which execution a run belongs. Raises RouterOutcomeUnknown if the execution has had its run, which
        may have done something.
        """
        ids = (execution.execution_id, execution.request_id, run_id)
        try:
            connection.execute("INSERT INTO executions VALUES (?, ?, ?)", ids)
        except sqlite3.IntegrityError:
            (earlier,) = connection.execute(
                "SELECT run_id FROM executions WHERE execution_id = ?", ids[:1]
            ).fetchone()
            raise RouterOutcomeUnknown(
                f"execution {execution.execution_id} has had its run, and is not run twice", earlier
            ) from None

    def append(self, run_id: str, events: tuple[RunEvent, ...], *, end: _End | None) -> _End:
        """Commits these events behind the end of their run; None where that is not known."""
        with self._transaction() as connection:
            return self._insert(connection, run_id, events, end or _end_of(connection, run_id))

    def export(self, run_id: str) -> dict[str, object]:
        """The run's bundle. Raises ROUTER_RUN_NOT_FOUND."""
        with _translated(), self._place.transaction("BEGIN", writing=False) as connection:
            run = connection.execute(
                "SELECT mode, goal, created_at FROM runs WHERE run_id = ?", (run_id,)
            ).fetchone()
            rows = connection.execute(
                "SELECT event_id, seq, type, payload, ts FROM events WHERE run_id = ? ORDER BY seq", (run_id,)
            ).fetchall()
        if run is None:
            raise NexusControlError(ErrorCode.ROUTER_RUN_NOT_FOUND, f"there is no run {run_id!r:.80}")
        mode, goal, created_at = run
        return make_run_bundle(
            {
                "run_id": run_id,
                "mode": mode,
                "goal": goal,
                "status": _ENDED.get(rows[-1][2], "RUNNING"),
                "created_at": created_at,
            },
            [_event(run_id, row) for row in rows],
            exported_at=format_instant(self._clock.now()),
            export_method="nexus-control.local_router.export",
        )

    @contextmanager
    def _transaction(self) -> Generator[sqlite3.Connection, None, None]:
        try:  # and not `_translated`: a second generator takes as long as a look at the file
            with self._place.transaction("BEGIN IMMEDIATE", writing=True) as connection:
                yield connection
        except sqlite3.Error as error:
            raise _unusable(error) from error

    def _insert(
        self, connection: sqlite3.Connection, run_id: str, events: tuple[RunEvent, ...], end: _End
    ) -> _End:
        count, last = end
        ts = max(format_instant(self._clock.now()), last)  # a clock that went back does not date a run
        connection.executemany(
            "INSERT INTO events (run_id, seq, event_id, type, payload, ts) VALUES (?, ?, ?, ?, ?, ?)",
            [
                (run_id, seq, f"{run_id}-{seq}", event_type, _spelled(payload), ts)
                for seq, (event_type, payload) in enumerate(events, start=count)
            ],
        )
        return count + len(events), ts


def require_run_log(file: Path) -> None:
    """Refuse a file that is not a run log, has other triggers, views or tables, or is damaged. It is only read, as one
    that nobody writes. Raises STORE_UNAVAILABLE.
    """
    with _translated():
        with closing(connect(":memory:", 0)) as new:
            _create(new)
            expected = form_of(new)
        with closing(connect(f"{file.as_uri()}?immutable=1", 0)) as connection:
            if not _is_run_log(connection):
                return  # empty: the next run makes it
            if _pragma(connection, "user_version") == _EARLIER:
                expected = {name: made for name, made in expected.items() if made.table != "executions"}
            found = form_of(connection)
            # Tables of earlier files have another text, which nothing executes.
            texts = {name: made.sql for name, made in found.items() if made.type == "table"}
            expected = {
                name: made._replace(sql=texts.get(name, made.sql)) if made.type == "table" else made
                for name, made in expected.items()
            }
            problems = differences(found, expected) or damages(connection)
    if problems:
        raise unavailable(problems[0], path=str(file))


def _opened(file: Path, *, reads_only: bool) -> SqliteFile:
    """The run log in this file, made if it is missing. A file that may not be written is only read."""
    require_usable_path(file)
    if reads_only or (file.exists() and keeps_from_writing(file) is not None):
        return SqliteFile(file, partial(_prepare_to_read, file), reads_only=True)
    return SqliteFile(file, _prepare)


def _prepare_to_read(file: Path, connection: sqlite3.Connection) -> None:
    if not _is_run_log(connection):
        raise unavailable(f"{file} holds no run yet, and may not be written here", path=str(file))
    if _pragma(connection, "user_version") == _EARLIER:
        raise old_for_a_reader(file)


def _prepare(connection: sqlite3.Connection) -> None:
    """Set up a connection. A file that is not a run log is refused before anything in it changes."""
    if not _is_run_log(connection):
        with transaction(connection, "BEGIN IMMEDIATE"):
            if not _is_run_log(connection):
                _create(connection)
    if _pragma(connection, "user_version") == _EARLIER:
        with transaction(connection, "BEGIN IMMEDIATE"):
            if _pragma(connection, "user_version") == _EARLIER:
                _execute_each(connection, _EXECUTIONS, ("executions",))
                connection.execute(f"PRAGMA user_version = {_VERSION}")
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
        connection.execute(f"PRAGMA {pragma}")


def _is_run_log(connection: sqlite3.Connection) -> bool:
    """Whether the file is a run log; False if it is still empty. Raises STORE_UNAVAILABLE for any other content."""
    identity = (_pragma(connection, "application_id"), _pragma(connection, "user_version"))
    if identity in ((APPLICATION_ID, _EARLIER), (APPLICATION_ID, _VERSION)):
        return True
    if identity != (0, 0) or connection.execute("SELECT 1 FROM sqlite_schema").fetchone():
        raise unavailable("the file is not a run log of this version")
    return False


def _create(connection: sqlite3.Connection) -> None:
    _execute_each(connection, _SCHEMA + _EXECUTIONS, ("runs", "events", "executions"))
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {_VERSION}")


def _execute_each(connection: sqlite3.Connection, schema: str, tables: Sequence[str]) -> None:
    """Execute the statements of a schema, and make its tables append-only."""
    triggers = [_TRIGGER.format(table=table, verb=verb) for table in tables for verb in ("UPDATE", "DELETE")]
    for statement in (*filter(str.strip, schema.split(";")), *triggers):
        connection.execute(statement)


def _end_of(connection: sqlite3.Connection, run_id: str) -> _End:
    return connection.execute(
        "SELECT seq + 1, ts FROM events WHERE run_id = ? ORDER BY seq DESC LIMIT 1", (run_id,)
    ).fetchone()


def _event(run_id: str, row: tuple[Any, ...]) -> dict[str, object]:
    event_id, seq, event_type, payload, ts = row
    named = {"event_id": event_id, "run_id": run_id, "seq": seq, "type": event_type}
    return {**named, "payload": json.loads(payload), "ts": ts}


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return cast("int", connection.execute(f"PRAGMA {name}").fetchone()[0])


@contextmanager
def _translated() -> Generator[None, None, None]:
    try:
        yield
    except sqlite3.Error as error:
        raise _unusable(error) from error


def _unusable(error: sqlite3.Error) -> NexusControlError:
    return unavailable(f"the run log cannot be used: {error}")
