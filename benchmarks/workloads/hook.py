"""`nexus-control hook` as an agent host starts it at each call of a tool, in turns with `nexus-control status`.

Both are whole processes: most of what they take is Python's start and the modules that are loaded.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from benchmarks.people import opened
from benchmarks.results import Outcome
from benchmarks.timing import in_turns
from benchmarks.workloads import Setting

RULES = """
default = "deny"
[[rules]]
tool = "Read"
verdict = "allow"
[[rules]]
tool = "Bash"
template = "one"
"""


def run(setting: Setting) -> Outcome:
    if find_spec("nexus_control.guards") is None:
        why = "this version has no hook"
        return Outcome(skipped={"check_hook_passes": why, "check_hook_asks": why})
    database, rules = setting.folder / "decisions.db", setting.folder / "rules.toml"
    rules.write_text(RULES, encoding="utf-8")
    with opened(database) as tools:
        asker = {"type": "human", "id": "ada"}
        made = tools.template_create("one", asker, min_approvals=1, allowed_modes=["apply"])
        request_id = tools.request("g", asker).data["request_id"] if made.success else ""
    places = ["--db", str(database), "--config", str(rules)]

    def hook(tool: str) -> str:
        call = {
            "hook_event_name": "PreToolUse",
            "session_id": "s",
            "cwd": "/srv",
            "tool_name": tool,
            "tool_input": {"command": "git push"},
            "tool_use_id": "toolu_1",
        }
        return _command(["hook", *places], json.dumps(call), {"CLAUDE_CODE_SESSION_ATTENDED": "0"})

    contenders = {
        "status_process_ms": lambda: _command(["status", request_id, *places[:2]]),
        "hook_passes_ms": lambda: hook("Read"),
        "hook_asks_ms": lambda: hook("Bash"),
    }
    passes, asks = hook("Read"), json.loads(hook("Bash"))["hookSpecificOutput"]["permissionDecision"]
    timed = in_turns(contenders, setting.sizes.seconds)
    checks = {"check_hook_passes": float(passes == ""), "check_hook_asks": float(asks == "defer")}
    return Outcome(metrics={name: each.milliseconds for name, each in timed.items()} | checks)


def _command(words: Sequence[str], given: str = "", variables: Mapping[str, str] | None = None) -> str:
    """What the command prints on standard output."""
    command = [sys.executable, "-P", "-m", "nexus_control", *words]
    environment = {**os.environ, **(variables or {})}
    ran = subprocess.run(
        command, input=given, env=environment, capture_output=True, text=True, check=True, cwd=Path("/")
    )
    return ran.stdout
