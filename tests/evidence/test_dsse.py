import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from securesystemslib.dsse import Envelope as TheirEnvelope
from securesystemslib.signer import CryptoSigner, SSlibKey  # pyright: ignore[reportPrivateImportUsage]

from nexus_control.canonical_json import canonical_json
from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.evidence.formats.base64_text import from_base64, to_base64
from nexus_control.evidence.formats.dsse import pae, parse_envelope, sign_envelope
from nexus_control.evidence.formats.keys import (
    PrivateKey,
    generate,
    private_from_pem,
    public_from_ed25519,
    public_from_pem,
)
from nexus_control.evidence.package_statement import PAYLOAD_TYPE
from tests.artifacts.samples import VECTORS
from tests.evidence.openssl import key_in, made, needs_openssl, openssl

INTEROP = VECTORS / "evidence" / "interop"
TEXT = (INTEROP / "package.dsse.json").read_text()
OPERATOR = public_from_pem((INTEROP / "operator.pub").read_text())
KEY = generate()
WRITTEN: dict[str, Any] = json.loads(sign_envelope(PAYLOAD_TYPE, b"payload", KEY).to_json())


def p256(folder: Path) -> PrivateKey:
    return private_from_pem(key_in(folder, "p256", "EC").read_bytes())


def test_the_envelope_of_others_is_signed_by_their_key() -> None:
    envelope = parse_envelope(TEXT)
    assert envelope.signed_by([OPERATOR]) == {OPERATOR}
    assert envelope.signed_by([KEY.public]) == frozenset()
    assert envelope.signed_bytes == (INTEROP / "pae.bin").read_bytes()
    assert [signature for _, signature in envelope.signatures] == [(INTEROP / "sig.bin").read_bytes()]


def test_the_example_of_the_protocol_is_encoded_as_it_says() -> None:
    expected = b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    assert pae("http://example.com/HelloWorld", b"hello world") == expected
    assert pae("é", "é".encode()) == "DSSEv1 2 é 2 é".encode()


@pytest.mark.parametrize("part", ["payload", "sig"])
def test_no_byte_that_was_signed_or_signs_can_be_changed(part: str) -> None:
    data = json.loads(TEXT)
    holder = data if part == "payload" else data["signatures"][0]
    octets = from_base64(holder[part]) or b""
    for position in range(len(octets)):
        spoiled = bytearray(octets)
        spoiled[position] ^= 1
        holder[part] = to_base64(bytes(spoiled))
        assert parse_envelope(json.dumps(data)).signed_by([OPERATOR]) == frozenset()


def test_the_name_of_a_key_and_the_order_of_keys_decide_nothing() -> None:
    data = json.loads(TEXT)
    for name in ("", "another", None):
        data["signatures"][0]["keyid"] = name
        if name is None:
            del data["signatures"][0]["keyid"]
        assert parse_envelope(json.dumps(data)).signed_by([OPERATOR]) == {OPERATOR}


def test_keys_count_and_not_signatures() -> None:
    other, stranger = generate(), generate()
    envelope = sign_envelope("type", b"payload", KEY, KEY, stranger, other)
    assert envelope.signed_by([KEY.public, KEY.public]) == {KEY.public}
    assert envelope.signed_by([KEY.public, other.public]) == {KEY.public, other.public}


def test_an_envelope_reads_back_as_it_was_written(tmp_path: Path) -> None:
    other = p256(tmp_path)
    envelope = sign_envelope("type", bytes(range(256)), KEY, other)
    assert parse_envelope(envelope.to_json()) == envelope
    assert envelope.signed_by([KEY.public, other.public]) == {KEY.public, other.public}


