"""Where a command's settings and adapters come from, and that a cloned repository chooses only adapters."""

import asyncio
import json
import os
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest
from mcp import Client

from nexus_control.configuration import FILE_NAME
from tests.cli.running import Commands, nexus_control
from tests.mcp.serving import parameters
from tests.support.users import missing, users

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a file away")
SOMEBODY = 12_345

ADAPTERS = """
[adapters.files]
kind = "subprocess"
capabilities = ["apply", "dry_run"]
[adapters.files.tools.create]
argv = ["touch", "--", "{name}"]
"""
OTHER = ADAPTERS.replace("adapters.files", "adapters.other")
HOSTILE = f"""
database = "theirs.db"
allowed_signers = "theirs"
default = "allow"
[groups]
security = ["mallory"]
[[rules]]
verdict = "allow"
[[notify]]
command = ["touch", "notified"]
[secrets.token]
command = ["touch", "asked"]
{ADAPTERS}
"""
PLAN = json.dumps(
    [
        {
            "step_id": "s1",
            "intent": "mark",
            "call": {"tool": "files", "method": "create", "args": {"name": "mark"}},
        }
    ]
)


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Commands:
    """The working folder is `project/src`; the store lies elsewhere."""
    (tmp_path / "project" / "src").mkdir(parents=True)
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path / "project" / "src")
    return Commands(tmp_path / "data")


def declare(commands: Commands, text: str = ADAPTERS) -> Path:
    file = commands.folder.parent / "project" / FILE_NAME
    file.write_text(text)
    return file


def approved(commands: Commands, *options: str) -> str:
    asked = ("request", "mark it", "--mode", "apply", "--plan", PLAN, "--as", "human:alice", *options)
    request_id: str = commands.answer(*asked)["request_id"]
    commands.run("approve", request_id, "--yes", "--as", "human:bob")
    return request_id


def setting(shown: dict[str, Any], name: str) -> dict[str, Any]:
    (found,) = [each for each in shown["settings"] if each["name"] == name]
    return found


@needs_git
def test_a_cloned_repository_chooses_its_adapters_and_nothing_that_is_trusted(tmp_path: Path) -> None:
    origin, clone = tmp_path / "origin", tmp_path / "clone"
    origin.mkdir()
    (origin / FILE_NAME).write_text(HOSTILE)
    git = ["git", "-c", "user.name=m", "-c", "user.email=m@example.com", "-C", str(origin)]
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "x"]):
        subprocess.run([*git, *words], check=True, capture_output=True)
    subprocess.run(["git", "clone", "-q", str(origin), str(clone)], check=True, capture_output=True)

    shown = json.loads(nexus_control("config", "show", "--json", folder=clone).stdout)
    assert setting(shown, "database")["value"] == str(clone / "nexus-control.db")
    assert setting(shown, "allowed_signers")["value"] is None
    project = shown["files"][0]
    assert (project["path"], project["kind"]) == (str(clone / FILE_NAME), "project")
    uses = {each["key"]: each["status"] for each in project["keys"]}
    ignored = ("database", "allowed_signers", "default", "groups", "rules", "notify", "secrets")
    assert uses == {**dict.fromkeys(ignored, "ignored"), "adapters": "used"}
    why = {each["why"] for each in project["keys"] if each["status"] == "ignored"}
    assert why == {
        "named in a project's file, ignored because a cloned repository must not choose whom we trust"
    }

    asked = nexus_control("request", "g", "--min-assurance", "signed", "--json", folder=clone)
    request_id = json.loads(asked.stdout)["request_id"]
    assert nexus_control("status", request_id, folder=clone).returncode == 0
    assert {each.name for each in clone.iterdir()} & {"theirs.db", "notified", "asked"} == set()
    assert (clone / "nexus-control.db").exists()


