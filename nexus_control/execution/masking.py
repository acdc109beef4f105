r"""Masks secret values in texts: `{secret:NAME}` stands where a value stood.

    Mask([("BILLING", "hunter-2")]).text('it said "hunter-2"')      # it said "{secret:BILLING}"

A value is found as it is, and with the escapes of JSON, Python's repr and the like, however often they were applied:
text and values are compared in a *plain form*, in which `\n`, `\u00e9` and `\xe9` are their character, other
backslashes and carriage returns are gone, and a character beyond U+FFFF is two surrogates. Of a value with several
lines, each line with at least `MIN_LENGTH` characters is found, too. Space at the ends of either does not count.

What overlaps is masked as a whole, so it does not matter that values hold each other. Where a text was cut, a value may
be there in part: what may be the beginning of one at a cut end, or the end of one at a cut beginning, is dropped.

Time and memory grow with the size of the text. Where no value is, only escapes that stand for a character cost more
than a search.

Encoded values (base64, hex, a hash), and values that are reversed, split or written in other letters, are not found.
"""

import heapq
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeAlias, cast

from nexus_control.canonical_json import canonical_json

MIN_LENGTH = 4
"""Shorter values are refused: each "yes" in an output would be masked, which would tell what the value is."""

_CHARACTER = r"(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})|U([0-9a-fA-F]{8})|([abfnrtv0]))"
_BEYOND = r"[\U00010000-\U0010ffff]"
_ESCAPE = re.compile(rf"\\+(?:{_CHARACTER}|)|\r|{_BEYOND}")
_MEANING = re.compile(rf"\\{_CHARACTER}|{_BEYOND}")
"""The escapes of a character. Of several backslashes only the last is looked at, so a row of them costs each once."""
_LETTERS = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "", "t": "\t", "v": "\v", "0": "\0"}
_PART_OF_AN_ESCAPE = re.compile(r"\\(?:u[0-9a-fA-F]{0,3}|x[0-9a-fA-F]?|U[0-9a-fA-F]{0,7}|)\Z")
_LONGEST_ESCAPE = 10
_ROUNDS = 4

_Place: TypeAlias = tuple[int, int, str]
"""Where a value begins and ends, and the name of its secret."""


def placeholder(name: str) -> str:
    """What a plan writes for a secret, and what stands in a text for its value.

    >>> placeholder("BILLING")
    '{secret:BILLING}'
    """
    return f"{{secret:{name}}}"


def mask_problem(value: str, names: Iterable[str]) -> str | None:
    """Why this value could not be masked where secrets of these names are, or None."""
    plain = _plain(value).strip()
    if len(plain) < MIN_LENGTH:
        return (
            f"it has fewer than {MIN_LENGTH} characters: masking it would mask common words, and so tell it"
        )
    held = (placeholder(name) for name in names)
    if found := next((each for each in held if plain in each or value.strip() in each), None):
        return f"it is a part of {found}, which stands in its place"
    return None


def _plain(text: str) -> str:
    """The plain form of a text."""
    if "\\" in text or not text.isascii():
        text = _MEANING.sub(_meant, text).replace("\\", "")
    return text.replace("\r", "")


def _in_text(text: str, places: Iterable[_Place]) -> Iterator[_Place]:
    """Places of the plain form, in order, as places of the text."""
    pieces = _pieces(text)
    plain = size = begin = escape = 0
    for start, stop, name in places:
        while start >= plain + size:
            plain, size, begin, escape = next(pieces)
        first = begin if escape else begin + start - plain
        while stop > plain + size:
            plain, size, begin, escape = next(pieces)
        yield first, begin + (escape or stop - plain), name


