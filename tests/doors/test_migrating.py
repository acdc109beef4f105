"""A store that goes to another place, with its log."""

import shutil
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from nexus_control import DecisionStore, NexusControlTools
from nexus_control.errors import NexusControlError
from nexus_control.log import checkpoints, log_keys, migrating
from nexus_control.log.upkeep import find_faults
from nexus_control.storage.contract import KeptAnswer
from nexus_control.storage.postgres_rows import PostgresRows
from nexus_control.storage.sink_rows import EventSetAside, SinkRow
from nexus_control.storage.sqlite_connection import connect
from tests.cli.running import nexus_control
from tests.doors.dying import killed_at
from tests.doors.place import Place, execution, requested
from tests.hostile.test_settling import give_up_from_elsewhere
from tests.support.executor import executing
from tests.support.governed import ADAPTER, ALICE, BOB, SCHEDULER, approved, data_of, overwritten
from tests.support.postgres import Cluster
from tests.support.routers import ScriptedRouter, good_answer


def filled(file: Path) -> str:
    """A store with every kind of entry, answers, a late outcome and a decision without events. An approved request."""
    with NexusControlTools(file) as tools:
        tools.store.create_decision()
        tools.template_store.create_template("prod", ALICE, min_approvals=2, labels=["prod"])
        done = approved(tools, labels=["a", "b"])
        data_of(tools.execute(done, ADAPTER, SCHEDULER, ScriptedRouter(good_answer)))
        data_of(overwritten(tools, approved(tools)))
        denied = approved(tools)
        data_of(tools.revoke_approval(denied, BOB, reason="r"))
        data_of(tools.withdraw(approved(tools), ALICE, reason="r"))
        data_of(tools.export_audit_package(done))
        log_keys.rotate(tools.store)
        checkpoints.publish(tools.store)
        with tools.store.writing() as session:
            session.rows.put_sink(SinkRow("chat", 7, '{"pid":1}', "2026-01-02T03:04:05+00:00", '{"tries":1}'))
        return approved(tools)


def migrated(file: Path, url: str, folder: Path) -> migrating.Contents:
    with DecisionStore(file) as old, DecisionStore(url, log_folder=folder) as new:
        return migrating.migrate(old, new, url)


def test_what_a_sink_was_not_told_goes_with_the_store(postgres_url: str, tmp_path: Path) -> None:
    file = tmp_path / "a.db"
    filled(file)
    aside = EventSetAside("chat", 5, "evt_d_1", "2026-01-02T03:04:05+00:00", "HTTP 410")
    with DecisionStore(file) as old, old.writing() as session:
        session.rows.set_event_aside(aside)
    assert [events for _, events in migrated(file, postgres_url, tmp_path / "log").sinks] == [(aside,)]


def refused(file: Path, url: str, folder: Path) -> str:
    """The code of the refusal, which leaves the target as it was."""
    with DecisionStore(file) as old, DecisionStore(url, log_folder=folder) as new:
        with new.reading() as session:
            before = migrating.contents_of_store(session.rows)
        with pytest.raises(NexusControlError) as refusal:
            migrating.migrate(old, new, url)
        with new.reading() as session:
            assert migrating.contents_of_store(session.rows) == before
    return refusal.value.code


