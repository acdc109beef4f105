"""Each command that is printed for people does what it says: run by `sh`, from another folder, in a bare environment.

That folder is one that an attacker filled: none of its modules may be imported.
"""

import json
import os
import shlex
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from nexus_control import DecisionStore, NexusControlTools
from nexus_control.cli.frame import identity
from nexus_control.cli.hosting import BY_COMMAND, BY_FILE
from nexus_control.system.commands import approving, command, shell_line, without_password
from tests.cli.running import LAUNCHER, nexus_control, with_a_terminal
from tests.cli.test_interrupting import CONFIG as PAUSING
from tests.cli.test_interrupting import begun
from tests.evidence.ssh import keygen, needs_ssh_keygen
from tests.execution.support import eventually
from tests.support.clock import FakeClock
from tests.support.governed import ALICE, BOB, data_of, last_event
from tests.support.tampering import without_triggers

HOSTILE_MODULES = (
    "typer.py",
    "sitecustomize.py",
    "sqlite3.py",
    "nexus_control/__init__.py",
    "nexus_control/cli.py",
)
HOSTILE_IDS = (
    "human:o'brien; rm -rf x",
    "-x",
    "--yes",
    "$(touch imported)",
    "`touch imported`",
    'a "b" c',
    "a\\b * ?",
    "~/x",
    "#é&|>imported",
)


REHEARSED = """
[adapters.files]
kind = "subprocess"
capabilities = ["apply", "dry_run"]
[adapters.files.tools.write]
argv = ["true"]
dry_run_argv = ["true"]
"""


@dataclass(frozen=True)
class Desk:
    """A store in a folder with a name that a shell would take apart, and another folder that is an attacker's."""

    folder: Path
    elsewhere: Path
    home: Path

    @property
    def database(self) -> Path:
        return self.folder / "my $decisions.db"

    @property
    def imported(self) -> Path:
        """Made by whatever of the attacker's is run."""
        return self.elsewhere / "imported"

    @property
    def tools(self) -> NexusControlTools:
        return NexusControlTools(db_path=self.database)

    def printed(self, *arguments: str, code: int = 0) -> list[str]:
        """The commands that a command prints."""
        ran = nexus_control(
            "--db", self.database.name, *arguments, folder=self.folder, changes={"PYTHONPATH": ""}
        )
        assert ran.returncode == code, ran.stdout + ran.stderr
        return commands_in(ran.stdout + ran.stderr)

    def run(
        self, line: str, *, typed: str = "", code: int = 0, changes: Mapping[str, str] | None = None
    ) -> str:
        known = {"PATH": os.environ["PATH"], "HOME": str(self.home), **(changes or {})}
        ran = with_a_terminal(["sh", "-c", line], known, folder=self.elsewhere, typed=typed)
        assert ran.returncode == code, f"{line}\n{ran.stdout}"
        assert not self.imported.exists()
        return ran.stdout

    def state(self, request_id: str) -> str:
        return data_of(self.tools.status(request_id))["state"]


def commands_in(shown: str) -> list[str]:
    lines = shown.replace("\r", "").splitlines()
    return [line.strip() for line in lines if line.startswith((f"    {sys.executable} ", "    ssh-keygen "))]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    desk = Desk(tmp_path / "it's a $folder", tmp_path / "clone", tmp_path / "home")
    for folder in (desk.folder, desk.elsewhere / "nexus_control", desk.home / ".ssh"):
        folder.mkdir(parents=True)
    for name in HOSTILE_MODULES:
        (desk.elsewhere / name).write_text(f"open({str(desk.imported)!r}, 'w'); raise SystemExit(99)")
    return desk


def named(desk: Desk, request_id: str, **asked: Any) -> NexusControlTools:
    """A request of this very id: such a one comes by import."""

    class Clock(FakeClock):
        def new_id(self) -> str:
            return request_id

    tools = NexusControlTools(DecisionStore(desk.database, clock=Clock()))
    asked = {"goal": "g", "actor": ALICE, "mode": "apply", **asked}
    assert data_of(tools.request(**asked))["request_id"] == request_id
    return tools


