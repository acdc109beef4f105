"""Unicode's confusables and identifier status as the ICU library on this machine has them, as the tables of
`nexus_control.values.confusables`. Run as a module, it prints them.
"""

import ctypes
import ctypes.util
import re
import unicodedata
from collections.abc import Iterator
from typing import Any

LATIN_NEIGHBOURS = {"Hani", "Kana", "Hira"}
LOOKALIKE_SCRIPTS = {"Grek", "Cyrl", "Armn", "Cher"}
NO_SCRIPT = {"Latn", "Zyyy", "Zinh"}
HIDDEN = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}
PROTOTYPES = {"\u30fc": "-", "\u058a": "-", "\u05be": "-", "\u00b7": "."}
EN_DASH = "\u2013"
HOOKED = re.compile("'[A-Za-z]|[A-Za-z]'")
_SPOOF = "libicui18n.so"


class Icu:
    """As much of ICU's spoof checker as this asks. Raises OSError where the library is not installed."""

    def __init__(self) -> None:
        name = ctypes.util.find_library("icui18n") or _SPOOF
        self._suffix = "_" + name.rpartition(".so.")[2]
        self._spoof, self._common = ctypes.CDLL(name), ctypes.CDLL(name.replace("icui18n", "icuuc"))
        self._checker = self._made("uspoof_open")
        self._recommended = self._made("uspoof_getRecommendedSet")
        self._inclusion = self._made("uspoof_getInclusionSet")

    @property
    def unicode_version(self) -> str:
        version = (ctypes.c_uint8 * 4)()
        self._of(self._common, "u_getUnicodeVersion")(version)
        return f"{version[0]}.{version[1]}"

    def skeleton(self, text: str) -> str:
        encoded, room, fault = text.encode(), ctypes.create_string_buffer(1000), ctypes.c_int(0)
        checker, given = ctypes.c_void_p(self._checker), (encoded, len(encoded))
        skeleton = self._of(self._spoof, "uspoof_getSkeletonUTF8")
        length = skeleton(checker, 0, *given, room, len(room), ctypes.byref(fault))
        assert fault.value <= 0
        return room.raw[:length].decode()

    def is_recommended(self, character: str) -> bool:
        return self._holds(self._recommended, character) or self._holds(self._inclusion, character)

    def script(self, character: str) -> str:
        number = self._of(self._common, "uscript_getScript")(ord(character), ctypes.byref(ctypes.c_int(0)))
        name = self._of(self._common, "uscript_getShortName")
        name.restype = ctypes.c_char_p
        return name(number).decode()

    def _of(self, library: ctypes.CDLL, function: str) -> Any:
        return library[function + self._suffix]

    def _made(self, function: str) -> int:
        call, fault = self._of(self._spoof, function), ctypes.c_int(0)
        call.restype = ctypes.c_void_p
        made = call(ctypes.byref(fault))
        assert fault.value <= 0
        return made

    def _holds(self, characters: int, character: str) -> bool:
        contains = self._of(self._common, "uset_contains")
        contains.restype = ctypes.c_int8
        return bool(contains(ctypes.c_void_p(characters), ord(character)))


def tables(icu: Icu) -> dict[str, dict[str, str]]:
    """Each table: what is drawn (ASCII), to the characters that are drawn like it."""
    found: dict[str, dict[str, str]] = {"RESTRICTED": {}, "IN_USE": {}, "OF_OTHER_SCRIPTS": {}}
    for character, drawn in _drawn_like_ascii(icu):
        table = found[_table_of(icu, character, drawn)]
        table[drawn] = table.get(drawn, "") + character
    return {name: dict(sorted(table.items())) for name, table in found.items()}


def _drawn_like_ascii(icu: Icu) -> Iterator[tuple[str, str]]:
    for number in range(0x80, 0x110000):
        character = chr(number)
        if unicodedata.category(character) in HIDDEN or not unicodedata.is_normalized("NFKC", character):
            continue
        drawn = icu.skeleton(character)
        drawn = PROTOTYPES.get(drawn, drawn)
        if drawn.isascii():
            yield character, drawn


def _table_of(icu: Icu, character: str, drawn: str) -> str:
    script = icu.script(character)
    if not icu.is_recommended(character):
        in_use = drawn == "'" or character == EN_DASH or (HOOKED.fullmatch(drawn) and script == "Latn")
        return "IN_USE" if in_use else "RESTRICTED"
    if script in NO_SCRIPT | LOOKALIKE_SCRIPTS | LATIN_NEIGHBOURS:
        return "IN_USE"
    return "OF_OTHER_SCRIPTS"


def _literal(text: str) -> str:
    return "".join(c if c.isalnum() and c.isascii() else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    number = ord(character)
    if number < 0x80:
        return "\\" + character if character in '"\\' else character
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def _lines(table: dict[str, str]) -> Iterator[str]:
    for drawn, characters in table.items():
        escapes = [_escaped(each) for each in characters]
        rows = [""]
        for each in escapes:
            if len(rows[-1]) + len(each) > 90:
                rows.append("")
            rows[-1] += each
        if len(rows) == 1:
            yield f'    "{_literal(drawn)}": "{rows[0]}",'
        else:
            yield f'    "{_literal(drawn)}": ('
            yield from (f'        "{row}"' for row in rows)
            yield "    ),"


if __name__ == "__main__":
    for title, content in tables(Icu()).items():
        print(f"{title}: Final = {{", *_lines(content), "}", sep="\n")
