from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from itertools import product
from typing import Any, Literal, cast

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.values import kinds
from nexus_control.values.records import always_written, check, decode, encode, problems_of
from tests.support.json_values import TEXT, json_values


@dataclass(frozen=True)
class Call:
    tool: str
    retries: int = 0


@dataclass(frozen=True)
class Step:
    step_id: str
    mode: Literal["dry_run", "apply"]
    call: Call
    calls: tuple[Call, ...] = ()
    number: int = check(lambda n: n >= 1, "at least 1", default=1)
    shown: int = always_written(0)
    cost: int | None = check(lambda n: n < 10, "below 10", default=None, always=True)
    urgent: bool = False
    note: str | None = None
    labels: tuple[str, ...] = always_written(())
    extra: Mapping[str, object] | None = None


@dataclass(frozen=True)
class Ruled:
    name: str

    def __post_init__(self) -> None:
        if self.name == "coded":
            raise NexusControlError(ErrorCode.INVALID_ARGUMENT, "name must not be coded")
        if self.name == "plain":
            raise ValueError("name must not be plain")


@dataclass(frozen=True)
class Holder:
    first: Ruled
    second: Ruled


MINIMAL: dict[str, Any] = {"step_id": "s1", "mode": "apply", "call": {"tool": "keys"}}
WRITTEN_ALWAYS: dict[str, Any] = {"shown": 0, "cost": None, "labels": []}


def test_defaults_are_left_out_unless_they_are_always_written() -> None:
    step = Step(step_id="s1", mode="apply", call=Call(tool="keys"))
    assert encode(step) == {**MINIMAL, **WRITTEN_ALWAYS}
    assert decode(Step, MINIMAL, where="step", code=ErrorCode.PLAN_INVALID) == step


CALLS = st.builds(Call, tool=TEXT, retries=st.integers())
STEPS = st.builds(
    Step,
    step_id=TEXT,
    mode=st.sampled_from(["dry_run", "apply"]),
    call=CALLS,
    calls=st.lists(CALLS, max_size=3).map(tuple),
    number=st.integers(min_value=1),
    shown=st.integers(),
    cost=st.none() | st.integers(max_value=9),
    urgent=st.booleans(),
    note=st.none() | TEXT,
    labels=st.lists(TEXT, max_size=3).map(tuple),
    extra=st.none() | st.dictionaries(TEXT, json_values(), max_size=3),
)


@given(STEPS)
def test_decoding_what_was_encoded_gives_the_record_back(step: Step) -> None:
    assert decode(Step, encode(step), where="step", code=ErrorCode.PLAN_INVALID) == step


@given(st.dictionaries(st.sampled_from([field.name for field in fields(Step)]) | TEXT, json_values()))
def test_any_object_is_a_record_that_encodes_to_no_more_than_it_said_or_has_problems(
    data: dict[str, object],
) -> None:
    problems = problems_of(Step, data)
    if problems:
        with pytest.raises(NexusControlError) as refusal:
            decode(Step, data, where="", code=ErrorCode.PLAN_INVALID)
        assert refusal.value.details == {"problems": problems}
    else:
        step = decode(Step, data, where="", code=ErrorCode.PLAN_INVALID)
        assert decode(Step, encode(step), where="", code=ErrorCode.PLAN_INVALID) == step


ABSENT = object()
PATHS = [*((field.name,) for field in fields(Step)), ("call", "tool"), ("call", "retries"), ("unknown",)]
SPECIAL: st.SearchStrategy[object] = st.sampled_from([ABSENT, "apply", "", 0, 1, 10, True, None])


def changed(data: dict[str, Any], path: tuple[str, ...], value: object) -> dict[str, Any]:
    """The data with this value at this path, or without it; as it is where the path leads through no object."""
    name, *inner = path
    if inner:
        within = data.get(name)
        if not isinstance(within, dict):
            return data
        return {**data, name: changed(cast("dict[str, Any]", within), tuple(inner), value)}
    without = {key: each for key, each in data.items() if key != name}
    return without if value is ABSENT else {**without, name: value}


@given(STEPS, st.lists(st.tuples(st.sampled_from(PATHS), SPECIAL | json_values()), max_size=3))
@example(Step(step_id="", mode="apply", call=Call("")), [(("call", "retries"), 0)])
def test_decoding_accepts_exactly_what_the_explanation_finds_no_problem_with(
    step: Step, changes: list[tuple[tuple[str, ...], object]]
) -> None:
    data = encode(step)
    for path, value in changes:
        data = changed(data, path, value)
    problems = problems_of(Step, data)
    try:
        decoded = decode(Step, data, where="", code=ErrorCode.PLAN_INVALID)
    except NexusControlError as refusal:
        assert problems
        assert refusal.details == {"problems": problems}
    else:
        assert problems == []
        assert decode(Step, encode(decoded), where="", code=ErrorCode.PLAN_INVALID) == decoded
        assert says(decoded, data)


def says(record: object, data: Mapping[str, object]) -> bool:
    """Whether each field has the value that the data gives it, and its default where the data leaves it out."""
    values = {field.name: getattr(record, field.name) for field in fields(cast("Any", record))}
    return (
        all(
            holds(value, data[name]) if name in data else value == default_of(type(record), name)
            for name, value in values.items()
        )
        and not data.keys() - values.keys()
    )


def holds(value: object, given: object) -> bool:
    if isinstance(value, tuple):
        items, theirs = cast("tuple[object, ...]", value), cast("list[object]", given)
        return len(items) == len(theirs) and all(map(holds, items, theirs))
    if is_dataclass(value):
        return says(value, cast("Mapping[str, object]", given))
    return type(value) is type(given) and value == given


