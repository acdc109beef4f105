"""A signal that ends the server at any moment ends it: by that signal, at once, without a word on either stream."""

import signal
import socket
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from nexus_control import NexusControlTools
from nexus_control.log.upkeep import find_faults
from tests.cli.running import environment
from tests.execution.support import eventually
from tests.mcp.by_hand import INITIALIZE, Pipes, started
from tests.support.governed import SCHEDULER, data_of

WAITING_MODULE = """
import pathlib, threading
pathlib.Path("started").touch()
threading.Event().wait()
"""
NEVER_MADE = ("--router", "tests.mcp.python_routers:never_made")

at_each_signal = pytest.mark.parametrize(
    "number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name
)


def require_ended(server: Pipes, number: signal.Signals, folder: Path) -> None:
    assert server.process.wait(240) == -number
    assert server.process.stdout is not None
    assert server.process.stdout.read() == b""
    assert (folder / "log").read_text() == ""


@contextmanager
def in_session(folder: Path) -> Generator[Pipes]:
    """With a client that can show forms."""
    with started(folder=folder) as server:
        server.answer(server.send("initialize", {**INITIALIZE, "capabilities": {"elicitation": {}}}))
        yield server


def wait_for(file: Path) -> None:
    assert eventually(file.exists, seconds=240), f"no {file.name}"


@pytest.mark.sample(2)
@at_each_signal
@pytest.mark.parametrize("module", ["typer", "rich", "mcp_types"])
def test_while_it_loads_its_libraries(module: str, number: signal.Signals, tmp_path: Path) -> None:
    (tmp_path / f"{module}.py").write_text(WAITING_MODULE)
    with started(folder=tmp_path) as server:  # `python -m` looks for modules in the folder first
        wait_for(tmp_path / "started")
        server.process.send_signal(number)
        require_ended(server, number, tmp_path)


@pytest.mark.sample(1)
@at_each_signal
def test_while_it_makes_its_router(number: signal.Signals, tmp_path: Path) -> None:
    with started(*NEVER_MADE, folder=tmp_path) as server:
        wait_for(tmp_path / "started")
        server.process.send_signal(number)
        require_ended(server, number, tmp_path)


@pytest.mark.sample(1)
@at_each_signal
def test_before_anybody_has_said_anything(number: signal.Signals, tmp_path: Path) -> None:
    with started(folder=tmp_path) as server:
        server.write(b"")
        assert server.next_message()["error"]["code"] == -32700
        server.process.send_signal(number)
        require_ended(server, number, tmp_path)


@pytest.mark.sample(2)
@at_each_signal
@pytest.mark.parametrize("times", [1, 2, 5])
def test_while_it_is_idle(times: int, number: signal.Signals, tmp_path: Path) -> None:
    with in_session(tmp_path) as server:
        for _ in range(times):
            server.process.send_signal(number)  # does nothing where it has ended
        require_ended(server, number, tmp_path)


@pytest.mark.sample(1)
@at_each_signal
def test_while_calls_wait_which_are_answered_first(number: signal.Signals, tmp_path: Path) -> None:
    tools = NexusControlTools(db_path=tmp_path / "store.db")
    request_id = data_of(tools.request("g", SCHEDULER))["request_id"]
    with in_session(tmp_path) as server:
        waiting = [server.call("status", request_id=request_id, wait_seconds=50) for _ in range(30)]
        server.answer(server.call("status", request_id=request_id))
        server.process.send_signal(number)
        for call in waiting:
            assert server.answer(call)["result"]["structuredContent"]["state"] == "pending_approval"
        require_ended(server, number, tmp_path)
    assert find_faults(tools.store) == []


@pytest.mark.sample(2)
@at_each_signal
@pytest.mark.parametrize("times", [1, 2])
def test_while_a_form_is_before_a_person(times: int, number: signal.Signals, tmp_path: Path) -> None:
    tools = NexusControlTools(db_path=tmp_path / "store.db")
    request_id = data_of(tools.request("g", SCHEDULER))["request_id"]
    with in_session(tmp_path) as server:
        server.call("approve", request_id=request_id)
        assert server.next_message()["method"] == "elicitation/create"
        for _ in range(times):
            server.process.send_signal(number)  # does nothing where it has ended
        require_ended(server, number, tmp_path)
    assert data_of(tools.status(request_id))["state"] == "pending_approval"


@pytest.mark.sample(1)
@at_each_signal
def test_just_after_its_input_ended(number: signal.Signals, tmp_path: Path) -> None:
    with in_session(tmp_path) as server:
        server.close_input()
        server.process.send_signal(number)
        assert server.process.wait(240) in (0, -number)
    assert (tmp_path / "log").read_text() == ""


def test_a_client_that_only_stops_reading_ends_the_server_with_the_next_answer(tmp_path: Path) -> None:
    with in_session(tmp_path) as server:
        assert server.process.stdout is not None
        server.process.stdout.close()
        server.write(b"no JSON")
        assert server.process.wait(240) == 0
    assert (tmp_path / "log").read_text() == ""


@pytest.mark.parametrize("more", [b"", 50 * b"no JSON\n"], ids=["nothing more", "lines"])
def test_a_client_at_a_socket_that_is_gone_with_answers_unread_ends_the_server(
    more: bytes, tmp_path: Path
) -> None:
    """Some hosts give a server the end of a socket, which says so in other words than a pipe does."""
    ours, theirs = socket.socketpair()
    command = [sys.executable, "-m", "nexus_control", "serve", "--db", "store.db"]
    with subprocess.Popen(
        command,
        cwd=tmp_path,
        env=environment(),
        stdin=theirs.fileno(),
        stdout=theirs.fileno(),
        stderr=subprocess.PIPE,
    ) as process:
        theirs.close()
        ours.sendall(b"no JSON\n")
        assert ours.recv(1)  # and leave the rest of the answer
        ours.sendall(more)
        ours.close()
        assert process.stderr is not None
        assert process.stderr.read() == b""
        assert process.wait(240) == 0
