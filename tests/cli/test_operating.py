"""The commands of those who operate: template, doctor, install; and what a wrong call gets."""

import ast
import json
import sqlite3
from pathlib import Path

import pytest

from nexus_control.cli.hosting import BY_COMMAND, BY_FILE, BY_PROGRAM, HOSTS
from tests.cli.running import LAUNCHER, Commands, nexus_control
from tests.support.tampering import without_triggers


@pytest.fixture
def commands(tmp_path: Path) -> Commands:
    return Commands(tmp_path)


def test_a_template_is_made_shown_listed_and_used(commands: Commands) -> None:
    options = (
        "--min-approvals",
        "2",
        "--allowed-mode",
        "dry_run",
        "--allowed-mode",
        "apply",
        "--label",
        "prod",
    )
    made = commands.answer("template", "create", "prod", *options, "--tighten-only", "--as", "human:alice")
    assert made["template_name"] == "prod"
    shown = commands.answer("template", "get", "prod")["template"]
    assert (shown["min_approvals"], shown["overrides"]) == (2, "tighten_only")
    assert shown["created_by"] == {"type": "human", "id": "alice"}
    assert "human:alice" in commands.run("template", "get", "prod")
    assert commands.answer("template", "list", "--label", "prod")["count"] == 1
    assert "prod" in commands.run("template", "list")
    assert "No templates." in commands.run("template", "list", "--label", "none")
    asked = commands.answer("request", "g", "--template", "prod")
    assert asked["min_approvals"] == 2
    weaker = commands.answer("request", "g", "--template", "prod", "--min-approvals", "1", code=1)
    assert weaker["code"] == "TEMPLATE_WEAKENED"
    assert commands.answer("template", "create", "prod", code=1)["code"] == "TEMPLATE_ALREADY_EXISTS"
    assert commands.answer("template", "get", "none", code=1)["code"] == "TEMPLATE_NOT_FOUND"


def test_a_whole_store_is_found_whole(commands: Commands) -> None:
    commands.run("request", "g")
    examined = commands.answer("doctor")
    assert (examined["ok"], examined["entries"], examined["faults"]) == (True, 2, [])
    # Nothing was executed, denied or signed yet.
    skipped = {name: examined["checks"].pop(name) for name in ("head", "key", "checkpoint")}
    assert set(skipped.values()) == {"skipped"}
    assert set(examined["checks"].values()) == {"pass"}
    assert "store.db.head is not there" in examined["reasons"]["head"]
    assert "Whole. 2 entries, recomputed. Not looked at: head, key, checkpoint." in commands.run("doctor")


def alter(commands: Commands, statement: str) -> None:
    with sqlite3.connect(commands.folder / "store.db") as connection, without_triggers(connection):
        assert connection.execute(statement).rowcount == 1
    connection.close()


def test_a_changed_log_is_found_and_not_mended(commands: Commands) -> None:
    commands.run("request", "rotate the keys")
    alter(commands, "UPDATE entries SET payload = replace(payload, 'rotate', 'delete') WHERE seq = 0")
    examined = commands.answer("doctor", "--rebuild", code=3)
    derived = dict.fromkeys(("tree", "projections", "head", "key", "checkpoint"), "skipped")
    assert examined["checks"] == {"form": "pass", "log": "fail", **derived}
    assert [each["code"] for each in examined["faults"]] == ["DIGEST_MISMATCH"]
    assert (examined["rebuilt"], "restore a backup" in examined["next"]) == (0, True)
    assert "DIGEST_MISMATCH" in commands.run("doctor", code=3)


def test_a_wrong_projection_is_found_and_rebuilt(commands: Commands) -> None:
    request_id = commands.answer("request", "g")["request_id"]
    alter(commands, "UPDATE projections SET phase = 'completed'")
    examined = commands.answer("doctor", code=3)
    assert (examined["checks"]["projections"], "--rebuild" in examined["next"]) == ("fail", True)
    mended = commands.answer("doctor", "--rebuild")
    assert (mended["ok"], mended["rebuilt"]) == (True, 1)
    assert commands.answer("status", request_id)["state"] == "pending_approval"