def test_what_a_request_and_its_approval_print_finds_the_adapters_from_any_folder(desk: Desk) -> None:
    (desk.folder / "nexus-control.toml").write_text(PAUSING)
    call = {"tool": "files", "method": "pause", "args": {"seconds": "0"}}
    plan = json.dumps([{"step_id": "s1", "intent": "pause", "call": call}])
    asked = ("--mode", "apply", "--plan", plan, "--adapter", "subprocess:files", "--as", "human:alice")
    (approve,) = desk.printed("request", "g", *asked)
    shown = desk.run(approve, typed="y\n")
    assert "exec sleep" in shown  # the adapters were at hand
    request_id = shlex.split(approve)[7]
    assert desk.state(request_id) == "approved"
    (execute,) = commands_in(shown)
    (audit,) = commands_in(desk.run(execute))
    assert desk.state(request_id) == "completed"
    assert '"control_digest"' in desk.run(audit)


def test_a_rehearsed_request_goes_its_way_by_printed_commands_with_the_adapters_of_a_named_file(
    desk: Desk,
) -> None:
    """What `request`, `execute` and `status` print, each from another folder than that of the file."""
    config, plan = desk.folder / "team $x.toml", desk.folder / "plan.json"
    config.write_text(REHEARSED)
    call: dict[str, Any] = {"tool": "files", "method": "write", "args": {}}
    plan.write_text(json.dumps([{"step_id": "s1", "intent": "write", "call": call}]))
    named = ("--config", config.name)
    asked = ("--mode", "apply", "--plan-file", plan.name, "--as", "human:alice")
    printed = desk.printed("request", "write", *asked, "--require-rehearsal", "1h", *named)
    (request_id,) = [each["request_id"] for each in data_of(desk.tools.list_requests())["requests"]]
    (rehearse,) = [line for line in printed if " execute " in line]
    (asking,) = desk.printed("status", request_id, *named)
    assert shlex.split(asking)[-1] == str(config) == shlex.split(rehearse)[-1]
    (approve,) = commands_in(desk.run(rehearse))
    assert shlex.split(approve)[-1] == str(config)
    desk.run(approve, typed="y\n")
    (execute,) = desk.printed("status", request_id, *named)
    desk.run(execute)
    assert desk.state(request_id) == "completed"


def test_a_named_file_that_declares_nothing_readable_stops_a_verdict_also_where_nobody_is_asked(
    desk: Desk,
) -> None:
    request_id = data_of(desk.tools.request(goal="g", actor=ALICE))["request_id"]
    broken = desk.folder / "broken.toml"
    broken.write_text("[adapters.files]\nkind = 'subproces'\n")
    assert not desk.printed("approve", request_id, "--yes", "--config", broken.name, code=2)
    assert not desk.printed("status", request_id, "--adapters-from", broken.name, code=2)
    assert desk.state(request_id) == "pending_approval"


@needs_ssh_keygen
def test_what_a_signed_policy_prints_signs_with_the_key_of_who_runs_it(desk: Desk) -> None:
    key, signers = desk.home / ".ssh" / "id_ed25519", desk.folder / "allowed signers"
    assert keygen("-q", "-t", "ed25519", "-N", "", "-f", key).returncode == 0
    signers.write_text(f"{identity(None)[0].id} {key.with_suffix('.pub').read_text()}")
    asked = ("request", "g", "--mode", "apply", "--min-assurance", "signed", "--as", "human:alice")
    (approve,) = desk.printed("--allowed-signers", signers.name, *asked)
    desk.run(approve, typed="y\n")
    (approve,) = desk.printed("--allowed-signers", signers.name, *asked)
    request_id = shlex.split(approve)[7]
    statement = desk.printed("--allowed-signers", signers.name, "statement", request_id, "-o", "-it's.json")
    assert desk.state(request_id) == "pending_approval"
    for line in statement:
        desk.run(line, typed="y\n")
    tools = NexusControlTools(DecisionStore(desk.database, allowed_signers=signers))
    assert data_of(tools.status(request_id))["state"] == "approved"
    deny = desk.printed("--allowed-signers", signers.name, "statement", request_id, "--verdict", "deny")[-1]
    assert "--reason WHY" in deny


def test_what_a_template_prints_makes_a_request_of_it(desk: Desk) -> None:
    for name in HOSTILE_IDS:
        (request,) = desk.printed("template", "create", "--as", "human:alice", "--", name)[-1:]
        assert "WHAT IS TO BE ACHIEVED" in request
        assert "is pending_approval" in desk.run(request)
    assert [line["goal"] for line in data_of(desk.tools.list_requests())["requests"]] == [
        "WHAT IS TO BE ACHIEVED"
    ] * len(HOSTILE_IDS)


