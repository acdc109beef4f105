"""Verdicts that are signed with a passkey in a browser: whose passkeys count here, and which of them signed.

An assertion does not say which key made it. So each passkey of the approver is tried, by the code that
verifies a signed verdict later.
"""

from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.evidence.formats.allowed_signers import AllowedSigners
from nexus_control.evidence.formats.origins import PasskeyOrigins
from nexus_control.evidence.formats.passkeys import Assertion, require_signed
from nexus_control.evidence.formats.ssh_keys import SshKey
from nexus_control.evidence.statement import NAMESPACE, parse_statement
from nexus_control.store import DecisionStore
from nexus_control.usecases.signing import allowed_signers_of
from nexus_control.values.actors import fold_id
from nexus_control.values.payloads import SignedStatement


def passkeys_of(store: DecisionStore, approver: str, rp_id: str) -> list[SshKey]:
    """The passkeys of this RP ID with which the approver may sign here now; there is at least one.

    Raises SIGNATURE_INVALID, which says how one is enrolled.
    """
    allowed = allowed_signers_of(store) or AllowedSigners(signers=())
    folded, now = fold_id(approver), store.clock.now()
    keys = [
        signer.key
        for signer in allowed.signers
        if signer.key.rp_id == rp_id
        and signer.principals.match(folded)
        and signer.allows(NAMESPACE)
        and signer.valid_at(now)
    ]
    if not keys:
        raise NexusControlError(
            ErrorCode.SIGNATURE_INVALID,
            f"No passkey of {approver!r:.260} counts here: the allowed signers have no line for one"
            f"{allowed.unsupported(approver)}",
            {"approver": approver, "rp_id": rp_id},
            "Enrol a passkey in the inbox. It counts once the owner of the inbox has added it.",
        )
    return keys


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
