"""What to do after a refusal to execute, and after a failed run. The advice follows from the reasons, or from the
effect.

The advice "call execute again" is given only for a refusal that can pass. The advice "make a new request to try again"
is given only for a failure that certainly did nothing.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from nexus_control.blocking import BlockingReason
from nexus_control.errors import ErrorCode, next_step
from nexus_control.values.groups import slot_words
from nexus_control.values.payloads import Effect

REHEARSAL_FAILED: Final = (
    "The rehearsal used no approval up: the decision is still approved, unless an approval expired meanwhile. Read the"
    " error, mend what failed, and rehearse it again or execute it."
)
REQUIRED_REHEARSAL_FAILED: Final = (
    "Nothing was used up. Read the error, mend what failed, and rehearse it again: people approve what a rehearsal that"
    " completes gave back."
)
_REHEARSED_OTHERWISE: Final = (
    "Rehearse it again with the adapter as it is declared now, and get that approved; or declare it as it was. What a"
    " worker rehearses needs a new request."
)
_NEW_REQUEST: Final = "It is never executed; make a new request if it is still wanted."
_GET_APPROVED: Final = "Get the approvals that are missing, then call execute again."
_GET_APPROVED_BY: Final = (
    "Get the approvals that are missing, {} among them, each of another person; then call execute again."
)
ADVICE: Final[dict[str, str]] = {
    "ALREADY_EXECUTED": "It was executed, and is never executed again. Make a new request for another run.",
    "DENIED": _NEW_REQUEST,
    "WITHDRAWN": _NEW_REQUEST,
    "EXPIRED": _NEW_REQUEST,
    "FORENSIC_IMPORT": _NEW_REQUEST,
    "EXECUTING": next_step(ErrorCode.EXECUTING),
    "OUTCOME_UNKNOWN": next_step(ErrorCode.OUTCOME_UNKNOWN),
    "CLOCK_BEHIND": next_step(ErrorCode.CLOCK_BEHIND),
    "STORE_ROLLED_BACK": next_step(ErrorCode.STORE_ROLLED_BACK),
    "STORE_MIGRATED": next_step(ErrorCode.STORE_MIGRATED),
    "NO_POLICY": "Make the request again: it was never completed.",
    "DISPATCH_BY_WORKER": (
        "Wait: a worker rehearses it where that is required, and executes it once it is approved. Look with status, or"
        " wait_for the states that end it, and read what it gave back with result. Do not execute it yourself."
    ),
    "ADAPTER_CHANGED": (
        "Make a new request: the adapter is not what this one was made for, and approved for. Or declare it as it was."
    ),
    "MODE_NOT_ALLOWED": "Call execute with dry_run, where the request allows that; for this mode make a new request.",
    "CAPABILITIES_UNKNOWN": "Call execute again with a router that can tell what the adapter is capable of.",
    "CAPABILITIES_MISSING": (
        "Call execute again with an adapter that has these capabilities; a request that is bound to this one has to be"
        " made again."
    ),
    "ADAPTER_MISMATCH": "Call execute again with the adapter that the request was made for.",
    "MISSING_APPROVALS": _GET_APPROVED,
    "APPROVAL_EXPIRED": _GET_APPROVED,
    "APPROVAL_STALE": "Get what the last rehearsal gave back approved; then call execute again.",
    "REHEARSAL_REQUIRED": (
        "Call execute with dry_run first, which needs no approval here; then get what it gave back approved."
    ),
    "IMPORTED_APPROVALS": (
        "Get approvals that count here, then call execute again; or make a new request. What a passkey signed counts"
        " where its page is allowed: passkey_origins, --origin or [inbox] origins."
    ),
}
_BEFORE_APPROVALS: Final = (
    "ALREADY_EXECUTED", "EXECUTION_FAILED", "DENIED", "WITHDRAWN", "EXPIRED", "FORENSIC_IMPORT", "EXECUTING",
    "OUTCOME_UNKNOWN", "NO_POLICY", "DISPATCH_BY_WORKER", "ADAPTER_CHANGED", "CLOCK_BEHIND", "MODE_NOT_ALLOWED",
    "REHEARSAL_REQUIRED",
)  # fmt: skip
"""The reasons that no approval removes. Their advice is given before the advice on other reasons."""


def advice_on(reasons: Sequence[BlockingReason]) -> str:
    """What to do about these reasons: the advice on the first one that no approval removes, else on the first one."""
    by_worker = any(reason.code == "DISPATCH_BY_WORKER" for reason in reasons)
    before = _BEFORE_APPROVALS[:-1] if by_worker else _BEFORE_APPROVALS  # a worker makes the rehearsal
    first = next((reason for reason in reasons if reason.code in before), reasons[0])
    return advice_for(first.code, first.details) or next_step(ErrorCode.POLICY_NOT_SATISFIED)


def advice_for(code: str, details: Mapping[str, Any]) -> str | None:
    """What to do about one reason; None where there is no advice on it."""
    if code == "EXECUTION_FAILED":
        return after_failure(details["effect"])
    if code == "ADAPTER_CHANGED" and "since" in details:
        return _REHEARSED_OTHERWISE
    if ADVICE.get(code) == _GET_APPROVED and "groups" in details:
        return _GET_APPROVED_BY.format(slot_words(details["groups"]))
    return ADVICE.get(code)


def after_failure(effect: Effect) -> str:
    """What to do about a decision whose execution failed."""
    return _AFTER_FAILURE[effect]


_AFTER_FAILURE: dict[Effect, str] = {
    "none": "Nothing was done: read the error, and make a new request to try again.",
    "done": "Find out first what was done before it failed; only then may anybody ask for it again.",
    "unknown": (
        "Find out first what it did, from its error and the timeline; only then may anybody ask for it again."
    ),
}
