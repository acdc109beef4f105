"""Whether a verdict was signed by somebody who may sign it: SSHSIG over the statement, under the allowed signers.

The verifier decides who may sign, by an OpenSSH `allowed_signers` file. Neither the package nor the store decides.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache

from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.evidence.formats.allowed_signers import AllowedSigners
from nexus_control.evidence.formats.sshsig import SshSignature, parse_ssh_signature
from nexus_control.evidence.statement import NAMESPACE, ApprovalStatement, parse_statement
from nexus_control.values.instants import parse_instant
from nexus_control.values.payloads import SignedStatement

CLOCK_SKEW = timedelta(minutes=5)
"""How far the signer's clock may be ahead of the store's."""

_HASH = "sha512"


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedVerdict:
    """A statement whose signature verified, from `open_verdict`. `require_allowed` tells whether the key may sign."""

    statement: ApprovalStatement
    signature: SshSignature
    signed: SignedStatement

    def require_issued_by(self, at: datetime) -> None:
        """Returns when the statement was issued by the instant of its verdict, `at`. Raises SIGNATURE_INVALID."""
        issued_at = self.statement.issued_at
        if parse_instant(issued_at) - at > CLOCK_SKEW:
            raise NexusControlError(
                ErrorCode.SIGNATURE_INVALID,
                f"The statement was issued at {issued_at}, which was still to come at {at.isoformat()}",
                {"issued_at": issued_at},
            )

    def require_allowed(self, allowed: AllowedSigners, at: datetime) -> None:
        """Returns when the approver may sign with this key at this instant. Raises SIGNATURE_INVALID."""
        key, approver = self.signature.key, self.statement.approver
        signer = allowed.signer_for(approver, key, NAMESPACE, at)
        if signer is None:
            raise NexusControlError(
                ErrorCode.SIGNATURE_INVALID,
                f"The signature is not trusted: {allowed.refusal(approver, key, NAMESPACE, at)}",
                {"approver": approver, "key": key.fingerprint},
            )
        if signer.verify_required:
            self.signature.require_verified_user()


@lru_cache(maxsize=128)  # a function of these bytes alone: neither trust nor time is in it
def open_verdict(signed: SignedStatement) -> SignedVerdict:
    """The statement, when its signature verifies under the key in the signature. Raises SIGNATURE_INVALID."""
    statement = parse_statement(signed.statement)
    signature = parse_ssh_signature(signed.signature)
    if signature.hash_algorithm != _HASH:
        raise NexusControlError(
            ErrorCode.SIGNATURE_INVALID, f"A verdict is signed with {_HASH}, not {signature.hash_algorithm}"
        )
    signature.require_over(signed.statement.encode(), NAMESPACE)
    return SignedVerdict(statement=statement, signature=signature, signed=signed)
