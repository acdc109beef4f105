"""A hook that answers as a test says, and keeps what it was given: its input, its environment, its ancestors."""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_HOOK = """
import json, os, sys, time
folder = sys.argv[1]
given = json.loads(sys.stdin.read())
ancestors, pid = [], os.getppid()
while pid > 1 and len(ancestors) < 4:
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        words = file.read().decode().split("\\0")[:-1]
    ancestors.append([pid, words])
    with open(f"/proc/{pid}/stat") as file:
        pid = int(file.read().rpartition(")")[2].split()[1])
seen = {"input": given, "environment": dict(os.environ), "ancestors": ancestors, "cwd": os.getcwd()}
part = f"{folder}/{time.monotonic_ns():020d}-{os.getpid()}"
with open(f"{part}.part", "w") as file:
    json.dump(seen, file)
os.rename(f"{part}.part", f"{part}.seen")
try:
    with open(f"{folder}/{given['hook_event_name']}.answer") as file:
        answer = json.load(file)
except FileNotFoundError:
    sys.exit(0)
sys.stdout.write(answer["stdout"])
sys.stderr.write(answer["stderr"])
sys.exit(answer["code"])
"""


@dataclass(frozen=True)
class Answer:
    """What a hook prints, and how it ends. The default is a hook that has no opinion."""

    stdout: str = ""
    stderr: str = ""
    code: int = 0


def decision(verdict: str, reason: str = "", *, stderr: str = "", code: int = 0) -> Answer:
    """The JSON document with which a PreToolUse hook decides: allow, ask, defer or deny."""
    said: dict[str, str] = {"hookEventName": "PreToolUse", "permissionDecision": verdict}
    if reason:
        said["permissionDecisionReason"] = reason
    return Answer(json.dumps({"hookSpecificOutput": said}), stderr, code)


def denial(reason: str) -> Answer:
    """The one shape that denies in every host: JSON, the reason on standard error, exit 2."""
    return decision("deny", reason, stderr=reason, code=2)


@dataclass(frozen=True)
class Seen:
    """One run of the hook: what it was given."""

    input: dict[str, Any]
    environment: Mapping[str, str]
    ancestors: list[tuple[int, list[str]]]
    """Process id and command line of its parent, of the parent's parent, and so on."""
    cwd: str


@dataclass(frozen=True)
class StandIn:
    """A hook in a folder of its own. What it answers may change between two of its runs."""

    folder: Path

    @property
    def command(self) -> list[str]:
        script = self.folder / "hook.py"
        self.folder.mkdir(parents=True, exist_ok=True)
        script.write_text(_HOOK, encoding="utf-8")
        return [sys.executable, "-S", str(script), str(self.folder)]

    def answers(self, event: str, answer: Answer) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / f"{event}.answer").write_text(json.dumps(vars(answer)), encoding="utf-8")

    def all_seen(self) -> list[Seen]:
        """The runs of the hook, the first one first."""
        files = sorted(self.folder.glob("*.seen"))
        return [Seen(**json.loads(file.read_text(encoding="utf-8"))) for file in files]

    def seen(self, event: str) -> list[Seen]:
        """The runs of the hook for this event."""
        return [each for each in self.all_seen() if each.input["hook_event_name"] == event]
