"""Signatures of passkeys, held against the vectors of real browsers and against ssh-keygen."""

import base64
import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexus_control import ErrorCode, NexusControlError, Trust, verify_approval
from nexus_control.evidence.formats.allowed_signers import AllowedSigners, parse_allowed_signers
from nexus_control.evidence.formats.origins import parse_origins
from nexus_control.evidence.formats.passkeys import (
    Assertion,
    Attestation,
    allowed_signers_line,
    challenge_of,
    enrol,
    pack,
    require_signed,
)
from nexus_control.evidence.formats.ssh_keys import parse_ssh_public_key
from nexus_control.evidence.formats.sshsig import parse_ssh_signature
from nexus_control.evidence.statement import ENROLMENT_NAMESPACE
from tests.artifacts.samples import VECTORS, load
from tests.evidence.ssh import (
    NAMESPACE,
    armor,
    blob_of,
    keygen,
    needs_ssh_keygen,
    verified_by_ssh_keygen,
)
from tests.support.passkey import ORIGIN, Passkey, client_data, with_other_half

PASSKEYS = VECTORS / "passkeys"
CASES: dict[str, dict[str, str]] = {each["name"]: each for each in load("passkeys", "cases.json")["cases"]}
WEBAUTHN = load("passkeys", "webauthn.json")
STATEMENT = (PASSKEYS / "statement.json").read_bytes()
SIGNERS = PASSKEYS / "allowed_signers"
AT = datetime(2026, 11, 25, 23, 50, tzinfo=UTC)
TRUST = Trust(allowed_signers=SIGNERS.read_bytes(), passkey_origins=["http://localhost:8790"])
GOOD = (PASSKEYS / "signatures" / "good.sig").read_text(encoding="utf-8")

WORDS = {
    "algorithm": "is by '",
    "allowed signers": "not among the allowed signers",
    "challenge": "its challenge is another",
    "client data": "client data",
    "cross-origin": "crossOrigin|topOrigin|duplicate key",
    "flags": "its flags",
    "hash": "sha512, not sha256",
    "namespace": "namespace",
    "origin": "origin",
    "signature": "did not sign these bytes",
    "user present": "user was present",
    "user verified": "did not verify its user",
    "wire": "NUL|cut short|bytes after|fewest bytes|version 1",
}
EARLIER = {"key-application-other": "origin"}
"""Refused by an earlier check than ssh-keygen's: no page of localhost can use a passkey of other.example."""


def signature(name: str) -> str:
    return (PASSKEYS / "signatures" / f"{name}.sig").read_text(encoding="utf-8")


def refused(
    armored: str, statement: bytes = STATEMENT, trust: Trust = TRUST, at: datetime = AT
) -> str | None:
    """Why it is refused, by its one code; None when it is taken."""
    try:
        verify_approval(statement.decode(), armored, trust, at)
    except NexusControlError as fault:
        assert fault.code is ErrorCode.SIGNATURE_INVALID
        return fault.message
    return None


def test_the_vectors_are_all_there() -> None:
    assert {path.stem for path in (PASSKEYS / "signatures").iterdir()} == set(CASES)
    assert len(CASES) == 71
    assert sum(case["approval"] == "accepts" for case in CASES.values()) == 9


@pytest.mark.parametrize("name", CASES)
def test_each_vector_is_taken_or_refused_for_its_one_defect(name: str) -> None:
    why = refused(signature(name))
    if CASES[name]["approval"] == "accepts":
        assert why is None
        return
    assert why is not None
    assert re.search(WORDS[EARLIER.get(name, CASES[name]["check"])], why), why


@needs_ssh_keygen
@pytest.mark.parametrize("name", CASES)
def test_ssh_keygen_says_of_each_vector_what_was_noted(name: str) -> None:
    named = ("-f", SIGNERS, "-I", "ada", "-n", NAMESPACE, "-s", PASSKEYS / "signatures" / f"{name}.sig")
    code = keygen("-Y", "verify", *named, stdin=STATEMENT).returncode
    assert code == (0 if CASES[name]["ssh_keygen"] == "accepts" else 255)


def test_no_flipped_bit_and_no_beginning_of_a_signature_is_taken() -> None:
    blob = blob_of(GOOD)
    assert refused(armor(blob)) is None
    for position in range(len(blob)):
        for bit in range(8):
            flipped = blob[:position] + bytes([blob[position] ^ 1 << bit]) + blob[position + 1 :]
            assert refused(armor(flipped)), (position, bit)
        assert refused(armor(blob[:position])), position


