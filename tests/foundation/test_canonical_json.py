import json
from collections.abc import Callable
from typing import NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexus_control.canonical_json import (
    MAX_ARTIFACT_DEPTH,
    MAX_DEPTH,
    MAX_SAFE_INTEGER,
    canonical_json,
    encoding_by,
    parse_json,
    parse_json_object,
    require_canonical_domain,
)
from nexus_control.errors import ErrorCode, NexusControlError
from tests.support.json_values import BMP_TEXT, SAFE_INTEGERS, TEXT, json_values
from tests.support.places import require_vectors_of_others

LIMIT = 1_000_000


def nested_text(depth: int) -> str:
    return "[" * depth + "]" * depth


def nested_lists(depth: int) -> object:
    value: list[object] = []
    for _ in range(depth - 1):
        value = [value]
    return value


def nested_objects(depth: int) -> object:
    value: dict[str, object] = {"leaf": 1}
    for _ in range(depth - 1):
        value = {"inner": value}
    return value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        (-7, "-7"),
        ("caf\u00e9 \u2603 \U0001f600", '"caf\u00e9 \u2603 \U0001f600"'),
        ('"\\/\n\x01\x7f', '"\\"\\\\/\\n\\u0001\x7f"'),
        ([], "[]"),
        ((1, [2]), "[1,[2]]"),
        ({}, "{}"),
        ({"b": 1, "a": {"d": [], "c": None}}, '{"a":{"c":null,"d":[]},"b":1}'),
    ],
    ids=str,
)
def test_a_value_has_exactly_this_canonical_text(value: object, text: str) -> None:
    assert canonical_json(value) == text


@pytest.mark.parametrize(
    "value",
    [float("nan"), float("inf"), {1}, b"bytes", object(), {(1, 2): 3}, {1: 0, "1": 0}, 10**5000],
    ids=["nan", "inf", "set", "bytes", "object", "tuple key", "mixed keys", "5001 digits"],
)
def test_what_json_cannot_say_is_refused_with_a_code(value: object) -> None:
    with pytest.raises(NexusControlError) as refusal:
        canonical_json(value)
    assert refusal.value.code is ErrorCode.JSON_INVALID


def test_a_value_that_contains_itself_or_is_10_000_levels_deep_is_refused_with_a_code() -> None:
    endless: list[object] = []
    endless.append(endless)
    for value in (endless, nested_lists(10_000)):
        with pytest.raises(NexusControlError) as refusal:
            canonical_json(value)
        assert refusal.value.code is ErrorCode.JSON_INVALID
        with pytest.raises(NexusControlError) as refusal:
            require_canonical_domain(value, max_bytes=LIMIT)
        assert refusal.value.code is ErrorCode.JSON_INVALID


@given(json_values())
def test_parsing_canonical_text_gives_the_value_back(value: object) -> None:
    text = canonical_json(value)
    assert parse_json(text) == value
    assert parse_json(text.encode()) == value
    assert canonical_json(parse_json(text)) == text


STANDARD = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


@given(json_values() | st.floats(allow_nan=False, allow_infinity=False) | st.integers())
def test_the_text_is_what_the_standard_encoder_writes(value: object) -> None:
    assert canonical_json(value) == STANDARD.encode(value)
    nested = {"z": (value, [value]), "a": value}
    assert canonical_json(nested) == STANDARD.encode(nested)


def refuses(*_: object) -> NoReturn:
    raise TypeError("make_encoder() takes other arguments")


def writes_otherwise(*_: object) -> Callable[[object, int], tuple[str, ...]]:
    return lambda value, level: (json.dumps(value, indent=level),)


@pytest.mark.parametrize("make", [None, refuses, writes_otherwise])
def test_where_the_interpreters_own_encoder_is_another_the_standard_one_writes(make: object) -> None:
    value: dict[str, object] = {"b": ("\u00e9", 1, None), "a": [True, {}]}
    assert encoding_by(make)(value) == STANDARD.encode(value)


@given(json_values())
def test_values_of_the_domain_keep_their_canonical_text(value: object) -> None:
    assert require_canonical_domain(value, max_bytes=LIMIT) == canonical_json(value)


