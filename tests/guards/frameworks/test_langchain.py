"""The middleware for LangChain, with the real package and a model that follows a script."""

import asyncio
import shutil
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest

pytest.importorskip("langchain", reason="needs the package langchain")
pytest.importorskip("langgraph.checkpoint.sqlite", reason="needs the package langgraph-checkpoint-sqlite")

from langchain.agents import create_agent  # pyright: ignore[reportUnknownVariableType] # a parameter is a bare generic
from langchain.agents.middleware import (
    AgentMiddleware,
    HumanInTheLoopMiddleware,
    ToolCallRequest,
    ToolRetryMiddleware,
)
from langchain_core.messages import ToolMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.types import Command, interrupt

from nexus_control import NexusControlError, NexusControlTools
from nexus_control.guards.langchain import ApprovalMiddleware
from nexus_control.rules.book import Rule, RuleBook
from tests.guards.frameworks.langchain_agent import CONFIG, ScriptedModel, World, interrupts, told, tools_of
from tests.support.governed import BOB, data_of
from tests.support.places import REPOSITORY

Call: TypeAlias = tuple[str, str, dict[str, Any]]
BOOK: Call = ("c1", "book", {"what": "room"})
CANNOT_RUN: list[tuple[Call, str]] = [
    (("c1", "book", {"what": "room", "seats": "many"}), "seats"),
    (("c1", "book", {}), "what"),
    (("c1", "stay", {"first": 3, "last": 2}), "the last night is before the first"),
    (("c1", "note", {"who": "me"}), "what"),
    (("c1", "nothing", {}), "there is no tool nothing"),
]
REQUEST = "request_id"


