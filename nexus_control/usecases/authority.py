"""Which approvals count at dispatch here: those given here; and, where the owner says whom to trust, signed ones.

A decision without a signed approval is judged without loading anything that verifies signatures.
"""

from datetime import datetime

from nexus_control.projection import StoredDecision
from nexus_control.session import ReadSession
from nexus_control.store import DecisionStore


def authority_of(
    store: DecisionStore, session: ReadSession, decision: StoredDecision, at: datetime
) -> frozenset[int] | None:
    """The approvals that count at dispatch at this instant, by `seq`; None when all do."""
    current = [approval for approval in decision.facts.progress.approvals if approval.is_current(at)]
    signed = {approval.seq for approval in current if approval.assurance == "signed"}
    if not signed:
        return decision.authority
    from nexus_control.usecases import signing  # cryptography is loaded at the first signature

    given = {approval.seq for approval in current if approval.seq >= decision.imported_count}
    candidates = signed & given if decision.is_rolled_back else signed
    return frozenset(given - signed | signing.verified(store, session, decision, candidates, at))
