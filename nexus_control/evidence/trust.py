"""The keys that a verifier trusts and the checkpoint that they remember, as texts, the way files hold them.

All of it comes from the verifier, never from the package. An empty field trusts nobody: the checks that need it are
skipped, and their level is not reached.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """The keys that one verifier trusts, and the checkpoint that they remember.

        >>> verify_evidence(package, trust=Trust(log_keys=[log_key]), require="L2").ok
        True

    Take the keys from their owners, never from the package. A field left out trusts nobody.
    """

    allowed_signers: str | bytes | None = None
    """The people who may approve, and their keys: an OpenSSH allowed signers file."""
    passkey_origins: Sequence[str] = ()
    """The pages where people approve with passkeys, as "https://approve.example.org". A passkey's approval that was
    given on any other page is not trusted."""
    package_keys: Sequence[str] = ()
    """The keys that may sign packages: public keys in PEM, Ed25519 or P-256."""
    log_keys: Sequence[str] = ()
    """The trusted logs: verifier keys, NAME+ID+BASE64. Signed approvals count when they were given for such a log."""
    witnesses: Sequence[str] = ()
    """The witnesses, who cosign checkpoints so that a log shows everybody the same: their verifier keys."""
    witness_quorum: int = 1
    """The number of witnesses that must have cosigned."""
    checkpoint: str | None = None
    """The checkpoint of the log that this verifier remembers: a signed note."""
    consistency: Sequence[str] = ()
    """The proof between that checkpoint and the package's: hashes in base64, in order."""
    timestamp_roots: Sequence[str] = ()
    """The trusted timestamp authorities: root certificates in PEM."""
    timestamp_certificates: Sequence[str] = ()
    """Certificates between a timestamp and a root, in PEM. They are not trusted by themselves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attached:
    """The files that came with a package: its envelope, a newer log proof, a timestamp of its checkpoint."""

    envelope: str | bytes | None = None
    log_proof: str | None = None
    timestamp: bytes | None = None


NOBODY, NOTHING = Trust(), Attached()
