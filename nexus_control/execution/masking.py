r"""Masks secret values in texts: `{secret:NAME}` stands where a value stood.

    Mask([("BILLING", "hunter-2")]).text('it said "hunter-2"')      # it said "{secret:BILLING}"

A value is found as it is, and with the escapes of JSON, Python's repr and the like, however often they were applied:
text and values are compared in a *plain form*, in which `\n`, `\u00e9` and `\xe9` are their character, other
backslashes and carriage returns are gone, and a character beyond U+FFFF is two surrogates. Of a value with several
lines, each line with at least `MIN_LENGTH` characters is found, too. Space at the ends of either does not count.

What overlaps is masked as a whole, so it does not matter that values hold each other. Where a text was cut, a value may
be there in part: what may be the beginning of one at a cut end, or the end of one at a cut beginning, is dropped.

Encoded values (base64, hex, a hash), and values that are reversed, split or written in other letters, are not found.
"""

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import cast

from nexus_control.canonical_json import canonical_json

MIN_LENGTH = 4
"""Shorter values are refused: each "yes" in an output would be masked, which would tell what the value is."""

_ESCAPE = re.compile(
    r"\\+(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})|U([0-9a-fA-F]{8})|([abfnrtv0])|)|\r|[\U00010000-\U0010ffff]"
)
_LETTERS = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "", "t": "\t", "v": "\v", "0": "\0"}
_PART_OF_AN_ESCAPE = re.compile(r"\\(?:u[0-9a-fA-F]{0,3}|x[0-9a-fA-F]?|U[0-9a-fA-F]{0,7}|)\Z")
_LONGEST_ESCAPE = 10
_ROUNDS = 4


def placeholder(name: str) -> str:
    """What a plan writes for a secret, and what stands in a text for its value.

    >>> placeholder("BILLING")
    '{secret:BILLING}'
    """
    return f"{{secret:{name}}}"


def mask_problem(value: str, names: Iterable[str]) -> str | None:
    """Why this value could not be masked where secrets of these names are, or None."""
    plain = _plain(value).text.strip()
    if len(plain) < MIN_LENGTH:
        return (
            f"it has fewer than {MIN_LENGTH} characters: masking it would mask common words, and so tell it"
        )
    held = (placeholder(name) for name in names)
    if found := next((each for each in held if plain in each or value.strip() in each), None):
        return f"it is a part of {found}, which stands in its place"
    return None


@dataclass(frozen=True, slots=True)
class _Plain:
    """The plain form of a text of `size` characters."""

    text: str
    pieces: list[tuple[int, int, int]]
    """Where each piece begins in the plain form and in the text, and the length of the escape that it comes from; 0 for
    a piece that is the same in both.
    """
    size: int

    def begin(self, n: int) -> int:
        """Where character `n` begins in the text; its size behind the last one."""
        if n >= len(self.text):
            return self.size
        plain, start, escape = self._piece(n)
        return start if escape else start + n - plain

    def end(self, n: int) -> int:
        """Where the characters before `n` end in the text."""
        if n == 0:
            return 0
        plain, start, escape = self._piece(n - 1)
        return start + (escape or n - plain)

    def _piece(self, n: int) -> tuple[int, int, int]:
        return self.pieces[bisect_right(self.pieces, n, key=lambda piece: piece[0]) - 1]


def _plain(text: str) -> _Plain:
    parts: list[str] = []
    pieces: list[tuple[int, int, int]] = []
    size = at = 0
    for found in _ESCAPE.finditer(text):
        if at < found.start():
            parts.append(text[at : found.start()])
            pieces.append((size, at, 0))
            size += found.start() - at
        at = found.end()
        if made := _meant(found):
            parts.append(made)
            pieces.append((size, found.start(), at - found.start()))
            size += len(made)
    if at < len(text):
        parts.append(text[at:])
        pieces.append((size, at, 0))
    return _Plain("".join(parts), pieces, len(text))


def _meant(found: re.Match[str]) -> str:
    """The characters that an escape stands for, as UTF-16 units."""
    if code := found[1] or found[2] or found[3]:
        number = int(code, 16)
        return _units(chr(number)) if number <= 0x10FFFF else ""
    if found[4]:
        return _LETTERS[found[4]]
    return "" if found[0][0] in "\\\r" else _units(found[0])


def _units(character: str) -> str:
    if character <= "\uffff":
        return "" if character in "\r\\" else character
    beyond = ord(character) - 0x10000
    return chr(0xD800 + (beyond >> 10)) + chr(0xDC00 + (beyond & 0x3FF))