@pytest.fixture(params=["invoke", "ainvoke"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    return World(tmp_path, is_async=request.param == "ainvoke")


@pytest.fixture
def tools(world: World) -> NexusControlTools:
    return NexusControlTools(world.database)


def asked(answer: dict[str, Any]) -> str:
    """The request of the one call that waits."""
    (waiting,) = interrupts(answer)
    return waiting.value[REQUEST]


def approve_elsewhere(world: World, request_id: str) -> None:
    command = [sys.executable, "-m", "nexus_control", "approve", request_id, "--yes", "--as", "human:bob"]
    subprocess.run([*command, "--db", str(world.database)], cwd=REPOSITORY, check=True, capture_output=True)


def started_and_approved(world: World, tools: NexusControlTools, *calls: Call) -> str:
    """The id of the request that this turn of the model waited for."""
    world.script(calls)
    request_id = asked(world.start())
    data_of(tools.approve(request_id, BOB))
    return request_id


def state_of(tools: NexusControlTools, request_id: str) -> str:
    return data_of(tools.status(request_id))["state"]


def call_of(tools: NexusControlTools, request_id: str) -> str:
    return data_of(tools.status(request_id))["metadata"]["call_id"]


def number_of_requests(tools: NexusControlTools) -> int:
    return data_of(tools.list_requests())["count"]


# --- once --------------------------------------------------------------------------------------------------------


def test_a_call_waits_for_another_process_and_runs_once_in_a_third(
    world: World, tools: NexusControlTools
) -> None:
    world.script([BOOK])
    waiting = world.start()
    assert interrupts(waiting)[0].value == {
        REQUEST: asked(waiting),
        "tool": "book",
        "arguments": {"what": "room", "seats": 1},
    }
    assert world.effects() == []
    approve_elsewhere(world, asked(waiting))
    resumed = world.resume_elsewhere()
    assert resumed.stdout == '["booked room for 1"]\n', resumed.stderr
    assert world.effects() == ["room"]
    assert state_of(tools, asked(waiting)) == "completed"
    assert number_of_requests(tools) == 1


def test_the_same_saved_state_resumed_twice_has_one_effect(world: World, tools: NexusControlTools) -> None:
    world.script([BOOK])
    request_id = asked(world.start())
    data_of(tools.approve(request_id, BOB))
    shutil.copy(world.folder / "threads.db", world.folder / "older.db")
    assert told(world.resume()) == ["booked room for 1"]
    shutil.copy(world.folder / "older.db", world.folder / "threads.db")
    again = world.resume()
    (text,) = told(again)
    assert text.startswith(f"Not run again: request {request_id} was already executed")
    assert text.endswith("It gave back: booked room for 1")
    assert again["messages"][-1].text == "done"
    assert world.effects() == ["room"]


def test_a_thread_that_is_forked_at_an_older_checkpoint_has_one_effect(
    world: World, tools: NexusControlTools
) -> None:
    started_and_approved(world, tools, BOOK)
    with SqliteSaver.from_conn_string(str(world.folder / "threads.db")) as saver:
        older: RunnableConfig = world.agent(saver).get_state(CONFIG).config
    assert told(world.resume()) == ["booked room for 1"]
    forked = world.invoke(Command(resume=True), older)
    assert told(forked)[0].startswith("Not run again")
    assert world.effects() == ["room"]


@pytest.mark.parametrize("word", [True, {"decisions": [{"type": "approve"}]}, "approved"])
def test_an_application_that_says_approved_while_people_decide_runs_nothing(
    word: object, world: World, tools: NexusControlTools
) -> None:
    world.script([BOOK])
    request_id = asked(world.start())
    for _ in range(2):
        assert asked(world.resume(word)) == request_id
    assert world.effects() == []
    assert state_of(tools, request_id) == "pending_approval"
    data_of(tools.approve(request_id, BOB))
    assert told(world.resume(word)) == ["booked room for 1"]
    assert world.effects() == ["room"]


def test_a_retry_under_a_new_id_is_a_new_request(world: World, tools: NexusControlTools) -> None:
    world.script([BOOK], [("c2", "book", {"what": "room"})])
    first = asked(world.start())
    data_of(tools.approve(first, BOB))
    second = asked(world.resume())
    assert second != first
    assert world.effects() == ["room"]
    data_of(tools.deny(second, BOB, "one is enough"))
    assert "one is enough" in told(world.resume())[1]
    assert world.effects() == ["room"]


def test_parallel_calls_are_decided_each_for_itself(world: World, tools: NexusControlTools) -> None:
    world.script(
        [
            BOOK,
            ("c2", "book", {"what": "room"}),
            ("c3", "book", {"what": "car"}),
            ("c4", "book", {"what": "desk", "seats": "x"}),
        ]
    )
    waiting = interrupts(world.start())
    ids = sorted((each.value[REQUEST] for each in waiting), key=lambda each: call_of(tools, each))
    assert [call_of(tools, each) for each in ids] == ["c1", "c2", "c3"]
    data_of(tools.approve(ids[0], BOB))
    data_of(tools.deny(ids[1], BOB, "one room is enough"))
    still = world.resume({each.id: True for each in waiting})
    assert asked(still) == ids[2]
    assert world.effects() == ["room"]
    data_of(tools.approve(ids[2], BOB))
    texts = told(world.resume())
    assert texts[0] == "booked room for 1"
    assert "denied by bob: one room is enough" in texts[1]
    assert texts[2] == "booked car for 1"
    assert "its arguments do not fit" in texts[3]
    assert world.effects() == ["room", "car"]
    assert [state_of(tools, each) for each in ids] == ["completed", "denied", "completed"]


def test_parallel_calls_that_were_approved_run_each_once(world: World, tools: NexusControlTools) -> None:
    world.script([BOOK, ("c2", "book", {"what": "room"})])
    waiting = interrupts(world.start())
    for each in waiting:
        data_of(tools.approve(each.value[REQUEST], BOB))
    answer = world.resume({each.id: True for each in waiting})
    assert told(answer) == ["booked room for 1"] * 2
    assert world.effects() == ["room", "room"]


# --- other content -----------------------------------------------------------------------------------------------


def test_arguments_that_were_edited_in_the_saved_state_do_not_run(
    world: World, tools: NexusControlTools
) -> None:
    request_id = started_and_approved(world, tools, BOOK)
    world.edit(what="palace")
    answer = world.invoke(None)
    assert told(answer)[0].startswith("Not run: people were asked about another content of this call")
    assert world.effects() == []
    assert state_of(tools, request_id) == "approved"


class Edits(AgentMiddleware[Any, Any, Any]):
    """Makes a palace of the room, once the file is there."""

    def __init__(self, flag: Path) -> None:
        super().__init__()
        self._flag = flag

    def wrap_tool_call(self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Any]) -> Any:
        return handler(self._edited(request))

    async def awrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Awaitable[Any]]
    ) -> Any:
        return await handler(self._edited(request))

    def _edited(self, request: ToolCallRequest) -> ToolCallRequest:
        call = request.tool_call
        return (
            request.override(tool_call={**call, "args": {"what": "palace"}})
            if self._flag.exists()
            else request
        )


