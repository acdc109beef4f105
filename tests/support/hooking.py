"""The hook of an agent host, run as a host runs it: on a store with a template, and a rule book.

bench = Bench(folder)
waiting = bench.hook(saved("claude_code-PreToolUse-Bash"), ATTENDED="0")
assert waiting.verdict == "defer"
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nexus_control import NexusControlTools
from tests.support.governed import BOB, data_of
from tests.support.places import REPOSITORY

INPUTS = REPOSITORY / "tests" / "hosts" / "inputs"
ASKING = 'default = "deny"\n[[rules]]\ntool = "*"\ntemplate = "one"\n'
ALLOWING = 'default = "allow"\n'
DENYING = 'default = "deny"\n'
HEADLESS = {"CLAUDE_CODE_SESSION_ATTENDED": "0"}
ATTENDED = {"CLAUDE_CODE_SESSION_ATTENDED": "1"}


def saved(name: str, **changes: Any) -> dict[str, Any]:
    """What a host gave, with some of its fields changed."""
    return {**json.loads((INPUTS / f"{name}.json").read_text(encoding="utf-8")), **changes}


def names(event: str) -> list[str]:
    """The saved inputs of an event."""
    return sorted(path.stem for path in INPUTS.glob(f"*-{event}-*.json"))


@dataclass(frozen=True)
class Said:
    """What a hook said to its host, and how it ended."""

    code: int
    stdout: str
    stderr: str

    @property
    def decision(self) -> dict[str, Any]:
        """What its one document says of the call; empty where it printed nothing."""
        if not self.stdout:
            return {}
        (output,) = json.loads(self.stdout).values()
        assert output["hookEventName"] == "PreToolUse"
        return output

    @property
    def verdict(self) -> str | None:
        return self.decision.get("permissionDecision")

    @property
    def denial(self) -> str:
        """The reason of a denial in the shape that every host obeys."""
        assert (self.code, self.verdict) == (2, "deny"), self
        reason = self.decision["permissionDecisionReason"]
        assert reason.startswith("Not run"), reason
        assert reason in self.stderr
        return reason

    @property
    def is_silent(self) -> bool:
        return (self.code, self.stdout, self.stderr) == (0, "", "")


class Bench:
    """A store with the template `one`, and a rule book under which every call needs it."""

    def __init__(self, folder: Path, book: str = ASKING) -> None:
        self.folder = folder
        self.path = folder / "decisions.db"
        self.book = folder / "book.toml"
        self.book.write_text(book, encoding="utf-8")
        with NexusControlTools(self.path) as tools:
            data_of(tools.template_create("one", BOB, min_approvals=1, allowed_modes=["apply"]))

    @property
    def options(self) -> list[str]:
        return ["--db", str(self.path), "--config", str(self.book)]

    def words(self, options: Sequence[str] | None = None) -> list[str]:
        return [
            sys.executable,
            "-P",
            "-m",
            "nexus_control",
            "hook",
            *(self.options if options is None else options),
        ]

    def environment(self, changes: Mapping[str, str]) -> dict[str, str]:
        ours = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("CLAUDE", "NEXUS", "PYTHON"))
        }
        return {**ours, "PYTHONPATH": str(REPOSITORY), "CLAUDE_PID": str(os.getpid()), **changes}

    def start(
        self,
        options: Sequence[str] | None = None,
        changes: Mapping[str, str] | None = None,
        *,
        stdout: int = subprocess.PIPE,
    ) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            self.words(options),
            env=self.environment(changes or HEADLESS),
            cwd=self.folder,
            stdin=subprocess.PIPE,
            stdout=stdout,
            stderr=subprocess.PIPE,
        )

    def hook(
        self,
        given: Mapping[str, Any] | bytes,
        changes: Mapping[str, str] | None = None,
        *,
        options: Sequence[str] | None = None,
    ) -> Said:
        raw = given if isinstance(given, bytes) else json.dumps(given).encode()
        with self.start(options, changes) as process:
            return self.said(process, raw)

    def said(self, process: "subprocess.Popen[bytes]", raw: bytes) -> Said:
        stdout, stderr = process.communicate(raw, timeout=120)
        return Said(process.returncode, (stdout or b"").decode(), (stderr or b"").decode())

    # --- what people do ------------------------------------------------------------------------------------------

    def requests(self, **query: Any) -> list[str]:
        """The ids of the requests, the first one first."""
        with NexusControlTools(self.path) as tools:
            lines = data_of(tools.list_requests(**query))["requests"]
        return [each["request_id"] for each in reversed(lines)]

    def status(self, request_id: str) -> dict[str, Any]:
        with NexusControlTools(self.path) as tools:
            return data_of(tools.status(request_id))

    def approve(self) -> str:
        """Approve the one request that waits."""
        (request_id,) = self.requests(state="pending_approval")
        with NexusControlTools(self.path) as tools:
            data_of(tools.approve(request_id, BOB))
        return request_id

    def state(self, request_id: str) -> str:
        return self.status(request_id)["state"]
