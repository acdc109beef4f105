"""Codex itself with the hook of `install --hook`: denied while it waits, decided in another process, run once."""

import json
import os
import signal
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from nexus_control import NexusControlTools
from tests.hosts.captures import PROGRAMMING_MODEL
from tests.hosts.codex import Codex, codex, session_of, why_missing
from tests.hosts.gates import effects, gate
from tests.hosts.marks import needs_host
from tests.hosts.model import Call, Turn
from tests.hosts.notes_server import PLACE
from tests.joints.guarding import approve, deny, office, registration
from tests.support.governed import data_of
from tests.support.hooking import Bench

pytestmark = needs_host(why_missing())


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return office(tmp_path / "office")


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    return tmp_path / "runs"


def adding(runs: Path, number: int = 1, more: str = "") -> Call:
    return Call(f"call_{number}", "exec_command", {"cmd": f"echo run >> {runs}{more}"})


@contextmanager
def guarded(
    bench: Bench, folder: Path, turns: list[Turn], more: str = "", model: str = "fake"
) -> Generator[Codex]:
    with codex(folder, turns, f"{registration(bench, 'codex')}{more}", model) as program:
        yield program


def test_a_listed_tool_is_denied_while_it_waits_and_the_retry_after_the_approval_runs_it_once(
    tmp_path: Path, bench: Bench, runs: Path
) -> None:
    calls = [adding(runs, number, "; echo done") for number in range(1, 5)]
    turns: list[Turn] = [[calls[0]], [calls[1]], "waiting", [calls[2]], [calls[3]], "done"]
    with guarded(bench, tmp_path, turns) as program:
        first = program.run("go")
        for call_id in ("call_1", "call_2"):
            assert "waiting for approval" in program.model.results()[call_id]
        assert (effects(runs), len(bench.requests())) == (0, 1)
        request_id = approve(bench)
        program.run("it is approved", resume=first.session)
        results = program.model.results()
    assert (effects(runs), bench.state(request_id)) == (1, "completed")
    assert "waiting for approval" in results["call_4"]
    assert len(bench.requests()) == 2
    with NexusControlTools(bench.path) as tools:
        assert data_of(tools.result(request_id))["answer"] == {"output": "done\n"}


@pytest.mark.parametrize(("default", "ran"), [("allow", 1), ("deny", 0)])
def test_an_unlisted_tool_takes_the_default_of_the_book(
    default: str, ran: int, tmp_path: Path, runs: Path
) -> None:
    bench = office(tmp_path / "office", default)
    bench.book.write_text(f'default = "{default}"\n', encoding="utf-8")
    with guarded(bench, tmp_path, [[adding(runs)]]) as program:
        program.run("go")
        told = program.model.results()["call_1"]
    assert (effects(runs), bench.requests()) == (ran, [])
    assert ("the rules deny Bash (default)" in told) is not bool(ran)


def test_a_denial_holds_for_the_session(tmp_path: Path, bench: Bench, runs: Path) -> None:
    turns: list[Turn] = [[adding(runs, 1)], "waiting", [adding(runs, 2)], "done"]
    with guarded(bench, tmp_path, turns) as program:
        first = program.run("go")
        deny(bench, "not on a Friday")
        program.run("it is decided", resume=first.session)
        assert "denied by bob: not on a Friday" in program.model.results()["call_2"]
    assert (effects(runs), len(bench.requests())) == (0, 1)


def test_calls_of_one_answer_are_asked_for_each_and_equal_ones_together(
    tmp_path: Path, bench: Bench, runs: Path
) -> None:
    calls = [adding(runs, 1), adding(runs, 2, "; true"), adding(runs, 3)]
    with guarded(bench, tmp_path, [calls]) as program:
        program.run("go")
    assert (effects(runs), len(bench.requests(state="pending_approval"))) == (0, 2)


def test_a_call_in_a_program_is_asked_for_too(tmp_path: Path, bench: Bench, runs: Path) -> None:
    command = json.dumps({"cmd": f"echo run >> {runs}"})
    source = f"try {{ await tools.exec_command({command}) }} catch (e) {{ text(`${{e}}`) }}"
    calls: list[Turn] = [[Call(f"call_{n}", "functions__exec", source)] for n in (1, 2)]
    turns: list[Turn] = [calls[0], "waiting", calls[1], "done"]
    with guarded(bench, tmp_path, turns, model=PROGRAMMING_MODEL) as program:
        first = program.run("go")
        assert "waiting for approval" in program.model.results()["call_1"]
        request_id = approve(bench)
        program.run("it is approved", resume=first.session)
    assert (effects(runs), bench.state(request_id)) == (1, "completed")


def test_a_call_whose_host_is_killed_has_an_unknown_outcome_and_runs_no_second_time(
    tmp_path: Path, bench: Bench
) -> None:
    with gate(tmp_path / "gate") as command:
        calls = [Call(f"call_{n}", "exec_command", {"cmd": command.command}) for n in (1, 2, 3)]
        turns: list[Turn] = [[calls[0]], "waiting", [calls[1]], [calls[2]], "done"]
        with guarded(bench, tmp_path, turns) as program:
            first = program.run("go")
            request_id = approve(bench)
            with program.host.running(program.words("go on", resume=first.session)) as process:
                command.reached()
                assert bench.state(request_id) == "executing"
                with NexusControlTools(bench.path) as tools:
                    assert data_of(tools.recover())["recovered"] == []
                os.killpg(process.pid, signal.SIGKILL)
                printed, _ = process.communicate(timeout=60)
            command.open()
            program.run("go on", resume=session_of(printed))
            assert "it may or may not have taken effect" in program.model.results()["call_3"]
        assert (command.runs, bench.state(request_id)) == (1, "outcome_unknown")


def test_the_error_of_a_server_s_tool_has_no_event_and_its_outcome_is_unknown_when_the_host_has_ended(
    tmp_path: Path, bench: Bench
) -> None:
    program_of_server = f"command = {json.dumps(PLACE[0])}\nargs = {json.dumps(PLACE[1:])}"
    server = f"\n[mcp_servers.notes]\n{program_of_server}\nrequired = true\nstartup_timeout_sec = 60\n"
    failing = [Call(f"call_{n}", "mcp__notes__fail", {"text": "milk"}) for n in (1, 2)]
    turns: list[Turn] = [[failing[0]], "waiting", [failing[1]], "done"]
    with guarded(bench, tmp_path, turns, server) as program:
        first = program.run("go")
        request_id = approve(bench)
        program.run("it is approved", resume=first.session)
    with NexusControlTools(bench.path) as tools:
        assert data_of(tools.recover())["recovered"] == [request_id]
    assert bench.state(request_id) == "outcome_unknown"


@pytest.mark.parametrize("broken", ["store", "book"])
def test_a_hook_that_cannot_judge_lets_nothing_run(
    broken: str, tmp_path: Path, bench: Bench, runs: Path
) -> None:
    with guarded(bench, tmp_path, [[adding(runs)]]) as program:
        (bench.path if broken == "store" else bench.book).unlink()
        program.run("go")
        assert "approvals cannot be checked now" in program.model.results()["call_1"]
    assert effects(runs) == 0
