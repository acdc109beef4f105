"""A governed flow on a PostgreSQL server, through each door."""

import asyncio
import json
from pathlib import Path

import pytest

from nexus_control import NexusControlTools
from nexus_control.errors import NexusControlError
from nexus_control.log.upkeep import find_faults
from nexus_control.storage import is_made
from nexus_control.storage.postgres_schema import grants
from tests.doors.place import Place, execution, requested
from tests.mcp.serving import CONFIG, client, data, person, plan
from tests.support.governed import ADAPTER, ALICE, SCHEDULER, approved, data_of, require_whole_store
from tests.support.postgres import Cluster
from tests.support.routers import ScriptedRouter, good_answer


def test_a_flow_by_the_facade_ends_in_a_package_with_a_proof(postgres_url: str, tmp_path: Path) -> None:
    with NexusControlTools(postgres_url, log_folder=tmp_path / "log") as tools:
        request_id = approved(tools)
        data_of(tools.execute(request_id, ADAPTER, SCHEDULER, ScriptedRouter(good_answer)))
        again = tools.execute(request_id, ADAPTER, SCHEDULER, ScriptedRouter(good_answer))
        assert again.error_code == "POLICY_NOT_SATISFIED"
        package = data_of(tools.export_audit_package(request_id))["package"]
        assert "log_proof" in package["evidence"]
        assert require_whole_store(tools.store) == [request_id]
        assert find_faults(tools.store) == []
    with NexusControlTools(postgres_url, log_folder=tmp_path / "log") as tools:
        assert data_of(tools.status(request_id))["state"] == "completed"
    assert sorted(each.name for each in (tmp_path / "log").iterdir()) == [
        "log.checkpoint",
        "log.head",
        "log.key",
        "log.store",
    ]


def test_a_flow_by_commands_runs_the_plan_and_keeps_its_run_in_the_log_folder(
    postgres_url: str, tmp_path: Path
) -> None:
    place, target = Place(postgres_url, tmp_path / "log"), tmp_path / "target"
    assert place.answer("init")["made"] is True
    request_id = requested(place, target)
    assert place.answer(*execution(request_id, tmp_path))["steps_executed"] == 1
    assert target.read_text() == "new"
    assert (tmp_path / "log" / "log.runs").is_file()
    assert place.answer("run", "show", request_id)["results"]
    package = tmp_path / "package.json"
    place.shown("audit", request_id, "-o", str(package))
    key = json.loads(package.read_text())["evidence"]["log_key"]
    assert "L2" in place.shown("verify", str(package), "--log-key", key, "--require", "L2")
    report = place.answer("doctor")
    assert set(report["checks"].values()) == {"pass"}


def test_a_flow_by_an_agent_and_a_person_runs_once(postgres_url: str, tmp_path: Path) -> None:
    config, target, folder = tmp_path / "nexus-control.toml", tmp_path / "target", tmp_path / "log"
    config.write_text(CONFIG)
    options = ("--db", postgres_url, "--log-folder", str(folder))

    async def flow() -> None:
        served = ("--approvals", "declared", "--config", str(config), *options)
        async with client(*served, folder=tmp_path) as agent:
            asked = await data(
                agent,
                "request",
                goal="write it",
                mode="apply",
                plan=plan("write", text="new", file=str(target)),
                adapter_id="subprocess:files",
            )
            request_id = asked["request_id"]
            await data(agent, "approve", request_id=request_id, actor=person("bob"))
            ran = await data(agent, "execute", request_id=request_id, adapter_id="subprocess:files")
            assert ran["steps_executed"] == 1
            package = await data(agent, "export_audit_package", decision_id=request_id)
            assert package["event_count"] == 6

    asyncio.run(flow())
    assert target.read_text() == "new"
    assert Place(postgres_url, folder).answer("doctor")["ok"] is True


@pytest.mark.parametrize(
    "command", [("list",), ("doctor",), ("status", "x"), ("log", "checkpoint")], ids=" ".join
)
def test_a_command_that_only_looks_makes_no_store(
    postgres_url: str, tmp_path: Path, command: tuple[str, ...]
) -> None:
    refused = Place(postgres_url, tmp_path / "log").answer(*command, code=2)
    assert refused["code"] == "STORE_UNAVAILABLE"
    assert "There is no store at postgresql://" in refused["message"]
    assert not is_made(postgres_url)
    assert not list(tmp_path.iterdir())


def test_an_answered_event_outlives_the_server_and_the_store_goes_on(
    cluster: Cluster, postgres_url: str, tmp_path: Path
) -> None:
    place = Place(postgres_url, tmp_path / "log")
    with NexusControlTools(postgres_url, log_folder=tmp_path / "log", busy_timeout=3) as tools:
        request_id = approved(tools)
        cluster.stop()
        try:
            away = tools.request("Rotate", ALICE)
            assert away.error_code == "STORE_UNAVAILABLE"
            assert "cannot be reached, or ended the connection" in str(away.error)
            for command in (("list",), ("request", "g"), ("doctor",), ("serve",)):
                assert "cannot be reached" in " ".join(place.shown(*command, code=2).split())
        finally:
            cluster.start()
        assert data_of(tools.status(request_id))["state"] == "approved"
        data_of(tools.execute(request_id, ADAPTER, SCHEDULER, ScriptedRouter(good_answer)))
        assert find_faults(tools.store) == []


def test_a_file_is_told_that_its_log_lies_beside_it(tmp_path: Path) -> None:
    with pytest.raises(NexusControlError, match="log_folder"):
        NexusControlTools(str(tmp_path / "store.db"), log_folder=tmp_path / "log")
    assert not list(tmp_path.iterdir())


def test_a_backup_of_a_server_is_left_to_its_own_tools(postgres_url: str, tmp_path: Path) -> None:
    place = Place(postgres_url, tmp_path / "log")
    place.answer("init")
    for command in (("backup", str(tmp_path / "b.zip")), ("restore", str(tmp_path / "b.zip"))):
        refused = place.answer(*command, code=2)
        assert refused["code"] == "INVALID_ARGUMENT"
        assert "pg_dump" in refused["next"]
    assert place.answer("init")["made"] is False


def test_an_auditor_is_told_that_writing_was_not_tried(
    cluster: Cluster, postgres_url: str, tmp_path: Path
) -> None:
    Place(postgres_url, tmp_path / "log").answer("init")
    role = cluster.new_schema()
    schema = postgres_url.rpartition("%3D")[2]
    reads = grants(schema, role).partition("GRANT INSERT")[0]
    cluster.execute(f"CREATE ROLE {role} LOGIN; {reads}")
    try:
        said = Place(cluster.url(schema, user=role)).answer("doctor")
        refused = Place(cluster.url(schema, user=role)).answer("doctor", "--rebuild", code=2)
    finally:
        cluster.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")
    assert said["checks"]["writing"] == "skipped"
    assert "permission denied" in said["reasons"]["writing"]
    assert refused["code"] == "STORE_UNAVAILABLE"
    assert "writing" not in Place(postgres_url, tmp_path / "log").answer("doctor")["checks"]
