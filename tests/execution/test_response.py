import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexus_control.canonical_json import canonical_json
from nexus_control.execution.response import RunReport, read_response
from nexus_control.execution.signs import MAX_ERROR_MESSAGE_LENGTH, RUN_FAILED, Meaning
from nexus_control.integrity import is_bare, json_digest, sha256_hex
from nexus_control.values.payloads import Effect
from tests.execution.support import vector


def answer(**more: object) -> dict[str, object]:
    return {"run_id": "r1", "steps_executed": 1, **more}


def exported(status: object, run_id: str = "r1") -> dict[str, object]:
    return {"run": {"run_id": run_id, "status": status}}


def deep(levels: int) -> list[object]:
    value: list[object] = []
    for _ in range(levels):
        value = [value]
    return value


def cycle() -> dict[str, object]:
    value = answer()
    value["self"] = value
    return value


class Unspellable:
    def __repr__(self) -> str:
        raise KeyError("no")


def test_a_run_of_nexus_router_is_completed_with_its_run_id_and_steps() -> None:
    response = vector("router-response-apply.json")
    assert read_response(response) == RunReport(
        outcome="completed",
        run_id="d1471c92-473a-40d4-9279-1dd5b15fff8a",
        steps_executed=2,
        response_digest=json_digest(response),
        text=canonical_json(response),
    )


def test_an_unknown_adapter_is_a_failed_run_with_its_run_id() -> None:
    report = read_response(vector("router-response-unknown-adapter.json"))
    assert (report.outcome, report.error_code) == ("failed", "UNKNOWN_ADAPTER")
    assert report.error_message == "Unknown adapter: 'nope'"
    assert report.run_id == "0d1c0d39-88f2-4c08-bb25-6637d1ade8a9"


FAILED = {
    "an error with a code": answer(error={"code": "BOOM", "message": "it broke"}),
    "an error that is text": answer(error="it broke"),
    "an error that is true": answer(error=True),
    "a failed status": answer(status="failed"),
    "a failed status in capitals": answer(status=" FAILED "),
    "a cancelled status": answer(status="Cancelled"),
    "a status of two words": answer(status="Timed out"),
    "a failed status of the run": {"run": {"run_id": "r1", "status": "error"}},
    "ok false": answer(ok=False),
    "success false": answer(success=False),
    "a failed result": answer(
        results=[{"step_id": "a", "status": "ok"}, {"step_id": "b", "status": "error"}]
    ),
    "a result with an odd status": answer(results=[{"step_id": "a", "status": "exploded"}]),
    "a result whose status is no text": answer(results=[{"step_id": "a", "status": 500}]),
    "a result with an error": answer(results=[{"step_id": "a", "error": {"code": "X", "message": "y"}}]),
    "a step that is not ok": answer(steps=[{"step_id": "a", "ok": False}]),
    "a list of errors": answer(errors=[{"code": "E1", "message": "first"}, "second"]),
    "errors by name": answer(errors={"host-1": "no"}),
    "an exit code": answer(exit_code=1),
    "a negative return code": answer(returncode=-9),
    "an exit code that is text": answer(exit_status="2"),
    "a step with an exit code": answer(results=[{"step_id": "a", "status": "ok", "exit_code": 127}]),
    "a step with errors": answer(steps=[{"step_id": "a", "errors": ["no"]}]),
    "a failed step by name": answer(results={"host-1": {"status": "failed"}}),
    "ok 0": answer(ok=0),
    "ok 0.0": answer(ok=0.0),
    "an error of the run": {"run": {"run_id": "r1", "error": "boom"}},
    "ok false of the run": {"run": {"run_id": "r1", "ok": False}},
    "an exit code of the run": {"run": {"run_id": "r1", "exit_code": 1}},
    "a failed step of the run": {"run": {"run_id": "r1", "steps": [{"status": "failed"}]}},
    "a failed status of the summary": answer(summary={"status": "failed"}),
    "a failed state": answer(state="failed"),
    "one result that failed": answer(results={"status": "failed"}),
    "one result that is an error": answer(results={"isError": True}),
    "is_error": answer(is_error=True),
    "isError": answer(isError=True),
    "exitCode": answer(exitCode=1),
}


@pytest.mark.parametrize("response", FAILED.values(), ids=FAILED)
def test_a_failure_is_a_failed_run_with_its_run_id(response: dict[str, object]) -> None:
    report = read_response(response)
    assert (report.outcome, report.run_id) == ("failed", "r1")
    assert report.error_code
    assert report.error_message


