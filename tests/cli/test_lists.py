"""`list` for programs, and `list --watch`; how it looks is in tests/cli/screens."""

import os
import pty
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from nexus_control import NexusControlTools
from nexus_control.store import DecisionStore
from tests.cli.running import Commands, environment, nexus_control
from tests.support.governed import ALICE, BOB, data_of


@pytest.fixture
def commands(tmp_path: Path) -> Commands:
    return Commands(tmp_path)


@contextmanager
def office(commands: Commands) -> Generator[NexusControlTools]:
    with DecisionStore(commands.folder / commands.database) as store:
        yield NexusControlTools(store)


def records(commands: Commands, *options: str) -> list[list[str]]:
    return [line.split("\t") for line in commands.run("list", *options).splitlines()]


def test_a_pipe_gets_nine_columns_and_no_header(commands: Commands) -> None:
    with office(commands) as tools:
        asked = data_of(tools.request("Rotate", ALICE, mode="apply", min_approvals=2))
        data_of(tools.approve(asked["request_id"], BOB))
    (line,) = commands.answer("list")["requests"]
    expected = [line["request_id"], line["created_at"], "pending_approval", "1/2", "human:alice"]
    assert records(commands) == [[*expected, "apply", "local", "no", "Rotate"]]


def test_a_list_says_who_asked_to_cancel_a_run_and_when(commands: Commands) -> None:
    with office(commands) as tools:
        asked = data_of(tools.request("Rotate", ALICE, mode="apply"))["request_id"]
        data_of(tools.approve(asked, BOB))
        data_of(tools.claim(asked, "tool:rotate", BOB))
        cancelled = commands.answer("cancel", asked, "--reason", "wrong cluster", "--as", "human:alice")
        (record,) = records(commands)
        assert record[-1] == f"human:alice {cancelled['cancel']['ts']}"
        assert "asked by alice" in commands.run("status", asked)
        assert "nothing here can stop it" in " ".join(
            commands.run("cancel", asked, "--reason", "now").split()
        )


@pytest.mark.parametrize(
    ("goal", "column"),
    [
        ("a\nb", r"a\nb"),
        ("a\tb", r"a\tb"),
        (r"a\nb", r"a\\nb"),
        ("a\rb\x1b[2J", r"a\rb\x1b[2J"),
        ("a" + " " * 100 + "b", "a" + " " * 100 + "b"),
    ],
)
def test_a_goal_is_one_column_of_one_line(goal: str, column: str, commands: Commands) -> None:
    with office(commands) as tools:
        data_of(tools.request(goal, ALICE))
    ((*_, shown),) = records(commands)
    assert shown == column


def test_a_pipe_gets_nothing_where_there_are_no_requests(commands: Commands) -> None:
    with office(commands):
        pass
    assert commands.run("list") == ""


def test_the_next_page_is_named_on_standard_error(commands: Commands) -> None:
    with office(commands) as tools:
        for number in range(3):
            data_of(tools.request(f"goal {number}", ALICE))
    place = str(commands.folder / commands.database)
    first = nexus_control("list", "--limit", "2", "--text", "goal", "--db", place)
    assert [line.split("\t")[-1] for line in first.stdout.splitlines()] == ["goal 2", "goal 1"]
    *_, printed = first.stderr.splitlines()
    then = subprocess.run(
        printed, shell=True, env=environment(), capture_output=True, text=True, encoding="utf-8", timeout=240
    )
    assert [line.split("\t")[-1] for line in then.stdout.splitlines()] == ["goal 0"]


@pytest.mark.parametrize(
    ("options", "goals"),
    [
        (("--executable",), ["approved"]),
        (("--state", "approved"), ["approved"]),
        (("--text", "PEND"), ["pending"]),
        (("--since", "2100-01-01T00:00:00Z"), []),
        (("--since", "4h"), ["pending", "approved"]),
        (("--requester", "alice"), ["pending", "approved"]),
        (("--mine", "--as", "human:bob"), ["pending"]),
        (("--label", "x"), ["approved"]),
    ],
)
def test_a_list_is_filtered(options: tuple[str, ...], goals: list[str], commands: Commands) -> None:
    with office(commands) as tools:
        approved = data_of(tools.request("approved", ALICE, labels=["x"]))["request_id"]
        data_of(tools.approve(approved, BOB))
        data_of(tools.request("pending", ALICE))
    assert [record[-1] for record in records(commands, *options)] == goals


