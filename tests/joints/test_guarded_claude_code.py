"""Claude Code itself with the hook of `install --hook`: deferred, decided in another process, run once, recorded."""

import json
import os
import signal
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from nexus_control import NexusControlTools
from tests.hosts.claude_code import ClaudeCode, claude_code, why_missing
from tests.hosts.gates import effects, gate
from tests.hosts.marks import needs_host
from tests.hosts.model import Call, Turn
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
    return Call(f"toolu_{number}", "Bash", {"command": f"echo run >> {runs}{more}"})


@contextmanager
def guarded(bench: Bench, folder: Path, turns: list[Turn]) -> Generator[ClaudeCode]:
    written: dict[str, Any] = json.loads(registration(bench, "claude-code"))
    written["permissions"] = {"allow": ["Bash", "Write", "Read", "Agent"]}
    with claude_code(folder, turns, written) as claude:
        yield claude


def test_a_listed_tool_is_deferred_and_the_resume_after_the_approval_runs_it_once(
    tmp_path: Path, bench: Bench, runs: Path
) -> None:
    with guarded(bench, tmp_path, [[adding(runs, more="; echo done")]]) as claude:
        first = claude.run("go")
        assert (first.ended.code, first.document["stop_reason"]) == (0, "tool_deferred")
        waiting = claude.run(resume=first.session)
        assert (waiting.document["stop_reason"], effects(runs)) == ("tool_deferred", 0)
        request_id = approve(bench)
        resumed = claude.run(resume=first.session)
        assert (resumed.document["result"], effects(runs)) == ("done", 1)
        assert claude.model.results() == {"toolu_1": "done"}
        assert claude.run(resume=first.session).ended.code == 1
    assert (effects(runs), bench.requests(), bench.state(request_id)) == (1, [request_id], "completed")
    with NexusControlTools(bench.path) as tools:
        assert data_of(tools.result(request_id))["answer"]["output"]["stdout"] == "done"


def test_forks_of_a_deferred_session_run_the_approved_call_no_second_time(
    tmp_path: Path, bench: Bench, runs: Path
) -> None:
    with guarded(bench, tmp_path, [[adding(runs)]]) as claude:
        deferred = claude.run("go")
        approve(bench)
        claude.run(resume=deferred.session, fork=True)
        for fork in (True, False):
            claude.run(resume=deferred.session, fork=fork)
            assert "was already executed" in claude.model.results()["toolu_1"]
    assert (effects(runs), len(bench.requests())) == (1, 1)


def test_a_resume_after_a_kill_runs_the_call_no_second_time_and_its_outcome_is_unknown(
    tmp_path: Path, bench: Bench
) -> None:
    with gate(tmp_path / "gate") as command:
        turns: list[Turn] = [[Call("toolu_1", "Bash", {"command": command.command})]]
        with guarded(bench, tmp_path, turns) as claude:
            deferred = claude.run("go")
            request_id = approve(bench)
            with claude.host.running(claude.words(resume=deferred.session)) as process:
                command.reached()
                assert bench.state(request_id) == "executing"
                with NexusControlTools(bench.path) as tools:
                    assert data_of(tools.recover())["recovered"] == []
                os.kill(process.pid, signal.SIGKILL)
                process.communicate(timeout=60)
            command.open()
            command.ended()
            claude.run(resume=deferred.session)
            assert "it may or may not have taken effect" in claude.model.results()["toolu_1"]
        assert (command.runs, bench.state(request_id)) == (1, "outcome_unknown")


@pytest.mark.parametrize(("default", "written"), [("allow", True), ("deny", False)])
def test_an_unlisted_tool_takes_the_default_of_the_book(default: str, written: bool, tmp_path: Path) -> None:
    bench, file = office(tmp_path / "office", default), tmp_path / "work" / "new.txt"
    turns: list[Turn] = [[Call("toolu_1", "Write", {"file_path": str(file), "content": "new"})]]
    with guarded(bench, tmp_path, turns) as claude:
        ended = claude.run("go")
        told = claude.model.results()["toolu_1"]
    assert (ended.document["result"], file.exists(), bench.requests()) == ("done", written, [])
    assert ("the rules deny Write (default)" in told) is not written


