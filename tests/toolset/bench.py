"""A server's circumstances with real parts: a store in memory, the embedded router, an artifacts folder."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from jsonschema import Draft202012Validator

from nexus_control.execution.adapter import Adapters
from nexus_control.execution.local_router import LocalRouter
from nexus_control.execution.python_adapter import PythonAdapter
from nexus_control.store import DecisionStore
from nexus_control.tool import NexusControlTools
from nexus_control.toolset import CallResult, ToolContext, call, tool_named
from nexus_control.toolset.outputs import ErrorOutput
from nexus_control.toolset.tool import Tool
from nexus_control.values.actors import Actor
from tests.support.clock import FakeClock
from tests.support.schemas import full_schema

AGENT = Actor(type="system", id="agent@host")
ADAPTER = "python:keys"
PLAN: list[dict[str, Any]] = [
    {"step_id": "s1", "intent": "rotate", "call": {"tool": "keys", "method": "rotate", "args": {}}}
]
LONG_GOAL = "Rotate every key. " * 200


def foreign_bundle(*, is_approved: bool = False) -> dict[str, Any]:
    """The bundle of a decision of another store."""
    clock = FakeClock()
    for _ in range(900):
        clock.new_id()
    with DecisionStore(":memory:", clock=clock) as store:
        tools = NexusControlTools(store)
        request_id = tools.request("Rotate the keys", AGENT, mode="apply", plan=PLAN).data["request_id"]
        if is_approved:
            assert tools.approve(request_id, {"type": "human", "id": "bob"}).success
        return tools.export_bundle(request_id).data["bundle"]


class Waits:
    """Waits without time passing, except what `meanwhile` does during the first wait."""

    def __init__(self, meanwhile: Callable[[], object] = lambda: None, *, cancelled: bool = False) -> None:
        self.seconds: list[float] = []
        self._meanwhile = meanwhile
        self._cancelled = cancelled

    def __call__(self, seconds: float) -> bool:
        if not self.seconds:
            self._meanwhile()
        self.seconds.append(seconds)
        return self._cancelled


@dataclass
class Bench:
    """What a test calls tools with. The context trusts declared actors unless a test changes that."""

    context: ToolContext
    clock: FakeClock
    runs: list[str]

    def call(self, name: str, /, **arguments: object) -> CallResult:
        tool = named(name)
        return call(tool, self.context, arguments)

    def data(self, name: str, /, **arguments: object) -> dict[str, Any]:
        """The content of a call that must succeed."""
        outcome = self.call(name, **arguments)
        assert not outcome.is_error, outcome.content
        return dict(outcome.content)

    def error(self, name: str, /, **arguments: object) -> dict[str, Any]:
        """The content of a call that must fail."""
        outcome = self.call(name, **arguments)
        assert outcome.is_error, outcome.content
        return dict(outcome.content)

    def change(self, **fields: Any) -> None:
        self.context = replace(self.context, **fields)

    def request(self, **arguments: object) -> str:
        asked = {"goal": "Rotate the keys", "mode": "apply", "plan": PLAN, "adapter_id": ADAPTER}
        return self.data("request", **{**asked, **arguments})["request_id"]

    def approved(self, **arguments: object) -> str:
        request_id = self.request(**arguments)
        self.data("approve", request_id=request_id, actor={"type": "human", "id": "bob"})
        return request_id

    def executed(self, **arguments: object) -> str:
        request_id = self.approved(**arguments)
        self.data("execute", request_id=request_id, adapter_id=ADAPTER)
        return request_id


def new_bench(folder: Path) -> Bench:
    clock, runs = FakeClock(), list[str]()

    def rotate() -> dict[str, object]:
        runs.append("rotate")
        return {"rotated": True}

    router = LocalRouter(Adapters([PythonAdapter("keys", {"rotate": rotate})]), clock=clock)
    context = ToolContext(
        store=DecisionStore(":memory:", clock=clock),
        actor=AGENT,
        database="decisions.db",
        artifacts=folder / "decisions.db.artifacts",
        approvals="declared",
        router=router,
        wait=Waits(),
    )
    return Bench(context, clock, runs)


def named(name: str) -> Tool:
    """The tool of this name, with or without what all names begin with."""
    tool = tool_named(name) or tool_named(f"nexus-control.{name}")
    assert tool is not None, name
    return tool


def require_valid(content: dict[str, Any], schema: dict[str, Any]) -> None:
    """`content` is as `schema` says."""
    validator: Any = Draft202012Validator(schema)  # its stub is only partly typed
    assert [error.message for error in validator.iter_errors(content)] == []


def closed_output_schema(tool: Tool) -> dict[str, Any]:
    """What the tool's types say of its answers, and what they do not say is refused."""
    answers = [full_schema(each) for each in (tool.output, ErrorOutput)]
    return cast("dict[str, Any]", _closed({"anyOf": answers}))


def _closed(schema: object) -> object:
    if isinstance(schema, list):
        return [_closed(each) for each in cast("list[object]", schema)]
    if not isinstance(schema, Mapping):
        return schema
    words = {word: _closed(value) for word, value in cast("Mapping[str, object]", schema).items()}
    if "properties" in words:
        words["additionalProperties"] = False
    return words