def test_arguments_that_a_middleware_changes_after_the_approval_do_not_run(
    world: World, tools: NexusControlTools
) -> None:
    flag = world.folder / "flag"
    world.outside = [Edits(flag)]
    request_id = started_and_approved(world, tools, BOOK)
    flag.touch()
    assert told(world.resume())[0].startswith("Not run: people were asked about another content")
    assert world.effects() == []
    assert state_of(tools, request_id) == "approved"


def test_people_approve_what_somebody_at_the_chat_made_of_the_call(
    world: World, tools: NexusControlTools
) -> None:
    world.outside = [HumanInTheLoopMiddleware(interrupt_on={"book": True})]
    world.script([BOOK])
    assert "action_requests" in interrupts(world.start())[0].value
    edit = {"type": "edit", "edited_action": {"name": "book", "args": {"what": "hut"}}}
    waiting = world.resume({"decisions": [edit]})
    request_id = asked(waiting)
    assert '"what": "hut"' in data_of(tools.status(request_id))["plan"]
    assert world.effects() == []
    data_of(tools.approve(request_id, BOB))
    assert told(world.resume())[0].endswith("booked hut for 1")
    assert world.effects() == ["hut"]


# --- no ----------------------------------------------------------------------------------------------------------


def test_a_denial_reaches_the_model_with_its_reason_and_is_final(
    world: World, tools: NexusControlTools
) -> None:
    world.script([BOOK])
    request_id = asked(world.start())
    data_of(tools.deny(request_id, BOB, "not on a Friday"))
    answer = world.resume({"decisions": [{"type": "approve"}]})
    assert "denied by bob: not on a Friday. Final for this call" in told(answer)[0]
    assert answer["messages"][-1].text == "done"
    assert world.effects() == []
    assert state_of(tools, request_id) == "denied"


def test_a_withdrawal_reaches_the_model_with_its_reason(world: World, tools: NexusControlTools) -> None:
    world.script([BOOK])
    request_id = asked(world.start())
    requester = data_of(tools.status(request_id))["requester"]
    data_of(tools.withdraw(request_id, requester, "no longer wanted"))
    assert "was withdrawn (no longer wanted)" in told(world.resume())[0]
    assert world.effects() == []


@pytest.mark.parametrize(("call", "said"), CANNOT_RUN)
def test_a_call_that_cannot_run_is_refused_before_anybody_is_asked(
    call: Call, said: str, world: World, tools: NexusControlTools
) -> None:
    world.script([call])
    answer = world.start()
    assert told(answer)[0].startswith("Not run: it could not be asked for")
    assert said in told(answer)[0]
    assert answer["messages"][-1].text == "done"
    assert world.effects() == []
    assert number_of_requests(tools) == 0


def test_a_tool_gets_what_the_framework_puts_in(world: World, tools: NexusControlTools) -> None:
    started_and_approved(world, tools, ("c1", "note", {"what": "it"}))
    assert told(world.resume()) == ["noted"]
    assert world.effects() == ["it by c1"]


def test_a_call_without_an_id_does_not_run(world: World, tools: NexusControlTools) -> None:
    (world.folder / "turns.json").write_text('[[{"id": null, "name": "book", "args": {"what": "room"}}]]')
    with pytest.raises(NexusControlError) as refused:
        world.start()
    assert refused.value.code == "INVALID_ARGUMENT"
    assert world.effects() == []
    assert number_of_requests(tools) == 0


def away(path: Path) -> NexusControlTools:
    """The tools of a store that cannot be asked any more."""
    tools = NexusControlTools(path)
    tools.close()
    return tools


