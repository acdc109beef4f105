"""Timestamps of authorities (RFC 3161 in CMS, RFC 5652), verified over bytes against roots that the verifier trusts.

    TimeStampResp   SEQUENCE { SEQUENCE { status 0 or 1, ... }, token }        or just the token
    token           ContentInfo of SignedData with one SignerInfo; its content is TSTInfo
    TSTInfo         version 1, policy, messageImprint { hash, digest }, serial, genTime, ...

The signed attributes name the signer's certificate (ESSCertID or ESSCertIDv2, RFC 5816). That certificate must be for
timestamps only and lead to a root at genTime (see `certificates`). A token carries at most `_MOST_CERTIFICATES`.
Hashes are SHA-256, SHA-384 and SHA-512; keys are ECDSA on P-256, P-384 and P-521, and RSA of 2048 bits and more.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from nexus_control.evidence.formats.certificates import (
    extensions_of,
    invalid,
    read_certificate,
    read_pem,
    require_for_timestamps,
    require_path,
    require_signed,
)
from nexus_control.evidence.formats.der import (
    BOOLEAN,
    GENERALIZED_TIME,
    OCTET_STRING,
    SEQUENCE,
    SET,
    Value,
    malformed,
    parse_der,
)

_SIGNED_DATA, _TST_INFO = "1.2.840.113549.1.7.2", "1.2.840.113549.1.9.16.1.4"
_CONTENT_TYPE, _MESSAGE_DIGEST = "1.2.840.113549.1.9.3", "1.2.840.113549.1.9.4"
_ESS_CERT_ID, _ESS_CERT_ID_V2 = "1.2.840.113549.1.9.16.2.12", "1.2.840.113549.1.9.16.2.47"
_HASHES: Final[dict[str, hashes.HashAlgorithm]] = {
    "2.16.840.1.101.3.4.2.1": hashes.SHA256(),
    "2.16.840.1.101.3.4.2.2": hashes.SHA384(),
    "2.16.840.1.101.3.4.2.3": hashes.SHA512(),
}
# The hash that a signature algorithm names; with None, as for plain RSA, the SignerInfo's hash is used.
_SIGNATURES: Final[dict[str, str | None]] = {
    "1.2.840.113549.1.1.1": None,
    "1.2.840.113549.1.1.11": "sha256",
    "1.2.840.113549.1.1.12": "sha384",
    "1.2.840.113549.1.1.13": "sha512",
    "1.2.840.10045.4.3.2": "sha256",
    "1.2.840.10045.4.3.3": "sha384",
    "1.2.840.10045.4.3.4": "sha512",
}
_CERTIFICATES, _SIGNED_ATTRIBUTES, _SUBJECT_KEY_ID = 0xA0, 0xA0, 0x80
_EXTENSIONS: Final = 0xA1
_NULL: Final = b"\x05\0"
_LONGEST: Final = 100_000
_MOST_CERTIFICATES: Final = 20
_GRANTED: Final = {0, 1}


@dataclass(frozen=True, slots=True, kw_only=True)
class Timestamp:
    """When an authority saw the bytes, by the authority's clock, in UTC."""

    time: datetime
    serial_number: int
    policy: str
    authority: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Info:
    policy: str
    hash: hashes.HashAlgorithm
    digest: bytes
    serial_number: int
    time: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class _Signer:
    identity: Value
    hash: hashes.HashAlgorithm
    attributes: Value
    signature: bytes


