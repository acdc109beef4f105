"""A worker calls a tool of an MCP server that needs a secret: the server gets it, and nothing that is kept or shown has
it, wherever the server repeats it.
"""

import hashlib
import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from nexus_control.cli.main import app
from tests.cli.running import Commands, nexus_control
from tests.execution.test_mcp_adapter import SERVER

VALUE = "tok_4f9a8c7d6e5b"
PART = VALUE[:7]
PLAN = [
    {"step_id": "1", "intent": "Put", "call": {"tool": "files", "method": "put", "args": {"text": "one"}}}
]
KEPT_BY_THE_SERVER = ("secret", "mode", "token", "effect")


@pytest.fixture
def commands(tmp_path: Path) -> Commands:
    (tmp_path / "secret").write_text(VALUE + "\n")
    (tmp_path / "config.toml").write_text(
        '[secrets.DOWNSTREAM]\nfile = "secret"\n'
        '[adapters.files]\nkind = "mcp"\ncapabilities = ["apply", "dry_run"]\ntools = ["put"]\n'
        f"command = {json.dumps(sys.executable)}\nargs = {json.dumps(['-I', '-S', str(SERVER), str(tmp_path)])}\n"
        'max_output_bytes = 1000\nenv = { TOKEN = "{secret:DOWNSTREAM}" }\n'
    )
    (tmp_path / "plan.json").write_text(json.dumps(PLAN))
    return Commands(tmp_path)


MODES = {
    "tells a result": "completed",
    "tells a long result": "completed",
    "tells a tool error": "failed",
    "tells an error": "failed",
    "tells and exits": "unknown",
    "tells and exits at once": "refused",
    "tells another tool": "refused",
    "tells its definition": "refused",
}


def config(commands: Commands) -> tuple[str, str]:
    return "--config", str(commands.folder / "config.toml")


def checked(commands: Commands, code: int) -> str:
    return commands.run("adapter", "check", str(commands.folder / "config.toml"), code=code)


def shown(commands: Commands, *words: str) -> str:
    """What a command prints, whether or not it is refused."""
    database = str(commands.folder / commands.database)
    return CliRunner().invoke(app, ["--db", database, *words], prog_name="nexus-control").output


def asked_and_worked(commands: Commands, said: list[str]) -> str:
    """What a worker made of an approved request. All that is told on the way is added to `said`."""
    options = {"--mode": "apply", "--plan-file": str(commands.folder / "plan.json"), "--dispatch": "worker"}
    given = [word for option in options.items() for word in option]
    asked = commands.answer("request", "Put", *given, "--adapter", "mcp:files", *config(commands))
    request_id = asked["request_id"]
    said += [json.dumps(asked), commands.run("approve", request_id, "--yes", *config(commands))]
    worked = nexus_control("worker", "--once", "--db", "store.db", *config(commands), folder=commands.folder)
    said += [worked.stdout, worked.stderr]
    line = json.loads(worked.stdout.splitlines()[-1])
    for view in (("status",), ("inspect",), ("run", "show"), ("export",), ("audit",), ("report",)):
        for form in ((), ("--json",)):
            said.append(shown(commands, *view, request_id, *form))
    return line["outcome"]


def require_nowhere(commands: Commands, said: list[str]) -> None:
    """No text and no file that nexus-control writes has a part of the value."""
    assert [text for text in said if PART in text] == []
    files = [each for each in commands.folder.rglob("*") if each.is_file()]
    assert len(files) > len(KEPT_BY_THE_SERVER)
    has_it = {each.name for each in files if PART.encode() in each.read_bytes()}
    assert has_it == {"secret"}


@pytest.mark.sample(3)
@pytest.mark.parametrize("mode", MODES)
def test_a_server_gets_its_secret_and_nothing_that_is_kept_or_shown_has_it(
    commands: Commands, mode: str
) -> None:
    said = [commands.run("adapter", "pin", "files", "--yes", *config(commands))]
    (commands.folder / "mode").write_text(mode)
    assert asked_and_worked(commands, said) == MODES[mode]
    said.append(checked(commands, 1 if MODES[mode] == "refused" else 0))
    digest = hashlib.sha256(VALUE.encode()).hexdigest()
    if MODES[mode] != "refused":
        assert (commands.folder / "token").read_text() == digest
    require_nowhere(commands, said)


def test_a_definition_that_repeats_the_secret_is_pinned_without_it_and_stays_when_the_value_changes(
    commands: Commands,
) -> None:
    (commands.folder / "mode").write_text("tells its definition")
    pinned = commands.answer("adapter", "pin", "files", "--yes", *config(commands))
    description = pinned["tools"][0]["definition"]["description"]
    assert description == "Appends a line to the file with {secret:DOWNSTREAM}"
    said = [json.dumps(pinned), checked(commands, 0)]
    require_nowhere(commands, said)
    (commands.folder / "secret").write_text("another-value\n")
    said.append(checked(commands, 0))
    assert asked_and_worked(commands, said) == "completed"
    assert not [text for text in said if "another" in text]
