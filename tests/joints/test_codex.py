"""What a hook may rely on in Codex itself, without a person, without a network, with a model that is scripted."""

import json
import os
import re
import signal
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.hosts.captures import PROGRAMMING_MODEL, of_codex, of_codex_programs, saved
from tests.hosts.codex import codex, hooks, session_of, why_missing
from tests.hosts.gates import effects, gate
from tests.hosts.marks import needs_host
from tests.hosts.model import Call, Turn
from tests.hosts.standins import Answer, StandIn, decision, denial

pytestmark = needs_host(why_missing())

REASON = "Not run: waiting for approval (request r1)."
DENIALS = {
    "JSON and exit 0": decision("deny", REASON),
    "exit 2": Answer(stderr=REASON, code=2),
    "the denial that every host obeys": denial(REASON),
}
PASSES = {
    "nothing": Answer(),
    "nothing, and something on standard error": Answer(stderr="a library warns"),
    "JSON and exit 1": decision("deny", REASON, code=1),
    "exit 2 without a text": Answer(code=2),
    "a denial without a reason": decision("deny"),
    "a denial with an unknown key": Answer(json.dumps({**json.loads(denial(REASON).stdout), "more": 1})),
    "a denial after noise": Answer(f"a library prints\n{denial(REASON).stdout}"),
    "allow": decision("allow"),
    "ask": decision("ask", REASON),
    "defer": decision("defer", REASON),
    "a crash": Answer(stderr="Traceback", code=1),
}


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
    return Call(f"call_{number}", "exec_command", {"cmd": f"echo run >> {runs}"})


def ids(hook: StandIn, event: str) -> list[str]:
    return [run.input["tool_use_id"] for run in hook.seen(event)]


@pytest.mark.parametrize("name", DENIALS)
def test_a_denied_call_is_not_run_and_the_model_is_told_why(
    name: str, tmp_path: Path, hook: StandIn, turns: list[Turn], runs: Path
) -> None:
    hook.answers("PreToolUse", DENIALS[name])
    with codex(tmp_path, turns, hooks(hook.command)) as program:
        ended = program.run("go")
        told = program.model.results()["call_1"]
    assert told.startswith(f"Command blocked by PreToolUse hook: {REASON}")
    assert (ended.ended.code, effects(runs)) == (0, 0)
    assert (ids(hook, "PreToolUse"), ids(hook, "PostToolUse")) == (["call_1"], [])


@pytest.mark.parametrize("name", PASSES)
def test_every_other_answer_of_a_hook_lets_the_call_run(
    name: str, tmp_path: Path, hook: StandIn, turns: list[Turn], runs: Path
) -> None:
    hook.answers("PreToolUse", PASSES[name])
    with codex(tmp_path, turns, hooks(hook.command)) as program:
        program.run("go")
    assert effects(runs) == 1
    assert ids(hook, "PreToolUse") == ids(hook, "PostToolUse") == ["call_1"]


def test_a_hook_that_is_not_there_lets_the_call_run(tmp_path: Path, turns: list[Turn], runs: Path) -> None:
    with codex(tmp_path, turns, hooks([str(tmp_path / "missing")])) as program:
        program.run("go")
    assert effects(runs) == 1


def test_a_hook_that_nobody_trusted_is_not_run(
    tmp_path: Path, hook: StandIn, turns: list[Turn], runs: Path
) -> None:
    hook.answers("PreToolUse", denial(REASON))
    with codex(tmp_path, turns, hooks(hook.command)) as program:
        program.run("go", trusting=False)
    assert (hook.all_seen(), effects(runs)) == ([], 1)


def test_a_resume_keeps_the_session_and_the_retry_of_a_denied_call_has_an_id_of_its_own(
    tmp_path: Path, hook: StandIn, runs: Path
) -> None:
    turns: list[Turn] = [[adding(runs, 1)], "waiting", [adding(runs, 2)], "done"]
    hook.answers("PreToolUse", denial(REASON))
    with codex(tmp_path, turns, hooks(hook.command)) as program:
        first = program.run("go")
        hook.answers("PreToolUse", Answer())
        again = program.run("it is approved", resume=first.session)
    before, after = (run.input for run in hook.seen("PreToolUse"))
    assert first.session == again.session == before["session_id"] == after["session_id"]
    assert (before["tool_use_id"], after["tool_use_id"]) == ("call_1", "call_2")
    assert before["tool_input"] == after["tool_input"]
    assert before["turn_id"] != after["turn_id"]
    assert effects(runs) == 1


def test_calls_of_one_answer_have_their_own_ids(tmp_path: Path, hook: StandIn, runs: Path) -> None:
    with codex(tmp_path, [[adding(runs, 1), adding(runs, 2)]], hooks(hook.command)) as program:
        program.run("go")
    assert sorted(ids(hook, "PreToolUse")) == sorted(ids(hook, "PostToolUse")) == ["call_1", "call_2"]


