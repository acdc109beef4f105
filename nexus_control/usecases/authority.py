"""Which approvals count at dispatch here: approvals that were given here, a signed one only if its signer is trusted.

An imported approval is evidence and never counts, signed or not: nothing proves that an exported history was not cut
off before a denial or a revocation.
"""

from datetime import datetime

from nexus_control.approvals import Authority
from nexus_control.log.projection import Projection
from nexus_control.log.session import ReadSession
from nexus_control.store import DecisionStore
from nexus_control.usecases import signing


def authority_of(store: DecisionStore, session: ReadSession, decision: Projection, at: datetime) -> Authority:
    """The approvals that count at dispatch at this instant, by `seq`; None when all do."""
    if not decision.facts.progress.approvals.any_signed:
        return decision.authority
    current = [
        approval
        for approval in decision.facts.progress.approvals
        if decision.facts.is_current(approval, at) and approval.seq >= decision.imported_count
    ]
    signed = {approval.seq for approval in current if approval.assurance == "signed"}
    if not signed:
        return decision.authority
    given = {approval.seq for approval in current}
    return frozenset(given - signed | signing.verified(store, session, decision, signed, at))
