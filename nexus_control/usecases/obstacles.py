"""Obstacles: reasons of this place, and not of the events, that keep an open decision from being executed.

A store that was rolled back executes nothing. A request is not executed by an adapter whose declaration has changed
since it was made, or since the rehearsal that people approve. The claim refuses both; the obstacles tell the readers of
a decision beforehand.
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
    """`known` is the content of the head's slot before the session began."""
    if facts.phase != "open":
        return
    try:
        head.require_continued(session, store.sidecar, known)
    except NexusControlError as fault:
        if fault.code not in (ErrorCode.STORE_ROLLED_BACK, ErrorCode.STORE_MIGRATED):
            raise
        yield BlockingReason(str(fault.code), fault.message, fault.details)


def changed_adapter_reasons(facts: Facts, router: object) -> Iterator[BlockingReason]:
    """The change of an adapter that the request is bound to, or was rehearsed by; nothing where the router here does
    not know it.
    """
    bound, cover = facts.attached, facts.progress.cover
    if facts.phase != "open" or bound is None or not isinstance(router, AdapterDescriber):
        return
    adapter_id = bound.adapter_id or (cover and cover.adapter_id)
    if adapter_id is None or (bound.adapter_digest or (cover and cover.adapter_digest)) is None:
        return
    try:
        digest = router.adapter_digest(adapter_id)
    except (Exception, SystemExit):  # an embedder's router may raise anything; the claim asks it again
        return
    yield from adapter_reasons(bound, cover, adapter_id, digest)