def default_of(record: type[object], name: str) -> object:
    return {field.name: field.default for field in fields(cast("Any", record))}[name]


@dataclass(frozen=True, slots=True)
class Form:
    a: int | None = None
    b: str | None = None
    c: bool | None = None
    d: tuple[int, ...] | None = None
    e: str | None = check(lambda text: text == "e", '"e"', default=None)
    f: int = 6


def test_a_record_is_read_alike_whichever_of_its_fields_are_there_null_or_left_out() -> None:
    values: dict[str, list[Any]] = {
        "a": [ABSENT, None, 1],
        "b": [ABSENT, None, "b"],
        "c": [ABSENT, None, True],
        "d": [ABSENT, None, [1, 2]],
        "e": [ABSENT, None, "e"],
        "f": [ABSENT, 7],
    }
    for chosen in product(*values.values()):  # more forms than are remembered
        given = zip(values, chosen, strict=True)
        data: dict[str, Any] = {name: value for name, value in given if value is not ABSENT}
        made: dict[str, Any] = {**data, "d": tuple(data["d"]) if data.get("d") else None}
        assert decode(Form, data, where="", code=ErrorCode.PLAN_INVALID) == Form(**made)
        assert problems_of(Form, {**data, "e": "f"}) == ['e must be "e"']
    assert remembered_shapes(Form) <= kinds.MAX_SHAPES < len(list(product(*values.values())))


def remembered_shapes(record: type[object]) -> int:
    return len(kinds.record_kind(record, False).shapes)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"step_id": None}, "step.step_id must be text"),
        ({"step_id": 7}, "step.step_id must be text"),
        ({"mode": "APPLY"}, "step.mode must be one of dry_run, apply"),
        ({"mode": ["apply"]}, "step.mode must be one of dry_run, apply"),
        ({"call": "keys"}, "step.call must be an object"),
        ({"call": {}}, "Missing required field: step.call.tool"),
        ({"call": {"tool": "keys", "x": 1}}, "Unknown field: step.call.x"),
        ({"calls": {}}, "step.calls must be a list"),
        ({"calls": [{"tool": "a"}, {"tool": 1}]}, "step.calls[1].tool must be text"),
        ({"number": 0}, "step.number must be at least 1"),
        ({"number": True}, "step.number must be an integer"),
        ({"number": 1.0}, "step.number must be an integer"),
        ({"number": "1"}, "step.number must be an integer"),
        ({"number": None}, "step.number must be an integer"),
        ({"cost": 10}, "step.cost must be below 10"),
        ({"cost": "10"}, "step.cost must be an integer"),
        ({"urgent": 1}, "step.urgent must be true or false"),
        ({"note": False}, "step.note must be text"),
        ({"labels": "prod"}, "step.labels must be a list"),
        ({"labels": None}, "step.labels must be a list"),
        ({"labels": ["prod", None]}, "step.labels[1] must be text"),
        ({"extra": []}, "step.extra must be an object"),
        ({"urgency": True}, "Unknown field: step.urgency (did you mean 'urgent'?)"),
    ],
    ids=str,
)
def test_a_wrong_type_is_an_error_with_the_path_of_its_field_and_never_a_default(
    change: dict[str, object], problem: str
) -> None:
    data = {**MINIMAL, **change}
    assert problems_of(Step, data, where="step") == [problem]
    with pytest.raises(NexusControlError) as refusal:
        decode(Step, data, where="step", code=ErrorCode.PLAN_INVALID)
    assert refusal.value.code is ErrorCode.PLAN_INVALID
    assert refusal.value.details == {"problems": [problem]}


def test_all_problems_are_reported_at_once() -> None:
    assert problems_of(Step, {"mode": 1, "call": {"retries": "2"}, "number": 0, "x": 1}) == [
        "Missing required field: step_id",
        "mode must be one of dry_run, apply",
        "Missing required field: call.tool",
        "call.retries must be an integer",
        "number must be at least 1",
        "Unknown field: x",
    ]


@pytest.mark.parametrize("data", [None, [], "{}", 1, True], ids=str)
def test_only_an_object_is_a_record(data: object) -> None:
    assert problems_of(Step, data) == ["value must be an object"]


def test_unknown_keys_pass_only_where_they_are_allowed_and_only_at_the_top() -> None:
    known = decode(Step, {**MINIMAL, "future": 1}, where="step", code=ErrorCode.PLAN_INVALID, extra_keys=True)
    assert "future" not in encode(known)
    with pytest.raises(NexusControlError) as refusal:
        decode(
            Step,
            {**MINIMAL, "call": {"tool": "keys", "future": 1}},
            where="step",
            code=ErrorCode.PLAN_INVALID,
            extra_keys=True,
        )
    assert refusal.value.details == {"problems": ["Unknown field: step.call.future"]}


def test_a_rule_of_the_record_itself_is_one_more_problem_under_the_code_of_the_decoder() -> None:
    with pytest.raises(NexusControlError) as refusal:
        decode(
            Holder,
            {"first": {"name": "coded"}, "second": {"name": "plain"}},
            where="holder",
            code=ErrorCode.BUNDLE_INVALID_SCHEMA,
        )
    assert refusal.value.code is ErrorCode.BUNDLE_INVALID_SCHEMA
    assert refusal.value.details == {
        "problems": ["holder.first: name must not be coded", "holder.second: name must not be plain"]
    }


def test_an_annotation_outside_the_format_is_a_mistake_of_the_program() -> None:
    @dataclass(frozen=True)
    class Priced:
        price: float

    with pytest.raises(TypeError):
        problems_of(Priced, {"price": 1.5})
