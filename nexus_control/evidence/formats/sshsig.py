"""Signatures of ssh-keygen (OpenSSH PROTOCOL.sshsig, PROTOCOL.u2f), read strictly and verified, never made.

    armor      "-----BEGIN SSH SIGNATURE-----", base64(blob) in lines of up to 76, "-----END SSH SIGNATURE-----"
    blob       "SSHSIG" || u32 1 || string key || string namespace || string "" || string hash || string signature
    signed     "SSHSIG" || string namespace || string "" || string hash || string H(message)
    signature  string algorithm || string value     Ed25519: 64 bytes; ECDSA: mpint r || mpint s; RSA: PKCS #1 v1.5
    sk-        string algorithm || string value || byte flags || u32 counter,
               value over SHA-256(application) || flags || counter || SHA-256(signed)
    webauthn-  string algorithm || string value || byte flags || u32 counter
               || string origin || string client data || string extensions
               value over SHA-256(RP ID) || flags || counter || extensions || SHA-256(client data)

The hash is sha512, or sha256 (`-O hashalg=sha256`). A security key (sk-) must have been touched: flag 0x01. ssh-keygen
does not require the touch, but without it any program that reaches the device could sign in its owner's absence. Flag
0x04 says that the device verified its user, by PIN or fingerprint.

A passkey signs by webauthn-sk-ecdsa-sha2-nistp256@openssh.com: the challenge in the client data is `signed` itself, in
base64url. ssh-keygen compares the beginning of the client data, up to the origin, and nothing behind it. Here the
checks of `webauthn` are added: the user was present and verified, and the page was in no frame of another origin. Which
origins count is the verifier's to say: `SshSignature.require_origin`.
"""

import hashlib
import re
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from nexus_control.errors import ErrorCode, NexusControlError, invalid_argument
from nexus_control.evidence.formats.base64_text import from_base64, to_base64
from nexus_control.evidence.formats.origins import PasskeyOrigins
from nexus_control.evidence.formats.ssh_keys import WEBAUTHN, RsaKey, SshKey, parse_ssh_key_blob
from nexus_control.evidence.formats.ssh_wire import WireReader, string
from nexus_control.evidence.formats.webauthn import (
    IS_COPIED,
    USER_PRESENT,
    USER_VERIFIED,
    Page,
    flags_problem,
    signed_in_device,
)

_MAGIC = b"SSHSIG"
_LONGEST, _LINE = 32_768, 70
_BEGIN, _END = "-----BEGIN SSH SIGNATURE-----", "-----END SSH SIGNATURE-----"
_ARMOR = re.compile(rf"{_BEGIN}(\r?\n)((?:[A-Za-z0-9+/=]{{1,76}}\1)+){_END}(?:\1)?")
_HASHES = {"sha512": hashlib.sha512, "sha256": hashlib.sha256}


@dataclass(frozen=True, slots=True, kw_only=True)
class Touch:
    """What a security key says about its user at the moment of signing."""

    flags: int
    counter: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SshSignature:
    """A signature that was read but not yet verified."""

    key: SshKey
    namespace: str
    hash_algorithm: str
    algorithm: str
    signature: bytes
    """In the form that `key` verifies: 64 bytes for Ed25519, DER for ECDSA, the number's bytes for RSA."""
    touch: Touch | None = None
    """Only for sk- keys; otherwise None."""
    page: Page | None = None
    """Only for passkeys; otherwise None."""

    @property
    def is_synced(self) -> bool:
        """Whether a passkey says that it is copied to other devices of its owner."""
        return self.page is not None and self.touch is not None and bool(self.touch.flags & IS_COPIED)

    def require_over(self, message: bytes, namespace: str) -> None:
        """Returns when `key` signed the message for this namespace. This does not tell whose key it is: ask
        `AllowedSigners`. Nor does it tell whether a passkey's page counts: ask `require_origin`. Raises
        SIGNATURE_INVALID.
        """
        if self.namespace != namespace:
            raise _invalid(f"it is for the namespace {self.namespace!r:.100}, not for {namespace!r:.100}")
        signed = to_be_signed(message, namespace, self.hash_algorithm)
        if self.touch is not None:
            signed = self._signed_in_device(signed, self.touch)
        if not self._verifies(signed):
            raise _invalid(f"key {self.key.fingerprint} did not sign these bytes")

    def require_verified_user(self) -> None:
        """Returns when a security key made the signature and verified its user. Raises SIGNATURE_INVALID."""
        if self.touch is None or not self.touch.flags & USER_VERIFIED:
            raise _invalid("it was not made in a security key that verified its user, by PIN or finger")

    def require_origin(self, origins: PasskeyOrigins) -> None:
        """Returns when a passkey's page is at one of these origins, and for every other kind of key. Raises
        SIGNATURE_INVALID.
        """
        if self.page is None or origins.allow(self.page.origin):
            return
        listed = ", ".join(origins.for_rp_id(self.key.rp_id or "").origins)
        raise NexusControlError(
            ErrorCode.SIGNATURE_INVALID,
            f"the SSH signature is refused: a passkey made it on a page of {self.page.origin:.300}, and"
            f" {f'the allowed origins are {listed}' if listed else 'no origin is allowed for this passkey'}",
            {"origin": self.page.origin, "rp_id": self.key.rp_id},
        )

    def _signed_in_device(self, signed: bytes, touch: Touch) -> bytes:
        """What the device signed, when it and the browser stated what they must."""
        application = self.key.application or ""
        if self.page is None:
            if not touch.flags & USER_PRESENT:
                raise _invalid("the security key was not touched")
            return signed_in_device(application, touch.flags, touch.counter, b"", signed)
        problem = flags_problem(touch.flags) or self.page.problem(application, touch.flags, signed)
        if problem:
            raise _invalid(problem)
        return signed_in_device(
            application, touch.flags, touch.counter, self.page.extensions, self.page.client_data
        )

    def _verifies(self, signed: bytes) -> bool:
        if isinstance(self.key.public, RsaKey):
            return self.key.public.verifies(self.signature, signed, self.algorithm)
        return self.key.public.verifies(self.signature, signed)


