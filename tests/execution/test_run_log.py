import contextlib
import sqlite3
from pathlib import Path
from typing import Any, cast

import pytest

from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.evidence.run_bundle import run_bundle_digest
from nexus_control.execution.run_log import RunLog
from tests.execution.support import CountingClock, vector
from tests.support.clock import FakeClock


def refused_code(path: Path) -> ErrorCode:
    with pytest.raises(NexusControlError) as refused:
        RunLog(path, CountingClock())
    return refused.value.code


def test_the_digest_of_a_bundle_of_nexus_router_is_recomputed() -> None:
    bundle = cast("dict[str, Any]", vector("router-bundle-apply.json")["artifact"])
    assert run_bundle_digest(bundle) == bundle["digests"]["sha256"]


@pytest.mark.parametrize("bundle", [{}, {"run": {}}, {"run": {}, "events": [{1: 2, "a": 3}]}, {"events": []}])
def test_what_is_no_run_bundle_has_no_digest(bundle: dict[str, object]) -> None:
    with pytest.raises(NexusControlError) as refused:
        run_bundle_digest(bundle)
    assert refused.value.code is ErrorCode.INTEGRITY_MISMATCH


@pytest.mark.parametrize(
    ("last", "status"),
    [("RUN_COMPLETED", "COMPLETED"), ("RUN_FAILED", "FAILED"), ("STEP_STARTED", "RUNNING")],
)
def test_the_status_of_a_run_is_that_of_its_last_event(last: str, status: str) -> None:
    log = RunLog(":memory:", CountingClock())
    run = log.begin("apply", "goal é", ("PLAN_CREATED", {"plan": []}))
    assert run.append((last, {})) == 3
    bundle = cast("dict[str, Any]", log.export(run.run_id))
    assert bundle["run"]["status"] == status
    assert [event["seq"] for event in bundle["events"]] == [0, 1, 2]
    assert bundle["events"][0]["payload"] == {"goal": "goal é", "mode": "apply"}
    assert bundle["digests"]["sha256"] == run_bundle_digest(bundle)


def test_a_bundle_has_the_keys_of_nexus_router_and_one_digest_whenever_it_is_exported() -> None:
    log = RunLog(":memory:", CountingClock())
    run = log.begin("dry_run", "goal")
    first, second = log.export(run.run_id), log.export(run.run_id)
    assert first["exported_at"] != second["exported_at"]
    assert first["digests"] == second["digests"]
    original = cast("dict[str, Any]", vector("router-bundle-apply.json")["artifact"])
    assert first.keys() == original.keys()
    assert cast("dict[str, Any]", first["run"]).keys() == original["run"].keys()
    assert cast("list[dict[str, Any]]", first["events"])[0].keys() == original["events"][0].keys()


def test_there_is_no_bundle_of_a_run_that_was_not_made() -> None:
    with pytest.raises(NexusControlError) as refused:
        RunLog(":memory:", CountingClock()).export("nobody")
    assert refused.value.code is ErrorCode.ROUTER_RUN_NOT_FOUND


def test_no_event_of_a_run_is_earlier_than_the_one_before_where_the_clock_went_back() -> None:
    clock = FakeClock()
    log = RunLog(":memory:", clock)
    run = log.begin("apply", "goal")
    clock.advance(hours=-1)
    run.append(("STEP_STARTED", {}))
    clock.advance(hours=2)
    run.append(("STEP_COMPLETED", {}))
    events = cast("list[dict[str, Any]]", log.export(run.run_id)["events"])
    assert [event["ts"][11:13] for event in events] == ["03", "03", "04"]