@needs_openssl
def test_openssl_verifies_an_envelope_of_either_kind_of_key(tmp_path: Path) -> None:
    for key, name in ((KEY, "ed25519"), (p256(tmp_path), "p256")):
        envelope = sign_envelope(PAYLOAD_TYPE, b"payload", key)
        public, signed, signature = (tmp_path / f"{name}.{kind}" for kind in ("pub", "signed", "sig"))
        public.write_text(key.public.to_pem())
        signed.write_bytes(pae(PAYLOAD_TYPE, b"payload"))
        signature.write_bytes(envelope.signatures[0][1])
        hashed = () if name == "ed25519" else ("-digest", "sha256")
        verify = ("pkeyutl", "-verify", "-pubin", "-inkey", public, "-rawin", *hashed, "-sigfile", signature)
        made(*verify, "-in", signed)
        signed.write_bytes(b"something else")
        assert openssl(*verify, "-in", signed).returncode != 0


def test_securesystemslib_verifies_ours_and_we_verify_theirs(tmp_path: Path) -> None:
    for key, scheme in ((KEY, "ed25519"), (p256(tmp_path), "ecdsa-sha2-nistp256")):
        keytype = scheme.partition("-")[0]
        pem = key.public.to_pem()
        public = {"public": (key.public.raw_ed25519 or b"").hex() if scheme == "ed25519" else pem}
        theirs = SSlibKey(key.public.fingerprint, keytype, scheme, public)
        envelope = sign_envelope(PAYLOAD_TYPE, b"payload", key)
        read = TheirEnvelope.from_dict(json.loads(envelope.to_json()))  # pyright: ignore[reportUnknownMemberType]
        assert read.verify([theirs], 1) == {key.public.fingerprint: theirs}


def test_an_envelope_that_securesystemslib_signed_is_read() -> None:
    signer = CryptoSigner.generate_ed25519()
    theirs = TheirEnvelope(b"payload", PAYLOAD_TYPE, {})
    theirs.sign(signer)
    key = public_from_ed25519(bytes.fromhex(signer.public_key.keyval["public"]))
    written = json.dumps(theirs.to_dict())  # pyright: ignore[reportUnknownMemberType]
    assert parse_envelope(written).signed_by([key]) == {key}


SIGNATURE = WRITTEN["signatures"][0]
MALFORMED: dict[str, object] = {
    "nothing": {},
    "a list": [],
    "no payload": {name: value for name, value in WRITTEN.items() if name != "payload"},
    "a key more": WRITTEN | {"more": 1},
    "base64 for URLs": WRITTEN | {"payload": "_-8="},
    "base64 without padding": WRITTEN | {"payload": "cGF5bG9hZA"},
    "base64 with bits to spare": WRITTEN | {"payload": "cGF5bG9hZB=="},
    "base64 in lines": WRITTEN | {"payload": "cGF5\nbG9hZA=="},
    "no signature": WRITTEN | {"signatures": []},
    "65 signatures": WRITTEN | {"signatures": [SIGNATURE] * 65},
    "an empty signature": WRITTEN | {"signatures": [SIGNATURE | {"sig": ""}]},
    "a signature that is none": WRITTEN | {"signatures": [SIGNATURE | {"sig": "?"}]},
    "a key more in a signature": WRITTEN | {"signatures": [SIGNATURE | {"alg": "none"}]},
    "a type that is no text": WRITTEN | {"payloadType": 1},
}


@pytest.mark.parametrize("document", MALFORMED.values(), ids=MALFORMED.keys())
def test_what_is_no_envelope_is_refused(document: object) -> None:
    with pytest.raises(NexusControlError) as caught:
        parse_envelope(canonical_json(document))
    assert caught.value.code is ErrorCode.INTEGRITY_MISMATCH


@pytest.mark.parametrize(
    "text", [TEXT.replace("{", '{"payload":"",', 1), TEXT * 2, " " * 4_000_001, "\ufeff" + TEXT]
)
def test_what_is_no_strict_json_is_refused(text: str) -> None:
    with pytest.raises(NexusControlError) as caught:
        parse_envelope(text)
    assert caught.value.code is ErrorCode.INTEGRITY_MISMATCH


@given(st.text() | st.binary())
def test_junk_is_no_envelope(junk: str | bytes) -> None:
    with pytest.raises(NexusControlError) as caught:
        parse_envelope(junk)
    assert caught.value.code is ErrorCode.INTEGRITY_MISMATCH
