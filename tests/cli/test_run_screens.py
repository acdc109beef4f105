"""What execute and recover show of the steps of a run."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from nexus_control.configuration import FILE_NAME
from tests.cli.running import Commands, environment, nexus_control

DECLARED = """
[adapters.files]
kind = "subprocess"
capabilities = ["apply", "dry_run"]
[adapters.files.tools.say]
argv = ["sh", "-c", 'echo "$1"; exit "$2"', "sh", "{text}", "{code}"]
[adapters.files.tools.wait]
argv = ["sh", "-c", 'echo begun > "$1"; sleep 60', "sh", "{file}"]
"""


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Commands:
    monkeypatch.chdir(tmp_path)
    (tmp_path / FILE_NAME).write_text(DECLARED)
    return Commands(tmp_path)


def approved(commands: Commands, *calls: tuple[str, Mapping[str, object]]) -> str:
    plan = [
        {"step_id": f"s{n}", "intent": "i", "call": {"tool": "files", "method": method, "args": args}}
        for n, (method, args) in enumerate(calls, start=1)
    ]
    asked = ("request", "g", "--mode", "apply", "--plan", json.dumps(plan))
    request_id: str = commands.answer(*asked)["request_id"]
    commands.run("approve", request_id, "--yes")
    return request_id


def test_execute_shows_what_each_step_gave_back_and_needs_no_id(commands: Commands) -> None:
    approved(commands, ("say", {"text": "hello", "code": 0}))
    shown = commands.run("execute")
    assert "1 step." in " ".join(shown.split())
    assert "s1: ok, exit code 0\n    hello\n" in shown


def test_a_failed_run_shows_how_far_it_came(commands: Commands) -> None:
    hello, failing = {"text": "hello", "code": 0}, {"text": "oops", "code": 3}
    request_id = approved(commands, ("say", hello), ("say", failing))
    ran = nexus_control("execute", request_id, "--db", str(commands.folder / commands.database))
    assert (ran.returncode, ran.stdout) == (1, "")
    steps, _, refusal = ran.stderr.partition("ROUTER_ERROR")
    assert "s1: ok, exit code 0\n    hello\n" in steps
    assert "s2: failed, exit code 3" in steps
    assert "    oops\n" in steps
    assert "exited with code 3" in " ".join(refusal.split())


def test_recover_names_the_run_its_finished_steps_and_how_to_settle_it(commands: Commands) -> None:
    begun = commands.folder / "begun"
    os.mkfifo(begun)
    approved(commands, ("say", {"text": "hello", "code": 0}), ("wait", {"file": str(begun)}))
    words = ["execute", "--db", str(commands.folder / commands.database)]
    with subprocess.Popen(
        [sys.executable, "-m", "nexus_control", *words], env=environment(), stderr=subprocess.DEVNULL
    ) as process:
        assert begun.read_text() == "begun\n"  # the second step is under way
        process.send_signal(signal.SIGKILL)
    shown = commands.run("recover")
    assert "1 execution given up" in shown
    assert "1 step of it ended" in " ".join(shown.split())
    assert "s1: ok, exit code 0\n    hello\n" in shown
    run_id = shown.partition("ran as")[2].split(";")[0].strip()
    assert f"--run-id {run_id}" in shown
    commands.run("reconcile", "--outcome", "failed", "--evidence", "looked")
    assert commands.answer("status")["state"] == "failed"
