"""`mcp:` adapters: pinned tools of real servers, under a decision, and servers that misbehave."""

import asyncio
import json
import sys
import threading
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from nexus_control.execution.local_router import LocalRouter
from nexus_control.execution.mcp_adapter import McpAdapter
from nexus_control.execution.plan import Call
from nexus_control.execution.stopping import Stop, heeding
from nexus_control.execution.subprocess_adapter import ProcessSettings
from nexus_control.execution.tool_pins import Pin
from nexus_control.render.will_run import call_words
from nexus_control.store import DecisionStore
from nexus_control.tool import NexusControlTools
from nexus_control.values.records import encode
from nexus_control.values.results import ToolResult
from tests.execution.support import carrying, eventually, plan, step
from tests.support.governed import SCHEDULER, approved, data_of

SERVER = Path(__file__).with_name("downstream.py")
ADAPTER = "mcp:files"


class Downstream:
    """The server in a folder of its own, and the decisions about it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.mark = f"MARK={uuid.uuid5(uuid.NAMESPACE_URL, str(folder))}"
        found = self.adapter({}).found()
        self.pins: Mapping[str, Pin] = {tool: each.pin for tool, each in found.items()}

    def adapter(self, pins: Mapping[str, Pin], **settings: Any) -> McpAdapter:
        env = dict([self.mark.split("=")])
        return McpAdapter(
            "files",
            [sys.executable, "-I", "-S", str(SERVER), str(self.folder)],
            tools=["put"],
            pins=pins,
            capabilities=["apply", "dry_run"],
            settings=ProcessSettings(base=self.folder, env=env, **settings),
        )

    def executed(
        self, mode: str, *steps: Mapping[str, object], dry_run: bool = False, **settings: Any
    ) -> tuple[ToolResult[Any], str, str]:
        """What executing an approved plan answered, the decision's state then, and its id."""
        (self.folder / "mode").write_text(mode)
        settings = {"timeout_seconds": 60} | settings
        asked = plan(*(steps or [step("put", tool="files", text="one")]))
        with (
            LocalRouter([self.adapter(self.pins, **settings)]) as router,
            DecisionStore(self.folder / "d.db") as store,
        ):
            tools = NexusControlTools(store, plan_checker=router)
            request_id = approved(tools, plan=asked, adapter_id=ADAPTER)
            result = tools.execute(request_id, ADAPTER, SCHEDULER, router, dry_run=dry_run)
            return result, data_of(tools.status(request_id))["state"], request_id

    def effects(self) -> list[str]:
        effect = self.folder / "effect"
        return effect.read_text().split() if effect.exists() else []

    def is_gone(self) -> bool:
        """Whether no process of the server is left."""
        return eventually(lambda: not carrying(self.mark))


@pytest.fixture
def downstream(tmp_path: Path) -> Downstream:
    return Downstream(tmp_path)


def test_an_approved_plan_runs_pinned_tools_in_one_session(downstream: Downstream) -> None:
    steps = [step("put", step_id, "files", text=step_id) for step_id in ("one", "two")]
    result, state, request_id = downstream.executed("", *steps)
    assert state == "completed", result.error
    assert downstream.effects() == ["one", "two"]
    first = data_of(result)["results"][0]["output"]
    assert first["structured_content"] == '{"number": 1.5}'
    said = json.loads(first["content"][0]["text"])
    assert said["nexus-control/request_id"] == request_id
    assert said["nexus-control/execution_id"] == data_of(result)["execution_id"]
    assert downstream.is_gone()


def test_a_dry_run_starts_nothing_and_describes_the_step(downstream: Downstream) -> None:
    result, _, _ = downstream.executed("exits at once", dry_run=True)
    described = data_of(result)["results"][0]["output"]
    assert described == {"would_call": {"tool": "put", "arguments": {"text": "one"}}}
    assert downstream.effects() == []


