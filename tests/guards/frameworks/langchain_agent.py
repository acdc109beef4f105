"""An agent of LangChain over files in one folder. Each run opens them all again, as a process that resumes does.

    python -m tests.guards.frameworks.langchain_agent FOLDER invoke       resumes; or ainvoke

The model reads its turns from a file. The tools write a line for each effect.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypeAlias

from langchain.agents import create_agent  # pyright: ignore[reportUnknownVariableType] # a parameter is a bare generic
from langchain.agents.middleware import AgentMiddleware
from langchain.tools import ToolRuntime
from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AnyMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool, ToolException, tool
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.types import Command, interrupt
from pydantic import AfterValidator, BaseModel, model_validator

from nexus_control import NexusControlTools
from nexus_control.guards.langchain import ApprovalMiddleware
from tests.support.places import REPOSITORY

CONFIG: RunnableConfig = {"configurable": {"thread_id": "t1"}}
Calls: TypeAlias = Sequence[tuple[str, str, dict[str, Any]]]
"""The tool calls of one turn of the model: the id, the tool, the arguments."""


class ScriptedModel(BaseChatModel):
    """Says the turn whose number is that of the model's messages so far, then `done`."""

    turns: list[list[dict[str, Any]]]

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(self, tools: Sequence[Any], **_options: Any) -> "ScriptedModel":  # pyright: ignore[reportIncompatibleMethodOverride] # as all fakes do
        return self

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **_options: Any,
    ) -> ChatResult:
        number = sum(isinstance(each, AIMessage) for each in messages)
        calls = self.turns[number] if number < len(self.turns) else []
        said = AIMessage("" if calls else "done", tool_calls=calls)
        return ChatResult(generations=[ChatGeneration(message=said)])


class Stay(BaseModel):
    """The arguments of `stay`; the class itself checks something."""

    first: int
    last: int

    @model_validator(mode="after")
    def _in_order(self) -> "Stay":
        if self.last < self.first:
            raise ValueError("the last night is before the first")
        return self


class Place(BaseModel):
    name: str
    floor: int = 0


def doubled(days: int) -> int:
    return 2 * days


def tools_of(effects: Path, hung: Callable[[], None]) -> dict[str, BaseTool]:
    """Tools whose effect is a line in this file. The one that hangs says when it does."""

    def act(what: str) -> None:
        with effects.open("a", encoding="utf-8") as file:
            file.write(f"{what}\n")

    @tool
    def book(what: str, seats: int = 1) -> str:
        """Book it."""
        act(what)
        return f"booked {what} for {seats}"

    @tool
    def look(what: str) -> str:
        """Look it up."""
        act(f"looked at {what}")
        return f"{what} is free"

    @tool
    def fail(what: str) -> str:
        """Book it, then raise."""
        act(what)
        raise ValueError("the desk is closed")

    @tool
    def refuse(what: str) -> str:
        """Book it, then raise what the tool's own handler makes a message of."""
        act(what)
        raise ToolException("the desk said no")

    refuse.handle_tool_error = True

    @tool
    def report(what: str) -> Command[Any]:
        """Book it, and answer with an update of the state that names a failure."""
        act(what)
        message = ToolMessage("half of it", tool_call_id="c1", status="error")
        return Command(update={"messages": [message]})

    @tool
    def several(what: str) -> list[Command[Any] | ToolMessage]:
        """Book it, and answer with an update of the state and a message that names a failure."""
        act(what)
        return [Command(update={}), ToolMessage("half of it", tool_call_id="c1", status="error")]

    @tool
    def ask(what: str) -> str:
        """Interrupt by itself."""
        return f"answered {interrupt({'asks': what})}"

    @tool
    def die(what: str) -> str:
        """Book it; then the process is killed."""
        act(what)
        os.kill(os.getpid(), signal.SIGKILL)
        return "never"

    @tool
    async def hang(what: str) -> str:
        """Book it; then never return."""
        act(what)
        hung()
        await asyncio.Event().wait()
        return "never"

    @tool(args_schema=Stay)
    def stay(first: int, last: int) -> str:
        """Book nights."""
        act(f"nights {first} to {last}")
        return "booked"

    @tool
    def note(what: str, runtime: ToolRuntime[Any, Any]) -> str:
        """Note it, with something that LangGraph puts in."""
        act(f"{what} by {runtime.tool_call_id}")
        return "noted"

    @tool
    def visit(place: Place, tags: set[str], days: Annotated[int, AfterValidator(doubled)] = 1) -> str:
        """Visit a place."""
        act(f"visited {place.name} for {days} days")
        return "visited"

    made = (book, look, fail, refuse, report, several, ask, die, hang, stay, note, visit)
    return {each.name: each for each in made}