def verify_timestamp(
    token: bytes, message: bytes, roots: Sequence[str], certificates: Sequence[str] = ()
) -> Timestamp:
    """When `message` was stamped. `roots` and `certificates` are PEM texts. A path may use the `certificates`, but only
    `roots` are trusted. Raises SIGNATURE_INVALID when the timestamp does not verify, INTEGRITY_MISMATCH for bytes in
    another format, INVALID_ARGUMENT for roots or certificates that cannot be read.
    """
    trusted, known = read_pem("timestamp_roots", roots), read_pem("timestamp_certificates", certificates)
    if len(token) > _LONGEST:
        raise malformed(f"it is longer than {_LONGEST} bytes")
    content, carried, signer = _signed_data(_token(parse_der(token)))
    info = _info(content)
    if hashlib.new(info.hash.name, message).digest() != info.digest:
        raise invalid("it is of other bytes")
    attributes = _attributes(signer.attributes)
    if _only(attributes, _CONTENT_TYPE).oid() != _TST_INFO:
        raise invalid("its attributes are of other content")
    stated = _only(attributes, _MESSAGE_DIGEST).expect(OCTET_STRING)
    if stated != hashlib.new(signer.hash.name, content).digest():
        raise invalid("its content was changed")
    certificate = _named_certificate(attributes, (*carried, *known, *trusted))
    _require_identity(signer.identity, certificate)
    # The signature covers the attributes with the tag SET OF; in the token they have an implicit tag (RFC 5652, 5.4).
    signed = bytes([SET]) + signer.attributes.encoded[1:]
    require_signed(certificate, signer.signature, signed, signer.hash)
    require_for_timestamps(certificate)
    require_path(certificate, (*carried, *known), trusted, info.time)
    return Timestamp(
        time=info.time,
        serial_number=info.serial_number,
        policy=info.policy,
        authority=certificate.subject.rfc4514_string(),
    )


def _token(value: Value) -> Value:
    """The token in a response, or the token itself."""
    parts = value.children()
    if len(parts) != 2 or parts[0].tag != SEQUENCE:
        return value
    status = parts[0].children()
    if not status or status[0].integer() not in _GRANTED:
        raise invalid("the authority refused to stamp")
    return parts[1]


def _signed_data(token: Value) -> tuple[bytes, tuple[x509.Certificate, ...], _Signer]:
    match token.children():
        case [kind, wrapped] if kind.oid() == _SIGNED_DATA:
            (signed_data,) = _exactly(1, wrapped.children(0xA0))
        case _:
            raise malformed("it holds no signed data")
    version, digests, content, *optional, signers = _at_least(4, signed_data.children())
    kind, wrapped = _exactly(2, content.children())
    if kind.oid() != _TST_INFO:
        raise malformed("the signed content is not a TSTInfo")
    (octets,) = _exactly(1, wrapped.children(0xA0))
    (signer,) = _exactly(1, signers.children(SET))
    carried = _parts(optional, _CERTIFICATES)
    if len(carried) > _MOST_CERTIFICATES:
        raise malformed(f"it carries more than {_MOST_CERTIFICATES} certificates")
    read = _signer(signer)
    if version.integer() != 3 or read.hash.name not in [_hash(each).name for each in digests.children(SET)]:
        raise malformed("its version or its list of hashes does not fit its signer's")
    return octets.expect(OCTET_STRING), tuple(read_certificate(each.encoded) for each in carried), read


def _signer(value: Value) -> _Signer:
    version, identity, hashed, attributes, algorithm, signature, *_unsigned = _at_least(6, value.children())
    if version.integer() != (1 if identity.tag == SEQUENCE else 3):
        raise malformed("its signer has another version")
    hash_ = _hash(hashed)
    attributes.expect(_SIGNED_ATTRIBUTES)
    name = _at_least(1, algorithm.children())[0].oid()
    if name not in _SIGNATURES or _SIGNATURES[name] not in (None, hash_.name):
        raise invalid(f"signature algorithm {name} is not supported")
    return _Signer(
        identity=identity, hash=hash_, attributes=attributes, signature=signature.expect(OCTET_STRING)
    )


def _info(content: bytes) -> _Info:
    version, policy, imprint, serial, time, *optional = _at_least(5, parse_der(content).children())
    if version.integer() != 1:
        raise malformed("its version is not 1")
    if any(map(_is_critical, _parts(optional, _EXTENSIONS))):
        raise invalid("it has a critical extension, which is not known")
    hashed, digest = _exactly(2, imprint.children())
    return _Info(
        policy=policy.oid(),
        hash=_hash(hashed),
        digest=digest.expect(OCTET_STRING),
        serial_number=serial.integer(),
        time=_time(time.expect(GENERALIZED_TIME)),
    )


def _parts(values: list[Value], tag: int) -> list[Value]:
    """What is in those of the values that have this tag."""
    return [part for each in values if each.tag == tag for part in each.children(tag)]