REFUSED = {
    "exits at once": ("ROUTER_NOT_READY", "exited with code 3 before it spoke MCP: no licence"),
    "never answers": ("ROUTER_NOT_READY", "does not speak MCP: it did not answer within its time limit"),
    "no tool": ("ROUTER_NOT_READY", "has no tool 'put'"),
    "twice": ("ROUTER_NOT_READY", "it lists the tool 'put' twice"),
    "other definition": ("TOOL_DEFINITION_CHANGED", "description: 'and tells others' is new"),
}


@pytest.mark.parametrize("mode", REFUSED)
def test_a_server_that_cannot_run_the_plan_as_pinned_costs_nothing(downstream: Downstream, mode: str) -> None:
    code, message = REFUSED[mode]
    seconds = 1 if mode == "never answers" else 60
    result, state, request_id = downstream.executed(mode, timeout_seconds=seconds)
    assert result.error_code == code, result.error
    assert message in (result.error or "")
    assert state == "approved"
    assert downstream.effects() == []
    assert downstream.is_gone()
    (downstream.folder / "mode").write_text("")
    with (
        LocalRouter([downstream.adapter(downstream.pins, timeout_seconds=seconds)]) as router,
        DecisionStore(downstream.folder / "d.db") as store,
    ):
        if seconds == 60:  # the adapter's digest is that of the request
            data_of(NexusControlTools(store).execute(request_id, ADAPTER, SCHEDULER, router))
            assert downstream.effects() == ["one"]


ENDINGS = {
    "": ("completed", None, 1),
    "garbage": ("completed", None, 1),
    "long result": ("completed", None, 1),
    "json error": ("failed", "PROTOCOL_ERROR", 1),
    "an error as a number": ("failed", "PROTOCOL_ERROR", 1),
    "an error as a text": ("failed", "PROTOCOL_ERROR", 1),
    "asks for input": ("failed", "PROTOCOL_ERROR", 1),
    "a task": ("failed", "PROTOCOL_ERROR", 1),
    "stubborn": ("outcome_unknown", "ROUTER_OUTCOME_UNKNOWN", 1),
}
"""What `tests/joints/test_fault_table.py` does not do."""


@pytest.mark.parametrize("mode", ENDINGS)
def test_whatever_a_server_does_the_state_is_true_and_nothing_is_left(
    downstream: Downstream, mode: str
) -> None:
    state, code, effects = ENDINGS[mode]
    seconds = 10 if mode == "stubborn" else 60  # the interpreter's start has to end within it
    result, found, _ = downstream.executed(mode, timeout_seconds=seconds, max_output_bytes=100_000)
    assert found == state, result.error
    assert (result.details or {}).get("error_code", (result.details or {}).get("reason")) == code
    assert len(downstream.effects()) == effects
    assert downstream.is_gone()
    if mode == "long result":
        output = data_of(result)["results"][0]["output"]
        assert output["truncated"] is True
        assert len(output["content"]) == 100_000


def test_what_a_server_asks_of_us_is_answered_and_goes_nowhere(downstream: Downstream) -> None:
    downstream.executed("asks back")
    answers = [json.loads(line) for line in (downstream.folder / "answers").read_text().splitlines()]
    assert answers == [
        {"elicitation/create": -32601},
        {"sampling/createMessage": -32601},
        {"roots/list": -32601},
        {"ping": {}},
    ]


def test_a_definition_that_changes_between_two_steps_stops_the_second(downstream: Downstream) -> None:
    steps = [step("put", step_id, "files", text=step_id) for step_id in ("one", "two")]
    result, state, _ = downstream.executed("changes between", *steps)
    assert (state, result.details["error_code"]) == ("failed", "TOOL_DEFINITION_CHANGED")
    assert "description: 'the' became 'another'" in (result.error or "")
    assert downstream.effects() == ["one"]


def test_a_step_runs_where_the_callers_thread_has_a_running_loop(downstream: Downstream) -> None:
    async def execute() -> str:
        return downstream.executed("")[1]

    assert asyncio.run(execute()) == "completed"


