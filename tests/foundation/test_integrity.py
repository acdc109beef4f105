import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexus_control.canonical_json import canonical_json
from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.integrity import bare, is_bare, is_prefixed, json_digest, prefixed, same_digest, sha256_hex
from tests.support.json_values import TEXT, json_values

EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_the_digest_of_nothing_is_the_published_one() -> None:
    assert sha256_hex("") == sha256_hex(b"") == EMPTY


@given(TEXT)
def test_text_is_hashed_as_its_utf_8_bytes(text: str) -> None:
    assert sha256_hex(text) == sha256_hex(text.encode()) == hashlib.sha256(text.encode()).hexdigest()


@given(json_values())
def test_the_digest_of_json_is_that_of_its_canonical_text(value: object) -> None:
    assert json_digest(value) == sha256_hex(canonical_json(value))


def test_the_digest_of_json_does_not_depend_on_the_order_of_keys() -> None:
    assert json_digest({"a": 1, "b": 2}) == json_digest({"b": 2, "a": 1})
    assert json_digest([1, 2]) != json_digest([2, 1])


@pytest.mark.parametrize("value", ["\ud800", {"\udc00": 1}, [float("nan")]], ids=["text", "key", "nan"])
def test_what_has_no_canonical_bytes_has_no_digest(value: object) -> None:
    with pytest.raises(NexusControlError) as refusal:
        json_digest(value)
    assert refusal.value.code is ErrorCode.JSON_INVALID


@given(st.binary())
def test_the_prefix_goes_on_and_comes_off(data: bytes) -> None:
    digest = sha256_hex(data)
    assert is_bare(digest)
    assert not is_prefixed(digest)
    assert is_prefixed(prefixed(digest))
    assert not is_bare(prefixed(digest))
    assert bare(prefixed(digest)) == digest


@pytest.mark.parametrize(
    "digest",
    [
        "",
        "sha256:",
        EMPTY,
        "sha256:" + EMPTY.upper(),
        "SHA256:" + EMPTY,
        "sha512:" + EMPTY,
        "sha256:" + EMPTY[:-1],
        "sha256:" + EMPTY + "0",
        "sha256:" + EMPTY + "\n",
        " sha256:" + EMPTY,
        "sha256:sha256:" + EMPTY,
        "sha256:" + EMPTY[:-1] + "\uff11",
        "sha256:" + EMPTY[:-1] + "g",
    ],
)
def test_any_other_spelling_of_a_digest_is_refused(digest: str) -> None:
    assert not is_prefixed(digest)
    with pytest.raises(NexusControlError) as refusal:
        bare(digest)
    assert refusal.value.code is ErrorCode.INTEGRITY_MISMATCH


@pytest.mark.parametrize("value", [None, 0, EMPTY.encode(), [EMPTY]], ids=str)
def test_only_text_is_a_digest(value: object) -> None:
    assert not is_bare(value)
    assert not is_prefixed(value)


def test_digests_are_the_same_only_when_every_character_is() -> None:
    assert same_digest(EMPTY, EMPTY)
    assert not same_digest(EMPTY, EMPTY.upper())
    assert not same_digest(EMPTY, prefixed(EMPTY))
    assert not same_digest(EMPTY, "\ud800")
