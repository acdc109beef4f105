"""The log folder of a store on a PostgreSQL server, and a store without one."""

from pathlib import Path
from typing import Any

import pytest

from nexus_control import DecisionStore, NexusControlTools
from nexus_control.errors import NexusControlError
from nexus_control.storage.postgres_schema import grants
from tests.cli.running import nexus_control
from tests.doors.place import Place, config_in, execution, requested
from tests.support.governed import ADAPTER, SCHEDULER, approved, data_of
from tests.support.places import REPOSITORY
from tests.support.postgres import Cluster
from tests.support.routers import ScriptedRouter, good_answer


def test_the_page_grants_a_role_what_the_storage_says() -> None:
    page = (REPOSITORY / "docs/howto/run-it-on-postgresql.md").read_text()
    needed = grants("nexus_control", "decisions_user").replace('"', "")
    assert " ".join(needed.split()) in " ".join(page.split())


def refused(url: str, folder: Path) -> NexusControlError:
    with pytest.raises(NexusControlError) as refusal:
        DecisionStore(url, log_folder=folder)
    return refusal.value


@pytest.mark.parametrize("mode", [0o775, 0o757, 0o777, 0o1777])
def test_a_folder_that_others_may_write_is_refused(postgres_url: str, tmp_path: Path, mode: int) -> None:
    folder = tmp_path / "log"
    folder.mkdir()
    folder.chmod(mode)
    fault = refused(postgres_url, folder)
    assert fault.code == "INVALID_ARGUMENT"
    assert "chmod go-w" in fault.message
    assert not list(folder.iterdir())


def test_two_stores_cannot_share_a_folder(cluster: Cluster, postgres_url: str, tmp_path: Path) -> None:
    folder, other = tmp_path / "log", cluster.url(cluster.new_schema())
    DecisionStore(postgres_url, log_folder=folder).close()
    assert "another store" in refused(other, folder).message
    assert "another store" in Place(cluster.url(cluster.new_schema()), folder).shown("init", code=2)
    DecisionStore(postgres_url, log_folder=folder).close()
    assert {each.name for each in folder.iterdir()} == {"log.store", "log.head"}


def test_a_mistyped_folder_is_not_made_for_a_store_that_is_there(postgres_url: str, tmp_path: Path) -> None:
    Place(postgres_url, tmp_path / "log").answer("init")
    for command in (("list",), ("request", "g")):
        said = Place(postgres_url, tmp_path / "lgo").answer(*command, code=2)
        assert said["details"]["fields"][0]["field"] == "--log-folder"
    assert not (tmp_path / "lgo").exists()


def test_an_output_is_not_written_over_a_file_of_a_log_folder(postgres_url: str, tmp_path: Path) -> None:
    folder = tmp_path / "log"
    Place(postgres_url, folder).answer("init")
    key = folder / "log.key"
    before = key.read_bytes()
    elsewhere = nexus_control("log", "export", "-o", str(key), "--db", "other.db", folder=tmp_path)
    Place(postgres_url, folder).answer("log", "export", "-o", str(key), code=2)
    assert elsewhere.returncode == 2
    assert key.read_bytes() == before


def test_an_older_copy_of_the_database_is_noticed_by_the_head(
    cluster: Cluster, postgres_url: str, tmp_path: Path
) -> None:
    folder, schema = tmp_path / "log", postgres_url.rpartition("%3D")[2]
    with NexusControlTools(postgres_url, log_folder=folder) as tools:
        first, second = approved(tools), approved(tools)
        data_of(tools.execute(first, ADAPTER, SCHEDULER, ScriptedRouter(good_answer)))
    for statement in (  # what a restored dump would be
        f"ALTER TABLE {schema}.entries DISABLE TRIGGER entries_are_not_changed",
        f"DELETE FROM {schema}.entries WHERE position >= 6",
        f"DELETE FROM {schema}.subtrees WHERE last_leaf >= 6",
        f"ALTER TABLE {schema}.entries ENABLE ALWAYS TRIGGER entries_are_not_changed",
    ):
        cluster.execute(statement)
    with NexusControlTools(postgres_url, log_folder=folder) as tools:
        router = ScriptedRouter(good_answer)
        assert tools.execute(second, ADAPTER, SCHEDULER, router).error_code == "STORE_ROLLED_BACK"
        assert router.runs == 0


