"""Why a decision cannot be executed at an instant: every reason, in a fixed order.

`blocking_reasons` are the reasons of the decision itself. `attempt_reasons` adds those of one attempt: its mode, its
adapter and the adapter's capabilities. `execute` refuses exactly when `attempt_reasons` returns anything.

The argument `authority` is the set of the `seq` of approvals that carry authority; None means all. Approvals without
authority do not count, and have a reason of their own; so has an expired request. Where the policy requires a
rehearsal, the rehearsal itself waits for no approval.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from typing_extensions import TypedDict

from nexus_control.approvals import Authority, missing_approvals
from nexus_control.decision import effect_of, request_expired
from nexus_control.facts import Facts
from nexus_control.policy import missing_capabilities
from nexus_control.values.executions import Cover, is_repeatable, lack_words
from nexus_control.values.groups import of_each_group
from nexus_control.values.payloads import PolicyAttachedPayload

ORDER: Final = (
    "NO_POLICY", "ALREADY_EXECUTED", "EXECUTION_FAILED", "DENIED", "WITHDRAWN", "EXPIRED", "EXECUTING",
    "OUTCOME_UNKNOWN", "APPROVAL_EXPIRED", "APPROVAL_STALE", "REHEARSAL_REQUIRED", "MISSING_APPROVALS",
    "IMPORTED_APPROVALS", "DISPATCH_BY_WORKER", "MODE_NOT_ALLOWED", "CAPABILITIES_UNKNOWN", "CAPABILITIES_MISSING",
    "ADAPTER_MISMATCH", "ADAPTER_CHANGED",
)  # fmt: skip
"""The codes that follow from the events and the attempt, in the order of the reasons."""
_FIRST_OF_APPROVALS: Final = ORDER.index("APPROVAL_EXPIRED")


class BlockingReasonData(TypedDict):
    """A reason as JSON."""

    code: str
    message: str
    details: dict[str, Any]


@dataclass(frozen=True, slots=True)
class BlockingReason:
    """One reason why a decision cannot be executed.

        >>> compute_blocking_reasons(decision)[0].code
        'MISSING_APPROVALS'

    `code` is stable, `message` is for people, and `details` holds the numbers as JSON values.
    """

    code: str
    message: str
    details: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def to_dict(self) -> BlockingReasonData:
        """The reason as JSON: code, message, details.

        >>> compute_blocking_reasons(decision)[0].to_dict()["details"]
        {'required': 2, 'current': 1, 'missing': 1}
        """
        return {"code": self.code, "message": self.message, "details": dict(self.details)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One attempt at executing. `capabilities` is None where unknown, `adapter_digest` where the router cannot tell.
    `by_worker`: a worker makes it.
    """

    adapter_id: str
    dry_run: bool
    capabilities: Iterable[str] | None
    adapter_digest: str | None
    by_worker: bool = False

    @property
    def mode(self) -> str:
        return "dry_run" if self.dry_run else "apply"


def blocking_reasons(
    facts: Facts, at: datetime, authority: Authority = None, *, dry_run: bool = False
) -> tuple[BlockingReason, ...]:
    """Why the decision cannot be executed at this instant; empty when it can. `dry_run`: why it cannot be rehearsed."""
    if facts.policy is None:
        return (BlockingReason("NO_POLICY", "No policy is attached"),)
    if facts.phase == "open":
        needs_approvals = not (dry_run and facts.needs_rehearsal)
        return (*_expiry(facts, at), *(_approval_reasons(facts, at, authority) if needs_approvals else ()))
    return tuple(_phase_reasons(facts))


def awaits_rehearsal(facts: Facts, at: datetime) -> bool:
    """Whether a worker is to rehearse the decision now: people cannot approve without it, and it may be made."""
    lack, last = facts.rehearsal_lack(at), facts.last_rehearsal
    if lack is None or facts.phase != "open" or facts.is_approved(at):
        return False
    return is_repeatable(lack, last and last.seq, facts.event_count)


def in_order(reasons: Iterable[BlockingReason]) -> tuple[BlockingReason, ...]:
    """The reasons in `ORDER`. Others, such as those of an import, stand before those that an approval removes."""
    return tuple(sorted(reasons, key=lambda reason: _place(reason.code)))


