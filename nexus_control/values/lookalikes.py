"""Ids that people would take for one another, though their characters differ.

Two ids look alike when `skeleton` gives the same text for both: `alice` with a Cyrillic a has the skeleton of `alice`.
It replaces each character that is drawn like ASCII by the ASCII one, also under marks, and folds case and width. Its
table is Unicode's (`values.confusables`), with the lower-case letters whose capitals are drawn like ASCII. A second dot
above a letter is dropped, and so is the stroke that only stretches Arabic words.

`letters_of_other_scripts` replaces fewer characters: letters of Greek, Cyrillic and Armenian that look like Latin in
common typefaces. No two honest names differ by these alone.

Neither function changes ASCII that looks alike, such as 1 and l, or cl and d: honest names differ by it.
"""

import re
import unicodedata
from functools import lru_cache
from typing import Final

from nexus_control.values.actors import fold_id
from nexus_control.values.confusables import IN_USE, RESTRICTED

_DRAWN_LIKE: Final = {
    "a": "αа",
    "b": "ьв",
    "c": "ϲс",
    "d": "ԁ",
    "e": "еєε",
    "g": "ց",
    "h": "һհн",
    "i": "ιі",
    "j": "јϳ",
    "k": "κк",
    "l": "ӏ",
    "m": "м",
    "n": "ոп",
    "o": "οоօ",
    "p": "ρр",
    "q": "ԛզ",
    "r": "г",
    "s": "ѕ",
    "t": "τт",
    "u": "υս",
    "v": "νѵ",
    "w": "ԝωա",
    "x": "χх",
    "y": "γу",
}
_OTHER_SCRIPTS: Final = str.maketrans(
    {letter: latin for latin, letters in _DRAWN_LIKE.items() for letter in letters}
)


def _drawn_like_ascii() -> dict[int, str]:
    drawn = {
        each: ascii_ for table in (RESTRICTED, IN_USE) for ascii_, all_ in table.items() for each in all_
    }
    folded = {fold_id(each): ascii_ for each, ascii_ in drawn.items()}
    lower_case = {each: ascii_ for each, ascii_ in folded.items() if len(each) == 1 and each not in drawn}
    both = {ord(each): fold_id(ascii_) for each, ascii_ in (drawn | lower_case).items()}
    return both | _OTHER_SCRIPTS


_TATWEEL: Final = 0x0640
_SKELETON: Final = _drawn_like_ascii() | {_TATWEEL: ""}
# Soft_Dotted of Unicode 15 (PropList), as canonical decomposition leaves it: the letter, and marks below it.
_SECOND_DOT: Final = re.compile(
    "([ij\u0249\u0268\u029d\u03f3\u0456\u0458\u1d96\U0001df1a][\u0316-\u0333\u0339-\u033c\u0345]*)\u0307"
)


@lru_cache(maxsize=4096)  # every approval of a decision is compared at the next one
def skeleton(actor_id: str) -> str:
    """The id as it looks: ids with one skeleton are taken for one another."""
    return unicodedata.normalize("NFC", _SECOND_DOT.sub(r"\1", _replaced(actor_id, _SKELETON)))


def letters_of_other_scripts(actor_id: str) -> str:
    """The id as it looks to people who take letters of other scripts for Latin ones."""
    return unicodedata.normalize("NFC", _replaced(actor_id, _OTHER_SCRIPTS))


def _replaced(actor_id: str, table: dict[int, str]) -> str:
    if actor_id.isascii():
        return fold_id(actor_id)
    return unicodedata.normalize("NFD", fold_id(actor_id)).translate(table)
