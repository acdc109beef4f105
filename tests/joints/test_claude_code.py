"""What a hook may rely on in Claude Code itself, without a person, without a network, with a model that is scripted."""

import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.hosts.captures import of_claude_code, saved
from tests.hosts.claude_code import claude_code, settings, why_missing
from tests.hosts.gates import effects, gate
from tests.hosts.marks import needs_host
from tests.hosts.model import Call, Turn
from tests.hosts.standins import Answer, StandIn, decision, denial

pytestmark = needs_host(why_missing())

REASON = "Not run: waiting for approval (request r1)."
NOISE = Answer(f"a library prints\n{denial(REASON).stdout}")
CRASH = Answer(stderr="Traceback", code=1)
DENIALS = {
    "JSON and exit 0": decision("deny", REASON),
    "JSON and exit 1": decision("deny", REASON, code=1),
    "exit 2": Answer(stderr=REASON, code=2),
    "exit 2 after an allow": decision("allow", stderr=REASON, code=2),
    "the denial that every host obeys": denial(REASON),
}
PASSES = {
    "nothing": Answer(),
    "allow": decision("allow"),
    "the model's turn ends": Answer('{"continue": false}'),
    "a denial after noise": NOISE,
    "a crash": CRASH,
    "an unknown decision": decision("maybe", REASON),
}
BLOCKED = {name: PASSES[name] for name in ("a crash", "an unknown decision")}


@pytest.fixture
def hook(tmp_path: Path) -> StandIn:
    return StandIn(tmp_path / "hook")


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    return tmp_path / "runs"


@pytest.fixture
def turns(runs: Path) -> list[Turn]:
    """The model asks for one command, which adds a line to a file, and then says that it is done."""
    return [[adding(runs)]]


def adding(runs: Path, number: int = 1) -> Call:
    return Call(f"toolu_{number}", "Bash", {"command": f"echo run >> {runs}"})


def guarded(hook_command: Sequence[str], **handler: Any) -> dict[str, Any]:
    """The settings as a guard is registered: a hook that fails denies."""
    return settings(hook_command, **{"onFailure": "block", **handler})


def ids(hook: StandIn, event: str) -> list[str]:
    return [run.input["tool_use_id"] for run in hook.seen(event)]


@pytest.mark.parametrize("name", DENIALS)
def test_a_denied_call_is_not_run_and_the_model_is_told_why(
    name: str, tmp_path: Path, hook: StandIn, turns: list[Turn], runs: Path
) -> None:
    hook.answers("PreToolUse", DENIALS[name])
    with claude_code(tmp_path, turns, settings(hook.command)) as claude:
        ended = claude.run("go")
        assert REASON in claude.model.results()["toolu_1"]
    assert (ended.document["result"], effects(runs)) == ("done", 0)
    assert ids(hook, "PreToolUse") == ["toolu_1"]
    assert ids(hook, "PostToolUse") == ids(hook, "PostToolUseFailure") == []


@pytest.mark.parametrize("name", PASSES)
def test_a_hook_that_does_not_deny_lets_the_call_run(
    name: str, tmp_path: Path, hook: StandIn, turns: list[Turn], runs: Path
) -> None:
    hook.answers("PreToolUse", PASSES[name])
    with claude_code(tmp_path, turns, settings(hook.command)) as claude:
        claude.run("go")
    assert (effects(runs), ids(hook, "PostToolUse")) == (1, ["toolu_1"])


@pytest.mark.parametrize("name", BLOCKED)
def test_a_hook_that_fails_denies_where_its_failure_blocks(
    name: str, tmp_path: Path, hook: StandIn, turns: list[Turn], runs: Path
) -> None:
    hook.answers("PreToolUse", BLOCKED[name])
    with claude_code(tmp_path, turns, guarded(hook.command)) as claude:
        claude.run("go")
    assert (effects(runs), ids(hook, "PreToolUse")) == (0, ["toolu_1"])


def test_noise_before_the_denial_lets_the_call_run_even_where_failure_blocks(
    tmp_path: Path, hook: StandIn, turns: list[Turn], runs: Path
) -> None:
    hook.answers("PreToolUse", NOISE)
    with claude_code(tmp_path, turns, guarded(hook.command)) as claude:
        claude.run("go")
    assert effects(runs) == 1


def test_a_hook_that_is_not_there_denies_where_its_failure_blocks(
    tmp_path: Path, turns: list[Turn], runs: Path
) -> None:
    with claude_code(tmp_path, turns, guarded([str(tmp_path / "missing")])) as claude:
        claude.run("go")
    assert effects(runs) == 0


