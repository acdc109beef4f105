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


def count_one_more(path: Path, request_id: str) -> None:
    lend_an_approval(path, request_id)
    edit(path, "UPDATE projections SET progress = json_set(progress, '$.listing.endless', 2)")


DAMAGES = (
    change_policy,
    change_plan,
    count_a_revoked_approval,
    lend_an_approval,
    count_one_more,
    forget_an_event,
)


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
        "UPDATE projections SET progress = json_set(progress, '$.listing.endless', 1)",
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


def imported(path: Path, *, replay: bool = True) -> str:
    """An approved decision of another store, in the store at this path."""
    with NexusControlTools() as other:
        request_id = data_of(other.request("rotate", ALICE, mode="apply"))["request_id"]
        data_of(other.approve(request_id, BOB))
        bundle = data_of(other.export_bundle(request_id))["bundle"]
    with NexusControlTools(path) as tools:
        data_of(tools.import_bundle(bundle, replay_after_import=replay))
        assert execute(tools, request_id, path.with_name("tally")) == ErrorCode.POLICY_NOT_SATISFIED
    return request_id


def test_an_imported_approval_does_not_count_where_the_row_denies_the_import(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    request_id = imported(path)
    counted = "UPDATE projections SET progress = json_set(progress, '$.listing.endless', 1)"
    edit(path, "UPDATE projections SET imported_count = 0", counted)
    with NexusControlTools(path) as tools:
        assert execute(tools, request_id, tmp_path / "tally") == ErrorCode.INTEGRITY_MISMATCH
        assert not tools.export_bundle(request_id).success


def test_a_forensic_import_is_not_executed_where_the_row_denies_that_it_is_one(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    request_id = imported(path, replay=False)
    edit(path, "UPDATE projections SET provenance = json_remove(provenance, '$.forensic')")
    with NexusControlTools(path) as tools:
        data_of(tools.approve(request_id, CAROL))
        assert execute(tools, request_id, tmp_path / "tally") == ErrorCode.INTEGRITY_MISMATCH


def test_a_superseded_history_is_not_executed_where_the_row_names_it(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with NexusControlTools(path) as tools:
        request_id = data_of(tools.request("rotate", ALICE, mode="apply"))["request_id"]
        data_of(tools.approve(request_id, BOB))
        before = data_of(tools.export_bundle(request_id))["bundle"]
    with NexusControlTools() as other:
        data_of(other.import_bundle(before))
        data_of(other.deny(request_id, CAROL, reason="no"))
        denied = data_of(other.export_bundle(request_id))["bundle"]
    with closing(sqlite3.connect(path)) as connection:
        rows = [
            (table, connection.execute(f"SELECT * FROM {table}").fetchall())
            for table in ("projections", "approvals")
        ]
    with NexusControlTools(path) as tools:
        data_of(tools.import_bundle(denied, conflict_mode="overwrite"))
    with closing(sqlite3.connect(path)) as connection:
        for table, old in rows:
            connection.execute(f"DELETE FROM {table}")
            places = ", ".join("?" * len(old[0]))
            connection.executemany(f"INSERT INTO {table} VALUES ({places})", old)
        connection.commit()
    with NexusControlTools(path) as tools:
        assert execute(tools, request_id, tmp_path / "tally") == ErrorCode.INTEGRITY_MISMATCH


@pytest.mark.parametrize(
    "change", ["$.executions[0].run_id", "$.executions[0].response_digest", "$.executions[0].adapter_id"]
)
def test_no_document_tells_of_a_run_that_the_log_does_not_know(change: str, tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with NexusControlTools(path) as tools:
        request_id = data_of(tools.request("rotate", ALICE, mode="apply"))["request_id"]
        data_of(tools.approve(request_id, BOB))
        assert execute(tools, request_id, tmp_path / "tally") is None
    edit(path, f"UPDATE projections SET progress = json_set(progress, '{change}', 'forged')")
    with NexusControlTools(path) as tools:
        for export in (tools.export_bundle, tools.export_audit_package):
            assert export(request_id).error_code == ErrorCode.INTEGRITY_MISMATCH


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


@pytest.mark.parametrize(
    "change",
    [
        "progress = '{'",
        "progress = '[]'",
        "progress = progress || 'x'",
        "progress = json_set(progress, '$.listing.endless', '1')",
        "progress = json_set(progress, '$.listing.ends', 1)",
        "progress = json_set(progress, '$.listing.ends[0]', 1)",
        "progress = json_set(progress, '$.listing.more', 1)",
        "progress = json_set(progress, '$.listing.required_approvals', json('true'))",
        "progress = json_set(progress, '$.listing.requester.type', 'robot')",
        "progress = json_set(progress, '$.listing.requester.id', json('[]'))",
        "progress = json_set(progress, '$.listing.requester.more', 1)",
        "progress = json_remove(progress, '$.listing.requester')",
        "phase = 'expired'",
        "provenance = '{}', imported_count = 1",
    ],
)
def test_a_list_with_a_damaged_projection_is_refused_as_damaged(change: str, tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with NexusControlTools(path) as tools:
        data_of(tools.approve(data_of(tools.request("rotate", ALICE, mode="apply"))["request_id"], BOB))
    edit(path, f"UPDATE projections SET {change}")
    with NexusControlTools(path) as tools:
        refused = tools.list_requests()
        assert (refused.error_code, refused.details.get("damaged")) == (ErrorCode.STORE_UNAVAILABLE, True)
        assert "doctor --rebuild" in (refused.error or "")
        rebuild_derived(tools.store)
        assert [line["state"] for line in data_of(tools.list_requests())["requests"]] == ["approved"]


def test_the_list_of_an_import_whose_last_instant_is_damaged_is_refused_as_damaged(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with NexusControlTools() as elsewhere, NexusControlTools(path) as tools:
        request_id = data_of(elsewhere.request("rotate", ALICE, mode="apply"))["request_id"]
        data_of(tools.import_bundle(data_of(elsewhere.export_bundle(request_id))["bundle"]))
        data_of(tools.approve(request_id, BOB))
    edit(path, "UPDATE projections SET last_ts = 'today'")
    with NexusControlTools(path) as tools:
        for refused in (tools.list_requests(), tools.status(request_id)):
            assert (refused.error_code, refused.details.get("damaged")) == (ErrorCode.STORE_UNAVAILABLE, True)