@dataclass
class World:
    """The files of one agent, and how it is run."""

    folder: Path
    is_async: bool = False
    options: dict[str, Any] = field(default_factory=dict[str, Any])
    """Of the guard."""
    outside: Sequence[AgentMiddleware[Any, Any, Any]] = ()
    """Middleware before the guard."""
    step_timeout: float | None = None
    hung: Callable[[], None] = lambda: None
    store: Callable[[Path], NexusControlTools] = NexusControlTools

    @property
    def database(self) -> Path:
        return self.folder / "decisions.db"

    def script(self, *turns: Calls) -> None:
        """Have the model make these calls, turn by turn."""
        called = [
            [{"id": call_id, "name": name, "args": args} for call_id, name, args in turn] for turn in turns
        ]
        (self.folder / "turns.json").write_text(json.dumps(called))

    def effects(self) -> list[str]:
        path = self.folder / "effects"
        return path.read_text().splitlines() if path.exists() else []

    def start(self) -> dict[str, Any]:
        return self.invoke({"messages": [HumanMessage("go")]})

    def resume(self, value: object = True) -> dict[str, Any]:
        return self.invoke(Command(resume=value))

    def resume_elsewhere(self) -> "subprocess.CompletedProcess[str]":
        """Resume in a process of its own. It prints what the model was told."""
        mode = "ainvoke" if self.is_async else "invoke"
        return subprocess.run(
            [sys.executable, "-m", __name__, str(self.folder), mode],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            check=False,
        )

    def invoke(self, given: Any, config: RunnableConfig = CONFIG) -> dict[str, Any]:
        """Open everything, run the agent until it ends or is interrupted, and close everything."""
        return asyncio.run(self._ainvoke(given, config)) if self.is_async else self._invoke(given, config)

    def _invoke(self, given: Any, config: RunnableConfig) -> dict[str, Any]:
        with SqliteSaver.from_conn_string(str(self.folder / "threads.db")) as saver:
            return self.agent(saver).invoke(given, config)

    async def _ainvoke(self, given: Any, config: RunnableConfig) -> dict[str, Any]:
        async with AsyncSqliteSaver.from_conn_string(str(self.folder / "threads.db")) as saver:
            return await self.agent(saver).ainvoke(given, config)

    def edit(self, **arguments: object) -> None:
        """Change the arguments of the model's last call in what was saved."""
        with SqliteSaver.from_conn_string(str(self.folder / "threads.db")) as saver:
            agent = self.agent(saver)
            said = agent.get_state(CONFIG).values["messages"][-1]
            call = said.tool_calls[0]
            edited = said.model_copy(update={"tool_calls": [{**call, "args": {**call["args"], **arguments}}]})
            agent.update_state(CONFIG, {"messages": [edited]}, as_node="model")

    def agent(self, saver: Any) -> Any:
        tools = self.store(self.database)
        guard = ApprovalMiddleware(tools, **self.options)
        model = ScriptedModel(turns=json.loads((self.folder / "turns.json").read_text()))
        agent: Any = create_agent(
            model,
            list(tools_of(self.folder / "effects", self.hung).values()),
            middleware=[*self.outside, guard],
            checkpointer=saver,
        )
        agent.step_timeout = self.step_timeout
        return agent


def interrupts(answer: dict[str, Any]) -> list[Any]:
    """The interrupts that a run ended with."""
    return list(answer.get("__interrupt__", ()))


def told(answer: dict[str, Any]) -> list[str]:
    """What the model was told of its calls, in their order."""
    messages: list[AnyMessage] = answer["messages"]
    return [each.text for each in messages if isinstance(each, ToolMessage)]


if __name__ == "__main__":
    print(json.dumps(told(World(Path(sys.argv[1]), is_async=sys.argv[2] == "ainvoke").resume())))