def test_a_wrong_value_of_on_failure_drops_every_hook_of_the_file(
    tmp_path: Path, hook: StandIn, turns: list[Turn]
) -> None:
    hook.answers("PreToolUse", denial(REASON))
    with claude_code(tmp_path, turns, guarded(hook.command, onFailure="blok")) as claude:
        ended = claude.run("go")
    assert (ended.ended.code, hook.all_seen()) == (0, [])


def test_a_deferred_call_waits_for_a_resume_without_a_prompt_and_then_runs_once(
    tmp_path: Path, hook: StandIn, turns: list[Turn], runs: Path
) -> None:
    hook.answers("PreToolUse", decision("defer"))
    with claude_code(tmp_path, turns, guarded(hook.command)) as claude:
        for ended in (first := claude.run("go"), claude.run(resume=first.session)):
            assert (ended.ended.code, ended.session) == (0, first.session)
            assert ended.document["stop_reason"] == "tool_deferred"
            assert ended.document["deferred_tool_use"] == {
                "id": "toolu_1",
                "name": "Bash",
                "input": {"command": f"echo run >> {runs}"},
            }
        assert effects(runs) == 0
        hook.answers("PreToolUse", decision("allow"))
        resumed = claude.run(resume=first.session)
        assert (resumed.document["result"], effects(runs)) == ("done", 1)
        again = claude.run(resume=first.session)
        assert (again.ended.code, "No deferred tool" in again.ended.stderr, effects(runs)) == (1, True, 1)
    assert {run.input["session_id"] for run in hook.all_seen()} == {first.session}
    assert ids(hook, "PreToolUse") == ["toolu_1"] * 3
    assert ids(hook, "PostToolUse") == ["toolu_1"]


def test_a_deferred_call_that_is_denied_later_is_not_run_and_the_model_is_told_why(
    tmp_path: Path, hook: StandIn, turns: list[Turn], runs: Path
) -> None:
    hook.answers("PreToolUse", decision("defer"))
    with claude_code(tmp_path, turns, guarded(hook.command)) as claude:
        deferred = claude.run("go")
        hook.answers("PreToolUse", denial(REASON))
        claude.run(resume=deferred.session)
        assert REASON in claude.model.results()["toolu_1"]
    assert effects(runs) == 0


def test_a_resume_with_a_prompt_runs_the_approved_call_first(
    tmp_path: Path, hook: StandIn, turns: list[Turn], runs: Path
) -> None:
    hook.answers("PreToolUse", decision("defer"))
    with claude_code(tmp_path, turns, guarded(hook.command)) as claude:
        deferred = claude.run("go")
        hook.answers("PreToolUse", decision("allow"))
        claude.run("and now?", resume=deferred.session)
    assert (effects(runs), ids(hook, "PreToolUse")) == (1, ["toolu_1", "toolu_1"])


def test_a_resume_with_a_prompt_throws_away_a_call_that_is_deferred_again(
    tmp_path: Path, hook: StandIn, turns: list[Turn], runs: Path
) -> None:
    hook.answers("PreToolUse", decision("defer"))
    with claude_code(tmp_path, turns, guarded(hook.command)) as claude:
        deferred = claude.run("go")
        claude.run("and now?", resume=deferred.session)
        assert "Tool result missing" in claude.model.results()["toolu_1"]
        hook.answers("PreToolUse", decision("allow"))
        assert claude.run(resume=deferred.session).ended.code == 1
    assert (effects(runs), ids(hook, "PreToolUse")) == (0, ["toolu_1", "toolu_1"])


def test_each_fork_of_a_deferred_session_runs_the_call_under_the_same_id(
    tmp_path: Path, hook: StandIn, turns: list[Turn], runs: Path
) -> None:
    hook.answers("PreToolUse", decision("defer"))
    with claude_code(tmp_path, turns, guarded(hook.command)) as claude:
        deferred = claude.run("go")
        hook.answers("PreToolUse", decision("allow"))
        forks = [claude.run(resume=deferred.session, fork=True) for _ in range(2)]
        claude.run(resume=deferred.session)
    assert len({deferred.session, *(fork.session for fork in forks)}) == 3
    assert (effects(runs), set(ids(hook, "PreToolUse"))) == (3, {"toolu_1"})


def test_of_two_deferred_calls_in_one_answer_only_the_last_can_be_resumed(
    tmp_path: Path, hook: StandIn, runs: Path
) -> None:
    hook.answers("PreToolUse", decision("defer"))
    with claude_code(tmp_path, [[adding(runs), adding(runs, 2)]], guarded(hook.command)) as claude:
        deferred = claude.run("go")
        assert deferred.document["deferred_tool_use"]["id"] == "toolu_2"
        hook.answers("PreToolUse", decision("allow"))
        claude.run(resume=deferred.session)
        assert list(claude.model.results()) == ["toolu_2"]
    assert effects(runs) == 1