@pytest.mark.parametrize("is_resumed", [False, True])
def test_with_its_store_away_nothing_runs_and_the_run_goes_on(
    is_resumed: bool, world: World, tools: NexusControlTools
) -> None:
    if is_resumed:
        started_and_approved(world, tools, BOOK)
    world.script([BOOK])
    world.store = away
    answer = world.resume() if is_resumed else world.start()
    assert told(answer)[0].startswith("Not run: approvals cannot be checked now")
    assert answer["messages"][-1].text == "done"
    assert world.effects() == []
    assert number_of_requests(tools) == int(is_resumed)


# --- how it ends -------------------------------------------------------------------------------------------------


def test_a_tool_that_raises_is_recorded_as_failed_and_not_run_again(
    world: World, tools: NexusControlTools
) -> None:
    request_id = started_and_approved(world, tools, ("c1", "fail", {"what": "room"}))
    with pytest.raises(ValueError, match="the desk is closed"):
        world.resume()
    assert state_of(tools, request_id) == "failed"
    text = told(world.resume())[0]
    assert text.startswith("Not run again")
    assert "the desk is closed" in text
    assert world.effects() == ["room"]


@pytest.mark.parametrize(
    ("name", "text"),
    [("refuse", "the desk said no"), ("report", "half of it"), ("several", "half of it")],
)
def test_a_failure_that_became_a_message_is_recorded_as_failed(
    name: str, text: str, world: World, tools: NexusControlTools
) -> None:
    request_id = started_and_approved(world, tools, ("c1", name, {"what": "room"}))
    assert told(world.resume()) == [text]
    status = data_of(tools.status(request_id))
    assert status["state"] == "failed"
    assert text in status["executions"][-1]["error_message"]
    assert world.effects() == ["room"]


def test_a_retrying_middleware_before_the_guard_repeats_no_effect(
    world: World, tools: NexusControlTools
) -> None:
    world.outside = [ToolRetryMiddleware(max_retries=2, initial_delay=0)]
    request_id = started_and_approved(world, tools, ("c1", "fail", {"what": "room"}))
    assert told(world.resume())[0].startswith("Not run again")
    assert world.effects() == ["room"]
    assert state_of(tools, request_id) == "failed"


def test_a_process_that_is_killed_in_the_tool_leaves_the_outcome_unknown(
    world: World, tools: NexusControlTools
) -> None:
    request_id = started_and_approved(world, tools, ("c1", "die", {"what": "room"}))
    assert world.resume_elsewhere().returncode == -signal.SIGKILL
    assert "may or may not have taken effect" in told(world.resume())[0]
    assert world.effects() == ["room"]
    assert state_of(tools, request_id) == "outcome_unknown"


def test_a_run_that_is_cancelled_in_the_tool_leaves_the_outcome_unknown(tmp_path: Path) -> None:
    world = World(tmp_path)
    tools = NexusControlTools(world.database)
    world.script([("c1", "hang", {"what": "room"})])

    async def main() -> str:
        started = asyncio.Event()
        world.hung = started.set
        agent = world.agent(InMemorySaver())
        request_id = asked(await agent.ainvoke({"messages": [("user", "go")]}, CONFIG))
        data_of(tools.approve(request_id, BOB))
        running = asyncio.create_task(agent.ainvoke(Command(resume=True), CONFIG))
        await started.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert told(await agent.ainvoke(Command(resume=True), CONFIG))[0].startswith("Not run again")
        return request_id

    assert state_of(tools, asyncio.run(main())) == "outcome_unknown"
    assert world.effects() == ["room"]


def test_a_step_that_takes_too_long_for_the_framework_leaves_the_outcome_unknown(tmp_path: Path) -> None:
    world = World(tmp_path, is_async=True)
    tools = NexusControlTools(world.database)
    request_id = started_and_approved(world, tools, ("c1", "hang", {"what": "room"}))
    world.step_timeout = 4
    with pytest.raises(TimeoutError):
        world.resume()
    assert state_of(tools, request_id) == "outcome_unknown"
    assert world.effects() == ["room"]


# --- interrupts of others ----------------------------------------------------------------------------------------


