"""An agent whose tools write lines to a file, in a folder with its store and its saved run.

    python -m tests.guards.frameworks.openai_agents_job FOLDER start TOOL
    python -m tests.guards.frameworks.openai_agents_job FOLDER resume

Its model is scripted: it makes the calls that it is told, then says "done".
"""

import asyncio
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, cast

from agents import Agent, FunctionTool, Runner, RunResult, RunState, set_tracing_disabled
from agents.items import TResponseOutputItem
from agents.testing import ScriptedModel, assistant_message, function_call

from nexus_control import NexusControlTools
from nexus_control.guards.guard import Asking
from nexus_control.guards.openai_agents import ApprovalGuard
from nexus_control.rules.book import RuleBook
from tests.support.governed import data_of

set_tracing_disabled(True)

BILLING = {"key": "billing"}
DONE = [assistant_message("done")]


def called(
    tool: str, arguments: str | Mapping[str, Any] = BILLING, call_id: str = "call_1"
) -> TResponseOutputItem:
    return function_call(tool, arguments, call_id=call_id)


@dataclass
class Job:
    """The agent `agent` and its model, tools and guard. `released` is what `wait` and `stuck` wait for."""

    folder: Path
    conversation: str | Callable[[Any], str] = "ticket-17"
    rules: RuleBook | None = None
    released: threading.Event = field(default_factory=threading.Event)
    started: threading.Event = field(default_factory=threading.Event)
    asking: Asking = field(default_factory=lambda: Asking())

    def __post_init__(self) -> None:
        self.tools = NexusControlTools(self.folder / "decisions.db")
        self.guard = ApprovalGuard(
            self.tools, conversation=self.conversation, rules=self.rules, **self.asking
        )
        self.model = ScriptedModel()
        self.agent = Agent[Any](name="ops", model=self.model, tools=list(self.function_tools()))

    def function_tools(self) -> list[FunctionTool]:
        def rotate(key: str) -> str:
            """Rotate a key."""
            return self.act(f"rotate {key}")

        async def arotate(key: str) -> str:
            """Rotate a key."""
            return self.act(f"rotate {key}")

        def later(key: str, day: date, share: float = 0.5) -> str:
            return self.act(f"rotate {key} {day.year} {share}")

        def breaks(key: str) -> str:
            self.act(f"rotate {key}")
            raise ValueError("the vault is locked")

        async def abreaks(key: str) -> str:
            return breaks(key)

        def dies(key: str) -> str:
            self.act(f"rotate {key}")
            os.kill(os.getpid(), signal.SIGKILL)
            return key

        async def adies(key: str) -> str:
            return dies(key)

        def waits(key: str) -> str:
            self.started.set()
            self.released.wait(60)
            return self.act(f"rotate {key}")

        async def awaits(key: str) -> str:
            self.act(f"rotate {key}")
            self.started.set()
            await asyncio.Event().wait()
            return key

        async def slow(key: str) -> str:
            return await awaits(key)

        plain = [rotate, arotate, later, breaks, abreaks, dies, adies, waits, awaits]
        return [
            *(self.guard.function_tool(each) for each in plain),
            self.guard.function_tool(timeout=0.05)(slow),
            self.guard.function_tool(name_override="raises", failure_error_function=None)(breaks),
        ]

    # --- what it did ---------------------------------------------------------------------------------------------

    def act(self, line: str) -> str:
        with (self.folder / "effects").open("a") as file:
            file.write(f"{line}\n")
        return "a new key"

    @property
    def effects(self) -> list[str]:
        file = self.folder / "effects"
        return file.read_text().splitlines() if file.exists() else []

    @property
    def told(self) -> dict[str, str]:
        """What the model was last told of each call."""
        last = self.model.last_call
        assert last is not None
        return {
            item["call_id"]: item["output"]
            for item in last.input
            if item.get("type") == "function_call_output"
        }

    @property
    def requests(self) -> list[str]:
        """The ids of all requests, the oldest first."""
        return [each["request_id"] for each in reversed(data_of(self.tools.list_requests())["requests"])]

    def state_of(self, request_id: str) -> str:
        return data_of(self.tools.status(request_id))["state"]

    # --- runs ----------------------------------------------------------------------------------------------------

    def start(self, *calls: TResponseOutputItem, context: object = None) -> RunResult:
        """A run in which the model makes these calls, then says that it is done; saved where it is interrupted."""
        self.script([list(calls), DONE])
        result = asyncio.run(Runner.run(self.agent, "Rotate the keys", context=context))
        if result.interruptions:
            self.save(result.to_state())
        return result

    def save(self, state: RunState[Any, Any]) -> None:
        self.path.write_text(json.dumps(state.to_json()))

    @property
    def path(self) -> Path:
        return self.folder / "run.json"

    def load(self) -> RunState[Any, Any]:
        saved = cast("dict[str, Any]", json.loads(self.path.read_text()))
        return asyncio.run(RunState.from_json(self.agent, saved))

    def settled(self) -> RunState[Any, Any]:
        """The saved run, told what people have decided."""
        state = self.load()
        self.guard.settle(state)
        return state

    def resume(self, state: RunState[Any, Any] | None = None) -> RunResult:
        """Go on with a state, by default with the saved one after it was told what people have decided."""
        state = self.settled() if state is None else state
        self.script([DONE])
        return asyncio.run(Runner.run(self.agent, state))

    def script(self, steps: list[list[TResponseOutputItem]]) -> None:
        """What the model says from now on."""
        self.agent.model = self.model = ScriptedModel(steps)


def main(folder: str, command: str, tool: str = "") -> None:
    job = Job(Path(folder))
    result = job.start(called(tool)) if command == "start" else job.resume()
    if result.interruptions:
        print(*job.guard.settle(result.to_state()))
    else:
        print(*job.told.values())


if __name__ == "__main__":
    main(*sys.argv[1:])