def _pieces(text: str) -> Iterator[tuple[int, int, int, int]]:
    """Where each piece begins in the plain form and its size there, where it begins in the text, and the length of the
    escape that it comes from; 0 for a piece that is the same in both.
    """
    plain = at = 0
    for found in _ESCAPE.finditer(text):
        if size := found.start() - at:
            yield plain, size, at, 0
            plain += size
        at = found.end()
        if size := len(_meant(found)):
            yield plain, size, found.start(), at - found.start()
            plain += size
    yield plain, len(text) - at, at, 0


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
        for _ in range(_ROUNDS + 1):
            masked = self._once(text, cut_begin, cut_end)
            if masked == text:
                return masked
            text, cut_begin, cut_end = masked, False, False
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
        at, last = 0, len(text)
        if cut_begin and (rest := self._rest_of_one(plain)):
            ((_, at, _),) = _in_text(text, [(0, rest, "")])
        if cut_end and (begun := self._begun(plain)):
            ((last, _, _),) = _in_text(text, [(len(plain) - begun, len(plain), "")])
        parts: list[str] = []
        for start, stop, name in self._places(text, plain):
            if stop > at and start < last:
                parts += [text[at : max(at, start)], placeholder(name)]
                at = stop
        parts.append(text[at:last])
        return "".join(parts)

    def _places(self, text: str, plain: str) -> Iterator[_Place]:
        """Where values are, in order; those that overlap are one place, with the name of its first and longest."""
        in_plain = _merged(plain, self._needles)
        return _united([_in_text(text, in_plain), _merged(text, self._raw)])

    def _begun(self, plain: str) -> int:
        """How many characters at the end may be the beginning of a value."""
        return max((_overlap(plain[1 - len(needle) :], needle) for needle in self._needles), default=0)

    def _rest_of_one(self, plain: str) -> int:
        """How many characters at the beginning may be the end of a value, perhaps behind a part of an escape."""
        return max(
            (
                skipped + size
                for needle in self._needles
                for skipped in range(_LONGEST_ESCAPE)
                if (size := _overlap(needle[1:], plain[skipped : skipped + len(needle) - 1]))
            ),
            default=0,
        )


def _spelled(value: str) -> Iterator[str]:
    """What is looked for in a plain text: the value and its lines, as text and as the bytes that `repr(bytes)` shows. A
    backslash before a value, or the characters after it, may make an escape of its first or last characters.
    """
    for whole in (value, value.encode().decode("latin-1")):
        for each in (whole, "\\" + whole.lstrip(), _PART_OF_AN_ESCAPE.sub("", whole.rstrip())):
            plain = _plain(each).strip()
            yield from filter(_is_long, (plain, *(line.strip() for line in plain.split("\n"))))


def _is_long(text: str) -> bool:
    return len(text) >= MIN_LENGTH


def _merged(text: str, names: Mapping[str, str]) -> Iterator[_Place]:
    """Where these values are, longest first where several begin; those that overlap are one place."""
    found = [value for value in names if value in text]
    found.sort(key=len, reverse=True)
    return _united([_runs(text, value, names[value]) for value in found])


def _united(each_in_order: Iterable[Iterator[_Place]]) -> Iterator[_Place]:
    begin, end, of = 0, 0, ""
    for start, stop, name in heapq.merge(*each_in_order, key=_begin):
        if start < end:
            end = max(end, stop)
            continue
        if end:
            yield begin, end, of
        begin, end, of = start, stop, name
    if end:
        yield begin, end, of


def _begin(place: _Place) -> int:
    return place[0]


def _runs(text: str, value: str, name: str) -> Iterator[_Place]:
    """Where a value is. Where it overlaps itself it is one place: its last occurrence that begins in one is the next to
    look from, so that two steps are longer than the value.
    """
    begin = text.find(value)
    while begin >= 0:
        at, end = begin, begin + len(value)
        while (later := text.rfind(value, at + 1, end - 1 + len(value))) >= 0:
            at, end = later, later + len(value)
        yield begin, end, name
        begin = text.find(value, end)


def _overlap(left: str, right: str) -> int:
    """How many characters at the end of `left` are the beginning of `right`, at most."""
    if not right or right[0] not in left:
        return 0
    borders, size = [0], 0  # of each beginning of `right`: the longest end of it that it begins with
    for character in right[1:]:
        while size and right[size] != character:
            size = borders[size - 1]
        size += right[size] == character
        borders.append(size)
    size = 0
    for character in left:
        while size and (size == len(right) or right[size] != character):
            size = borders[size - 1]
        size += right[size] == character
    return size
