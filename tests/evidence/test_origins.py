"""Origins of web pages and RP IDs: what is one, and which page can use which passkey."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexus_control import DecisionStore, ErrorCode, NexusControlError, NexusControlTools
from nexus_control.evidence.formats.origins import fits_rp_id, host_problem, origin_problem, parse_origins

GOOD = (
    "https://approve.example.org",
    "https://approve.example.org:8443",
    "https://xn--bcher-kva.example",
    "https://inbox",
    "https://1and1.example",
    "https://localhost:8737",
    "http://localhost",
    "http://localhost:8737",
    "http://approve.localhost:1",
)
BAD = {
    "": "does not begin with https://",
    "approve.example.org": "does not begin with https://",
    "ftp://approve.example.org": "does not begin with https://",
    "android:apk-key-hash:x": "does not begin with https://",
    "HTTPS://approve.example.org": "capital letters",
    "https://Approve.example.org": "capital letters",
    "https://approve.example.org/": "a slash or a path",
    "https://approve.example.org/inbox": "a slash or a path",
    "https://approve.example.org?x": "a slash or a path",
    "https://approve.example.org#x": "a slash or a path",
    "https:\\/\\/approve.example.org": "does not begin with https://",
    "https://ada@approve.example.org": "a user in it",
    "https://approve.example.org:": "is not scheme://host",
    "https://approve.example.org:0": "not a number from 1 to 65535",
    "https://approve.example.org:08443": "not a number from 1 to 65535",
    "https://approve.example.org:65536": "not a number from 1 to 65535",
    "https://approve.example.org:9999999999999": "not a number from 1 to 65535",
    "https://approve.example.org:443": "leaves it out",
    "http://localhost:80": "leaves it out",
    "https://approve.example.org:8443x": "is not scheme://host",
    "http://approve.example.org": "only on localhost",
    "http://localhost.example.org": "only on localhost",
    "http://notlocalhost": "only on localhost",
    "http://127.0.0.1:8737": "an IP address",
    "https://127.1": "an IP address",
    "https://0x7f000001": "an IP address",
    "https://[::1]:8737": "an IP address",
    "https://10.0.0.1": "an IP address",
    "https://example.1": "an IP address",
    "https://approve.example.org.": "not a name",
    "https://.example.org": "not a name",
    "https://approve..example.org": "not a name",
    "https://-approve.example.org": "not a name",
    "https://b\u00fccher.example": "not a name",
    "https://approve example.org": "not a name",
    'https://approve.example.org"': "not a name",
    "https://*.example.org": "not a name",
    " https://approve.example.org": "does not begin with https://",
    "https://approve.example.org\n": "not a name",
    "https://" + "a" * 64 + ".example": "not a name",
    "https://" + "a." * 126 + "example": "more than 253 characters",
    "https://" + "a." * 500 + "example": "more than 270 characters",
}


def test_origins_are_read_once_each_and_in_order() -> None:
    assert parse_origins([*GOOD, GOOD[0]]).origins == GOOD
    assert parse_origins([]).origins == ()


@pytest.mark.parametrize("text", BAD)
def test_what_is_no_origin_is_refused_and_told_why(text: str) -> None:
    with pytest.raises(NexusControlError) as caught:
        parse_origins([GOOD[0], text], "--origin")
    assert caught.value.code is ErrorCode.INVALID_ARGUMENT
    assert caught.value.message.startswith("--origin holds ")
    assert BAD[text] in caught.value.message


@pytest.mark.parametrize("texts", [GOOD[0], [GOOD[0]] * 101, [1], [None]], ids=["a text", "101", "1", "None"])
def test_what_is_no_list_of_origins_is_refused_at_every_door(texts: object) -> None:
    given: Any = texts
    for door in (DecisionStore, NexusControlTools):
        with pytest.raises(NexusControlError, match="passkey_origins") as caught:
            door(passkey_origins=given)
        assert caught.value.code is ErrorCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    ("origin", "rp_id", "fits"),
    [
        ("https://approve.example.org", "approve.example.org", True),
        ("https://approve.example.org:8443", "approve.example.org", True),
        ("https://approve.example.org", "example.org", True),
        ("https://approve.example.org", "org", False),
        ("https://example.org", "approve.example.org", False),
        ("https://evilexample.org", "example.org", False),
        ("https://example.org.evil", "example.org", False),
        ("http://localhost:8737", "localhost", True),
        ("http://foo.localhost:8737", "localhost", False),
        ("http://foo.localhost:8737", "foo.localhost", True),
        ("https://inbox", "inbox", True),
        ("no origin", "no origin", False),
    ],
)
def test_a_page_can_use_the_passkeys_of_its_host_and_of_domains_above(
    origin: str, rp_id: str, fits: bool
) -> None:
    assert fits_rp_id(origin, rp_id) is fits
    if origin_problem(origin) is None:
        assert (parse_origins([origin]).for_rp_id(rp_id).origins == (origin,)) is fits


@given(st.text(alphabet="htps:/localexmp.-0123456789[]@?#\\\"' ", max_size=40))
def test_every_text_has_a_problem_or_is_an_origin(text: str) -> None:
    if origin_problem(text) is None:
        assert parse_origins([text]).allow(text)
        assert '"' not in text
        assert "\\" not in text
    assert host_problem(text) is None or host_problem(text) != ""