def _place(code: str) -> tuple[int, bool]:
    return (ORDER.index(code), True) if code in ORDER else (_FIRST_OF_APPROVALS, False)


def attempt_reasons(
    facts: Facts, at: datetime, attempt: Attempt, authority: Authority = None
) -> tuple[BlockingReason, ...]:
    """Why this attempt cannot be made at this instant; empty when it can."""
    own = blocking_reasons(facts, at, authority, dry_run=attempt.dry_run)
    return (*own, *_attempt_reasons(facts, attempt))


def _expiry(facts: Facts, at: datetime) -> Iterator[BlockingReason]:
    if facts.attached and request_expired(facts, at):
        expires_at = facts.attached.expires_at
        yield BlockingReason("EXPIRED", f"The request expired at {expires_at}", {"expires_at": expires_at})


def _phase_reasons(facts: Facts) -> Iterator[BlockingReason]:
    execution, ending = facts.linked_execution, facts.progress.ending
    match facts.phase:
        case "completed":
            run_id = execution.run_id if execution else None
            yield BlockingReason("ALREADY_EXECUTED", f"Already executed in run {run_id}", {"run_id": run_id})
        case "failed":
            code = execution.error_code if execution else None
            message = execution.error_message if execution else None
            effect = effect_of(execution) if execution else "unknown"
            yield BlockingReason(
                "EXECUTION_FAILED",
                f"The execution failed: {code} (effect: {effect})",
                {"error_code": code, "error_message": message, "effect": effect},
            )
        case "denied" | "withdrawn" as phase if ending:
            details = {"actor": str(ending.actor), "reason": ending.reason, "ts": ending.ts}
            yield BlockingReason(phase.upper(), f"{phase.capitalize()} by {ending.actor.id}", details)
        case "executing":
            started = facts.last_execution.requested_at if facts.last_execution else None
            yield BlockingReason("EXECUTING", "An execution is under way", {"requested_at": started})
        case "outcome_unknown":
            yield BlockingReason(
                "OUTCOME_UNKNOWN", "Nobody knows yet what the execution did; it must be reconciled"
            )
        case _:
            pass


def _approval_reasons(facts: Facts, at: datetime, authority: Authority) -> Iterator[BlockingReason]:
    if facts.policy is None:
        return
    active, required = facts.current_approvals(at), facts.policy.min_approvals
    given = active if authority is None else facts.current_approvals(at, authority)
    lacking = facts.lacking(at, authority)
    if given >= required and not lacking:
        return
    groups = {"groups": lacking} if lacking else {}
    expired = facts.tally().standing - active
    if expired:
        yield BlockingReason(
            "APPROVAL_EXPIRED",
            f"{expired} approval{'s' * (expired > 1)} expired",
            {"expired_count": expired, "current_valid": given, "required": required, **groups},
        )
    yield from _rehearsal_reasons(facts, at, given)
    if authority is None or not facts.is_approved(at):
        missing = missing_approvals(given, required, lacking)
        yield BlockingReason(
            "MISSING_APPROVALS",
            f"Missing {missing} approval{'s' * (missing > 1)} ({given} of {required}){of_each_group(lacking or None)}",
            {"required": required, "current": given, "missing": missing, **groups},
        )
    if given < active:
        said = f"Only {given} of {required}" if given < required else f"{given} of {active}"
        yield BlockingReason(
            "IMPORTED_APPROVALS",
            f"{said} approvals carry authority here{of_each_group(lacking or None)}; imported ones are evidence, and so"
            " are signatures that nobody here trusts",
            {"required": required, "with_authority": given, "imported": active - given, **groups},
        )


