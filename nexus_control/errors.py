"""Stable error codes and the one exception that carries them.

Inside the library a fault is a `NexusControlError` with a code, and is never recognised by its message. A code keeps
its meaning for ever; `next_step(code)` says what the person who gets it can do about it.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum


class ErrorCode(StrEnum):
    """A code for everything that can go wrong.

        >>> tools.status("nowhere").error_code == ErrorCode.DECISION_NOT_FOUND
        True

    Each member is a string, and keeps its meaning for ever.
    """

    INVALID_ARGUMENT = "INVALID_ARGUMENT"
    DECISION_NOT_FOUND = "DECISION_NOT_FOUND"
    AMBIGUOUS_ID = "AMBIGUOUS_ID"
    TEMPLATE_NOT_FOUND = "TEMPLATE_NOT_FOUND"
    TEMPLATE_ALREADY_EXISTS = "TEMPLATE_ALREADY_EXISTS"
    TEMPLATE_WEAKENED = "TEMPLATE_WEAKENED"
    INVALID_STATE = "INVALID_STATE"
    ALREADY_APPROVED = "ALREADY_APPROVED"
    NOT_ELIGIBLE = "NOT_ELIGIBLE"
    REQUESTER_MAY_NOT_APPROVE = "REQUESTER_MAY_NOT_APPROVE"
    NO_ACTIVE_APPROVAL = "NO_ACTIVE_APPROVAL"
    NOT_REQUESTER = "NOT_REQUESTER"
    ASSURANCE_TOO_LOW = "ASSURANCE_TOO_LOW"
    REHEARSAL_REQUIRED = "REHEARSAL_REQUIRED"
    BASIS_CHANGED = "BASIS_CHANGED"
    PAGE_OUTDATED = "PAGE_OUTDATED"
    SIGNATURE_INVALID = "SIGNATURE_INVALID"
    POLICY_NOT_SATISFIED = "POLICY_NOT_SATISFIED"
    ALREADY_EXECUTED = "ALREADY_EXECUTED"
    EXECUTING = "EXECUTING"
    IDEMPOTENCY_CONFLICT = "IDEMPOTENCY_CONFLICT"
    PLAN_INVALID = "PLAN_INVALID"
    ADAPTER_UNKNOWN = "ADAPTER_UNKNOWN"
    ROUTER_NOT_CONFIGURED = "ROUTER_NOT_CONFIGURED"
    ROUTER_NOT_READY = "ROUTER_NOT_READY"
    TOOL_DEFINITION_CHANGED = "TOOL_DEFINITION_CHANGED"
    ROUTER_ERROR = "ROUTER_ERROR"
    ROUTER_RUN_NOT_FOUND = "ROUTER_RUN_NOT_FOUND"
    OUTCOME_UNKNOWN = "OUTCOME_UNKNOWN"
    OUTCOME_REFUSED = "OUTCOME_REFUSED"
    CLAIM_HELD = "CLAIM_HELD"
    SHUTTING_DOWN = "SHUTTING_DOWN"
    BUNDLE_INVALID_SCHEMA = "BUNDLE_INVALID_SCHEMA"
    PACKAGE_INVALID_SCHEMA = "PACKAGE_INVALID_SCHEMA"
    INTEGRITY_MISMATCH = "INTEGRITY_MISMATCH"
    DECISION_EXISTS = "DECISION_EXISTS"
    CONFLICT_MODE_INVALID = "CONFLICT_MODE_INVALID"
    REPLAY_INVALID = "REPLAY_INVALID"
    ROLLBACK_REFUSED = "ROLLBACK_REFUSED"
    NO_ROUTER_LINK = "NO_ROUTER_LINK"
    ROUTER_DIGEST_MISMATCH = "ROUTER_DIGEST_MISMATCH"
    IMPORTED_COPY = "IMPORTED_COPY"
    IMPORT_NEEDS_OWNER = "IMPORT_NEEDS_OWNER"
    CLOCK_BEHIND = "CLOCK_BEHIND"
    ACTOR_MISMATCH = "ACTOR_MISMATCH"
    APPROVAL_NEEDS_A_PERSON = "APPROVAL_NEEDS_A_PERSON"
    NOT_CONFIRMED = "NOT_CONFIRMED"
    CONFIG_INVALID = "CONFIG_INVALID"
    RULE_UNDECIDED = "RULE_UNDECIDED"
    RULES_DISAGREE = "RULES_DISAGREE"
    DENIED_BY_RULE = "DENIED_BY_RULE"
    KEY_UNUSABLE = "KEY_UNUSABLE"
    LOG_INCONSISTENT = "LOG_INCONSISTENT"
    STORE_ROLLED_BACK = "STORE_ROLLED_BACK"
    STORE_MIGRATED = "STORE_MIGRATED"
    JSON_INVALID = "JSON_INVALID"
    STORE_UNAVAILABLE = "STORE_UNAVAILABLE"
    STORE_IN_USE = "STORE_IN_USE"
    STORE_FORKED = "STORE_FORKED"
    STORE_REPLACED = "STORE_REPLACED"
    ARTIFACTS_UNAVAILABLE = "ARTIFACTS_UNAVAILABLE"
    INTERNAL = "INTERNAL"


class NexusControlError(ValueError):
    """A refused request or a fault, with a stable code.

        >>> Actor("robot", "r2")
        Traceback (most recent call last):
        nexus_control.errors.NexusControlError: INVALID_ARGUMENT: actor.type must be human or system

    Decide by `code`, never by `message`. `details` holds JSON values. `next` says what to do about it:
    `next_step(code)`, or a more exact advice. The class is a `ValueError` because callers of 0.5-1.0 catch that.
    """

    def __init__(
        self,
        code: ErrorCode,
        message: str,
        details: Mapping[str, object] | None = None,
        advice: str | None = None,
    ) -> None:
        # All of them: an exception is copied and pickled by its args.
        super().__init__(code, message, details, advice)
        self.code = code
        self.message = message
        self.details: dict[str, object] = dict(details or {})
        self.next = advice or next_step(code)

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


def invalid_argument(field: str, problem: str) -> NexusControlError:
    """INVALID_ARGUMENT for one field; `problem` completes the sentence that begins with the field's name."""
    return invalid_arguments([{"field": field, "problem": problem}])