@needs_ssh_keygen
@pytest.mark.parametrize(
    ("statement", "namespace", "principal"),
    [
        pytest.param(STATEMENT, NAMESPACE, "ada", id="what was signed"),
        pytest.param(STATEMENT + b"\n", NAMESPACE, "ada", id="another statement"),
        pytest.param(STATEMENT.replace(b"approve", b"deny"), NAMESPACE, "ada", id="another verdict"),
        pytest.param(STATEMENT, "file", "ada", id="another namespace"),
        pytest.param(STATEMENT, NAMESPACE, "bob", id="another principal"),
    ],
)
def test_a_good_signature_is_good_for_nothing_else(
    statement: bytes, namespace: str, principal: str, tmp_path: Path
) -> None:
    allowed = SIGNERS.read_text(encoding="utf-8")
    is_good = (statement, namespace, principal) == (STATEMENT, NAMESPACE, "ada")
    theirs = verified_by_ssh_keygen(
        tmp_path, allowed, GOOD, statement, principal=principal, namespace=namespace
    )
    assert theirs is is_good
    assert ours(parse_allowed_signers(allowed), statement, namespace, principal) is is_good


def ours(allowed: AllowedSigners, statement: bytes, namespace: str, principal: str) -> bool:
    read = parse_ssh_signature(GOOD)
    try:
        read.require_over(statement, namespace)
    except NexusControlError as fault:
        assert fault.code is ErrorCode.SIGNATURE_INVALID
        return False
    return allowed.signer_for(principal, read.key, namespace, AT) is not None


@needs_ssh_keygen
@pytest.mark.parametrize("seed", [3, 9])
@pytest.mark.parametrize("high", [True, False], ids=["high s", "low s"])
def test_both_halves_of_s_are_taken_by_both(high: bool, seed: int, tmp_path: Path) -> None:
    passkey = Passkey(seed)
    made = passkey.signed(b"a message", high=high)
    parse_ssh_signature(made).require_over(b"a message", NAMESPACE)
    assert verified_by_ssh_keygen(tmp_path, f"bob@example.com {passkey.line}\n", made, b"a message")


@needs_ssh_keygen
def test_a_challenge_of_sha256_has_no_padding(tmp_path: Path) -> None:
    passkey = Passkey()
    made = passkey.signed(b"a message", hash_algorithm="sha256")
    parse_ssh_signature(made).require_over(b"a message", NAMESPACE)
    assert verified_by_ssh_keygen(tmp_path, f"bob@example.com {passkey.line}\n", made, b"a message")


def whole(more: str) -> bytes:
    return client_data(challenge_of(b"a message", NAMESPACE), more=more)


NESTED = whole(f',"x":{"[" * 850}{"]" * 850}')
OPEN = whole(f',"x":{"[" * 1700}')


@pytest.mark.parametrize(
    ("content", "why"),
    [
        pytest.param(NESTED, "nested deeper", id="850 levels"),
        pytest.param(OPEN, "client data are refused", id="1700 levels that stay open"),
        pytest.param(
            whole(f',"x":{"[" * 9000}'),
            "more than 2048 bytes",
            id="9000 levels",
        ),
        pytest.param(
            whole(f',"x":"{"y" * 2048}"'),
            "more than 2048 bytes",
            id="too long",
        ),
        pytest.param(
            whole(',"cross\\u004frigin":true'),
            "duplicate key",
            id="a member twice, by an escape",
        ),
        pytest.param(
            whole(',"top\\u004frigin":"https://evil.example"'),
            "topOrigin",
            id="a topOrigin, by an escape",
        ),
        pytest.param(whole(',"x":NaN'), "not JSON", id="NaN"),
        pytest.param(whole("\n"), "brace", id="a space before the brace"),
    ],
)
def test_client_data_that_are_not_one_strict_object_are_refused(content: bytes, why: str) -> None:
    passkey = Passkey()
    made = passkey.asserted(b"", content=content)
    with pytest.raises(NexusControlError, match=why) as caught:
        parse_ssh_signature(passkey.packed(made)).require_over(b"a message", NAMESPACE)
    assert caught.value.code is ErrorCode.SIGNATURE_INVALID