def test_a_denied_call_is_not_run_and_the_model_is_told_who_denied_it(
    tmp_path: Path, bench: Bench, runs: Path
) -> None:
    with guarded(bench, tmp_path, [[adding(runs)]]) as claude:
        deferred = claude.run("go")
        deny(bench, "not on a Friday")
        claude.run(resume=deferred.session)
        assert "denied by bob: not on a Friday" in claude.model.results()["toolu_1"]
    assert effects(runs) == 0


@pytest.mark.parametrize(
    ("arguments", "state"),
    [
        ({"command": "echo no; exit 3"}, "failed"),
        ({"command": "true", "run_in_background": True}, "outcome_unknown"),
    ],
)
def test_what_became_of_a_call_is_recorded(
    arguments: dict[str, Any], state: str, tmp_path: Path, bench: Bench
) -> None:
    with guarded(bench, tmp_path, [[Call("toolu_1", "Bash", arguments)]]) as claude:
        deferred = claude.run("go")
        request_id = approve(bench)
        claude.run(resume=deferred.session)
    assert bench.state(request_id) == state


def test_of_two_calls_in_one_answer_each_is_asked_for_when_its_turn_comes(
    tmp_path: Path, bench: Bench, runs: Path
) -> None:
    turns: list[Turn] = [[adding(runs, 1), adding(runs, 2, "; true")], [adding(runs, 3, "; true")]]
    with guarded(bench, tmp_path, turns) as claude:
        first = claude.run("go")
        assert first.document["deferred_tool_use"]["id"] == "toolu_1"
        approve(bench)
        second = claude.run(resume=first.session)
        assert "only one call at a time can wait" in claude.model.results()["toolu_2"]
        assert (second.document["deferred_tool_use"]["id"], effects(runs)) == ("toolu_3", 1)
        approve(bench)
        claude.run(resume=first.session)
    assert (effects(runs), len(bench.requests(state="completed"))) == (2, 2)


def test_a_call_of_a_subagent_is_denied_while_it_waits_and_its_retry_runs_once_it_is_approved(
    tmp_path: Path, bench: Bench, runs: Path
) -> None:
    asked = {"description": "look", "prompt": "Look aside.", "subagent_type": "general-purpose"}
    with guarded(bench, tmp_path, [[Call("toolu_1", "Agent", asked)]]) as claude:
        claude.model.asides = {"Look aside.": [[adding(runs, 2)]]}
        claude.run("go")
    assert (effects(runs), len(bench.requests(state="pending_approval"))) == (0, 1)


@pytest.mark.parametrize("broken", ["store", "book", "program"])
def test_a_hook_that_cannot_judge_lets_nothing_run(
    broken: str, tmp_path: Path, bench: Bench, runs: Path
) -> None:
    with guarded(bench, tmp_path, [[adding(runs)]]) as claude:
        if broken == "program":
            place = claude.host.home / ".claude" / "settings.json"
            place.write_text(place.read_text().replace("-m nexus_control", "-m nexus_controll"))
        else:
            (bench.path if broken == "store" else bench.book).unlink()
        claude.run("go")
        told = claude.model.results()["toolu_1"]
    assert effects(runs) == 0
    assert broken == "program" or "approvals cannot be checked now" in told


def test_a_resume_runs_no_deferred_command_in_another_folder_than_people_saw(
    tmp_path: Path, bench: Bench, runs: Path
) -> None:
    # A resumed host begins in its own folder again, and would run the command there.
    bench.book.write_text(
        'default = "allow"\n[[rules]]\ntool = "Bash"\narguments = { "/command" = { prefix = "echo" } }\n'
        'template = "one"\n',
        encoding="utf-8",
    )
    entering = Call("toolu_0", "Bash", {"command": f"mkdir {tmp_path}/work/inner; cd {tmp_path}/work/inner"})
    with guarded(bench, tmp_path, [[entering], [adding(runs)]]) as claude:
        deferred = claude.run("go")
        request_id = approve(bench)
        claude.run(resume=deferred.session)
        assert "people were asked about another content" in claude.model.results()["toolu_1"]
    assert (effects(runs), bench.state(request_id)) == (0, "approved")
    assert json.loads(bench.status(request_id)["plan"])["folder"] == f"{tmp_path}/work/inner"
