"""A URL's password is never printed, whatever becomes of a command."""

import logging
import os
import pty
import sys
import traceback
from pathlib import Path
from urllib.parse import quote

import pytest
from typer.testing import CliRunner

from nexus_control import NexusControlTools
from nexus_control.cli import at_work
from nexus_control.cli.hosting import HOSTS
from nexus_control.cli.main import app
from nexus_control.errors import NexusControlError
from tests.cli.running import nexus_control
from tests.cli.test_naming_a_store import MAKING, NEEDING
from tests.doors.place import Place, execution, requested
from tests.support.postgres import PASSWORD, Cluster

SECRET = "hunter2"
AWAY = f"postgresql://bob:{SECRET}@127.0.0.1:1/decisions"
ODD = (
    f"postgresql://bob:{SECRET}%zz@127.0.0.1:1/d",
    f"postgresql://bob:{SECRET}@[::1/d",
    f"postgresql://bob:a/{SECRET}@127.0.0.1:1/d",
    f"postgresql://bob:a@{SECRET}@127.0.0.1:1/d",
    f"postgresql://127.0.0.1:1/d?user=bob&password={SECRET}",
    f"postgresql://127.0.0.1:1/d?user=bob&p%61ssword={SECRET}",
    f"postgresql://127.0.0.1:1/d?user=bob&password={SECRET}&nothing=x",
    f"postgres://bob:{SECRET}@127.0.0.1:1/d/",
    f"postgresql://bob:{SECRET}@127.0.0.1:port/d",
    f"postgresql://bob@127.0.0.1:1/d?password=ab#{SECRET}",
    f'"postgresql://bob:{SECRET}@127.0.0.1:1/d"',
    f" postgresql://bob:{SECRET}@127.0.0.1:1/d",
    f"jdbc:postgresql://bob:{SECRET}@127.0.0.1:1/d",
    f"postgresql:/bob:{SECRET}@127.0.0.1:1/d",
    f"Postgresql://bob:{SECRET}@127.0.0.1:1/d",
    f"host=127.0.0.1 port=1 password = {SECRET}",
)


def said(*arguments: str) -> str:
    ran = CliRunner().invoke(app, [*arguments], prog_name="nexus-control")
    trace = "" if ran.exc_info is None else "".join(traceback.format_exception(*ran.exc_info))
    return ran.output + trace