@pytest.mark.parametrize("since", ["yesterday", "", "99999999999d", "2026-01-01"])
def test_a_time_that_names_no_instant_is_refused(since: str, commands: Commands) -> None:
    commands.run("request", "g")
    refused = commands.answer("list", "--since", since, code=2)
    assert [each["field"] for each in refused["details"]["fields"]] == ["--since"]


def test_watching_is_not_for_one_document(commands: Commands) -> None:
    commands.run("request", "g")
    assert commands.answer("list", "--watch", code=2)["code"] == "INVALID_ARGUMENT"


@contextmanager
def watching(commands: Commands, stdout: int) -> Generator["subprocess.Popen[str]"]:
    """`list --watch`, killed at the end of the block if it still runs."""
    place = str(commands.folder / commands.database)
    words = [sys.executable, "-m", "nexus_control", "list", "--watch", "--db", place]
    with subprocess.Popen(
        words,
        env=environment(TERM="xterm"),
        stdout=stdout,
        stdin=subprocess.DEVNULL,
        text=True,
        encoding="utf-8",
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def test_watching_in_a_pipe_appends_what_changes_until_ctrl_c(commands: Commands) -> None:
    with office(commands) as tools:
        first = data_of(tools.request("first", ALICE))["request_id"]
        with watching(commands, subprocess.PIPE) as process:
            assert process.stdout is not None
            shown = [process.stdout.readline().split("\t")[2]]
            data_of(tools.approve(first, BOB))
            shown.append(process.stdout.readline().split("\t")[2])
            data_of(tools.request("second", ALICE))
            last = process.stdout.readline()
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 130
            assert process.stdout.read() in (
                "",
                last,
            )  # a line that is interrupted while it is written is repeated
    assert shown == ["pending_approval", "approved"]
    assert last.endswith("\tsecond\n")


def test_watching_ends_as_cat_does_when_its_reader_is_gone(commands: Commands) -> None:
    with office(commands) as tools:
        data_of(tools.request("first", ALICE))
        with watching(commands, subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            process.stdout.close()
            assert process.wait(60) == -signal.SIGPIPE


def test_watching_on_a_terminal_draws_the_list_again(commands: Commands) -> None:
    ours, theirs = pty.openpty()
    with office(commands) as tools:
        data_of(tools.request("first", ALICE))
        with watching(commands, theirs) as process:
            os.close(theirs)
            shown = b""
            while b"Ctrl-C ends." not in shown:
                shown += os.read(ours, 65536)
            assert b"first" in shown
            data_of(tools.request("second", ALICE))
            shown = b""
            while b"Ctrl-C ends." not in shown:
                shown += os.read(ours, 65536)
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 130
    os.close(ours)
    assert shown.startswith(b"\x1b[H\x1b[J")
    assert shown.index(b"second") < shown.index(b"first")


def test_cancel_chooses_the_one_execution_under_way_and_asks_for_a_reason_only_there(
    commands: Commands,
) -> None:
    with office(commands) as tools:
        asked = data_of(tools.request("Rotate", ALICE, mode="apply"))["request_id"]
        assert commands.answer("cancel", asked, code=1)["code"] == "INVALID_STATE"
        assert commands.answer("cancel", code=1)["code"] == "DECISION_NOT_FOUND"
        data_of(tools.approve(asked, BOB))
        data_of(tools.claim(asked, "tool:rotate", BOB))
        assert "--reason is needed" in commands.answer("cancel", code=2)["message"]
        shown = commands.run("status", asked)
        assert "recover" not in shown
        assert commands.answer("cancel", "--reason", "no", "--as", "human:alice")["request_id"] == asked
