"""Public keys of SSH, of the supported kinds (RFC 4253 6.6, RFC 5656 3.1, RFC 8709, OpenSSH PROTOCOL.u2f).

    line                                  type " " base64(blob) [" " comment]
    ssh-ed25519                           string type || string key (32 bytes)
    ecdsa-sha2-nistp256, -384, -521       string type || string curve || string point (0x04 || x || y)
    ssh-rsa                               string type || mpint e || mpint n
    sk-ssh-ed25519@openssh.com            as ssh-ed25519 || string application
    sk-ecdsa-sha2-nistp256@openssh.com    as ecdsa-sha2-nistp256 || string application

Each key has exactly one blob, so equal blobs mean equal keys. Weak Ed25519 keys and points off the curve are refused
(see `keys`), and so are certificates; an RSA modulus has 2048 to 8192 bits.

The application of an sk- key begins with "ssh:", or it is an RP ID, which is the host of a web site. Then the key is a
passkey, and only sk-ecdsa is taken: a browser signs with it, by an algorithm of its own that names the page's origin.
Under "ssh:" that algorithm is refused, and under an RP ID every other one: a program of its own made the signature.
"""

import hashlib
import re
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers

from nexus_control.errors import NexusControlError, invalid_argument
from nexus_control.evidence.formats.base64_text import from_base64, to_base64
from nexus_control.evidence.formats.keys import PublicKey, public_from_ed25519, public_from_point
from nexus_control.evidence.formats.origins import host_problem
from nexus_control.evidence.formats.ssh_wire import WireReader, string

WEBAUTHN = "webauthn-sk-ecdsa-sha2-nistp256@openssh.com"
"""The signature algorithm of a passkey."""

_LINE = re.compile(r"([^ \t]+)[ \t]+([A-Za-z0-9+/=]+)(?:[ \t][^\r\n]*)?")
_LONGEST = 16_384
_CERTIFICATE = re.compile(r"-cert-v[0-9]+@openssh\.com\Z")
_CURVES = {"nistp256": ("secp256r1", 65), "nistp384": ("secp384r1", 97), "nistp521": ("secp521r1", 133)}
_APPLICATION = "ssh:"
_PASSKEY = "sk-ecdsa-sha2-nistp256@openssh.com"
_BEGINNING = "AAAA"  # of every key's base64: its first string is short
_PRIVATE, _PRIVATE_MAGIC = "-----BEGIN OPENSSH PRIVATE KEY-----", b"openssh-key-v1\0"
_RSA_HASHES: dict[str, hashes.HashAlgorithm] = {
    "rsa-sha2-256": hashes.SHA256(),
    "rsa-sha2-512": hashes.SHA512(),
}
_ALSO_CALLED = {"ssh-rsa": tuple(_RSA_HASHES)}  # before the base64, by OpenSSH


@dataclass(frozen=True, slots=True, kw_only=True)
class RsaKey:
    """An RSA public key. It verifies PKCS #1 v1.5 (RFC 8332)."""

    modulus: int
    exponent: int

    def verifies(self, signature: bytes, message: bytes, algorithm: str) -> bool:
        """Whether this key made the signature by `algorithm`, "rsa-sha2-256" or "rsa-sha2-512".

        A signature that lacks leading zeros gets them back, as in OpenSSH; one that is too long is refused.
        """
        length = (self.modulus.bit_length() + 7) // 8
        key = RSAPublicNumbers(self.exponent, self.modulus).public_key()
        try:
            key.verify(signature.rjust(length, b"\0"), message, PKCS1v15(), _RSA_HASHES[algorithm])
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class SshKey:
    """A checked public key. Two are equal when they are the same key; a comment beside the key is ignored."""

    type: str
    blob: bytes = field(repr=False)
    public: PublicKey | RsaKey = field(compare=False, repr=False)
    application: str | None = field(default=None, compare=False)
    """Only for sk- keys: what the key was made for, which begins with "ssh:" or is an RP ID; otherwise None."""

    @property
    def fingerprint(self) -> str:
        """`SHA256:` and the digest of the blob in base64, as ssh-keygen prints it."""
        digest = to_base64(hashlib.sha256(self.blob).digest())
        return f"SHA256:{digest.rstrip('=')}"

    @property
    def rp_id(self) -> str | None:
        """The RP ID of a passkey, such as "approve.example.org"; None for any other key."""
        return (
            None
            if self.application is None or self.application.startswith(_APPLICATION)
            else self.application
        )

    @property
    def algorithms(self) -> tuple[str, ...]:
        """The names of the signature algorithms that are accepted from this key. SHA-1 is never accepted."""
        if isinstance(self.public, RsaKey):
            return tuple(_RSA_HASHES)
        return (self.type if self.rp_id is None else WEBAUTHN,)


