"""What a page may post to enrol: everything but one good enrolment is refused, and no challenge counts twice."""

import base64
import re
import subprocess
from datetime import timedelta
from html import unescape
from typing import Any

import pytest

from nexus_control import ErrorCode, NexusControlError
from nexus_control.web.enrolling import MOST, Challenges
from tests.cli.running import environment
from tests.evidence.ssh import to_sign
from tests.support.clock import FakeClock
from tests.support.passkey import CREATE, Passkey, client_data
from tests.web.house import House, base64url, spelled

NAMESPACE = "nexus-control.enrolment.v1"
Body = dict[str, Any]


def challenge_of(house: House) -> str:
    page = house.get("/enrol").text
    return page.partition('name="challenge" value="')[2].partition('"')[0]


def enrolment(house: House, passkey: Passkey, person: str = "ada@example.com", **options: Any) -> Body:
    """What the script sends. `options` are those of a new passkey; `proof` are those of what it signs then."""
    challenge = challenge_of(house)
    proof: dict[str, Any] = {"origin": house.origin, **options.pop("proof", {})}
    octets = base64.urlsafe_b64decode(challenge + "=")
    given: dict[str, Any] = {"origin": house.origin, **options}
    made = passkey.enrolled(octets, **given)
    signed = passkey.asserted(to_sign(challenge.encode(), NAMESPACE), **proof)
    attestation = {
        "authenticator_data": base64url(made.authenticator_data),
        "client_data": base64url(made.client_data_json),
        "public_key": base64url(passkey.spki),
        "algorithm": -7,
    }
    return {
        "person": person,
        "challenge": challenge,
        "attestation": attestation,
        "assertion": spelled(signed),
    }


def code_of(house: House, body: object) -> str | None:
    answer = house.post("/enrol", body)
    return None if answer.status == 200 else answer.error["code"]


def test_a_good_enrolment_gives_the_line_and_adds_nothing(house: House) -> None:
    before = house.office.signers.read_bytes()
    passkey = Passkey(21)
    answer = house.post("/enrol", enrolment(house, passkey))
    assert answer.status == 200
    assert f'ada@example.com namespaces="nexus-control.approval.v1" {passkey.line}"' in answer.text.replace(
        "\\", ""
    )
    assert house.office.signers.read_bytes() == before


def test_a_challenge_counts_once(house: House) -> None:
    body = enrolment(house, Passkey(21))
    assert code_of(house, body) is None
    assert code_of(house, body) == ErrorCode.PAGE_OUTDATED


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"origin": "http://localhost:1"}, ErrorCode.INVALID_ARGUMENT),
        ({"flags": 0x41}, ErrorCode.INVALID_ARGUMENT),
        ({"flags": 0x44}, ErrorCode.INVALID_ARGUMENT),
        ({"flags": 0x05}, ErrorCode.INVALID_ARGUMENT),
        ({"person": "*"}, ErrorCode.INVALID_ARGUMENT),
        ({"person": "ada,ben"}, ErrorCode.INVALID_ARGUMENT),
        ({"person": ""}, ErrorCode.INVALID_ARGUMENT),
        ({"person": "a\u202eda"}, ErrorCode.INVALID_ARGUMENT),
        ({"proof": {"flags": 0x01}}, ErrorCode.SIGNATURE_INVALID),
        ({"proof": {"origin": "http://localhost:1"}}, ErrorCode.SIGNATURE_INVALID),
        ({"proof": {"content": client_data(b"another challenge")}}, ErrorCode.SIGNATURE_INVALID),
    ],
    ids=str,
)
def test_an_enrolment_with_one_defect_is_refused(house: House, options: Body, code: ErrorCode) -> None:
    assert code_of(house, enrolment(house, Passkey(21), **options)) == code


def test_a_passkey_of_another_site_is_not_enrolled(house: House) -> None:
    assert code_of(house, enrolment(house, Passkey(21, "example.org"))) == ErrorCode.INVALID_ARGUMENT


