import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_public_key,
)

from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.evidence.formats import keys
from tests.support.places import require_vectors_of_others

# The eight points whose order divides 8, and the ways of writing the same y coordinates with p added.
SMALL_ORDER = (
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000080",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
)
NOT_CANONICAL = (
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "f1ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
)


def test_others_signatures_are_as_they_say() -> None:
    groups: list[dict[str, Any]] = json.loads(
        require_vectors_of_others("wycheproof_ed25519.json").read_bytes()
    )["testGroups"]
    judged = 0
    for group in groups:
        key = keys.public_from_ed25519(bytes.fromhex(group["publicKey"]["pk"]))
        for case in group["tests"]:
            verified = key.verifies(bytes.fromhex(case["sig"]), bytes.fromhex(case["msg"]))
            assert verified == (case["result"] == "valid"), case["comment"]
            judged += 1
    assert judged > 100


@pytest.mark.parametrize("raw", SMALL_ORDER)
def test_a_point_of_small_order_is_no_key(raw: str) -> None:
    with pytest.raises(NexusControlError, match="small order") as caught:
        keys.public_from_ed25519(bytes.fromhex(raw))
    assert caught.value.code is ErrorCode.INVALID_ARGUMENT


@pytest.mark.parametrize("raw", NOT_CANONICAL)
def test_a_point_that_is_not_written_canonically_is_no_key(raw: str) -> None:
    with pytest.raises(NexusControlError, match="canonical"):
        keys.public_from_ed25519(bytes.fromhex(raw))


def test_a_key_of_small_order_is_refused_in_pem_too() -> None:
    identity = Ed25519PublicKey.from_public_bytes(bytes.fromhex(SMALL_ORDER[2]))
    pem = identity.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    with pytest.raises(NexusControlError, match="small order"):
        keys.public_from_pem(pem)


def test_under_the_identity_one_signature_would_fit_every_message() -> None:
    """Why the check is ours: the library under this one says yes."""
    identity = Ed25519PublicKey.from_public_bytes(bytes.fromhex(SMALL_ORDER[2]))
    constant = bytes.fromhex(SMALL_ORDER[2]) + bytes(32)
    identity.verify(constant, b"one message")
    identity.verify(constant, b"another message")


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1()], ids=lambda curve: curve.name)
def test_a_key_on_a_nist_curve_signs_and_verifies(curve: ec.EllipticCurve) -> None:
    key = keys.private_from_pem(pem_of(ec.generate_private_key(curve)))
    signature = key.sign(b"message")
    assert key.public.verifies(signature, b"message")
    assert not key.public.verifies(signature, b"another")
    point = ec_point(key)
    assert keys.public_from_point(curve.name, point) == key.public
    with pytest.raises(NexusControlError, match="not on the curve"):
        keys.public_from_point(curve.name, point[:-1] + bytes([point[-1] ^ 1]))


@pytest.mark.parametrize(
    ("private", "why"),
    [
        (ec.generate_private_key(ec.SECP256K1()), "secp256k1 is not supported"),
        (rsa.generate_private_key(public_exponent=65537, key_size=2048), "only Ed25519"),
    ],
    ids=["another curve", "RSA"],
)
def test_a_key_of_another_kind_is_refused(private: Any, why: str) -> None:
    with pytest.raises(NexusControlError, match=why):
        keys.private_from_pem(pem_of(private))
    public = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    with pytest.raises(NexusControlError, match=why):
        keys.public_from_pem(public)


@pytest.mark.parametrize(
    "text", [b"", b"nonsense", b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"]
)
def test_what_is_no_key_is_refused(text: bytes) -> None:
    for read in (keys.private_from_pem, keys.public_from_pem):
        with pytest.raises(NexusControlError) as caught:
            read(text)
        assert caught.value.code is ErrorCode.INVALID_ARGUMENT


def test_a_key_is_the_same_however_it_was_read_and_is_not_shown() -> None:
    key = keys.private_from_seed(bytes([1]) * 32)
    assert keys.private_from_pem(key.to_pem()).public == key.public
    assert keys.public_from_pem(key.public.to_pem()) == key.public
    raw = key.public.raw_ed25519
    assert raw is not None
    assert keys.public_from_ed25519(raw) == key.public
    assert (bytes([1]) * 32).hex() not in repr(key)
    assert key.public.fingerprint in repr(key)
    assert keys.generate().public != keys.generate().public


def pem_of(private: Any) -> bytes:
    return private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def ec_point(key: keys.PrivateKey) -> bytes:
    loaded = load_der_public_key(key.public.spki)
    assert isinstance(loaded, ec.EllipticCurvePublicKey)
    return loaded.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
