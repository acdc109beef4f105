"""Certificates of timestamp authorities (RFC 5280, RFC 3161, 2.3): read, and followed to a root, at an instant.

A certificate for timestamps has that one purpose, and says that it is critical. Each issuer on the way is a CA that may
sign certificates, with as many below it as it allows; all were valid at the instant. What cannot be read, or is of a
kind that is not taken, is refused.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from nexus_control.errors import ErrorCode, NexusControlError, invalid_argument
from nexus_control.evidence.der import malformed

_LONGEST_CHAIN, _SMALLEST_RSA, _MOST_PATHS = 4, 2048, 100
# What the library raises for certificates and signatures that are not what they should be.
_UNREADABLE: Final = (
    InvalidSignature,
    TypeError,
    UnsupportedAlgorithm,
    ValueError,
    x509.DuplicateExtension,
    x509.ExtensionNotFound,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)


def read_pem(field: str, texts: Sequence[str]) -> tuple[x509.Certificate, ...]:
    """Certificates from PEM texts. Raises INVALID_ARGUMENT."""

    def read() -> Iterator[x509.Certificate]:
        for text in texts:
            yield from x509.load_pem_x509_certificates(text.encode())

    try:
        return tuple(read())
    except _UNREADABLE:
        raise invalid_argument(field, "must be certificates in PEM") from None


def read_certificate(encoded: bytes) -> x509.Certificate:
    """Raises INTEGRITY_MISMATCH."""
    try:
        return x509.load_der_x509_certificate(encoded)
    except _UNREADABLE:
        raise malformed("a certificate in it cannot be read") from None


def require_signed(
    by: x509.Certificate, signature: bytes, signed: bytes, algorithm: hashes.HashAlgorithm
) -> None:
    """That the key of this certificate made the signature. Raises SIGNATURE_INVALID."""
    try:
        key = by.public_key()
        if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in ("secp256r1", "secp384r1"):
            key.verify(signature, signed, ec.ECDSA(algorithm))
        elif isinstance(key, rsa.RSAPublicKey) and key.key_size >= _SMALLEST_RSA:
            key.verify(signature, signed, padding.PKCS1v15(), algorithm)
        else:
            raise TypeError
    except _UNREADABLE:
        raise invalid("its signature does not verify, or its key is of a kind that is not taken") from None


def require_for_timestamps(certificate: x509.Certificate, at: datetime) -> None:
    """Exactly one purpose, and critical (RFC 3161, 2.3)."""
    try:
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    except _UNREADABLE:
        raise invalid("its signer's certificate is not for timestamps") from None
    if not usage.critical or list(usage.value) != [ExtendedKeyUsageOID.TIME_STAMPING]:
        raise invalid("its signer's certificate is not for timestamps alone")
    if not _was_valid(certificate, at):
        raise invalid("its signer's certificate was not valid then")


def require_chain(
    leaf: x509.Certificate,
    certificates: Sequence[x509.Certificate],
    roots: Sequence[x509.Certificate],
    at: datetime,
) -> None:
    """A path from the leaf to a root, shortest first."""
    paths = [(leaf,)]
    for _ in range(_LONGEST_CHAIN):
        if any(path[-1] in roots for path in paths):
            return
        paths = [
            (*path, issuer)
            for path in paths
            for issuer in certificates
            if issuer not in path and _issued(issuer, path, at)
        ][:_MOST_PATHS]
    raise invalid("its signer's certificate leads to no trusted root")


def _issued(issuer: x509.Certificate, path: tuple[x509.Certificate, ...], at: datetime) -> bool:
    """Whether this was the issuer of the path's last certificate then, and may have as many below it."""
    try:
        constraints = issuer.extensions.get_extension_for_class(x509.BasicConstraints).value
        usage = [each.value for each in issuer.extensions if isinstance(each.value, x509.KeyUsage)]
        path[-1].verify_directly_issued_by(issuer)
    except _UNREADABLE:
        return False
    below = len(path) - 1
    return (
        constraints.ca
        and (constraints.path_length is None or below <= constraints.path_length)
        and all(each.key_cert_sign for each in usage)
        and _was_valid(issuer, at)
    )


def _was_valid(certificate: x509.Certificate, at: datetime) -> bool:
    return certificate.not_valid_before_utc <= at <= certificate.not_valid_after_utc


def extensions_of(certificate: x509.Certificate) -> list[x509.Extension[x509.ExtensionType]]:
    """Raises SIGNATURE_INVALID where they cannot be read."""
    try:
        return list(certificate.extensions)
    except _UNREADABLE:
        raise invalid("a certificate in it cannot be read") from None


def invalid(why: str) -> NexusControlError:
    """SIGNATURE_INVALID, and why."""
    return NexusControlError(ErrorCode.SIGNATURE_INVALID, f"the timestamp does not verify: {why}")
