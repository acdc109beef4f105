"""Untrusted text in Markdown: its writer can hide nothing in it, and it cannot break out of its place.

`escape` is for text within a line, `code_block` for text of many lines, `code_line` for a command. Every text on a page
goes through one of them, except our own literals.

1. Invisible characters, and characters that change how others are drawn (`values.actors.is_hidden`: controls,
   bidirectional marks, zero-width characters), become visible: `\\n`, `\\u202e`, `\\U000e0041`.
2. Within a line, a backslash goes before each character that Markdown or HTML would act on there. Rule 1 spells out
   newlines, so no text begins a line, and characters that act only at its beginning (#, -, +, >, digits) are left.
3. A block is fenced by more backticks than the text has in a row, and keeps its newlines and tabs.
4. A run of more than 40 blanks, or of more than 20 empty lines, is replaced by its count: `… 4000 empty lines …`. So
   no text after it can be pushed out of sight. A character that rule 1 spells out counts as a blank here.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias, cast

from nexus_control.values.actors import is_hidden, is_plain

View: TypeAlias = Mapping[str, Any]
"""The JSON object that a use case answers, such as the answer of `inspect`; pages are made from it."""

_ACTIVE = re.compile(r"[\\`*\[\]<~&]|(?<![^\W_])_|_(?![^\W_])")
_PERHAPS_ACTIVE = re.compile(r"[\\`*\[\]<~&_]")
"""Found in a fraction of the time that `_ACTIVE` takes, and most texts have none of these."""
_MOST_BLANKS, _MOST_EMPTY_LINES = 40, 20
_PADDING = re.compile(rf"^(?: *\n){{{_MOST_EMPTY_LINES + 1},}}| {{{_MOST_BLANKS + 1},}}", re.MULTILINE)
_SHADES = dict.fromkeys((*range(10), *range(11, 33), 127), " ")
_SHORT = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}


def escape(text: object) -> str:
    """`text` for a place within a line of Markdown; `(none)` for None."""
    if text is None:
        return "(none)"
    shown = unpadded(str(text))
    return unhidden(_ACTIVE.sub(r"\\\g<0>", shown) if _PERHAPS_ACTIVE.search(shown) else shown)


def unhidden(text: str, *, keep: str = "") -> str:
    """`text` with hidden characters made visible (rule 1), except those in `keep`. It is not escaped."""
    if is_plain(text):
        return text
    return "".join(each if each in keep else _visible(each) for each in text)


def spelled(text: object, *, keep: str = "") -> str:
    """`text` for a screen, which acts on no Markdown: hidden characters made visible, padding replaced by its count."""
    return unhidden(unpadded(str(text)), keep=keep)


def unpadded(text: str) -> str:
    """`text` with padding replaced by its count (rule 4); the rest is unchanged."""
    if len(text) <= _MOST_EMPTY_LINES or ("  " not in text and is_plain(text)):
        return text
    shown, end = list[str](), 0
    for run in _PADDING.finditer(_shade(text)):
        lines = run[0].count("\n")
        named = f"… {lines} empty lines …\n" if lines else f" … {len(run[0])} blanks … "
        shown += [text[end : run.start()], named]
        end = run.end()
    return "".join([*shown, text[end:]])


def holds_padding(value: object) -> bool:
    """Whether a text anywhere in these JSON values is padded (rule 4)."""
    match value:
        case str():
            return unpadded(value) != value
        case Mapping():
            return any(map(holds_padding, cast("Mapping[str, object]", value).values()))
        case list() | tuple():
            return any(map(holds_padding, cast("list[object]", value)))
        case _:
            return False


def _shade(text: str) -> str:
    """`text`, character by character, for the search for padding: a space for a blank, `x` for a visible character;
    ends of lines stay.
    """
    if text.isascii():
        return text.translate(_SHADES)
    return "".join("\n" if c == "\n" else " " if c.isspace() or is_hidden(c) else "x" for c in text)


def code_block(text: str) -> str:
    """`text` as a fenced block, verbatim except for hidden characters and padding."""
    return _fenced(unhidden(unpadded(text), keep="\n\t"))


def code_line(text: str) -> str:
    """`text` as a fenced block of one line: newlines become `\\n`."""
    return _fenced(unhidden(unpadded(text)))


def _fenced(shown: str) -> str:
    longest = max(map(len, re.findall("`+", shown)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{shown}\n{fence}"


def bullet(label: str, value: object) -> str:
    """A line `- Label: value`."""
    return f"- {label}: {escape(value)}"


def section(heading: str, lines: Iterable[str]) -> str:
    """A heading of ours and its lines."""
    return "\n".join([f"## {heading}", "", *lines])


def page(*parts: str) -> str:
    """The parts of a page, a blank line between them, and a newline at its end."""
    return "\n\n".join(parts) + "\n"


def listed(values: Iterable[object]) -> str:
    """Values for `bullet` or a line of their own, not yet escaped: `a, b`, or `(none)`."""
    return ", ".join(str(value) for value in values) or "(none)"


def _visible(character: str) -> str:
    if not is_hidden(character):
        return character
    code = ord(character)
    return _SHORT.get(character) or (f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}")
