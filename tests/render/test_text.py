import re
import time
from collections.abc import Callable

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from nexus_control.lifecycle import counted
from nexus_control.render.text import (
    bullet,
    code_block,
    code_line,
    escape,
    holds_padding,
    listed,
    page,
    section,
    unpadded,
)
from nexus_control.values.actors import is_hidden

ANY_TEXT = st.text(st.characters(), max_size=60)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Rotate production API keys", "Rotate production API keys"),
        ("alice@example.com", "alice@example.com"),
        ("subprocess:mcpt:key-rotation", "subprocess:mcpt:key-rotation"),
        ("key_rotation", "key_rotation"),
        ("_hidden_ and _", r"\_hidden\_ and \_"),
        ("a\n# Approved", r"a\n# Approved"),
        ("a\r\n\tb", r"a\r\n\tb"),
        ("\x1b[2J", r"\u001b\[2J"),
        ("pay \u202eecila", r"pay \u202eecila"),
        ("zero\u200bwidth\ufeff", r"zero\u200bwidth\ufeff"),
        ("tag\U000e0041", r"tag\U000e0041"),
        ("\u2028line", r"\u2028line"),
        ("\udc80", r"\udc80"),
        (r"\u202e", r"\\u202e"),
        ("`code`", r"\`code\`"),
        ("**bold** ~~not~~", r"\*\*bold\*\* \~\~not\~\~"),
        ("[link](http://x) ![image](y)", r"\[link\](http://x) !\[image\](y)"),
        ("<script> <!-- &#8238;", r"\<script> \<!-- \&#8238;"),
        ("café, 東京, Ωmega", "café, 東京, Ωmega"),
        ("", ""),
        (None, "(none)"),
        (7, "7"),
    ],
)
def test_text_within_a_line_shows_what_it_hides_and_acts_on_nothing(text: object, shown: str) -> None:
    assert escape(text) == shown


@given(ANY_TEXT)
def test_escaped_text_is_one_line_of_visible_characters(text: str) -> None:
    shown = escape(text)
    assert shown.splitlines() == ([shown] if shown else [])
    assert not any(map(is_hidden, shown))


@given(ANY_TEXT)
def test_nothing_that_markdown_acts_on_within_a_line_is_left_bare(text: str) -> None:
    without_escapes = re.sub(r"\\.", "", escape(text))
    assert not set(r"\`*[]<~&") & set(without_escapes)


@given(ANY_TEXT, ANY_TEXT)
def test_two_texts_are_never_shown_alike_unless_they_differ_in_their_padding(one: str, other: str) -> None:
    assume(not holds_padding([one, other]))
    assert (escape(one) == escape(other)) is (one == other)


def test_a_block_keeps_lines_and_tabs_and_shows_the_rest_that_is_hidden() -> None:
    assert code_block("a\n\tb\r\u202e\\n") == "```text\na\n\tb\\r\\u202e\\n\n```"


@given(st.text(st.sampled_from("`~\n a\r\u2028"), max_size=40))
def test_no_text_closes_its_block(text: str) -> None:
    opening, *lines, closing = code_block(text).split("\n")
    assert opening == f"{closing}text"
    assert set(closing) == {"`"}
    assert not any(re.match(rf" *{closing}", line) for line in lines)


def test_the_parts_of_a_page_are_a_blank_line_apart() -> None:
    lines = [bullet("Goal", "a\n## Forged"), bullet("Labels", listed([]))]
    assert page("# Title", section("Decision", lines)) == (
        "# Title\n\n## Decision\n\n- Goal: a\\n## Forged\n- Labels: (none)\n"
    )


def test_one_is_singular() -> None:
    assert [counted(number, "approval") for number in (0, 1, 2)] == [
        "0 approvals",
        "1 approval",
        "2 approvals",
    ]


PADDED = [
    (" " * 40, None),
    (" " * 41, " … 41 blanks … "),
    ("\t \u00a0\u3000" * 11, " … 44 blanks … "),
    ("\u200b" * 5000, " … 5000 blanks … "),
    ("\u2800" * 41, " … 41 blanks … "),
    ("\n" * 21, None),
    ("\n" * 22, "\n… 21 empty lines …\n"),
    ("\n" + " \t\n" * 5000, "\n… 5000 empty lines …\n"),
    ("\n" + "\u200b\r\n" * 50, "\n… 50 empty lines …\n"),
    ("\n" + (" " * 100 + "\n") * 30, "\n… 30 empty lines …\n"),
]


@pytest.mark.parametrize(
    ("padding", "named"), PADDED, ids=[f"{len(padding)} {padding[:3]!a}" for padding, _ in PADDED]
)
def test_a_run_of_blanks_or_empty_lines_is_named_with_its_number(padding: str, named: str | None) -> None:
    text = f"begin{padding}end"
    assert unpadded(text) == (text if named is None else f"begin{named}end")
    assert holds_padding({"a": [text]}) is (named is not None)


def test_padding_at_either_end_is_named_too() -> None:
    assert unpadded("\n" * 30 + "x" + "\n" * 30) == "… 30 empty lines …\nx\n… 29 empty lines …\n"


@pytest.mark.parametrize("shown", [escape, code_block, code_line], ids=lambda each: each.__name__)
def test_wherever_text_is_shown_its_end_stays_in_sight(shown: Callable[[str], str]) -> None:
    for padding in (" " * 5000, "\n" * 5000, "\u200b" * 5000, "\r\n" * 5000):
        text = shown(f"begin{padding}end")
        assert len(text) < 100
        assert "begin" in text
        assert "end" in text


@pytest.mark.parametrize("part", [" ", "\n", " \n", f"{' ' * 39}x", f"{chr(10) * 19}x"])
@pytest.mark.parametrize(("before", "after"), [("", ""), ("\n" * 20, "x")])
def test_padding_is_found_in_time_that_grows_with_the_text_alone(part: str, before: str, after: str) -> None:
    def cost(size: int) -> float:
        text = before + part * (size // len(part)) + after
        spans: list[float] = []
        for _ in range(3):
            started = time.process_time()
            unpadded(text)
            spans.append(time.process_time() - started)
        return min(spans)

    # Sixteen times the text: what grows with its square would take 256 times as long.
    assert cost(256 * 1024) < 64 * cost(16 * 1024)


def test_a_command_is_one_line() -> None:
    assert code_line("a 'b\nc'\td") == "```text\na 'b\\nc'\\td\n```"
