"""Ids that people take for one another, and the tables that say so."""

import unicodedata

import pytest

from nexus_control import confusables
from nexus_control.actors import Actor, fold_id, id_problem, new_id_problem, require_new_actor
from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.lookalikes import skeleton
from tests.support.confusables import Icu, tables

TABLES = {
    "RESTRICTED": confusables.RESTRICTED,
    "IN_USE": confusables.IN_USE,
    "OF_OTHER_SCRIPTS": confusables.OF_OTHER_SCRIPTS,
}
REFUSED = {
    "a phonetic a": ("\u0251lice", "U+0251"),
    "a phonetic g": ("di\u0261na", "U+0261"),
    "a click for a bar": ("a\u01c0b", "U+01C0"),
    "a dash in a name": ("anna\u2013maria", "U+2013"),
    "a slash that is a fraction": ("ci\u2044deploy@example.com", "U+2044"),
    "a Hebrew letter": ("b\u05e1b", "U+05E1"),
    "a Devanagari digit": ("b\u0966b", "U+0966"),
    "a Coptic letter": ("b\u2c9fb", "U+2C9F"),
    "a blank of Ogham": ("bob\u1680smith", "U+1680"),
}
NAMES = [
    "Y\u0131lmaz",
    "O\u2019Brien",
    "Bo\u2018riyev",
    "Ka\u02bbahumanu",
    "Anne\u2010Marie",
    "S\u00f8ren",
    "\u0141ukasz",
    "Stra\u00dfe",
    "Nguy\u1ec5n Th\u1ecb H\u01b0\u01a1ng",
    "K\u00e6r",
    "\u0198ano",
    "CI \u2013 deploy",
    "\u05e9\u05dc\u05d5\u05dd",
    "\u13e3\u13b3\u13a9@example.com",
    "\u674e\u96f7alice",
    "ABC\u30ce\u30fc\u30c8",
    "\u0639\u0644\u06cc@example.com",
    "\u0438\u0432\u0430\u043d",
]
ALIKE = [
    ("digna", "d\u0131gna"),
    ("an-na", "an\u2010na"),
    ("o'brien", "o\u2019brien"),
    ("o\u02bbbrien", "O\u2018Brien"),
    ("alice", "\u0251lice"),
    ("bob", "\u0432ob"),
    ("\u0410\u041d\u041d\u0410", "ahha"),
    ("kaer", "k\u00e6r"),
]
APART = [
    ("user1", "userl"),
    ("team0", "teamo"),
    ("jose", "jos\u00e9"),
    ("soren", "s\u00f8ren"),
    ("\u05e9\u05d9\u05e8\u05d5", "\u05e9\u05d9\u05e8\u05df"),
    ("martin", "mart1n"),
]


@pytest.mark.parametrize(("actor_id", "code_point"), REFUSED.values(), ids=REFUSED)
def test_a_new_id_holds_nothing_that_is_drawn_like_ascii_and_has_no_place_in_it(
    actor_id: str, code_point: str
) -> None:
    actor = Actor(type="human", id=actor_id)
    with pytest.raises(NexusControlError, match=code_point.replace("+", r"\+")) as refused:
        require_new_actor(actor)
    assert refused.value.code is ErrorCode.INVALID_ARGUMENT
    assert str(refused.value).isascii()


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_names_as_people_write_them_are_new_ids(name: str) -> None:
    assert (id_problem(name), new_id_problem(name)) == (None, None)


@pytest.mark.parametrize(("one", "other"), ALIKE, ids=ascii)
def test_ids_that_are_drawn_alike_have_one_skeleton(one: str, other: str) -> None:
    assert fold_id(one) != fold_id(other)
    assert skeleton(one) == skeleton(other)


@pytest.mark.parametrize(("one", "other"), APART, ids=ascii)
def test_ids_by_which_honest_people_differ_have_two_skeletons(one: str, other: str) -> None:
    assert skeleton(one) != skeleton(other)


@pytest.mark.parametrize("name", TABLES)
def test_the_tables_hold_what_an_id_may_hold_once_and_draw_it_in_ascii(name: str) -> None:
    others = "".join("".join(table.values()) for other, table in TABLES.items() if other != name)
    for drawn, characters in TABLES[name].items():
        assert drawn.isascii()
        for each in characters:
            assert not each.isascii()
            assert each not in others
            assert unicodedata.is_normalized("NFKC", each)


def test_the_tables_are_those_of_unicode() -> None:
    try:
        icu = Icu()
    except OSError:
        pytest.skip("ICU is not installed")
    if icu.unicode_version != "15.0":
        pytest.skip(f"this ICU has the data of Unicode {icu.unicode_version}")
    assert tables(icu) == TABLES