def test_an_order_to_stop_kills_the_server_and_leaves_an_unknown_outcome(downstream: Downstream) -> None:
    stop = Stop()

    def order() -> None:
        assert eventually(lambda: bool(downstream.effects()))
        stop.order("the server ended")

    with heeding(stop):
        ordering = threading.Thread(target=order)
        ordering.start()
        result, state, _ = downstream.executed("hangs after")
        ordering.join()
    assert (state, result.details["reason"]) == ("outcome_unknown", "STOPPED")
    assert downstream.is_gone()


def test_an_order_while_the_tools_are_listed_again_begins_no_further_step(downstream: Downstream) -> None:
    stop = Stop()

    def order() -> None:
        assert eventually((downstream.folder / "listing").exists)
        stop.order("the server ended")

    steps = [step("put", step_id, "files", text=step_id) for step_id in ("one", "two")]
    with heeding(stop):
        ordering = threading.Thread(target=order)
        ordering.start()
        result, state, _ = downstream.executed("lists once", *steps)
        ordering.join()
    assert (state, result.details["error_code"]) == ("failed", "STOPPED")
    assert downstream.effects() == ["one"]
    assert downstream.is_gone()


def test_a_tool_that_answers_with_an_error_says_why(downstream: Downstream) -> None:
    result, _, request_id = downstream.executed("tool error")
    assert f'"nexus-control/request_id": "{request_id}"' in (result.error or "")


PROBLEMS: dict[str, tuple[dict[str, Any], str | None]] = {
    "missing": ({}, "args.text is missing"),
    "undeclared, where others may be": ({"text": "a", "texts": "b"}, None),
    "of another type": ({"text": 1}, "args.text must be of the type string"),
    "a fraction for a whole number": (
        {"text": "a", "count": 1.5},
        "args.count must be of the type integer",
    ),
    "true for a number": ({"text": "a", "count": True}, "args.count must be of the type integer"),
    "good": ({"text": "a", "count": 1}, None),
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_arguments_are_checked_against_the_pinned_schema(downstream: Downstream, name: str) -> None:
    args, problem = PROBLEMS[name]
    call = Call(tool="files", method="put", args=args)
    assert downstream.adapter(downstream.pins).problem_with(call) == problem


def test_a_tool_that_is_not_declared_is_told_with_those_that_are(downstream: Downstream) -> None:
    problem = downstream.adapter({}).problem_with(Call(tool="files", method="putt", args={}))
    assert problem == f"method 'putt' is not declared by {ADAPTER} (did you mean 'put'?); declared are: put"


def test_a_tool_that_is_not_pinned_cannot_be_asked_for(downstream: Downstream, tmp_path: Path) -> None:
    asked = plan(step("put", tool="files", text="one"))
    with LocalRouter([downstream.adapter({})]) as router, DecisionStore(tmp_path / "d.db") as store:
        tools = NexusControlTools(store, plan_checker=router)
        refused = tools.request(goal="Put", actor=SCHEDULER, plan=asked, adapter_id=ADAPTER)
    assert refused.error_code == "PLAN_INVALID"
    assert "must look at its definition and pin it first" in (refused.error or "")
    assert "adapter pin" not in (refused.error or "")


def test_the_digest_of_the_adapter_changes_with_a_pin(downstream: Downstream) -> None:
    other = Pin(downstream.pins["put"].text.replace("line", "word"))
    assert (
        downstream.adapter({"put": other}).declaration() != downstream.adapter(downstream.pins).declaration()
    )


def test_who_decides_sees_the_server_and_the_call(downstream: Downstream) -> None:
    described = downstream.adapter(downstream.pins).describe(
        Call(tool="files", method="put", args={"text": "one"}), dry_run=False
    )
    assert described.argv[-1] == str(downstream.folder)
    assert (described.tool, described.args) == ("put", {"text": "one"})
    assert described.environment == ("LANG", "MARK", "PATH")
    assert described.directory == str(downstream.folder)
    shown = call_words(encode(described))
    assert shown.startswith('put {"text":"one"} of the MCP server ')
    assert shown.endswith(str(downstream.folder))