def test_without_a_folder_decisions_are_made_and_executed_and_nothing_is_signed(postgres_url: str) -> None:
    with NexusControlTools(postgres_url) as tools:
        request_id = approved(tools)
        data_of(tools.execute(request_id, ADAPTER, SCHEDULER, ScriptedRouter(good_answer)))
        package = data_of(tools.export_audit_package(request_id))["package"]
        assert "no log folder is named" in package["evidence"]["unproven"]
    place = Place(postgres_url)
    for command in (("log", "checkpoint"), ("key", "rotate"), ("key", "generate"), ("statement", request_id)):
        fault = place.answer(*command, code=1)
        assert fault["code"] == "KEY_UNUSABLE"
        assert "--log-folder DIR" in fault["next"]
    report = place.answer("doctor")
    assert report["ok"] is True
    assert {name: report["checks"][name] for name in ("head", "key", "checkpoint")} == dict.fromkeys(
        ("head", "key", "checkpoint"), "skipped"
    )


def test_without_a_folder_the_declared_adapters_are_not_run(postgres_url: str, tmp_path: Path) -> None:
    place, target = Place(postgres_url), tmp_path / "target"
    place.answer("init")
    request_id = requested(place, target)
    fault: dict[str, Any] = place.answer(*execution(request_id, tmp_path), code=1)
    assert fault["code"] == "ROUTER_NOT_READY"
    assert "--log-folder DIR" in fault["next"]
    assert not target.exists()
    assert place.answer("status", request_id)["state"] == "approved"


def test_the_folder_of_a_file_belongs_to_the_database_of_that_file(
    cluster: Cluster, postgres_url: str, tmp_path: Path
) -> None:
    config, folder = tmp_path / "nexus-control.toml", tmp_path / "log"
    config.write_text(f'database = "{postgres_url}"\nlog_folder = "log"\n')
    Place(postgres_url, folder).answer("init")
    own = nexus_control("config", "show", "--config", str(config), "--json")
    assert f'"value": "{folder}"' in own.stdout.replace('":"', '": "')
    other = cluster.url(cluster.new_schema())
    shown = nexus_control("config", "show", "--config", str(config), "--db", other, "--json")
    assert str(folder) not in shown.stdout


def test_a_folder_without_its_parent_says_how_to_make_that(postgres_url: str, tmp_path: Path) -> None:
    said = Place(postgres_url, tmp_path / "srv" / "log").answer("init", code=2)
    assert said["details"]["fields"][0]["field"] == "--log-folder"
    assert f"mkdir -p {tmp_path / 'srv'}" in said["message"]


def test_who_names_a_folder_that_is_not_there_is_not_sent_to_make_a_second_one(
    postgres_url: str, tmp_path: Path
) -> None:
    Place(postgres_url, tmp_path / "log").answer("init")
    said = Place(postgres_url, tmp_path / "colleague").answer("list", code=2)
    assert "leave it out unless you execute or sign here" in said["message"]


def test_the_command_for_an_approver_names_no_log_folder(postgres_url: str, tmp_path: Path) -> None:
    shown = Place(postgres_url, tmp_path / "log").shown("request", "g", "--as", "human:alice")
    assert " approve " in shown
    assert not [line for line in shown.splitlines() if " approve " in line and "--log-folder" in line]


def test_a_run_that_is_not_known_without_the_folder_says_that_the_folder_is_missing(
    postgres_url: str, tmp_path: Path
) -> None:
    place = Place(postgres_url, tmp_path / "log")
    place.answer("init")
    request_id = requested(place, tmp_path / "target")
    place.answer(*execution(request_id, tmp_path))
    audit = ("audit", request_id, "--embed", "--config", config_in(tmp_path))
    place.shown(*audit)
    said = Place(postgres_url).answer(*audit, code=1)
    assert said["code"] == "ROUTER_RUN_NOT_FOUND"
    assert "no log folder is named" in said["message"]
    assert "--log-folder DIR" in said["next"]


def test_a_key_that_is_not_there_is_not_called_another_key(postgres_url: str, tmp_path: Path) -> None:
    place = Place(postgres_url, tmp_path / "log")
    place.answer("init")
    (tmp_path / "log" / "log.key").unlink()
    said = place.answer("log", "checkpoint", code=1)
    assert said["code"] == "KEY_UNUSABLE"
    assert "is not there" in said["message"]


def test_a_store_that_is_not_on_the_server_has_advice_of_its_own(postgres_url: str) -> None:
    said = Place(postgres_url).answer("list", code=2)
    assert "disk space" not in said["next"]
    assert "URL" in said["next"]


@pytest.mark.parametrize("command", [("list",), ("init",), ("request", "g")], ids=" ".join)
def test_a_parameter_that_libpq_does_not_know_is_named(postgres_url: str, command: tuple[str, ...]) -> None:
    said = Place(f"{postgres_url}&sslmod=require").answer(*command, code=2)
    assert said["message"].startswith("--db ")
    assert "sslmod" in said["message"]


def test_a_password_with_a_question_mark_is_not_taken_for_a_parameter(postgres_url: str) -> None:
    said = Place("postgresql://bob:pa?secret=word@db/x").answer("list", code=2)
    assert "secret" not in said["message"]
