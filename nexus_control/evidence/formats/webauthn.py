"""What a browser and its authenticator state about a signature (WebAuthn Level 2, 5.8.1 and 6.1), read strictly.

    authenticator data  SHA-256(RP ID) 32 || flags 1 || counter u32 [|| credential data] [|| extensions]
    credential data     AAGUID 16 || u16 length || credential id || COSE key         only at enrolment: flag AT
    COSE key            a5 0102 0326 2001 215820 x 225820 y                          ES256 on P-256, in its one spelling
    client data         {"type":TYPE,"challenge":BASE64URL,"origin":ORIGIN,"crossOrigin":false} or "," and more members
    signed              authenticator data || SHA-256(client data)

Flags: UP 01, the user was present; UV 04, the user was verified by PIN, finger or face; BE 08, the key may be copied to
other devices; BS 10, it is; AT 40, credential data follow; ED 80, extensions follow. Bits 02 and 20 are reserved, and
ignored. UP and UV are demanded. The counter is ignored: a key that is copied to other devices keeps it at 0.

Each client of WebAuthn Level 2 writes the members of the client data in this order and without spaces, so they are
compared as bytes. The whole must be one strict JSON object as well: then no later member can say otherwise. A page in a
frame of another origin has crossOrigin true, or a topOrigin, and is refused: its user may not have seen what they sign.
"""

import base64
import hashlib
from dataclasses import dataclass
from typing import Final

from nexus_control.canonical_json import parse_json_object
from nexus_control.errors import NexusControlError
from nexus_control.evidence.formats.origins import fits_rp_id

USER_PRESENT, USER_VERIFIED, MAY_BE_COPIED, IS_COPIED = 0x01, 0x04, 0x08, 0x10
CREDENTIAL_DATA, EXTENSIONS = 0x40, 0x80
GET: Final = "webauthn.get"
CREATE: Final = "webauthn.create"

LONGEST_CLIENT_DATA: Final = 2_048
_HASH_BYTES, _STATE_BYTES = 32, 37
_ID_AT = _STATE_BYTES + 16 + 2
_LONGEST_ID = 1_023
_COSE = bytes.fromhex("a5010203262001215820"), bytes.fromhex("225820")


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthenticatorData:
    """The parts of the authenticator's statement."""

    rp_id_hash: bytes
    flags: int
    counter: int
    after: bytes
    """At enrolment the credential data and the extensions; else the extensions, which most statements do not have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """A new key, as its authenticator states it."""

    credential_id: bytes
    point: bytes
    """04 || x || y"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What a browser states about the page that asked for a passkey's signature."""

    origin: str
    """Where the page is, such as "https://approve.example.org". Verified when the signature is."""
    client_data: bytes
    extensions: bytes

    def problem(self, rp_id: str, flags: int, signed: bytes) -> str | None:
        """Why this is not the page on which a passkey of this RP ID signed these bytes; None if it is."""
        if bool(flags & EXTENSIONS) is not bool(self.extensions):
            return "its flags do not agree with its extensions"
        if not fits_rp_id(self.origin, rp_id):
            return f"no page of the origin {self.origin!r:.100} can use a passkey of {rp_id!r:.100}"
        return client_data_problem(self.client_data, GET, signed, self.origin)


def read_authenticator_data(octets: bytes) -> AuthenticatorData | None:
    """The parts; None for bytes that are cut short."""
    if len(octets) < _STATE_BYTES:
        return None
    return AuthenticatorData(
        rp_id_hash=octets[:_HASH_BYTES],
        flags=octets[_HASH_BYTES],
        counter=int.from_bytes(octets[_HASH_BYTES + 1 : _STATE_BYTES], "big"),
        after=octets[_STATE_BYTES:],
    )


def read_credential(data: AuthenticatorData) -> Credential | None:
    """The new key in the credential data; None where they have another form, or do not agree with the flags."""
    octets = data.after
    start = _ID_AT - _STATE_BYTES
    length = int.from_bytes(octets[start - 2 : start], "big")
    key = octets[start + length :]
    x, y = (
        key[len(_COSE[0]) :][:_HASH_BYTES],
        key[len(_COSE[0]) + _HASH_BYTES + len(_COSE[1]) :][:_HASH_BYTES],
    )
    spelled = _COSE[0] + x + _COSE[1] + y
    has_extensions = len(key) > len(spelled)
    if not 0 < length <= _LONGEST_ID or len(y) != _HASH_BYTES or not key.startswith(spelled):
        return None
    if has_extensions is not bool(data.flags & EXTENSIONS):
        return None
    return Credential(credential_id=octets[start : start + length], point=b"\x04" + x + y)


def flags_problem(flags: int, *, enrolling: bool = False) -> str | None:
    """What is wrong with the flags, as a sentence; None if nothing is. Whether ED is right depends on the bytes."""
    if not flags & USER_PRESENT:
        return "the authenticator did not see that its user was present"
    if not flags & USER_VERIFIED:
        return "the authenticator did not verify its user, by PIN, finger or face"
    if bool(flags & CREDENTIAL_DATA) is not enrolling:
        return (
            "its flags do not say that it is an enrolment"
            if enrolling
            else "its flags say that it is an enrolment"
        )
    if flags & IS_COPIED and not flags & MAY_BE_COPIED:
        return "its flags say that the key is copied, and that it never is"
    return None


def client_data_problem(content: bytes, kind: str, challenge: bytes, origin: str) -> str | None:
    """Why these are not the client data of this challenge at this origin, as a sentence; None if they are.

    `kind` is `GET` or `CREATE`. The origin must be one that was checked: it holds no quote.
    """
    if len(content) > LONGEST_CLIENT_DATA:
        return f"its client data have more than {LONGEST_CLIENT_DATA} bytes"
    encoded = base64.urlsafe_b64encode(challenge).rstrip(b"=")
    rest = content
    for part, problem in (
        (b'{"type":"%b"' % kind.encode(), f"its client data do not begin with the type {kind}"),
        (b',"challenge":"%b"' % encoded, "its challenge is another: something else was signed"),
        (b',"origin":"%b"' % origin.encode(), "its client data name another origin"),
        (b',"crossOrigin":false', "its client data do not say that crossOrigin is false: a page in a frame"),
    ):
        if not rest.startswith(part):
            return problem
        rest = rest.removeprefix(part)
    if rest != b"}" and not (rest.startswith(b",") and rest.endswith(b"}")):
        return "its client data do not end with their brace"
    try:
        members = parse_json_object(content)
    except NexusControlError as fault:
        return f"its client data are refused: {fault.message}"
    if "topOrigin" in members:
        return "its client data have a topOrigin: a page in a frame of another origin asked for it"
    return None


def origin_in(content: bytes) -> str | None:
    """The origin that client data name; None where they name none. This proves nothing about the rest of them."""
    try:
        origin = parse_json_object(content).get("origin") if len(content) <= LONGEST_CLIENT_DATA else None
    except NexusControlError:
        return None
    return origin if isinstance(origin, str) else None


def signed_in_device(application: str, flags: int, counter: int, extensions: bytes, message: bytes) -> bytes:
    """The bytes under the signature of a security key, where `application` is a passkey's RP ID, and `message` its
    client data.
    """
    stated = hashlib.sha256(application.encode()).digest() + bytes([flags]) + counter.to_bytes(4, "big")
    return stated + extensions + hashlib.sha256(message).digest()
