"""The parts of a decision's facts that are plain values: what was asked for, executions, an ending, and the cover.

The cover is what approvals are about where a policy requires a rehearsal: what the steps of the last good rehearsal
gave back, by its `rehearsal_digest`, and the adapter that rehearsed, by its id and, where its router could tell, the
digest of its declaration. A rehearsal that failed, or whose outcome is unknown, has no digest, and leaves the cover as
it is.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal, NamedTuple, TypeAlias

from nexus_control.values.actors import Actor
from nexus_control.values.instants import parse_instant
from nexus_control.values.payloads import DecisionCreatedPayload, Payload

Settled: TypeAlias = Literal["completed", "failed", "outcome_unknown"]
Outcome: TypeAlias = Literal["running", "completed", "failed", "outcome_unknown"]
Lack: TypeAlias = Literal["none", "running", "failed", "no_steps", "imported", "old"]
"""Why nobody can approve by the last rehearsal: nothing was rehearsed, or it has not ended, has failed, gave back no
steps that anybody could look at, was made in another store, or is too old.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Created:
    """DECISION_CREATED: who wants what."""

    requester: Actor
    created_at: str
    goal: str
    plan: str | None
    requested_mode: Literal["dry_run", "apply"]
    labels: tuple[str, ...]
    idempotency_key: str | None = None
    metadata: Mapping[str, object] | None = None
    supersedes: str | None = None

    @classmethod
    def of(cls, requester: Actor, created_at: str, content: DecisionCreatedPayload) -> "Created":
        return cls(
            requester=requester,
            created_at=created_at,
            goal=content.goal,
            plan=content.plan,
            requested_mode=content.requested_mode,
            labels=content.labels,
            idempotency_key=content.idempotency_key,
            metadata=content.metadata,
            supersedes=content.supersedes,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """One attempt at executing: `seq` is that of its EXECUTION_REQUESTED. Digests are bare hex."""

    seq: int
    actor: Actor
    adapter_id: str
    dry_run: bool
    rehearsal: bool
    requested_at: str
    outcome: Outcome = "running"
    request_digest: str | None = None
    started_at: str | None = None
    completed_at: str | None = None
    run_id: str | None = None
    steps_executed: int | None = None
    response_digest: str | None = None
    router_bundle_digest: str | None = None
    error_code: str | None = None
    error_message: str | None = None
    certain_effect: Literal["none", "done"] | None = None
    rehearsal_digest: str | None = None
    adapter_digest: str | None = None

    def settled(self, outcome: Settled, at: str, content: Payload, **found: str) -> "Execution":
        """The same execution, ended by an event with this content. `found` is what else is known of it."""
        said = {name: getattr(content, name, None) for name in _FINDINGS}
        findings: dict[str, Any] = {name: value for name, value in said.items() if value is not None} | found
        if outcome == "completed":  # what a reconciliation found out supersedes the earlier doubt
            findings |= {"error_code": None, "error_message": None}
        return replace(self, outcome=outcome, completed_at=at, **findings)


_FINDINGS = (
    "run_id", "steps_executed", "response_digest", "router_bundle_digest", "error_code", "error_message",
    "certain_effect", "rehearsal_digest", "adapter_digest",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """Who denied or withdrew a decision, when and why."""

    actor: Actor
    ts: str
    reason: str


class Cover(NamedTuple):
    """What approvals cover. `since` is the seq of the first of the last good rehearsals that all gave back this, by
    this adapter: an approval before it is stale. The digests are prefixed; `adapter_digest` is None where the router
    could not tell.
    """

    digest: str
    adapter_id: str
    adapter_digest: str | None
    since: int


def lack_of(last: Execution | None, max_age_seconds: int, at: datetime, *, since: int) -> Lack | None:
    """Why nobody can approve by the last rehearsal at this instant; None where they can. The events before the seq
    `since` were imported.
    """
    if last is None:
        return "none"
    if last.outcome != "completed" or last.completed_at is None:
        return "running" if last.outcome == "running" else "failed"
    if last.rehearsal_digest is None:
        return "no_steps"
    if last.seq < since:
        return "imported"
    return "old" if is_older(last.completed_at, max_age_seconds, at) else None


def is_older(completed_at: str, max_age_seconds: int, at: datetime) -> bool:
    """Whether a rehearsal that completed then is older at this instant."""
    return (at - parse_instant(completed_at)).total_seconds() > max_age_seconds


def is_repeatable(lack: Lack, seq: int | None, event_count: int) -> bool:
    """Whether a worker makes the rehearsal that is lacking. One that did not complete, or gave back no steps, is not
    made again by itself: an event must have come after its end. `seq` is that of the last rehearsal, whose start and
    end are the two events after it; `event_count` is the decision's.
    """
    return lack not in ("failed", "no_steps", "running") or (seq is not None and event_count > seq + 3)


def lack_words(lack: Lack, max_age_seconds: int) -> str:
    """Why nobody can approve by the last rehearsal, in words."""
    return f"the last one is older than {max_age_seconds} seconds" if lack == "old" else _LACKS[lack]


_LACKS: dict[Lack, str] = {
    "none": "it was not rehearsed yet",
    "running": "it has not ended yet",
    "failed": "the last one did not complete",
    "no_steps": "the last one gave back no steps that anybody could look at whole",
    "imported": "the last one was imported, so that nobody here can look at what it gave back",
}


def cover_after(cover: Cover | None, execution: Execution) -> Cover | None:
    """The cover once this execution has ended."""
    if not execution.rehearsal or execution.rehearsal_digest is None:
        return cover
    shown = (execution.rehearsal_digest, execution.adapter_id, execution.adapter_digest)
    return cover if cover is not None and cover[:3] == shown else Cover(*shown, execution.seq)


def cover_of(executions: Iterable[Execution]) -> Cover | None:
    """The cover after all of these executions."""
    cover: Cover | None = None
    for execution in executions:
        cover = cover_after(cover, execution)
    return cover
