"""Nothing is executed that the log does not say: what was damaged or edited past the library is found at the claim."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from nexus_control import Actor, NexusControlTools
from nexus_control.errors import ErrorCode
from nexus_control.log.upkeep import find_faults, rebuild_derived
from tests.joints.office import CountingRouter, execute, runs_in
from tests.support.governed import ADAPTER, ALICE, BOB, SCHEDULER, data_of

CAROL = Actor("human", "carol")


def flip(path: Path, old: bytes, new: bytes, start: int = 0) -> None:
    content = bytearray(path.read_bytes())
    at = content.index(old, start)
    content[at : at + len(new)] = new
    path.write_bytes(content)


def edit(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        for statement in statements:
            connection.execute(statement)
        connection.commit()


def change_policy(path: Path, _: str) -> None:
    flip(path, b'"min_approvals":2', b'"min_approvals":1')


def change_plan(path: Path, _: str) -> None:
    flip(path, b"rotate the billing key", b"delete the billing key")


def count_a_revoked_approval(path: Path, _: str) -> None:
    sql = "UPDATE approvals SET content = json_remove(content, '$.revoked_at') WHERE person = 'carol'"
    edit(path, sql)


def lend_an_approval(path: Path, request_id: str) -> None:
    edit(
        path,
        "INSERT INTO approvals SELECT ordinal, 'erin', 7, replace(content, 'bob', 'erin') FROM approvals"
        " WHERE person = 'bob'",
    )


def forget_an_event(path: Path, request_id: str) -> None:
    edit(path, f"DELETE FROM entries WHERE stream = '{request_id}' AND seq = 4")


DAMAGES = (change_policy, change_plan, count_a_revoked_approval, lend_an_approval, forget_an_event)


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_the_log_does_not_say_is_not_executed(
    damage: Callable[[Path, str], None], tmp_path: Path
) -> None:
    path, tally = tmp_path / "store.db", tmp_path / "tally"
    with NexusControlTools(path) as tools:
        asked = tools.request("rotate the billing key", ALICE, mode="apply", min_approvals=2)
        request_id = data_of(asked)["request_id"]
        data_of(tools.approve(request_id, BOB))
        data_of(tools.approve(request_id, CAROL))
        data_of(tools.revoke_approval(request_id, CAROL, reason="not now"))
    damage(path, request_id)
    with NexusControlTools(path) as tools:
        assert execute(tools, request_id, tally) is not None
        assert runs_in(tally) == 0
        assert find_faults(tools.store)


def test_a_refusal_names_the_decision_and_what_mends_the_store(tmp_path: Path) -> None:
    path, tally = tmp_path / "store.db", tmp_path / "tally"
    with NexusControlTools(path) as tools:
        request_id = data_of(tools.request("rotate", ALICE, mode="apply"))["request_id"]
    edit(
        path,
        'INSERT INTO approvals VALUES (1, \'bob\', 2, \'{"actor":{"id":"bob","type":"human"},'
        '"granted_at":"2026-01-01T00:00:00.000000+00:00","seq":2}\')',
    )
    with NexusControlTools(path) as tools:
        refused = tools.execute(request_id, ADAPTER, SCHEDULER, CountingRouter(tally))
        assert refused.error_code == ErrorCode.INTEGRITY_MISMATCH
        assert refused.details == {"decision_id": request_id}
        assert "doctor" in str(refused.next)
        assert runs_in(tally) == 0
        rebuild_derived(tools.store)
        data_of(tools.approve(request_id, BOB))
        assert execute(tools, request_id, tally) is None
        assert runs_in(tally) == 1


def test_a_damaged_index_lends_no_approval(tmp_path: Path) -> None:
    path, tally = tmp_path / "store.db", tmp_path / "tally"
    with NexusControlTools(path) as tools:
        ids = [data_of(tools.request(goal, ALICE, mode="apply"))["request_id"] for goal in "abc"]
        data_of(tools.approve(ids[1], BOB))
    with closing(sqlite3.connect(path)) as connection:
        (page,) = connection.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = 'sqlite_autoindex_projections_1'"
        ).fetchone()
    flip(path, ids[2].encode() + b"\x03", ids[2].encode() + b"\x02", 4096 * (page - 1))
    with NexusControlTools(path) as tools:
        assert execute(tools, ids[2], tally) is not None
    assert runs_in(tally) == 0


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE projections SET progress = '{'",
        "UPDATE projections SET progress = '[]'",
        "UPDATE projections SET progress = json_set(progress, '$.phase', 'done')",
        "UPDATE approvals SET content = '{}'",
        "UPDATE approvals SET content = '['",
    ],
)
def test_a_damaged_projection_is_called_one(statement: str, tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with NexusControlTools(path) as tools:
        request_id = data_of(tools.request("rotate", ALICE, mode="apply"))["request_id"]
        data_of(tools.approve(request_id, BOB))
    edit(path, statement)
    with NexusControlTools(path) as tools:
        refused = tools.status(request_id)
        assert refused.error_code == ErrorCode.STORE_UNAVAILABLE
        assert "doctor --rebuild" in (refused.error or "")
        rebuild_derived(tools.store)
        assert data_of(tools.status(request_id))["state"] == "approved"


def test_who_waits_too_long_for_another_writer_is_told_to_try_again(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with NexusControlTools(path, busy_timeout=0.05) as tools:
        data_of(tools.request("rotate", ALICE))
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            refused = tools.request("rotate", ALICE)
        assert refused.error_code == ErrorCode.STORE_UNAVAILABLE
        assert "busy" in (refused.error or "")
        assert "permissions" not in str(refused.next)
