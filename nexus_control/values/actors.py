"""Who acted: an immutable type and id.

An id is 1 to 256 characters, NFKC-normal, without control or invisible characters, without space at either end.
Two approvers are the same person when their ids are equal after case folding, whatever their types
(`human:bob` and `system:BOB` are one approver).

An id that is *new* here may hold printable ASCII with single spaces, letters, decimal digits, and the marks and the
punctuation of names. Any other character is refused. Marks and words have rules of their own:

        marks        A mark follows a letter of its own script; marks that Unicode recommends for every script, and that
                 strike nothing through, follow any letter. No mark is twice on one letter.
    words        A word does not mix Latin with a look-alike script. A word with ASCII letters holds no character that
                 is drawn like ASCII and is of another script, or discouraged in identifiers (`values.confusables`).

Imported history may hold other ids: verification remarks on them.
"""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from json.encoder import encode_basestring
from typing import Literal, TypeAlias, cast

from typing_extensions import TypedDict

from nexus_control.errors import invalid_argument
from nexus_control.values.confusables import OF_OTHER_SCRIPTS, RESTRICTED

ActorType: TypeAlias = Literal["human", "system"]
ACTOR_TYPES: tuple[ActorType, ...] = ("human", "system")
MAX_ID_LENGTH = 256

_LOOKALIKE_SCRIPTS = {"GREEK", "CYRILLIC", "ARMENIAN", "CHEROKEE"}
# Default_Ignorable_Code_Point (Unicode 15, DerivedCoreProperties) that are in no category refused below, and the blank
# Braille pattern. All of them are drawn as nothing.
_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\uffa0\ufe00-\ufe0f\U000e0000-\U000e0fff]"
)
_DRAWN_LIKE = {
    each: drawn for table in (RESTRICTED, OF_OTHER_SCRIPTS) for drawn, all_ in table.items() for each in all_
}
_NO_ASCII_LETTERS = re.compile(r"[\x00-@\[-`{-\x7f]+")
_PUNCTUATION_OF_NAMES = frozenset(
    "\u00b7\u058a\u05be\u05f3\u05f4\u055a\u0f0b\u2010\u2013\u2014\u2018\u2019\u201b\u2032\u2035\u3007\u30a0\u30fb"
)
# Blank hieroglyphs: Unicode counts them as letters.
_BLANKS = re.compile("[\U00013441-\U00013446]")
MARKS_OF_ALL_SCRIPTS = frozenset(
    "\u0300\u0301\u0302\u0303\u0304\u0306\u0307\u0308\u0309\u030a\u030b\u030c\u030f\u0310\u0311\u0313\u0314\u031b"
    "\u0323\u0324\u0325\u0326\u0327\u0328\u032d\u032e\u0330\u0331\u0339\u0342\u0345"
)
"""The marks that Unicode 15.0 recommends in identifiers (IdentifierStatus.txt), except strokes: on a letter that has a
stroke already, another one is not seen.
"""
_REFUSED_CATEGORIES = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


class ActorData(TypedDict):
    """An actor as JSON."""

    type: ActorType
    id: str


@dataclass(frozen=True, slots=True)
class Actor:
    """A human or a system, by id.

        >>> Actor("human", "alice")["id"]
        'alice'

    `type` is "human" or "system". `id` has 1 to 256 characters; the docstring of `nexus_control.values.actors` gives
    its rules. Raises INVALID_ARGUMENT for another type or id.
    """

    type: ActorType
    id: str

    def __post_init__(self) -> None:
        if self.type not in ACTOR_TYPES:
            raise invalid_argument("actor.type", "must be human or system")
        if problem := id_problem(self.id):
            raise invalid_argument("actor.id", problem)
        if type(self.type) is not str or type(self.id) is not str:
            # A subclass of str, such as an enumeration's member, would stay in every answer.
            object.__setattr__(self, "type", str.__str__(self.type))
            object.__setattr__(self, "id", str.__str__(self.id))

    @staticmethod
    @lru_cache(maxsize=4096)  # a history has many events of few people
    def shared(type: ActorType, id: str) -> "Actor":
        """The actor, the same object each time."""
        return Actor(type, id)

    def __getitem__(self, key: str) -> str:
        """`actor["type"]` and `actor["id"]`, as consumers of events read them."""
        if key == "type":
            return self.type
        if key == "id":
            return self.id
        raise KeyError(key)

    def __str__(self) -> str:
        return f"{self.type}:{self.id}"

    @property
    def key(self) -> str:
        """The case-folded id. Approvers with the same one are one person."""
        return fold_id(self.id)

    def to_dict(self) -> ActorData:
        """The actor as JSON.

        >>> Actor("human", "alice").to_dict()
        {'type': 'human', 'id': 'alice'}
        """
        return {"type": self.type, "id": self.id}

    @classmethod
    def of(cls, value: "Actor | Mapping[str, object]") -> "Actor":
        """An actor, also from its JSON.

            >>> Actor.of({"type": "system", "id": "ci"})
            Actor(type='system', id='ci')

        Takes an Actor as it is, or a mapping with exactly these two keys. Raises INVALID_ARGUMENT for anything else.
        """
        if isinstance(value, Actor):
            return value
        if not isinstance(cast("object", value), Mapping) or set(value) != {"type", "id"}:
            raise invalid_argument("actor", 'must be an Actor or {"type": ..., "id": ...}')
        return cls(type=cast("ActorType", value["type"]), id=cast("str", value["id"]))