def test_a_database_that_is_not_there_is_not_made(commands: Commands) -> None:
    assert commands.answer("doctor", code=2)["code"] == "STORE_UNAVAILABLE"
    assert not (commands.folder / "store.db").exists()


@pytest.mark.parametrize("host", [*BY_COMMAND, *BY_FILE])
def test_each_host_is_told_this_interpreter_and_absolute_paths(commands: Commands, host: str) -> None:
    config = commands.folder / "adapters.toml"
    config.touch()
    answered = commands.answer("install", "--host", host, "--config", str(config))
    database = str(commands.folder / "store.db")
    serving = [*LAUNCHER[1:], "serve", "--db", database, "--config", str(config)]
    if host in BY_COMMAND:
        assert answered["command"] == [*BY_COMMAND[host], LAUNCHER[0], *serving]
        assert commands.run("install", "--host", host).startswith(f"{host.partition('-')[0]} mcp add")
    else:
        (server,) = next(iter(answered["config"].values())).values()
        assert (server["command"], server["args"]) == (
            LAUNCHER[0],
            [*serving, *([] if BY_FILE[host].takes_dots else ["--tool-names", "underscore"])],
        )
        printed = nexus_control(
            "install", "--host", host, "--config", str(config), "--db", database, changes={"PYTHONPATH": ""}
        )
        assert json.loads(printed.stdout) == answered["config"]
        assert "Put this into" in printed.stderr


@pytest.mark.sample(2)
@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--db", "postgresql://h/x?user=a;password=s3cret"),
        ("--db", "."),
        ("--db", ""),
        ("--config", "."),
        ("--config", ""),
        ("--config", "nowhere.toml"),
        ("--allowed-signers", "."),
        ("--allowed-signers", "nowhere"),
    ],
)
def test_a_host_is_told_nothing_with_which_the_server_would_not_start(
    option: str, value: str, commands: Commands
) -> None:
    ran = nexus_control("install", "--host", "codex", option, value, "--json", folder=commands.folder)
    refused = json.loads(ran.stdout)
    assert (ran.returncode, refused["code"]) == (2, "INVALID_ARGUMENT")
    assert [each["field"] for each in refused["details"]["fields"]] == [option]
    assert "s3cret" not in ran.stdout + ran.stderr


def test_an_unknown_host_is_refused_with_those_that_are_known(commands: Commands) -> None:
    refused = commands.answer("install", "--host", "emacs", code=2)
    assert HOSTS in refused["message"]


@pytest.mark.parametrize("host", BY_PROGRAM)
def test_a_framework_is_given_a_program_that_starts_the_server(commands: Commands, host: str) -> None:
    program = commands.answer("install", "--host", host)["program"]
    assert commands.run("install", "--host", host) == program
    words = [each.value for each in ast.walk(ast.parse(program)) if isinstance(each, ast.Constant)]
    assert {LAUNCHER[0], "serve", str(commands.folder / "store.db"), "underscore"} <= set(words)


@pytest.mark.sample(2)
@pytest.mark.parametrize(
    "arguments",
    [("list", "--bogus"), ("request",), ("frobnicate",), ("list", "--limit", "many"), ("template", "mend")],
    ids=" ".join,
)
def test_a_call_that_cannot_be_understood_is_json_too_where_json_was_asked_for(
    arguments: tuple[str, ...],
) -> None:
    ran = nexus_control("--json", *arguments)
    answered = json.loads(ran.stdout)
    assert (ran.returncode, answered["code"], ran.stderr) == (2, "INVALID_ARGUMENT", "")
    assert answered["message"]
    plain = nexus_control(*arguments)
    assert (plain.returncode, plain.stdout) == (2, "")
    assert "Error:" in plain.stderr
