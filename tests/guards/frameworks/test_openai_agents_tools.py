"""What the guard makes of a function: the SDK's tool with a conversation, and what it does not take."""

import asyncio
import inspect
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import pytest

pytest.importorskip("agents", reason="needs the package openai-agents")

from agents import FunctionTool, RunContextWrapper, function_tool
from agents.tool import FunctionToolCustomDataContext
from agents.tool_context import ToolContext
from pydantic import BaseModel, BeforeValidator, Field, SecretStr

from nexus_control import NexusControlTools
from nexus_control.errors import NexusControlError
from nexus_control.guards.openai_agents import ApprovalGuard, ToolOptions
from tests.guards.frameworks.openai_agents_job import Job, called
from tests.support import documents
from tests.support.governed import BOB, data_of
from tests.support.places import REPOSITORY


@pytest.fixture
def guard() -> ApprovalGuard:
    return ApprovalGuard(NexusControlTools(), conversation="ticket-17")


# --- the SDK's tool ----------------------------------------------------------------------------------------------


class Colour(Enum):
    RED = "red"


class Order(BaseModel):
    number: int
    note: str | None = None


def plain(key: str, share: float = 0.5) -> str:
    """Rotate a key.

    Args:
        key: Which key.
        share: How much of it.
    """
    return key + str(share)


async def with_context(context: RunContextWrapper[dict[str, str]], key: str) -> str:
    """Rotate a key in a context."""
    return str(context.context) + key


def with_tool_context(ctx: ToolContext[Any], order: Order, *, colour: Colour) -> str:
    return f"{ctx.tool_name} {order.number} {order.note} {colour.name}"


def annotated(key: Annotated[str, "Which key."], days: Annotated[int, Field(ge=1)] = 1) -> str:
    return key * days


def many(*keys: str) -> str:
    return " ".join(keys)


def without_parameters() -> str:
    return "nothing"


FUNCTIONS = [plain, with_context, with_tool_context, annotated, many, without_parameters]
GIVEN = {
    "plain": ({"key": "a", "share": 0.25}, "a0.25"),
    "with_context": ({"key": "a"}, "{'user': 'ada'}a"),
    "with_tool_context": (
        {"order": {"number": 7, "note": None}, "colour": "red"},
        "with_tool_context 7 None RED",
    ),
    "annotated": ({"key": "a", "days": 2}, "aa"),
    "many": ({"keys": ["a", "b"]}, "a b"),
    "without_parameters": ("", "nothing"),
}


@pytest.mark.parametrize("function", FUNCTIONS)
def test_the_model_sees_the_same_tool_as_without_the_guard(
    function: Callable[..., Any], guard: ApprovalGuard
) -> None:
    guarded, bare = guard.function_tool(function), function_tool(function)
    for name in ("name", "description", "params_json_schema", "strict_json_schema", "timeout_seconds"):
        assert getattr(guarded, name) == getattr(bare, name)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_an_approved_function_is_given_its_context_and_its_arguments(
    function: Callable[..., Any], tmp_path: Path
) -> None:
    job = Job(tmp_path)
    job.agent.tools = [job.guard.function_tool(function)]
    arguments, returned = GIVEN[function.__name__]
    state = job.start(called(function.__name__, arguments), context={"user": "ada"}).to_state()
    [request_id] = job.guard.settle(state)
    data_of(job.tools.approve(request_id, BOB))
    assert job.guard.settle(state) == []
    job.resume(state)
    assert job.told == {"call_1": returned}
    assert job.state_of(request_id) == "completed"
    job.tools.close()


def nothing_of(_: FunctionToolCustomDataContext) -> None:
    """An extractor of the application's own data that finds none."""


def test_every_option_of_the_sdk_is_the_guards_except_those_that_the_page_names() -> None:
    of_the_sdk = set(inspect.signature(function_tool).parameters) - {"func"}
    named = {"needs_approval", "output_type", "output_json_schema"}
    assert set(ToolOptions.__annotations__) == of_the_sdk - named


def test_options_of_the_sdk_are_the_tools(guard: ApprovalGuard) -> None:
    tool = guard.function_tool(name_override="renew", description_override="Renew.", timeout=3)(with_context)
    assert (tool.name, tool.description, tool.timeout_seconds) == ("renew", "Renew.", 3)
    for_programs = guard.function_tool(custom_data_extractor=nothing_of, allowed_callers=["direct"])(
        annotated
    )
    assert (for_programs.custom_data_extractor, for_programs.allowed_callers) == (nothing_of, ["direct"])
    with pytest.raises(ValueError, match="async"):  # the SDK has no time limit for a function in a thread
        guard.function_tool(timeout=3)(plain)