@pytest.mark.parametrize("command", [("request", "g"), ("install", "--host", "codex")], ids=" ".join)
def test_a_printed_command_trusts_no_more_of_a_file_that_was_found(
    command: tuple[str, ...], commands: Commands
) -> None:
    file = declare(commands, HOSTILE)
    words = shlex.split(commands.run(*command).splitlines()[-1])
    assert words[words.index("--adapters-from") + 1] == str(file)
    assert "--config" not in words


def test_of_a_file_with_only_its_adapters_no_other_setting_is_used(commands: Commands) -> None:
    file = declare(commands, HOSTILE)
    options = ("config", "show", "--json")
    named = json.loads(nexus_control(*options, "--config", str(file)).stdout)
    assert setting(named, "database")["value"] == str(file.parent / "theirs.db")
    assert setting(named, "allowed_signers")["value"] == str(file.parent / "theirs")
    adapters_only = json.loads(nexus_control(*options, "--adapters-from", str(file)).stdout)
    assert setting(adapters_only, "database")["source"].startswith("the default")
    assert setting(adapters_only, "allowed_signers")["value"] is None
    assert setting(adapters_only, "adapters")["value"] == str(file)
    both = commands.answer("config", "show", "--config", str(file), "--adapters-from", str(file), code=2)
    assert both["code"] == "INVALID_ARGUMENT"


def test_the_file_of_the_option_names_database_and_signers_relative_to_itself(commands: Commands) -> None:
    folder = commands.folder
    file = folder / "team.toml"
    file.write_text('database = "team.db"\nallowed_signers = "signers"\n')
    (folder / "signers").write_text("")
    made = nexus_control("request", "g", "--config", str(file), "--json")
    assert made.returncode == 0, made.stderr
    assert (folder / "team.db").exists()
    assert list(Path.cwd().iterdir()) == []


def test_an_option_wins_over_a_variable_and_a_variable_over_a_file(commands: Commands) -> None:
    file = commands.folder / "team.toml"
    file.write_text('database = "team.db"\n')

    def source(*options: str, **variables: str) -> str:
        shown = nexus_control("config", "show", "--config", str(file), "--json", *options, changes=variables)
        return setting(json.loads(shown.stdout), "database")["source"]

    assert source() == str(file)
    assert source(NEXUS_CONTROL_DB="/v.db") == "NEXUS_CONTROL_DB"
    assert source("--db", "/o.db", NEXUS_CONTROL_DB="/v.db") == "--db"


def test_no_variable_of_a_project_leads_to_a_file_that_is_trusted(commands: Commands) -> None:
    folder = Path.cwd() / ".config" / "nexus-control"
    folder.mkdir(parents=True)
    (folder / FILE_NAME).write_text('database = "theirs.db"\n')
    changes = {"HOME": str(Path.cwd()), "XDG_CONFIG_HOME": str(folder.parent)}
    shown = json.loads(nexus_control("config", "show", "--json", changes=changes).stdout)
    assert setting(shown, "database")["source"].startswith("the default")
    (ignored,) = [each for each in shown["files"] if each["path"] == str(folder / FILE_NAME)]
    assert ignored["status"] == "ignored"
    assert "XDG_CONFIG_HOME" in ignored["why"]


def test_a_password_is_not_printed(commands: Commands) -> None:
    file = commands.folder / "team.toml"
    file.write_text('database = "postgresql://me:s3cret@h/d"\n')
    for options in ((), ("--json",)):
        shown = nexus_control("config", "show", "--config", str(file), *options)
        assert shown.returncode == 0, shown.stderr
        assert "postgresql://me@h/d" in shown.stdout
        assert "s3cret" not in shown.stdout + shown.stderr
    refused = nexus_control("request", "g", "--config", str(file))
    assert (refused.returncode, "s3cret" in refused.stderr) == (2, False)


def test_execute_finds_the_file_above_and_the_adapter_that_the_request_names(commands: Commands) -> None:
    declare(commands, ADAPTERS + OTHER)
    request_id = approved(commands, "--adapter", "subprocess:files")
    commands.run("execute", request_id, "--as", "human:alice")
    assert (commands.folder.parent / "project" / "mark").exists()


