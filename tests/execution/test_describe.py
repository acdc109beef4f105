"""What a plan would run is told before anything runs, and is what runs."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.execution.adapter import Adapters
from nexus_control.execution.argv_template import ArgvTemplate
from nexus_control.execution.context import CurrentExecution, executing
from nexus_control.execution.description import CallDescription
from nexus_control.execution.local_router import LocalRouter
from nexus_control.execution.python_adapter import PythonAdapter
from nexus_control.execution.router import PlanDescriber
from nexus_control.execution.subprocess_adapter import ArgvAdapter, ArgvTool, CallAdapter, ProcessSettings
from nexus_control.values.actors import Actor
from tests.execution.support import plan, step

TELL = "import json, os, sys; print(json.dumps([sys.argv[1:], sorted(os.environ), os.getcwd()]))"
TELL_FILE = f"{TELL}; print(open(sys.argv[-1]).read(), file=sys.stderr)"
HOSTILE = 'two words; $(x) "y" \n z'


def settings(base: Path) -> ProcessSettings:
    return ProcessSettings(base=base, cwd="work", timeout_seconds=20, env={"REGION": "eu", "A": "1"})


def argv_router(base: Path) -> LocalRouter:
    program = [sys.executable, "-c", TELL]
    tools = {
        "both": ArgvTool(
            argv=ArgvTemplate.of([*program, "really", "{text}"]),
            dry_run_argv=ArgvTemplate.of([*program, "--plan", "{text}"]),
        ),
        "one": ArgvTool(argv=ArgvTemplate.of([*program, "--text={text}"])),
    }
    adapter = ArgvAdapter("keys", tools, capabilities=["apply", "dry_run"], settings=settings(base))
    return LocalRouter(Adapters([adapter]))


@pytest.fixture
def base(tmp_path: Path) -> Path:
    (tmp_path / "work").mkdir()
    return tmp_path


def ran(router: LocalRouter, text: str, *, dry_run: bool) -> list[Any]:
    execution = CurrentExecution(
        request_id="r", execution_id="r:0:3", requester=Actor("human", "alice"), rehearsal=dry_run
    )
    with executing(execution):
        answer = router.run("g", "subprocess:keys", dry_run, text)
    return [
        json.loads(result["output"]["stdout"]) for result in answer["results"] if "stdout" in result["output"]
    ]


@pytest.mark.parametrize("dry_run", [False, True])
def test_the_program_that_is_described_is_the_one_that_runs(dry_run: bool, base: Path) -> None:
    router, text = argv_router(base), plan(step("both", text=HOSTILE))
    (described,) = router.describe("subprocess:keys", text)
    call = described.dry_run if dry_run else described.apply
    ((argv, environment, folder),) = ran(router, text, dry_run=dry_run)
    assert list(call.argv[3:]) == argv
    assert call.argv[:2] == (sys.executable, "-c")
    assert (list(call.environment), call.directory) == (environment, folder)
    assert (call.timeout_seconds, call.max_output_bytes) == (20, 1_000_000)


def test_a_dry_run_that_only_describes_its_step_runs_nothing(base: Path) -> None:
    router, text = argv_router(base), plan(step("one", text="x"))
    (described,) = router.describe("subprocess:keys", text)
    assert (described.dry_run, ran(router, text, dry_run=True)) == (CallDescription(), [])
    assert described.apply.argv[-1] == "--text=x"


def test_steps_are_described_in_order_with_their_names(base: Path) -> None:
    steps = argv_router(base).describe(
        "subprocess:keys", plan(step("one", "a", text="x"), step("both", "b", text="y"))
    )
    assert [each.step_id for each in steps] == ["a", "b"]


def test_the_file_that_a_command_is_given_is_described_too(base: Path) -> None:
    command = [sys.executable, "-c", TELL_FILE]
    adapter = CallAdapter("keys", command, capabilities=["apply"], settings=settings(base))
    router, text = LocalRouter(Adapters([adapter])), plan(step("rotate", service=HOSTILE))
    (described,) = router.describe("subprocess:keys", text)
    (result,) = router.run("g", "subprocess:keys", False, text)["results"]
    assert described.dry_run == CallDescription()
    assert described.apply.argv == (*command, "call", "keys", "rotate", "--json-args-file", "FILE")
    assert described.apply.file is not None
    assert json.loads(described.apply.file) == {
        "tool": "keys",
        "method": "rotate",
        "args": {"service": HOSTILE},
    }
    assert result["output"]["result"][0][:-1] == list(described.apply.argv[3:-1])


def test_a_number_is_described_as_it_will_be_spelled(base: Path) -> None:
    text = plan(step("one", text=0)).replace(": 0}", ": 50e-2}")
    (described,) = argv_router(base).describe("subprocess:keys", text)
    ((argv, _environment, _folder),) = ran(argv_router(base), text, dry_run=False)
    assert list(described.apply.argv[3:]) == argv == ["--text=0.5"]


def rotate(service: str) -> str:
    return service


def rehearse(service: str) -> str:
    return service


def test_a_python_adapter_names_the_function_and_its_arguments() -> None:
    adapter = PythonAdapter("keys", {"rotate": rotate, "other": rotate}, dry_run_methods={"rotate": rehearse})
    router = LocalRouter(Adapters([adapter]))
    first, second = router.describe(
        "python:keys", plan(step("rotate", "s1", service="a"), step("other", "s2", service="b"))
    )
    assert first.apply == CallDescription(function=f"{__name__}.rotate", args={"service": "a"})
    assert first.dry_run == CallDescription(function=f"{__name__}.rehearse", args={"service": "a"})
    assert second.dry_run == CallDescription()


@pytest.mark.parametrize("text", [None, "words", "[]", plan(step("unknown")), plan(step("one"))])
def test_a_plan_that_would_not_run_is_not_described(text: str | None, base: Path) -> None:
    with pytest.raises(NexusControlError) as refused:
        argv_router(base).describe("subprocess:keys", text)
    assert refused.value.code is ErrorCode.PLAN_INVALID


def test_an_adapter_that_is_not_there_describes_nothing(base: Path) -> None:
    router = argv_router(base)
    assert isinstance(router, PlanDescriber)
    with pytest.raises(NexusControlError) as refused:
        router.describe("subprocess:other", plan(step("one", text="x")))
    assert refused.value.code is ErrorCode.ADAPTER_UNKNOWN
    assert "did you mean" not in refused.value.message
    assert refused.value.details["adapter_ids"] == ["subprocess:keys"]


def test_the_environment_is_described_by_its_names_alone(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "SECRET_TOKEN", "hunter2")
    (described,) = argv_router(base).describe("subprocess:keys", plan(step("one", text="x")))
    own = ("NEXUS_CONTROL_EXECUTION_ID", "NEXUS_CONTROL_REQUEST_ID")
    assert described.apply.environment == ("A", "LANG", *own, "PATH", "REGION")
