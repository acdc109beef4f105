import json
import sys
import tracemalloc
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexus_control.execution.masking import MIN_LENGTH, Mask, mask_problem

NAMES = ("A", "B", "C")
texts = st.text(
    st.one_of(st.sampled_from("ab\\\"'{}:secrtnux0 1\n\r/&"), st.characters(exclude_categories=["Cs"]))
)


def usable(value: str) -> bool:
    return "\0" not in value and mask_problem(value, NAMES) is None


values = st.text(
    st.one_of(st.sampled_from("ab\\\"'{}nrtux01\n/&é🔑"), st.characters(exclude_categories=["Cs"])),
    min_size=4,
).filter(usable)

WRITINGS: dict[str, Callable[[str], str]] = {
    "itself": lambda value: value,
    "JSON": json.dumps,
    "JSON in UTF-8": lambda value: json.dumps(value, ensure_ascii=False),
    "JSON in JSON": lambda value: json.dumps(json.dumps({"a": value})),
    "repr": repr,
    "the repr of a text with both quotes": lambda value: repr(f"'\"{value}"),
    "the repr of bytes": lambda value: repr(value.encode()),
    "JSON of a language that escapes HTML": lambda value: (
        json.dumps(value).replace("&", "\\u0026").replace("/", "\\/")
    ),
    "an exception": lambda value: repr(KeyError({value: 1})),
}


@given(st.lists(values, min_size=1, max_size=3), texts, texts, texts, st.data())
def test_no_value_survives_in_a_text_wherever_it_is(
    found: list[str], before: str, between: str, after: str, data: st.DataObject
) -> None:
    first, second = data.draw(st.sampled_from(found)), data.draw(st.sampled_from(found))
    masked = Mask(zip(NAMES, found, strict=False)).text(before + first + between + second + after)
    assert [value for value in found if value.strip() in masked] == []


@pytest.mark.parametrize("write", WRITINGS.values(), ids=WRITINGS)
@given(values)
def test_a_value_is_found_however_it_is_escaped(write: Callable[[str], str], value: str) -> None:
    masked = Mask([("A", value)]).text(f"it said: {write(value)}, and ended")
    assert "{secret:A}" in masked
    plain = [each for each in value if each.isalnum() and each not in "secrtA" and each.isascii()]
    assert not plain or write(value)[1:-1] not in masked


@given(values.filter(lambda value: "|" not in value), texts, st.data())
def test_no_part_of_a_value_survives_at_a_cut(value: str, before: str, data: st.DataObject) -> None:
    value = value.strip()
    size = data.draw(st.integers(1, len(value) - 1))
    mask = Mask([("A", value)])
    part = value[:size]
    cut = mask.text(f"{before}|{part}", cut_end=True)
    assert not cut.endswith(part) or cut.endswith("{secret:A}"[-len(part) :])
    rest = value[-size:]
    begun = mask.text(f"{rest}|{before}", cut_begin=True)
    assert not begun.startswith(rest) or begun.startswith("{secret:A}"[: len(rest)])


@given(values, texts, texts)
def test_masking_again_changes_nothing(value: str, before: str, after: str) -> None:
    mask = Mask([("A", value)])
    masked = mask.text(before + value + after)
    assert mask.text(masked) == masked


@given(texts)
def test_a_text_without_a_value_stays_as_it_is(text: str) -> None:
    assert Mask([("A", "§§§§§§")]).text(text) == text
    assert Mask(()).text(text, cut_begin=True, cut_end=True) == text


CASES = {
    "in a sentence": ({"A": "hunter-2"}, "it is hunter-2!", "it is {secret:A}!"),
    "one in the other": (
        {"A": "hunter-2", "B": "hunter-2-more"},
        "hunter-2-more hunter-2",
        "{secret:B} {secret:A}",
    ),
    "overlapping": ({"A": "abcdef", "B": "defghi"}, "xabcdefghix", "x{secret:A}x"),
    "with itself": ({"A": "abab"}, "ababababx", "{secret:A}x"),
    "side by side": ({"A": "hunter-2"}, "hunter-2hunter-2", "{secret:A}{secret:A}"),
    "a line of several": ({"A": "BEGIN\nline-1\nEND"}, "read line-1", "read {secret:A}"),
    "lines that are indented": (
        {"A": "key-1\r\nkey-2"},
        "  key-1\n  key-2\n",
        "  {secret:A}\n  {secret:A}\n",
    ),
    "behind a backslash": ({"A": "nuclear"}, "C:\\nuclear", "C:\\{secret:A}"),
    "in escaped quotes": ({"A": "hunter-2"}, '{\\"k\\": \\"hunter-2\\"}', '{\\"k\\": \\"{secret:A}\\"}'),
    "of two escapes": ({"A": "pä🔑ss"}, '"p\\u00e4\\ud83d\\udd11ss"', '"{secret:A}"'),
    "in its own placeholder": ({"A": "hunter-2"}, "{secret:A}", "{secret:A}"),
}


@pytest.mark.parametrize(("held", "text", "shown"), CASES.values(), ids=CASES)
def test_a_value_is_replaced_by_its_name_and_nothing_else_is(
    held: dict[str, str], text: str, shown: str
) -> None:
    assert Mask(held.items()).text(text) == shown