def test_the_longest_client_data_are_taken() -> None:
    challenge = challenge_of(b"a message", NAMESPACE)
    rest = 2048 - len(client_data(challenge, more=',"x":""'))
    content = client_data(challenge, more=f',"x":"{"y" * rest}"')
    assert len(content) == 2048
    made = Passkey().asserted(b"", content=content)
    parse_ssh_signature(Passkey().packed(made)).require_over(b"a message", NAMESPACE)


@given(st.binary(max_size=80), st.integers(0, 700))
def test_nothing_breaks_the_reader(octets: bytes, cut: int) -> None:
    blob = blob_of(GOOD)
    changed = blob[:cut] + octets + blob[cut + len(octets) :]
    assert (refused(armor(changed)) is None) is (changed == blob)


def decoded(part: str, name: str) -> bytes:
    return base64.b64decode(WEBAUTHN[part][name])


ASSERTED = Assertion(
    authenticator_data=decoded("assertion", "authenticator_data"),
    client_data_json=decoded("assertion", "client_data_json"),
    signature=decoded("assertion", "signature_der"),
)
KEY = parse_ssh_public_key(WEBAUTHN["enrolment"]["public_key_line"])
ORIGINS = parse_origins([WEBAUTHN["origin"]])


def test_what_the_browser_gave_back_is_packed_to_the_byte() -> None:
    assert challenge_of(STATEMENT, NAMESPACE) == decoded("assertion", "to_be_signed")
    assert pack(ASSERTED, KEY, NAMESPACE) == GOOD
    assert require_signed(ASSERTED, KEY, STATEMENT, NAMESPACE, ORIGINS) == GOOD


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"authenticator_data": b""}, "cut short"),
        ({"authenticator_data": ASSERTED.authenticator_data[:36]}, "cut short"),
        ({"authenticator_data": bytes(32) + ASSERTED.authenticator_data[32:]}, "not for the RP ID"),
        ({"authenticator_data": ASSERTED.authenticator_data + b"\xa0"}, "do not agree with its extensions"),
        ({"client_data_json": b""}, "name no origin"),
        ({"client_data_json": b"[" * 100_000}, "name no origin"),
        ({"client_data_json": b'{"origin":1}'}, "name no origin"),
        ({"client_data_json": b'{"origin":"http://localhost:8790"}'}, "do not begin with the type"),
        ({"client_data_json": b'{"origin":"\\ud800"}'}, "name no origin"),
        ({"signature": b""}, "in DER"),
        ({"signature": bytes(70)}, "in DER"),
        ({"signature": ASSERTED.signature + b"\0"}, "in DER"),
        ({"signature": bytes.fromhex("3006020100020101")}, "not positive"),
        ({"signature": bytes.fromhex("30060201ff020101")}, "not positive|in DER"),
        ({"signature": bytes.fromhex("3006020101020101")}, "did not sign"),
    ],
    ids=range(15),
)
def test_what_no_browser_gives_back_is_refused(changes: dict[str, bytes], why: str) -> None:
    with pytest.raises(NexusControlError, match=why) as caught:
        require_signed(replace(ASSERTED, **changes), KEY, STATEMENT, NAMESPACE, ORIGINS)
    assert caught.value.code is ErrorCode.SIGNATURE_INVALID


def test_the_other_half_of_a_signature_verifies_so_its_bytes_are_no_id() -> None:
    other = replace(ASSERTED, signature=with_other_half(ASSERTED.signature))
    assert require_signed(other, KEY, STATEMENT, NAMESPACE, ORIGINS) != GOOD


ATTESTED = Attestation(
    authenticator_data=decoded("enrolment", "authenticator_data"),
    client_data_json=decoded("enrolment", "client_data_json"),
    public_key=decoded("enrolment", "public_key_spki"),
    algorithm=-7,
)
CHALLENGE = base64.b64decode(WEBAUTHN["challenge"])


def test_an_enrolment_gives_the_key_and_the_line_that_the_owner_adds() -> None:
    new = enrol(ATTESTED, challenge=CHALLENGE, rp_id="localhost", origins=ORIGINS)
    assert (new.key, new.is_synced) == (KEY, False)
    assert new.key.fingerprint == WEBAUTHN["enrolment"]["fingerprint"]
    assert new.credential_id == decoded("enrolment", "credential_id")
    line = allowed_signers_line("ada", new.key, NAMESPACE, "passkey of ada")
    assert line == SIGNERS.read_text(encoding="utf-8").splitlines()[1]