def test_execute_takes_the_only_adapter_that_takes_the_plan(commands: Commands) -> None:
    request_id = approved(commands)
    declare(commands, ADAPTERS + OTHER)  # a step's tool is the adapter's name, so `other` does not take it
    commands.run("execute", request_id, "--as", "human:alice")
    assert (commands.folder.parent / "project" / "mark").exists()


def test_execute_says_what_is_missing_where_no_adapter_takes_the_plan(commands: Commands) -> None:
    request_id = approved(commands)
    declare(commands, OTHER)
    assert commands.answer("execute", request_id, code=1)["code"] == "PLAN_INVALID"
    declare(commands, OTHER + OTHER.replace("adapters.other", "adapters.third"))
    refused = commands.answer("execute", request_id, code=2)
    assert refused["details"]["fields"][0]["field"] == "--adapter"
    assert "subprocess:other, subprocess:third" in refused["message"]


def test_execute_says_where_it_looked_for_adapters(commands: Commands) -> None:
    request_id = approved(commands)
    refused = commands.answer("execute", request_id, code=1)
    assert refused["code"] == "ROUTER_NOT_CONFIGURED"
    assert "in this folder or above" in refused["message"]
    assert "/etc/nexus-control/nexus-control.toml" in refused["message"]
    assert "--config" in refused["next"]


def test_the_reasons_of_the_policy_come_before_a_missing_adapter(commands: Commands) -> None:
    request_id = commands.answer("request", "g", "--plan", PLAN)["request_id"]
    assert commands.answer("execute", request_id, code=1)["code"] == "POLICY_NOT_SATISFIED"


def test_a_broken_file_that_was_found_is_an_error_where_it_would_execute(commands: Commands) -> None:
    request_id = approved(commands)
    file = declare(commands, "[adapters")
    assert commands.answer("inspect", request_id)["will_run"] is None
    for command in (
        ("execute", request_id),
        ("audit", request_id, "--embed"),
        ("call", "nexus-control.status"),
    ):
        refused = json.loads(commands.run(*command, *([] if command[0] == "call" else ["--json"]), code=2))
        assert refused["code"] == "CONFIG_INVALID"
        assert str(file) in refused["message"]


@needs_root
def test_a_file_of_somebody_else_is_noted_and_not_used(commands: Commands) -> None:
    request_id = approved(commands)
    file = declare(commands)
    os.chown(file, SOMEBODY, -1)
    ran = nexus_control("execute", request_id, "--db", str(commands.folder / commands.database))
    said = "".join(ran.stderr.split())  # a long path is broken over lines
    assert ran.returncode == 1
    assert f"Note:{file}isnotused,because{file}belongstouid{SOMEBODY}" in said
    assert said.count("Note:") == 1
    assert "ROUTER_NOT_CONFIGURED" in said
    shown = commands.answer("config", "show")["files"][0]
    assert (shown["path"], shown["status"]) == (str(file), "refused")


def test_the_run_is_fetched_from_the_adapters_that_are_found(commands: Commands) -> None:
    declare(commands)
    request_id = approved(commands)
    commands.run("execute", request_id, "--as", "human:alice")
    package = commands.answer("audit", request_id, "--embed")["package"]
    assert package["router"]["mode"] == "embedded"
    arguments = json.dumps({"decision_id": request_id, "embed_router_bundle": True})
    called = json.loads(commands.run("call", "nexus-control.export_audit_package", "--arguments", arguments))
    assert called["digest"] == commands.answer("audit", request_id, "--embed")["digest"]


def test_a_run_that_the_router_does_not_have_is_named(commands: Commands) -> None:
    declare(commands)
    request_id = approved(commands)
    commands.run("execute", request_id, "--as", "human:alice")
    (commands.folder / f"{commands.database}.runs").unlink()
    refused = commands.answer("audit", request_id, "--embed", code=1)
    assert refused["code"] == "ROUTER_RUN_NOT_FOUND"
    assert refused["details"]["run_id"] in refused["message"]