def _is_critical(extension: Value) -> bool:
    parts = extension.children()
    return len(parts) > 1 and parts[1].tag == BOOLEAN and parts[1].content != b"\0"


def _time(octets: bytes) -> datetime:
    """YYYYMMDDHHMMSS[.f]Z; a fraction does not end with 0 (RFC 3161, 2.4.2)."""
    whole, dot, fraction = octets[:-1].decode("ascii", "replace").partition(".")
    digits = whole + fraction
    if not octets.endswith(b"Z") or len(whole) != 14 or not (digits.isascii() and digits.isdigit()):
        raise malformed("its time is not in UTC")
    if dot and (not fraction or fraction.endswith("0")):
        raise malformed("its time is not in its one spelling")
    try:
        second = datetime.strptime(whole, "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        raise malformed("its time is no calendar date and time") from None
    return second.replace(microsecond=int(f"{fraction:0<6}"[:6]))


def _attributes(value: Value) -> dict[str, list[Value]]:
    """The signed attributes by name. An attribute that comes twice is refused."""
    attributes: dict[str, list[Value]] = {}
    for each in value.children(_SIGNED_ATTRIBUTES):
        name, values = _exactly(2, each.children())
        if name.oid() in attributes:
            raise malformed("an attribute comes twice")
        attributes[name.oid()] = values.children(SET)
    return attributes


def _only(attributes: dict[str, list[Value]], name: str) -> Value:
    return _exactly(1, attributes.get(name, []))[0]


def _named_certificate(
    attributes: dict[str, list[Value]], certificates: Sequence[x509.Certificate]
) -> x509.Certificate:
    """The certificate that the signed attributes name by its hash (RFC 5035, RFC 5816)."""
    if _ESS_CERT_ID_V2 in attributes:
        first = _at_least(1, _only(attributes, _ESS_CERT_ID_V2).children())[0]
        identity = _at_least(1, _at_least(1, first.children())[0].children())
        named = identity[0].tag == SEQUENCE
        hash_name, digest = _hash(identity[0]).name if named else "sha256", identity[int(named) :]
    elif _ESS_CERT_ID in attributes:
        first = _at_least(1, _only(attributes, _ESS_CERT_ID).children())[0]
        hash_name, digest = "sha1", _at_least(1, _at_least(1, first.children())[0].children())
    else:
        raise invalid("it does not name its signer's certificate")
    wanted = _at_least(1, digest)[0].expect(OCTET_STRING)
    for certificate in certificates:
        encoded = certificate.public_bytes(Encoding.DER)
        if hashlib.new(hash_name, encoded, usedforsecurity=False).digest() == wanted:
            return certificate
    raise invalid("its signer's certificate is missing: neither the timestamp nor the verifier has it")


def _require_identity(identity: Value, certificate: x509.Certificate) -> None:
    """Returns when the SignerInfo, outside the signed attributes, names this certificate too: by issuer and serial
    number, or by its key's identifier. Raises SIGNATURE_INVALID.
    """
    if identity.tag == SEQUENCE:
        issuer, number = _exactly(2, identity.children())
        named = (issuer.encoded, number.integer())
        same = named == (certificate.issuer.public_bytes(), certificate.serial_number)
    else:
        named, values = identity.expect(_SUBJECT_KEY_ID), [each.value for each in extensions_of(certificate)]
        same = named in [each.digest for each in values if isinstance(each, x509.SubjectKeyIdentifier)]
    if not same:
        raise invalid("it names two signers")


def _hash(value: Value) -> hashes.HashAlgorithm:
    kind, *parameters = _at_least(1, value.children())
    name = kind.oid()
    if [each.encoded for each in parameters] not in ([], [_NULL]):
        raise malformed("a hash has parameters")
    if name not in _HASHES:
        raise invalid(f"hash {name} is not supported; SHA-256, SHA-384 and SHA-512 are")
    return _HASHES[name]


def _exactly(count: int, values: list[Value]) -> list[Value]:
    if len(values) != count:
        raise malformed(f"{len(values)} parts where {count} are expected")
    return values


def _at_least(count: int, values: list[Value]) -> list[Value]:
    if len(values) < count:
        raise malformed(f"{len(values)} parts where at least {count} are expected")
    return values