def test_a_call_that_is_deferred_in_a_subagent_is_not_run_and_is_lost(
    tmp_path: Path, hook: StandIn, runs: Path
) -> None:
    asked = {"description": "look", "prompt": "Look aside.", "subagent_type": "general-purpose"}
    written = guarded(hook.command, allow=["Bash", "Agent"])
    for event in written["hooks"].values():
        event[0]["matcher"] = "Bash"
    hook.answers("PreToolUse", decision("defer"))
    with claude_code(tmp_path, [[Call("toolu_1", "Agent", asked)]], written) as claude:
        claude.model.asides = {"Look aside.": [[adding(runs, 2)]]}
        ended = claude.run("go")
        assert "deferred_tool_use" not in ended.document
        hook.answers("PreToolUse", decision("allow"))
        assert claude.run(resume=ended.session).ended.code == 1
    assert [("agent_id" in run.input, run.input["tool_use_id"]) for run in hook.all_seen()] == [
        (True, "toolu_2")
    ]
    assert effects(runs) == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_event_tells_of_a_call_whose_host_was_ended_in_mid_run(
    number: signal.Signals, tmp_path: Path, hook: StandIn
) -> None:
    hook.answers("PreToolUse", decision("allow"))
    with (
        gate(tmp_path / "gate") as command,
        claude_code(
            tmp_path, [[Call("toolu_1", "Bash", {"command": command.command})]], guarded(hook.command)
        ) as claude,
        claude.host.running(claude.words("go")) as process,
    ):
        command.reached()
        os.kill(process.pid, number)
        process.communicate(timeout=60)
        command.open()
    assert [run.input["hook_event_name"] for run in hook.all_seen()] == ["PreToolUse"]


def test_a_call_whose_host_was_killed_goes_on_and_the_next_resume_runs_it_again(
    tmp_path: Path, hook: StandIn
) -> None:
    hook.answers("PreToolUse", decision("defer"))
    with gate(tmp_path / "gate") as command:
        turns = [[Call("toolu_1", "Bash", {"command": command.command})]]
        with claude_code(tmp_path, turns, guarded(hook.command)) as claude:
            deferred = claude.run("go")
            hook.answers("PreToolUse", decision("allow"))
            with claude.host.running(claude.words(resume=deferred.session)) as process:
                command.reached()
                os.kill(process.pid, signal.SIGKILL)
                process.communicate(timeout=60)
            command.open()
            command.ended()
            command.open()
            claude.run(resume=deferred.session)
        assert command.runs == 2
    assert ids(hook, "PreToolUse") == ["toolu_1"] * 3
    assert ids(hook, "PostToolUse") == ["toolu_1"]


def test_the_environment_of_a_hook_names_the_host_the_session_and_that_nobody_attends(
    tmp_path: Path, hook: StandIn, turns: list[Turn]
) -> None:
    with (
        claude_code(tmp_path, turns, settings(hook.command)) as claude,
        claude.host.running(claude.words("go")) as process,
    ):
        process.communicate(timeout=60)
    before, after = hook.all_seen()
    for run in (before, after):
        assert run.environment["CLAUDE_PID"] == str(process.pid)
        assert run.environment["CLAUDE_CODE_SESSION_ATTENDED"] == "0"
        assert run.environment["CLAUDE_CODE_SESSION_ID"] == run.input["session_id"]
        assert run.cwd == run.input["cwd"] == run.environment["CLAUDE_PROJECT_DIR"] == str(claude.host.work)
        # A shell stands between, unless it is one that replaces itself by its last command.
        assert process.pid in [pid for pid, _ in run.ancestors[:2]]


def test_a_command_in_another_folder_shows_in_the_working_folder_of_its_hook(
    tmp_path: Path, hook: StandIn
) -> None:
    inner = tmp_path / "work" / "inner"
    turns = [
        [Call(f"toolu_{n}", "Bash", {"command": command})]
        for n, command in enumerate((f"mkdir {inner}; cd {inner}", "pwd"))
    ]
    with claude_code(tmp_path, turns, settings(hook.command)) as claude:
        claude.run("go")
    assert [run.input["cwd"] for run in hook.seen("PreToolUse")] == [str(inner.parent), str(inner)]


def test_the_saved_inputs_are_those_that_the_host_gives(tmp_path: Path) -> None:
    assert of_claude_code(tmp_path) == saved("claude_code")
