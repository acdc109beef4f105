"""Passkeys as keys of SSH: enrol one, and pack what it signs into a signature that ssh-keygen verifies.

    enrol    the browser's answer to a challenge for `navigator.credentials.create` gives the key. Nothing of it is
             signed, so the key signs once more, over a challenge in a namespace of its own: `require_signed`.
    allow    `allowed_signers_line` is the line that the owner of the file of allowed signers adds, after they compared
             the fingerprint with its person by another way. A program never adds it.
    sign     the challenge of `navigator.credentials.get` is `challenge_of` the message. `pack` makes the signature.

The two integers of the browser's DER signature become two mpint; flags, counter and extensions are cut out of the
authenticator data. What is packed is not verified: `SshSignature.require_over` and `require_origin` do that.
"""

import hashlib
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from nexus_control.errors import ErrorCode, NexusControlError, invalid_argument
from nexus_control.evidence.formats.base64_text import to_base64
from nexus_control.evidence.formats.origins import PasskeyOrigins, fits_rp_id
from nexus_control.evidence.formats.ssh_keys import WEBAUTHN, SshKey, passkey_of
from nexus_control.evidence.formats.ssh_wire import mpint, string
from nexus_control.evidence.formats.sshsig import (
    armored,
    enveloped,
    parse_ssh_signature,
    to_be_signed,
)
from nexus_control.evidence.formats.webauthn import (
    CREATE,
    IS_COPIED,
    client_data_problem,
    flags_problem,
    origin_in,
    read_authenticator_data,
    read_credential,
)

_SPKI = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d030107034200")
_ES256: Final = -7


@dataclass(frozen=True, slots=True, kw_only=True)
class Assertion:
    """What `navigator.credentials.get` gave back: `response` of the credential, as bytes."""

    authenticator_data: bytes
    client_data_json: bytes
    signature: bytes
    """DER."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attestation:
    """What `navigator.credentials.create` gave back: `response` of the credential, as bytes."""

    authenticator_data: bytes
    """`getAuthenticatorData()`"""
    client_data_json: bytes
    public_key: bytes
    """`getPublicKey()`: SubjectPublicKeyInfo, DER."""
    algorithm: int
    """`getPublicKeyAlgorithm()`"""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewPasskey:
    """A key that was enrolled. It may sign nothing until its line is among the allowed signers."""

    key: SshKey
    credential_id: bytes
    is_synced: bool
    """Whether its authenticator says that the key is copied to other devices."""


def challenge_of(message: bytes, namespace: str) -> bytes:
    """What `navigator.credentials.get` takes as its challenge, so that the passkey signs this message.

    >>> len(challenge_of(b"a statement", "nexus-control.approval.v1"))
    117
    """
    return to_be_signed(message, namespace)


def pack(assertion: Assertion, key: SshKey, namespace: str) -> str:
    """The assertion of this passkey as a signature in ssh-keygen's armor, not yet verified.

    Raises SIGNATURE_INVALID for bytes in another form, and for an assertion for another RP ID.
    """
    data = read_authenticator_data(assertion.authenticator_data)
    if data is None:
        raise _refused("its authenticator data are cut short")
    if data.rp_id_hash != hashlib.sha256((key.rp_id or "").encode()).digest():
        raise _refused(f"it is not for the RP ID {key.rp_id!r:.100}")
    origin = origin_in(assertion.client_data_json)
    if origin is None:
        raise _refused("its client data name no origin, or are not strict JSON of at most 2048 bytes")
    fields = (WEBAUTHN.encode(), _integers(assertion.signature))
    stated = bytes([data.flags]) + data.counter.to_bytes(4, "big")
    page = (origin.encode(), assertion.client_data_json, data.after)
    signature = b"".join(map(string, fields)) + stated + b"".join(map(string, page))
    return armored(enveloped(key, namespace, signature))


def enrol(attestation: Attestation, *, challenge: bytes, rp_id: str, origins: PasskeyOrigins) -> NewPasskey:
    """The new key, when the browser made it for this challenge, at one of these origins. Nothing shows yet that anybody
    has its private half: `require_signed`.

    Raises INVALID_ARGUMENT, naming what the browser gave: client_data_json, authenticator_data or public_key.
    """
    content = attestation.client_data_json
    origin = origin_in(content)
    if origin is None or not (origins.allow(origin) and fits_rp_id(origin, rp_id)):
        listed = ", ".join(origins.for_rp_id(rp_id).origins) or "none"
        raise invalid_argument(
            "client_data_json", f"names the origin {origin!r:.100}; allowed for {rp_id!r:.100}: {listed}"
        )
    if problem := client_data_problem(content, CREATE, challenge, origin):
        raise invalid_argument("client_data_json", f"is refused: {problem}")
    data = read_authenticator_data(attestation.authenticator_data)
    if data is None or data.rp_id_hash != hashlib.sha256(rp_id.encode()).digest():
        raise invalid_argument("authenticator_data", f"is not for the RP ID {rp_id!r:.100}")
    if problem := flags_problem(data.flags, enrolling=True):
        raise invalid_argument("authenticator_data", f"is refused: {problem}")
    credential = read_credential(data)
    if credential is None:
        raise invalid_argument("authenticator_data", "does not hold a new key of algorithm ES256 on P-256")
    if attestation.algorithm != _ES256:
        raise invalid_argument("algorithm", f"is {attestation.algorithm}; {_ES256}, which is ES256, is taken")
    if attestation.public_key != _SPKI + credential.point:
        raise invalid_argument("public_key", "is not the key on P-256 that the authenticator data hold")
    return NewPasskey(
        key=passkey_of(rp_id, credential.point),
        credential_id=credential.credential_id,
        is_synced=bool(data.flags & IS_COPIED),
    )


def require_signed(
    assertion: Assertion, key: SshKey, message: bytes, namespace: str, origins: PasskeyOrigins
) -> str:
    """The packed signature, when this passkey signed `challenge_of(message, namespace)` at one of these origins. A new
    key proves in this way that somebody has its private half. Raises SIGNATURE_INVALID.
    """
    packed = pack(assertion, key, namespace)
    signature = parse_ssh_signature(packed)
    signature.require_origin(origins)
    signature.require_over(message, namespace)
    return packed


def allowed_signers_line(principal: str, key: SshKey, namespace: str, comment: str = "") -> str:
    """The line, without a newline, that lets this principal sign with this key in this namespace.

    The principal and the comment are taken as they are: check the line with `parse_allowed_signers`.
    """
    named = f'"{principal}"' if " " in principal else principal
    line = f'{named} namespaces="{namespace}" {key.type} {to_base64(key.blob)}'
    return f"{line} {comment}" if comment else line


def _integers(der: bytes) -> bytes:
    try:
        r, s = decode_dss_signature(der)
    except ValueError:
        raise _refused("it is not an ECDSA signature in DER") from None
    if min(r, s) <= 0:
        raise _refused("its integers are not positive")
    return mpint(r) + mpint(s)


def _refused(why: str) -> NexusControlError:
    return NexusControlError(ErrorCode.SIGNATURE_INVALID, f"the passkey's signature is refused: {why}")
