"""Names that people would take for one another, though their letters differ.

`skeleton` replaces letters of other scripts by the Latin letters that they are drawn like, whatever marks are on them,
and folds case and width: two ids with one skeleton look alike. The table holds lower-case letters of Greek, Cyrillic
and Armenian (Unicode's confusables, UTS 39, as far as they look like Latin in common typefaces). Letters and digits of
one script that are mistaken for each other, as 1 and l, are not in it: honest names differ by them.
"""

import unicodedata
from typing import Final

from nexus_control.actors import fold_id

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
_SKELETON: Final = str.maketrans(
    {letter: latin for latin, letters in _DRAWN_LIKE.items() for letter in letters}
)


def skeleton(actor_id: str) -> str:
    """What the id looks like."""
    letters_and_marks = unicodedata.normalize("NFD", fold_id(actor_id))
    return unicodedata.normalize("NFC", letters_and_marks.translate(_SKELETON))