def test_an_interrupt_in_the_tool_gets_no_answer_that_was_the_guards(
    world: World, tools: NexusControlTools
) -> None:
    world.script([("c1", "ask", {"what": "window?"})])
    request_id = asked(world.start())
    assert asked(world.resume("too early")) == request_id
    data_of(tools.approve(request_id, BOB))
    (question,) = interrupts(world.resume("now"))
    assert question.value == {"asks": "window?"}
    assert state_of(tools, request_id) == "failed"
    assert told(world.resume("yes"))[0].startswith("Not run again")


class Reviews(AgentMiddleware[Any, Any, Any]):
    """Has somebody look at what a tool gave back."""

    def wrap_tool_call(self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Any]) -> Any:
        return self._reviewed(handler(request))

    async def awrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Awaitable[Any]]
    ) -> Any:
        return self._reviewed(await handler(request))

    def _reviewed(self, message: ToolMessage) -> ToolMessage:
        word = interrupt({"review": message.text})
        return message.model_copy(update={"content": f"{word}: {message.text}"})


def test_a_middleware_that_interrupts_behind_the_tool_gets_its_own_answer(
    world: World, tools: NexusControlTools
) -> None:
    world.outside = [Reviews()]
    started_and_approved(world, tools, BOOK)
    (question,) = interrupts(world.resume("mine"))
    assert question.value == {"review": "booked room for 1"}
    text = told(world.resume("fine"))[0]
    assert text.startswith("fine: Not run again")
    assert text.endswith("It gave back: booked room for 1")
    assert world.effects() == ["room"]


# --- which tools -------------------------------------------------------------------------------------------------


def test_only_the_named_tools_are_guarded(world: World, tools: NexusControlTools) -> None:
    world.options = {"only": [tools_of(world.folder, world.hung)["book"]], "min_approvals": 2}
    world.script([("c1", "look", {"what": "room"}), ("c2", "book", {"what": "room"})])
    request_id = asked(world.start())
    assert world.effects() == ["looked at room"]
    assert data_of(tools.status(request_id))["required_approvals"] == 2
    data_of(tools.approve(request_id, BOB))
    assert asked(world.resume()) == request_id
    assert world.effects() == ["looked at room"]


class Swaps(AgentMiddleware[Any, Any, Any]):
    """Runs another tool than the one that the model called."""

    def __init__(self, tool: BaseTool) -> None:
        super().__init__()
        self._tool = tool

    def wrap_tool_call(self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Any]) -> Any:
        return handler(request.override(tool=self._tool))

    async def awrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Awaitable[Any]]
    ) -> Any:
        return await handler(request.override(tool=self._tool))


def test_people_are_asked_about_the_tool_that_would_run(world: World, tools: NexusControlTools) -> None:
    book = tools_of(world.folder, world.hung)["book"]
    world.options, world.outside = {"only": [book]}, [Swaps(book)]
    world.script([("c1", "look", {"what": "room"})])
    request_id = asked(world.start())
    assert data_of(tools.status(request_id))["adapter_id"] == "tool:book"


def test_rules_say_what_passes_what_is_asked_for_and_what_is_denied(
    world: World, tools: NexusControlTools
) -> None:
    data_of(tools.template_create("two", BOB, min_approvals=2, allowed_modes=["apply"]))
    rules = (Rule(verdict="allow", tool="look"), Rule(verdict="template", template="two", tool="book"))
    world.options = {"rules": RuleBook("deny", rules, f"sha256:{'0' * 64}")}
    world.script(
        [("c1", "look", {"what": "room"}), ("c2", "book", {"what": "room"}), ("c3", "note", {"what": "it"})]
    )
    request_id = asked(world.start())
    assert data_of(tools.status(request_id))["required_approvals"] == 2
    data_of(tools.deny(request_id, BOB, "no"))
    texts = told(world.resume())
    assert texts[0] == "room is free"
    assert "the rules deny note" in texts[2]
    assert world.effects() == ["looked at room"]
    assert number_of_requests(tools) == 1


def test_another_thread_with_the_same_call_id_is_another_request(
    world: World, tools: NexusControlTools
) -> None:
    request_id = started_and_approved(world, tools, BOOK)
    other: RunnableConfig = {"configurable": {"thread_id": "t2"}}
    assert asked(world.invoke({"messages": [("user", "go")]}, other)) != request_id
    assert world.effects() == []


# --- what people see, and what has no key ------------------------------------------------------------------------

