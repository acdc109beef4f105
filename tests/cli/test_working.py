"""The command `worker`, in processes of its own: signals, races, crashes, and an output that nobody reads."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from nexus_control import NexusControlTools
from nexus_control.log.upkeep import find_faults
from tests.cli.running import Commands, environment
from tests.concurrency.crashing import processes_with
from tests.concurrency.test_crash import unique_seconds
from tests.execution.support import eventually
from tests.support.governed import approved, data_of, last_event, require_whole

CONFIG = """
[adapters.files]
kind = "subprocess"
capabilities = ["apply", "dry_run"]
timeout_seconds = 600
[adapters.files.tools.note]
argv = ["sh", "-c", 'echo "$1" >> notes', "sh", "{text}"]
[adapters.files.tools.pause]
argv = ["sh", "-c", 'echo started >> started; exec sleep "$1"', "sh", "{seconds}"]
"""
ADAPTER = "subprocess:files"


@pytest.fixture
def tools(tmp_path: Path) -> NexusControlTools:
    (tmp_path / "nexus-control.toml").write_text(CONFIG)
    return NexusControlTools(db_path=tmp_path / "store.db")


def for_a_worker(tools: NexusControlTools, method: str, **arguments: str) -> str:
    call = {"tool": "files", "method": method, "args": arguments}
    plan = [{"step_id": "s1", "intent": method, "call": call}]
    return approved(tools, plan=plan, adapter_id=ADAPTER, dispatch="worker")


@contextmanager
def worker(
    folder: Path, *options: str, database: str = "store.db", stdout: int = subprocess.PIPE
) -> Generator["subprocess.Popen[str]"]:
    """A worker, which is killed at the end of the block if it has not ended."""
    words = ["worker", "--db", database, "--config", "nexus-control.toml", "--poll", "1s", *options]
    with subprocess.Popen(
        [sys.executable, "-m", "nexus_control", *words],
        cwd=folder,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def next_line(process: "subprocess.Popen[str]") -> dict[str, Any]:
    assert process.stdout is not None
    return json.loads(process.stdout.readline())


def ended(process: "subprocess.Popen[str]") -> tuple[int, list[dict[str, Any]], str]:
    """Its exit code, the lines that were not read yet, and what it said on standard error."""
    out, err = process.communicate(timeout=240)
    return process.returncode, [json.loads(line) for line in out.splitlines()], err


def told_to_end(process: "subprocess.Popen[str]", number: signal.Signals) -> bool:
    """Whether it has ended; else it is told again. Signals that come at once may be taken for one."""
    process.send_signal(number)
    return process.poll() is not None


def state(tools: NexusControlTools, request_id: str) -> str:
    return data_of(tools.status(request_id))["state"]


def notes(folder: Path) -> list[str]:
    return sorted((folder / "notes").read_text().split())


def test_once_executes_what_is_due_prints_a_line_for_each_and_ends_with_0(
    tools: NexusControlTools, tmp_path: Path
) -> None:
    ids = [for_a_worker(tools, "note", text=text) for text in ("one", "two")]
    with worker(tmp_path, "--once") as process:
        code, lines, said = ended(process)
    assert (code, said) == (0, "")
    expected = {"what": "execute", "adapter_id": ADAPTER, "outcome": "completed", "effect": "done"}
    assert [each | expected == each and each["error_code"] is None for each in lines] == [True, True]
    assert [each["request_id"] for each in lines] == ids
    assert (notes(tmp_path), [state(tools, each) for each in ids]) == (["one", "two"], ["completed"] * 2)
    with worker(tmp_path, "--once") as process:
        assert ended(process) == (0, [], "")


def test_two_workers_execute_each_of_many_decisions_exactly_once(
    tools: NexusControlTools, tmp_path: Path
) -> None:
    ids = [for_a_worker(tools, "note", text=f"n{number}") for number in range(12)]
    with worker(tmp_path, "--once") as one, worker(tmp_path, "--once") as two:
        outcomes = [ended(one), ended(two)]
    assert [(code, said) for code, _, said in outcomes] == [(0, "")] * 2
    told = [line["request_id"] for _, lines, _ in outcomes for line in lines]
    assert (sorted(told), notes(tmp_path)) == (sorted(ids), sorted(f"n{number}" for number in range(12)))
    for request_id in ids:
        require_whole(tools.store, request_id)
    assert find_faults(tools.store) == []


def test_an_idle_worker_executes_what_comes_and_ends_at_sigterm_with_0(
    tools: NexusControlTools, tmp_path: Path
) -> None:
    for_a_worker(tools, "note", text="first")
    with worker(tmp_path) as process:
        next_line(process)
        request_id = for_a_worker(tools, "note", text="second")
        assert next_line(process)["request_id"] == request_id
        process.send_signal(signal.SIGTERM)
        assert ended(process) == (0, [], "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_an_idle_worker_ends_by_another_signal_as_other_commands_do(
    tools: NexusControlTools, tmp_path: Path, number: signal.Signals
) -> None:
    for_a_worker(tools, "note", text="first")
    with worker(tmp_path) as process:
        next_line(process)
        process.send_signal(number)
        assert ended(process) == (-number, [], "")


def test_a_run_that_ends_within_the_grace_is_recorded_and_nothing_new_is_begun(
    tools: NexusControlTools, tmp_path: Path
) -> None:
    first = for_a_worker(tools, "pause", seconds="3")
    second = for_a_worker(tools, "note", text="second")
    with worker(tmp_path, "--grace", "200") as process:
        assert eventually((tmp_path / "started").exists, seconds=240)
        process.send_signal(signal.SIGTERM)
        code, lines, _ = ended(process)
    assert (code, [each["outcome"] for each in lines]) == (0, ["completed"])
    assert (state(tools, first), state(tools, second)) == ("completed", "approved")


@pytest.mark.parametrize("is_impatient", [True, False], ids=["two signals", "the grace is over"])
def test_a_run_that_must_not_go_on_is_killed_and_its_outcome_is_unknown(
    tools: NexusControlTools, tmp_path: Path, is_impatient: bool
) -> None:
    marker = unique_seconds()
    request_id = for_a_worker(tools, "pause", seconds=marker)
    with worker(tmp_path, "--grace", "200" if is_impatient else "1") as process:
        assert eventually((tmp_path / "started").exists, seconds=240)
        process.send_signal(signal.SIGTERM)
        if is_impatient:
            assert eventually(partial(told_to_end, process, signal.SIGTERM))
        code, lines, _ = ended(process)
    assert (code, processes_with(marker)) == (0, [])
    assert [(each["outcome"], each["effect"], each["error_code"]) for each in lines] == [
        ("unknown", "unknown", "STOPPED")
    ]
    assert "the worker was ended by SIGTERM" in last_event(tools.store, request_id).payload["detail"]
    with worker(tmp_path, "--once") as process:  # it is never run again
        assert ended(process) == (0, [], "")


def test_a_run_that_somebody_cancels_ends_as_failed_and_the_worker_goes_on(
    tools: NexusControlTools, tmp_path: Path
) -> None:
    marker = unique_seconds()
    cancelled = for_a_worker(tools, "pause", seconds=marker)
    after = for_a_worker(tools, "note", text="after")
    with worker(tmp_path) as process:
        assert eventually((tmp_path / "started").exists, seconds=240)
        Commands(tmp_path).run("cancel", cancelled, "--reason", "wrong cluster", "--as", "human:alice")
        lines = [next_line(process), next_line(process)]
        assert processes_with(marker) == []
        process.send_signal(signal.SIGTERM)
        assert ended(process) == (0, [], "")
    told = [(each["request_id"], each["outcome"], each["error_code"]) for each in lines]
    assert told == [(cancelled, "failed", "CANCELLED"), (after, "completed", None)]
    assert (state(tools, cancelled), notes(tmp_path)) == ("failed", ["after"])


def test_a_signal_while_a_cancelled_run_ends_leaves_it_cancelled_and_begins_nothing(
    tools: NexusControlTools, tmp_path: Path
) -> None:
    marker = unique_seconds()
    cancelled = for_a_worker(tools, "pause", seconds=marker)
    after = for_a_worker(tools, "note", text="after")
    with worker(tmp_path, "--grace", "200") as process:
        assert eventually((tmp_path / "started").exists, seconds=240)
        process.send_signal(signal.SIGTERM)  # it waits for the run, whose end is now the cancel's
        Commands(tmp_path).run("cancel", cancelled, "--reason", "wrong cluster", "--as", "human:alice")
        code, lines, _ = ended(process)
    assert (code, processes_with(marker)) == (0, [])
    assert [(each["outcome"], each["error_code"]) for each in lines] == [("failed", "CANCELLED")]
    assert (state(tools, cancelled), state(tools, after)) == ("failed", "approved")


def test_after_a_kill_in_mid_run_the_next_worker_records_it_as_unknown_and_runs_nothing_again(
    tools: NexusControlTools, tmp_path: Path
) -> None:
    marker = unique_seconds()
    request_id = for_a_worker(tools, "pause", seconds=marker)
    with worker(tmp_path) as process:
        assert eventually((tmp_path / "started").exists, seconds=240)
        process.kill()
        assert process.wait(240) == -signal.SIGKILL
    assert eventually(lambda: processes_with(marker) == [])
    with worker(tmp_path, "--once") as process:
        code, lines, _ = ended(process)
    assert (code, [(each["what"], each["request_id"], each["outcome"]) for each in lines]) == (
        1,
        [("recover", request_id, "unknown")],
    )
    assert lines[0]["execution_id"].startswith(f"{request_id}:0:")
    assert ((tmp_path / "started").read_text(), state(tools, request_id)) == ("started\n", "outcome_unknown")


def test_once_ends_with_1_where_an_execution_failed(tools: NexusControlTools, tmp_path: Path) -> None:
    for_a_worker(tools, "note", text="one")
    (tmp_path / "notes").mkdir()
    with worker(tmp_path, "--once") as process:
        code, lines, _ = ended(process)
    assert (code, [each["outcome"] for each in lines]) == (1, ["failed"])


def test_no_line_holds_the_output_of_a_program(tools: NexusControlTools, tmp_path: Path) -> None:
    config = CONFIG + "[adapters.files.tools.say]\nargv = ['sh', '-c', 'echo hush; echo hush >&2; exit 3']\n"
    (tmp_path / "nexus-control.toml").write_text(config)
    for_a_worker(tools, "say")
    with worker(tmp_path, "--once") as process:
        out, err = process.communicate(timeout=240)
    assert (process.returncode, "hush" in out + err) == (1, False)


def test_a_store_that_is_locked_is_waited_for(tools: NexusControlTools, tmp_path: Path) -> None:
    for_a_worker(tools, "note", text="first")
    with worker(tmp_path, "--recover-every", "1s") as process:
        next_line(process)
        other = sqlite3.connect(tmp_path / "store.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        assert next_line(process)["what"] == "store"
        other.execute("ROLLBACK")
        other.close()
        assert next_line(process)["outcome"] == "back"
        request_id = for_a_worker(tools, "note", text="second")
        assert next_line(process)["request_id"] == request_id


def test_a_store_that_was_replaced_ends_it_with_1(tools: NexusControlTools, tmp_path: Path) -> None:
    for_a_worker(tools, "note", text="first")
    with worker(tmp_path) as process:
        next_line(process)
        other = NexusControlTools(db_path=tmp_path / "other.db")
        for_a_worker(other, "note", text="of another store")
        other.close()
        shutil.move(tmp_path / "other.db", tmp_path / "store.db")
        code, lines, said = ended(process)
    assert (code, lines, said.split(":")[0]) == (1, [], "STORE_REPLACED")
    assert notes(tmp_path) == ["first"]


def test_a_worker_whose_output_is_closed_begins_nothing(tools: NexusControlTools, tmp_path: Path) -> None:
    request_id = for_a_worker(tools, "note", text="one")
    words = f"{sys.executable} -m nexus_control worker --db store.db --config nexus-control.toml --once >&-"
    ran = subprocess.run(
        ["sh", "-c", words], cwd=tmp_path, env=environment(), stderr=subprocess.PIPE, text=True
    )
    assert (ran.returncode, "output could not be written" in " ".join(ran.stderr.split())) == (1, True)
    assert state(tools, request_id) == "approved"


def test_a_worker_whose_reader_is_gone_ends_with_1_and_begins_nothing_more(
    tools: NexusControlTools, tmp_path: Path
) -> None:
    for_a_worker(tools, "note", text="one")
    with worker(tmp_path) as process:
        next_line(process)
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait(240) == 1
        request_id = for_a_worker(tools, "note", text="two")
    assert (state(tools, request_id), notes(tmp_path)) == ("approved", ["one"])


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_an_execution_that_cannot_be_told_is_recorded_and_no_other_is_begun(
    tools: NexusControlTools, tmp_path: Path
) -> None:
    first, second = (for_a_worker(tools, "note", text=text) for text in ("one", "two"))
    full = os.open("/dev/full", os.O_WRONLY)
    with worker(tmp_path, stdout=full) as process:
        os.close(full)
        assert process.wait(240) == 1
    assert (state(tools, first), state(tools, second), notes(tmp_path)) == ("completed", "approved", ["one"])


def test_checkpoints_are_written_where_they_are_wanted(tools: NexusControlTools, tmp_path: Path) -> None:
    for_a_worker(tools, "note", text="one")
    kept = tmp_path / "kept"
    with worker(tmp_path, "--once", "--checkpoint-to", str(kept)) as process:
        code, lines, _ = ended(process)
    assert (code, [each["what"] for each in lines]) == (0, ["checkpoint", "execute"])
    Commands(tmp_path).run("log", "consistency", str(kept))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--actor", "human:bob"], "--actor"),
        (["--poll", "soon"], "--poll"),
        (["--grace", "-1"], "--grace"),
        (["--checkpoint-to", "store.db"], "--checkpoint-to"),
        (["--config", "missing.toml"], "missing.toml"),
    ],
    ids=["actor", "poll", "grace", "checkpoint", "config"],
)
def test_wrong_options_end_it_with_2(
    tools: NexusControlTools, tmp_path: Path, options: list[str], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    refused = Commands(tmp_path).answer(
        "worker", "--once", "--config", "nexus-control.toml", *options, code=2
    )
    assert says in refused["message"]


def test_workers_share_a_store_on_postgresql(
    postgres_url: str, tools: NexusControlTools, tmp_path: Path
) -> None:
    (tmp_path / "log").mkdir(mode=0o700)
    with NexusControlTools(db_path=postgres_url, log_folder=tmp_path / "log") as shared:
        ids = [for_a_worker(shared, "note", text=f"n{number}") for number in range(6)]
        options = ("--once", "--log-folder", str(tmp_path / "log"))
        with (
            worker(tmp_path, *options, database=postgres_url) as one,
            worker(tmp_path, *options, database=postgres_url) as two,
        ):
            outcomes = [ended(one), ended(two)]
        assert [(code, said) for code, _, said in outcomes] == [(0, "")] * 2
        assert sorted(line["request_id"] for _, lines, _ in outcomes for line in lines) == sorted(ids)
        assert notes(tmp_path) == sorted(f"n{number}" for number in range(6))
        assert {state(shared, each) for each in ids} == {"completed"}