def test_a_challenge_that_this_inbox_did_not_give_is_refused(house: House) -> None:
    body = enrolment(house, Passkey(21))
    body["challenge"] = base64url(bytes(32))
    assert code_of(house, body) == ErrorCode.PAGE_OUTDATED


def test_a_key_is_enrolled_only_by_who_has_its_private_half(house: House) -> None:
    body, others = enrolment(house, Passkey(21)), enrolment(house, Passkey(22))
    challenge = base64.urlsafe_b64decode(body["challenge"] + "=")
    content = client_data(challenge, house.origin, CREATE)
    forged = others["attestation"] | {"client_data": base64url(content)}
    assert code_of(house, body | {"attestation": forged}) == ErrorCode.SIGNATURE_INVALID


@pytest.mark.parametrize("field", ["person", "challenge", "attestation", "assertion"])
@pytest.mark.parametrize("value", [5, None, [], {"more": 1}], ids=str)
def test_a_field_of_another_type_is_refused(house: House, field: str, value: object) -> None:
    body = enrolment(house, Passkey(21)) | {field: value}
    assert code_of(house, body) == ErrorCode.INVALID_ARGUMENT


def test_a_refused_enrolment_shows_the_form_with_a_new_challenge_and_the_code(house: House) -> None:
    body = enrolment(house, Passkey(21), "*")
    answer = house.post("/enrol", body, accept="text/html")
    assert answer.status == 400
    assert 'data-code="INVALID_ARGUMENT"' in answer.text
    assert 'name="challenge"' in answer.text
    assert body["challenge"] not in answer.text


@pytest.mark.parametrize(
    ("person", "words"),
    [
        ("ada,ben", "Your id must not hold *, ?, a comma"),
        ("human:ada", "Your id must be the id alone: ada"),
        ("", "Your id"),
        ("a\u202eda", "Your id"),
        ("*", "Your id"),
    ],
)
def test_an_id_that_no_line_can_have_is_refused_before_a_passkey_is_made(
    house: House, person: str, words: str
) -> None:
    answer = house.post("/enrol/id", {"person": person}, accept="text/html")
    assert answer.status == 400
    assert words in unescape(answer.text)
    assert "call again" not in answer.text
    assert f' id="person" name="person" value="{person}"' in answer.text
    assert code_of(house, enrolment(house, Passkey(21), person)) == ErrorCode.INVALID_ARGUMENT


@pytest.mark.parametrize("person", ["ada@example.com", "-x", "ada lovelace"])
def test_the_command_on_the_page_adds_the_passkey_whose_line_is_on_it(house: House, person: str) -> None:
    assert house.post("/enrol/id", {"person": person}).status == 204
    for number in (len(person) + 100, len(person) + 120):  # the second is one more key of the same person
        page = house.post("/enrol", enrolment(house, Passkey(number), person), accept="text/html").text
        said = {name: unescape(text) for name, text in re.findall(r'<pre id="(\w+)"[^>]*>(.*?)</pre>', page)}
        (house.office.folder / "passkey.line").write_text(f"{said['line']}\n")
        ran = subprocess.run(
            ["sh", "-c", said["command"]],
            cwd=house.office.folder,
            env=environment(),
            capture_output=True,
            text=True,
        )
        assert ran.returncode == 0, ran.stderr
        assert said["line"] in house.office.signers.read_text().splitlines()


def test_a_challenge_is_forgotten_in_time_and_among_many() -> None:
    clock = FakeClock()
    challenges = Challenges(clock)
    old = challenges.give()
    clock.instant += timedelta(minutes=10)
    assert len(challenges.spend(old)) == 32
    old = challenges.give()
    clock.instant += timedelta(minutes=10, microseconds=1)
    fresh = challenges.give()
    for unknown in (old, "", "AAAA"):
        with pytest.raises(NexusControlError) as refused:
            challenges.spend(unknown)
        assert refused.value.code is ErrorCode.PAGE_OUTDATED
    for _ in range(MOST):
        challenges.give()
    with pytest.raises(NexusControlError):
        challenges.spend(fresh)