def enrolled(**options: Any) -> dict[str, Any]:
    """An attestation of the software passkey, as changes."""
    passkey, algorithm = Passkey(rp_id=options.pop("rp_id", "localhost")), options.pop("algorithm", -7)
    made = passkey.enrolled(CHALLENGE, origin=WEBAUTHN["origin"], **options)
    return {
        "authenticator_data": made.authenticator_data,
        "client_data_json": made.client_data_json,
        "public_key": passkey.spki,
        "algorithm": algorithm,
    }


def said(
    challenge: bytes = CHALLENGE, origin: str = "http://localhost:8790", more: str = "", kind: str = ""
) -> bytes:
    return client_data(challenge, origin, kind or "webauthn.create", more)


AUTH = enrolled()["authenticator_data"]
OFF_CURVE = AUTH[:-1] + bytes([AUTH[-1] ^ 1])


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        pytest.param({"client_data_json": said(b"another")}, "client_data_json", id="another challenge"),
        pytest.param({"client_data_json": said(kind="webauthn.get")}, "client_data_json", id="an assertion"),
        pytest.param({"client_data_json": said(origin=ORIGIN)}, "client_data_json", id="another origin"),
        pytest.param({"client_data_json": said(more=',"topOrigin":"x"')}, "client_data_json", id="framed"),
        pytest.param(
            {"client_data_json": said().replace(b"false", b"true")}, "client_data_json", id="cross origin"
        ),
        pytest.param({"client_data_json": b"{}"}, "client_data_json", id="no origin"),
        pytest.param({"client_data_json": said()[:-1]}, "client_data_json", id="cut short"),
        pytest.param(enrolled(flags=0x44), "authenticator_data", id="not present"),
        pytest.param(enrolled(flags=0x41), "authenticator_data", id="not verified"),
        pytest.param(enrolled(flags=0x05), "authenticator_data", id="no enrolment"),
        pytest.param(enrolled(flags=0x55), "authenticator_data", id="copied and not to be"),
        pytest.param(enrolled(flags=0xC5), "authenticator_data", id="extensions that are missing"),
        pytest.param(enrolled(after=b"\xa0"), "authenticator_data", id="extensions without their flag"),
        pytest.param(enrolled(rp_id="other.example"), "authenticator_data", id="another RP ID"),
        pytest.param({"authenticator_data": AUTH[:-1]}, "authenticator_data", id="half a key"),
        pytest.param({"authenticator_data": AUTH[:40]}, "authenticator_data", id="no credential"),
        pytest.param({"authenticator_data": b""}, "authenticator_data", id="no authenticator data"),
        pytest.param(
            {"authenticator_data": AUTH[:53] + b"\xff\xff" + AUTH[55:]}, "authenticator_data", id="id"
        ),
        pytest.param(
            {"authenticator_data": OFF_CURVE, "public_key": enrolled()["public_key"][:-1] + OFF_CURVE[-1:]},
            "key",
            id="off the curve",
        ),
        pytest.param({"authenticator_data": AUTH}, "public_key", id="the key of another"),
        pytest.param({"public_key": ATTESTED.public_key + b"\0"}, "public_key", id="a byte too many"),
        pytest.param({"algorithm": -8}, "algorithm", id="Ed25519"),
        pytest.param({"algorithm": -257}, "algorithm", id="RSA"),
    ],
)
def test_an_enrolment_that_is_not_as_it_must_be_is_refused_by_its_field(
    changes: dict[str, Any], field: str
) -> None:
    with pytest.raises(NexusControlError) as caught:
        enrol(replace(ATTESTED, **changes), challenge=CHALLENGE, rp_id="localhost", origins=ORIGINS)
    assert caught.value.code is ErrorCode.INVALID_ARGUMENT
    assert [each["field"] for each in caught.value.details["fields"]] == [field]  # type: ignore[attr-defined, index]


def test_a_synced_passkey_is_enrolled_and_says_so() -> None:
    made = Attestation(**enrolled(flags=0x5D))
    assert enrol(made, challenge=CHALLENGE, rp_id="localhost", origins=ORIGINS).is_synced


