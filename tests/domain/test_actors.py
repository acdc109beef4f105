import pickle
from dataclasses import FrozenInstanceError
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.values.actors import (
    MAX_ID_LENGTH,
    Actor,
    fold_id,
    id_problem,
    mixes_scripts,
    require_new_actor,
)

HIDDEN = "must not hold control or invisible characters"
SPACED = "must not begin or end with a space"
EMPTY = "must not be empty"
NFKC = "must be in Unicode normalisation form NFKC"

GOOD_IDS = [
    "a",
    "alice@example.com",
    "Alice Liddell",
    "ci/pipeline#42",
    "café",
    "иван",
    "Ελένη",
    "李雷",
    "김철수",
    "ผู้ใช้",
    "🙂",
    "%",
    "a" * MAX_ID_LENGTH,
]
BAD_IDS = [
    ("empty", "", EMPTY),
    ("blank", "   ", EMPTY),
    ("a space before", " alice", SPACED),
    ("a space behind", "alice ", SPACED),
    ("an Ogham space behind", "é\u1680", SPACED),
    ("a no-break space", "alice\u00a0b", NFKC),
    ("an ideographic space", "alice\u3000b", NFKC),
    ("decomposed", "cafe\u0301", NFKC),
    ("full width", "\uff41\uff4c\uff49\uff43\uff45", NFKC),
    ("a ligature", "ﬁona", NFKC),
    ("a Kelvin sign", "bo\u212a", NFKC),
    ("a newline", "alice\n", HIDDEN),
    ("NUL", "ali\x00ce", HIDDEN),
    ("a tab", "ali\tce", HIDDEN),
    ("DEL", "ali\x7fce", HIDDEN),
    ("C1", "ali\x85ce", HIDDEN),
    ("a line separator", "ali\u2028ce", HIDDEN),
    ("a bidi override", "ali\u202ece", HIDDEN),
    ("a bidi isolate", "ali\u2066ce", HIDDEN),
    ("a right-to-left mark", "alice\u200f", HIDDEN),
    ("a zero width space", "ali\u200bce", HIDDEN),
    ("a zero width joiner", "ali\u200dce", HIDDEN),
    ("a word joiner", "ali\u2060ce", HIDDEN),
    ("a byte order mark", "\ufeffalice", HIDDEN),
    ("a soft hyphen", "ali\u00adce", HIDDEN),
    ("a grapheme joiner", "ali\u034fce", HIDDEN),
    ("a Hangul filler", "\u3164", HIDDEN),
    ("a Hangul choseong filler", "ali\u115fce", HIDDEN),
    ("a half width Hangul filler", "ali\uffa0ce", HIDDEN),
    ("a Khmer inherent vowel", "ali\u17b4ce", HIDDEN),
    ("a Mongolian selector", "ali\u180bce", HIDDEN),
    ("a blank Braille pattern", "ali\u2800ce", HIDDEN),
    ("a variation selector", "alice\ufe0f", HIDDEN),
    ("a tag character", "alice\U000e0041", HIDDEN),
    ("private use", "ali\ue000ce", HIDDEN),
    ("unassigned", "ali\U000e1000ce", HIDDEN),
    ("a lone surrogate", "ali\ud800ce", HIDDEN),
    ("too long", "a" * (MAX_ID_LENGTH + 1), f"must be at most {MAX_ID_LENGTH} characters"),
    ("a number", 5, "must be text"),
    ("nothing", None, "must be text"),
    ("bytes", b"alice", "must be text"),
]


@pytest.mark.parametrize("actor_id", GOOD_IDS)
def test_an_id_of_visible_characters_is_accepted(actor_id: str) -> None:
    assert id_problem(actor_id) is None
    assert Actor(type="human", id=actor_id).id == actor_id


