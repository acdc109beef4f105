"""What keeps an open decision from being executed in this place, beyond what its events say.

A store that was rolled back executes nothing, and an adapter that is declared otherwise than when the request was made
executes nothing of it. Both are refused at the claim; here whoever reads the decision is told before.
"""

from collections.abc import Iterator

from nexus_control.blocking import BlockingReason, adapter_reasons
from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.execution.router import AdapterDescriber
from nexus_control.facts import Facts
from nexus_control.log import head
from nexus_control.log.session import ReadSession
from nexus_control.store import DecisionStore


def rollback_reasons(
    store: DecisionStore, session: ReadSession, facts: Facts, known: bytes
) -> Iterator[BlockingReason]:
    """`known` is what was in the head's slot before the session began."""
    if facts.phase != "open":
        return
    try:
        head.require_continued(session, store.sidecar, known)
    except NexusControlError as fault:
        if fault.code is not ErrorCode.STORE_ROLLED_BACK:
            raise
        yield BlockingReason(str(fault.code), fault.message, fault.details)


def changed_adapter_reasons(facts: Facts, router: object) -> Iterator[BlockingReason]:
    """Where the request is bound to an adapter that the router at hand knows."""
    bound = facts.attached
    if facts.phase != "open" or bound is None or bound.adapter_id is None or bound.adapter_digest is None:
        return
    if not isinstance(router, AdapterDescriber):
        return
    try:
        digest = router.adapter_digest(bound.adapter_id)
    except (Exception, SystemExit):  # an embedder's router; the claim asks it again
        return
    yield from adapter_reasons(bound, bound.adapter_id, digest)