def parse_ssh_public_key(text: str) -> SshKey:
    """A key from its one line, as in a `.pub` file. Raises INVALID_ARGUMENT."""
    matched = _LINE.fullmatch(text.strip(" \t\r\n")) if len(text) <= _LONGEST else None
    blob = from_base64(matched[2]) if matched else None
    if matched is None or blob is None:
        raise invalid_argument("key", "must be a type and base64, as in a .pub file of ssh-keygen")
    key = parse_ssh_key_blob(blob)
    if matched[1] != key.type and matched[1] not in _ALSO_CALLED.get(key.type, ()):
        raise invalid_argument("key", f"has the type {matched[1]!r:.60} on its line, but is {key.type}")
    return key


def public_line_in(text: str) -> str | None:
    """The public key's line in the text of a key file, or None for any other text. The file may be a .pub file or a
    private key in OpenSSH's format, whose public part can be read without the passphrase.
    """
    lines = text.strip().splitlines()
    for line in lines:
        matched = _LINE.fullmatch(line)
        if matched and matched[2].startswith(_BEGINNING):
            return line
    blob = from_base64("".join(lines[1:-1])) if lines[:1] == [_PRIVATE] else None
    if blob is None or not blob.startswith(_PRIVATE_MAGIC):
        return None
    reader = WireReader(blob.removeprefix(_PRIVATE_MAGIC), "key")
    try:
        for _ in ("cipher", "kdf", "kdf options"):
            reader.string()
        reader.u32()  # how many keys: one
        public = reader.string()
        return f"{WireReader(public, 'key').text()} {to_base64(public)}"
    except NexusControlError:
        return None


def parse_ssh_key_blob(blob: bytes) -> SshKey:
    """A key from its bytes on the wire. Raises INVALID_ARGUMENT."""
    reader = WireReader(blob, "key")
    kind, application = reader.text(), None
    match kind:
        case "ssh-ed25519" | "sk-ssh-ed25519@openssh.com":
            public = public_from_ed25519(reader.string())
        case "ecdsa-sha2-nistp256" | "sk-ecdsa-sha2-nistp256@openssh.com":
            public = _point(reader, "nistp256")
        case "ecdsa-sha2-nistp384" | "ecdsa-sha2-nistp521":
            public = _point(reader, kind[-8:])
        case "ssh-rsa":
            public = _rsa(reader)
        case _ if _CERTIFICATE.search(kind):
            raise invalid_argument("key", "is a certificate; certificates are not taken, name the key itself")
        case _:
            raise invalid_argument("key", f"is of type {kind!r:.60}, which is not taken")
    if kind.startswith("sk-"):
        application = reader.text()
    reader.end()
    if application is not None and not application.startswith(_APPLICATION):
        _require_passkey(kind, application)
    return SshKey(type=kind, blob=blob, public=public, application=application)


def passkey_of(rp_id: str, point: bytes) -> SshKey:
    """The passkey of this RP ID whose public key is this point, 04 || x || y. Raises INVALID_ARGUMENT."""
    return parse_ssh_key_blob(b"".join(map(string, (_PASSKEY.encode(), b"nistp256", point, rp_id.encode()))))


def _require_passkey(kind: str, application: str) -> None:
    if problem := host_problem(application):
        raise invalid_argument(
            "key",
            f"has the application {application!r:.100}, which does not begin with {_APPLICATION!r}, and as an RP ID"
            f" {problem}",
        )
    if kind != _PASSKEY:
        raise invalid_argument(
            "key", f"is a passkey of {application!r:.100} and of type {kind}; a passkey's is {_PASSKEY}"
        )


def _point(reader: WireReader, curve: str) -> PublicKey:
    named, point = reader.text(), reader.string()
    curve_name, length = _CURVES[curve]
    # A compressed point would be a second spelling of the same key.
    if named != curve or len(point) != length or point[0] != 0x04:
        raise invalid_argument("key", f"must be an uncompressed point on {curve}")
    return public_from_point(curve_name, point)


def _rsa(reader: WireReader) -> RsaKey:
    exponent, modulus = reader.mpint(), reader.mpint()
    if not 2048 <= modulus.bit_length() <= 8192 or modulus % 2 == 0:
        raise invalid_argument("key", "must have an odd RSA modulus of 2048 to 8192 bits")
    # OpenSSL verifies nothing under a larger exponent when the modulus is above 3072 bits.
    if not 3 <= exponent < 2**64 or exponent % 2 == 0:
        raise invalid_argument("key", "must have an odd RSA exponent from 3 to 64 bits")
    return RsaKey(modulus=modulus, exponent=exponent)
