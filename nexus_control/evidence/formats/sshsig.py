"""Signatures of ssh-keygen (OpenSSH PROTOCOL.sshsig, PROTOCOL.u2f), read strictly and verified, never made.

    armor      "-----BEGIN SSH SIGNATURE-----", base64(blob) in lines of up to 76, "-----END SSH SIGNATURE-----"
    blob       "SSHSIG" || u32 1 || string key || string namespace || string "" || string hash || string signature
    signed     "SSHSIG" || string namespace || string "" || string hash || string H(message)
    signature  string algorithm || string value     Ed25519: 64 bytes; ECDSA: mpint r || mpint s; RSA: PKCS #1 v1.5
    sk-        string algorithm || string value || byte flags || u32 counter,
               value over SHA-256(application) || flags || counter || SHA-256(signed)

The hash is sha512, or sha256 (`-O hashalg=sha256`). A security key (sk-) must have been touched: flag 0x01. ssh-keygen
does not require the touch, but without it any program that reaches the device could sign in its owner's absence. Flag
0x04 says that the device verified its user, by PIN or fingerprint.
"""

import hashlib
import re
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from nexus_control.errors import ErrorCode, NexusControlError, invalid_argument
from nexus_control.evidence.formats.base64_text import from_base64, to_base64
from nexus_control.evidence.formats.ssh_keys import RsaKey, SshKey, parse_ssh_key_blob
from nexus_control.evidence.formats.ssh_wire import WireReader, string

USER_PRESENT, USER_VERIFIED = 0x01, 0x04

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

    def require_over(self, message: bytes, namespace: str) -> None:
        """Returns when `key` signed the message for this namespace. This does not tell whose key it is: ask
        `AllowedSigners`. Raises SIGNATURE_INVALID.
        """
        if self.namespace != namespace:
            raise _invalid(f"it is for the namespace {self.namespace!r:.100}, not for {namespace!r:.100}")
        if self.touch is not None and not self.touch.flags & USER_PRESENT:
            raise _invalid("the security key was not touched")
        if not self._verifies(self._signed(message)):
            raise _invalid(f"key {self.key.fingerprint} did not sign these bytes")

    def require_verified_user(self) -> None:
        """Returns when a security key made the signature and verified its user. Raises SIGNATURE_INVALID."""
        if self.touch is None or not self.touch.flags & USER_VERIFIED:
            raise _invalid("it was not made in a security key that verified its user, by PIN or finger")

    def _signed(self, message: bytes) -> bytes:
        digest = _HASHES[self.hash_algorithm](message).digest()
        parts = (self.namespace.encode(), b"", self.hash_algorithm.encode(), digest)
        signed = _MAGIC + b"".join(map(string, parts))
        if self.touch is None:
            return signed
        application = hashlib.sha256((self.key.application or "").encode()).digest()
        state = bytes([self.touch.flags]) + self.touch.counter.to_bytes(4, "big")
        return application + state + hashlib.sha256(signed).digest()

    def _verifies(self, signed: bytes) -> bool:
        if isinstance(self.key.public, RsaKey):
            return self.key.public.verifies(self.signature, signed, self.algorithm)
        return self.key.public.verifies(self.signature, signed)


def parse_ssh_signature(armored: str) -> SshSignature:
    """A signature from its armor, with LF or CRLF. Raises SIGNATURE_INVALID."""
    blob = _dearmored(armored)
    try:
        return _parsed(blob)
    except NexusControlError as refused:
        raise _invalid(refused.message) from None


def as_ssh_keygen_writes(armored: str) -> str:
    """The armor of the same signature in the form that ssh-keygen writes: lines of 70 characters, each with LF.

    Changes that editors and transfers make are accepted in `armored`: CRLF, a byte order mark, blanks at the ends of
    lines, empty lines around it, a missing newline at the end. Raises SIGNATURE_INVALID.
    """
    lines = (line.rstrip(" \t\r") for line in armored.removeprefix("\ufeff").split("\n"))
    text = to_base64(_dearmored("\n".join(lines).strip("\n")))
    wrapped = (text[start : start + _LINE] for start in range(0, len(text), _LINE))
    return "".join(f"{line}\n" for line in (_BEGIN, *wrapped, _END))


def _dearmored(armored: str) -> bytes:
    matched = _ARMOR.fullmatch(armored) if len(armored) <= _LONGEST else None
    blob = from_base64(matched[2].replace(matched[1], "")) if matched else None
    if blob is None:
        raise _invalid("signature is not in the armor that ssh-keygen -Y sign writes")
    return blob


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
    algorithm, value, touch = inner.text(), inner.string(), None
    if algorithm not in key.algorithms:
        raise invalid_argument("signature", f"is by {algorithm!r:.60}, under a key of type {key.type}")
    if key.application is not None:
        touch = Touch(flags=inner.byte(), counter=inner.u32())
    inner.end()
    return SshSignature(
        key=key,
        namespace=namespace,
        hash_algorithm=hash_algorithm,
        algorithm=algorithm,
        signature=_value(key, value),
        touch=touch,
    )


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
