"""Commands that wait for a request, and that follow the events of a store."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from nexus_control import NexusControlTools
from tests.cli.running import Commands, at_a_terminal
from tests.cli.test_interrupting import begun
from tests.support.governed import ALICE, BOB, approved, data_of


@pytest.fixture
def tools(tmp_path: Path) -> NexusControlTools:
    return NexusControlTools(db_path=tmp_path / "store.db")


@pytest.fixture
def commands(tmp_path: Path) -> Commands:
    return Commands(tmp_path)


def asked(tools: NexusControlTools, goal: str = "Rotate the keys") -> str:
    return data_of(tools.request(goal, ALICE, mode="apply"))["request_id"]


def next_event(process: "subprocess.Popen[str]") -> dict[str, Any]:
    assert process.stdout is not None
    return json.loads(process.stdout.readline())


def types(lines: str) -> list[str]:
    return [json.loads(line)["event_type"] for line in lines.splitlines()]


def test_who_waits_for_a_state_that_is_there_gets_the_status_at_once(
    tools: NexusControlTools, commands: Commands
) -> None:
    request_id = approved(tools)
    answer = commands.answer("wait", request_id)
    assert (answer["state"], answer["timed_out"], answer["active_approvals"]) == ("approved", False, 1)
    assert "approved Rotate the keys" in commands.run("wait", request_id[:8], "--until", "approved")


def test_a_wait_whose_time_is_up_ends_with_1_and_answers_the_status(
    tools: NexusControlTools, commands: Commands
) -> None:
    request_id = asked(tools)
    answer = commands.answer("wait", "--timeout", "1s", code=1)  # the only request that is under way
    assert (answer["request_id"], answer["state"], answer["timed_out"]) == (
        request_id,
        "pending_approval",
        True,
    )
    assert "The time is up." in commands.run("wait", request_id, "--timeout", "1s", code=1)


def test_a_wait_ends_when_another_process_approves(tools: NexusControlTools, tmp_path: Path) -> None:
    request_id = asked(tools)
    with begun(tmp_path, "wait", request_id, "--json") as process:
        data_of(tools.approve(request_id, BOB))
        assert process.stdout is not None
        assert json.loads(process.stdout.read())["state"] == "approved"
        assert process.wait(240) == 0


def test_at_a_terminal_a_wait_tells_where_the_request_stands(
    tools: NexusControlTools, tmp_path: Path
) -> None:
    request_id = asked(tools)
    shown = at_a_terminal("wait", request_id, "--db", str(tmp_path / "store.db"), "--timeout", "1s").stdout
    assert shown.count("Still pending_approval: 0 of 1 approval.") == 1


@pytest.mark.parametrize(
    "options", [("--timeout", "soon"), ("--timeout", "2d"), ("--until", "aproved")], ids=" ".join
)
def test_a_wait_for_what_cannot_be_is_a_fault_of_usage(
    tools: NexusControlTools, commands: Commands, options: tuple[str, ...]
) -> None:
    refused = commands.answer("wait", asked(tools), *options, code=2)
    (field,) = refused["details"]["fields"]
    assert (refused["code"], field["field"]) == ("INVALID_ARGUMENT", options[0])
    assert ("must be seconds, or 90s, 5m, 1h" in field["problem"]) == (options[0] == "--timeout")


@pytest.mark.parametrize("timeout", ["0", "1", "1s"])
def test_a_wait_takes_seconds_with_and_without_their_unit(
    tools: NexusControlTools, commands: Commands, timeout: str
) -> None:
    assert commands.answer("wait", asked(tools), "--timeout", timeout, code=1)["timed_out"]


def test_each_line_of_events_names_the_cursor_behind_it(tools: NexusControlTools, commands: Commands) -> None:
    approved(tools)
    lines = commands.run("events")
    assert types(lines) == ["DECISION_CREATED", "POLICY_ATTACHED", "APPROVAL_GRANTED"]
    first, *later = lines.splitlines()
    cursor = str(json.loads(first)["cursor"])
    assert commands.run("events", "--after", cursor).splitlines() == later
    assert commands.run("events", "--limit", "1") == f"{first}\n"
    assert commands.answer("events", "--after", cursor)["cursor"] == 3
    assert commands.answer("events", "--after", "3") == {"events": [], "cursor": 3}


def test_no_text_of_an_event_commands_the_terminal(tools: NexusControlTools, commands: Commands) -> None:
    goal = "a\x1b[31m\x7f\u202e\u0085"
    asked(tools, goal)
    (line, _) = commands.run("events").splitlines()
    assert line.isascii()
    assert line.isprintable()
    assert json.loads(line)["payload"]["goal"] == goal


def test_more_events_than_a_page_come_in_order_and_each_once(
    tools: NexusControlTools, commands: Commands
) -> None:
    for _ in range(251):
        asked(tools)
    positions = [json.loads(line)["position"] for line in commands.run("events").splitlines()]
    assert positions == list(range(502))


def test_a_follower_gets_each_event_as_it_comes(tools: NexusControlTools, tmp_path: Path) -> None:
    request_id = asked(tools)
    with begun(tmp_path, "events", "--follow", "--after", "1") as process:
        assert next_event(process)["event_type"] == "POLICY_ATTACHED"
        data_of(tools.approve(request_id, BOB))
        assert next_event(process)["event_type"] == "APPROVAL_GRANTED"
        asked(tools)
        assert [next_event(process)["seq"] for _ in range(2)] == [0, 1]


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM), (signal.SIGHUP, -signal.SIGHUP)],
)
def test_a_signal_ends_a_follower_without_a_trace(
    tools: NexusControlTools, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    asked(tools)
    with begun(tmp_path, "events", "--follow") as process:
        assert [next_event(process)["seq"] for _ in range(2)] == [0, 1]
        process.send_signal(number)
        assert process.communicate(timeout=240) == ("", "")
        assert process.returncode == code


def test_a_follower_whose_reader_is_gone_ends_also_if_nothing_happens(
    tools: NexusControlTools, tmp_path: Path
) -> None:
    asked(tools)
    with begun(tmp_path, "events", "--follow") as process:
        assert next_event(process)["seq"] == 0
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait(240) == -signal.SIGPIPE


def test_a_follower_says_that_the_store_was_replaced(tools: NexusControlTools, tmp_path: Path) -> None:
    asked(tools)
    NexusControlTools(db_path=tmp_path / "other.db").close()
    with begun(tmp_path, "events", "--follow") as process:
        assert [next_event(process)["seq"] for _ in range(2)] == [0, 1]
        os.replace(tmp_path / "other.db", tmp_path / "store.db")  # noqa: PTH105 - the file, under the open store
        _, said = process.communicate(timeout=240)
        assert said.startswith("STORE_REPLACED:")
        assert process.returncode == 1


@pytest.mark.parametrize("follow", [(), ("--follow",)])
def test_a_cursor_beyond_the_end_is_of_another_store(
    tools: NexusControlTools, commands: Commands, follow: tuple[str, ...]
) -> None:
    asked(tools)
    commands.run("events", "--after", "3", *follow, code=1)


def test_a_follower_with_a_limit_ends_by_itself_and_takes_no_json_option(
    tools: NexusControlTools, commands: Commands
) -> None:
    asked(tools)
    assert types(commands.run("events", "--follow", "--limit", "2")) == [
        "DECISION_CREATED",
        "POLICY_ATTACHED",
    ]
    assert commands.answer("events", "--follow", code=2)["code"] == "INVALID_ARGUMENT"


def test_a_follower_of_a_store_that_many_write_misses_nothing(
    tools: NexusControlTools, tmp_path: Path
) -> None:
    asked(tools)
    with begun(tmp_path, "events", "--follow", "--limit", "202") as follower:
        # Both events of the request are read here: what is buffered of a pipe, `communicate` does not see.
        assert [next_event(follower)["position"] for _ in range(2)] == [0, 1]
        code = (
            "import sys; from nexus_control import NexusControlTools as T\n"
            "t = T(db_path=sys.argv[1])\n"
            "[t.request('g', {'type': 'human', 'id': 'alice'}) for _ in range(25)]"
        )
        writers = [
            subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "store.db")]) for _ in range(4)
        ]
        lines, said = follower.communicate(timeout=240)
        assert [writer.wait(240) for writer in writers] == [0] * 4
    assert [json.loads(line)["position"] for line in lines.splitlines()] == list(range(2, 202))
    assert said == ""