CUT = {
    "a beginning": ("out: hunt", "out: "),
    "the shortest beginning": ("out: h", "out: "),
    "no beginning": ("out: x", "out: x"),
    "one and a beginning": ("hunter-2 hunter", "{secret:A} "),
    "a beginning in an escape": ("out: p\\u00e", "out: "),
    "a beginning that ends in a backslash": ("out: hunt\\", "out: "),
}


@pytest.mark.parametrize(("text", "shown"), CUT.values(), ids=CUT)
def test_what_may_be_the_beginning_of_a_value_is_dropped_at_a_cut(text: str, shown: str) -> None:
    assert Mask([("A", "hunter-2"), ("B", "pässword")]).text(text, cut_end=True) == shown


def test_what_may_be_the_end_of_a_value_is_dropped_where_a_text_begins() -> None:
    mask = Mask([("A", "hunter-2"), ("B", "pässword")])
    assert mask.text("ter-2: refused", cut_begin=True) == ": refused"
    assert mask.text("0e4ssword: refused", cut_begin=True) == ": refused"


def test_json_is_masked_in_keys_texts_and_digits_and_keeps_its_shape() -> None:
    mask = Mask([("A", "hunter-2"), ("PIN", "123456")])
    output = {
        "hunter-2": 1,
        "list": ["hunter-2", {"deep": "x hunter-2"}, None, True, 7],
        "number": 1234567,
        "hunter-2'": 2,
    }
    assert mask.value(output) == {
        "{secret:A}": 1,
        "list": ["{secret:A}", {"deep": "x {secret:A}"}, None, True, 7],
        "number": "{secret:PIN}7",
        "{secret:A}'": 2,
    }
    assert mask.value({"hunter-2": 1, "{secret:A}": 2}) == {"{secret:A}": 1, "{secret:A}'": 2}


@pytest.mark.parametrize("value", ["", "abc", "  abc\n", "\\\\\\\\", "cret", "secret", "{secret:A}", ":A}"])
def test_a_value_that_could_not_be_masked_is_refused(value: str) -> None:
    problem = mask_problem(value, NAMES)
    assert problem is not None
    assert len(value.strip()) < MIN_LENGTH or value.strip() in problem or "fewer" in problem


few = st.text(st.sampled_from("ab"), min_size=4, max_size=9)


def covered(text: str, needles: list[str]) -> str:
    """The text with `#` for each place where needles are that overlap, found one by one."""
    found = sorted(
        (n, n + len(each)) for each in needles for n in range(len(text)) if text[n:].startswith(each)
    )
    shown, end = "", 0
    for start, stop in found:
        shown += text[end:start] + "#" if start >= end else ""
        end = max(end, stop)
    return shown + text[end:]


@given(st.lists(few, min_size=1, max_size=3), st.text(st.sampled_from("abx"), max_size=60))
def test_values_that_overlap_themselves_and_each_other_are_one_place(found: list[str], text: str) -> None:
    mask = Mask(("S", value) for value in found)
    assert mask.text(text).replace("{secret:S}", "#") == covered(text, found)
    escaped = mask.text(text.replace("a", "\\\\u0061").replace("x", '\\"'))
    assert escaped.replace("{secret:S}", "#").replace("\\\\u0061", "a").replace('\\"', "x") == covered(
        text, found
    )


@given(few, st.text(st.sampled_from("ab"), max_size=12))
def test_as_much_is_dropped_at_a_cut_as_may_be_of_a_value(value: str, text: str) -> None:
    mask = Mask([("A", value)])
    sizes = range(min(len(value) - 1, len(text)) + 1)
    begun = max(size for size in sizes if text.endswith(value[:size]))
    assert value in text or mask.text(text, cut_end=True) == text[: len(text) - begun]
    rests = [
        skipped + size
        for size in sizes[1:]
        for skipped in range(10)
        if text.startswith(value[-size:], skipped)
    ]
    assert value in text or mask.text(text, cut_begin=True) == text[max(rests, default=0) :]


def calls(act: Callable[[], object]) -> int:
    """How many functions it calls, of Python and in C."""
    count = 0

    def seen(_frame: object, event: str, _argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(seen)
    try:
        act()
    finally:
        sys.setprofile(before)
    return count


HOSTILE = {
    "backslashes": "\\",
    "one letter": "a",
    "escapes that are cut": "\\u00",
    "quotes": '\\"',
    "zeros": "0",
    "lines": "line-7\\n",
    "half of a value": "a\\b",
}


@pytest.mark.parametrize("hostile", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_output_is_masked_in_steps_and_memory_that_grow_with_its_size(hostile: str) -> None:
    lines = "\n".join(f"line-{n}" for n in range(50))
    mask = Mask([("A", "a\\b\\c\\d"), ("B", "a" * 1000), ("C", lines), ("D", "0000")])
    few, many = (hostile * (size // len(hostile)) for size in (20_000, 80_000))

    def steps(text: str) -> int:
        return calls(lambda: mask.text(text, cut_begin=True, cut_end=True))

    assert steps(many) <= 4 * steps(few) + 1000
    tracemalloc.start()
    try:
        mask.text(many)
        assert tracemalloc.get_traced_memory()[1] <= 40 * len(many)
    finally:
        tracemalloc.stop()


def test_a_text_without_a_value_is_only_searched() -> None:
    mask = Mask([("A", "hunter-2"), ("B", "pässword")])
    text = json.dumps(json.dumps({"name": "value", "quoted": ['"']})) * 1000
    assert calls(lambda: mask.text(text)) < 100