def test_everything_goes_to_a_server_and_back_and_is_the_same(postgres_url: str, tmp_path: Path) -> None:
    file, back, folder = tmp_path / "a.db", tmp_path / "b.db", tmp_path / "log"
    request_id = filled(file)
    with DecisionStore(file) as old, old.reading() as session:
        before, rows = migrating.contents_of_store(session.rows), session.rows
        reserved = [name for name, _ in rows.decisions(100, 0) if not rows.generations("decision", name)]
    assert len(reserved) == 1
    assert before.answers
    assert [(row.cursor, row.holder) for row, _ in before.sinks] == [(7, "")]
    place = Place(postgres_url, folder)
    told = place.answer("migrate", "--from", str(file), "--to", postgres_url)
    assert (told["entries"], told["log_root"], told["log_digest"]) == (
        before.log_size,
        before.log_root,
        before.log_digest,
    )
    assert place.answer("doctor")["ok"] is True
    with NexusControlTools(postgres_url, log_folder=folder) as tools:
        with tools.store.reading() as session:
            assert migrating.contents_of_store(session.rows) == before
        checkpoints.publish(tools.store)
        router = ScriptedRouter(good_answer)
        data_of(tools.execute(request_id, ADAPTER, SCHEDULER, router))
        with tools.store.reading() as session:
            after = migrating.contents_of_store(session.rows)
    place.answer("migrate", "--from", postgres_url, "--to", str(back))
    with NexusControlTools(back) as tools:
        assert find_faults(tools.store) == []
        with tools.store.reading() as session:
            assert migrating.contents_of_store(session.rows) == after
        again = tools.execute(request_id, ADAPTER, SCHEDULER, router)
        assert again.error_code == "POLICY_NOT_SATISFIED"
        assert router.runs == 1


def test_the_old_place_executes_and_signs_nothing_and_says_where_to_go(
    postgres_url: str, tmp_path: Path
) -> None:
    file = tmp_path / "a.db"
    request_id = filled(file)
    migrated(file, postgres_url, tmp_path / "log")
    with NexusControlTools(file) as tools:
        router = ScriptedRouter(good_answer)
        assert tools.execute(request_id, ADAPTER, SCHEDULER, router).error_code == "STORE_MIGRATED"
        assert router.runs == 0
        with pytest.raises(NexusControlError, match="STORE_MIGRATED"):
            checkpoints.publish(tools.store)
        assert data_of(tools.status(request_id))["state"] == "approved"
    report = Place(str(file)).answer("doctor", code=3)
    assert [fault["code"] for fault in report["faults"]] == ["STORE_MIGRATED"]
    assert "--accept-rollback" in report["command"]


def test_a_migrated_store_does_not_go_to_a_second_place(
    cluster: Cluster, postgres_url: str, tmp_path: Path
) -> None:
    file = tmp_path / "a.db"
    filled(file)
    migrated(file, postgres_url, tmp_path / "log")
    assert refused(file, cluster.url(cluster.new_schema()), tmp_path / "other") == "STORE_MIGRATED"
    assert not (tmp_path / "other" / "log.key").exists()


def test_a_target_with_a_log_is_refused(postgres_url: str, tmp_path: Path) -> None:
    file = tmp_path / "a.db"
    filled(file)
    with NexusControlTools(postgres_url, log_folder=tmp_path / "log") as tools:
        tools.store.create_decision()
    assert refused(file, postgres_url, tmp_path / "log") == "INVALID_ARGUMENT"


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE entries SET payload = replace(payload, 'Rotate', 'Delete') WHERE position = 1",
        "UPDATE projections SET goal = 'another'",
        "DELETE FROM subtrees WHERE level = 1",
        "DELETE FROM entries WHERE position = (SELECT max(position) FROM entries)",
        "UPDATE answers SET content = '{}'",
    ],
)
def test_a_source_that_somebody_changed_is_refused(postgres_url: str, tmp_path: Path, change: str) -> None:
    file = tmp_path / "a.db"
    filled(file)
    with closing(connect(str(file), 5)) as connection:
        triggers = connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for (name,) in triggers:
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute(change)
        connection.commit()
    assert refused(file, postgres_url, tmp_path / "log") == "LOG_INCONSISTENT"