@pytest.mark.sample(2)
@pytest.mark.parametrize("request_id", HOSTILE_IDS)
def test_an_agents_person_is_given_a_command_that_approves_whatever_the_id_is(
    desk: Desk, request_id: str
) -> None:
    named(desk, request_id)
    arguments = json.dumps({"request_id": request_id})
    asked = ("call", "nexus-control.approve", "--arguments", arguments, "--db", str(desk.database))
    answered = nexus_control(*asked, changes={"PYTHONPATH": ""})
    approve = json.loads(answered.stdout)["details"]["command"]
    desk.run(approve, typed="y\n")
    assert desk.state(request_id) == "approved"


@pytest.mark.sample(2)
@pytest.mark.parametrize("end", ["interrupted", "killed"])
@pytest.mark.parametrize("request_id", HOSTILE_IDS[:2])
def test_what_an_execution_leaves_unknown_is_settled_by_what_is_printed(
    request_id: str, end: str, desk: Desk
) -> None:
    (desk.folder / "a.toml").write_text(PAUSING)
    call = {"tool": "files", "method": "pause", "args": {"seconds": "3600"}}
    tools = named(desk, request_id, plan=json.dumps([{"step_id": "s1", "intent": "i", "call": call}]))
    assert tools.approve(request_id, actor=BOB).success
    options = ("--adapter", "subprocess:files", "--config", "a.toml", "--db", str(desk.database))
    with begun(desk.folder, "execute", *options, "--", request_id) as process:
        assert eventually((desk.folder / "started").exists, seconds=240)
        process.send_signal(signal.SIGTERM if end == "interrupted" else signal.SIGKILL)
        said = process.communicate(timeout=240)[1]
    if end == "interrupted":
        (settle,) = commands_in(said)
    else:
        (settle,) = desk.printed("recover")
    assert "HOW YOU KNOW" in settle
    desk.run(settle)
    assert last_event(desk.tools.store, request_id).payload["evidence"] == "HOW YOU KNOW"
    assert desk.state(request_id) == "completed"


def test_the_next_page_of_a_list_is_a_command(desk: Desk) -> None:
    for name in ("-a", "b"):
        data_of(desk.tools.template_create(name=name, actor=ALICE, labels=["it's"]))
        data_of(desk.tools.request(goal=f"goal {name}", actor=ALICE, template_name=name))
    for listed in ("list", "template list"):
        only = (*listed.split(), "--label", "it's", "--limit", "1")
        (following,) = desk.printed(*only)
        assert ("goal -a" if listed == "list" else "b ") in desk.run(following)


def test_a_log_without_a_key_is_told_how_to_get_one(desk: Desk) -> None:
    data_of(desk.tools.request(goal="g", actor=ALICE))
    (generate,) = desk.printed("key", "export", code=2)
    assert "Give it to those who verify" in desk.run(generate)
    desk.printed("key", "export")


def test_what_the_demo_prints_verifies_its_package(desk: Desk) -> None:
    (again,) = desk.printed("demo")
    (verify,) = commands_in(desk.run(again))
    assert (desk.folder / "demo" / "audit-package.json").is_file()
    assert "L3" in desk.run(verify)


def test_doctors_advice_is_a_command(desk: Desk) -> None:
    request_id: str = data_of(desk.tools.request(goal="g", actor=ALICE))["request_id"]
    backup = desk.folder / "backup"
    shutil.copy(desk.database, backup)
    damage(desk.database, "UPDATE projections SET goal = 'x'")
    (rebuild,) = desk.printed("doctor", code=3)
    assert "Whole." in desk.run(rebuild)

    data_of(desk.tools.deny(request_id, actor=BOB, reason="no"))
    shutil.copy(backup, desk.database)
    (accept,) = desk.printed("doctor", code=3)
    assert "The log records" in desk.run(accept)

    checkpoint = Path(f"{desk.database}.checkpoint")
    checkpoint.mkdir()
    (again,) = desk.printed("doctor", code=3)
    checkpoint.rmdir()
    assert "Whole." in desk.run(again)


def damage(database: Path, statement: str) -> None:
    with sqlite3.connect(database) as connection, without_triggers(connection):
        connection.execute(statement)
    connection.close()