def _rehearsal_reasons(facts: Facts, at: datetime, given: int) -> Iterator[BlockingReason]:
    """Reasons where too few approvals of what the last rehearsal gave back count; so many are `given`."""
    required = facts.policy.require_rehearsal if facts.policy and facts.needs_rehearsal else None
    if required is None:
        return
    cover = facts.progress.cover
    stale = sum(
        each.is_current(at) and facts.is_stale(each) and facts.counts(each)
        for each in facts.progress.approvals
    )
    if stale and cover is not None:
        yield BlockingReason(
            "APPROVAL_STALE",
            f"{stale} approval{'s are' if stale > 1 else ' is'} of another rehearsal than the last",
            {
                "stale_count": stale,
                "current_valid": given,
                "required": facts.policy.min_approvals if facts.policy else 0,
                "rehearsal_digest": cover.digest,
                "since": cover.since,
            },
        )
    if lack := facts.rehearsal_lack(at):
        last = facts.last_rehearsal
        yield BlockingReason(
            "REHEARSAL_REQUIRED",
            f"Nobody can approve before a rehearsal: {lack_words(lack, required.max_age_seconds)}",
            {
                "lack": lack,
                "max_age_seconds": required.max_age_seconds,
                "execution": last.seq if last else None,
            },
        )


def _attempt_reasons(facts: Facts, attempt: Attempt) -> Iterator[BlockingReason]:
    policy, created, bound = facts.policy, facts.created, facts.attached
    if policy is None or created is None or bound is None:
        return
    if not_here := list(dispatch_reasons(facts, by_worker=attempt.by_worker)):
        yield from not_here  # nothing else about this attempt matters
        return
    escalates = created.requested_mode == "dry_run" and not attempt.dry_run
    if escalates or not policy.allows_mode(attempt.mode):
        yield BlockingReason(
            "MODE_NOT_ALLOWED",
            f"Mode {attempt.mode} is not in allowed_modes of this request",
            {
                "mode": attempt.mode,
                "requested_mode": created.requested_mode,
                "allowed_modes": list(policy.allowed_modes),
            },
        )
    if missing := missing_capabilities(policy, attempt.capabilities):
        known = attempt.capabilities is not None
        yield BlockingReason(
            "CAPABILITIES_MISSING" if known else "CAPABILITIES_UNKNOWN",
            f"Adapter {attempt.adapter_id} is missing required capabilities: {', '.join(missing)}"
            if known
            else f"Nothing is known of the capabilities of adapter {attempt.adapter_id}",
            {"required": list(policy.require_adapter_capabilities), "missing": list(missing)},
        )
    cover = None if attempt.dry_run else facts.progress.cover  # what is rehearsed again is approved again
    yield from adapter_reasons(bound, cover, attempt.adapter_id, attempt.adapter_digest)


def dispatch_reasons(facts: Facts, *, by_worker: bool) -> Iterator[BlockingReason]:
    """A reason where a worker alone executes the decision, and the attempt is not a worker's."""
    bound = facts.attached
    if bound is not None and bound.dispatch == "worker" and not by_worker:
        yield BlockingReason(
            "DISPATCH_BY_WORKER",
            "A worker executes this request, and nobody else",
            {"dispatch": bound.dispatch, "adapter_id": bound.adapter_id},
        )


def adapter_reasons(
    bound: PolicyAttachedPayload, cover: Cover | None, adapter_id: str, adapter_digest: str | None
) -> Iterator[BlockingReason]:
    """A reason where the request was made for another adapter, or for another declaration of this one; or where the
    rehearsal that approvals cover was.
    """
    if bound.adapter_id is not None and bound.adapter_id != adapter_id:
        yield BlockingReason(
            "ADAPTER_MISMATCH",
            f"The request was made for adapter {bound.adapter_id}",
            {"bound": bound.adapter_id, "given": adapter_id},
        )
    elif bound.adapter_digest is not None and bound.adapter_digest != adapter_digest:
        yield BlockingReason(
            "ADAPTER_CHANGED",
            f"Adapter {adapter_id} is no longer declared as it was when the request was made",
            {"bound": bound.adapter_digest, "given": adapter_digest},
        )
    elif cover is not None and cover.adapter_id != adapter_id:
        yield BlockingReason(
            "ADAPTER_MISMATCH",
            f"The rehearsal that was approved was of adapter {cover.adapter_id}",
            {"bound": cover.adapter_id, "given": adapter_id},
        )
    elif cover is not None and cover.adapter_digest is not None and cover.adapter_digest != adapter_digest:
        yield BlockingReason(
            "ADAPTER_CHANGED",
            f"Adapter {adapter_id} is no longer declared as it was when it rehearsed",
            {"bound": cover.adapter_digest, "given": adapter_digest, "since": cover.since},
        )