@pytest.mark.parametrize("command", {**MAKING, **NEEDING}, ids=" ".join)
def test_no_command_prints_the_password_of_a_server_that_is_away(
    command: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nexus-control.toml").write_text("")
    (tmp_path / "bundle").write_text("{}")
    caplog.set_level(logging.DEBUG)
    given = [*command, *{**MAKING, **NEEDING}[command]]
    for options in (["--db", AWAY], ["--db", AWAY, "--log-folder", "log"]):
        for asked in ([], ["--json"]):
            shown = said(*options, *given, *([] if command == ("call",) else asked))
            refused_before = "pg_dump" in shown or "has a sink" in shown
            assert refused_before or "127.0.0.1:1/decisions" in "".join(shown.split())
            assert SECRET not in "".join(shown.split())
    assert SECRET not in caplog.text


@pytest.mark.parametrize("url", ODD)
@pytest.mark.parametrize(
    "command",
    [("list",), ("init",), ("install", "--host", "cursor"), ("config", "show"), ("doctor",)],
    ids=" ".join,
)
def test_a_url_that_is_none_is_refused_without_being_quoted(command: tuple[str, ...], url: str) -> None:
    for asked in ([], ["--json"]):
        assert SECRET not in "".join(said("--db", url, *command, *asked).split())


def test_processes_and_their_logs_print_no_password(tmp_path: Path) -> None:
    config = tmp_path / "settings.toml"
    config.write_text(f'database = "{AWAY}"\nlog_folder = "log"\n')
    for words in (
        ("serve", "--db", AWAY),
        ("serve", "--read-only", "--db", AWAY),
        ("config", "show", "--config", str(config)),
        ("serve", "--config", str(config)),
        ("migrate", "--from", AWAY, "--to", "x.db", "--log-folder", "log"),
        ("migrate", "--from", "x.db", "--to", AWAY, "--log-folder", "log"),
        ("adapter", "check", "--config", str(config), "--db", AWAY),
    ):
        ran = nexus_control(*words, folder=tmp_path, changes={"PYTHONDEVMODE": "1"})
        assert SECRET not in "".join((ran.stdout + ran.stderr).split()), words
    ran = nexus_control("list", folder=tmp_path, changes={"NEXUS_CONTROL_DB": AWAY})
    assert ran.returncode == 2
    assert SECRET not in ran.stdout + ran.stderr


def test_a_store_that_works_is_named_without_its_password_everywhere(
    cluster: Cluster, tmp_path: Path
) -> None:
    url, target = cluster.url(cluster.new_schema(), tcp=True), tmp_path / "target"
    options = ("--db", url, "--log-folder", str(tmp_path / "log"))
    place = Place(url, tmp_path / "log")
    shown = said(*options, "init") + said(*options, "init")
    assert f"127.0.0.1:{cluster.port}" in shown
    request_id = requested(place, target)
    for host in HOSTS.split(", "):
        registered = said(*options, "install", "--host", host)
        assert f"postgres@127.0.0.1:{cluster.port}" in registered
        shown += registered
    commands = [
        ("request", "g"),
        ("list",),
        ("status", request_id),
        ("inspect", request_id),
        ("config", "show"),
        ("doctor",),
        ("log", "checkpoint"),
        ("statement", request_id),
        ("backup", "x"),
        execution(request_id, tmp_path),
        ("status", request_id),
        ("recover",),
        ("call", "status", "--arguments", f'{{"request_id": "{request_id}"}}'),
        ("migrate", "--from", url, "--to", str(tmp_path / "b.db")),
        ("doctor",),
        ("execute", request_id, "--adapter", "x:y"),
    ]
    for command in commands:
        shown += said(*options, *command)
    assert "--accept-rollback" in shown
    assert PASSWORD not in shown


def test_a_terminal_is_told_what_is_being_checked_without_the_password(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = cluster.url(cluster.new_schema(), tcp=True)
    options = ("--db", url, "--log-folder", str(tmp_path / "log"))
    said(*options, "init")
    monkeypatch.setattr(at_work, "_FIRST", 0)
    ours, theirs = pty.openpty()
    with open(theirs, "w", encoding="utf-8") as terminal:  # noqa: PTH123 - a descriptor
        monkeypatch.setattr(sys, "stderr", terminal)
        app([*options, "doctor", "--json"], prog_name="nexus-control", standalone_mode=False)
        terminal.flush()
        shown = os.read(ours, 65536).decode()
    os.close(ours)
    assert f"Still checking postgresql://postgres@127.0.0.1:{cluster.port}" in " ".join(shown.split())
    assert PASSWORD not in "".join(shown.split())


def test_a_printed_command_says_where_a_password_may_lie(cluster: Cluster, tmp_path: Path) -> None:
    url = cluster.url(cluster.new_schema(), tcp=True)
    ran = nexus_control("request", "g", "--db", url, "--log-folder", "log", folder=tmp_path)
    assert "~/.pgpass" in ran.stderr
    assert "approve" in ran.stdout
    assert PASSWORD not in ran.stdout + ran.stderr


def test_no_exception_of_the_facade_shows_the_password() -> None:
    for url in (AWAY, *ODD):
        try:
            NexusControlTools(url, busy_timeout=2)
        except NexusControlError as fault:
            shown = "".join(traceback.format_exception(fault)) + repr(fault) + str(fault.details)
            assert SECRET not in shown
            assert quote(SECRET) not in shown
        else:
            raise AssertionError(url)
