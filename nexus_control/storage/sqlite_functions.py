"""What the migrations compute that SQL cannot: functions of rows as they were stored, given to the connection by name.

A row that does not say what it should is left as it is: a migration opens every store, and `upkeep` reports it then.
"""

import json
from collections.abc import Callable
from typing import Any, Final

from nexus_control.canonical_json import canonical_json
from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.evidence.formats.merkle import node_hash
from nexus_control.facts import Created, Facts, Progress
from nexus_control.policy import Policy
from nexus_control.storage.contract import NEVER, NO_END
from nexus_control.storage.standing import approval_ends, approved_until, expires_at
from nexus_control.values.actors import Actor
from nexus_control.values.payloads import PolicyAttachedPayload
from nexus_control.values.records import decode

_NOTHING_YET = Progress()
_UNREADABLE = (NexusControlError, ValueError, TypeError, LookupError, RecursionError)


def request_ends(attached: Any) -> str:
    """When the request of this POLICY_ATTACHED runs out."""
    try:
        return expires_at(_facts(attached))
    except _UNREADABLE:
        return NO_END


def approved_here(progress: Any, imported_count: int, requester: Any, attached: Any) -> str:
    """Until when an imported decision reads approved by the approvals that were given here."""
    try:
        facts, authority = _imported(json.loads(progress), imported_count, requester, attached)
        return approved_until(facts, authority)
    except _UNREADABLE:
        return NEVER


def progress_here(progress: Any, imported_count: int, requester: Any, attached: Any) -> Any:
    """An imported decision's `progress`, whose listing counts the approvals that were given here."""
    try:
        saved = json.loads(progress)
        facts, authority = _imported(saved, imported_count, requester, attached)
        saved["listing"]["approval_ends"] = list(approval_ends(facts, authority))
        return canonical_json(saved)
    except _UNREADABLE:
        return progress


def _imported(saved: Any, imported_count: int, requester: Any, attached: Any) -> tuple[Facts, frozenset[int]]:
    progress = decode(Progress, saved["progress"], where="progress", code=ErrorCode.REPLAY_INVALID)
    asked_by = Actor(type="human", id=requester)  # of whichever type: who approves is known by id alone
    given_here = frozenset(each.seq for each in progress.approvals if each.seq >= imported_count)
    return _facts(attached, asked_by, progress), given_here


def _facts(attached: Any, requester: Actor | None = None, progress: Progress = _NOTHING_YET) -> Facts:
    content = decode(
        PolicyAttachedPayload,
        json.loads(attached),
        where="policy",
        code=ErrorCode.REPLAY_INVALID,
        extra_keys=True,
    )
    created = requester and Created(
        requester=requester, created_at="", goal="", plan=None, requested_mode="apply", labels=()
    )
    return Facts(
        decision_id="", created=created, policy=Policy.of(content), attached=content, progress=progress
    )


FUNCTIONS: Final[dict[str, tuple[int, Callable[..., Any]]]] = {
    "octets": (1, bytes.fromhex),
    "node_hash": (2, node_hash),
    "request_ends": (1, request_ends),
    "approved_here": (4, approved_here),
    "progress_here": (4, progress_here),
}
"""By name: how many arguments, and the function."""