@pytest.mark.sample(4)
@pytest.mark.parametrize("python_path", [None, "", ".", ":", ":/nowhere"])
@pytest.mark.parametrize("host", [*BY_COMMAND, *BY_FILE])
def test_a_registered_server_imports_nothing_of_the_folder_that_it_is_started_in(
    host: str, python_path: str | None, desk: Desk
) -> None:
    """The host's program stands for itself: it starts what was registered, and ends its input at once."""
    arguments = ("install", "--host", host, "--db", str(desk.database))
    printed = nexus_control(*arguments, changes={"PYTHONPATH": ""}).stdout
    if host in BY_COMMAND:
        programs = desk.home / "bin"
        programs.mkdir()
        program = programs / shlex.split(printed)[0]
        program.write_text('#!/bin/sh\nwhile [ "$1" != -- ]; do shift; done; shift; exec "$@" </dev/null\n')
        program.chmod(0o755)
        path = f"{programs}{os.pathsep}{os.environ['PATH']}"
        line = printed.strip()
    else:
        (server,) = next(iter(json.loads(printed).values())).values()
        path, line = os.environ["PATH"], f"{shlex.join([server['command'], *server['args']])} </dev/null"
    changes = {} if python_path is None else {"PYTHONPATH": python_path}
    desk.run(line, changes={"PATH": path, **changes})
    assert desk.database.exists()


def test_the_attackers_folder_would_be_imported_without_the_launchers_options(desk: Desk) -> None:
    """What the tests here rely on."""
    for options, known in (([], {}), (["-P"], {"PYTHONPATH": "."})):
        subprocess.run(
            [sys.executable, *options, "-m", "nexus_control"], cwd=desk.elsewhere, env=known, check=False
        )
        assert desk.imported.exists()
        desk.imported.unlink()


def test_where_the_package_lies_on_pythonpath_that_is_not_kept_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONPATH", raising=False)
    assert command() == LAUNCHER
    monkeypatch.setenv("PYTHONPATH", f"/nowhere:{Path(__file__).parent.parent.parent}")
    assert command() == [each for each in LAUNCHER if each != "-E"]


@pytest.mark.parametrize("word", ["a\x1b[2Jb", "a\nb", "a\u202eb", "a\u00a0b", "\udcffb", "it's\tso%s\\"])
def test_what_does_not_print_is_spelled_and_reaches_the_command_as_it_is(word: str) -> None:
    line = shell_line(["printf", "%s", word])
    assert line.isprintable()
    assert subprocess.run(["sh", "-c", line], capture_output=True, check=True).stdout == os.fsencode(word)


@pytest.mark.parametrize("word", ["a\n", "\n", "a b\n\n", "a\x1b\nb\n", "it's\n"])
def test_line_ends_at_the_end_of_a_word_are_kept(word: str) -> None:
    line = shell_line(["printf", "%s", word, "c"])
    assert subprocess.run(["sh", "-c", line], capture_output=True, check=True).stdout == os.fsencode(
        f"{word}c"
    )
    assert line.replace("\n", "").isprintable()


@pytest.mark.parametrize(
    ("place", "shown"),
    [
        ("postgresql://u:p@h/db", "postgresql://u@h/db"),
        ("postgresql://u:p:w/x?y#z@q@h:5432/db", "postgresql://u@h:5432/db"),
        ("postgresql://:p@h/db", "postgresql://@h/db"),
        ("postgresql://h/db?user=u&password=p&sslmode=x", "postgresql://h/db?user=u&sslmode=x"),
        ("postgresql://h/db?user=u;password=p;q", "postgresql://h/db?user=u;"),
        ("postgresql://u@h/db", "postgresql://u@h/db"),
        ("/srv/a:b@c.db", "/srv/a:b@c.db"),
    ],
)
def test_no_password_of_a_url_is_printed(place: str, shown: str) -> None:
    assert without_password(place) == shown
    assert shlex.split(approving("id", place, signed=False))[-1] == shown


def test_a_url_with_a_password_is_printed_by_no_command() -> None:
    url = "postgresql://u:hunter2@h/db"
    for arguments in (
        ("doctor",),
        ("list",),
        ("install", "--host", "cursor"),
        ("install", "--host", "codex"),
    ):
        ran = nexus_control(*arguments, "--db", url)
        assert "hunter2" not in ran.stdout + ran.stderr
