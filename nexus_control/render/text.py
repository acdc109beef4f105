"""Untrusted text in Markdown: whoever wrote it cannot hide anything, nor break out of its place.

`escape` is for text within a line, `code_block` for text of many lines; everything a page shows that is not a
literal of ours goes through one of the two.

1. Characters that are drawn as nothing or steer how others are drawn (`actors.is_hidden`: controls, bidirectional
   marks, zero-width and other invisible characters) become visible: `\\n`, `\\u202e`, `\\U000e0041`.
2. Within a line, a backslash goes before each character that Markdown or HTML would act on there. A newline is
   hidden by rule 1, so no text begins a line, and what acts only there (#, -, +, >, digits) needs nothing.
3. A block is fenced by more backticks than the text has in a row, and keeps its newlines and tabs.
"""

import re
from collections.abc import Iterable

from nexus_control.actors import is_hidden

_ACTIVE = re.compile(r"[\\`*\[\]<~&]|(?<![^\W_])_|_(?![^\W_])")
_SHORT = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}


def escape(text: object) -> str:
    """`text` for a place within a line of Markdown; `(none)` for None."""
    if text is None:
        return "(none)"
    return unhidden(_ACTIVE.sub(r"\\\g<0>", str(text)))


def unhidden(text: str, *, keep: str = "") -> str:
    """`text` with what is hidden made visible (rule 1), except the characters to keep. It is not escaped."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(each if each in keep else _visible(each) for each in text)


def code_block(text: str) -> str:
    """`text` as a fenced block, verbatim but for hidden characters."""
    shown = unhidden(text, keep="\n\t")
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


def counted(number: int, noun: str) -> str:
    """`1 approval`, `2 approvals`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _visible(character: str) -> str:
    if not is_hidden(character):
        return character
    code = ord(character)
    return _SHORT.get(character) or (f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}")
