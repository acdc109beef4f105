"""Whether a verdict was signed by somebody who may sign it: SSHSIG over the statement, under the allowed signers.

The verifier decides who may sign, by an OpenSSH `allowed_signers` file, and on which pages a passkey may, by a list of
origins. Neither the package nor the store decides.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache

from nexus_control.errors import ErrorCode, NexusControlError, invalid_argument
from nexus_control.evidence.formats.allowed_signers import AllowedSigners, parse_allowed_signers
from nexus_control.evidence.formats.note import parse_verifier
from nexus_control.evidence.formats.origins import PasskeyOrigins, parse_origins
from nexus_control.evidence.formats.sshsig import SshSignature, parse_ssh_signature
from nexus_control.evidence.statement import NAMESPACE, ApprovalStatement, parse_statement
from nexus_control.evidence.trust import Trust
from nexus_control.values.instants import parse_instant
from nexus_control.values.payloads import SignedStatement

CLOCK_SKEW = timedelta(minutes=5)
"""How far the signer's clock may be ahead of the store's."""

_HASH = "sha512"
_ALLOW_ORIGIN = (
    "If the page is your own inbox, its origin is allowed with passkey_origins in Python, and on the command line with"
    " --origin, NEXUS_CONTROL_ORIGINS, or origins under [inbox] in the configuration."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedVerdict:
    """A statement whose signature verified, from `open_verdict`. `require_allowed` tells whether the key may sign."""

    statement: ApprovalStatement
    signature: SshSignature
    signed: SignedStatement

    @property
    def passkey(self) -> str | None:
        """The page on which a passkey signed, as the end of a sentence; None for every other key."""
        page = self.signature.page
        synced = " (synced)" if self.signature.is_synced else ""
        return None if page is None else f"with a passkey{synced} on {page.origin}"

    def require_issued_by(self, at: datetime) -> None:
        """Returns when the statement was issued by the instant of its verdict, `at`. Raises SIGNATURE_INVALID."""
        issued_at = self.statement.issued_at
        if parse_instant(issued_at) - at > CLOCK_SKEW:
            raise NexusControlError(
                ErrorCode.SIGNATURE_INVALID,
                f"The statement was issued at {issued_at}, which was still to come at {at.isoformat()}",
                {"issued_at": issued_at},
            )

    def require_allowed(self, allowed: AllowedSigners, origins: PasskeyOrigins, at: datetime) -> None:
        """Returns when the approver may sign with this key at this instant, and a passkey on a page of its origin.
        Raises SIGNATURE_INVALID.
        """
        try:
            self.signature.require_origin(origins)
        except NexusControlError as fault:
            message = f"{fault.message} (passkey_origins, --origin)"
            raise NexusControlError(fault.code, message, fault.details, _ALLOW_ORIGIN) from None
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


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedApproval:
    """A statement that a trusted person signed, from `verify_approval`.

    >>> verify_approval(statement, signature, trust, at).statement.verdict
    'approve'
    """

    statement: ApprovalStatement
    """What was signed: approver, verdict, decision_id, basis, log, nonce, issued_at, expires_at, request."""
    key: str
    """The fingerprint of the key, as ssh-keygen prints it."""
    origin: str | None = None
    """The origin of the page on which a passkey signed; None for every other key."""
    is_synced: bool = False
    """Whether it is a passkey that is copied to other devices of its owner."""


def verify_approval(statement: str, signature: str, trust: Trust, at: datetime) -> VerifiedApproval:
    """One signed statement, when a person in `trust.allowed_signers` may sign it at the instant `at`.

        >>> verify_approval(statement, signature, trust, at).statement.approver
        'ada'

    `statement` is the exact text that was signed, and `signature` is ssh-keygen's armor. A passkey's signature counts
    only on a page of `trust.passkey_origins`. With `trust.log_keys` the statement must name one of these logs; without
    them compare `statement.log` yourself. The other fields of `trust` are ignored. This looks at one statement alone:
    whether it is about your decision, and is used once, you compare by `decision_id`, `basis` and `nonce`.

    Raises SIGNATURE_INVALID, also for a statement that was issued after `at`, or that expired by then; INVALID_ARGUMENT
    for a trust that cannot be read, an instant without an offset, and another type than text.
    """
    for name, given in (("statement", statement), ("signature", signature)):
        if type(given) is not str:
            raise invalid_argument(name, "must be a text")
    if at.utcoffset() is None:
        raise invalid_argument("at", "must have an offset from UTC")
    origins, allowed = (
        parse_origins(trust.passkey_origins),
        parse_allowed_signers(trust.allowed_signers or ""),
    )
    logs = {parse_verifier(key).name for key in trust.log_keys}
    opened = open_verdict(SignedStatement(format="sshsig", statement=statement, signature=signature))
    stated, page = opened.statement, opened.signature.page
    opened.require_issued_by(at)
    if stated.expires_at is not None and parse_instant(stated.expires_at) <= at:
        raise NexusControlError(
            ErrorCode.SIGNATURE_INVALID,
            f"The approval expired at {stated.expires_at}",
            {"expires_at": stated.expires_at},
        )
    if logs and stated.log not in logs:
        raise NexusControlError(
            ErrorCode.SIGNATURE_INVALID,
            f"The statement was given for the log {stated.log}",
            {"log": stated.log},
        )
    opened.require_allowed(allowed, origins, at)
    return VerifiedApproval(
        statement=stated,
        key=opened.signature.key.fingerprint,
        origin=page.origin if page else None,
        is_synced=opened.signature.is_synced,
    )


def passkey_of(signed: SignedStatement | None) -> str | None:
    """`SignedVerdict.passkey`, where this is signed, and the signature verifies under its key; otherwise None."""
    try:
        return None if signed is None else open_verdict(signed).passkey
    except NexusControlError:
        return None


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
