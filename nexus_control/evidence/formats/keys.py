"""Public and private keys of the supported kinds: Ed25519 (RFC 8032) and ECDSA with SHA-2 on P-256, P-384, P-521.

Two Ed25519 public keys are refused although the `cryptography` library accepts them: a key whose point is of small
order, because one signature then fits every message, and a key whose y coordinate is not in its one canonical
spelling. Each key is checked when it is read, at registration and at verification alike.

The public keys used last are kept as the library loaded them, by their DER, because loading takes longer than the rest
of a verification. A private key is kept by nobody but who read it.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_public_key,
    load_pem_private_key,
    load_pem_public_key,
)

from nexus_control.errors import ErrorCode, NexusControlError, invalid_argument
from nexus_control.integrity import sha256_hex

_Private: TypeAlias = Ed25519PrivateKey | ec.EllipticCurvePrivateKey
_Public: TypeAlias = Ed25519PublicKey | ec.EllipticCurvePublicKey

_KEPT = 256
"""So many loaded public keys are kept."""
_FIELD = 2**255 - 19
_SIGN_BIT = 1 << 255
# The y coordinates of the eight points whose order divides 8 (two of them share each y but 1 and -1).
_SMALL_ORDER_Y = {
    0,
    1,
    _FIELD - 1,
    2707385501144840649318225287225658788936804267575313519463743609750303402022,
    55188659117513257062467267217118295137698188065244968500265048394206261417927,
}
_CURVES: dict[str, hashes.HashAlgorithm] = {
    "secp256r1": hashes.SHA256(),
    "secp384r1": hashes.SHA384(),
    "secp521r1": hashes.SHA512(),
}


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A checked public key. Two are equal when they are the same key, whatever text they were read from."""

    spki: bytes
    """SubjectPublicKeyInfo, DER."""

    @property
    def fingerprint(self) -> str:
        """`sha256:` and the hex digest of the SPKI."""
        return f"sha256:{sha256_hex(self.spki)}"

    @property
    def raw_ed25519(self) -> bytes | None:
        """The 32 bytes of an Ed25519 key; None for any other key."""
        key = _loaded(self.spki)
        return key.public_bytes(Encoding.Raw, PublicFormat.Raw) if isinstance(key, Ed25519PublicKey) else None

    def verifies(self, signature: bytes, message: bytes) -> bool:
        """Whether this key made the signature: 64 bytes for Ed25519, DER for ECDSA."""
        key = _loaded(self.spki)
        try:
            if isinstance(key, Ed25519PublicKey):
                key.verify(signature, message)
            else:
                key.verify(signature, message, ec.ECDSA(_CURVES[key.curve.name]))
        except InvalidSignature:
            return False
        return True

    def to_pem(self) -> str:
        return _loaded(self.spki).public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


@dataclass(frozen=True, slots=True)
class PrivateKey:
    """A private key. It is never shown by `repr`."""

    _key: _Private
    public: PublicKey

    def __repr__(self) -> str:
        return f"PrivateKey({self.public.fingerprint})"

    def sign(self, message: bytes) -> bytes:
        """64 bytes for Ed25519, DER for ECDSA."""
        if isinstance(self._key, Ed25519PrivateKey):
            return self._key.sign(message)
        return self._key.sign(message, ec.ECDSA(_CURVES[self._key.curve.name]))

    def to_pem(self) -> bytes:
        """PKCS #8, without a passphrase: the file's mode protects it."""
        return self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def generate() -> PrivateKey:
    """A new Ed25519 key."""
    return _private(Ed25519PrivateKey.generate())


def private_from_seed(seed: bytes) -> PrivateKey:
    """The Ed25519 key of these 32 bytes."""
    return _private(Ed25519PrivateKey.from_private_bytes(seed))


def private_from_pem(pem: bytes) -> PrivateKey:
    """An Ed25519 or P-256 key from PKCS #8 or SEC 1. Raises INVALID_ARGUMENT."""
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise invalid_argument("key", "is not a private key in PEM without a passphrase") from None
    if not isinstance(key, Ed25519PrivateKey | ec.EllipticCurvePrivateKey):
        raise _refused("only Ed25519 and P-256, P-384 or P-521 keys are taken")
    return _private(key)


def public_from_pem(pem: str | bytes) -> PublicKey:
    """A public key from PEM. Raises INVALID_ARGUMENT for other text, or for a key of an unsupported kind."""
    try:
        key = load_pem_public_key(pem.encode() if isinstance(pem, str) else pem)
    except (ValueError, UnsupportedAlgorithm):
        raise invalid_argument("key", "is not a public key in PEM") from None
    if not isinstance(key, Ed25519PublicKey | ec.EllipticCurvePublicKey):
        raise _refused("only Ed25519 and P-256, P-384 or P-521 keys are taken")
    return _vetted(key)


def public_from_ed25519(raw: bytes) -> PublicKey:
    """An Ed25519 public key from its 32 bytes. Raises INVALID_ARGUMENT."""
    if len(raw) != 32:
        raise _refused("an Ed25519 key has 32 bytes")
    return _vetted(Ed25519PublicKey.from_public_bytes(raw))


def public_from_point(curve: str, point: bytes) -> PublicKey:
    """A key on "secp256r1", "secp384r1" or "secp521r1" from its uncompressed point. Raises INVALID_ARGUMENT."""
    curves = {"secp256r1": ec.SECP256R1(), "secp384r1": ec.SECP384R1(), "secp521r1": ec.SECP521R1()}
    try:
        return _vetted(ec.EllipticCurvePublicKey.from_encoded_point(curves[curve], point))
    except ValueError:
        raise _refused("the point is not on the curve") from None


def _private(key: _Private) -> PrivateKey:
    return PrivateKey(key, _vetted(key.public_key()))


def _vetted(key: _Public) -> PublicKey:
    if isinstance(key, Ed25519PublicKey):
        y = int.from_bytes(key.public_bytes(Encoding.Raw, PublicFormat.Raw), "little") & ~_SIGN_BIT
        if y >= _FIELD:
            raise _refused("its point is not in its canonical spelling")
        if y in _SMALL_ORDER_Y:
            raise _refused("its point is of small order: one signature would fit every message")
    elif key.curve.name not in _CURVES:
        raise _refused(f"curve {key.curve.name} is not supported; P-256, P-384 and P-521 are")
    return PublicKey(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


@lru_cache(_KEPT)
def _loaded(spki: bytes) -> _Public:
    loaded = load_der_public_key(spki)
    assert isinstance(loaded, Ed25519PublicKey | ec.EllipticCurvePublicKey)
    return loaded


def _refused(why: str) -> NexusControlError:
    return NexusControlError(
        ErrorCode.INVALID_ARGUMENT, f"key is refused: {why}", {"fields": [{"field": "key", "problem": why}]}
    )
