import json
from pathlib import Path

import pytest

from nexus_control.execution.adapter import StepError, StepStatus
from nexus_control.execution.plan import Call
from nexus_control.execution.subprocess_adapter import ArgvTool, CallAdapter, ProcessSettings
from tests.execution.support import keys_adapter, tool


def call(method: str = "m", **args: object) -> Call:
    return Call(tool="keys", method=method, args=args)


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (call("other"), "method 'other' is not declared by subprocess:keys; declared are: m"),
        (call(), "args.service is missing"),
        (call(service="a", force=True), "args has 'force', which is not declared"),
        (call(servise="a"), "args has 'servise', which is not declared (did you mean 'service'?)"),
        (call(service=None), "args.service must be"),
        (call(service="--all"), "args.service must not begin"),
    ],
)
def test_a_call_that_was_not_declared_has_a_problem(tmp_path: Path, made: Call, says: str) -> None:
    problem = keys_adapter(tmp_path, {"m": tool("p", "{service}")}).problem_with(made)
    assert problem is not None
    assert problem.startswith(says)


ENDINGS: dict[str, tuple[ArgvTool, StepStatus, StepError | None, str]] = {
    "exit 0": (tool("sh", "-c", "echo fine"), "ok", None, ""),
    "exit 3": (tool("sh", "-c", "echo why >&2; exit 3"), "error", StepError.NONZERO_EXIT, "code 3: why"),
    "no program": (tool("./nothing"), "error", StepError.NOT_STARTED, "No such file"),
    "its own signal": (tool("sh", "-c", "kill -KILL $$"), "unknown", StepError.KILLED, "signal 9"),
    "too slow": (tool("sleep", "3600"), "unknown", StepError.TIMED_OUT, "time limit"),
    "too much, for ever": (tool("yes"), "unknown", StepError.TIMED_OUT, "time limit"),
    "no supervisor": (tool("sh", "-c", "kill -KILL $PPID"), "unknown", StepError.SUPERVISOR_LOST, ""),
    "a stopped supervisor": (
        tool("sh", "-c", "kill -STOP $PPID; exit 0"),
        "unknown",
        StepError.SUPERVISOR_LOST,
        "killed or stopped",
    ),
}


@pytest.mark.parametrize(("declared", "status", "code", "says"), ENDINGS.values(), ids=ENDINGS)
def test_a_step_that_was_cut_off_has_an_unknown_effect_and_another_failed(
    tmp_path: Path, declared: ArgvTool, status: StepStatus, code: StepError | None, says: str
) -> None:
    seconds = 1 if code is StepError.TIMED_OUT else 240
    adapter = keys_adapter(tmp_path, {"m": declared}, timeout_seconds=seconds)
    outcome = adapter.execute(call(), dry_run=False)
    assert (outcome.status, outcome.error_code) == (status, code)
    assert says in (outcome.error_message or "")


def test_an_error_message_ends_with_the_end_of_standard_error(tmp_path: Path) -> None:
    adapter = keys_adapter(
        tmp_path, {"m": tool("sh", "-c", "yes x | head -n 9999 >&2; echo end >&2; exit 1")}
    )
    message = adapter.execute(call(), dry_run=False).error_message
    assert message is not None
    assert message.endswith("end")
    assert len(message) < 2200


@pytest.mark.parametrize(
    ("code", "status", "message"), [(0, "ok", None), (1, "error", "It exited with code 1: why")]
)
def test_output_beyond_the_limit_is_cut_and_marked_and_the_step_ends_as_its_program_did(
    tmp_path: Path, code: int, status: StepStatus, message: str | None
) -> None:
    script = f"yes | head -c 500000; echo applied > work; echo why >&2; exit {code}"
    adapter = keys_adapter(tmp_path, {"m": tool("sh", "-c", script)}, max_output_bytes=3)
    outcome = adapter.execute(call(), dry_run=False)
    assert (outcome.status, outcome.error_message) == (status, message)
    assert outcome.output == {
        "exit_code": code,
        "stdout": "y\ny",
        "stderr": "",
        "truncated": True,
        "note": "the output was longer than max_output_bytes and was cut",
    }
    assert (tmp_path / "work").read_text() == "applied\n"


def test_a_step_that_leaves_processes_behind_is_ok_and_says_so(tmp_path: Path) -> None:
    adapter = keys_adapter(tmp_path, {"m": tool("sh", "-c", "sleep 3600 & sleep 3601 & echo on")})
    outcome = adapter.execute(call(), dry_run=False)
    assert outcome.status == "ok"
    assert outcome.output == {
        "exit_code": 0,
        "stdout": "on\n",
        "stderr": "",
        "left_behind": 2,
        "note": "2 processes that it left running ended with it",
    }


def test_a_call_that_leaves_a_process_behind_says_so_beside_its_result(tmp_path: Path) -> None:
    outcome = call_adapter(tmp_path, "sleep 3600 & echo 7").execute(call(), dry_run=False)
    note = "1 process that it left running ended with it"
    assert (outcome.status, outcome.output) == ("ok", {"result": 7, "left_behind": 1, "note": note})