@pytest.mark.parametrize(
    ("actor_id", "problem"), [row[1:] for row in BAD_IDS], ids=[row[0] for row in BAD_IDS]
)
def test_an_id_that_people_could_misread_is_refused(actor_id: Any, problem: str) -> None:
    assert id_problem(actor_id) == problem
    with pytest.raises(NexusControlError) as refused:
        Actor(type="human", id=actor_id)
    assert refused.value.code == ErrorCode.INVALID_ARGUMENT
    assert refused.value.details == {"fields": [{"field": "actor.id", "problem": problem}]}


@pytest.mark.parametrize("actor_type", ["", "Human", "robot", None, True, ["human"]])
def test_an_actor_is_human_or_system(actor_type: Any) -> None:
    with pytest.raises(NexusControlError) as refused:
        Actor(type=actor_type, id="alice")
    assert refused.value.code == ErrorCode.INVALID_ARGUMENT


def test_an_actor_is_immutable_hashable_and_read_like_a_mapping() -> None:
    actor = Actor(type="human", id="alice")
    assert (actor["type"], actor["id"]) == ("human", "alice")
    assert {actor: 1}[Actor(type="human", id="alice")] == 1
    assert str(actor) == "human:alice"
    assert pickle.loads(pickle.dumps(actor)) == actor
    with pytest.raises(KeyError):
        actor["name"]
    with pytest.raises((FrozenInstanceError, AttributeError)):
        cast("Any", actor).id = "bob"


def test_every_door_takes_the_plain_mapping() -> None:
    actor = Actor(type="system", id="ci")
    assert Actor.of({"type": "system", "id": "ci"}) == actor
    assert Actor.of(actor) is actor
    assert Actor.of(actor.to_dict()) == actor


@pytest.mark.parametrize(
    "value",
    [
        None,
        "human:alice",
        [],
        {},
        {"type": "human"},
        {"id": "alice"},
        {"type": "human", "id": "alice", "name": "Alice"},
        {"type": "human", "id": 5},
        {"type": {}, "id": "alice"},
    ],
)
def test_what_is_not_quite_an_actor_is_refused(value: Any) -> None:
    with pytest.raises(NexusControlError) as refused:
        Actor.of(value)
    assert refused.value.code == ErrorCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    ("one", "other"),
    [("bob", "BOB"), ("straße", "STRASSE"), ("Ελένης", "ΕΛΈΝΗΣ"), ("İstanbul", "i\u0307stanbul")],
)
def test_approvers_are_one_person_when_their_ids_fold_alike(one: str, other: str) -> None:
    assert fold_id(one) == fold_id(other)
    assert Actor(type="human", id=one).key == Actor(type="system", id=one).key


def test_different_people_do_not_fold_alike() -> None:
    assert len({fold_id(each) for each in ("bob", "b0b", "вов", "bob@example.com", "bób")}) == 5


MIXED = [
    "\u0430lice",
    "alic\u0435@example.com",
    "b\u03bfb",
    "H\u0578",
    "x y\u0430",
    "a\u0301\u0440",
    "p4\u0430",
    "p\u0430_y",
    "\u13aalice",
]
NOT_MIXED = ["alice", "café", "иван", "alice иван", "alice_иван", "иван@example.com", "李雷alice", "αβγ-42"]


@pytest.mark.parametrize("actor_id", MIXED)
def test_a_word_of_latin_and_lookalike_letters_is_no_new_id(actor_id: str) -> None:
    assert mixes_scripts(actor_id)
    with pytest.raises(NexusControlError) as refused:
        require_new_actor(Actor(type="human", id=actor_id))
    assert refused.value.code == ErrorCode.INVALID_ARGUMENT


@pytest.mark.parametrize("actor_id", NOT_MIXED)
def test_words_of_one_script_each_are_a_new_id(actor_id: str) -> None:
    assert not mixes_scripts(actor_id)
    actor = Actor(type="human", id=actor_id)
    assert require_new_actor(actor) is actor


@given(st.text(max_size=300))
def test_judging_an_id_never_raises_and_folding_a_good_one_is_stable(actor_id: str) -> None:
    if id_problem(actor_id) is None:
        mixes_scripts(actor_id)
        assert fold_id(fold_id(actor_id)) == fold_id(actor_id)
        actor_id.encode()
