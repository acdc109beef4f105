"""Signed envelopes (DSSE v1, protocol.md and envelope.md), strictly read.

    envelope  = {"payload": base64, "payloadType": text, "signatures": [{"keyid"?: text, "sig": base64}, ...]}
    signed    = "DSSEv1 " length(type) " " type " " length(payload) " " payload        lengths of bytes, in decimal

The decoded payload is verified before anything in it is read. `keyid` is a hint that no signature covers, so it is
ignored. Two signatures by one key count once.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from nexus_control.canonical_json import canonical_json, parse_json_object
from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.evidence.formats.base64_text import from_base64, to_base64
from nexus_control.evidence.formats.keys import PrivateKey, PublicKey
from nexus_control.values.records import check, decode

_LONGEST: Final = 4_000_000
_MOST_SIGNATURES: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """A payload and its claimed signatures, not yet verified."""

    payload_type: str
    payload: bytes
    signatures: tuple[tuple[str, bytes], ...]
    """(keyid, signature)."""

    @property
    def signed_bytes(self) -> bytes:
        """The bytes that the signatures cover: the pre-authentication encoding."""
        return pae(self.payload_type, self.payload)

    def signed_by(self, trusted: Iterable[PublicKey]) -> frozenset[PublicKey]:
        """The trusted keys that made at least one of the signatures."""
        signed = self.signed_bytes
        return frozenset(
            key for key in trusted if any(key.verifies(signature, signed) for _, signature in self.signatures)
        )

    def to_json(self) -> str:
        return canonical_json(
            {
                "payload": to_base64(self.payload),
                "payloadType": self.payload_type,
                "signatures": [{"keyid": keyid, "sig": to_base64(sig)} for keyid, sig in self.signatures],
            }
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Signature:
    sig: str
    keyid: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Written:
    payload: str
    payloadType: str  # noqa: N815 - the format's own name
    signatures: tuple[_Signature, ...] = check(
        lambda items: 1 <= len(items) <= _MOST_SIGNATURES, f"1 to {_MOST_SIGNATURES} signatures"
    )


def pae(payload_type: str, payload: bytes) -> bytes:
    """The pre-authentication encoding."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def sign_envelope(payload_type: str, payload: bytes, *keys: PrivateKey) -> Envelope:
    """The envelope with one signature by each key."""
    signed = pae(payload_type, payload)
    signatures = tuple((key.public.fingerprint, key.sign(signed)) for key in keys)
    return Envelope(payload_type=payload_type, payload=payload, signatures=signatures)


def parse_envelope(text: str | bytes) -> Envelope:
    """Read an envelope; nothing in it is verified. Raises INTEGRITY_MISMATCH."""
    try:
        if len(text) > _LONGEST:
            raise _malformed(f"it is longer than {_LONGEST}")
        data = parse_json_object(text)
    except NexusControlError as fault:
        raise _malformed(fault.message) from None
    written = decode(_Written, data, where="envelope", code=ErrorCode.INTEGRITY_MISMATCH)
    payload = from_base64(written.payload)
    signatures = [(each.keyid, from_base64(each.sig)) for each in written.signatures]
    verbatim = tuple((keyid, signature) for keyid, signature in signatures if signature)
    if payload is None or len(verbatim) != len(signatures):
        raise _malformed("payload and signatures must be standard, padded base64")
    return Envelope(payload_type=written.payloadType, payload=payload, signatures=verbatim)


def _malformed(problem: str) -> NexusControlError:
    return NexusControlError(ErrorCode.INTEGRITY_MISMATCH, f"this is not a DSSE envelope: {problem}")
