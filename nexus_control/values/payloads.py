"""The payload of each kind of event. The field names and defaults below are the wire format.

Fields that nexus-control 0.5-1.0 had are always written. A newer field has a default, and is left out while it has that
value: so old readers still read new artifacts. Keys that are not listed are kept, never interpreted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any, ClassVar, Literal, TypeAlias

from nexus_control.errors import ErrorCode, invalid_argument
from nexus_control.integrity import is_bare, is_prefixed
from nexus_control.values.actors import id_problem
from nexus_control.values.groups import MEMBERS_RULE, SLOTS_RULE, are_members, are_slots
from nexus_control.values.instants import is_instant
from nexus_control.values.records import always_written, check, decode, decode_each, encode

Mode: TypeAlias = Literal["dry_run", "apply"]
MODES: tuple[Mode, ...] = ("dry_run", "apply")
StateName: TypeAlias = Literal[
    "draft", "pending_approval", "approved", "expired", "executing",
    "completed", "failed", "denied", "withdrawn", "outcome_unknown",
]  # fmt: skip
"""The state of a decision: the values of DecisionState."""

Effect: TypeAlias = Literal["none", "done", "unknown"]
"""What an execution did, as far as is known: `none` is certainly nothing, `done` certainly something."""

Dispatch: TypeAlias = Literal["worker"]
"""Who alone executes a decision. Without it, anybody who has the adapter may."""

Assurance: TypeAlias = Literal["declared", "elicited", "local", "signed"]
ASSURANCES: tuple[Assurance, ...] = ("declared", "elicited", "local", "signed")
"""How sure it is who the approver was, weakest first."""

_INSTANT = "an ISO-8601 instant with an offset"
_HEX = "64 lower-case hex digits"
_PREFIXED = f"'sha256:' and {_HEX}"


class EventType(StrEnum):
    """The kinds of event. Their names are frozen.

    >>> [str(event.event_type) for event in decision.events]
    ['DECISION_CREATED', 'POLICY_ATTACHED', 'APPROVAL_GRANTED']
    """

    DECISION_CREATED = "DECISION_CREATED"
    POLICY_ATTACHED = "POLICY_ATTACHED"
    APPROVAL_GRANTED = "APPROVAL_GRANTED"
    APPROVAL_REVOKED = "APPROVAL_REVOKED"
    APPROVAL_DENIED = "APPROVAL_DENIED"
    DECISION_WITHDRAWN = "DECISION_WITHDRAWN"
    EXECUTION_REQUESTED = "EXECUTION_REQUESTED"
    EXECUTION_STARTED = "EXECUTION_STARTED"
    EXECUTION_COMPLETED = "EXECUTION_COMPLETED"
    EXECUTION_FAILED = "EXECUTION_FAILED"
    EXECUTION_OUTCOME_UNKNOWN = "EXECUTION_OUTCOME_UNKNOWN"
    EXECUTION_RECONCILED = "EXECUTION_RECONCILED"
    TEMPLATE_CREATED = "TEMPLATE_CREATED"


class Payload:
    """The base of all payloads: an event type, and the JSON object."""

    __slots__ = ()
    event_type: ClassVar[EventType]

    def to_dict(self) -> dict[str, Any]:
        """The JSON object, as an event holds it. Fields newer than 1.0 are left out at their default.

        >>> decision.events[2].content.to_dict()
        {'expires_at': None, 'assurance': 'declared'}
        """
        return encode(self)


def _ids(values: tuple[str, ...]) -> bool:
    return all(id_problem(value) is None for value in values)


def _are_texts(values: Mapping[str, object]) -> bool:
    return all(isinstance(value, str) for value in values.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionCreatedPayload(Payload):
    """Somebody asks for something. The plan is text, kept verbatim.

    `idempotency_key` is unique for its requester, `metadata` refers to things elsewhere, and `supersedes` is the id of
    the request that this one takes the place of.
    """

    event_type = EventType.DECISION_CREATED
    goal: str
    plan: str | None = always_written(None)
    requested_mode: Mode
    labels: tuple[str, ...] = always_written(())
    idempotency_key: str | None = None
    metadata: Mapping[str, object] | None = check(_are_texts, "an object of texts", default=None)
    supersedes: str | None = None


@dataclass(frozen=True, slots=True)
class RequiredRehearsal:
    """People approve what a rehearsal gave back, which is at most so old when they do.

    >>> RequiredRehearsal(max_age_seconds=3600).max_age_seconds
    3600
    """

    max_age_seconds: int = check(lambda n: n >= 1, "at least 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyFields(Payload):
    """The fields of a policy, wherever one is written down.

    `approvers` are the eligible ids (empty: anyone); `min_assurance` is the weakest assurance that counts.
    `required_from` says how many of the approvals are of which group; `min_approvals` is at least their sum.
    """

    min_approvals: int = check(lambda n: n >= 1, "at least 1")
    allowed_modes: tuple[Mode, ...] = check(lambda modes: len(modes) > 0, "non-empty")
    require_adapter_capabilities: tuple[str, ...] = always_written(())
    max_steps: int | None = check(lambda n: n >= 1, "at least 1", default=None, always=True)
    labels: tuple[str, ...] = always_written(())
    approvers: tuple[str, ...] = check(_ids, "a list of actor ids", default=())
    allow_requester_approval: bool = True
    min_assurance: Assurance | None = None
    require_rehearsal: RequiredRehearsal | None = None
    required_from: Mapping[str, int] | None = check(are_slots, SLOTS_RULE, default=None)

    def __post_init__(self) -> None:
        slots = sum(self.required_from.values()) if self.required_from else 0
        if self.min_approvals < slots:
            raise invalid_argument("min_approvals", f"must be at least {slots}, the sum of required_from")


POLICY_FIELDS = frozenset(field.name for field in fields(PolicyFields))


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyAttachedPayload(PolicyFields):
    """The policy is fixed. `expires_at`, the adapter and `dispatch` are limits of the request itself, and of no
    template. With `dispatch` "worker" a worker alone executes it. `approver_groups` are the members of the groups that
    `required_from` names, as they were when the request was made. `rules_digest` is of the rule book that judged it.
    """

    event_type = EventType.POLICY_ATTACHED
    template_name: str | None = None
    template_snapshot: Mapping[str, object] | None = None
    template_digest: str | None = check(is_bare, _HEX, default=None)
    overrides_applied: Mapping[str, object] | None = None
    expires_at: str | None = check(is_instant, _INSTANT, default=None)
    adapter_id: str | None = None
    adapter_digest: str | None = None
    dispatch: Dispatch | None = None
    approver_groups: Mapping[str, object] | None = check(are_members, MEMBERS_RULE, default=None)
    rules_digest: str | None = check(is_prefixed, _PREFIXED, default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedStatement:
    """An SSH signature over the exact bytes of `statement`."""

    format: Literal["sshsig"]
    statement: str
    signature: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Elicitation:
    """The client that asked a person, and how long the answer took, in milliseconds."""

    client: str
    latency_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalGrantedPayload(Payload):
    """One person's approval. `rehearsal_digest` is that of the rehearsal whose results they approve, where the policy
    requires one.
    """

    event_type = EventType.APPROVAL_GRANTED
    expires_at: str | None = check(is_instant, _INSTANT, default=None, always=True)
    comment: str | None = None
    assurance: Assurance | None = None
    signed: SignedStatement | None = None
    elicitation: Elicitation | None = None
    rehearsal_digest: str | None = check(is_prefixed, _PREFIXED, default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalRevokedPayload(Payload):
    """An approver takes back their own approval."""

    event_type = EventType.APPROVAL_REVOKED
    reason: str | None = always_written(None)
    signed: SignedStatement | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalDeniedPayload(Payload):
    """An approver refuses."""

    event_type = EventType.APPROVAL_DENIED
    reason: str
    assurance: Assurance | None = None
    signed: SignedStatement | None = None
    elicitation: Elicitation | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionWithdrawnPayload(Payload):
    """The requester takes the request back."""

    event_type = EventType.DECISION_WITHDRAWN
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionRequestedPayload(Payload):
    """Somebody executes the decision. This event and EXECUTION_STARTED are the claim."""

    event_type = EventType.EXECUTION_REQUESTED
    adapter_id: str
    dry_run: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionStartedPayload(Payload):
    """The router is called with this request."""

    event_type = EventType.EXECUTION_STARTED
    router_request_digest: str = check(is_bare, _HEX)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionCompletedPayload(Payload):
    """The router ran it without an error. `notes` name what was odd in its answer. `rehearsal_digest`, of a rehearsal
    that the policy requires, is over what its steps gave back; a rehearsal without one shows nothing to approve.
    `adapter_digest` is of the declaration of the adapter that made such a rehearsal, where its router can tell.
    """

    event_type = EventType.EXECUTION_COMPLETED
    run_id: str
    response_digest: str = check(is_bare, _HEX)
    steps_executed: int = check(lambda n: n >= 0, "at least 0")
    router_bundle_digest: str | None = None
    notes: tuple[str, ...] = ()
    rehearsal_digest: str | None = check(is_prefixed, _PREFIXED, default=None)
    adapter_digest: str | None = check(is_prefixed, _PREFIXED, default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionFailedPayload(Payload):
    """The run failed; an absent `effect` reads as unknown."""

    event_type = EventType.EXECUTION_FAILED
    error_code: str
    error_message: str
    run_id: str | None = always_written(None)
    response_digest: str | None = check(is_bare, _HEX, default=None)
    router_bundle_digest: str | None = None
    steps_executed: int | None = check(lambda n: n >= 0, "at least 0", default=None)
    effect: Effect | None = None
    notes: tuple[str, ...] = ()

    @property
    def certain_effect(self) -> Literal["none", "done"] | None:
        """What the run certainly did or did not do."""
        return None if self.effect == "unknown" else self.effect


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionOutcomeUnknownPayload(Payload):
    """Nobody knows what the run did."""

    event_type = EventType.EXECUTION_OUTCOME_UNKNOWN
    reason: str
    detail: str
    run_id: str | None = None
    response_digest: str | None = check(is_bare, _HEX, default=None)
    router_bundle_digest: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionReconciledPayload(Payload):
    """A person found out what the run did."""

    event_type = EventType.EXECUTION_RECONCILED
    outcome: Literal["completed", "failed"]
    evidence: str
    run_id: str | None = None
    response_digest: str | None = check(is_bare, _HEX, default=None)
    router_bundle_digest: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateCreatedPayload(PolicyFields):
    """A named policy."""

    event_type = EventType.TEMPLATE_CREATED
    name: str
    description: str = always_written("")
    overrides: Literal["any", "tighten_only"] = "any"


PAYLOADS: dict[EventType, type[Payload]] = {
    payload.event_type: payload
    for payload in (
        DecisionCreatedPayload,
        PolicyAttachedPayload,
        ApprovalGrantedPayload,
        ApprovalRevokedPayload,
        ApprovalDeniedPayload,
        DecisionWithdrawnPayload,
        ExecutionRequestedPayload,
        ExecutionStartedPayload,
        ExecutionCompletedPayload,
        ExecutionFailedPayload,
        ExecutionOutcomeUnknownPayload,
        ExecutionReconciledPayload,
        TemplateCreatedPayload,
    )
}


def decode_payload(event_type: EventType, payload: object) -> Payload:
    """The payload of an event of this type. Raises REPLAY_INVALID for a payload that lacks a field of its type."""
    return decode(
        PAYLOADS[event_type], payload, where=event_type, code=ErrorCode.REPLAY_INVALID, extra_keys=True
    )


def decode_payloads(event_type: EventType, payloads: Sequence[object]) -> Sequence[Payload] | None:
    """Like `decode_payload`, for many events of one type; None where one of them does not decode."""
    return decode_each(PAYLOADS[event_type], payloads, extra_keys=True)
