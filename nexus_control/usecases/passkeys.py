"""Verdicts that are signed with a passkey in a browser: whose passkeys count here, and which of them signed.

An assertion does not say which key made it. So each passkey of the approver is tried, by the code that
verifies a signed verdict later.
"""

from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.evidence.formats.allowed_signers import AllowedSigner, AllowedSigners
from nexus_control.evidence.formats.origins import PasskeyOrigins
from nexus_control.evidence.formats.passkeys import Assertion, require_signed
from nexus_control.evidence.formats.ssh_keys import SshKey
from nexus_control.evidence.statement import NAMESPACE, parse_statement
from nexus_control.store import DecisionStore
from nexus_control.usecases.signing import allowed_signers_of
from nexus_control.values.actors import fold_id
from nexus_control.values.instants import format_instant
from nexus_control.values.payloads import SignedStatement


def passkeys_of(store: DecisionStore, approver: str, rp_id: str) -> list[SshKey]:
    """The passkeys of this RP ID with which the approver may sign here now; there is at least one.

    Raises SIGNATURE_INVALID, which says why a passkey of theirs does not count, or how one is enrolled.
    """
    allowed = allowed_signers_of(store) or AllowedSigners(signers=())
    folded = fold_id(approver)
    judged = [
        (signer.key, why_not(store, signer, rp_id))
        for signer in allowed.signers
        if signer.key.rp_id is not None and signer.principals.match(folded) and signer.allows(NAMESPACE)
    ]
    keys = [key for key, problem in judged if problem is None]
    if not keys:
        problems = [f"{key.fingerprint} {problem}" for key, problem in judged]
        why = (
            "; ".join(problems) or f"the allowed signers have no line for one{allowed.unsupported(approver)}"
        )
        raise NexusControlError(
            ErrorCode.SIGNATURE_INVALID,
            f"No passkey of {approver!r:.260} counts here: {why}",
            {"approver": approver, "rp_id": rp_id},
            "Enrol a passkey in the inbox. It counts once the owner of the inbox has added it."
            if all(key.rp_id != rp_id for key, _ in judged)
            else "Ask the owner of the inbox, who says when and where a key counts.",
        )
    return keys


def why_not(store: DecisionStore, signer: AllowedSigner, rp_id: str) -> str | None:
    """Why this key signs no approval now on a page of this RP ID, as the end of a sentence; None if it can. Of
    another key than a passkey only the time is looked at: it needs no page.
    """
    theirs, now = signer.key.rp_id, store.clock.now()
    if theirs is not None and theirs != rp_id:
        return f"is a passkey of {theirs}, and the pages of this inbox are {rp_id}"
    if theirs is not None and not store.passkey_origins.for_rp_id(theirs).origins:
        return f"is a passkey of {theirs}, of which no origin is allowed here"
    if signer.valid_at(now):
        return None
    if signer.valid_after is not None and now < signer.valid_after:
        return f"counts only from {format_instant(signer.valid_after)} on"
    assert signer.valid_before is not None
    return f"ended at {format_instant(signer.valid_before)}"


def signed_by_passkey(
    store: DecisionStore, statement: str, assertion: Assertion, *, rp_id: str, origins: PasskeyOrigins
) -> SignedStatement:
    """The statement with the signature of one of its approver's passkeys, verified. Raises SIGNATURE_INVALID."""
    refusals = list[NexusControlError]()
    for key in passkeys_of(store, parse_statement(statement).approver, rp_id):
        try:
            signature = require_signed(assertion, key, statement.encode(), NAMESPACE, origins)
            return SignedStatement(format="sshsig", statement=statement, signature=signature)
        except NexusControlError as fault:
            refusals.append(fault)
    raise refusals[0]
