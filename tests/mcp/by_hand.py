"""A server at pipes that the test itself closes: the official client sends SIGTERM two seconds after it does that."""

import json
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.cli.running import environment
from tests.mcp.serving import Era

ENVELOPE = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientInfo": {"name": "by hand", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}
INITIALIZE = {
    "protocolVersion": "2025-11-25",
    "clientInfo": {"name": "by hand", "version": "1"},
    "capabilities": {},
}


@dataclass
class Pipes:
    """The two ends of a server's pipes, and what it has answered so far."""

    process: "subprocess.Popen[bytes]"
    era: Era
    sent: int = 0
    answers: dict[int, Any] = field(default_factory=dict[int, Any])

    def send(self, method: str, params: dict[str, Any]) -> int:
        self.sent += 1
        if self.era == "auto":
            params = {**params, "_meta": ENVELOPE}
        message = {"jsonrpc": "2.0", "id": self.sent, "method": method, "params": params}
        self.write(json.dumps(message).encode())
        return self.sent

    def write(self, line: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + b"\n")
        self.process.stdin.flush()

    def call(self, tool: str, **arguments: object) -> int:
        """Begin a call; the number of its answer."""
        return self.send("tools/call", {"name": f"nexus-control.{tool}", "arguments": arguments})

    def next_message(self) -> Any:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def answer(self, number: int) -> Any:
        while number not in self.answers:
            message = self.next_message()
            if "id" in message:
                self.answers[message["id"]] = message
        return self.answers[number]

    def close_input(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()

    def end(self) -> int:
        """Close the input; the exit code of the server."""
        self.close_input()
        return self.process.wait(240)


@contextmanager
def started(*arguments: str, folder: Path, era: Era = "legacy", **changes: str) -> Generator[Pipes]:
    """A server on the store in this folder that has heard nothing yet; its log is in `log`."""
    command = [sys.executable, "-m", "nexus_control", "serve", "--db", str(folder / "store.db"), *arguments]
    with (
        open(folder / "log", "a") as log,  # noqa: PTH123 - a stream for the child
        subprocess.Popen(
            command,
            cwd=folder,
            env=environment(PYTHONFAULTHANDLER="1", **changes),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
        ) as process,
    ):
        try:
            yield Pipes(process, era)
        finally:
            process.kill()


@contextmanager
def served(*arguments: str, folder: Path, era: Era = "legacy") -> Generator[Pipes]:
    """A server on the store in this folder, in the middle of its session; its log is in `log`."""
    with started(*arguments, folder=folder, era=era) as pipes:
        if era == "legacy":
            pipes.answer(pipes.send("initialize", INITIALIZE))
        else:
            pipes.answer(pipes.send("tools/list", {}))
        yield pipes