def test_an_older_copy_and_a_copy_without_its_key_are_refused(postgres_url: str, tmp_path: Path) -> None:
    file, old = tmp_path / "a.db", tmp_path / "old.db"
    filled(file)
    shutil.copy(file, old)
    with NexusControlTools(file) as tools:
        data_of(tools.execute(approved(tools), ADAPTER, SCHEDULER, ScriptedRouter(good_answer)))
    key = Path(f"{file}.key")
    key.rename(tmp_path / "key")
    assert refused(file, postgres_url, tmp_path / "log") == "KEY_UNUSABLE"
    (tmp_path / "key").rename(key)
    old.replace(file)
    assert refused(file, postgres_url, tmp_path / "log") == "STORE_ROLLED_BACK"


def test_a_store_that_executes_is_refused(postgres_url: str, tmp_path: Path) -> None:
    file = tmp_path / "a.db"
    with NexusControlTools(file) as tools:
        request_id = approved(tools)
    with executing(file, request_id):
        assert refused(file, postgres_url, tmp_path / "log") == "CLAIM_HELD"
    with NexusControlTools(file) as tools:
        data_of(tools.recover())
    assert migrated(file, postgres_url, tmp_path / "log").claims[0].recovered


def test_a_killed_migration_leaves_nothing_and_is_finished_by_the_same_command(
    postgres_url: str, tmp_path: Path
) -> None:
    file, folder = tmp_path / "a.db", tmp_path / "log"
    filled(file)
    with DecisionStore(file) as old, old.reading() as session:
        before = migrating.contents_of_store(session.rows)
    call = 1
    while killed_at(call, str(file), postgres_url, folder):
        call += 1
        with DecisionStore(postgres_url, log_folder=folder) as new, new.reading() as session:
            assert session.rows.log_size() == 0
            assert not session.rows.decisions(1, 0)
        with DecisionStore(file) as old, old.reading() as session:
            assert migrating.contents_of_store(session.rows) == before
    assert call > 7  # the key is copied once: a later run finds it there
    with DecisionStore(postgres_url, log_folder=folder) as new:
        assert find_faults(new) == []
        with new.reading() as session:
            assert migrating.contents_of_store(session.rows) == before


def test_runs_go_with_the_store(postgres_url: str, tmp_path: Path) -> None:
    old, target, folder = Place(str(tmp_path / "a.db")), tmp_path / "target", tmp_path / "log"
    request_id = requested(old, target)
    old.answer(*execution(request_id, tmp_path))
    shown = old.answer("run", "show", request_id)
    new = Place(postgres_url, folder)
    new.answer("migrate", "--from", old.url, "--to", new.url)
    assert new.answer("run", "show", request_id) == shown
    assert (folder / "log.runs").is_file()


def test_a_migration_names_what_it_lacks(cluster: Cluster, postgres_url: str, tmp_path: Path) -> None:
    filled(tmp_path / "a.db")
    for arguments, field in (
        (("--from", "a.db", "--to", postgres_url), "--log-folder"),
        (("--from", "a.db", "--to", "a.db"), "--to"),
        (("--from", postgres_url, "--to", cluster.url("x"), "--log-folder", "log"), "--to"),
    ):
        ran = nexus_control("migrate", *arguments, "--json", folder=tmp_path)
        assert ran.returncode == 2
        assert f'"field": "{field}"' in ran.stdout.replace('":"', '": "')
    ran = nexus_control("migrate", "--from", "b.db", "--to", "c.db", folder=tmp_path)
    assert "(--from)" in " ".join(ran.stderr.split())
    assert not (tmp_path / "c.db").exists()


def _forgotten(_: PostgresRows, __: KeptAnswer) -> None:
    """A row that does not arrive."""