@pytest.mark.parametrize("answer", ["1234", '["a"]', "12  "])
def test_an_answer_of_the_call_protocol_that_was_cut_is_no_result(tmp_path: Path, answer: str) -> None:
    adapter = call_adapter(tmp_path, f"printf %s '{answer}'", max_output_bytes=3)
    outcome = adapter.execute(call(), dry_run=False)
    assert (outcome.status, outcome.error_code) == ("error", StepError.OUTPUT_INVALID)
    assert outcome.output["truncated"] is True
    assert "exited 0" in (outcome.error_message or "")
    assert "was cut at max_output_bytes" in (outcome.error_message or "")


def test_output_that_is_not_utf_8_is_readable_text(tmp_path: Path) -> None:
    adapter = keys_adapter(tmp_path, {"m": tool("printf", r"a\377\n")})
    assert adapter.execute(call(), dry_run=False).output["stdout"] == "a\ufffd\n"


def test_a_dry_run_runs_what_was_declared_for_it_or_nothing(tmp_path: Path) -> None:
    tools = {
        "m": tool("touch", "{file}"),
        "n": tool("touch", "{file}", dry_run=["echo", "would touch", "{file}"]),
    }
    adapter = keys_adapter(tmp_path, tools)
    assert adapter.execute(call("m", file="f"), dry_run=True).output == {"would_run": ["touch", "f"]}
    assert adapter.execute(call("n", file="f"), dry_run=True).output["stdout"] == "would touch f\n"
    assert not list(tmp_path.iterdir())


def test_a_value_that_is_an_option_to_a_dry_run_alone_is_refused_too(tmp_path: Path) -> None:
    adapter = keys_adapter(
        tmp_path, {"m": tool("rotate", "--of={file}", dry_run=["rotate", "{file}", "--plan"])}
    )
    problem = adapter.problem_with(call(file="-rf"))
    assert problem is not None
    assert problem.startswith("args.file must not begin with '-'")
    assert adapter.problem_with(call(file="rf")) is None


def test_programs_see_path_lang_and_what_was_declared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/root")
    monkeypatch.setenv("TOKEN", "s3cret")
    outcome = keys_adapter(tmp_path, {"m": tool("env")}).execute(call(), dry_run=False)
    lines = str(outcome.output["stdout"]).splitlines()
    assert {line.partition("=")[0] for line in lines} == {"PATH", "LANG"}


def call_adapter(folder: Path, script: str, max_output_bytes: int = 100_000) -> CallAdapter:
    settings = ProcessSettings(base=folder, max_output_bytes=max_output_bytes)
    command = ["sh", "-c", script, "tool"]
    return CallAdapter("keys", command, capabilities=["apply"], settings=settings)


def test_the_call_protocol_gives_a_file_of_arguments_and_takes_json(tmp_path: Path) -> None:
    adapter = call_adapter(tmp_path, 'printf \'["%s %s %s %s",\' "$1" "$2" "$3" "$4"; cat "$5"; echo ]')
    outcome = adapter.execute(call("rotate", service="é; x", n=2), dry_run=False)
    said, given = json.loads(json.dumps(outcome.output["result"]))
    assert said == "call keys rotate --json-args-file"
    assert given == {"tool": "keys", "method": "rotate", "args": {"service": "é; x", "n": 2}}


@pytest.mark.parametrize("script", ["echo done", "true", 'echo "[1, 1e999, NaN]"', 'echo "{} {}"'])
def test_an_answer_of_the_call_protocol_that_is_not_json_is_a_failure(tmp_path: Path, script: str) -> None:
    outcome = call_adapter(tmp_path, script).execute(call(), dry_run=False)
    assert (outcome.status, outcome.error_code) == ("error", StepError.OUTPUT_INVALID)


def test_an_answer_outside_the_canonical_domain_becomes_its_text(tmp_path: Path) -> None:
    outcome = call_adapter(tmp_path, "echo '{\"cost\": 0.5}'").execute(call(), dry_run=False)
    assert outcome.output == {"result": '{"cost": 0.5}'}


def test_a_failure_of_the_call_protocol_is_its_exit_code(tmp_path: Path) -> None:
    outcome = call_adapter(tmp_path, "echo '{}'; exit 1").execute(call(), dry_run=False)
    assert (outcome.status, outcome.error_code) == ("error", StepError.NONZERO_EXIT)


def test_the_call_protocol_describes_a_dry_run_and_refuses_a_method_that_is_an_option(tmp_path: Path) -> None:
    adapter = call_adapter(tmp_path, "touch applied")
    assert adapter.execute(call("rotate"), dry_run=True).status == "ok"
    assert not (tmp_path / "applied").exists()
    assert adapter.problem_with(call("rotate")) is None
    assert adapter.problem_with(call("--help")) is not None
