"""`mcp:` adapters from a configuration's file, with servers of others, each doing a visible effect under approval.

The servers of others are found as the agents' hosts are (`tests/hosts/programs.py`), and skipped where they are absent:

    npm install --prefix PREFIX @modelcontextprotocol/server-filesystem
    python3 -m venv PREFIX/git-server              # of its own: the server needs another version of the SDK
    PREFIX/git-server/bin/pip install mcp-server-git
    ln -s PREFIX/git-server/bin/mcp-server-git PREFIX/node_modules/.bin/
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from nexus_control.configuration import FILE_NAME
from nexus_control.execution.config import load_adapters
from nexus_control.execution.local_router import LocalRouter
from nexus_control.execution.mcp_adapter import McpAdapter
from nexus_control.execution.tool_pins import write_pins
from nexus_control.store import DecisionStore
from nexus_control.tool import NexusControlTools
from tests.execution.support import carrying, eventually, plan, step
from tests.hosts.programs import missing, search_path
from tests.support.governed import SCHEDULER, approved, data_of

HERE = Path(__file__).parent


def declared(folder: Path, command: str, args: list[str], tool: str, **env: str) -> LocalRouter:
    """A router of the server, whose tool is pinned as the server gives it now."""
    config = folder / FILE_NAME
    config.write_text(
        '[adapters.files]\nkind = "mcp"\ncapabilities = ["apply", "dry_run"]\ntimeout_seconds = 120\n'
        f"command = {json.dumps(command)}\nargs = {json.dumps(args)}\ntools = [{json.dumps(tool)}]\n"
        f"env = {{ {', '.join(f'{name} = {json.dumps(value)}' for name, value in env.items())} }}\n"
    )
    adapter = load_adapters(config).get("mcp:files")
    assert isinstance(adapter, McpAdapter)
    write_pins(config, {"mcp:files": {name: each.pin for name, each in adapter.found().items()}})
    return LocalRouter(load_adapters(config))


def executed(folder: Path, router: LocalRouter, *steps: Mapping[str, object]) -> dict[str, Any]:
    """The answer of executing an approved plan."""
    with DecisionStore(folder / "d.db") as store:
        tools = NexusControlTools(store, plan_checker=router)
        request_id = approved(tools, plan=plan(*steps), adapter_id="mcp:files")
        return data_of(tools.execute(request_id, "mcp:files", SCHEDULER, router))


def test_a_server_of_the_official_sdk_does_what_was_approved(tmp_path: Path) -> None:
    server = [str(HERE / "sdk_downstream.py"), str(tmp_path / "effect")]
    with declared(tmp_path, sys.executable, server, "put") as router:
        answer = executed(tmp_path, router, step("put", tool="files", text="one"))
    meta = json.loads(answer["results"][0]["output"]["structured_content"]["result"])
    assert meta["nexus-control/execution_id"] == answer["execution_id"]
    assert (tmp_path / "effect").read_text() == "one\n"


def test_executions_at_once_have_a_server_each(tmp_path: Path) -> None:
    server = ["-I", "-S", str(HERE / "downstream.py"), str(tmp_path)]
    with (
        declared(tmp_path, sys.executable, server, "put") as router,
        DecisionStore(tmp_path / "d.db") as store,
    ):
        tools = NexusControlTools(store, plan_checker=router)
        plans = [plan(step("put", tool="files", text=f"text{n}")) for n in range(3)]
        ids = [approved(tools, plan=each, adapter_id="mcp:files") for each in plans]
        with ThreadPoolExecutor(3) as threads:
            runs = [threads.submit(tools.execute, id_, "mcp:files", SCHEDULER, router) for id_ in ids]
            results = [run.result() for run in runs]
    assert [result.error for result in results] == [None] * 3
    assert sorted((tmp_path / "effect").read_text().split()) == ["text0", "text1", "text2"]


def test_a_server_ends_with_us_even_when_we_are_killed(tmp_path: Path) -> None:
    mark = f"MARK={tmp_path}"
    source = f"""
import sys
from pathlib import Path
sys.path.insert(0, {str(HERE.parent.parent)!r})
from tests.execution.test_mcp_servers import declared, executed
from tests.execution.support import step
folder = Path({str(tmp_path)!r})
server = ["-I", "-S", {str(HERE / "downstream.py")!r}, str(folder)]
with declared(folder, sys.executable, server, "put", MARK=str(folder)) as router:
    (folder / "mode").write_text("stubborn")
    executed(folder, router, step("put", tool="files", text="one"))
"""
    child = subprocess.Popen([sys.executable, "-c", source], env={**os.environ})
    with child:
        assert eventually((tmp_path / "effect").exists)
        assert len(carrying(mark)) == 3
        child.send_signal(signal.SIGKILL)
    assert eventually(lambda: not carrying(mark))
    with DecisionStore(tmp_path / "d.db") as store:
        tools = NexusControlTools(store)
        recovered = data_of(tools.recover())
        assert len(recovered["recovered"]) == 1
    assert (tmp_path / "effect").read_text() == "one\n"


def test_a_flood_is_not_held_in_memory(tmp_path: Path) -> None:
    source = f"""
import resource, sys
from pathlib import Path
sys.path.insert(0, {str(HERE.parent.parent)!r})
from tests.execution.test_mcp_servers import declared, executed
from tests.execution.support import plan, step
folder = Path({str(tmp_path)!r})
server = ["-I", "-S", {str(HERE / "downstream.py")!r}, str(folder)]
with declared(folder, sys.executable, server, "put") as router:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for mode in ("floods lines", "one endless line"):
        (folder / "mode").write_text(mode)
        try:
            router.run("g", "mcp:files", False, plan(step("put", tool="files", text="one")))
        except Exception as error:
            print(error)
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""
    said = subprocess.run([sys.executable, "-c", source], stdout=subprocess.PIPE, check=True, text=True)
    error, grown = said.stdout.splitlines()
    assert "a message of more than 5048576 bytes" in error
    assert int(grown) < 48 * 1024 * 1024


def server_of_others(program: str, package: str) -> pytest.MarkDecorator:
    why_missing = missing(program, package)
    return pytest.mark.skipif(why_missing is not None and "CI" not in os.environ, reason=why_missing or "")


def where(program: str) -> str:
    return shutil.which(program, path=search_path()) or program


@server_of_others("mcp-server-filesystem", "@modelcontextprotocol/server-filesystem")
def test_the_filesystem_server_writes_the_file_that_was_approved(tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    folder.mkdir()
    with declared(tmp_path, where("mcp-server-filesystem"), [str(folder)], "write_file") as router:
        path = str(folder / "note.txt")
        executed(tmp_path, router, step("write_file", tool="files", path=path, content="approved"))
    assert (folder / "note.txt").read_text() == "approved"


@server_of_others("mcp-server-git", "mcp-server-git of PyPI")
def test_the_git_server_makes_the_commit_that_was_approved(tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    subprocess.run(["git", "init", "-q", str(repository)], check=True)
    (repository / "a.txt").write_text("a\n")
    subprocess.run(["git", "-C", str(repository), "add", "a.txt"], check=True)
    who = {
        f"GIT_{role}_{what}": "alice@example.org"
        for role in ("AUTHOR", "COMMITTER")
        for what in ("NAME", "EMAIL")
    }
    with declared(tmp_path, where("mcp-server-git"), [], "git_commit", **who) as router:
        commit = step("git_commit", tool="files", repo_path=str(repository), message="As approved")
        executed(tmp_path, router, commit)
    log = subprocess.run(
        ["git", "-C", str(repository), "log", "--format=%s %an"],
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    assert log.stdout == "As approved alice@example.org\n"