def test_the_calls_of_a_program_have_ids_that_the_host_makes_up(
    tmp_path: Path, hook: StandIn, runs: Path
) -> None:
    command = json.dumps({"cmd": f"echo run >> {runs}"})
    program = Call("call_1", "functions__exec", f"await tools.exec_command({command});" * 2)
    with codex(tmp_path, [[program]], hooks(hook.command), PROGRAMMING_MODEL) as running:
        running.run("go")
    asked = ids(hook, "PreToolUse")
    assert asked == ids(hook, "PostToolUse")
    assert len({each for each in asked if re.fullmatch("exec-[0-9a-f-]{36}", each)}) == 2
    assert effects(runs) == 2


def test_a_denial_in_a_program_is_an_exception_that_names_the_reason(
    tmp_path: Path, hook: StandIn, runs: Path
) -> None:
    hook.answers("PreToolUse", denial(REASON))
    command = json.dumps({"cmd": f"echo run >> {runs}"})
    source = f"try {{ await tools.exec_command({command}) }} catch (e) {{ text(`${{e}}`) }}"
    with codex(
        tmp_path, [[Call("call_1", "functions__exec", source)]], hooks(hook.command), PROGRAMMING_MODEL
    ) as running:
        running.run("go")
        assert REASON in running.model.results()["call_1"]
    assert effects(runs) == 0


def test_what_is_typed_into_a_shell_that_runs_passes_no_hook(
    tmp_path: Path, hook: StandIn, runs: Path
) -> None:
    def typing(results: Mapping[str, str]) -> list[Call]:
        found = re.search(r"session ID (\d+)", results["call_1"])
        assert found
        arguments = {"session_id": int(found[1]), "chars": f"echo run >> {runs}\nexit\n"}
        return [Call("call_2", "write_stdin", arguments)]

    shell = Call("call_1", "exec_command", {"cmd": "bash", "tty": True, "yield_time_ms": 250})
    with codex(tmp_path, [[shell], typing], hooks(hook.command)) as program:
        program.run("go")
    assert effects(runs) == 1
    assert ids(hook, "PreToolUse") == ["call_1"]
    assert [(run.input["tool_use_id"], run.input["tool_input"]) for run in hook.seen("PostToolUse")] == [
        ("call_1", {"command": "bash"})
    ]


def test_the_folder_of_a_command_is_the_working_folder_of_its_hook_and_other_options_do_not_show(
    tmp_path: Path, hook: StandIn
) -> None:
    call = Call("call_1", "exec_command", {"cmd": "pwd", "workdir": "/usr", "shell": "/bin/sh"})
    with codex(tmp_path, [[call]], hooks(hook.command)) as program:
        program.run("go")
    (run,) = hook.seen("PreToolUse")
    assert (run.input["cwd"], run.input["tool_input"]) == ("/usr", {"command": "pwd"})


def test_a_killed_host_leaves_no_event_and_its_resume_tells_the_model_that_the_call_was_aborted(
    tmp_path: Path, hook: StandIn
) -> None:
    with (
        gate(tmp_path / "gate") as command,
        codex(
            tmp_path, [[Call("call_1", "exec_command", {"cmd": command.command})]], hooks(hook.command)
        ) as program,
    ):
        with program.host.running(program.words("go")) as process:
            command.reached()
            (run,) = hook.all_seen()
            os.kill(run.ancestors[0][0], signal.SIGKILL)
            printed, _ = process.communicate(timeout=60)
        command.open()
        program.run("go on", resume=session_of(printed))
        assert program.model.results() == {"call_1": "aborted"}
        assert command.runs == 1
    assert [run.input["hook_event_name"] for run in hook.all_seen()] == ["PreToolUse"]


def test_the_parent_of_a_hook_is_the_host_or_a_shell_of_the_host(
    tmp_path: Path, hook: StandIn, turns: list[Turn]
) -> None:
    plain = hooks(hook.command)
    compound = plain.replace(str(hook.folder) + '"', str(hook.folder) + '; exit $?"')
    assert plain != compound
    with codex(tmp_path, turns, plain) as program:
        program.run("go")
    with codex(tmp_path, turns, compound) as program:
        program.run("go")
    direct, _, behind_shell, _ = hook.all_seen()
    assert Path(direct.ancestors[0][1][0]).name == "codex"
    assert behind_shell.ancestors[0][1][1] == "-c"
    assert Path(behind_shell.ancestors[1][1][0]).name == "codex"
    assert direct.cwd == direct.input["cwd"]


def test_the_saved_inputs_are_those_that_the_host_gives(tmp_path: Path) -> None:
    given = {**of_codex(tmp_path / "calls"), **of_codex_programs(tmp_path / "programs")}
    assert given == saved("codex")