@lru_cache(maxsize=4096)  # every event of a chain or a bundle names one, and there are few
def actor_text(actor_type: str, actor_id: str) -> str:
    """The canonical JSON of an actor."""
    return f'{{"id":{encode_basestring(actor_id)},"type":{encode_basestring(actor_type)}}}'


@lru_cache(maxsize=4096)  # every approval of a decision is compared at every event
def fold_id(actor_id: str) -> str:
    """The case-folded id under which approvers are compared."""
    return unicodedata.normalize("NFKC", actor_id.casefold())


def id_problem(actor_id: object) -> str | None:
    """Why `actor_id` is not an id, or None when it is one."""
    if not isinstance(actor_id, str):
        return "must be text"
    if not actor_id or actor_id.isspace():
        return "must not be empty"
    if len(actor_id) > MAX_ID_LENGTH:
        return f"must be at most {MAX_ID_LENGTH} characters"
    if actor_id.isascii() and actor_id.isprintable():
        return None if actor_id.strip() == actor_id else "must not begin or end with a space"
    if any(map(is_hidden, actor_id)):
        return "must not hold control or invisible characters"
    if not unicodedata.is_normalized("NFKC", actor_id):
        return "must be in Unicode normalisation form NFKC"
    return None if actor_id.strip() == actor_id else "must not begin or end with a space"


def is_hidden(character: str) -> bool:
    """Whether a character is drawn as nothing, or controls how others are drawn."""
    return unicodedata.category(character) in _REFUSED_CATEGORIES or _INVISIBLE.match(character) is not None


def is_plain(text: str) -> bool:
    """Whether the text is printable and nothing in it is hidden. Its only blank is then the space of ASCII."""
    return text.isprintable() and (text.isascii() or _INVISIBLE.search(text) is None)


def mixes_scripts(actor_id: str) -> bool:
    """Whether one word of `actor_id` mixes Latin letters with letters of a look-alike script.

    A word is letters and digits; marks on its letters do not divide it.
    """
    if actor_id.isascii():
        return False
    unmarked = "".join(c for c in actor_id if not unicodedata.category(c).startswith("M"))
    return any(
        "LATIN" in scripts and scripts & _LOOKALIKE_SCRIPTS
        for scripts in (set(map(_script, word)) for word in re.findall(r"[^\W_]+", unmarked))
    )


def new_id_problem(actor_id: str) -> str | None:
    """Why an id may not be used for the first time here, or None when it may."""
    if "  " in actor_id:
        return "has two spaces in a row"
    if actor_id.isascii():
        return None
    if mixes_scripts(actor_id):
        return "mixes Latin with look-alike letters of another script in one word"
    return _drawn_like_ascii(actor_id) or _no_part_of_names(actor_id) or _repeated_mark(actor_id)


def typed_problem(actor_id: str) -> str | None:
    """What is wrong with the id of an approver that has a type before it, as `human:alice`: nobody has that id."""
    typed = _TYPED.fullmatch(actor_id)
    return f"must be the id alone: {typed[1]}" if typed else None


_TYPED = re.compile(r"(?:human|system):(.+)", re.DOTALL)


def _drawn_like_ascii(actor_id: str) -> str | None:
    for word in _NO_ASCII_LETTERS.split(actor_id):
        if word.isascii() or not any(map(str.isascii, word)):
            continue
        for character in word:
            if drawn := _DRAWN_LIKE.get(character):
                return f"has {_named(character)}, which looks like {drawn}, in a word with letters of ASCII"
    return None


def _no_part_of_names(actor_id: str) -> str | None:
    letter = ""
    for character in actor_id:
        category = unicodedata.category(character)
        if category.startswith("M"):
            if not letter or not (character in MARKS_OF_ALL_SCRIPTS or _script(character) == _script(letter)):
                return f"has {_named(character)}, which is not a mark of the letter before it"
            continue
        letter = character if category.startswith("L") else ""
        if character.isascii() or character in _PUNCTUATION_OF_NAMES:
            continue
        if (not letter and category != "Nd") or _BLANKS.match(character):
            return f"has {_named(character)}, which is not a letter, digit or punctuation of names"
    return None


def _repeated_mark(actor_id: str) -> str | None:
    marks: set[str] = set()
    for character in unicodedata.normalize("NFD", actor_id):
        if not unicodedata.category(character).startswith("M"):
            marks.clear()
        elif character in marks:
            return f"has {_named(character)} twice on one letter"
        marks.add(character)
    return None


def require_new_actor(actor: Actor) -> Actor:
    """The same actor. Raises INVALID_ARGUMENT where its id may not be used for the first time here."""
    if problem := new_id_problem(actor.id):
        raise invalid_argument("actor.id", problem)
    return actor


def _named(character: str) -> str:
    return f"U+{ord(character):04X} ({unicodedata.name(character, 'without a name')})"


def _script(letter: str) -> str:
    return unicodedata.name(letter, "?").partition(" ")[0]