def test_runs_are_kept_in_a_file_that_refuses_changes(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    log = RunLog(path, CountingClock())
    run = log.begin("apply", "goal")
    log.close()
    reopened = RunLog(path, CountingClock())
    assert reopened.export(run.run_id)["run"]
    reopened.close()
    connection = sqlite3.connect(path)
    for change in ("UPDATE runs SET goal = ''", "DELETE FROM events", "UPDATE events SET type = 'X'"):
        with pytest.raises(sqlite3.IntegrityError):
            connection.execute(change)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()


def test_a_file_that_is_something_else_is_refused_and_left_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("not a database, and long enough for SQLite to see that" * 20)
    other = sqlite3.connect(tmp_path / "other.db")
    other.execute("CREATE TABLE decisions (id TEXT)")
    other.commit()
    other.close()
    before = (tmp_path / "other.db").read_bytes()
    assert refused_code(tmp_path / "text") is ErrorCode.STORE_UNAVAILABLE
    assert refused_code(tmp_path / "other.db") is ErrorCode.STORE_UNAVAILABLE
    assert refused_code(tmp_path / "nowhere" / "runs.db") is ErrorCode.STORE_UNAVAILABLE
    assert (tmp_path / "other.db").read_bytes() == before


def test_a_closed_log_is_unavailable() -> None:
    log = RunLog(":memory:", CountingClock())
    log.close()
    with pytest.raises(NexusControlError) as refused:
        log.begin("apply", "goal")
    assert refused.value.code is ErrorCode.STORE_UNAVAILABLE


STRICT = """
CREATE TABLE runs (
    run_id TEXT PRIMARY KEY, mode TEXT NOT NULL, goal TEXT NOT NULL, created_at TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE events (
    run_id TEXT NOT NULL REFERENCES runs, seq INTEGER NOT NULL, event_id TEXT NOT NULL UNIQUE,
    type TEXT NOT NULL, payload TEXT NOT NULL, ts TEXT NOT NULL, PRIMARY KEY (run_id, seq)
) STRICT, WITHOUT ROWID;
PRAGMA application_id = 0x4E58524C;
PRAGMA user_version = 1;
"""
"""As run logs were made at first."""


@pytest.mark.skipif(sqlite3.sqlite_version_info < (3, 37), reason="this SQLite knows no STRICT tables")
def test_a_run_log_with_strict_tables_goes_on_recording(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(STRICT)
    log = RunLog(path, CountingClock())
    run = log.begin("apply", "goal")
    run.append(("RUN_COMPLETED", {}))
    log.close()
    reopened = RunLog(path, CountingClock())
    assert cast("dict[str, Any]", reopened.export(run.run_id))["run"]["status"] == "COMPLETED"
    reopened.close()


@pytest.mark.parametrize(
    "row",
    [
        "runs VALUES (x'00', 'apply', 'goal', 'ts')",
        "runs VALUES (NULL, 'apply', 'goal', 'ts')",
        "events VALUES ('run', 'one', 'id', 'type', '{}', 'ts')",
        "events VALUES ('run', 7, 'id', 'type', x'00', 'ts')",
    ],
)
def test_the_database_itself_refuses_values_of_other_types_without_strict_tables(
    row: str, tmp_path: Path
) -> None:
    path = tmp_path / "runs.db"
    RunLog(path, CountingClock()).close()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        made = connection.execute("SELECT sql FROM sqlite_master WHERE type = 'table'").fetchall()
        assert not any("STRICT" in sql for (sql,) in made)
        with pytest.raises(sqlite3.IntegrityError, match=r"CHECK|NOT NULL"):
            connection.execute(f"INSERT INTO {row}")


def test_a_run_goes_on_at_its_end_after_an_append_that_failed() -> None:
    log = RunLog(":memory:", CountingClock())
    run = log.begin("apply", "goal")
    with pytest.raises(TypeError):
        run.append(("STEP_STARTED", {"step_id": object()}))
    assert run.append(("STEP_STARTED", {})) == 2
    events = cast("list[dict[str, Any]]", log.export(run.run_id)["events"])
    assert [(event["seq"], event["type"]) for event in events] == [(0, "RUN_STARTED"), (1, "STEP_STARTED")]