COMPLETED = {
    "nothing but a run id": answer(),
    "no error": answer(error=None),
    "an empty error": answer(error=""),
    "errors in an empty object": answer(error={}),
    "a status": answer(status="COMPLETED"),
    "ok true": answer(ok=True, success=True),
    "steps that are ok": answer(results=[{"status": "ok"}, {"status": "Skipped"}], steps=[{"ok": True}]),
    "steps that are no objects": answer(steps=["a", 1, None]),
    "an exit code of 0": answer(exit_code=0, returncode="0"),
    "no exit code": answer(exit_code=None),
    "no errors": answer(errors=[]),
    "ok 1": answer(ok=1),
}


@pytest.mark.parametrize("response", COMPLETED.values(), ids=COMPLETED)
def test_an_answer_without_a_failure_is_completed(response: dict[str, object]) -> None:
    report = read_response(response)
    assert (report.outcome, report.error_code, report.error_message) == ("completed", None, None)


@pytest.mark.parametrize("status", ["running", "PENDING", "in-progress"])
def test_a_run_that_had_not_ended_has_an_unknown_outcome(status: str) -> None:
    report = read_response(answer(status=status))
    assert (report.outcome, report.run_id) == ("unknown", "r1")


DOUBTFUL = {
    "a status of unknown meaning": answer(status="sideways"),
    "a status that is no text": answer(status=200),
    "a status of the run of unknown meaning": {"run": {"run_id": "r1", "status": "sideways"}},
    "two statuses, one of unknown meaning": {"status": "ok", "run": {"run_id": "r1", "status": "sideways"}},
    "ok that is text": answer(ok="yes"),
    "success that is an object": answer(success={"yes": 1}),
    "a run that was simulated": answer(status="simulated"),
    "a run that was planned": answer(status="planned"),
    "a run that was skipped": answer(status="Skipped"),
    "a dry run": answer(summary={"mode": "dry_run"}),
    "no effect": answer(effect="none"),
    "an unknown effect": answer(effect="unknown"),
    "only skipped steps": answer(results=[{"status": "skipped"}]),
    "only simulated steps": answer(results=[{"status": "ok", "simulated": True}]),
    "a step that goes on": answer(results=[{"step_id": "a", "status": "ok"}, {"status": "running"}]),
}


@pytest.mark.parametrize("response", DOUBTFUL.values(), ids=DOUBTFUL)
def test_what_does_not_say_that_all_went_well_leaves_the_outcome_unknown(response: dict[str, object]) -> None:
    report = read_response(response)
    assert (report.outcome, report.run_id, report.error_code) == ("unknown", "r1", None)
    assert report.notes


@pytest.mark.parametrize("status", ["simulated", "planned", "skipped", "ok"])
def test_a_dry_run_may_have_had_no_effect(status: str) -> None:
    done = answer(status=status, effect="none", results=[{"status": "ok", "simulated": True}])
    assert read_response(done, dry_run=True).outcome == "completed"


def test_a_status_of_the_exported_run_without_a_known_meaning_leaves_the_outcome_unknown() -> None:
    assert read_response(answer(), exported("sideways")).outcome == "unknown"


