"""What the hosts give a hook, as files in `inputs/`: one JSON document for each event and kind of call.

    NEXUS_CONTROL_TEST_HOSTS=PREFIX python -m tests.hosts.captures    # writes them again

`inputs/claude_code-PreToolUse-Bash.json` is what Claude Code 2.1.332 gave, and `inputs/codex-PreToolUse-Bash.json` what
Codex 0.169.0 gave, with the places, ids and durations of the run replaced by fixed ones. Tests in `tests/joints`
compare them with what the hosts give now.
"""

import json
import re
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tests.hosts.claude_code import claude_code, settings
from tests.hosts.codex import codex, hooks
from tests.hosts.model import Call, Turn
from tests.hosts.notes_server import PLACE
from tests.hosts.standins import Seen, StandIn, decision

INPUTS = Path(__file__).parent / "inputs"
_SERVER_OF_CODEX = f"""
[mcp_servers.notes]
command = {json.dumps(PLACE[0])}
args = {json.dumps(PLACE[1:])}
required = true
startup_timeout_sec = 60
"""
"""Codex does not wait for a server that is not required: the first turn may go without its tools."""

_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_TASK = re.compile(r'"(?:agent_id|agentId|backgroundTaskId)": "([a-z0-9]+)"')
_DAY = re.compile(r"\d{4}/\d\d/\d\d/rollout-\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d")
_DURATION = re.compile(r'"duration_ms": \d+')


def _turns_of_claude_code(file: Path) -> list[Turn]:
    aside = {"description": "look", "prompt": "Look aside.", "subagent_type": "general-purpose"}
    named = {"file_path": str(file)}
    return [
        [Call("toolu_Bash", "Bash", {"command": "echo hi", "description": "Say hi"})],
        [Call("toolu_Bash-failed", "Bash", {"command": "echo no; exit 3"})],
        [Call("toolu_Bash-background", "Bash", {"command": "true", "run_in_background": True})],
        [Call("toolu_Write", "Write", {**named, "content": "new\n"})],
        [Call("toolu_Read", "Read", named)],
        [Call("toolu_Edit", "Edit", {**named, "old_string": "new", "new_string": "newer"})],
        [Call("toolu_mcp-text", "mcp__notes__note", {"text": "milk"})],
        [Call("toolu_mcp-structured", "mcp__notes__count", {"words": ["a", "b"]})],
        [Call("toolu_mcp-failed", "mcp__notes__fail", {"text": "milk"})],
        [Call("toolu_Agent", "Agent", aside)],
    ]


_ASIDE_OF_CLAUDE_CODE: list[Turn] = [[Call("toolu_in-subagent", "Bash", {"command": "echo aside"})]]


def _waiting(results: Mapping[str, str]) -> list[Call]:
    agent = json.loads(results["call_spawn"])["agent_id"]
    return [Call("call_wait", "multi_agent_v1__wait_agent", {"targets": [agent]})]


_CODEX: list[Turn] = [
    [Call("call_Bash", "exec_command", {"cmd": "echo hi"})],
    [Call("call_Bash-failed", "exec_command", {"cmd": "echo no; exit 3"})],
    [Call("call_Bash-elsewhere", "exec_command", {"cmd": "pwd", "workdir": "/usr", "shell": "/bin/sh"})],
    [Call("call_mcp-text", "mcp__notes__note", {"text": "milk"})],
    [Call("call_mcp-structured", "mcp__notes__count", {"words": ["a", "b"]})],
    [Call("call_mcp-failed", "mcp__notes__fail", {"text": "milk"})],
    [Call("call_spawn", "multi_agent_v1__spawn_agent", {"message": "Look aside."})],
    _waiting,
]
_ASIDE_OF_CODEX: list[Turn] = [[Call("call_in-subagent", "exec_command", {"cmd": "echo aside"})]]
_PATCH = "*** Begin Patch\n*** Add File: new.txt\n+new\n*** End Patch\n"
_PROGRAM = f"""
text(await tools.exec_command({{cmd: "echo hi"}}));
text(await tools.apply_patch({json.dumps(_PATCH)}));
text(await tools.mcp__notes__note({{text: "milk"}}));
"""
PROGRAMMING_MODEL = "gpt-6-sol"
"""A model to which Codex offers one tool, `exec`: a JavaScript program that calls the others."""


def of_claude_code(folder: Path) -> dict[str, dict[str, Any]]:
    """The inputs of hooks, by the name of their file; the first call is deferred, and then resumed."""
    hook = StandIn(folder / "hook")
    allowed = ["Bash", "Write", "Edit", "Read", "Agent", "mcp__notes"]
    written = settings(hook.command, allowed)
    servers = {"notes": {"type": "stdio", "command": PLACE[0], "args": PLACE[1:]}}
    with claude_code(folder, _turns_of_claude_code(folder / "work" / "new.txt"), written) as claude:
        claude.model.asides = {"Look aside.": _ASIDE_OF_CLAUDE_CODE}
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
    with codex(folder, _CODEX, hooks(hook.command) + _SERVER_OF_CODEX) as program:
        program.model.asides = {"Look aside.": _ASIDE_OF_CODEX}
        program.run("go")
    return _named("codex", hook.all_seen(), folder)


def of_codex_programs(folder: Path) -> dict[str, dict[str, Any]]:
    """The inputs of hooks where the model writes programs: Codex makes up the ids of their calls."""
    hook = StandIn(folder / "hook")
    turns = [[Call("call_program", "functions__exec", _PROGRAM)]]
    with codex(folder, turns, hooks(hook.command) + _SERVER_OF_CODEX, PROGRAMMING_MODEL) as program:
        program.run("go")
    return {
        f"codex-{run.input['hook_event_name']}-program-{run.input['tool_name']}": anonymous(run, folder)
        for run in hook.all_seen()
    }


def _named(host: str, runs: Iterable[Seen], folder: Path) -> dict[str, dict[str, Any]]:
    return {
        f"{host}-{run.input['hook_event_name']}-{run.input['tool_use_id'].partition('_')[2]}": anonymous(
            run, folder
        )
        for run in runs
    }


def anonymous(run: Seen, folder: Path) -> dict[str, Any]:
    """The input of a run without what differs from run to run."""
    text = json.dumps(run.input)
    for place, instead in ((folder / "work", "/home/dana/work"), (folder / "home", "/home/dana")):
        slug, other = (re.sub("[^a-zA-Z0-9]", "-", str(each)) for each in (place, instead))
        text = text.replace(str(place), instead).replace(slug, other)
    text = text.replace(str(folder), "")
    for number, found in enumerate(dict.fromkeys(_UUID.findall(text)), 1):
        text = text.replace(found, f"00000000-0000-4000-8000-{number:012d}")
    for number, found in enumerate(dict.fromkeys(_TASK.findall(text)), 1):
        text = text.replace(found, f"a{number:016d}")
    text = _DAY.sub("2026/01/02/rollout-2026-01-02T03-04-05", text)
    text = re.sub(r'(nickname\\":\\")\w+', r"\1Ada", text)
    return json.loads(_DURATION.sub('"duration_ms": 12', text))


def saved(host: str) -> dict[str, dict[str, Any]]:
    """The saved inputs of a host, by the name of their file."""
    files = INPUTS.glob(f"{host}-*.json")
    return {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in files}


def write() -> None:
    """Write every file again."""
    INPUTS.mkdir(exist_ok=True)
    for of_host in (of_claude_code, of_codex, of_codex_programs):
        with tempfile.TemporaryDirectory() as folder:
            for name, given in of_host(Path(folder)).items():
                (INPUTS / f"{name}.json").write_text(json.dumps(given, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write()
