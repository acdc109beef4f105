"""What the hosts give a hook, as files in `inputs/`: one JSON document for each event and kind of call.

    NEXUS_CONTROL_TEST_HOSTS=PREFIX python -m tests.hosts.captures    # writes them again

`inputs/claude_code-PreToolUse-Bash.json` is what Claude Code 2.1.332 sent, and `inputs/codex-…` what Codex 0.169.0 sent,
with the places, ids and durations of the run replaced by fixed ones. `tests/joints` compares their names and types with
what the hosts send now.
"""

import json
import re
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.hosts.claude_code import claude_code, settings
from tests.hosts.codex import codex, hooks
from tests.hosts.model import Call, Turn
from tests.hosts.notes_server import PLACE
from tests.hosts.standins import Seen, StandIn, decision

INPUTS = Path(__file__).parent / "inputs"

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_DAY = re.compile(r"\d{4}/\d\d/\d\d/rollout-\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d")

_CLAUDE_CODE: list[Turn] = [
    [Call("toolu_Bash", "Bash", {"command": "echo hi", "description": "Say hi"})],
    [Call("toolu_Bash-failed", "Bash", {"command": "echo no; exit 3"})],
    [Call("toolu_Bash-background", "Bash", {"command": "sleep 1", "run_in_background": True})],
    [Call("toolu_Write", "Write", {"file_path": "{work}/new.txt", "content": "new\n"})],
    [Call("toolu_Read", "Read", {"file_path": "{work}/new.txt"})],
    [Call("toolu_Edit", "Edit", {"file_path": "{work}/new.txt", "old_string": "new", "new_string": "newer"})],
    [Call("toolu_mcp-text", "mcp__notes__note", {"text": "milk"})],
    [Call("toolu_mcp-structured", "mcp__notes__count", {"words": ["a", "b"]})],
    [Call("toolu_mcp-failed", "mcp__notes__fail", {"text": "milk"})],
    [
        Call(
            "toolu_Agent",
            "Agent",
            {"description": "look", "prompt": "Look aside.", "subagent_type": "general-purpose"},
        )
    ],
]
_ASIDE: list[Turn] = [[Call("toolu_in-subagent", "Bash", {"command": "echo aside"})]]
_CODEX: list[Turn] = [
    [Call("call_Bash", "exec_command", {"cmd": "echo hi"})],
    [Call("call_Bash-failed", "exec_command", {"cmd": "echo no; exit 3"})],
    [Call("call_mcp-text", "mcp__notes__note", {"text": "milk"})],
    [Call("call_mcp-structured", "mcp__notes__count", {"words": ["a", "b"]})],
    [Call("call_mcp-failed", "mcp__notes__fail", {"text": "milk"})],
]


def of_claude_code(folder: Path) -> dict[str, dict[str, Any]]:
    """The inputs of hooks, by the name of their file; the first call is deferred, and then resumed."""
    hook = StandIn(folder / "hook")
    allowed = ["Bash", "Write", "Edit", "Read", "Agent", "mcp__notes"]
    written = settings(hook.command, allowed)
    servers = {"notes": {"type": "stdio", "command": PLACE[0], "args": PLACE[1:]}}
    with claude_code(folder, _placed(_CLAUDE_CODE, folder), written) as claude:
        claude.model.asides = {"Look aside.": _ASIDE}
        (claude.host.home / ".claude.json").write_text(json.dumps({"mcpServers": servers}), encoding="utf-8")
        hook.answers("PreToolUse", decision("defer"))
        deferred = claude.run("go")
        hook.answers("PreToolUse", decision("allow"))
        claude.run(resume=deferred.session)
    first, second, *runs = hook.all_seen()
    return {
        "claude_code-PreToolUse-Bash": anonymous(first, folder),
        "claude_code-PreToolUse-Bash-resumed": anonymous(second, folder),
        **_named("claude_code", runs, folder),
    }


def of_codex(folder: Path) -> dict[str, dict[str, Any]]:
    """The inputs of hooks, by the name of their file."""
    hook = StandIn(folder / "hook")
    server = f"\n[mcp_servers.notes]\ncommand = {json.dumps(PLACE[0])}\nargs = {json.dumps(PLACE[1:])}\n"
    with codex(folder, _placed(_CODEX, folder), hooks(hook.command) + server) as program:
        program.run("go")
    return _named("codex", hook.all_seen(), folder)


def _placed(turns: Iterable[Turn], folder: Path) -> list[Turn]:
    """The turns with {work} replaced by the host's working folder."""
    return [
        [
            Call(
                call.id,
                call.tool,
                json.loads(json.dumps(call.arguments).replace("{work}", str(folder / "work"))),
            )
            for call in turn
            if isinstance(call, Call)
        ]
        for turn in turns
    ]


def _named(host: str, runs: Iterable[Seen], folder: Path) -> dict[str, dict[str, Any]]:
    return {
        f"{host}-{run.input['hook_event_name']}-{run.input['tool_use_id'].partition('_')[2]}": anonymous(
            run, folder
        )
        for run in runs
    }


def anonymous(run: Seen, folder: Path) -> dict[str, Any]:
    """The input of a run without what differs from run to run."""
    text = json.dumps(run.input, indent=2)
    for place, instead in ((folder / "work", "/home/dana/work"), (folder / "home", "/home/dana")):
        text = text.replace(str(place), instead).replace(
            re.sub(r"[^a-zA-Z0-9]", "-", str(place)), instead.replace("/", "-")
        )
    text = text.replace(str(folder), "/tmp")
    numbers: dict[str, int] = {}
    text = _UUID.sub(
        lambda found: f"00000000-0000-4000-8000-{numbers.setdefault(found[0], len(numbers) + 1):012d}", text
    )
    text = _DAY.sub("2026/01/02/rollout-2026-01-02T03-04-05", text)
    return json.loads(re.sub(r'"duration_ms": \d+', '"duration_ms": 12', text))


def write() -> None:
    """Write every file again."""
    INPUTS.mkdir(exist_ok=True)
    for of_host in (of_claude_code, of_codex):
        with tempfile.TemporaryDirectory() as folder:
            for name, given in of_host(Path(folder)).items():
                (INPUTS / f"{name}.json").write_text(json.dumps(given, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write()
