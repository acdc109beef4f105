"""A command that executes and is told to end: its program is killed, that is recorded, and the signal passed on."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from nexus_control import NexusControlTools
from nexus_control.log.upkeep import find_faults
from tests.cli.running import Commands, environment
from tests.concurrency.crashing import processes_with
from tests.concurrency.test_crash import unique_seconds
from tests.execution.support import eventually
from tests.support.governed import approved, data_of, last_event

CONFIG = """
[adapters.files]
kind = "subprocess"
capabilities = ["apply"]
timeout_seconds = 600
[adapters.files.tools.pause]
argv = ["sh", "-c", 'echo started > started; exec sleep "$1"', "sh", "{seconds}"]
"""
ENDLESS = "tests.mcp.python_routers:endless"
ENDS = [
    pytest.param(signal.SIGTERM, -signal.SIGTERM, "Terminated: SIGTERM", id="SIGTERM"),
    pytest.param(signal.SIGHUP, -signal.SIGHUP, "Terminated: SIGHUP", id="SIGHUP"),
    pytest.param(signal.SIGINT, 130, "KeyboardInterrupt", id="SIGINT"),
]


def execute(request_id: str, *router: str) -> list[str]:
    return ["execute", request_id, "--adapter", "subprocess:files", *router]


def call(request_id: str, *router: str) -> list[str]:
    arguments = json.dumps({"request_id": request_id, "adapter_id": "subprocess:files"})
    return ["call", "nexus-control.execute", "--arguments", arguments, *router]


@contextmanager
def running(folder: Path, *command: str) -> Generator["subprocess.Popen[str]"]:
    """A command in the middle of its run."""
    with begun(folder, *command) as process:
        assert eventually((folder / "started").exists, seconds=240)
        yield process


@contextmanager
def begun(folder: Path, *command: str) -> Generator["subprocess.Popen[str]"]:
    given = [sys.executable, "-m", "nexus_control", "--db", str(folder / "store.db"), *command]
    with subprocess.Popen(
        given, cwd=folder, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture
def tools(tmp_path: Path) -> NexusControlTools:
    (tmp_path / "nexus-control.toml").write_text(CONFIG)
    return NexusControlTools(db_path=tmp_path / "store.db")


def asked(tools: NexusControlTools, seconds: str) -> str:
    """The id of an approved decision whose program takes that many seconds."""
    call = {"tool": "files", "method": "pause", "args": {"seconds": seconds}}
    return approved(tools, plan=[{"step_id": "s1", "intent": "pause", "call": call}])


@pytest.mark.sample(2)
@pytest.mark.parametrize("command", [execute, call], ids=lambda each: each.__name__)
@pytest.mark.parametrize(("number", "code", "what"), ENDS)
def test_a_signal_that_ends_a_run_kills_its_program_and_is_passed_on_when_that_is_recorded(
    command: Callable[..., list[str]],
    number: signal.Signals,
    code: int,
    what: str,
    tools: NexusControlTools,
    tmp_path: Path,
) -> None:
    marker = unique_seconds()
    request_id = asked(tools, marker)
    with running(tmp_path, *command(request_id, "--config", "nexus-control.toml")) as process:
        process.send_signal(number)
        assert process.wait(240) == code
        assert processes_with(marker) == []
        assert process.stderr is not None
        said = process.stderr.read()
        assert command is call or f"reconcile {request_id}" in said, said
    event = last_event(tools.store, request_id)
    assert (str(event.event_type), event.payload["reason"]) == ("EXECUTION_OUTCOME_UNKNOWN", "INTERRUPTED")
    assert event.payload["detail"].endswith(what)
    assert data_of(tools.recover()) == {"recovered": [], "still_held": 0, "runs": []}
    assert find_faults(tools.store) == []


@pytest.mark.sample(1)
@pytest.mark.parametrize(("number", "code", "what"), ENDS)
def test_a_signal_that_ends_a_python_router_is_recorded_too(
    number: signal.Signals, code: int, what: str, tools: NexusControlTools, tmp_path: Path
) -> None:
    request_id = approved(tools)
    with running(tmp_path, *execute(request_id, "--router", ENDLESS)) as process:
        process.send_signal(number)
        assert process.wait(240) == code
    event = last_event(tools.store, request_id)
    assert event.payload["reason"] == "INTERRUPTED"
    assert event.payload["detail"].endswith(what)


def test_more_signals_while_the_outcome_is_recorded_do_not_tear_the_recording(
    tools: NexusControlTools, tmp_path: Path
) -> None:
    marker = unique_seconds()
    request_id = asked(tools, marker)
    with running(tmp_path, *execute(request_id, "--config", "nexus-control.toml")) as process:
        with tools.store.writing():  # the command can record nothing as long as this lasts
            process.send_signal(signal.SIGTERM)
            assert eventually(lambda: processes_with(marker) == [])
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
                process.send_signal(number)
                os.sched_yield()
        assert process.wait(240) == -signal.SIGTERM
    assert last_event(tools.store, request_id).payload["reason"] == "INTERRUPTED"


def test_a_signal_before_the_claim_leaves_nothing(tools: NexusControlTools, tmp_path: Path) -> None:
    request_id = asked(tools, unique_seconds())
    with begun(tmp_path, *execute(request_id, "--config", "nexus-control.toml")) as process:
        with tools.store.writing():  # the command can claim nothing as long as this lasts
            assert eventually((tmp_path / "store.db.runs").exists, seconds=240)
            process.send_signal(signal.SIGTERM)
        assert process.wait(240) == -signal.SIGTERM
    assert data_of(tools.status(request_id))["state"] == "approved"


def test_a_signal_that_was_ignored_from_the_start_stays_ignored(
    tools: NexusControlTools, tmp_path: Path
) -> None:
    request_id = asked(tools, "1")
    ignored = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does; children inherit it
    try:
        with running(tmp_path, *execute(request_id, "--config", "nexus-control.toml")) as process:
            process.send_signal(signal.SIGHUP)
            assert process.wait(240) == 0
    finally:
        signal.signal(signal.SIGHUP, ignored)
    assert data_of(tools.status(request_id))["state"] == "completed"


def test_what_others_do_at_signals_is_as_it_was_after_a_command(
    tools: NexusControlTools, tmp_path: Path
) -> None:
    signals = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
    before = [signal.getsignal(number) for number in signals]
    request_id = asked(tools, "0")
    Commands(tmp_path).run(*execute(request_id, "--config", str(tmp_path / "nexus-control.toml")))
    assert [signal.getsignal(number) for number in signals] == before
