"""Whom a verifier trusts, and what they remember: the verifier's own, never the package's. Texts, as files hold them.

An empty trust fails closed: what rests on it is skipped, and its level is not reached.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """Whose keys one verifier trusts, and what they remember.

        >>> verify_evidence(package, trust=Trust(log_keys=[log_key]), require="L2").ok
        True

    Take the keys from their owners, never from the package. A field left out trusts nobody.
    """

    allowed_signers: str | bytes | None = None
    """Who may approve with which key: an OpenSSH allowed signers file."""
    package_keys: Sequence[str] = ()
    """Who may sign packages: public keys in PEM, Ed25519 or P-256."""
    log_keys: Sequence[str] = ()
    """Which logs are known: verifier keys, NAME+ID+BASE64. Approvals that were given for them count."""
    witnesses: Sequence[str] = ()
    """Who vouches that a log shows everybody the same: verifier keys of cosignatures."""
    witness_quorum: int = 1
    """How many of them must."""
    checkpoint: str | None = None
    """The checkpoint of the log that this verifier remembers: a signed note."""
    consistency: Sequence[str] = ()
    """The proof between that checkpoint and the package's: hashes in base64, in order."""
    timestamp_roots: Sequence[str] = ()
    """Whose timestamps count: root certificates in PEM."""
    timestamp_certificates: Sequence[str] = ()
    """Certificates that lead from a timestamp to a root, in PEM; they are not trusted by themselves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attached:
    """What came with a package, in files of their own."""

    envelope: str | bytes | None = None
    log_proof: str | None = None
    timestamp: bytes | None = None


NOBODY, NOTHING = Trust(), Attached()