@given(st.dictionaries(BMP_TEXT, SAFE_INTEGERS))
def test_keys_up_to_u_ffff_stand_in_the_order_of_rfc_8785(value: dict[str, int]) -> None:
    utf_16_order = sorted(value, key=lambda key: key.encode("utf-16-be"))
    assert list(parse_json_object(canonical_json(value))) == utf_16_order


@pytest.mark.parametrize("name", ["arrays", "french", "unicode", "values"])
def test_these_rfc_8785_vectors_have_the_same_canonical_text(name: str) -> None:
    folder = require_vectors_of_others("rfc8785")
    value = parse_json((folder / f"in_{name}.json").read_bytes())
    assert canonical_json(value).encode() == (folder / f"out_{name}.json").read_bytes()


@pytest.mark.parametrize(
    ("name", "ours", "theirs"),
    [
        ("structures", '"\\n":56.0,', '"\\n":56,'),
        (
            "weird",
            '"\ufb33":"Hebrew Letter Dalet With Dagesh","\U0001f602":"Smiley"',
            '"\U0001f602":"Smiley","\ufb33":"Hebrew Letter Dalet With Dagesh"',
        ),
    ],
    ids=["an integral float", "a key beyond U+FFFF"],
)
def test_these_rfc_8785_vectors_differ_in_one_documented_way(name: str, ours: str, theirs: str) -> None:
    folder = require_vectors_of_others("rfc8785")
    value = parse_json((folder / f"in_{name}.json").read_bytes())
    expected = (folder / f"out_{name}.json").read_text(encoding="utf-8")
    assert canonical_json(value) != expected
    assert canonical_json(value).replace(ours, theirs) == expected


@pytest.mark.parametrize(
    "value",
    [
        1.0,
        [0.5],
        float("nan"),
        MAX_SAFE_INTEGER + 1,
        -MAX_SAFE_INTEGER - 1,
        {1: "a"},
        {None: "a"},
        "\ud800",
        {"\udfff": 1},
        b"bytes",
        {1, 2},
        nested_lists(MAX_DEPTH + 1),
        nested_objects(MAX_DEPTH + 1),
    ],
    ids=[
        "float",
        "float inside",
        "nan",
        "integer too large",
        "integer too small",
        "integer key",
        "null key",
        "lone surrogate",
        "lone surrogate in a key",
        "bytes",
        "set",
        "deep lists",
        "deep objects",
    ],
)
def test_what_two_languages_would_hash_differently_is_outside_the_domain(value: object) -> None:
    with pytest.raises(NexusControlError) as refusal:
        require_canonical_domain(value, where="payload", max_bytes=LIMIT)
    assert refusal.value.code is ErrorCode.JSON_INVALID


@pytest.mark.parametrize(
    "value",
    [MAX_SAFE_INTEGER, -MAX_SAFE_INTEGER, nested_lists(MAX_DEPTH), nested_objects(MAX_DEPTH), (1, (2,))],
    ids=["largest integer", "smallest integer", "deepest lists", "deepest objects", "tuples"],
)
def test_the_limits_of_the_domain_lie_inside_it_and_can_be_read_back(value: object) -> None:
    text = require_canonical_domain(value, max_bytes=LIMIT)
    assert canonical_json(parse_json(text)) == text


def test_the_size_limit_counts_utf_8_bytes_and_is_named_in_the_refusal() -> None:
    assert require_canonical_domain("\u00e9\u00e9", max_bytes=6) == '"\u00e9\u00e9"'
    for refused in (
        lambda: require_canonical_domain("\u00e9\u00e9", max_bytes=5),
        lambda: parse_json('"\u00e9\u00e9"', max_bytes=5),
    ):
        with pytest.raises(NexusControlError) as refusal:
            refused()
        assert refusal.value.code is ErrorCode.JSON_INVALID
        assert refusal.value.details == {"limit": 5}


