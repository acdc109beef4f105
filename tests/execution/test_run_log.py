import sqlite3
from pathlib import Path
from typing import Any, cast

import pytest

from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.evidence.run_bundle import run_bundle_digest
from nexus_control.execution.run_log import RunLog
from tests.execution.support import CountingClock, vector


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
