"""openssl itself: a certificate authority and a timestamp authority in a folder."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")

FOR_TIMESTAMPS = "extendedKeyUsage=critical,timeStamping"
IS_CA = "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign"

_CONFIG = """
[tsa]
default_tsa = authority
[authority]
serial = {folder}/serial
default_policy = 1.2.3.4.1
digests = {digests}
accuracy = secs:1
ess_cert_id_alg = {ess}
ordering = yes
tsa_name = yes
"""


def openssl(*arguments: str | Path, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = ["openssl", *map(str, arguments)]
    return subprocess.run(command, input=stdin, capture_output=True, timeout=240, check=False)


def made(*arguments: str | Path) -> None:
    ran = openssl(*arguments)
    assert ran.returncode == 0, ran.stderr.decode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Certified:
    """A key and its certificate, in files."""

    key: Path
    certificate: Path

    @property
    def pem(self) -> str:
        return self.certificate.read_text()


def key_in(folder: Path, name: str, kind: str) -> Path:
    key = folder / f"{name}.key"
    options = {
        "EC": ("EC", "-pkeyopt", "ec_paramgen_curve:P-256"),
        "EC384": ("EC", "-pkeyopt", "ec_paramgen_curve:P-384"),
        "EC521": ("EC", "-pkeyopt", "ec_paramgen_curve:P-521"),
        "RSA": ("RSA", "-pkeyopt", "rsa_keygen_bits:2048"),
        "short RSA": ("RSA", "-pkeyopt", "rsa_keygen_bits:1024"),
        "ED25519": ("ED25519",),
    }[kind]
    made("genpkey", "-algorithm", *options, "-out", key)
    return key


def authority_in(folder: Path, name: str = "root", kind: str = "EC") -> Certified:
    """A self-signed certificate authority."""
    key, certificate = key_in(folder, name, kind), folder / f"{name}.pem"
    made("req", "-x509", "-new", "-key", key, "-subj", f"/CN={name}", "-days", "3650", "-out", certificate)
    return Certified(key=key, certificate=certificate)


def issued_in(
    folder: Path,
    name: str,
    by: Certified,
    extensions: str = FOR_TIMESTAMPS,
    *,
    kind: str = "EC",
    days: tuple[str, ...] = ("-days", "3650"),
) -> Certified:
    """A certificate that an authority issued."""
    key, certificate, request = key_in(folder, name, kind), folder / f"{name}.pem", folder / f"{name}.csr"
    wanted = folder / f"{name}.ext"
    wanted.write_text(extensions + "\n")
    made("req", "-new", "-key", key, "-subj", f"/CN={name}", "-out", request)
    signer = ("-CA", by.certificate, "-CAkey", by.key, "-CAcreateserial")
    made("x509", "-req", "-in", request, *signer, "-extfile", wanted, *days, "-out", certificate)
    return Certified(key=key, certificate=certificate)


def stamped(
    folder: Path,
    authority: Certified,
    message: bytes,
    *,
    digest: str = "sha256",
    ess: str = "sha256",
    certificates: bool = True,
    chain: Certified | None = None,
) -> bytes:
    """The authority's answer to a request to stamp the message."""
    config, data, query, answer = (folder / name for name in ("ts.cnf", "message", "query", "answer"))
    config.write_text(_CONFIG.format(folder=folder, digests="sha1, sha256, sha384, sha512", ess=ess))
    folder.joinpath("serial").write_text("01\n")
    data.write_bytes(message)
    made("ts", "-query", "-data", data, f"-{digest}", *(("-cert",) if certificates else ()), "-out", query)
    signer = ("-signer", authority.certificate, "-inkey", authority.key, "-sha256")
    between = ("-chain", chain.certificate) if chain else ()
    made("ts", "-reply", "-config", config, "-queryfile", query, *signer, *between, "-out", answer)
    return answer.read_bytes()
