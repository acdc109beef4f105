"""Another program holds the database's write lock, before a run and when the run ends."""

import sqlite3
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from nexus_control import DecisionStore, NexusControlTools
from nexus_control.errors import ErrorCode
from nexus_control.log.checkpoints import publish
from nexus_control.log.upkeep import find_faults
from tests.joints.office import CountingRouter, approved, execute, requested, runs_in
from tests.support.governed import ADAPTER, ALICE, BOB, SCHEDULER, data_of


@contextmanager
def locked(path: Path) -> Generator[None]:
    """Somebody else is writing, and does not end."""
    other = sqlite3.connect(path, isolation_level=None)
    try:
        other.execute("BEGIN IMMEDIATE")
        yield
    finally:
        other.close()


def test_while_somebody_else_writes_everything_can_be_read_and_nothing_is_written_or_run(
    tmp_path: Path,
) -> None:
    path, runs = tmp_path / "store.db", tmp_path / "runs"
    with NexusControlTools(DecisionStore(path, busy_timeout=0.05)) as tools:
        publish(tools.store)
        data_of(tools.deny(requested(tools), BOB, "No"))
        request_id = approved(tools)
        before = {each.name: each.read_bytes() for each in tmp_path.glob("store.db.*")}
        with locked(path):
            for refused in (tools.request("More", ALICE), tools.deny(request_id, BOB, "No"), tools.recover()):
                assert refused.error_code == ErrorCode.STORE_UNAVAILABLE
                assert refused.details == {"path": str(path), "sqlite_errorname": "SQLITE_BUSY"}
            assert execute(tools, request_id, runs) == ErrorCode.STORE_UNAVAILABLE
            assert data_of(tools.status(request_id))["state"] == "approved"
            assert data_of(tools.list_requests())["count"] == 2
            assert runs_in(runs) == 0
        assert {each.name: each.read_bytes() for each in tmp_path.glob("store.db.*")} == before
        assert execute(tools, request_id, runs) is None
        assert find_faults(tools.store) == []


class LockedOut(CountingRouter):
    """Somebody else begins to write while it runs."""

    def __init__(self, path: Path, runs: Path) -> None:
        super().__init__(runs)
        self.lock = locked(path)

    def meanwhile(self) -> None:
        self.lock.__enter__()


def test_an_outcome_that_cannot_be_recorded_for_the_lock_is_unknown_and_never_run_again(
    tmp_path: Path,
) -> None:
    path, runs = tmp_path / "store.db", tmp_path / "runs"
    with NexusControlTools(DecisionStore(path, busy_timeout=0.05)) as tools:
        request_id = approved(tools)
        router = LockedOut(path, runs)
        ended = tools.execute(request_id, ADAPTER, SCHEDULER, router)
        router.lock.__exit__(None, None, None)
        assert (ended.error_code, ended.details["reason"]) == (ErrorCode.OUTCOME_UNKNOWN, "RECORDING_FAILED")
        assert data_of(tools.status(request_id))["state"] == "executing"
        assert execute(tools, request_id, runs) == ErrorCode.EXECUTING
        assert data_of(tools.recover())["recovered"] == [request_id]
        assert runs_in(runs) == 1