def test_two_functions_of_one_name_are_refused_and_one_function_may_come_again(guard: ApprovalGuard) -> None:
    def make() -> FunctionTool:
        def other(key: str) -> str:
            return key

        return guard.function_tool(other)

    make()
    make()
    with pytest.raises(NexusControlError, match="name_override") as refused:
        guard.function_tool(name_override="other")(plain)
    assert refused.value.code == "INVALID_ARGUMENT"


@dataclass
class Vault:
    """The functions that are bound to two vaults have one name, and other effects."""

    name: str

    def rotate(self, key: str) -> str:
        return f"{self.name} {key}"


def rotating(name: str) -> Callable[..., Any]:
    def rotate(key: str) -> str:
        return f"{name} {key}"

    return rotate


def wrapped(name: str) -> Callable[..., Any]:
    """A function that closes over another, and over itself."""
    of_vault = rotating(name)

    def rotate(key: str) -> str:
        return of_vault(key) if key else rotate("billing")

    return rotate


STAGING, PROD = Vault("staging"), Vault("prod")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (STAGING.rotate, PROD.rotate),
        (STAGING.rotate, Vault("staging").rotate),
        (rotating("staging"), rotating("prod")),
        (wrapped("staging"), wrapped("prod")),
    ],
    ids=["another object", "an equal object", "another value", "another function"],
)
def test_functions_of_one_place_with_other_values_are_two_tools(
    one: Callable[..., Any], other: Callable[..., Any], guard: ApprovalGuard
) -> None:
    guard.function_tool(one)
    with pytest.raises(NexusControlError, match="name_override") as refused:
        guard.function_tool(other)
    assert refused.value.code == "INVALID_ARGUMENT"
    assert guard.function_tool(name_override="other")(other).name == "other"


@pytest.mark.parametrize(
    ("one", "again"),
    [
        (STAGING.rotate, STAGING.rotate),
        (rotating("staging"), rotating("staging")),
        (wrapped("staging"), wrapped("staging")),
    ],
    ids=["one object", "one value", "a function"],
)
def test_a_factory_that_is_called_again_with_the_same_values_makes_the_same_tool(
    one: Callable[..., Any], again: Callable[..., Any], guard: ApprovalGuard
) -> None:
    assert guard.function_tool(one).name == guard.function_tool(again).name


def test_a_bound_method_runs_once_with_its_object(tmp_path: Path) -> None:
    job = Job(tmp_path)
    guard = ApprovalGuard(job.tools, conversation="ticket-18")
    job.agent.tools = [guard.function_tool(STAGING.rotate)]
    state = job.start(called("rotate")).to_state()
    [request_id] = guard.settle(state)
    data_of(job.tools.approve(request_id, BOB))
    assert guard.settle(state) == []
    job.resume(state)
    assert job.told == {"call_1": "staging billing"}
    assert job.state_of(request_id) == "completed"
    job.tools.close()


class Caller:
    def __call__(self, key: str) -> str:
        return key


def test_an_object_that_is_not_a_function_is_refused(guard: ApprovalGuard) -> None:
    with pytest.raises(NexusControlError) as refused:
        guard.function_tool(Caller())
    assert refused.value.code == "INVALID_ARGUMENT"


# --- the conversation --------------------------------------------------------------------------------------------


def test_one_call_id_in_two_conversations_is_two_requests(tmp_path: Path) -> None:
    jobs = [Job(tmp_path, conversation=name) for name in ("ticket-17", "ticket-18")]
    for job in jobs:
        job.start(called("rotate"))
    assert len(jobs[0].requests) == 2
    for job in jobs:
        job.tools.close()


def test_the_conversation_is_found_in_the_runs_context(tmp_path: Path) -> None:
    job = Job(tmp_path, conversation=lambda context: context["ticket"])
    ticket = {"ticket": "ticket-17"}
    state = job.start(called("rotate"), context=ticket).to_state()
    [request_id] = job.requests
    assert data_of(job.tools.status(request_id))["metadata"]["session"] == "ticket-17"
    with pytest.raises(TypeError):
        job.guard.settle(state)
    data_of(job.tools.approve(request_id, BOB))
    assert job.guard.settle(state, ticket) == []
    job.resume(state)
    assert job.effects == ["rotate billing"]
    job.tools.close()


@pytest.mark.parametrize("context", [None, {}, {"ticket": ""}, {"ticket": 17}])
def test_without_a_conversation_nothing_is_asked_or_run(context: object, tmp_path: Path) -> None:
    job = Job(tmp_path, conversation=lambda context: context["ticket"])
    assert (
        job.start(called("rotate"), called("arotate", call_id="call_2"), context=context).final_output
        == "done"
    )
    assert set(job.told) == {"call_1", "call_2"}
    for text in job.told.values():
        assert text.startswith("Not run: approvals cannot be checked now")
    assert job.requests == []
    assert job.effects == []
    job.tools.close()


def test_an_empty_conversation_is_refused() -> None:
    with pytest.raises(NexusControlError) as refused:
        ApprovalGuard(NexusControlTools(), conversation="")
    assert refused.value.code == "INVALID_ARGUMENT"