OK, FAILED_STEP = {"step_id": "a", "status": "ok"}, {"step_id": "b", "status": "error"}
EFFECTS: dict[str, tuple[dict[str, object], Effect]] = {
    "an error alone": (answer(error="no"), "unknown"),
    "an error, and a count of no steps": ({"run_id": "r1", "steps_executed": 0, "error": "no"}, "unknown"),
    "an error, and a list of no steps": (answer(error="no", results=[]), "unknown"),
    "an error, a list of no steps and a count of none": (
        {"run_id": "r1", "summary": {"steps": 0}, "results": [], "error": "no"},
        "none",
    ),
    "nexus-router's refusal": (vector("router-response-unknown-adapter.json"), "none"),
    "a failed step": (answer(results=[FAILED_STEP]), "unknown"),
    "a failed step after a good one": (answer(results=[OK, FAILED_STEP]), "unknown"),
    "good steps, and then an error": (answer(results=[OK, OK], error="stopped"), "done"),
    "a step that did nothing": (answer(results=[FAILED_STEP | {"effect": "none"}]), "none"),
    "a step that did nothing, after a good one": (
        answer(results=[OK, FAILED_STEP | {"effect": "none"}]),
        "done",
    ),
    "a step that failed when it was done": (answer(results=[FAILED_STEP | {"effect": "done"}]), "done"),
    "a step with an odd effect": (answer(results=[FAILED_STEP | {"effect": "maybe"}]), "unknown"),
    "simulated steps": (
        answer(results=[OK | {"simulated": True}, FAILED_STEP | {"simulated": True}]),
        "none",
    ),
    "skipped steps": (answer(results=[{"status": "skipped"}], error="no"), "none"),
    "a step with an exit code": (answer(results=[OK | {"exit_code": 3}]), "unknown"),
    "the router is sure of none": ({"run_id": "r1", "error": "no", "effect": "none"}, "none"),
    "the router is sure of none, and counts a step": (answer(error="no", effect="none"), "unknown"),
    "skipped steps, and a count of more": (
        {"run_id": "r1", "steps_executed": 3, "error": "no", "results": [{"status": "skipped"}]},
        "unknown",
    ),
    "a skipped step that failed": (answer(results=[{"status": "skipped", "exit_code": 1}]), "unknown"),
    "no results, but steps by name": (
        {"run_id": "r1", "steps_executed": 0, "error": "no", "results": [], "steps": {"a": "done"}},
        "unknown",
    ),
    "no results, but a step of the run": (
        {"run_id": "r1", "steps_executed": 0, "error": "no", "results": [], "run": {"steps": [OK]}},
        "done",
    ),
    "no results, but outputs that were applied": (
        {"run_id": "r1", "error": "no", "results": [], "summary": {"steps": 0, "outputs_applied": 3}},
        "unknown",
    ),
    "a timeout before any step": (
        {"run_id": "r1", "status": "timeout", "results": [], "steps_executed": 0},
        "unknown",
    ),
    "the router is sure of none, its steps are not": (
        answer(error="no", effect="none", results=[FAILED_STEP]),
        "unknown",
    ),
    "steps by name": (answer(results={"a": OK, "b": FAILED_STEP | {"effect": "none"}}), "done"),
}


@pytest.mark.parametrize(("response", "effect"), EFFECTS.values(), ids=EFFECTS)
def test_a_failed_run_has_the_effect_that_is_certain_of_it(
    response: dict[str, object], effect: Effect
) -> None:
    report = read_response(response)
    assert (report.outcome, report.effect) == ("failed", effect)


def test_a_failure_that_contradicts_the_answer_has_an_unknown_effect() -> None:
    report = read_response(answer(results=[OK]), exported("FAILED"))
    assert (report.outcome, report.effect) == ("failed", "unknown")


@pytest.mark.parametrize(
    "run_id",
    [None, 7, b"r1", "", " r1", "r1\n", "a\0b", "\u202er1", "r\ud8001", "x" * 257, ["r1"], {"run_id": "r1"}],
)
def test_without_a_usable_run_id_the_outcome_is_unknown(run_id: object) -> None:
    report = read_response({"run_id": run_id, "steps_executed": 1})
    assert (report.outcome, report.run_id) == ("unknown", None)


def test_the_run_id_in_run_is_used_where_the_first_is_not_usable() -> None:
    assert read_response({"run_id": None, "run": {"run_id": "r2"}}).run_id == "r2"


@pytest.mark.parametrize(
    ("response", "steps", "noted"),
    [
        ({"run_id": "r", "steps_executed": 3, "summary": {"steps": 9}}, 3, False),
        ({"run_id": "r", "summary": {"steps": 9}}, 9, False),
        ({"run_id": "r", "steps_executed": None}, 0, True),
        ({"run_id": "r", "steps_executed": True}, 0, True),
        ({"run_id": "r", "steps_executed": -1}, 0, True),
        ({"run_id": "r", "steps_executed": "3"}, 0, True),
        ({"run_id": "r", "steps_executed": 2.0}, 0, True),
        ({"run_id": "r", "steps_executed": 2**53}, 0, True),
        ({"run_id": "r", "summary": {"steps": [1]}}, 0, True),
        ({"run_id": "r"}, 0, True),
    ],
)
def test_steps_are_a_safe_count_or_zero_and_a_note(
    response: dict[str, object], steps: int, noted: bool
) -> None:
    report = read_response(response)
    assert report.steps_executed == steps
    assert any("recorded 0" in note for note in report.notes) is noted


