"""The page on LangChain: its guarded program runs, and is at most 15 lines longer than the unguarded one."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("langchain", reason="needs the package langchain")
pytest.importorskip("langgraph.checkpoint.sqlite", reason="needs the package langgraph-checkpoint-sqlite")

from nexus_control import NexusControlTools
from tests.guards.frameworks.langchain_agent import ScriptedModel
from tests.support import documents
from tests.support.governed import data_of
from tests.support.places import REPOSITORY

PAGE = (REPOSITORY / "docs/howto/guard-langchain.md").read_text(encoding="utf-8")
UNGUARDED, GUARDED = (each.text for each in documents.blocks(PAGE) if each.language == "python")
INSTALL, COMMAND = (each.text for each in documents.blocks(PAGE) if each.language == "console")
assert INSTALL.startswith('$ pip install "nexus-control[langchain]"')
CALL = {"id": "call_1", "name": "rotate", "args": {"key": "billing"}}


def run(source: str, capsys: pytest.CaptureFixture[str]) -> str:
    """What the program prints; its model is predefined."""
    exec(compile(source, "guard-langchain.md", "exec"), {"model": ScriptedModel(turns=[[CALL]])})
    return capsys.readouterr().out


def test_the_guard_costs_at_most_15_lines() -> None:
    assert 0 < len(GUARDED.split("\n")) - len(UNGUARDED.split("\n")) <= 15


def test_the_unguarded_program_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(UNGUARDED, capsys) == "done\n"


def test_the_guarded_program_waits_for_people_and_then_runs_the_tool_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    said = run(GUARDED, capsys)
    (request_id,) = re.findall(r"waiting for approval: (\S+)", said)
    assert "done" not in said
    assert run(GUARDED, capsys) == said
    assert COMMAND.startswith("$ nexus-control approve ")
    arguments = [*COMMAND.split()[2:], request_id, "--yes", "--as", "human:bob"]
    subprocess.run([sys.executable, "-m", "nexus_control", *arguments], check=True, capture_output=True)
    assert run(GUARDED, capsys) == "done\n"
    with NexusControlTools("decisions.db") as tools:
        assert data_of(tools.status(request_id))["state"] == "completed"
        assert data_of(tools.result(request_id))["answer"]["output"] == "rotated billing"