def test_the_proof_of_an_enrolment_is_no_approval() -> None:
    passkey = Passkey()
    made = passkey.asserted(challenge_of(STATEMENT, ENROLMENT_NAMESPACE))
    proof = Assertion(
        authenticator_data=made.authenticator_data,
        client_data_json=made.client_data_json,
        signature=made.signature,
    )
    key, origins = parse_ssh_public_key(passkey.line), parse_origins([ORIGIN])
    assert require_signed(proof, key, STATEMENT, ENROLMENT_NAMESPACE, origins)
    trust = Trust(allowed_signers=f"ada {passkey.line}\n", passkey_origins=[ORIGIN])
    assert refused(pack(proof, key, NAMESPACE), trust=trust) is not None
    assert refused(pack(proof, key, ENROLMENT_NAMESPACE), trust=trust) is not None
    assert refused(passkey.signed(STATEMENT), trust=trust) is None


def test_a_verified_approval_says_who_signed_what_where_and_with_which_key() -> None:
    found = verify_approval(STATEMENT.decode(), GOOD, TRUST, AT)
    assert (found.statement.approver, found.statement.verdict) == ("ada", "approve")
    assert (found.key, found.origin) == (KEY.fingerprint, "http://localhost:8790")
    assert not found.is_synced
    assert verify_approval(STATEMENT.decode(), signature("good-synced"), TRUST, AT).is_synced


@pytest.mark.parametrize("given", [None, 5, b"{}"], ids=str)
@pytest.mark.parametrize("name", ["statement", "signature"])
def test_what_is_no_text_is_refused_by_its_name(name: str, given: object) -> None:
    texts: dict[str, Any] = {"statement": STATEMENT.decode(), "signature": GOOD, name: given}
    with pytest.raises(NexusControlError, match=name) as caught:
        verify_approval(**texts, trust=TRUST, at=AT)
    assert caught.value.code is ErrorCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    ("changes", "at", "why"),
    [
        (
            {"passkey_origins": ()},
            AT,
            "8790, and no origin is allowed for this passkey .passkey_origins, --origin",
        ),
        ({"passkey_origins": [ORIGIN]}, AT, f"8790, and the allowed origins are {ORIGIN}"),
        ({"passkey_origins": ["https://localhost.example"]}, AT, "no origin is allowed for this passkey"),
        ({"allowed_signers": None}, AT, "not among the allowed signers"),
        ({"allowed_signers": SIGNERS.read_text().replace("ada name", "bob name")}, AT, "is another's"),
        ({}, datetime(2026, 11, 25, 23, 30, tzinfo=UTC), "still to come"),
        (
            {"log_keys": [load("evidence", "golden.json")["vkeys"][0]]},
            AT,
            "given for the log control.example/log",
        ),
    ],
    ids=[
        "no origin",
        "another origin",
        "another host",
        "nobody",
        "another person",
        "too early",
        "another log",
    ],
)
def test_a_statement_is_judged_by_the_verifiers_trust(
    changes: dict[str, Any], at: datetime, why: str
) -> None:
    found = refused(GOOD, trust=replace(TRUST, **changes), at=at)
    assert found is not None
    assert re.search(why, found), found


def test_an_approval_that_has_run_out_is_refused() -> None:
    passkey = Passkey()
    statement = STATEMENT.replace(b'"expires_at":null', b'"expires_at":"2026-11-26T00:00:00Z"')
    trust = Trust(allowed_signers=f"ada {passkey.line}\n", passkey_origins=[ORIGIN])
    assert refused(passkey.signed(statement), statement, trust) is None
    later = datetime(2026, 11, 26, tzinfo=UTC)
    assert (
        refused(passkey.signed(statement), statement, trust, later)
        == "The approval expired at 2026-11-26T00:00:00Z"
    )


@pytest.mark.parametrize(
    ("changes", "at"),
    [
        ({"passkey_origins": ["http://example.org"]}, AT),
        ({}, AT.replace(tzinfo=None)),
        ({"log_keys": ["x"]}, AT),
    ],
    ids=["no origin", "no offset", "no key"],
)
def test_a_trust_that_cannot_be_read_is_said_to_be_so(changes: dict[str, Any], at: datetime) -> None:
    with pytest.raises(NexusControlError) as caught:
        verify_approval(STATEMENT.decode(), GOOD, replace(TRUST, **changes), at)
    assert caught.value.code is ErrorCode.INVALID_ARGUMENT
