"""The steps of a run on the page: what each answered, from the record that its router wrote."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexus_control.render.steps import RunStep, step_list, steps_of
from tests.evidence.packages import honest

SIMPLE = st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=8)
ANY_JSON = st.recursive(
    SIMPLE,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
)


def told(kind: str, **payload: object) -> dict[str, object]:
    return {"type": kind, "payload": {"step_id": "s1", **payload}, "ts": "2026-01-02T03:04:05Z"}


def shown(steps: tuple[RunStep, ...]) -> str:
    return step_list(step.line for step in steps)


def one(*events: dict[str, Any]) -> RunStep:
    (step,) = steps_of({"events": [told("STEP_STARTED"), *events]})
    return step


@pytest.mark.parametrize(
    ("event", "status", "effect", "output"),
    [
        (told("TOOL_CALL_SUCCEEDED", output={"result": [1]}), "ok", "done", [1]),
        (
            told("TOOL_CALL_SUCCEEDED", output={"would_call": "f()"}, simulated=True),
            "ok",
            "none",
            {"would_call": "f()"},
        ),
        (told("TOOL_CALL_SUCCEEDED", output={}), "ok", "done", None),
        (told("TOOL_CALL_FAILED", output={}, error={"code": "STEP_FAILED"}), "error", "unknown", None),
        (told("TOOL_CALL_FAILED", output={}, error={"code": "NOT_STARTED"}), "error", "none", None),
        (told("TOOL_CALL_FAILED", output={}, effect="unknown"), "unknown", "unknown", None),
    ],
)
def test_a_step_has_the_status_the_effect_and_the_output_of_its_call(
    event: dict[str, Any], status: str, effect: str, output: object
) -> None:
    line = one(event).line
    assert (line["status"], line["effect"], line["output"]) == (status, effect, output)


def test_a_step_that_has_no_end_is_unknown() -> None:
    step = one()
    assert (step.line["status"], step.line["effect"], step.ended_at) == ("unknown", "unknown", None)


def test_a_program_answers_with_its_standard_output_its_exit_code_and_its_errors() -> None:
    output = {"exit_code": 3, "stdout": '{"a": [1]}', "stderr": "no such key\n", "note": "the output was cut"}
    step = one(
        told("TOOL_CALL_FAILED", output=output, error={"code": "NONZERO_EXIT", "message": "It exited with 3"})
    )
    page = step_list([step.line])
    assert "failed, exit code 3, what was done is unknown, the output was cut" in page
    assert "NONZERO_EXIT: It exited with 3" in page
    assert "{&quot;a&quot;: [1]}" in page
    assert "standard error:\nno such key" in page


def test_markup_in_an_output_is_text() -> None:
    output = {"result": "</pre><script>alert(1)</script>\u202e"}
    page = step_list([one(told("TOOL_CALL_SUCCEEDED", output=output)).line])
    assert "<script" not in page
    assert r"\u202e" in page


def test_the_steps_of_an_embedded_run_are_found() -> None:
    steps = steps_of(honest("applied")["router"]["bundle"])
    assert [(step.line["step_id"], step.line["status"], step.line["output"]) for step in steps] == [
        ("s1", "ok", {"rotated": 1}),
        ("s2", "ok", {"rotated": 2}),
    ]


NO_RUNS: dict[str, dict[str, object] | None] = {
    "none": None,
    "no events": {},
    "a number": {"events": 7},
    "other things": {"events": [7, None, {"payload": list[object]()}]},
}


@pytest.mark.parametrize("name", NO_RUNS)
def test_a_record_of_another_shape_has_no_steps(name: str) -> None:
    assert steps_of(NO_RUNS[name]) == ()


@given(st.lists(st.fixed_dictionaries({}, optional={"type": ANY_JSON, "ts": ANY_JSON, "payload": ANY_JSON})))
def test_no_record_raises(events: list[dict[str, Any]]) -> None:
    shown(steps_of({"events": events}))


@given(
    st.sampled_from(["TOOL_CALL_SUCCEEDED", "TOOL_CALL_FAILED"]),
    st.dictionaries(
        st.sampled_from(["output", "error", "effect", "simulated"]),
        ANY_JSON
        | st.dictionaries(st.sampled_from(["exit_code", "stdout", "stderr", "code", "note"]), ANY_JSON),
    ),
)
def test_no_payload_raises(kind: str, payload: dict[str, Any]) -> None:
    shown(steps_of({"events": [told(kind, **payload)]}))