@pytest.mark.parametrize(
    ("response", "status", "outcome"),
    [
        (answer(), "COMPLETED", "completed"),
        (answer(), "FAILED", "failed"),
        (answer(), "RUNNING", "unknown"),
        (answer(error="no"), "COMPLETED", "completed"),
        (answer(error="no"), "FAILED", "failed"),
        (answer(error="no"), "sideways", "failed"),
        (answer(), None, "completed"),
    ],
)
def test_the_exported_run_has_the_last_word(
    response: dict[str, object], status: object, outcome: Meaning
) -> None:
    assert read_response(response, exported(status)).outcome == outcome


def test_a_failure_that_only_the_exported_run_knows_has_a_code() -> None:
    assert read_response(answer(), exported("FAILED")).error_code == RUN_FAILED


def test_the_status_of_another_run_is_not_used() -> None:
    report = read_response(answer(), exported("FAILED", run_id="r2"))
    assert report.outcome == "completed"
    assert "another run" in report.notes[0]


def test_an_exported_run_does_not_make_up_for_a_missing_run_id() -> None:
    assert read_response({"steps_executed": 1}, exported("COMPLETED")).outcome == "unknown"


def test_outside_the_canonical_domain_the_digest_is_of_json_dumps_and_that_is_noted() -> None:
    report = read_response({"run_id": "r", "cost": 0.5, "raw": b"x"})
    assert report.response_digest == sha256_hex('{"cost": 0.5, "raw": "b\'x\'", "run_id": "r"}')
    (note,) = [note for note in report.notes if "response_digest" in note]
    assert "json.dumps(sort_keys=True, default=repr)" in note


STRANGE: dict[str, Any] = {
    "None": None,
    "bytes": b"\xff",
    "NaN": math.nan,
    "a list": [1, 2],
    "a cycle": cycle(),
    "keys of mixed types": {"run_id": "r", 1: 2, None: 3},
    "keys that are no JSON": {("a", "b"): 1, "run_id": "r"},
    "lone surrogates": answer(error="\ud800"),
    "10,000 levels": deep(10_000),
    "10,000 levels inside": answer(error=deep(10_000)),
    "an endless integer": answer(error=10**5000),
    "what cannot be spelled": answer(error=Unspellable()),
    "what cannot be spelled at all": Unspellable(),
    "five megabytes": answer(results=[{"status": "ok", "output": "x" * 1000}] * 5000),
}


@pytest.mark.parametrize("response", STRANGE.values(), ids=STRANGE)
def test_any_answer_can_be_read(response: object) -> None:
    report = read_response(response, response)
    assert is_bare(report.response_digest)
    for text in (report.error_code, report.error_message, *report.notes):
        assert text is None or len(text.encode()) <= 4 * MAX_ERROR_MESSAGE_LENGTH


def test_five_megabytes_have_their_canonical_digest() -> None:
    response = STRANGE["five megabytes"]
    assert read_response(response).response_digest == json_digest(response)


def test_an_error_message_is_bounded_and_can_be_written_as_utf_8() -> None:
    message = read_response(answer(error={"code": "\ud800", "message": "\ud800" + "x" * 9000})).error_message
    assert message is not None
    assert len(message) == MAX_ERROR_MESSAGE_LENGTH
    assert message.startswith("\ufffdx")


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.binary(max_size=9),
    st.text(st.characters(), max_size=9),
    st.sampled_from(["r1", "ok", "failed", "running", "error"]),
    st.builds(Unspellable),
)
KEYS = st.one_of(
    st.sampled_from(
        ["run_id", "run", "status", "error", "results", "steps", "summary", "ok", "code", "message"]
    ),
    st.text(st.characters(), max_size=5),
    st.integers(),
    st.none(),
)
OBJECTS = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.tuples(inner, inner),
        st.dictionaries(KEYS, inner, max_size=6),
        st.sets(st.integers(), max_size=3),
    ),
    max_leaves=20,
)


@given(OBJECTS, OBJECTS)
def test_reading_never_raises_and_is_pure(response: object, bundle: object) -> None:
    report = read_response(response, bundle)
    assert report == read_response(response, bundle)
    assert report.outcome == "unknown" or report.run_id is not None
    assert (report.outcome == "failed") <= (report.error_code is not None)
    for text in (report.run_id, report.error_code, report.error_message, *report.notes):
        assert text is None or type(text) is str
        assert text is None or text.encode()
