"""The MCP Inspector (npm), a client that others wrote, against the real server."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.places import REPOSITORY

OLDEST_NODE = 22
ERAS = ("legacy", "modern")


def node_version() -> int:
    if shutil.which("node") is None:
        return 0
    said = subprocess.run(["node", "--version"], capture_output=True, text=True, timeout=240).stdout
    found = re.match(r"v(\d+)", said)
    return int(found[1]) if found else 0


def missing() -> str | None:
    """Why the Inspector cannot be run here."""
    if node_version() < OLDEST_NODE:
        return f"the Inspector needs Node {OLDEST_NODE}, and this is {node_version() or 'no Node'}"
    return (
        None
        if shutil.which("mcp-inspector")
        else "mcp-inspector of @modelcontextprotocol/inspector is not on PATH"
    )


WHY_NOT = missing()
# In CI both are installed: there a missing Inspector is a failure, not a skip.
pytestmark = pytest.mark.skipif(WHY_NOT is not None and "CI" not in os.environ, reason=WHY_NOT or "")


def inspect(folder: Path, era: str, *arguments: str) -> tuple[int, dict[str, Any]]:
    """How the Inspector ended, and the result that it printed."""
    server = [sys.executable, "-m", "nexus_control", "serve", "--db", str(folder / "store.db")]
    options = ["--cli", "--format", "json", "-q", "--protocol-era", era, "-e", f"PYTHONPATH={REPOSITORY}"]
    ran = subprocess.run(
        ["mcp-inspector", *options, *server, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=240,
        cwd=folder,
    )
    assert ran.stdout, ran.stderr
    return ran.returncode, json.loads(ran.stdout.splitlines()[0])["result"]


@pytest.mark.sample(1)
@pytest.mark.parametrize("era", ERAS)
def test_the_inspector_finds_no_fault_in_the_schemas(era: str, tmp_path: Path) -> None:
    code, result = inspect(tmp_path, era, "--method", "tools/list", "--strict")
    assert (code, len(result["tools"])) == (0, 11)


@pytest.mark.sample(1)
@pytest.mark.parametrize("era", ERAS)
def test_the_inspector_makes_a_good_call_and_is_refused_a_bad_one(era: str, tmp_path: Path) -> None:
    def call(tool: str, arguments: dict[str, object]) -> tuple[int, dict[str, Any]]:
        given = ("--tool-name", f"nexus-control.{tool}", "--tool-args-json", json.dumps(arguments))
        return inspect(tmp_path, era, "--method", "tools/call", *given)

    code, asked = call("request", {"goal": "look at me"})
    assert (code, asked["structuredContent"]["state"]) == (0, "pending_approval")
    code, refused = call("request", {"goal": "g", "min_approvals": 0})
    assert (code != 0, refused["isError"]) == (True, True)
    assert refused["structuredContent"]["code"] == "INVALID_ARGUMENT"
    assert json.loads(refused["content"][0]["text"]) == refused["structuredContent"]
