"""Input ends, or a signal comes, with calls under way: what is known is recorded, and what is not is unknown."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nexus_control import NexusControlTools
from nexus_control.log.upkeep import find_faults
from tests.concurrency.crashing import processes_with
from tests.concurrency.test_crash import unique_seconds
from tests.execution.support import eventually
from tests.mcp.by_hand import Pipes, served
from tests.mcp.serving import ERAS, Era, plan
from tests.support.governed import SCHEDULER, approved, data_of, last_event

ADAPTER = "subprocess:files"
CONFIG = """
[adapters.files]
kind = "subprocess"
capabilities = ["apply", "dry_run", "timeout"]
timeout_seconds = 600
[adapters.files.tools.pause]
argv = ["sh", "-c", 'echo started > "$2"; exec sleep "$1"', "sh", "{seconds}", "{file}"]
"""


@pytest.fixture
def tools(tmp_path: Path) -> NexusControlTools:
    (tmp_path / "nexus-control.toml").write_text(CONFIG)
    return NexusControlTools(db_path=tmp_path / "store.db")


def serving(folder: Path, era: Era = "legacy") -> Any:
    options = ("--approvals", "declared", "--config", str(folder / "nexus-control.toml"))
    return served(*options, folder=folder, era=era)


def begin(server: Pipes, tools: NexusControlTools, folder: Path, seconds: str, name: str = "started") -> str:
    """The id of a decision whose program certainly runs, and takes that many seconds."""
    request_id = approved(tools, plan=plan("pause", seconds=seconds, file=str(folder / name)))
    server.call("execute", request_id=request_id, adapter_id=ADAPTER)
    wait_for(folder / name)
    return request_id


def wait_for(file: Path) -> None:
    assert eventually(file.exists, seconds=240), f"no {file.name}"


def state(tools: NexusControlTools, request_id: str) -> str:
    return data_of(tools.status(request_id))["state"]


def close_input(server: Pipes) -> int:
    return server.end()


def by(number: signal.Signals) -> Callable[[Pipes], int]:
    def send(server: Pipes) -> int:
        server.process.send_signal(number)
        return server.process.wait(240)

    return send


terminate = by(signal.SIGTERM)
in_each_era = pytest.mark.parametrize("era", ERAS)
at_each_end = pytest.mark.parametrize("end", [close_input, terminate], ids=["end of input", "SIGTERM"])
at_every_end = pytest.mark.parametrize(
    ("end", "era", "code"),
    [
        pytest.param(close_input, "legacy", 0, id="end of input, legacy"),
        pytest.param(close_input, "auto", 0, id="end of input, auto"),
        pytest.param(terminate, "legacy", -signal.SIGTERM, id="SIGTERM, legacy"),
        pytest.param(terminate, "auto", -signal.SIGTERM, id="SIGTERM, auto"),
        pytest.param(by(signal.SIGINT), "legacy", -signal.SIGINT, id="SIGINT"),
        pytest.param(by(signal.SIGHUP), "auto", -signal.SIGHUP, id="SIGHUP"),
    ],
)


@pytest.mark.sample(2)
@in_each_era
@at_each_end
def test_a_run_that_ends_within_two_seconds_has_its_outcome_recorded(
    end: Callable[[Pipes], int], era: Era, tools: NexusControlTools, tmp_path: Path
) -> None:
    with serving(tmp_path, era) as server:
        request_id = begin(server, tools, tmp_path, "0.2")
        assert end(server) == (0 if end is close_input else -signal.SIGTERM)
    assert state(tools, request_id) == "completed"
    assert tools.export_audit_package(request_id).success
    assert find_faults(tools.store) == []


@pytest.mark.sample(3)
@at_every_end
def test_a_program_that_takes_longer_is_killed_and_its_outcome_is_unknown(
    end: Callable[[Pipes], int], era: Era, code: int, tools: NexusControlTools, tmp_path: Path
) -> None:
    marker = unique_seconds()
    with serving(tmp_path, era) as server:
        request_id = begin(server, tools, tmp_path, marker)
        assert end(server) == code
        assert processes_with(marker) == []
    event = last_event(tools.store, request_id)
    assert (str(event.event_type), event.payload["reason"]) == ("EXECUTION_OUTCOME_UNKNOWN", "STOPPED")
    assert "because the server" in event.payload["detail"]
    assert event.payload["run_id"]
    assert data_of(tools.recover()) == {"recovered": [], "still_held": 0, "runs": []}
    assert find_faults(tools.store) == []


def test_a_second_sign_to_end_shortens_the_wait_but_tears_nothing(
    tools: NexusControlTools, tmp_path: Path
) -> None:
    marker = unique_seconds()
    with serving(tmp_path) as server:
        request_id = begin(server, tools, tmp_path, marker)
        server.close_input()
        for _ in range(5):
            server.process.send_signal(signal.SIGTERM)
            os.sched_yield()
        server.process.wait(240)
        assert processes_with(marker) == []
    assert last_event(tools.store, request_id).payload["reason"] == "STOPPED"


@pytest.mark.sample(1)
@at_each_end
def test_of_several_calls_under_way_each_comes_to_its_end(
    end: Callable[[Pipes], int], tools: NexusControlTools, tmp_path: Path
) -> None:
    marker, open_request = unique_seconds(), data_of(tools.request("g", SCHEDULER))["request_id"]
    with serving(tmp_path) as server:
        waiting = [server.call("status", request_id=open_request, wait_seconds=60) for _ in range(3)]
        slow = begin(server, tools, tmp_path, marker, "slow")
        quick = begin(server, tools, tmp_path, "0.2", "quick")
        end(server)
        assert processes_with(marker) == []
        assert server.process.stdout is not None
        said = [json.loads(line) for line in server.process.stdout]
    assert (state(tools, slow), state(tools, quick)) == ("outcome_unknown", "completed")
    if end is not close_input:  # who closes its input hears no more of its calls
        answered = {message["id"] for message in said if "result" in message}
        assert answered >= set(waiting)
    assert find_faults(tools.store) == []


@pytest.mark.sample(1)
@at_each_end
def test_a_python_router_cannot_be_stopped_and_is_not_waited_for(
    end: Callable[[Pipes], int], tools: NexusControlTools, tmp_path: Path
) -> None:
    request_id = approved(tools)
    router = ("--router", "tests.mcp.python_routers:endless")
    with served(*router, folder=tmp_path) as server:
        server.call("execute", request_id=request_id, adapter_id="python:any")
        wait_for(tmp_path / "started")
        assert end(server) == (0 if end is close_input else -signal.SIGTERM)
    event = last_event(tools.store, request_id)
    assert (str(event.event_type), event.payload["reason"]) == ("EXECUTION_OUTCOME_UNKNOWN", "STOPPED")
    assert data_of(tools.recover()) == {"recovered": [], "still_held": 0, "runs": []}
    assert find_faults(tools.store) == []


def test_answers_that_nobody_reads_keep_no_server_alive(tools: NexusControlTools, tmp_path: Path) -> None:
    request_id = data_of(tools.request("g" * 4000, SCHEDULER))["request_id"]
    with serving(tmp_path) as server:
        for _ in range(30):  # far more than a pipe holds
            server.call("inspect", decision_id=request_id)
        assert server.end() == 0


def test_a_client_that_is_gone_altogether_leaves_no_run_behind(
    tools: NexusControlTools, tmp_path: Path
) -> None:
    marker = unique_seconds()
    with serving(tmp_path) as server:
        request_id = begin(server, tools, tmp_path, marker)
        assert server.process.stdout is not None
        server.process.stdout.close()
        server.call("status", request_id=request_id)  # its answer finds nobody
        assert server.end() == 0
        assert processes_with(marker) == []
    assert state(tools, request_id) == "outcome_unknown"
    assert (tmp_path / "log").read_text() == ""


def test_a_server_that_was_started_to_ignore_a_signal_ignores_it(
    tools: NexusControlTools, tmp_path: Path
) -> None:
    ignored = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does; children inherit it
    try:
        with serving(tmp_path) as server:
            server.process.send_signal(signal.SIGHUP)
            request_id = data_of(tools.request("g", SCHEDULER))["request_id"]
            answer = server.answer(server.call("status", request_id=request_id))
            assert answer["result"]["structuredContent"]["state"] == "pending_approval"
            assert server.end() == 0
    finally:
        signal.signal(signal.SIGHUP, ignored)