VISIT: Call = ("c1", "visit", {"place": {"name": "Oslo"}, "tags": ["e", "d", "c", "b", "a"], "days": "3"})


def test_people_see_what_the_tool_gets_and_it_is_the_same_in_another_process(
    world: World, tools: NexusControlTools
) -> None:
    world.script([VISIT])
    (waiting,) = interrupts(world.start())
    assert waiting.value["arguments"] == {
        "place": {"(type)": "Place", "name": "Oslo", "floor": 0},
        "tags": ["a", "b", "c", "d", "e"],
        "days": 6,
    }
    data_of(tools.approve(waiting.value[REQUEST], BOB))
    resumed = world.resume_elsewhere()
    assert resumed.stdout == '["visited"]\n', resumed.stderr
    assert world.effects() == ["visited Oslo for 6 days"]


def scaling(world: World, count: int) -> Any:
    """An agent with a tool whose default may change from deployment to deployment."""

    @tool
    def scale(key: str, count: int = count) -> str:
        """Scale."""
        (world.folder / "effects").write_text(f"{key} {count}")
        return "scaled"

    model = ScriptedModel(turns=[[{"id": "c1", "name": "scale", "args": {"key": "web"}}]])
    guard = ApprovalMiddleware(NexusControlTools(world.database))
    return create_agent(model, [scale], middleware=[guard], checkpointer=SAVER)


SAVER = InMemorySaver()


def test_a_default_that_changed_after_the_approval_does_not_run(tmp_path: Path) -> None:
    world = World(tmp_path)
    config: RunnableConfig = {"configurable": {"thread_id": str(tmp_path)}}
    request_id = asked(scaling(world, 1).invoke({"messages": [("user", "go")]}, config))
    data_of(NexusControlTools(world.database).approve(request_id, BOB))
    (text,) = told(scaling(world, 100).invoke(Command(resume=True), config))
    assert text.startswith("Not run: people were asked about another content")
    assert world.effects() == []


@pytest.mark.parametrize("config", [{}, {"configurable": {"thread_id": ""}}])
def test_a_call_outside_a_thread_does_not_run(config: RunnableConfig, tmp_path: Path) -> None:
    world = World(tmp_path)
    world.script([BOOK])
    with pytest.raises(NexusControlError) as refused:
        world.agent(None).invoke({"messages": [("user", "go")]}, config)
    assert (refused.value.code, world.effects()) == ("INVALID_ARGUMENT", [])


@pytest.mark.parametrize("only", [[], ["book"]])
def test_a_selection_that_is_no_tool_is_refused(only: Any) -> None:
    with pytest.raises(NexusControlError) as refused:
        ApprovalMiddleware(NexusControlTools(), only=only)
    assert refused.value.code == "INVALID_ARGUMENT"


def test_two_guards_of_one_agent_have_two_policies(world: World, tools: NexusControlTools) -> None:
    made = tools_of(world.folder, world.hung)
    world.options = {"only": [made["book"]]}
    world.outside = [ApprovalMiddleware(tools, only=[made["look"]], min_approvals=2)]
    world.script([BOOK, ("c2", "look", {"what": "room"})])
    asked_for = {each.value["tool"]: each.value[REQUEST] for each in interrupts(world.start())}
    policies = {name: data_of(tools.status(each))["required_approvals"] for name, each in asked_for.items()}
    assert policies == {"book": 1, "look": 2}


def statuses(answer: dict[str, Any]) -> list[str]:
    return [each.status for each in answer["messages"] if isinstance(each, ToolMessage)]


def test_a_call_that_was_completed_before_is_no_error(world: World, tools: NexusControlTools) -> None:
    started_and_approved(world, tools, BOOK)
    shutil.copy(world.folder / "threads.db", world.folder / "older.db")
    world.resume()
    shutil.copy(world.folder / "older.db", world.folder / "threads.db")
    again = world.resume()
    assert told(again)[0].startswith("Not run again")
    assert statuses(again) == ["success"]


def test_a_call_that_did_not_run_is_an_error(world: World, tools: NexusControlTools) -> None:
    world.script([BOOK])
    data_of(tools.deny(asked(world.start()), BOB, "no"))
    assert statuses(world.resume()) == ["error"]
