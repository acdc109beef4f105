"""An agent of pydantic-ai with one dangerous tool and a scripted model, kept in a folder.

    python -m tests.guards.frameworks.pydantic_ai_agent FOLDER

resumes the run that is saved there, as a new process of the application would, and says what the requests are that it
still waits for, or how the run ended.
"""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field, SecretStr, TypeAdapter
from pydantic_ai import Agent, DeferredToolRequests, DeferredToolResults, ModelMessagesTypeAdapter
from pydantic_ai.capabilities import AbstractCapability
from pydantic_ai.exceptions import ModelRetry, ToolFailed
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart, ToolReturnPart
from pydantic_ai.models.function import AgentInfo, DeltaToolCall, DeltaToolCalls, FunctionModel
from pydantic_ai.run import AgentRunResult
from pydantic_ai.tools import ToolDenied
from pydantic_ai.toolsets import FunctionToolset

from nexus_control import NexusControlTools
from nexus_control.guards.pydantic_ai import ApprovalGuard

Output = str | DeferredToolRequests
_REQUESTS = TypeAdapter(DeferredToolRequests)


def call(key: str, call_id: str = "c1", tool: str = "rotate", **arguments: object) -> ToolCallPart:
    """A call of `rotate` as a model writes it."""
    return ToolCallPart(tool, {"key": key, **arguments}, tool_call_id=call_id)


def scripted(turns: Sequence[Sequence[ToolCallPart]]) -> FunctionModel:
    """A model that makes each turn's calls, and then says "done"."""

    def answer(messages: list[ModelMessage], _: AgentInfo) -> ModelResponse:
        turn = sum(isinstance(message, ModelResponse) for message in messages)
        return ModelResponse(parts=[*turns[turn]] if turn < len(turns) else [TextPart("done")])

    async def stream(messages: list[ModelMessage], info: AgentInfo) -> AsyncIterator[str | DeltaToolCalls]:
        for number, part in enumerate(answer(messages, info).parts):
            if isinstance(part, ToolCallPart):
                arguments = part.args_as_json_str()
                yield {number: DeltaToolCall(part.tool_name, arguments, tool_call_id=part.tool_call_id)}
            else:
                yield "done"

    return FunctionModel(answer, stream_function=stream)


class Owner(BaseModel):
    """A model whose own JSON leaves out one field and hides another."""

    name: str
    ticket: Annotated[int, Field(exclude=True)] = 0
    token: SecretStr = SecretStr("")


@dataclass(frozen=True)
class Site:
    """The folder of an application: its decisions, its saved run, and the effects of its tool, a line each."""

    folder: Path

    @property
    def store(self) -> Path:
        return self.folder / "decisions.db"

    @property
    def effects(self) -> list[str]:
        path = self.folder / "effects"
        return path.read_text().splitlines() if path.exists() else []

    def act(self, key: str) -> str:
        """The effect, and then what the key says should happen."""
        with (self.folder / "effects").open("a") as file:
            file.write(f"{key}\n")
        match key:
            case "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            case "raises":
                raise ValueError("no such key")
            case "retries":
                raise ModelRetry("another key, please")
            case "fails":
                raise ToolFailed("the vault is sealed")
            case _:
                pass
        return f"a new key for {key}"

    def toolset(self) -> FunctionToolset[object]:
        toolset = FunctionToolset[object]()

        @toolset.tool_plain
        def rotate(key: str, share: float = 0.5) -> str | ToolDenied:
            return ToolDenied("the vault says no") if key == "refuses" else self.act(key)

        @toolset.tool_plain
        async def rotate_async(key: str) -> str:
            return self.act(key)

        @toolset.tool_plain(timeout=0.01)
        async def late(key: str) -> str:
            self.act(key)
            return await asyncio.Event().wait() and "never"

        @toolset.tool_plain
        def assign(key: str, since: date, tags: set[str], owner: Owner) -> str:
            return self.act(key)

        @toolset.tool_plain
        def look(key: str) -> str:
            return f"{key} is a year old"

        _ = rotate, rotate_async, late, assign, look
        return toolset

    def agent(
        self,
        *turns: Sequence[ToolCallPart],
        guard: ApprovalGuard[object] | None = None,
        beside: Sequence[AbstractCapability[object]] = (),
    ) -> Agent[object, Output]:
        """The guarded agent. Capabilities `beside` the guard are listed after it."""
        guard = guard or ApprovalGuard(NexusControlTools(self.store))
        return Agent(
            scripted(turns),
            output_type=[str, DeferredToolRequests],
            toolsets=[self.toolset()],
            capabilities=[guard, *beside],
            deps_type=object,
        )

    def save(self, result: AgentRunResult[Output]) -> DeferredToolRequests:
        assert isinstance(result.output, DeferredToolRequests), result.output
        (self.folder / "messages.json").write_bytes(result.all_messages_json())
        (self.folder / "requests.json").write_bytes(_REQUESTS.dump_json(result.output))
        return result.output

    def saved(self) -> DeferredToolRequests:
        return _REQUESTS.validate_json((self.folder / "requests.json").read_bytes())

    def resumed(
        self, agent: Agent[object, Output], answers: DeferredToolResults | None = None
    ) -> AgentRunResult[Output]:
        """The saved run, resumed by an application that says that everything was approved."""
        return agent.run_sync(**self.resumption(answers))

    def resumption(self, answers: DeferredToolResults | None = None) -> dict[str, Any]:
        messages = ModelMessagesTypeAdapter.validate_json((self.folder / "messages.json").read_bytes())
        answers = answers or self.saved().build_results(approve_all=True)
        return {"message_history": messages, "deferred_tool_results": answers}


def returns(result: AgentRunResult[Output]) -> dict[str, str]:
    """What the model was told of each call, by the call's id."""
    return {
        part.tool_call_id: part.model_response_str(wrap_if_error=False)
        for message in result.all_messages()
        for part in message.parts
        if isinstance(part, ToolReturnPart)
    }


def main(folder: str) -> None:
    """Resume the saved run, in a process of its own."""
    site = Site(Path(folder))
    result = site.resumed(site.agent([]))
    if isinstance(result.output, DeferredToolRequests):
        waiting = site.save(result).metadata
        print("waiting", *(each["request_id"] for each in waiting.values()))
    else:
        print(result.output, *returns(result).values(), sep="\n")


if __name__ == "__main__":
    main(sys.argv[1])
