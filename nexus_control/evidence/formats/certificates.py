"""Certificates of timestamp authorities (RFC 5280, RFC 3161, 2.3): read, and followed to a root, at an instant.

`cryptography.x509.verification` finds the path to a root and checks it: signatures, times, names, basicConstraints,
path lengths, name constraints, and that no critical extension is unknown. Three rules that it does not check are
checked here:

    the signer      extendedKeyUsage is critical and names only timeStamping; keyUsage, if present, only signs data
    each issuer     basicConstraints says that it is a CA; keyUsage, if present, signs certificates
    constraints     name constraints are of DNS names and addresses; of other names the library checks too little

A certificate that cannot be read, or that uses an unsupported algorithm, is refused.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import (
    Criticality,
    ExtensionPolicy,
    Policy,
    PolicyBuilder,
    Store,
    VerificationError,
)

from nexus_control.errors import ErrorCode, NexusControlError, invalid_argument
from nexus_control.evidence.formats.der import malformed

_SMALLEST_RSA, _MOST_BETWEEN = 2048, 8
_CURVES: Final = {"secp256r1", "secp384r1", "secp521r1"}
# The exceptions that the library raises for wrong certificates and signatures.
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
    try:
        return tuple(each for text in texts for each in x509.load_pem_x509_certificates(text.encode()))
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
    """Returns when the key of this certificate made the signature. Raises SIGNATURE_INVALID."""
    try:
        key = by.public_key()
        if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in _CURVES:
            key.verify(signature, signed, ec.ECDSA(algorithm))
        elif isinstance(key, rsa.RSAPublicKey) and key.key_size >= _SMALLEST_RSA:
            key.verify(signature, signed, padding.PKCS1v15(), algorithm)
        else:
            raise TypeError
    except _UNREADABLE:
        raise invalid("its signature does not verify, or its key is of an unsupported kind") from None


def require_for_timestamps(certificate: x509.Certificate) -> None:
    """Its extendedKeyUsage is critical and names only timeStamping (RFC 3161, 2.3); its keyUsage, if present, signs
    only data. Raises SIGNATURE_INVALID.
    """
    is_for_timestamps = False
    for each in extensions_of(certificate):
        if isinstance(each.value, x509.ExtendedKeyUsage):
            is_for_timestamps = True
            if not each.critical or list(each.value) != [ExtendedKeyUsageOID.TIME_STAMPING]:
                raise invalid("its signer's certificate is not for timestamps alone")
        elif isinstance(each.value, x509.KeyUsage) and not _signs_only_data(each.value):
            raise invalid("the key of its signer's certificate is not for signing data alone")
    if not is_for_timestamps:
        raise invalid("its signer's certificate is not for timestamps")


def _signs_only_data(usage: x509.KeyUsage) -> bool:
    enciphers = usage.key_encipherment or usage.data_encipherment or usage.key_agreement
    signs_data = usage.digital_signature or usage.content_commitment
    return signs_data and not (enciphers or usage.key_cert_sign or usage.crl_sign)


def require_path(
    leaf: x509.Certificate,
    between: Sequence[x509.Certificate],
    roots: Sequence[x509.Certificate],
    at: datetime,
) -> None:
    """Returns when a certification path, valid at this instant, leads from the leaf to a root.

    The path may use any of the other certificates; the leaf may be a root itself. Raises SIGNATURE_INVALID.
    """
    if not roots:
        raise invalid("no root is trusted")
    builder = PolicyBuilder().time(at).store(Store(list(roots))).max_chain_depth(_MOST_BETWEEN)
    verifier = builder.extension_policies(ca_policy=_issuers(), ee_policy=_known()).build_client_verifier()
    try:
        verifier.verify(leaf, list(between))
    except (VerificationError, *_UNREADABLE) as fault:
        why = str(fault).partition(" (encountered")[0]
        raise invalid(f"its signer's certificate leads to no trusted root: {why}") from None


def _known() -> ExtensionPolicy:
    """All extensions that the library knows; those that help to find an issuer are not critical (RFC 5280, 4.2)."""
    policy = ExtensionPolicy.permit_all()
    for helpful in (x509.AuthorityInformationAccess, x509.AuthorityKeyIdentifier, x509.SubjectKeyIdentifier):
        policy = policy.may_be_present(helpful, Criticality.NON_CRITICAL, None)
    return policy


def _issuers() -> ExtensionPolicy:
    return (
        _known()
        .require_present(x509.BasicConstraints, Criticality.AGNOSTIC, None)
        .may_be_present(x509.KeyUsage, Criticality.AGNOSTIC, _signs_certificates)
        .may_be_present(x509.NameConstraints, Criticality.AGNOSTIC, _constrains_what_is_checked)
    )


def _signs_certificates(_policy: Policy, _of: x509.Certificate, usage: x509.KeyUsage | None) -> None:
    if usage is not None and not usage.key_cert_sign:
        raise ValueError("an issuer's key is not for signing certificates")


def _constrains_what_is_checked(
    _policy: Policy, _of: x509.Certificate, constraints: x509.NameConstraints | None
) -> None:
    if constraints is None:
        return
    for name in (*(constraints.permitted_subtrees or ()), *(constraints.excluded_subtrees or ())):
        if not isinstance(name, x509.DNSName | x509.IPAddress):
            raise ValueError("name constraints are supported for DNS names and addresses only")


def extensions_of(certificate: x509.Certificate) -> list[x509.Extension[x509.ExtensionType]]:
    """Raises SIGNATURE_INVALID where they cannot be read."""
    try:
        return list(certificate.extensions)
    except _UNREADABLE:
        raise invalid("a certificate in it cannot be read") from None


def invalid(why: str) -> NexusControlError:
    """A SIGNATURE_INVALID fault that says why the timestamp does not verify."""
    return NexusControlError(ErrorCode.SIGNATURE_INVALID, f"the timestamp does not verify: {why}")
