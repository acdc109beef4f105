"""Who acted: an immutable type and id.

An id is 1 to 256 characters, NFKC-normal, without control or invisible characters, without space at either end.
Two approvers are the same person when their ids are equal after case folding, whatever their types
(`human:bob` and `system:BOB` are one approver). An id that is *new* here may not mix Latin with a look-alike script
in one word, nor hold, in a word with ASCII letters, a character that is drawn like ASCII and that Unicode advises
against in identifiers, or that is of another script (`confusables`). Imported history may hold such ids: verification
remarks on them.
"""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, TypeAlias, cast

from nexus_control.confusables import OF_OTHER_SCRIPTS, RESTRICTED
from nexus_control.errors import invalid_argument

ActorType: TypeAlias = Literal["human", "system"]
ACTOR_TYPES: tuple[ActorType, ...] = ("human", "system")
MAX_ID_LENGTH = 256

_LOOKALIKE_SCRIPTS = {"GREEK", "CYRILLIC", "ARMENIAN", "CHEROKEE"}
# Default_Ignorable_Code_Point (Unicode 15, DerivedCoreProperties) outside the categories refused below, and the
# blank Braille pattern: all of them are drawn as nothing.
_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\uffa0\ufe00-\ufe0f\U000e0000-\U000e0fff]"
)
_DRAWN_LIKE = {
    each: drawn for table in (RESTRICTED, OF_OTHER_SCRIPTS) for drawn, all_ in table.items() for each in all_
}
_NO_ASCII_LETTERS = re.compile(r"[\x00-@\[-`{-\x7f]+")
_REFUSED_CATEGORIES = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """A human or a system, by id. Raises INVALID_ARGUMENT for an id outside the rule above."""

    type: ActorType
    id: str

    def __post_init__(self) -> None:
        if self.type not in ACTOR_TYPES:
            raise invalid_argument("actor.type", "must be human or system")
        if problem := id_problem(self.id):
            raise invalid_argument("actor.id", problem)

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
        """What makes this approver one person: the case-folded id."""
        return fold_id(self.id)

    def to_dict(self) -> dict[str, str]:
        return {"type": self.type, "id": self.id}

    @classmethod
    def of(cls, value: "Actor | Mapping[str, object]") -> "Actor":
        """An actor from itself or from the plain mapping `{"type": ..., "id": ...}`."""
        if isinstance(value, Actor):
            return value
        if not isinstance(cast("object", value), Mapping) or set(value) != {"type", "id"}:
            raise invalid_argument("actor", 'must be an Actor or {"type": ..., "id": ...}')
        return cls(type=cast("ActorType", value["type"]), id=cast("str", value["id"]))


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


def mixes_scripts(actor_id: str) -> bool:
    """Whether one word of `actor_id` mixes Latin letters with those of a look-alike script.

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
    if actor_id.isascii():
        return None
    if mixes_scripts(actor_id):
        return "mixes Latin with look-alike letters of another script in one word"
    for word in _NO_ASCII_LETTERS.split(actor_id):
        if word.isascii() or not any(map(str.isascii, word)):
            continue
        for character in word:
            if drawn := _DRAWN_LIKE.get(character):
                name = f"U+{ord(character):04X} ({unicodedata.name(character, 'without a name')})"
                return f"has {name}, which looks like {drawn}, in a word with letters of ASCII"
    return None


def require_new_actor(actor: Actor) -> Actor:
    """`actor`, if its id may be used for the first time here. Raises INVALID_ARGUMENT."""
    if problem := new_id_problem(actor.id):
        raise invalid_argument("actor.id", problem)
    return actor


def _script(letter: str) -> str:
    return unicodedata.name(letter, "?").partition(" ")[0]
