"""Chains of certificates of timestamp authorities, each wrong in one way, and a token signed under each.

`openssl ts -reply` stamps with no certificate that it would refuse. So the token is made with `openssl cms -sign`,
which signs a TSTInfo with whatever certificate it is given.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from tests.evidence.openssl import Certified, key_in, made, openssl

LEAF = "keyUsage=critical,digitalSignature\nextendedKeyUsage=critical,timeStamping"
CA = "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign"
_SHA256, _POLICY = bytes.fromhex("300d06096086480165030402010500"), bytes.fromhex("06042a030401")


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """One certificate to make: its extensions, its key, how long it is valid, the hash of its issuer's signature."""

    extensions: str = CA
    kind: str = "EC"
    days: int = 3650
    options: tuple[str, ...] = ()
    subject: str | None = None


def chain_in(folder: Path, keys: Path, root: Link, between: Sequence[Link], leaf: Link) -> list[Certified]:
    """Each certificate of a chain, from the root to the leaf."""
    chain = [certified_in(folder, keys, "root", root)]
    for number, link in enumerate(between, 1):
        chain.append(certified_in(folder, keys, f"between{number}", link, chain[-1]))
    return [*chain, certified_in(folder, keys, "leaf", leaf, chain[-1])]


def certified_in(
    folder: Path, keys: Path, name: str, link: Link, by: Certified | None = None, key: Path | None = None
) -> Certified:
    """A certificate by an issuer, or by itself. Keys are made once in their folder, by the certificate's name."""
    key = key or keys / f"{name} {link.kind}.key"
    if not key.exists():
        key_in(keys, key.stem, link.kind)
    certificate, request, wanted = folder / f"{name}.pem", folder / "csr", folder / "ext"
    wanted.write_text(link.extensions + "\n")
    made("req", "-new", "-key", key, "-subj", link.subject or f"/CN={name}", "-out", request)
    signer = ("-signkey", key) if by is None else ("-CA", by.certificate, "-CAkey", by.key)
    number = str(int.from_bytes(hashlib.sha256(f"{folder}{name}".encode()).digest()[:8]) | 1 << 62)
    how = ("-extfile", wanted, "-days", str(link.days), "-set_serial", number, *link.options)
    made("x509", "-req", "-in", request, *signer, *how, "-out", certificate)
    return Certified(key=key, certificate=certificate)


def token_in(
    folder: Path,
    leaf: Certified,
    carried: Sequence[Certified],
    message: bytes,
    at: datetime,
    options: Sequence[str] = (),
) -> bytes:
    """A token of this instant over the message, with these certificates beside the signer's."""
    content, token, beside = folder / "tst", folder / "token", folder / "carried.pem"
    imprint = _der(0x30, _SHA256, _der(0x04, hashlib.sha256(message).digest()))
    time = _der(0x18, f"{at:%Y%m%d%H%M%SZ}".encode())
    content.write_bytes(_der(0x30, b"\2\1\1", _POLICY, imprint, b"\2\1\7", time))
    beside.write_text("".join(each.pem for each in carried))
    signer = ("-signer", leaf.certificate, "-inkey", leaf.key, "-md", "sha256", "-cades", "-binary", *options)
    more = ("-certfile", beside) if carried else ()
    kind = ("-econtent_type", "1.2.840.113549.1.9.16.1.4", "-nodetach", "-outform", "DER")
    made("cms", "-sign", "-in", content, *signer, *more, *kind, "-out", token)
    return token.read_bytes()


def openssl_verifies(
    folder: Path, token: bytes, message: bytes, trusted: Path, at: datetime, *options: str | Path
) -> bool:
    """Whether `openssl ts -verify` takes the token, judged at the token's time."""
    data, file = folder / "data", folder / "to-verify"
    data.write_bytes(message)
    file.write_bytes(token)
    given = ("-token_in", "-in", file, "-data", data, "-CAfile", trusted)
    return openssl("ts", "-verify", *given, "-attime", str(int(at.timestamp())), *options).returncode == 0


def _der(tag: int, *parts: bytes) -> bytes:
    content = b"".join(parts)
    return bytes([tag, len(content)]) + content
