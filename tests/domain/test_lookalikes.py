"""Ids that people take for one another, and the tables that say so."""

import unicodedata

import pytest

from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.values import confusables
from nexus_control.values.actors import (
    MARKS_OF_ALL_SCRIPTS,
    Actor,
    fold_id,
    id_problem,
    new_id_problem,
    require_new_actor,
)
from nexus_control.values.lookalikes import skeleton
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
    "a figure dash in a name": ("anna\u2012maria", "U+2012"),
    "a slash that is a fraction": ("ci\u2044deploy@example.com", "U+2044"),
    "a Hebrew letter": ("b\u05e1b", "U+05E1"),
    "a Devanagari digit": ("b\u0966b", "U+0966"),
    "a Coptic letter": ("b\u2c9fb", "U+2C9F"),
    "a blank of Ogham": ("bob\u1680smith", "U+1680"),
    "a stroke through a letter": ("bot\u0335", "U+0335"),
    "a mark on no letter": ("bob\u00b7\u0301", "U+0301"),
    "a mark on a digit": ("bob1\u0301", "U+0301"),
    "a mark of Latin letters twice": ("\u00ed\u0301da", "U+0301"),
    "a mark of Hebrew on a Greek letter": ("\u03b1\u05b0", "U+05B0"),
    "a symbol": ("bob\u2603", "U+2603"),
    "a symbol alone": ("\u25cb", "U+25CB"),
    "a fraction of Bengal": ("\u09f4", "U+09F4"),
    "a quotation mark": ("\u00abivan\u00bb", "U+00AB"),
}
NAMES = {
    "Arabic": ["\u0645\u062d\u0645\u0651\u062f \u0639\u0644\u064a", "\u0639\u0644\u06cc@example.com"],
    "Armenian": [
        "\u0531\u0580\u0561\u0574 \u053d\u0561\u0579\u0561\u057f\u0580\u0575\u0561\u0576",
        "\u0561\u0576\u0576\u0561\u058a\u0574\u0561\u0580\u056b",
    ],
    "Azerbaijani": ["\u018fli Qul\u0131yev", "\u0130lham"],
    "Bengali": [
        "\u09b0\u09ac\u09c0\u09a8\u09cd\u09a6\u09cd\u09b0\u09a8\u09be\u09a5 \u09a0\u09be\u0995\u09c1\u09b0"
    ],
    "Burmese": [
        "\u1005\u1014\u1039\u1012\u102c\u1000\u103b\u1031\u102c\u103a",
        "\u1021\u1031\u102c\u1004\u103a\u1006\u1014\u103a\u1038",
    ],
    "Catalan": ["Gal\u00b7la", "N\u00faria"],
    "Cherokee": ["\u13e3\u13b3\u13a9@example.com"],
    "Chinese": ["\u674e\u96f7alice", "\u7ea6\u7ff0\u00b7\u53f2\u5bc6\u65af", "\u738b\u4e00", "\u4e8c\u3007"],
    "Czech": ["\u0158eho\u0159 Dvo\u0159\u00e1k", "\u010e\u00e1\u0161a"],
    "Danish": ["S\u00f8ren", "K\u00e6r"],
    "English": ["O\u2019Brien", "Jean\u2013Luc", "CI \u2013 deploy", "CI \u2014 deploy", "d'Arcy"],
    "French": ["Zo\u00eb L\u0153uillet", "Anne\u2010Marie", "d\u2019Arcy"],
    "German": ["Stra\u00dfe", "J\u00fcrgen M\u00fcller-L\u00fcdenscheidt"],
    "Greek": [
        "\u0395\u03bb\u03ad\u03bd\u03b7 \u03a0\u03b1\u03c0\u03b1\u03b4\u03bf\u03c0\u03bf\u03cd\u03bb\u03bf\u03c5"
    ],
    "Guarani": ["G\u0303uahu"],
    "Hausa": ["\u0198ano"],
    "Hawaiian": ["Ka\u02bbahumanu"],
    "Hebrew": [
        "\u05e9\u05dc\u05d5\u05dd",
        "\u05d3\u05d5\u05d3 \u05d1\u05df\u05be\u05d2\u05d5\u05e8\u05d9\u05d5\u05df",
        "\u05d2\u05f3\u05d5\u05df",
        "\u05e9\u05b8\u05c1\u05dc\u05d5\u05b9\u05dd",
    ],
    "Hindi": ["\u0939\u093f\u0928\u094d\u0926\u0940 \u0938\u093f\u0902\u0939"],
    "Hungarian": ["Erd\u0151s P\u00e1l"],
    "Icelandic": ["Gu\u00f0r\u00fan \u00de\u00f3rsd\u00f3ttir"],
    "Irish": ["Si\u00f3bh\u00e1n \u00d3 Briain"],
    "Japanese": [
        "ABC\u30ce\u30fc\u30c8",
        "\u30b8\u30e7\u30f3\u30fb\u30b9\u30df\u30b9",
        "\u30b8\u30e3\u30f3\u30a0\u30dd\u30fc\u30eb",
        "\u4f50\u3005\u6728",
    ],
    "Khmer": ["\u179f\u17bb\u1781\u17d2\u1781\u17b6"],
    "Korean": ["\uae40\ucca0\uc218"],
    "Lao": ["\u0eaa\u0ebb\u0ea1\u0e9e\u0ead\u0e99"],
    "Lithuanian": ["\u017demait\u0117", "\u0105\u0301\u017euolas"],
    "Navajo": ["\u0141\u01eb\u0301\u00f3'"],
    "Persian": ["\u067e\u0631\u06cc\u0633\u0627 \u06f1\u06f2"],
    "Polish": ["\u0141ukasz W\u0105s"],
    "Portuguese": ["Jo\u00e3o da Concei\u00e7\u00e3o"],
    "Romanian": ["\u0218tefan", "\u0162urcanu"],
    "Russian": [
        "\u0438\u0432\u0430\u043d",
        "\u0424\u0451\u0434\u043e\u0440 \u0418\u0432\u0430\u0301\u043d\u043e\u0432",
    ],
    "Sinhala": ["\u0dc3\u0dd2\u0dbb\u0dd2\u0dc3\u0dda\u0db1"],
    "Tamil": ["\u0bae\u0bc1\u0bb0\u0bc1\u0b95\u0ba9\u0bcd"],
    "Thai": ["\u0e1c\u0e39\u0e49\u0e43\u0e0a\u0e49"],
    "Tibetan": ["\u0f56\u0f66\u0f9f\u0f53\u0f0b\u0f60\u0f5b\u0f72\u0f53"],
    "Turkish": ["Y\u0131lmaz", "\u0130pek", "i\u0307pek", "\u00c7a\u011fr\u0131"],
    "Ukrainian": [
        "\u0411\u0435\u0440\u0435\u0437\u043e\u0432\u0441\u044c\u043a\u0438\u0439 \u0407\u0432",
        "\u0421\u043e\u043b\u043e\u0432\u2019\u044f\u043d",
    ],
    "Uzbek": ["Bo\u2018riyev", "O\u02bbktam"],
    "Vietnamese": ["Nguy\u1ec5n Th\u1ecb H\u01b0\u01a1ng"],
    "Welsh": ["Si\u00f4n D\u0175r"],
    "Yoruba": ["Ad\u00e9b\u1ecd\u0300w\u00e1l\u00e9 \u1eb8\u0301k\u1ecd"],
    "machines": [
        "bill@x.com",
        "uid-1000",
        "system:ci/deploy#4",
        "host_1",
        "team:a+b@x",
        "CORP\\bob",
        "{a|b}~`'^",
    ],
}
ALIKE = [
    ("digna", "d\u0131gna"),
    ("an-na", "an\u2010na"),
    ("o'brien", "o\u2019brien"),
    ("o\u02bbbrien", "O\u2018Brien"),
    ("alice", "\u0251lice"),
    ("bob", "\u0432ob"),
    ("\u0410\u041d\u041d\u0410", "ahha"),
    ("kaer", "k\u00e6r"),
    ("Jean-Luc", "Jean\u2013Luc"),
    ("ci - deploy", "CI \u2014 deploy"),
    ("gal.la", "Gal\u00b7la"),
    ("\u0130pek", "ipek"),
    ("\u0456\u0307\u0432", "\u0456\u0432"),
    ("\u1ecb\u0307na", "\u1ecbna"),
    ("\u0645\u062d\u0640\u0645\u062f", "\u0645\u062d\u0645\u062f"),
]
APART = [
    ("user1", "userl"),
    ("team0", "teamo"),
    ("jose", "jos\u00e9"),
    ("soren", "s\u00f8ren"),
    ("\u05e9\u05d9\u05e8\u05d5", "\u05e9\u05d9\u05e8\u05df"),
    ("martin", "mart1n"),
    ("dara", "clara"),
    ("\u0117va", "eva"),
    ("\u738b\u4e00", "\u738b\u4e8c"),
]


@pytest.mark.parametrize(("actor_id", "code_point"), REFUSED.values(), ids=REFUSED)
def test_a_new_id_holds_nothing_that_has_no_place_in_names(actor_id: str, code_point: str) -> None:
    actor = Actor(type="human", id=actor_id)
    with pytest.raises(NexusControlError, match=code_point.replace("+", r"\+")) as refused:
        require_new_actor(actor)
    assert refused.value.code is ErrorCode.INVALID_ARGUMENT
    assert str(refused.value).isascii()


def test_a_new_id_does_not_hold_two_spaces_in_a_row() -> None:
    assert id_problem("bob  smith") is None
    assert new_id_problem("bob  smith") == "has two spaces in a row"
    assert new_id_problem("bob smith jr") is None


@pytest.mark.parametrize(
    "name",
    [name for names in NAMES.values() for name in names] + [f"a{chr(each)}b" for each in range(32, 127)],
    ids=ascii,
)
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
    marks = {chr(number) for number in range(0x300, 0x370) if icu.is_recommended(chr(number))}
    assert marks - {"\u0335", "\u0338"} == MARKS_OF_ALL_SCRIPTS
