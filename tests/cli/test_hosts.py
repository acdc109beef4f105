"""What the documentation says of each host is what `install` prints for it."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from nexus_control.cli.hosting import BY_COMMAND, BY_FILE, BY_PROGRAM
from tests.cli.running import Commands
from tests.support import documents
from tests.support.places import REPOSITORY

PAGE = (REPOSITORY / "docs/howto/serve-agents.md").read_text(encoding="utf-8")
SECTIONS = dict(
    re.findall(r"^### ([^\n]+)\n(.*?)(?=^##)", PAGE, flags=re.MULTILINE | re.DOTALL),
)
TITLES = {
    "claude-code": "Claude Code",
    "claude-desktop": "Claude Desktop, Cursor, Windsurf",
    "codex": "Codex",
    "copilot-cli": "Copilot CLI",
    "cursor": "Claude Desktop, Cursor, Windsurf",
    "gemini-cli": "Gemini CLI",
    "langchain": "LangChain",
    "openai-agents": "OpenAI Agents SDK",
    "vscode": "VS Code",
    "windsurf": "Claude Desktop, Cursor, Windsurf",
}


@pytest.fixture
def commands(tmp_path: Path) -> Commands:
    return Commands(tmp_path)


def without_places(server: dict[str, Any]) -> dict[str, Any]:
    """A server's entry without its program and files, which differ from machine to machine."""
    arguments = server["args"][server["args"].index("serve") :]
    database = arguments.index("--db") + 1
    return {**server, "command": None, "args": [*arguments[:database], *arguments[database + 1 :]]}


def test_each_host_has_its_section() -> None:
    assert set(TITLES) == {*BY_COMMAND, *BY_FILE, *BY_PROGRAM}
    assert set(TITLES.values()) == set(SECTIONS)


@pytest.mark.parametrize("host", BY_FILE)
def test_the_file_of_a_host_is_shown_as_it_is_printed(commands: Commands, host: str) -> None:
    (block,) = documents.blocks(SECTIONS[TITLES[host]])
    printed = commands.answer("install", "--host", host)["config"]
    (key,) = printed
    assert without_places(json.loads(block.text)[key]["nexus-control"]) == without_places(
        printed[key]["nexus-control"]
    )
    row = next(line for line in PAGE.splitlines() if f"| `{host}` |" in line)
    assert BY_FILE[host].file.split(",")[0].split(" ")[0] in row
    assert ("dotted" in row) is BY_FILE[host].takes_dots


@pytest.mark.parametrize("host", BY_COMMAND)
def test_the_command_of_a_host_is_shown_as_it_is_printed(commands: Commands, host: str) -> None:
    words = commands.answer("install", "--host", host)["command"]
    begins = " ".join(words[: words.index("--") + 1])
    assert f"{begins} nexus-control serve --db" in SECTIONS[TITLES[host]]


def test_the_settings_of_codex_name_a_tool_that_there_is() -> None:
    (block,) = documents.blocks(SECTIONS["Codex"])
    server = tomllib.loads(block.text)["mcp_servers"]["nexus-control"]
    assert server["required"] is True
    assert server["tools"] == {"nexus-control.execute": {"approval_mode": "approve"}}
    assert server["args"][0] == "serve"
