"""`run show`: what each step of a run gave back."""

import json
import subprocess
from pathlib import Path

import pytest

from nexus_control import LocalRouter, NexusControlTools, PythonAdapter
from tests.cli.running import Commands, at_a_terminal
from tests.support.governed import SCHEDULER, approved, data_of

NUMBERS = [str(number) for number in range(1, 101)]


def rotate(service: str) -> object:
    return {"rotated": service, "numbers": "\n".join(NUMBERS)} if service == "long" else {"rotated": service}


def fail() -> object:
    raise LookupError("no such key\x1b[31m")


def step(step_id: str, method: str, **args: str) -> dict[str, object]:
    return {"step_id": step_id, "intent": "test", "call": {"tool": "keys", "method": method, "args": args}}


PLAN = [step("first", "rotate", service="billing"), step("second", "fail")]


@pytest.fixture
def tools(tmp_path: Path) -> NexusControlTools:
    return NexusControlTools(db_path=tmp_path / "store.db")


@pytest.fixture
def commands(tmp_path: Path) -> Commands:
    return Commands(tmp_path)


def executed(tools: NexusControlTools, plan: list[dict[str, object]], *, rehearse: bool = False) -> str:
    request_id = approved(tools, plan=plan)
    with LocalRouter([PythonAdapter("keys", {"rotate": rotate, "fail": fail, "tell": tell})]) as router:
        if rehearse:
            data_of(tools.execute(request_id, "python:keys", SCHEDULER, router, dry_run=True))
        tools.execute(request_id, "python:keys", SCHEDULER, router)
    return request_id


def tell() -> str:
    return "\n".join(NUMBERS)


def test_each_step_is_shown_with_its_output_error_and_effect(
    tools: NexusControlTools, commands: Commands
) -> None:
    executed(tools, PLAN)
    shown = commands.run("run", "show")
    assert '✓ first: ok\n    {"rotated": "billing"}\n' in shown
    assert "✗ second: failed, what was done is unknown\n" in shown
    assert "no such key" in shown
    assert "\x1b" not in shown


def test_the_json_is_that_of_result(tools: NexusControlTools, commands: Commands) -> None:
    request_id = executed(tools, PLAN)
    assert commands.answer("run", "show", request_id[:8]) == data_of(tools.result(request_id))


def test_a_rehearsal_is_shown_by_its_number(tools: NexusControlTools, commands: Commands) -> None:
    request_id = executed(tools, PLAN, rehearse=True)
    rehearsed, _ = (line["seq"] for line in data_of(tools.status(request_id))["executions"])
    assert "✓ first: only described" in commands.run("run", "show", "--execution", str(rehearsed))
    assert commands.answer("run", "show", "--execution", "1", code=2)["code"] == "INVALID_ARGUMENT"


def test_what_was_never_executed_is_refused(tools: NexusControlTools, commands: Commands) -> None:
    approved(tools)
    assert commands.answer("run", "show", code=1)["code"] == "INVALID_STATE"


def test_a_long_output_is_cut_on_a_terminal_with_its_size_and_whole_elsewhere(
    tools: NexusControlTools, commands: Commands, tmp_path: Path
) -> None:
    executed(tools, [step("first", "tell")])
    whole = [f"    {number}" for number in NUMBERS]
    assert "\n".join(whole) in commands.run("run", "show")

    def at_terminal(*options: str) -> "subprocess.CompletedProcess[str]":
        return at_a_terminal("run", "show", "--db", str(tmp_path / "store.db"), *options)

    lines = at_terminal().stdout.replace("\r", "").splitlines()
    assert whole[19] in lines
    assert whole[20] not in lines
    assert "    … cut here: 100 lines and 291 characters in all …" in lines
    assert "--full shows all of it." in lines
    assert set(whole) <= set(at_terminal("--full").stdout.replace("\r", "").splitlines())
    assert json.loads(at_terminal("--json").stdout)["results"][0]["output"] == "\n".join(NUMBERS)
