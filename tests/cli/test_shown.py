"""What a reviewer at a terminal is shown, and that only this is what they decide."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import TypeAlias

import pytest

from nexus_control import NexusControlTools
from tests.cli.office import Office, by
from tests.cli.running import Commands, at_a_terminal, environment
from tests.evidence.ssh import NAMESPACE, keygen, needs_ssh_keygen
from tests.support.governed import data_of
from tests.support.swapping import OTHER_GOAL, Swap

CONFIG = """
[adapters.files]
kind = "subprocess"
capabilities = ["apply", "dry_run"]
timeout_seconds = 7
max_output_bytes = 4321
env = { REGION = "eu-secret-1" }
[adapters.files.tools.write]
argv = ["sh", "-c", 'printf "%s" "$1" > "$2"', "sh", "{text}", "{file}"]
dry_run_argv = ["echo", "would write", "{file}"]
[adapters.files.tools.log]
argv = ["logger", "--", "{text}"]
"""
ARGV = """sh -c 'printf "%s" "$1" > "$2"' sh 'two words' out.txt"""
BINDING = ("--adapter", "subprocess:files", "--config", "adapters.toml")
REASONS = {
    "approve": (),
    "deny": ("--reason", "no"),
    "revoke": ("--reason", "no"),
    "withdraw": ("--reason", "no"),
}


def step(method: str, **args: str) -> dict[str, object]:
    call = {"tool": "files", "method": method, "args": args}
    return {"step_id": f"do-{method}", "intent": method, "call": call}


def requested(folder: Path, *options: str) -> str:
    (folder / "adapters.toml").write_text(CONFIG)
    plan = json.dumps([step("write", text="two words", file="out.txt"), step("log", text="done")])
    given = ("request", "write it", "--mode", "apply", "--as", "human:alice", "--plan", plan, *options)
    config = [str(folder / word) if word == "adapters.toml" else word for word in given]
    return Commands(folder).answer(*config)["request_id"]


def reviewed(folder: Path, request_id: str, *options: str) -> str:
    """What is shown to somebody who says no."""
    database = ("--db", str(folder / "store.db"))
    return at_a_terminal("approve", request_id, *options, *database, typed="n\n", folder=folder).stdout


def written_to(folder: Path, request_id: str) -> int:
    tools = NexusControlTools(db_path=folder / "store.db")
    return len(data_of(tools.status(request_id, include_events=True))["events"])


@pytest.mark.sample(1)
@pytest.mark.parametrize("command", REASONS)
def test_what_takes_the_place_of_a_request_while_somebody_reads_it_is_not_decided(
    command: str, tmp_path: Path
) -> None:
    request_id = requested(tmp_path)
    tools = NexusControlTools(db_path=tmp_path / "store.db")
    if command == "revoke":
        data_of(tools.approve(request_id, {"type": "human", "id": "alice"}))
    swap = Swap.of(tools, request_id)
    given = (request_id, "--as", "human:alice", *REASONS[command], "--db", str(tmp_path / "store.db"))
    ended = at_a_terminal(command, *given, typed="y\n", meanwhile=swap.to_other)
    assert (ended.returncode, "BASIS_CHANGED" in ended.stdout) == (1, True), ended.stdout
    assert OTHER_GOAL not in ended.stdout
    assert written_to(tmp_path, request_id) == (3 if command == "revoke" else 2)


@needs_ssh_keygen
@pytest.mark.parametrize("swapped_back", [False, True], ids=["it stays", "and is taken away again"])
def test_a_statement_of_something_else_than_the_terminal_shows_is_refused_before_anybody_is_asked(
    swapped_back: bool, tmp_path: Path
) -> None:
    office = Office(tmp_path)
    key, request_id, file = office.key("bob"), office.requested(), tmp_path / "approval.json"
    swap = Swap.of(NexusControlTools(db_path=office.database), request_id).made_by_imports()
    office.run("statement", request_id, *by("bob")[1:], "-o", str(file))
    assert keygen("-Y", "sign", "-f", key, "-n", NAMESPACE, file).returncode == 0
    swap.to_other()
    signing = (
        "--signature",
        f"{file}.sig",
        "--allowed-signers",
        str(office.signers),
        "--db",
        office.database,
    )
    refused = at_a_terminal("approve", request_id, *by("bob")[1:], *signing, typed="y\n")
    assert (refused.returncode, "BASIS_CHANGED" in refused.stdout) == (1, True), refused.stdout
    assert OTHER_GOAL in refused.stdout
    assert "[y/N]" not in refused.stdout
    if swapped_back:
        swap.back()
        good = at_a_terminal("approve", request_id, *by("bob")[1:], *signing, typed="y\n")
        assert good.returncode == 0, good.stdout
    assert office.written_to(request_id) == int(swapped_back)


@needs_ssh_keygen
def test_a_signature_made_here_is_of_what_was_shown_also_when_something_else_is_there_for_a_moment(
    tmp_path: Path,
) -> None:
    office = Office(tmp_path)
    key, request_id = office.key("bob"), office.requested()
    swap = Swap.of(NexusControlTools(db_path=office.database), request_id).made_by_imports()
    given = ("--sign", str(key), "--allowed-signers", str(office.signers), "--db", office.database)

    def there_and_back() -> None:
        swap.to_other()
        swap.back()

    good = at_a_terminal("approve", request_id, *by("bob")[1:], *given, typed="y\n", meanwhile=there_and_back)
    assert good.returncode == 0, good.stdout
    stored = office.events(request_id)[-1]["payload"]["signed"]["statement"]
    assert json.loads(stored)["basis"]["chain"] in good.stdout


def test_a_reviewer_sees_each_command_where_it_runs_and_its_limits_but_no_values_of_the_environment(
    tmp_path: Path,
) -> None:
    request_id = requested(tmp_path, *BINDING)
    shown = reviewed(tmp_path, request_id, "--config", "adapters.toml")
    for expected in (
        f"     applied: {ARGV}\r\n",
        "     rehearsed: echo 'would write' out.txt\r\n",
        "     applied: logger -- done\r\n",
        "     rehearsed: nothing is run\r\n",
        f"     in {tmp_path}; environment: LANG, ",
        "REGION; limits: 7 seconds, 4321 bytes of output kept",
        "  Adapter: subprocess:files\r\n",
        'files.write(text="two words", file="out.txt")',
    ):
        assert expected in " ".join(shown.split("\r\n       ")), shown
    assert "eu-secret-1" not in shown
    assert shown.count("environment:") == 1


@pytest.mark.sample(2)
@pytest.mark.parametrize("typed", ["?\nn\n", "more\nn\n", "n\n"])
def test_what_is_too_long_for_the_screen_is_counted_beside_the_question_and_shown_on_request(
    typed: str, tmp_path: Path
) -> None:
    lines = "\n".join(f"line {number} of the text" for number in range(50))
    long = Commands(tmp_path).answer("request", "tidy up " + "x" * 1000, "--plan", lines)["request_id"]
    database = ("--db", str(tmp_path / "store.db"))
    shown = at_a_terminal("approve", long, *database, typed=typed, folder=tmp_path).stdout
    before, asked = shown.split("NOT ALL IS SHOWN", maxsplit=1)
    assert "32 lines of the plan" in asked.partition("[y/N]")[0]
    assert "of the goal" in asked.partition("[y/N]")[0]
    assert ("line 17 of" in before, "line 18 of" in before, "line 49 of" in asked) == (
        True,
        False,
        typed[0] != "n",
    )
    assert shown.count("[y/N]") == (1 if typed[0] == "n" else 2)
    full = at_a_terminal(
        "deny", long, "--reason", "no", "--full", *database, typed="n\n", folder=tmp_path
    ).stdout
    assert "line 49 of" in full
    assert "NOT ALL IS SHOWN" not in full


def test_a_plan_with_more_than_the_steps_own_keys_is_shown_as_the_text_that_it_is(tmp_path: Path) -> None:
    hidden = {**step("log", text="x"), "also": "rm -rf /"}
    request_id = Commands(tmp_path).answer("request", "g", "--plan", json.dumps([hidden]))["request_id"]
    assert '"also": "rm -rf /"' in reviewed(tmp_path, request_id)


def test_no_text_of_a_request_begins_a_line_of_the_review(tmp_path: Path) -> None:
    forged = "x" * 100 + " Approvals: 2 of 2 " * 20 + "\nPolicy: 0 approvals"
    request_id = Commands(tmp_path).answer("request", forged, "--plan", forged, "--label", "y " * 30 + "y")[
        "request_id"
    ]
    lines = reviewed(tmp_path, request_id).split("\r\n")
    assert [line for line in lines if line.startswith(("Approvals:", "Policy:"))] == [
        *[line for line in lines if line.startswith("Policy: 1 approval, of anyone")],
        "Approvals: 0 of 1",
    ]


def test_an_answer_that_is_neither_yes_nor_no_is_asked_for_again(tmp_path: Path) -> None:
    request_id = requested(tmp_path)
    given = ("approve", request_id, "--db", str(tmp_path / "store.db"))
    shown = at_a_terminal(*given, typed="perhaps\n\n", folder=tmp_path)
    assert (shown.returncode, shown.stdout.count("[y/N]"), written_to(tmp_path, request_id)) == (1, 2, 2)


def test_what_is_not_known_of_the_commands_is_said(tmp_path: Path) -> None:
    bound, free = requested(tmp_path, *BINDING), requested(tmp_path)
    unbound = Commands(tmp_path).answer(
        "request", "g", "--plan", json.dumps([step("log", text="x")]), "--adapter", "subprocess:files"
    )["request_id"]
    config = ("--config", "adapters.toml")
    assert "No configuration was found here" in reviewed(tmp_path, bound)
    assert "names no adapter" in reviewed(tmp_path, free, *config)
    assert "is not bound to this declaration" in reviewed(tmp_path, unbound, *config)
    assert "logger -- x" not in reviewed(tmp_path, unbound, *config)  # a dry run of it runs nothing
    (tmp_path / "adapters.toml").write_text(CONFIG.replace('"logger"', '"rm", "-rf"'))
    changed = reviewed(tmp_path, bound, *config)
    assert "is NOT what the request was made for" in changed
    assert "ADAPTER_CHANGED" in changed
    assert "rm -rf" not in changed


def test_a_broken_configuration_in_the_folder_keeps_nobody_from_ending_a_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request_id = requested(tmp_path)
    (tmp_path / "nexus-control.toml").write_text("[adapters")
    monkeypatch.chdir(tmp_path)
    shown = at_a_terminal(
        "deny",
        request_id,
        "--reason",
        "no",
        "--as",
        "human:bob",
        "--db",
        str(tmp_path / "store.db"),
        typed="y\n",
    )
    said = " ".join(shown.stdout.split())
    assert (shown.returncode, "is not TOML" in said, "This file is not used" in said) == (0, True, True), said


def test_inspect_shows_the_commands_where_a_configuration_is_at_hand(tmp_path: Path) -> None:
    request_id = requested(tmp_path, *BINDING)
    commands = Commands(tmp_path)
    shown = commands.run("inspect", request_id, "--config", str(tmp_path / "adapters.toml"))
    assert f"\n{ARGV}\n" in shown.partition("## What will run")[2]
    assert "## What will run" not in commands.run("inspect", request_id)


def test_what_a_rehearsal_gave_back_is_shown_in_the_review_and_in_inspect(tmp_path: Path) -> None:
    request_id, commands = requested(tmp_path, *BINDING), Commands(tmp_path)
    config = ("--config", str(tmp_path / "adapters.toml"))
    commands.run("approve", request_id, "--yes", "--as", "human:bob")
    commands.run("execute", request_id, "--adapter", "subprocess:files", *config, "--dry-run")
    inspected, shown = commands.run("inspect", request_id), reviewed(tmp_path, request_id)
    assert "do-write: rehearsed, exit code 0" in inspected.partition("## Execution")[2]
    assert "\nwould write out.txt\n" in inspected.partition("## Execution")[2]
    assert "Quorum met: Quorum" not in inspected
    assert "do-write: rehearsed, exit code 0\r\n    would write out.txt\r\n" in shown


def test_padding_does_not_push_the_end_of_a_plan_out_of_sight(tmp_path: Path) -> None:
    plan = f"1. look{' ' * 5000}2. delete{chr(10) * 3000}3. the end"
    request_id = requested(tmp_path, "--label", "x")
    padded = Commands(tmp_path).answer("request", f"tidy{' ' * 4000}up", "--plan", plan)["request_id"]
    plain, shown = reviewed(tmp_path, request_id), reviewed(tmp_path, padded)
    for expected in (
        "look … 5000 blanks … 2. delete",
        "… 2999 empty lines …",
        "3. the end",
        "tidy … 4000 blanks … up",
    ):
        assert expected in shown, shown
    assert shown.count("\n") < plain.count("\n") + 10


def test_who_cannot_see_the_request_cannot_answer(tmp_path: Path) -> None:
    request_id = requested(tmp_path)
    ours, theirs = pty.openpty()
    os.write(ours, b"y\n")
    approve = ("approve", request_id, "--db", str(tmp_path / "store.db"))
    ended = subprocess.run(
        [sys.executable, "-m", "nexus_control", *approve],
        env=environment(),
        stdin=theirs,
        stdout=theirs,
        stderr=subprocess.DEVNULL,
        timeout=240,
    )
    os.close(theirs)
    os.close(ours)
    assert (ended.returncode, written_to(tmp_path, request_id)) == (2, 2)


Refused: TypeAlias = tuple[str, tuple[str, ...], tuple[str, ...], str]
ASKED_FOR = ("--requester-may-approve", "--approver", "alice", "--approver", "bob", "--min-approvals", "2")
REFUSED: dict[str, Refused] = {
    "a stranger approves": ("approve", ASKED_FOR, ("--as", "human:eve"), "NOT_ELIGIBLE"),
    "a stranger denies": ("deny", ASKED_FOR, ("--as", "human:eve"), "NOT_ELIGIBLE"),
    "the requester": ("approve", ("--no-requester-may-approve",), (), "REQUESTER_MAY_NOT_APPROVE"),
    "too weakly": ("approve", ("--min-assurance", "signed"), (), "ASSURANCE_TOO_LOW"),
    "nothing to revoke": ("revoke", ASKED_FOR, (), "NO_ACTIVE_APPROVAL"),
    "another's request": ("withdraw", ASKED_FOR, ("--as", "human:bob"), "NOT_REQUESTER"),
    "an approval in the past": ("approve", ASKED_FOR, ("--expires-at", "2001-01-01T00:00:00Z"), "--expires-at"),
    "an empty reason": ("deny", ASKED_FOR, ("--reason", ""), "--reason"),
}  # fmt: skip


@pytest.mark.sample(3)
@pytest.mark.parametrize("case", REFUSED)
def test_who_may_not_decide_is_told_so_before_anything_is_shown_or_asked(case: str, tmp_path: Path) -> None:
    command, policy, options, code = REFUSED[case]
    request_id = requested(tmp_path, *policy)
    given = (
        request_id,
        "--as",
        "human:alice",
        *REASONS[command],
        *options,
        "--db",
        str(tmp_path / "store.db"),
    )
    shown = at_a_terminal(command, *given, typed="y\n", folder=tmp_path).stdout
    assert (code in shown, "Plan" in shown, "[y/N]" in shown) == (True, False, False), shown
    assert ("--sign KEY" in " ".join(shown.split())) == (code == "ASSURANCE_TOO_LOW")
    assert written_to(tmp_path, request_id) == 2


@pytest.mark.parametrize("command", ["approve", "deny", "withdraw"])
def test_an_ended_request_is_not_shown_to_decide_on(command: str, tmp_path: Path) -> None:
    request_id, database = requested(tmp_path), ("--db", str(tmp_path / "store.db"))
    Commands(tmp_path).run("deny", request_id, "--reason", "no", "--yes", "--as", "human:bob")
    given = (request_id, "--as", "human:alice", *REASONS[command], *database)
    shown = at_a_terminal(command, *given, typed="y\n", folder=tmp_path).stdout
    assert ("INVALID_STATE" in shown, "[y/N]" in shown) == (True, False), shown


@pytest.mark.parametrize("command", ["approve", "deny"])
def test_what_was_typed_before_the_question_does_not_answer_it(command: str, tmp_path: Path) -> None:
    request_id = requested(tmp_path)
    given = (request_id, *REASONS[command], "--db", str(tmp_path / "store.db"))
    shown = at_a_terminal(command, *given, ahead="y\ny\n", folder=tmp_path)
    assert (shown.returncode, "You answered no" in shown.stdout) == (1, True), shown.stdout
    assert written_to(tmp_path, request_id) == 2


VERDICTS = [
    ("approve", 2, "It waits for 2 approvals; yours would be one of them."),
    ("approve", 1, "It waits for 1 approval; yours would be the last: then it can be executed."),
    ("deny", 1, "It waits for 1 approval."),
]


@pytest.mark.parametrize(("command", "wanted", "said"), VERDICTS)
def test_an_approver_reads_what_their_approval_would_do(
    command: str, wanted: int, said: str, tmp_path: Path
) -> None:
    request_id = requested(tmp_path, "--min-approvals", str(wanted))
    given = (request_id, *REASONS[command], "--db", str(tmp_path / "store.db"))
    shown = at_a_terminal(command, *given, typed="n\n", folder=tmp_path).stdout
    assert f"\r\n{said}\r\nGoal: write it\r\n" in shown, shown


def rehearsing(folder: Path) -> tuple[str, str]:
    """A request that people approve by its rehearsal, and its database."""
    (folder / "source.txt").write_text("old keys\n")
    config = CONFIG.replace('["echo", "would write", "{file}"]', '["cat", "source.txt"]')
    (folder / "adapters.toml").write_text(config)
    plan = json.dumps([step("write", text="two words", file="out.txt")])
    given = ("--mode", "apply", "--as", "human:alice", "--require-rehearsal", "1h", "--plan", plan)
    asked = Commands(folder).answer("request", "write it", *given, *_bound(folder))
    return asked["request_id"], str(folder / "store.db")


def _bound(folder: Path) -> tuple[str, ...]:
    return ("--adapter", "subprocess:files", "--config", str(folder / "adapters.toml"))


def rehearse(folder: Path, request_id: str) -> None:
    config = ("--config", str(folder / "adapters.toml"))
    Commands(folder).answer("execute", request_id, "--dry-run", "--as", "system:ci", *config)


def test_a_reviewer_is_told_to_rehearse_first_and_is_not_asked_before(tmp_path: Path) -> None:
    request_id, database = rehearsing(tmp_path)
    refused = at_a_terminal("approve", request_id, "--db", database, typed="y\n", folder=tmp_path)
    said = " ".join(refused.stdout.split())
    assert (refused.returncode, "REHEARSAL_REQUIRED:" in said, "[y/N]" in said) == (1, True, False), said
    assert f"nexus-control execute {request_id} --dry-run" in said or "execute --dry-run" in said


def test_a_reviewer_sees_what_the_rehearsal_gave_back_and_that_the_approval_covers_it(tmp_path: Path) -> None:
    request_id, database = rehearsing(tmp_path)
    rehearse(tmp_path, request_id)
    good = at_a_terminal("approve", request_id, "--db", database, typed="y\n", folder=tmp_path)
    assert good.returncode == 0, good.stdout
    shown = " ".join(good.stdout.split())
    granted = NexusControlTools(db_path=database).store.get_events(request_id)[-1].payload
    for expected in (
        "The last rehearsal completed",
        "old keys",
        f"An approval covers what it gave back, digest {granted['rehearsal_digest']}.",
        "a rehearsal at most 1 hour old, before each approval",
    ):
        assert expected in shown


def test_a_rehearsal_that_comes_while_somebody_reads_another_one_is_not_approved(tmp_path: Path) -> None:
    request_id, database = rehearsing(tmp_path)
    rehearse(tmp_path, request_id)

    def again() -> None:
        (tmp_path / "source.txt").write_text("new keys\n")
        rehearse(tmp_path, request_id)

    given = ("approve", request_id, "--db", database)
    ended = at_a_terminal(*given, typed="y\n", folder=tmp_path, meanwhile=again)
    assert (ended.returncode, "BASIS_CHANGED" in ended.stdout) == (1, True), ended.stdout
    assert "new keys" not in ended.stdout
    assert NexusControlTools(db_path=database).status(request_id).data["total_approvals"] == 0
    good = at_a_terminal(*given, typed="y\n", folder=tmp_path)
    assert (good.returncode, "new keys" in good.stdout) == (0, True), good.stdout
