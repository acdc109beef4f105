"""Codex without a person and without a network: `codex exec` with a fake `/v1/responses` and hooks of a test.

    with codex(folder, [[Call("call_1", "exec_command", {"cmd": "echo hi"})]], hooks(hook_command)) as program:
        run = program.run("go")
        program.run("again", resume=run.session)
        program.model.results()["call_1"]    # what the model was told

Hooks that a person did not trust are not run: runs say `--dangerously-bypass-hook-trust`.
"""

import json
import shlex
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

from tests.hosts.model import FakeModel, Said, Turn, serving
from tests.hosts.programs import Ended, Host, missing

PROGRAM, PACKAGE = "codex", "@openai/codex"
EVENTS = ("PreToolUse", "PostToolUse")
"""The events of which a guard must hear. There is none for a failure."""

_CONFIG = """
model = "{model}"
model_provider = "fake"
approval_policy = "never"
sandbox_mode = "danger-full-access"
check_for_update_on_startup = false

[analytics]
enabled = false

[model_providers.fake]
name = "fake"
base_url = "{url}/v1"
wire_api = "responses"
env_key = "FAKE_KEY"
request_max_retries = 0
stream_max_retries = 0
"""
_HOOK = """
[[hooks.{event}]]
matcher = "*"
[[hooks.{event}.hooks]]
type = "command"
command = {command}
timeout = 60
"""


class ResponsesModel(FakeModel):
    """The Responses API, as a stream of events."""

    path = "/v1/responses"

    def is_conversation(self, request: Mapping[str, Any]) -> bool:
        return "input" in request

    def beginning(self, request: Mapping[str, Any]) -> str:
        items: list[dict[str, Any]] = request["input"]
        return json.dumps(list(takewhile(lambda item: not _is_by_model(item), items)))

    def said(self, request: Mapping[str, Any]) -> int:
        """Parallel calls are one turn: they stand one after the other."""
        by_model = [_is_by_model(item) for item in request["input"]]
        return sum(here and not before for before, here in zip([False, *by_model], by_model, strict=False))

    def events(self, turn: Said) -> Iterable[dict[str, Any]]:
        response = {"id": f"resp_{len(self.requests)}"}
        yield {"type": "response.created", "response": response}
        for index, item in enumerate(_items(turn)):
            yield {"type": "response.output_item.done", "output_index": index, "item": item}
        usage = {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}
        yield {"type": "response.completed", "response": {**response, "usage": usage}}

    def given(self, request: Mapping[str, Any]) -> dict[str, str]:
        return {
            item["call_id"]: _text(item["output"])
            for item in request["input"]
            if item["type"] in ("function_call_output", "custom_tool_call_output")
        }


def _is_by_model(item: Mapping[str, Any]) -> bool:
    return item["type"] in ("function_call", "custom_tool_call") or item.get("role") == "assistant"


def _items(turn: Said) -> list[dict[str, Any]]:
    if isinstance(turn, str):
        content = [{"type": "output_text", "text": turn}]
        return [{"type": "message", "role": "assistant", "id": "msg_1", "content": content}]
    return [{"call_id": call.id, **_called(call.tool), **_given(call.arguments)} for call in turn]


def _given(arguments: Mapping[str, Any] | str) -> dict[str, str]:
    if isinstance(arguments, str):
        return {"type": "custom_tool_call", "input": arguments}
    return {"type": "function_call", "arguments": json.dumps(arguments)}


def _called(tool: str) -> dict[str, str]:
    """MCP tools are called by their server's namespace: `mcp__notes__note` is `note` of `mcp__notes`."""
    namespace, _, name = tool.rpartition("__")
    return {"namespace": namespace, "name": name} if namespace else {"name": name}


def _text(output: str | list[dict[str, Any]]) -> str:
    return output if isinstance(output, str) else "".join(part.get("text", "") for part in output)


@dataclass(frozen=True)
class Run:
    """How `codex exec` ended."""

    ended: Ended

    @property
    def session(self) -> str:
        return session_of(self.ended.stdout)


def session_of(printed: str) -> str:
    """The id of the session, from the first event that `codex exec --json` prints."""
    event = json.loads(printed.partition("\n")[0])
    assert event["type"] == "thread.started", printed
    return event["thread_id"]


@dataclass(frozen=True)
class Codex:
    """The program with its configuration, and the model that it asks."""

    host: Host
    model: FakeModel

    def words(self, prompt: str, *, resume: str | None = None, trusting: bool = True) -> list[str]:
        """Without `trusting`, hooks that a person did not trust are not run."""
        options = ["--json", "--skip-git-repo-check"]
        if trusting:
            options.append("--dangerously-bypass-hook-trust")
        return ["exec", *(["resume", *options, resume] if resume else options), prompt]

    def run(self, prompt: str, *, resume: str | None = None, trusting: bool = True) -> Run:
        return Run(self.host.run(self.words(prompt, resume=resume, trusting=trusting)))


def hooks(hook_command: Sequence[str]) -> str:
    """The part of config.toml that registers the hook for each of its events and for every tool."""
    command = json.dumps(shlex.join(hook_command))
    return "".join(_HOOK.format(event=event, command=command) for event in EVENTS)


@contextmanager
def codex(folder: Path, turns: Sequence[Turn], configuration: str, model: str = "fake") -> Generator[Codex]:
    """Codex in a folder, with this added to its configuration."""
    with serving(ResponsesModel(turns)) as served:
        host = Host(PROGRAM, folder, {"FAKE_KEY": "not-a-key"})
        place = host.home / ".codex" / "config.toml"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(_CONFIG.format(url=served.url, model=model) + configuration, encoding="utf-8")
        yield Codex(host, served)


def why_missing() -> str | None:
    return missing(PROGRAM, PACKAGE)