def invalid_arguments(problems: Sequence[Mapping[str, str]]) -> NexusControlError:
    """INVALID_ARGUMENT with details.fields: [{field, problem}]."""
    message = "; ".join(f"{each['field']} {each['problem']}" for each in problems)
    return NexusControlError(ErrorCode.INVALID_ARGUMENT, message, {"fields": list(problems)})


_NEXT: dict[ErrorCode, str] = {
    ErrorCode.INVALID_ARGUMENT: "Correct the named field and call again; nothing was written.",
    ErrorCode.DECISION_NOT_FOUND: "List the requests to find the right id, or make a new request.",
    ErrorCode.AMBIGUOUS_ID: "Name one of the candidates by more of its id.",
    ErrorCode.TEMPLATE_NOT_FOUND: "List the templates to find the right name, or create it.",
    ErrorCode.TEMPLATE_ALREADY_EXISTS: "Templates are immutable: use it, or create one under a new name.",
    ErrorCode.TEMPLATE_WEAKENED: "Drop the named overrides, or make them stricter than the template.",
    ErrorCode.INVALID_STATE: "Look at the status: this decision no longer accepts that; make a new request.",
    ErrorCode.ALREADY_APPROVED: "Somebody else must approve. If your own does not count, revoke it and approve again.",
    ErrorCode.NOT_ELIGIBLE: "Ask one of the policy's approvers.",
    ErrorCode.REQUESTER_MAY_NOT_APPROVE: "Ask somebody other than the requester.",
    ErrorCode.NO_ACTIVE_APPROVAL: "There is nothing of yours to revoke; look at the status.",
    ErrorCode.NOT_REQUESTER: "Only the requester may withdraw; an approver can deny instead.",
    ErrorCode.ASSURANCE_TOO_LOW: "Approve in the stronger way that the policy demands.",
    ErrorCode.REHEARSAL_REQUIRED: "Rehearse it first: execute it with dry_run, which needs no approval. Then approve.",
    ErrorCode.BASIS_CHANGED: "Look at the request again, and decide on what it is now.",
    ErrorCode.PAGE_OUTDATED: "Look at the page as it is shown now, and do it there; nothing was written.",
    ErrorCode.SIGNATURE_INVALID: "Sign the exact statement again with a key that is trusted here.",
    ErrorCode.POLICY_NOT_SATISFIED: "Resolve every reason, then call execute again; a reason that cannot pass says so.",
    ErrorCode.ALREADY_EXECUTED: "Read what it gave back with result. To run it again, propose it again.",
    ErrorCode.EXECUTING: "Wait until the outcome is recorded, and read it in the status; do not call execute again.",
    ErrorCode.IDEMPOTENCY_CONFLICT: (
        "Use another key for another request. To ask for the same again, send exactly what was sent before."
    ),
    ErrorCode.PLAN_INVALID: "Correct the plan and make a new request.",
    ErrorCode.ADAPTER_UNKNOWN: "Name an adapter that is declared, or declare it; nothing was written or executed.",
    ErrorCode.ROUTER_NOT_CONFIGURED: (
        "Declare adapters in a nexus-control.toml (on the command line: --config FILE), or configure a router,"
        " then call execute again."
    ),
    ErrorCode.ROUTER_NOT_READY: "Mend what the message names, then call execute again; the approvals still count.",
    ErrorCode.TOOL_DEFINITION_CHANGED: (
        "Tell the owner of the configuration which words moved. Once the tool is restored, call execute again; once the"
        " new definition is pinned, make a new request. Nothing was written or executed."
    ),
    ErrorCode.ROUTER_ERROR: (
        "Read the error and its effect. If nothing was done, try again; otherwise find out first what was done."
    ),
    ErrorCode.ROUTER_RUN_NOT_FOUND: "Check the run id against the execution's record.",
    ErrorCode.OUTCOME_UNKNOWN: "Find out what really happened, then reconcile; it is never run again by itself.",
    ErrorCode.OUTCOME_REFUSED: "Settle the execution with reconcile; the late outcome is kept as evidence.",
    ErrorCode.CLAIM_HELD: "Wait for the process that executes it. If you know that it has ended, name the decision and "
    "force.",
    ErrorCode.SHUTTING_DOWN: "Start the server again, then call again; nothing was written.",
    ErrorCode.BUNDLE_INVALID_SCHEMA: "Export the bundle again from its source; do not edit it.",
    ErrorCode.PACKAGE_INVALID_SCHEMA: "Export the package again from its source; do not edit it.",
    ErrorCode.INTEGRITY_MISMATCH: "Do not trust this artifact: fetch it again from its source.",
    ErrorCode.DECISION_EXISTS: "Look at it; its owner can import with conflict_mode overwrite or new_decision_id.",
    ErrorCode.CONFLICT_MODE_INVALID: "Use reject_on_conflict, new_decision_id or overwrite.",
    ErrorCode.REPLAY_INVALID: "Do not trust this history: export it again from its source.",
    ErrorCode.ROLLBACK_REFUSED: "Import a history that extends the stored one, or pass allow_rollback=True.",
    ErrorCode.NO_ROUTER_LINK: "Execute the decision first; only a run can be audited.",
    ErrorCode.ROUTER_DIGEST_MISMATCH: "Export the bundle of the very run that was recorded.",
    ErrorCode.IMPORTED_COPY: "Export the audit package of the original decision.",
    ErrorCode.IMPORT_NEEDS_OWNER: "Import without that. Only the store's owner can do it, in Python or by command.",
    ErrorCode.CLOCK_BEHIND: "Check the clock of this machine; do not trust a history that comes from the future.",
    ErrorCode.ACTOR_MISMATCH: "Leave actor out: this server acts for one identity.",
    ErrorCode.APPROVAL_NEEDS_A_PERSON: "Show details.command to a person; do not run it yourself.",
    ErrorCode.NOT_CONFIRMED: "Nothing was written; run the command again when you are sure.",
    ErrorCode.CONFIG_INVALID: "Correct the named entry of the configuration file.",
    ErrorCode.RULE_UNDECIDED: (
        "Send what the named rule reads, in the type that it needs; or the owner of the rules lets the rule match only"
        " calls that have it."
    ),
    ErrorCode.RULES_DISAGREE: "Make a request for the steps of each template.",
    ErrorCode.DENIED_BY_RULE: "Do not ask for it in another form: the owner of the rules says what may be asked for.",
    ErrorCode.KEY_UNUSABLE: "Put the right key file back, readable only by its owner, or give the log a new key.",
    ErrorCode.LOG_INCONSISTENT: "Execute nothing from this store until it is known which history is the right one.",
    ErrorCode.STORE_ROLLED_BACK: (
        "Tell the store's owner, who puts the newer database back, or looks at it with doctor;"
        " nothing is executed until then."
    ),
    ErrorCode.STORE_MIGRATED: (
        "Name the store's new place. Only if that was given up, the owner goes on here, with doctor --accept-rollback."
    ),
    ErrorCode.JSON_INVALID: "Send plain JSON: no duplicate keys, no NaN, no BOM, at most 64 levels.",
    ErrorCode.STORE_UNAVAILABLE: "Check the database path, permissions and disk space, then try again.",
    ErrorCode.STORE_IN_USE: "Let the calls under way return, then close the store again.",
    ErrorCode.STORE_FORKED: "Open the store in a process of its own, or fork while no transaction is under way.",
    ErrorCode.STORE_REPLACED: "Find out which file is the right one, put it there, and open the store again.",
    ErrorCode.ARTIFACTS_UNAVAILABLE: "Check the artifacts folder, its permissions and disk space, then try again.",
    ErrorCode.INTERNAL: "This is a defect: report it with the error's details.",
}


def next_step(code: ErrorCode) -> str:
    """One sentence for the person or program that gets `code`: what to do now."""
    return _NEXT[code]
