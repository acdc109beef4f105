import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.evidence.formats.der import parse_der
from nexus_control.evidence.formats.timestamp import Timestamp, verify_timestamp
from tests.artifacts.samples import VECTORS
from tests.evidence.openssl import (
    FOR_TIMESTAMPS,
    IS_CA,
    authority_in,
    issued_in,
    made,
    needs_openssl,
    openssl,
    stamped,
)
from tests.support.amounts import sample_of

INTEROP = VECTORS / "evidence" / "interop"
TOKEN, MESSAGE = (INTEROP / "ts.tsr").read_bytes(), (INTEROP / "checkpoint").read_bytes()
ROOT, AUTHORITY = (INTEROP / "ca.pem").read_text(), (INTEROP / "tsa.pem").read_text()

# A flipped bit in a certificate can make its serial number negative, of which the library warns.
pytestmark = pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")
NOT_VERIFIED = (ErrorCode.INTEGRITY_MISMATCH, ErrorCode.SIGNATURE_INVALID)


def code_of(token: bytes, message: bytes = MESSAGE, *roots: str) -> ErrorCode | None:
    try:
        verify_timestamp(token, message, roots or (ROOT,))
    except NexusControlError as fault:
        return fault.code
    return None


def test_the_timestamp_of_another_authority_verifies() -> None:
    expected = Timestamp(
        time=datetime(2026, 11, 22, 21, 36, 10, tzinfo=UTC),
        serial_number=2,
        policy="1.2.3.4.1",
        authority="CN=Test TSA",
    )
    assert verify_timestamp(TOKEN, MESSAGE, [ROOT]) == expected
    assert verify_timestamp(TOKEN, MESSAGE, [ROOT], [AUTHORITY]) == expected
    assert verify_timestamp(TOKEN, MESSAGE, [AUTHORITY]) == expected  # the authority itself may be the root


def test_a_token_is_taken_without_the_response_around_it() -> None:
    token = parse_der(TOKEN).children()[1].encoded
    assert verify_timestamp(token, MESSAGE, [ROOT]) == verify_timestamp(TOKEN, MESSAGE, [ROOT])


def test_no_bit_of_a_token_can_be_changed_but_whether_it_was_granted_with_a_remark() -> None:
    taken: list[tuple[int, int]] = []
    for position in {8, *sample_of(range(len(TOKEN)), 200)}:
        for bit in range(8):
            spoiled = bytearray(TOKEN)
            spoiled[position] ^= 1 << bit
            code = code_of(bytes(spoiled))
            assert code in (None, *NOT_VERIFIED)
            if code is None:
                taken.append((position, bit))
    assert taken == [(8, 0)]


def test_no_byte_of_the_message_can_be_changed() -> None:
    for position in range(len(MESSAGE)):
        spoiled = bytearray(MESSAGE)
        spoiled[position] ^= 1
        assert code_of(TOKEN, bytes(spoiled)) is ErrorCode.SIGNATURE_INVALID


def test_nothing_is_trusted_without_roots() -> None:
    with pytest.raises(NexusControlError) as caught:
        verify_timestamp(TOKEN, MESSAGE, [], [ROOT, AUTHORITY])
    assert caught.value.code is ErrorCode.SIGNATURE_INVALID