def to_be_signed(message: bytes, namespace: str, hash_algorithm: str = "sha512") -> bytes:
    """What a key signs for a message: for a passkey, the challenge."""
    digest = _HASHES[hash_algorithm](message).digest()
    return _MAGIC + b"".join(map(string, (namespace.encode(), b"", hash_algorithm.encode(), digest)))


def parse_ssh_signature(text: str) -> SshSignature:
    """A signature from its armor, with LF or CRLF. Raises SIGNATURE_INVALID."""
    blob = _dearmored(text)
    try:
        return _parsed(blob)
    except NexusControlError as refused:
        raise _invalid(refused.message) from None


def as_ssh_keygen_writes(text: str) -> str:
    """The armor of the same signature in the form that ssh-keygen writes: lines of 70 characters, each with LF.

    Changes that editors and transfers make are accepted in `text`: CRLF, a byte order mark, blanks at the ends of
    lines, empty lines around it, a missing newline at the end. Raises SIGNATURE_INVALID.
    """
    lines = (line.rstrip(" \t\r") for line in text.removeprefix("\ufeff").split("\n"))
    return armored(_dearmored("\n".join(lines).strip("\n")))


def armored(blob: bytes) -> str:
    """The armor of a signature's bytes."""
    text = to_base64(blob)
    wrapped = (text[start : start + _LINE] for start in range(0, len(text), _LINE))
    return "".join(f"{line}\n" for line in (_BEGIN, *wrapped, _END))


def _dearmored(text: str) -> bytes:
    matched = _ARMOR.fullmatch(text) if len(text) <= _LONGEST else None
    blob = from_base64(matched[2].replace(matched[1], "")) if matched else None
    if blob is None:
        raise _invalid("signature is not in the armor that ssh-keygen -Y sign writes")
    return blob


def enveloped(key: SshKey, namespace: str, signature: bytes) -> bytes:
    """The bytes of a signature over the SHA-512 of a message: its key, its namespace, and the signature field."""
    fields = (key.blob, namespace.encode(), b"", b"sha512", signature)
    return _MAGIC + (1).to_bytes(4, "big") + b"".join(map(string, fields))


def _parsed(blob: bytes) -> SshSignature:
    reader = WireReader(blob, "signature")
    if reader.take(len(_MAGIC)) != _MAGIC or reader.u32() != 1:
        raise invalid_argument("signature", "must begin with SSHSIG and version 1")
    key = parse_ssh_key_blob(reader.string())
    namespace, reserved, hash_algorithm = reader.text(), reader.string(), reader.text()
    if not namespace or reserved:
        raise invalid_argument("signature", "must have a namespace and an empty reserved field")
    if hash_algorithm not in _HASHES:
        raise invalid_argument("signature", f"is by hash {hash_algorithm!r:.60}; sha512 and sha256 are taken")
    inner = WireReader(reader.string(), "signature")
    reader.end()
    algorithm, value, touch, page = inner.text(), inner.string(), None, None
    if algorithm not in key.algorithms:
        raise invalid_argument("signature", f"is by {algorithm!r:.60}, under {_kind(key)}")
    if key.application is not None:
        touch = Touch(flags=inner.byte(), counter=inner.u32())
    if key.rp_id is not None:
        page = Page(origin=inner.text(), client_data=inner.string(), extensions=inner.string())
    inner.end()
    return SshSignature(
        key=key,
        namespace=namespace,
        hash_algorithm=hash_algorithm,
        algorithm=algorithm,
        signature=_value(key, value),
        touch=touch,
        page=page,
    )


def _kind(key: SshKey) -> str:
    if key.rp_id is not None:
        return f"a passkey of {key.rp_id!r:.100}, which signs by {WEBAUTHN!r} only"
    return f"a key of type {key.type}" + (f" for {key.application!r:.100}" if key.application else "")


def _value(key: SshKey, value: bytes) -> bytes:
    if isinstance(key.public, RsaKey):
        return value
    if key.public.raw_ed25519 is None:
        reader = WireReader(value, "signature")
        r, s = reader.mpint(), reader.mpint()
        reader.end()
        return encode_dss_signature(r, s)
    if len(value) != 64:
        raise invalid_argument("signature", "must have 64 bytes under an Ed25519 key")
    return value


def _invalid(why: str) -> NexusControlError:
    return NexusControlError(ErrorCode.SIGNATURE_INVALID, f"the SSH signature is refused: {why}")