# --- values that change, and values that are spelled alike -------------------------------------------------------


def emptied(pairs: dict[str, int]) -> dict[str, int]:
    given = dict(pairs)
    pairs.clear()
    return given


def count(pairs: Annotated[dict[str, int], BeforeValidator(emptied)]) -> int:
    return len(pairs)


def test_a_validator_that_changes_what_it_is_given_does_not_change_what_people_see(tmp_path: Path) -> None:
    job = Job(tmp_path)
    job.agent.tools = [job.guard.function_tool(strict_mode=False)(count)]
    state = job.start(called("count", {"pairs": {"a": 1}})).to_state()
    [request_id] = job.guard.settle(state)
    assert json.loads(data_of(job.tools.status(request_id))["plan"])["arguments"] == {"pairs": {"a": 1}}
    data_of(job.tools.approve(request_id, BOB))
    assert job.guard.settle(state) == []
    job.resume(state)
    assert job.told == {"call_1": "1"}
    job.tools.close()


def secret(key: SecretStr) -> str:
    raise AssertionError("it ran")


def either(key: bool | int) -> str:
    raise AssertionError("it ran")


@pytest.mark.parametrize(
    ("function", "told", "given"),
    [(secret, '{"key": "a"}', '{"key": "b"}'), (either, '{"key": 1}', '{"key": true}')],
)
def test_other_values_that_look_or_are_equal_are_told_apart(
    function: Callable[..., Any], told: str, given: str, guard: ApprovalGuard
) -> None:
    tool = guard.function_tool(function)
    context = ToolContext[Any](None, tool_name=tool.name, tool_call_id="call_1", tool_arguments=told)
    answer: Any = asyncio.run(invoked(tool, context, given))
    assert answer.startswith("Not run: people were asked about another content")


async def invoked(tool: FunctionTool, context: ToolContext[Any], arguments: str) -> object:
    return await tool.on_invoke_tool(context, arguments)


# --- the page ----------------------------------------------------------------------------------------------------

PAGE = (REPOSITORY / "docs/howto/guard-openai-agents.md").read_text(encoding="utf-8")
PLAIN, GUARDED, IN_CONTEXT = (block.text for block in documents.blocks(PAGE) if block.language == "python")
MODEL = """\
from agents import set_tracing_disabled
from agents.testing import ScriptedModel, assistant_message, function_call

set_tracing_disabled(True)
call = function_call("rotate", {"key": "billing"}, call_id="call_1")
model = ScriptedModel([[call], [assistant_message("done")]][STEP:])
"""
"""What a reader of the page has: a model. Its second step is what it says when its run goes on."""


def started(program: str, folder: Path, step: int = 0) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", MODEL.replace("STEP", str(step)) + program]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def test_the_page_guards_a_program_as_it_says(tmp_path: Path) -> None:
    assert started(PLAIN, tmp_path).stdout == "done\n"
    first = started(GUARDED, tmp_path)
    with NexusControlTools(tmp_path / "decisions.db") as tools:
        [request] = data_of(tools.list_requests())["requests"]
        request_id = request["request_id"]
        assert (first.stderr, first.returncode) == (f"Waiting for {request_id}\n", 1)
        assert started(GUARDED, tmp_path, 1).stderr == first.stderr
        data_of(tools.approve(request_id, BOB))
        for _ in range(2):
            assert started(GUARDED, tmp_path, 1).stdout == "done\n"
        status = data_of(tools.status(request_id))
        assert (status["state"], len(status["executions"])) == ("completed", 1)
        assert data_of(tools.list_requests())["count"] == 1


def test_the_page_finds_the_conversation_in_the_context(tmp_path: Path) -> None:
    with_the_guard = GUARDED.partition("agent = ")[0]
    guard, _, run = IN_CONTEXT.partition("\n")
    program = with_the_guard.replace(
        with_the_guard[with_the_guard.index("guard = ") : with_the_guard.index("\n\n\n@")],
        f'tools = NexusControlTools("decisions.db")\n{guard}',
    )
    ran = started(
        f'{program}agent = Agent(name="ops", model=model, tools=[rotate])\n{run}print(*waiting)\n', tmp_path
    )
    with NexusControlTools(tmp_path / "decisions.db") as tools:
        [request] = data_of(tools.list_requests())["requests"]
        assert ran.stdout == f"{request['request_id']}\n"
        assert data_of(tools.status(request["request_id"]))["metadata"]["session"] == "ticket-17"


def test_a_guard_costs_the_page_at_most_15_lines() -> None:
    plain_lines, guarded_lines = (
        [line for line in text.splitlines() if line.strip()] for text in (PLAIN, GUARDED)
    )
    assert 0 < len(guarded_lines) - len(plain_lines) <= 15
