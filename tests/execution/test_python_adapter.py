import math

import pytest

from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.execution.adapter import StepError, StepStatus
from nexus_control.execution.plan import Call
from nexus_control.execution.python_adapter import PythonAdapter
from nexus_control.execution.router import RouterOutcomeUnknown
from nexus_control.integrity import json_digest


def call(method: str = "m", **args: object) -> Call:
    return Call(tool="keys", method=method, args=args)


def rotate(service: str, *, force: bool = False) -> dict[str, object]:
    return {"rotated": service, "force": force}


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (call("other", service="a"), "method"),
        (call("rotate"), "args"),
        (call("rotate", service="a", n=1), "args"),
    ],
)
def test_a_call_that_does_not_fit_has_a_problem(made: Call, says: str) -> None:
    problem = PythonAdapter("keys", {"rotate": rotate}).problem_with(made)
    assert problem is not None
    assert problem.startswith(says)


def test_a_call_gives_its_result() -> None:
    adapter = PythonAdapter("keys", {"rotate": rotate})
    made = call("rotate", service="a", force=True)
    assert adapter.problem_with(made) is None
    assert adapter.execute(made, dry_run=False).output == {"result": {"rotated": "a", "force": True}}


@pytest.mark.parametrize(
    ("result", "text"), [(0.5, "0.5"), ([math.nan], "[NaN]"), (b"x", "\"b'x'\""), ({1: 2}, '{"1": 2}')]
)
def test_a_result_outside_the_canonical_domain_becomes_text(result: object, text: str) -> None:
    output = PythonAdapter("keys", {"m": lambda: result}).execute(call(), dry_run=False).output
    assert output == {"result": text}


def test_a_dry_run_calls_only_what_was_registered_for_it() -> None:
    called: list[str] = []
    adapter = PythonAdapter(
        "keys",
        {"m": lambda: called.append("m"), "n": lambda: called.append("n")},
        dry_run_methods={"n": lambda: called.append("dry n")},
    )
    assert adapter.execute(call("m"), dry_run=True).output == {"would_call": {"method": "m", "args": {}}}
    adapter.execute(call("n"), dry_run=True)
    assert called == ["dry n"]


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (ValueError("no \ud800"), "error", StepError.STEP_FAILED),
        (KeyError("x" * 9000), "error", StepError.STEP_FAILED),
        (TimeoutError("slow"), "unknown", StepError.TIMED_OUT),
        (RouterOutcomeUnknown("lost"), "unknown", StepError.EFFECT_UNKNOWN),
    ],
)
def test_an_exception_is_a_step_that_is_not_ok(error: Exception, status: StepStatus, code: StepError) -> None:
    def fail() -> None:
        raise error

    outcome = PythonAdapter("keys", {"m": fail}).execute(call(), dry_run=False)
    assert (outcome.status, outcome.error_code) == (status, code)
    assert len((outcome.error_message or "").encode()) < 2100


def test_what_has_no_signature_is_not_registered() -> None:
    with pytest.raises(NexusControlError) as refused:
        PythonAdapter("keys", {"m": dict.fromkeys, "n": type})
    assert refused.value.code is ErrorCode.CONFIG_INVALID


def test_the_declaration_names_callables_and_their_parameters() -> None:
    declaration = PythonAdapter("keys", {"rotate": rotate}).declaration()
    described = {"callable": f"{__name__}.rotate", "parameters": ["service", "force"]}
    assert declaration["methods"] == {"rotate": described}
    assert json_digest(declaration) == json_digest(PythonAdapter("keys", {"rotate": rotate}).declaration())
