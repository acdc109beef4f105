"""Judging, compared with a model that knows nothing of globs, pointers, or an order of reading.

The model evaluates every matcher of every rule, by listing the texts that each glob of these few stands for.
"""

import json
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias, cast

from hypothesis import given, settings
from hypothesis import strategies as st

from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.rules.book import Call, RuleBook
from tests.rules.books import book

TOOLS = ("Bash", "Read", "mcp__a")
FITTING: Mapping[str, tuple[str, ...]] = {
    "*": TOOLS,
    "Bash": ("Bash",),
    "?[ae]*": ("Bash", "Read"),
    "[!BR]*": ("mcp__a",),
    "mcp__*": ("mcp__a",),
    "bash": (),
}
METHODS = {"*": ("get", "set"), "[gs]et": ("get", "set"), "get": ("get",)}
REQUESTERS = {"*": ("human:a", "system:b"), "human:*": ("human:a",)}
VALUES: tuple[object, ...] = (
    "",
    "a",
    "ab",
    "b",
    0,
    1,
    2,
    True,
    False,
    1.5,
    None,
    [],
    {},
    2**53,
    float("inf"),
)
OPERANDS: dict[str, tuple[object, ...]] = {
    "eq": ("a", "b", 1, 2, True),
    "in": (["a", "ab"], [1, 2], [True]),
    "prefix": ("a", "ab"),
    "glob": ("a*", "*", "?"),
    "lt": (1, 2, 1.25),
    "gt": (0, 1, 1.75),
}
GLOBBED = {"a*": {"a", "ab"}, "*": {"", "a", "ab", "b"}, "?": {"a", "b"}}
Answer: TypeAlias = Literal["yes", "no", "unknown"]

operators = st.dictionaries(st.sampled_from(sorted(OPERANDS)), st.integers(0, 2), min_size=1, max_size=2).map(
    lambda chosen: {name: OPERANDS[name][n % len(OPERANDS[name])] for name, n in chosen.items()}
)
arguments = st.dictionaries(st.sampled_from(["/x", "/y", "/z/0"]), operators, min_size=1, max_size=2)
rules = st.fixed_dictionaries(
    {"verdict": st.sampled_from(["allow", "deny"]), "tool": st.sampled_from(sorted(FITTING))},
    optional={
        "method": st.sampled_from(sorted(METHODS)),
        "mode": st.sampled_from(["apply", "dry_run"]),
        "labels": st.lists(st.sampled_from(["p", "q"]), min_size=1, max_size=2),
        "requester": st.sampled_from(sorted(REQUESTERS)),
        "arguments": arguments,
    },
)
calls = st.builds(
    Call,
    tool=st.sampled_from(TOOLS),
    method=st.sampled_from([None, "get", "set"]),
    mode=st.sampled_from(["apply", "dry_run"]),
    labels=st.lists(st.sampled_from(["p", "q"]), max_size=2).map(tuple),
    requester=st.sampled_from(["human:a", "system:b"]),
    arguments=st.fixed_dictionaries(
        {},
        optional={
            "x": st.sampled_from(VALUES),
            "y": st.sampled_from(VALUES),
            "z": st.lists(st.sampled_from(VALUES), max_size=1),
        },
    ),
)


@settings(max_examples=600, deadline=None)
@given(st.sampled_from(["allow", "deny"]), st.lists(rules, max_size=4), calls)
def test_a_book_judges_as_the_model_does(default: str, written: list[dict[str, Any]], call: Call) -> None:
    expected = [model(each, call) for each in written]
    judged = verdict_of(book(toml(default, written)), call)
    if "unknown" in expected:
        assert judged == "unknown"
        return
    matching = [each["verdict"] for each, answer in zip(written, expected, strict=True) if answer == "yes"]
    assert judged == (matching[-1] if matching else default)


def verdict_of(judging: RuleBook, call: Call) -> str:
    try:
        return judging.judge(call).verdict
    except NexusControlError as fault:
        assert fault.code is ErrorCode.RULE_UNDECIDED
        return "unknown"


def model(rule: Mapping[str, Any], call: Call) -> Answer:
    if call.tool not in FITTING[rule["tool"]]:
        return "no"
    if "method" in rule:
        if call.method is None:
            return "unknown"
        if call.method not in METHODS[rule["method"]]:
            return "no"
    others = (
        rule.get("mode", call.mode) == call.mode,
        all(label in call.labels for label in rule.get("labels", [])),
        call.requester in REQUESTERS[rule.get("requester", "*")],
    )
    if not all(others):
        return "no"
    places = {"/x": ["x"], "/y": ["y"], "/z/0": ["z", 0]}
    answers = [
        evaluate(name, operand, call.arguments, places[pointer])
        for pointer, tests in rule.get("arguments", {}).items()
        for name, operand in tests.items()
    ]
    return "unknown" if "unknown" in answers else "no" if "no" in answers else "yes"


def evaluate(name: str, operand: Any, value: Any, place: list[Any]) -> Answer:
    for part in place:
        try:
            value = value[part]
        except (KeyError, IndexError):
            return "unknown"
    good: bool
    if name in ("lt", "gt"):
        if type(value) not in (int, float) or not abs(value) < 2**53:
            return "unknown"
        good = value < operand if name == "lt" else value > operand
    elif name in ("eq", "in"):
        choices = operand if name == "in" else [operand]
        if type(value) is not type(choices[0]) or value == 2**53:
            return "unknown"
        good = value in choices
    elif type(value) is not str:
        return "unknown"
    else:
        good = value[: len(operand)] == operand if name == "prefix" else value in GLOBBED[operand]
    return "yes" if good else "no"


def toml(default: str, written: list[dict[str, Any]]) -> str:
    inline = [", ".join(f"{name} = {spelled(value)}" for name, value in each.items()) for each in written]
    return f'default = "{default}"\nrules = [{", ".join(f"{{ {each} }}" for each in inline)}]\n'


def spelled(value: Any) -> str:
    """In these few values, JSON and TOML differ only in tables."""
    if isinstance(value, dict):
        items = cast("dict[str, Any]", value).items()
        return f"{{ {', '.join(f'{json.dumps(name)} = {spelled(each)}' for name, each in items)} }}"
    return json.dumps(value)
