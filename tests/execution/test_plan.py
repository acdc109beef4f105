import json

import pytest

from nexus_control.canonical_json import require_canonical_domain
from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.execution.plan import MAX_PLAN_BYTES, parse_plan, recorded
from nexus_control.values.records import encode
from tests.execution.support import plan, step, vector


def nested(levels: int) -> object:
    value: object = 1
    for _ in range(levels):
        value = [value]
    return value


def test_a_plan_of_nexus_router_is_read_and_written_back_the_same() -> None:
    steps = vector("router-response-apply.json")["plan"]
    assert [encode(s) for s in parse_plan(json.dumps(steps))] == steps


@pytest.mark.parametrize("number", [0.5, -0.0, 1.0, 1e15, 1e22, 5e-324, 1.7976931348623157e308, 2**53 - 1])
def test_a_plan_holds_finite_doubles_and_safe_integers(number: float) -> None:
    (read,) = parse_plan(plan(step("m", cost=number, nested=[{"cost": number}])))
    assert read.call.args == {"cost": number, "nested": [{"cost": number}]}
    assert type(read.call.args["cost"]) is type(number)


def test_a_plan_full_of_doubles_is_bound_by_its_own_size_not_by_their_spelling() -> None:
    text = plan(step("m", costs=[])).replace("[]", f"[{','.join(['1e15'] * 50_000)}]")
    assert len(parse_plan(text)) == 1


def test_the_records_of_a_run_hold_a_double_as_text_inside_the_canonical_domain() -> None:
    (read,) = parse_plan(plan(step("m", cost=0.5, nested=[{"cost": 1e22}], n=7, flag=True)))
    call = recorded(encode(read))["call"]
    assert call["args"] == {"cost": "0.5", "nested": [{"cost": "1e+22"}], "n": 7, "flag": True}
    require_canonical_domain(call, max_bytes=1000)


BAD_CALL = step("m") | {"call": step("m")["call"] | {"extra": 1}}

INVALID = {
    "nothing": (None, "it is missing"),
    "no JSON": ("rotate the keys", "Invalid JSON"),
    "empty text": ("", "Invalid JSON"),
    "an object": ("{}", "must be a list of steps"),
    "no steps": ("[]", "no steps"),
    "a step that is text": ('["s1"]', "plan[0] must be an object"),
    "an unknown key": (plan({**step("m"), "when": "now"}), "plan[0].when"),
    "an unknown key of a call": (plan(BAD_CALL), "plan[0].call.extra"),
    "no intent": ('[{"step_id":"s","call":{"tool":"t","method":"m","args":{}}}]', "plan[0].intent"),
    "a number for an intent": (plan({**step("m"), "intent": 7}), "plan[0].intent"),
    "args in a list": (plan({**step("m"), "call": {"tool": "t", "method": "m", "args": []}}), "call.args"),
    "an empty step_id": (plan(step("m", "")), "plan[0].step_id"),
    "a method with a line break": (plan(step("a\nb")), "plan[0].call.method"),
    "two of one step_id": (plan(step("m", "a"), step("m", "b"), step("m", "a")), "plan[2].step_id"),
    "a duplicate key": ('[{"step_id":"a","step_id":"b","intent":"i","call":{}}]', "duplicate key"),
    "no number": (plan(step("m", cost=float("nan"))), "NaN"),
    "an infinity": (plan(step("m", cost=float("-inf"))), "Infinity"),
    "a number beyond a double": (plan(step("m", cost=1)).replace("1}", "1e999}"), "double"),
    "an unsafe integer": (plan(step("m", n=2**53)), "2^53-1"),
    "an unsafe negative integer": (plan(step("m", n=[-(2**53)])), "2^53-1"),
    "an integer beyond 64 bits": (plan(step("m", n=2**70)), "64 bits"),
    "too many levels for an artifact": (plan(step("m", deep=nested(50))), "nested deeper"),
    "too many bytes": (plan(step("m", text="x" * MAX_PLAN_BYTES)), "the limit is"),
}


@pytest.mark.parametrize(("text", "says"), INVALID.values(), ids=INVALID)
def test_a_plan_that_is_not_whole_is_refused_naming_step_and_field(text: str | None, says: str) -> None:
    with pytest.raises(NexusControlError) as refused:
        parse_plan(text)
    assert refused.value.code is ErrorCode.PLAN_INVALID
    assert says in refused.value.message
