"""A passkey made of software: what a browser gives back, and the signature that is packed from it by hand."""

import base64
import hashlib
from dataclasses import dataclass, replace
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.evidence.ssh import NAMESPACE, SK_ECDSA, armor, mpint, public_line, sshsig, string, to_sign

ORIGIN = "http://localhost:8737"
WEBAUTHN = "webauthn-sk-ecdsa-sha2-nistp256@openssh.com"
GET, CREATE = "webauthn.get", "webauthn.create"
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


@dataclass(frozen=True, slots=True)
class Response:
    """`response` of a credential."""

    authenticator_data: bytes
    client_data_json: bytes
    signature: bytes


class Passkey:
    """The key of this seed for this RP ID."""

    def __init__(self, seed: int = 9, rp_id: str = "localhost") -> None:
        self.rp_id = rp_id
        self._private = ec.derive_private_key(seed, ec.SECP256R1())
        public = self._private.public_key()
        self.point = public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        self.spki = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        self.blob = b"".join(map(string, (SK_ECDSA, "nistp256", self.point, rp_id)))
        self.line = public_line(self.blob)
        self.credential_id = hashlib.sha256(self.blob).digest()[:16]

    def asserted(
        self,
        challenge: bytes,
        *,
        origin: str = ORIGIN,
        flags: int = 0x05,
        counter: int = 7,
        extensions: bytes = b"",
        content: bytes | None = None,
    ) -> Response:
        data = self._stated(flags, counter) + extensions
        content = client_data(challenge, origin) if content is None else content
        return Response(data, content, self.sign(data + hashlib.sha256(content).digest()))

    def enrolled(
        self, challenge: bytes, *, origin: str = ORIGIN, flags: int = 0x45, after: bytes = b""
    ) -> Response:
        """With no signature, as with attestation none."""
        x, y = self.point[1:33], self.point[33:]
        cose = bytes.fromhex("a5010203262001215820") + x + bytes.fromhex("225820") + y
        named = bytes(16) + len(self.credential_id).to_bytes(2, "big") + self.credential_id
        data = self._stated(flags, 0) + named + cose + after
        return Response(data, client_data(challenge, origin, CREATE), b"")

    def signed(
        self,
        message: bytes,
        namespace: str = NAMESPACE,
        hash_algorithm: str = "sha512",
        *,
        high: bool | None = None,
        **options: Any,
    ) -> str:
        """The message's signature in the armor. `high` is the half in which s lies."""
        made = self.asserted(to_sign(message, namespace, hash_algorithm), **options)
        is_high = decode_dss_signature(made.signature)[1] > ORDER // 2
        if high is not None and is_high is not high:
            made = replace(made, signature=with_other_half(made.signature))
        return self.packed(made, options.get("origin", ORIGIN), namespace, hash_algorithm)

    def packed(
        self, made: Response, origin: str = ORIGIN, namespace: str = NAMESPACE, hash_algorithm: str = "sha512"
    ) -> str:
        """What OpenSSH's PROTOCOL.u2f says, not our code."""
        r, s = decode_dss_signature(made.signature)
        page = (origin, made.client_data_json, made.authenticator_data[37:])
        inner = string(WEBAUTHN) + string(mpint(r) + mpint(s)) + made.authenticator_data[32:37]
        inner += b"".join(map(string, page))
        return armor(sshsig(self.blob, inner, namespace=namespace, hash_algorithm=hash_algorithm))

    def sign(self, octets: bytes) -> bytes:
        return self._private.sign(octets, ec.ECDSA(hashes.SHA256()))

    def _stated(self, flags: int, counter: int) -> bytes:
        return hashlib.sha256(self.rp_id.encode()).digest() + bytes([flags]) + counter.to_bytes(4, "big")


def client_data(challenge: bytes, origin: str = ORIGIN, kind: str = GET, more: str = "") -> bytes:
    encoded = base64.urlsafe_b64encode(challenge).rstrip(b"=").decode()
    return (
        f'{{"type":"{kind}","challenge":"{encoded}","origin":"{origin}","crossOrigin":false{more}}}'.encode()
    )


def with_other_half(der: bytes) -> bytes:
    """The other signature that the same key made of the same bytes."""
    r, s = decode_dss_signature(der)
    return encode_dss_signature(r, ORDER - s)