def test_a_target_that_would_not_hold_the_same_is_refused(
    postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a.db"
    filled(file)
    monkeypatch.setattr(PostgresRows, "keep_answer", _forgotten)
    assert refused(file, postgres_url, tmp_path / "log") == "INTEGRITY_MISMATCH"
    with NexusControlTools(file) as tools:
        data_of(tools.request("g", ALICE))


def test_a_source_that_does_not_continue_its_checkpoint_is_refused(postgres_url: str, tmp_path: Path) -> None:
    file, older = tmp_path / "a.db", tmp_path / "older.db"
    filled(file)
    shutil.copy(file, older)
    with NexusControlTools(file) as tools:
        data_of(tools.request("g", ALICE))  # which brings no head forward
        checkpoints.publish(tools.store)
    older.replace(file)
    assert refused(file, postgres_url, tmp_path / "log") == "LOG_INCONSISTENT"


def test_the_answer_of_an_outcome_that_came_too_late_goes_with_the_store(
    postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a.db"
    with NexusControlTools(file) as tools:
        request_id = approved(tools)

        def be_given_up() -> object:
            give_up_from_elsewhere(tools, request_id, monkeypatch)
            return good_answer()

        late = tools.execute(request_id, ADAPTER, SCHEDULER, ScriptedRouter(be_given_up))
        assert late.error_code == "OUTCOME_REFUSED"
    contents = migrated(file, postgres_url, tmp_path / "log")
    assert contents.claims[0].late_outcome
    assert len(contents.answers) == 1


def migration(source: str, target: str, folder: Path, code: int = 0) -> dict[str, Any]:
    return Place(target, folder).answer("migrate", "--from", source, "--to", target, code=code)


def test_a_target_on_which_init_was_run_is_refused_with_what_to_do(postgres_url: str, tmp_path: Path) -> None:
    filled(tmp_path / "a.db")
    Place(postgres_url, tmp_path / "log").answer("init")
    said = migration(str(tmp_path / "a.db"), postgres_url, tmp_path / "log", code=2)
    assert said["details"]["fields"][0]["field"] == "--to"
    assert "init" in said["message"]
    assert "new place" in said["message"]


def test_a_migration_that_is_complete_says_so(postgres_url: str, tmp_path: Path) -> None:
    file, folder = tmp_path / "a.db", tmp_path / "log"
    filled(file)
    first = migration(str(file), postgres_url, folder)
    with NexusControlTools(postgres_url, log_folder=folder) as tools:
        data_of(tools.request("g", ALICE))
    again = migration(str(file), postgres_url, folder)
    assert (first["migrated_before"], again["migrated_before"]) == (False, True)
    assert again["log_root"] == first["log_root"]


def test_a_store_that_went_on_at_one_place_is_not_said_to_be_at_another(
    postgres_url: str, tmp_path: Path
) -> None:
    file, stale, new, folder = tmp_path / "a.db", tmp_path / "stale.db", tmp_path / "b.db", tmp_path / "log"
    filled(file)
    shutil.copy(file, stale)
    migration(str(file), postgres_url, folder)
    migration(postgres_url, str(new), folder)
    for place in (file, stale):
        assert migration(postgres_url, str(place), folder, code=2)["code"] == "INVALID_ARGUMENT"
    assert migration(postgres_url, str(new), folder)["migrated_before"]


def test_a_refused_migration_leaves_its_folder_as_it_was(
    cluster: Cluster, postgres_url: str, tmp_path: Path
) -> None:
    file, folder = tmp_path / "a.db", tmp_path / "log"
    filled(file)
    DecisionStore(postgres_url).create_decision()
    said = migration(str(file), postgres_url, folder, code=2)
    assert said["details"]["fields"][0]["field"] == "--to"
    assert not folder.exists()
    folder.mkdir(mode=0o755)
    migration(str(file), postgres_url, folder, code=2)
    assert not list(folder.iterdir())
    migration(str(file), cluster.url(cluster.new_schema()), folder)


def test_a_source_that_is_not_there_is_named_and_not_to_be_made(postgres_url: str, tmp_path: Path) -> None:
    said = migration(str(tmp_path / "a.db"), postgres_url, tmp_path / "log", code=2)
    assert "(--from)" in said["message"]
    assert "request" not in said["message"]
    assert not (tmp_path / "log").exists()
