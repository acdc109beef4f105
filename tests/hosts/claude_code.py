"""Claude Code without a person and without a network: `claude -p` with a fake `/v1/messages` and hooks of a test.

    turns = [[Call("toolu_1", "Bash", {"command": "echo hi"})]]
    with claude_code(folder, turns, settings(hook_command, onFailure="block")) as claude:
        deferred = claude.run("go")
        claude.run(resume=deferred.session)
        claude.model.results()["toolu_1"]    # what the model was told

Root may not bypass the permissions: an allow rule for the tool takes their place.
"""

import json
import shlex
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.hosts.model import FakeModel, Said, Turn, serving
from tests.hosts.programs import Ended, Host, missing

PROGRAM, PACKAGE = "claude", "@anthropic-ai/claude-code"
EVENTS = ("PreToolUse", "PostToolUse", "PostToolUseFailure")
"""The events of which a guard must hear."""


class AnthropicModel(FakeModel):
    """The Messages API, as a stream of events."""

    path = "/v1/messages"

    def is_conversation(self, request: Mapping[str, Any]) -> bool:
        return bool(request.get("tools"))

    def beginning(self, request: Mapping[str, Any]) -> str:
        return json.dumps(request["messages"][0])

    def said(self, request: Mapping[str, Any]) -> int:
        return sum(message["role"] == "assistant" for message in request["messages"])

    def events(self, turn: Said) -> Iterable[dict[str, Any]]:
        usage = {"input_tokens": 1, "output_tokens": 1}
        message = {"id": f"msg_{len(self.requests)}", "type": "message", "role": "assistant", "model": "fake"}
        ending = {"stop_reason": None, "stop_sequence": None, "usage": usage}
        yield {"type": "message_start", "message": {**message, "content": [], **ending}}
        for index, (block, delta) in enumerate(_blocks(turn)):
            yield {"type": "content_block_start", "index": index, "content_block": block}
            yield {"type": "content_block_delta", "index": index, "delta": delta}
            yield {"type": "content_block_stop", "index": index}
        reason = "end_turn" if isinstance(turn, str) else "tool_use"
        yield {
            "type": "message_delta",
            "delta": {"stop_reason": reason, "stop_sequence": None},
            "usage": usage,
        }
        yield {"type": "message_stop"}

    def given(self, request: Mapping[str, Any]) -> dict[str, str]:
        return {
            block["tool_use_id"]: _text(block["content"])
            for message in request["messages"]
            if isinstance(message["content"], list)
            for block in message["content"]
            if block["type"] == "tool_result"
        }


def _blocks(turn: Said) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Each block as it starts, and what is added to it."""
    if isinstance(turn, str):
        return [({"type": "text", "text": ""}, {"type": "text_delta", "text": turn})]
    return [
        (
            {"type": "tool_use", "id": call.id, "name": call.tool, "input": {}},
            {"type": "input_json_delta", "partial_json": json.dumps(call.arguments)},
        )
        for call in turn
    ]


def _text(content: str | list[dict[str, Any]]) -> str:
    if isinstance(content, str):
        return content
    return "".join(block.get("text", "") for block in content)


@dataclass(frozen=True)
class Run:
    """How `claude -p` ended."""

    ended: Ended

    @property
    def document(self) -> dict[str, Any]:
        """What it printed; it prints nothing where it found nothing to resume."""
        assert self.ended.stdout, self.ended
        return json.loads(self.ended.stdout)

    @property
    def session(self) -> str:
        return self.document["session_id"]


@dataclass(frozen=True)
class ClaudeCode:
    """The program with its settings, and the model that it asks."""

    host: Host
    model: FakeModel

    def words(self, prompt: str | None = None, *, resume: str | None = None, fork: bool = False) -> list[str]:
        """A resume without a prompt goes on with the call that a hook deferred."""
        return [
            "-p",
            *([prompt] if prompt is not None else []),
            "--output-format=json",
            "--model=fake",
            *([f"--resume={resume}"] if resume else []),
            *(["--fork-session"] if fork else []),
        ]

    def run(self, prompt: str | None = None, *, resume: str | None = None, fork: bool = False) -> Run:
        return Run(self.host.run(self.words(prompt, resume=resume, fork=fork)))


def settings(hook_command: Sequence[str], allow: Sequence[str] = ("Bash",), **handler: Any) -> dict[str, Any]:
    """The settings that register the hook for each of its events and for every tool."""
    hook = {"type": "command", "command": shlex.join(hook_command), "timeout": 60, **handler}
    return {
        "hooks": {event: [{"matcher": "*", "hooks": [hook]}] for event in EVENTS},
        "permissions": {"allow": list(allow)},
    }


@contextmanager
def claude_code(folder: Path, turns: Sequence[Turn], written: Mapping[str, Any]) -> Generator[ClaudeCode]:
    """Claude Code in a folder, with these settings as those of its user."""
    with serving(AnthropicModel(turns)) as model:
        variables = {
            "ANTHROPIC_BASE_URL": model.url,
            "ANTHROPIC_API_KEY": "sk-ant-not-a-key",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "ENABLE_TOOL_SEARCH": "false",
        }
        host = Host(PROGRAM, folder, variables)
        place = host.home / ".claude" / "settings.json"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(json.dumps(written), encoding="utf-8")
        yield ClaudeCode(host, model)


def why_missing() -> str | None:
    return missing(PROGRAM, PACKAGE)