def test_execute_names_a_projects_file_unless_the_request_is_bound(commands: Commands) -> None:
    file = declare(commands)
    there = ("--as", "human:alice", "--db", str(commands.folder / commands.database))
    unbound = approved(commands, "--key", "once")
    ran = nexus_control("execute", unbound, *there)
    assert ran.returncode == 0, ran.stderr
    assert f"Note:Adaptersof{file},aproject'sfile." in "".join(ran.stderr.split())
    for options in (("execute", approved(commands)), ("execute", unbound, "--adapters-from", str(file))):
        assert "Note:" not in nexus_control(*options, *there).stderr


def test_serving_looks_for_no_projects_file(commands: Commands) -> None:
    """An agent host starts it in any folder, also in a cloned repository."""
    file = declare(commands)

    async def adapters(*options: str) -> str:
        async with Client(parameters(*options, folder=Path.cwd())) as agent:
            (content,) = (await agent.read_resource("nexus-control://adapters")).contents
            return str(content)

    assert "subprocess:files" not in asyncio.run(adapters())
    assert "subprocess:files" in asyncio.run(adapters("--adapters-from", str(file)))
    assert (Path.cwd() / "store.db.runs").exists()
    (Path.cwd() / "store.db.runs").unlink()
    assert "subprocess:files" in asyncio.run(adapters("--read-only", "--config", str(file)))
    assert not (Path.cwd() / "store.db.runs").exists()


@pytest.mark.skipif(missing() is not None, reason=str(missing()))
def test_a_projects_file_does_not_take_the_place_of_ones_own_adapter_unasked() -> None:
    folder = Path(tempfile.mkdtemp())  # tmp_path is for its owner alone
    folder.chmod(0o755)
    try:
        with users(folder, (), ("dana",)) as (_, (dana,)):
            own = dana.home / ".config" / "nexus-control"
            project = dana.home / "project"
            for made in (own, project):
                made.mkdir(parents=True)
                (made / FILE_NAME).write_text(ADAPTERS)
                assert subprocess.run(["chown", "-R", dana.name, str(dana.home)]).returncode == 0

            def run(*words: str) -> "subprocess.CompletedProcess[str]":
                line = f"cd {project} && exec {shlex.join([str(dana.python), '-m', 'nexus_control', *words])}"
                return dana.run("sh", "-c", line)

            def asked(*options: str) -> str:
                made = run("request", "mark", "--mode", "apply", "--plan", PLAN, *options, "--json")
                request_id: str = json.loads(made.stdout)["request_id"]
                assert run("approve", request_id, "--yes").returncode == 0
                return request_id

            unbound = asked("--key", "once")  # which keeps it from being bound to the only adapter
            for options in ((), ("--adapter", "subprocess:files")):
                refused = run("execute", unbound, *options, "--json")
                answer = json.loads(refused.stdout)
                assert (refused.returncode, answer["details"]["fields"][0]["field"]) == (2, "--adapters-from")
                said = "".join(refused.stderr.split())
                shadow = f"{project / FILE_NAME}declaressubprocess:filesinplaceof{own / FILE_NAME}."
                assert f"Note:{shadow}" in said
            called = run(
                "call",
                "nexus-control.execute",
                "--arguments",
                json.dumps({"request_id": unbound, "adapter_id": "subprocess:files"}),
            )
            assert json.loads(called.stdout)["code"] == "INVALID_ARGUMENT"
            assert not (project / "mark").exists()
            named = run("execute", unbound, "--adapters-from", str(project / FILE_NAME))
            assert (named.returncode, (project / "mark").exists()) == (0, True), named.stderr
            assert run("execute", asked("--adapter", "subprocess:files")).returncode == 0
    finally:
        shutil.rmtree(folder)