class Mask:
    """The values of a run with their names, and what replaces them. Without values everything stays as it is."""

    def __init__(self, values: Iterable[tuple[str, str]]) -> None:
        named = tuple(values)
        shown = [placeholder(name) for name, _ in named]
        self._raw = {value.strip(): name for name, value in named if value.strip()}
        self._needles = {
            each: name
            for name, value in named
            for each in _spelled(value)
            if not any(
                each in place for place in shown
            )  # a line "secret" would be found in every placeholder
        }
        """What is looked for in plain form, with the name of its secret."""

    def text(self, text: str, *, cut_begin: bool = False, cut_end: bool = False) -> str:
        """`text` with no value in it. `cut_begin` and `cut_end` say that there was more of it before or after."""
        if not self._raw:
            return text
        if cut_end:
            text = _PART_OF_AN_ESCAPE.sub("", text)
        masked = self._once(text, cut_begin, cut_end)
        for _ in range(_ROUNDS):
            again = self._once(masked, cut_begin=False, cut_end=False)
            if again == masked:
                return masked
            masked = again
        return placeholder(next(iter(self._raw.values())))  # what is inserted makes values again and again

    def value(self, value: object) -> object:
        """JSON with no value in it: texts, keys, and numbers whose digits hold one."""
        if not self._raw or value is None or isinstance(value, bool):
            return value
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return self._object(cast("Mapping[str, object]", value))
        if isinstance(value, list | tuple):
            return [self.value(each) for each in cast("list[object]", value)]
        spelled = str(value) if isinstance(value, int) else canonical_json(value)  # also beyond 2^53
        masked = self.text(spelled)
        return value if masked == spelled else masked

    def _object(self, value: Mapping[str, object]) -> dict[str, object]:
        masked: dict[str, object] = {}
        for key, each in value.items():
            shown = self.text(key)
            while shown in masked:  # two keys that held a value: both stay
                shown += "'"
            masked[shown] = self.value(each)
        return masked

    def _once(self, text: str, cut_begin: bool, cut_end: bool) -> str:
        plain = _plain(text)
        at = plain.end(self._rest_of_one(plain.text)) if cut_begin else 0
        last = plain.begin(self._begun(plain.text)) if cut_end else len(text)
        parts: list[str] = []
        for start, stop, name in self._places(text, plain):
            if stop > at and start < last:
                parts += [text[at : max(at, start)], placeholder(name)]
                at = stop
        parts.append(text[at:last])
        return "".join(parts)

    def _places(self, text: str, plain: _Plain) -> Iterator[tuple[int, int, str]]:
        """Where values are, in order; those that overlap are one place, with the name of its first and longest."""
        found = [
            (plain.begin(at), -plain.end(at + len(needle)), name)
            for needle, name in self._needles.items()
            for at in _occurrences(plain.text, needle)
        ]
        found += [
            (at, -at - len(value), name)
            for value, name in self._raw.items()
            for at in _occurrences(text, value)
        ]
        begin, end, of = 0, 0, ""
        for start, stop, name in sorted(found):
            if start < end:
                end = max(end, -stop)
                continue
            if end:
                yield begin, end, of
            begin, end, of = start, -stop, name
        if end:
            yield begin, end, of

    def _begun(self, plain: str) -> int:
        """Where that begins at the end which may be the beginning of a value."""
        return len(plain) - max(
            (
                size
                for needle in self._needles
                for size in range(min(len(needle) - 1, len(plain)), 0, -1)
                if plain.endswith(needle[:size])
            ),
            default=0,
        )

    def _rest_of_one(self, plain: str) -> int:
        """Where that ends at the beginning which may be the end of a value, perhaps behind a part of an escape."""
        return max(
            (
                skipped + size
                for needle in self._needles
                for skipped in range(_LONGEST_ESCAPE)
                for size in range(min(len(needle) - 1, len(plain) - skipped), 0, -1)
                if plain.startswith(needle[-size:], skipped)
            ),
            default=0,
        )


def _spelled(value: str) -> Iterator[str]:
    """What is looked for in a plain text: the value and its lines, as text and as the bytes that `repr(bytes)` shows. A
    backslash before a value, or the characters after it, may make an escape of its first or last characters.
    """
    for whole in (value, value.encode().decode("latin-1")):
        for each in (whole, "\\" + whole.lstrip(), _PART_OF_AN_ESCAPE.sub("", whole.rstrip())):
            plain = _plain(each).text.strip()
            yield from filter(_is_long, (plain, *(line.strip() for line in plain.split("\n"))))


def _is_long(text: str) -> bool:
    return len(text) >= MIN_LENGTH


def _occurrences(text: str, needle: str) -> Iterator[int]:
    at = text.find(needle)
    while at >= 0:
        yield at
        at = text.find(needle, at + 1)