@pytest.mark.parametrize(
    "text", ["", "nonsense", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
def test_roots_that_cannot_be_read_are_the_verifiers_own_mistake(text: str) -> None:
    with pytest.raises(NexusControlError) as caught:
        verify_timestamp(TOKEN, MESSAGE, [text])
    assert caught.value.code is ErrorCode.INVALID_ARGUMENT


@given(st.binary(max_size=200))
def test_junk_is_no_timestamp(junk: bytes) -> None:
    assert code_of(junk) in NOT_VERIFIED


def test_what_is_cut_short_is_no_timestamp() -> None:
    for length in range(len(TOKEN)):
        assert code_of(TOKEN[:length]) in NOT_VERIFIED


def der(tag: int, *parts: bytes) -> bytes:
    content = b"".join(parts)
    length = len(content).to_bytes(3, "big").lstrip(b"\0")
    if len(content) < 0x80:
        return bytes([tag, len(content)]) + content
    return bytes([tag, 0x80 | len(length)]) + length + content


def carrying(times: int) -> bytes:
    """The token with its certificates so many times: no signature covers them."""
    kind, wrapped = parse_der(TOKEN).children()[1].children()
    parts = wrapped.children(0xA0)[0].children()
    encoded = [der(0xA0, each.content * times) if each.tag == 0xA0 else each.encoded for each in parts]
    return der(0x30, kind.encoded, der(0xA0, der(0x30, *encoded)))


def test_a_token_that_carries_a_crowd_of_certificates_is_refused() -> None:
    assert verify_timestamp(carrying(10), MESSAGE, [ROOT]) == verify_timestamp(TOKEN, MESSAGE, [ROOT])
    assert code_of(carrying(21)) is ErrorCode.INTEGRITY_MISMATCH


@pytest.mark.parametrize("token", [bytes(200_000), b"\x30\x82\xff\xff" + b"\x30\x80" * 32_767 + b"\x30"])
def test_a_long_token_and_a_deep_one_are_refused_for_less_than_ten_good_ones_cost(token: bytes) -> None:
    def cost(token: bytes, code: ErrorCode | None, times: int) -> float:
        started = time.process_time()
        assert [code_of(token) for _ in range(times)] == [code] * times
        return time.process_time() - started

    assert cost(token, ErrorCode.INTEGRITY_MISMATCH, 10) < cost(TOKEN, None, 100)


@pytest.mark.sample(3)
@needs_openssl
@pytest.mark.parametrize("kind", ["EC", "EC384", "EC521", "RSA"])
@pytest.mark.parametrize("digest", ["sha256", "sha512"])
def test_what_openssl_stamps_and_verifies_verifies_here(kind: str, digest: str, tmp_path: Path) -> None:
    root = authority_in(tmp_path, kind=kind)
    authority = issued_in(tmp_path, "tsa", root, kind=kind)
    answer = stamped(tmp_path, authority, b"message", digest=digest)
    assert verify_timestamp(answer, b"message", [root.pem]).authority == "CN=tsa"
    made(
        "ts",
        "-verify",
        "-data",
        tmp_path / "message",
        "-in",
        tmp_path / "answer",
        "-CAfile",
        root.certificate,
    )


@needs_openssl
def test_a_certificate_that_is_not_in_the_token_is_taken_from_the_verifier(tmp_path: Path) -> None:
    root = authority_in(tmp_path)
    authority = issued_in(tmp_path, "tsa", root)
    answer = stamped(tmp_path, authority, b"message", certificates=False)
    assert code_of(answer, b"message", root.pem) is ErrorCode.SIGNATURE_INVALID
    assert verify_timestamp(answer, b"message", [root.pem], [authority.pem]).policy == "1.2.3.4.1"


@needs_openssl
def test_a_chain_over_an_intermediate_authority_is_followed(tmp_path: Path) -> None:
    root = authority_in(tmp_path)
    between = issued_in(tmp_path, "between", root, IS_CA)
    authority = issued_in(tmp_path, "tsa", between)
    answer = stamped(tmp_path, authority, b"message", chain=between)
    assert code_of(answer, b"message", root.pem) is None
    alone = stamped(tmp_path, authority, b"message")
    assert code_of(alone, b"message", root.pem) is ErrorCode.SIGNATURE_INVALID
    assert verify_timestamp(alone, b"message", [root.pem], [between.pem]).authority == "CN=tsa"


@needs_openssl
def test_another_root_is_not_trusted(tmp_path: Path) -> None:
    root = authority_in(tmp_path)
    answer = stamped(tmp_path, issued_in(tmp_path, "tsa", root), b"message")
    assert code_of(answer, b"message", authority_in(tmp_path, "other").pem) is ErrorCode.SIGNATURE_INVALID


@needs_openssl
@pytest.mark.parametrize(("kind", "digest"), [("EC", "sha1"), ("short RSA", "sha256")])
def test_weak_hashes_and_keys_are_refused(kind: str, digest: str, tmp_path: Path) -> None:
    root = authority_in(tmp_path)
    answer = stamped(tmp_path, issued_in(tmp_path, "tsa", root, kind=kind), b"message", digest=digest)
    assert code_of(answer, b"message", root.pem) is ErrorCode.SIGNATURE_INVALID


@needs_openssl
def test_an_answer_that_refuses_to_stamp_is_no_timestamp(tmp_path: Path) -> None:
    root = authority_in(tmp_path)
    authority = issued_in(tmp_path, "tsa", root, FOR_TIMESTAMPS)
    stamped(tmp_path, authority, b"message")
    config = tmp_path / "ts.cnf"
    config.write_text(config.read_text().replace("sha1, sha256, sha384, sha512", "sha512"))
    signer = ("-signer", authority.certificate, "-inkey", authority.key, "-sha256")
    refused = tmp_path / "refused"
    openssl("ts", "-reply", "-config", config, "-queryfile", tmp_path / "query", *signer, "-out", refused)
    assert code_of(refused.read_bytes(), b"message", root.pem) in NOT_VERIFIED
