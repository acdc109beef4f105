"""ssh-keygen itself, and what only tests need: a key of each kind that signs, and a security key made of software."""

import base64
import hashlib
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

needs_ssh_keygen = pytest.mark.skipif(
    shutil.which("ssh-keygen") is None, reason="ssh-keygen is not installed"
)

NAMESPACE = "nexus-control.approval.v1"
SK_ED25519, SK_ECDSA = "sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com"

Sign: TypeAlias = Callable[[bytes], bytes]


def string(octets: bytes | str) -> bytes:
    raw = octets.encode() if isinstance(octets, str) else octets
    return len(raw).to_bytes(4, "big") + raw


def mpint(value: int) -> bytes:
    return string(value.to_bytes(value.bit_length() // 8 + 1, "big"))


def armor(blob: bytes, newline: str = "\n") -> str:
    text = base64.b64encode(blob).decode()
    lines = [text[start : start + 70] for start in range(0, len(text), 70)]
    return newline.join(["-----BEGIN SSH SIGNATURE-----", *lines, "-----END SSH SIGNATURE-----", ""])


def blob_of(armored: str) -> bytes:
    return base64.b64decode("".join(armored.splitlines()[1:-1]))


def public_line(blob: bytes) -> str:
    kind = blob[4 : 4 + int.from_bytes(blob[:4], "big")].decode()
    return f"{kind} {base64.b64encode(blob).decode()}"


def sshsig(
    key: bytes,
    signature: bytes,
    *,
    namespace: str | bytes = NAMESPACE,
    hash_algorithm: str = "sha512",
    magic: bytes = b"SSHSIG",
    version: int = 1,
    reserved: str = "",
    after: bytes = b"",
) -> bytes:
    fields = (key, namespace, reserved, hash_algorithm, signature)
    return magic + version.to_bytes(4, "big") + b"".join(map(string, fields)) + after


def to_sign(message: bytes, namespace: str = NAMESPACE, hash_algorithm: str = "sha512") -> bytes:
    digest = hashlib.new(hash_algorithm, message).digest()
    return b"SSHSIG" + b"".join(map(string, (namespace, "", hash_algorithm, digest)))


def ed25519(seed: int) -> tuple[bytes, Sign]:
    """The public key on the wire, and a signer of plain messages."""
    private = Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32)
    raw = private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return string("ssh-ed25519") + string(raw), private.sign


def signed(seed: int, message: bytes, namespace: str = NAMESPACE) -> str:
    """An armored signature by the Ed25519 key of this seed."""
    key, sign = ed25519(seed)
    inner = string("ssh-ed25519") + string(sign(to_sign(message, namespace)))
    return armor(sshsig(key, inner, namespace=namespace))


class Authenticator:
    """A security key: it signs the application, the flags and its counter together with the message."""

    def __init__(self, kind: str, application: str = "ssh:") -> None:
        self.kind = kind
        self.application = application
        self._sign: Sign
        if kind == SK_ED25519:
            key, self._sign = ed25519(9)
            public = key[4 + len("ssh-ed25519") :]
        else:
            private = ec.derive_private_key(9, ec.SECP256R1())
            point = private.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
            public = string("nistp256") + string(point)
            self._sign = lambda data: mpints(private.sign(data, ec.ECDSA(hashes.SHA256())))
        self.blob = string(kind) + public + string(application)

    def signed(self, message: bytes, flags: int, counter: int = 7, after: bytes = b"") -> str:
        state = bytes([flags]) + counter.to_bytes(4, "big")
        hashed = hashlib.sha256(to_sign(message)).digest()
        value = self._sign(hashlib.sha256(self.application.encode()).digest() + state + hashed)
        return armor(sshsig(self.blob, string(self.kind) + string(value) + state + after))


def mpints(der: bytes) -> bytes:
    return b"".join(map(mpint, decode_dss_signature(der)))


def keygen(
    *arguments: str | Path, stdin: bytes = b"", zone: str = "UTC"
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        ["ssh-keygen", *map(str, arguments)],
        input=stdin,
        capture_output=True,
        timeout=240,
        check=False,
        env={"PATH": "/usr/local/bin:/usr/bin:/bin", "TZ": zone},
    )


def verified_by_ssh_keygen(
    folder: Path,
    allowed: str,
    signature: str,
    message: bytes,
    *options: str,
    principal: str = "bob@example.com",
    namespace: str = NAMESPACE,
    zone: str = "UTC",
) -> bool:
    """What `ssh-keygen -Y verify` says."""
    folder.joinpath("allowed").write_text(allowed, encoding="utf-8")
    folder.joinpath("signature").write_text(signature, encoding="utf-8")
    files = ("-f", folder / "allowed", "-s", folder / "signature")
    named = ("-I", principal, "-n", namespace)
    return keygen("-Y", "verify", *files, *named, *options, stdin=message, zone=zone).returncode == 0
