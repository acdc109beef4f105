"""What a conversation costs before and while the tools are used, in bytes on the wire."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from nexus_control import NexusControlTools
from nexus_control.toolset import TOOLS
from nexus_control.toolset.fitting import INLINE_BYTES
from tests.facade.routers import FakeRouter
from tests.mcp.by_hand import Pipes, served
from tests.mcp.serving import CONFIG, ERAS, Era
from tests.support.governed import ALICE, BOB, data_of

LIST_BYTES = 22_000
TOLD_BYTES = 10_000  # about 210 tokens a tool
OUTPUT_BYTES = 25_630 // 2  # half of what the outputs took when they were described down to the last field
STATUS_BYTES = 4096
STEPS = 900
BROKEN = 700
REHEARSALS = 12


def compact(value: object) -> int:
    return len(json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode())


def told(tool: dict[str, Any]) -> int:
    """The bytes of a tool that a model reads."""
    return len(tool["name"]) + len(tool["description"]) + compact(tool["inputSchema"])


def listed(pipes: Pipes) -> tuple[int, list[dict[str, Any]]]:
    """The bytes of the answer to tools/list, and the tools."""
    pipes.send("tools/list", {})
    assert pipes.process.stdout is not None
    line = pipes.process.stdout.readline()
    return len(line), json.loads(line)["result"]["tools"]


@pytest.mark.sample(1)
@pytest.mark.parametrize("era", ERAS)
def test_the_list_of_tools_is_short_on_the_wire(era: Era, tmp_path: Path) -> None:
    with served(folder=tmp_path, era=era) as pipes:
        size, tools = listed(pipes)
    assert len(tools) == len(TOOLS)
    assert size <= LIST_BYTES
    assert sum(map(told, tools)) <= TOLD_BYTES
    assert sum(compact(tool["outputSchema"]) for tool in tools) <= OUTPUT_BYTES
    assert all("actor" not in tool["inputSchema"]["properties"] for tool in tools)
    assert '"null"' not in json.dumps([tool["inputSchema"] for tool in tools])


def test_an_actor_is_an_argument_only_where_a_declared_one_is_trusted(tmp_path: Path) -> None:
    with served("--approvals", "declared", folder=tmp_path) as pipes:
        size, tools = listed(pipes)
    takes_actor = {tool["name"] for tool in tools if "actor" in tool["inputSchema"]["properties"]}
    assert takes_actor == {tool.name for tool in TOOLS if tool.takes_actor}
    assert size <= LIST_BYTES


def test_an_argument_that_can_be_left_out_may_also_be_null(tmp_path: Path) -> None:
    with served(folder=tmp_path) as pipes:
        nothing = dict.fromkeys(
            ("actor", "plan", "template_name", "expires_at", "adapter_id", "min_approvals")
        )
        answer = pipes.answer(pipes.call("request", goal="g", **nothing))
    assert not answer["result"]["isError"]


def long_decision(folder: Path) -> str:
    """Executed in many steps, after many rehearsals."""
    config = folder / "nexus-control.toml"
    config.write_text(CONFIG)
    call = {"tool": "files", "method": "write", "args": {"text": "x" * 20, "file": "written"}}
    plan = [{"step_id": f"s{n}", "intent": "write", "call": call} for n in range(STEPS)]
    with NexusControlTools(db_path=folder / "store.db") as tools:
        request_id = data_of(tools.request("Write", ALICE, mode="apply", plan=plan))["request_id"]
        data_of(tools.approve(request_id, BOB))
        for _ in range(REHEARSALS):
            data_of(tools.execute(request_id, "python:fake", ALICE, answered(), dry_run=True))
        assert tools.execute(request_id, "python:fake", ALICE, answered(BROKEN)).error_code == "ROUTER_ERROR"
    return request_id


def answered(broken: int | None = None) -> FakeRouter:
    """A router whose many steps go well, except one."""
    results: list[dict[str, Any]] = [
        {"step_id": f"s{n}", "status": "ok", "output": {"exit_code": 0, "stdout": "done", "stderr": ""}}
        for n in range(STEPS)
    ]
    answer: dict[str, Any] = {"run": {"run_id": "run-1"}, "results": results}
    if broken is not None:
        error = {"code": "NONZERO_EXIT", "message": "it broke: " + "y" * 5000}
        results[broken] |= {"status": "error", "error": error}
        answer["error"] = error
    return FakeRouter(answer)


@pytest.mark.sample(1)
@pytest.mark.parametrize("era", ERAS)
def test_the_status_of_a_long_decision_is_short(era: Era, tmp_path: Path) -> None:
    request_id = long_decision(tmp_path)
    with served(folder=tmp_path, era=era) as pipes:
        status = pipes.answer(pipes.call("status", request_id=request_id))["result"]["structuredContent"]
        inspected = pipes.answer(pipes.call("inspect", decision_id=request_id))["result"]["structuredContent"]
    assert compact(status) <= STATUS_BYTES
    assert status["execution_count"] == REHEARSALS + 1
    assert status["plan"]["bytes"] > INLINE_BYTES
    assert "x" * 20 not in json.dumps(status)
    steps = status["execution"]["steps"]
    assert (steps["count"], steps["ok"], steps["error"]) == (STEPS, STEPS - 1, 1)
    assert steps["first_not_ok"]["step_id"] == f"s{BROKEN}"
    content = Path(steps["file"]["path"]).read_bytes()
    assert hashlib.sha256(content).hexdigest() == steps["file"]["sha256"]
    assert [each["step_id"] for each in json.loads(content)] == [f"s{n}" for n in range(STEPS)]
    assert compact(inspected) <= INLINE_BYTES
    whole = json.loads(Path(inspected["file"]["path"]).read_bytes())
    assert whole["decision"]["goal"] == "Write"
    assert inspected["file"]["counts"]["timeline"] == len(whole["timeline"])