HOSTILE_TEXTS: dict[str, str | bytes] = {
    "empty": "",
    "two values": "1 2",
    "trailing comma": "[1,]",
    "single quotes": "{'a':1}",
    "comment": "[1] // one",
    "leading zero": "01",
    "raw newline in text": '"a\nb"',
    "duplicate key": '{"a":1,"a":1}',
    "duplicate key, deep": '[{"x":{"a":1,"b":2,"a":3}}]',
    "duplicate key, one spelled by an escape": '{"a":1,"\\u0061":2}',
    "NaN": "[NaN]",
    "Infinity": "Infinity",
    "-Infinity": '{"a":-Infinity}',
    "a number that overflows to infinity": "1e400",
    "a negative number that overflows to infinity": "[-1e400]",
    "an integer of 65 bits": str(2**64),
    "a negative integer of 65 bits": str(-(2**63) - 1),
    "an integer of 5000 digits": "9" * 5000,
    "byte order mark": "\ufeff{}",
    "byte order mark, bytes": b"\xef\xbb\xbf{}",
    "UTF-16": '{"a":1}'.encode("utf-16"),
    "UTF-8 that is cut short": b'"\xc3',
    "overlong UTF-8": b'"\xc0\xaf"',
    "a surrogate in UTF-8": b'"\xed\xa0\x80"',
    "a raw lone surrogate": '"\ud800"',
    "a lone surrogate by escape": '["\\ud800"]',
    "a lone surrogate in a key": '{"\\uDFFF":1}',
    "surrogates in the wrong order": '"\\ude02\\ud83d"',
    "65 lists": nested_text(MAX_DEPTH + 1),
    "65 objects": '{"a":' * (MAX_DEPTH + 1) + "1" + "}" * (MAX_DEPTH + 1),
    "10,000 lists": nested_text(10_000),
    "10,000 open lists": "[" * 10_000,
    "10,000 objects": '{"a":' * 10_000 + "1" + "}" * 10_000,
}


@pytest.mark.parametrize("text", HOSTILE_TEXTS.values(), ids=HOSTILE_TEXTS.keys())
def test_a_hostile_text_is_refused_with_one_code(text: str | bytes) -> None:
    with pytest.raises(NexusControlError) as refusal:
        parse_json(text)
    assert refusal.value.code is ErrorCode.JSON_INVALID


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (str(2**64 - 1), 2**64 - 1),
        (str(-(2**63)), -(2**63)),
        ("1.7976931348623157e308", 1.7976931348623157e308),
        ("1e-400", 0.0),
        ('"\\ud83d\\ude02"', "\U0001f602"),
        ('"\\\\ud800"', "\\ud800"),
        (' {"a" : [ ] } ', {"a": []}),
    ],
    ids=["64 bits", "64 bits, negative", "largest double", "underflow", "a pair", "a backslash", "spaces"],
)
def test_an_odd_text_that_is_json_is_read(text: str, value: object) -> None:
    assert parse_json(text) == value


def test_an_artifact_may_nest_what_was_written_at_the_deepest() -> None:
    deepest = canonical_json(nested_objects(MAX_DEPTH))
    wrapped = '{"a":' * 16 + deepest + "}" * 16
    assert canonical_json(parse_json(wrapped, max_depth=MAX_ARTIFACT_DEPTH)) == wrapped
    with pytest.raises(NexusControlError) as refusal:
        parse_json('{"a":' + wrapped + "}", max_depth=MAX_ARTIFACT_DEPTH)
    assert refusal.value.code is ErrorCode.JSON_INVALID


@pytest.mark.parametrize("text", ["[]", '"{}"', "1", "null"])
def test_a_text_that_must_spell_an_object_spells_nothing_else(text: str) -> None:
    with pytest.raises(NexusControlError) as refusal:
        parse_json_object(text)
    assert refusal.value.code is ErrorCode.JSON_INVALID


@given(st.binary(max_size=200) | TEXT)
def test_any_text_or_bytes_give_a_value_or_the_code(text: str | bytes) -> None:
    try:
        value = parse_json(text)
    except NexusControlError as refusal:
        assert refusal.code is ErrorCode.JSON_INVALID
    else:
        assert parse_json(canonical_json(value)) == value
