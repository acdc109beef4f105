"""Requests of guarded calls on the command line: their caller runs them, and nobody is told otherwise."""

from pathlib import Path

import pytest

from nexus_control import NexusControlTools
from nexus_control.cli.reviewing import review_of
from nexus_control.cli.times import Times
from nexus_control.guards import Guard, Pending, ToolCall
from nexus_control.render.question import render_question
from nexus_control.values.guarded import is_guarded
from nexus_control.values.instants import parse_instant
from tests.cli.running import Commands, nexus_control
from tests.support.governed import ALICE, BOB, data_of

CALL = ToolCall(tool="Bash", arguments={"command": "make clean"}, call_id="call_1")


def asked(folder: Path, call: ToolCall = CALL) -> str:
    verdict = Guard(NexusControlTools(folder / "store.db"), host="test").check(call)
    assert isinstance(verdict, Pending), verdict
    return verdict.request_id


def approved(folder: Path) -> str:
    request_id = asked(folder)
    data_of(NexusControlTools(folder / "store.db").approve(request_id, BOB))
    return request_id


def test_what_a_guard_asks_for_is_a_guarded_call() -> None:
    assert is_guarded(CALL.adapter_id)
    assert not any(map(is_guarded, (None, "subprocess:keys", "python:keys", "toolbox:keys")))


@pytest.mark.parametrize(
    "options", [(), ("--adapter", "tool:Bash"), ("--router", "tests.facade.routers:FakeRouter")]
)
def test_execute_refuses_a_guarded_call_and_says_who_runs_it(
    options: tuple[str, ...], tmp_path: Path
) -> None:
    commands, request_id = Commands(tmp_path), approved(tmp_path)
    refused = commands.answer("execute", request_id, *options, code=1)
    assert refused["code"] == "ADAPTER_UNKNOWN"
    assert "The agent or program that asked runs Bash itself" in refused["message"]
    assert commands.answer("status", request_id)["state"] == "approved"


def test_execute_without_an_id_means_the_request_that_a_router_executes(tmp_path: Path) -> None:
    commands = Commands(tmp_path)
    approved(tmp_path)
    assert commands.answer("execute", code=1)["code"] == "ADAPTER_UNKNOWN"
    other = commands.answer("request", "rotate", "--mode", "apply", "--adapter", "subprocess:keys")[
        "request_id"
    ]
    commands.run("approve", other, "--yes")
    assert commands.answer("execute", code=1)["code"] == "ROUTER_NOT_CONFIGURED"


def reviewed(folder: Path, request_id: str) -> str:
    tools = NexusControlTools(folder / "store.db")
    data = data_of(tools.inspect(request_id))
    review = review_of(data, Times(parse_instant(data["decision"]["as_of"]), True), is_approving=True)
    return "\n".join(line for _, line in review.lines)


def test_a_plan_that_no_guard_writes_is_shown_as_the_text_that_it_is(tmp_path: Path) -> None:
    tools = NexusControlTools(tmp_path / "store.db")
    for text in (
        '{"tool": "Read", "arguments": {}}',
        '{"tool": "Bash", "arguments": {}, "hidden": "rm"}',
        '{"tool": "Bash", "arguments": 5}',
        '{"tool": "Bash", "arguments": {}, "arguments": {"a": 1}}',
    ):
        request_id = data_of(tools.request("g", ALICE, mode="apply", plan=text, adapter_id="tool:Bash"))[
            "request_id"
        ]
        shown = reviewed(tmp_path, request_id)
        assert text in shown
        assert "Adapter: tool:Bash" in shown


def test_arguments_that_look_like_other_lines_stay_further_to_the_right(tmp_path: Path) -> None:
    arguments = {"command": 'ls\nk: "5"', "k: x": 5, "no": None, "empty": ""}
    request_id = asked(tmp_path, ToolCall(tool="Bash", arguments=arguments, call_id="2"))
    data = data_of(NexusControlTools(tmp_path / "store.db").inspect(request_id))
    lines = review_of(data, Times(parse_instant(data["decision"]["as_of"]), True), is_approving=True).lines
    assert [line for line in lines if line[0] >= 4] == [
        (4, "command, a text of 2 lines:"),
        (8, "ls"),
        (8, 'k: "5"'),
        (4, 'empty: ""'),
        (4, '"k: x": 5'),
        (4, "no: null"),
    ]


def test_arguments_that_are_a_text_or_none_are_shown(tmp_path: Path) -> None:
    assert 'Arguments: "{broken"' in reviewed(
        tmp_path, asked(tmp_path, ToolCall(tool="t", arguments="{broken", call_id="1"))
    )
    assert "Arguments: (none)" in reviewed(
        tmp_path, asked(tmp_path, ToolCall(tool="t", arguments={}, call_id="2"))
    )


def test_what_is_left_out_of_a_long_call_is_said(tmp_path: Path) -> None:
    arguments = {"content": "\n".join(map(str, range(40)))}
    request_id = asked(tmp_path, ToolCall(tool="Write", arguments=arguments, call_id="2"))
    data = data_of(NexusControlTools(tmp_path / "store.db").inspect(request_id))
    review = review_of(data, Times(parse_instant(data["decision"]["as_of"]), True), is_approving=True)
    assert review.left_out == ["25 lines of the call"]


def test_a_host_that_asks_a_person_says_who_runs_the_call(tmp_path: Path) -> None:
    data = data_of(NexusControlTools(tmp_path / "store.db").inspect(asked(tmp_path)))
    question = render_question({**data, "rehearsed": None}, BOB, None)
    assert "The agent or program that asked runs Bash itself" in question
    assert "No configuration" not in question


@pytest.mark.parametrize(
    ("command", "given", "said"),
    [
        (("approve",), (), "ID and --yes are needed"),
        (("deny", "--reason", "no"), (), "ID and --yes are needed"),
        (("deny", "--reason", "no"), ("ID",), "--yes is needed"),
        (("approve",), ("--yes",), "ID is needed with --yes"),
    ],
)
def test_who_cannot_be_asked_is_told_at_once_all_that_is_needed(
    command: tuple[str, ...], given: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    request_id = asked(tmp_path)
    words = [request_id if each == "ID" else each for each in given]
    ran = nexus_control(*command, *words, "--db", str(tmp_path / "store.db"))
    assert (ran.returncode, said in " ".join(ran.stderr.split())) == (2, True), ran.stderr
