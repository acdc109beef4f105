"""What each method of the facade answers, as `ToolResult.data`: plain JSON values, one TypedDict a method.

    result = tools.request("Rotate the keys", Actor("human", "alice"))
    result.data["request_id"]          # a str, to a type checker too

These types are the single source: the methods return them, the output schemas of the agents' tools are generated from
them, and the command line reads them. A key that is not always there is NotRequired. Digests are `sha256:` and 64 hex
digits, unless the docstring says bare. Instants are ISO-8601 in UTC.
"""

from typing import Annotated, Any, Literal, NotRequired, TypeAlias

from typing_extensions import TypedDict

from nexus_control.approvals import AwaitedData, Inactive
from nexus_control.blocking import BlockingReasonData
from nexus_control.events import EventData
from nexus_control.evidence.statement import Verdict
from nexus_control.template import Overrides
from nexus_control.usecases.run_answers import (
    CancelLine,
    ExecutionLine,
    LinkedRun,
    RehearsalLine,
    RequiredRehearsalData,
    Says,
)
from nexus_control.values.actors import ActorData
from nexus_control.values.payloads import Assurance, Dispatch, Mode, StateName

JsonObject: TypeAlias = dict[str, Any]


class PolicyData(TypedDict):
    """A policy. A field newer than 1.0 is there only when it is not at its default."""

    min_approvals: int
    allowed_modes: list[Mode]
    require_adapter_capabilities: list[str]
    max_steps: int | None
    labels: list[str]
    approvers: NotRequired[list[str]]
    allow_requester_approval: NotRequired[bool]
    min_assurance: NotRequired[Assurance | None]
    require_rehearsal: NotRequired[RequiredRehearsalData | None]
    required_from: NotRequired[dict[str, int] | None]


class StateData(TypedDict):
    """`deny` and `withdraw`."""

    request_id: str
    state: StateName


class ApprovalData(StateData):
    """The answer of `approve` and `revoke_approval`. Only approvals that count here and now are counted.
    `groups_missing`, where the policy names groups, is how many more each of them needs; {} where they need no more.
    """

    current_approvals: int
    required_approvals: int
    is_approved: bool
    groups_missing: NotRequired[dict[str, int]]


class RequestData(ApprovalData):
    """The answer of `request`. `basis` commits to all that an approver is shown. Template keys need a template.
    `created` is false where the idempotency key has found a request that was there. `warnings` say why it could not be
    executed as things are here, and in what it demands less than its template.
    """

    created: bool
    min_approvals: int
    basis: str
    warnings: list[str]
    template_name: NotRequired[str]
    template_digest: NotRequired[str]
    overrides_applied: NotRequired[JsonObject]
    rules_digest: NotRequired[str]


class StatementData(TypedDict):
    """The answer of `approval_statement`: `statement` is the text to sign, `sha256` its bare digest."""

    request_id: str
    approver: str
    verdict: Verdict
    basis: str
    statement: str
    sha256: str
    namespace: str


class ReconcileData(StateData):
    """`reconcile`."""

    outcome: Literal["completed", "failed"]


class ApprovalLine(TypedDict):
    actor: ActorData
    granted_at: str
    expires_at: str | None
    comment: str | None
    assurance: Assurance
    revoked_at: str | None
    revoke_reason: str | None
    active: Annotated[bool, Says("Whether the approval counts here and now.")]
    inactive_because: Inactive | None
    imported: bool
    rehearsal_digest: NotRequired[str]


class EndingLine(TypedDict):
    """Who denied or withdrew the decision, when and why."""

    actor: ActorData
    ts: str
    reason: str


class ImportLine(TypedDict):
    """Where an imported decision came from. `copied_from` is the original's id where the copy has a new one."""

    at: str
    by: ActorData | None
    bundle_digest: str
    events: int
    copied_from: str | None
    forensic: bool
    rolled_back: bool
    final_rehearsal: bool


class DecisionFields(TypedDict):
    """A decision's own fields, judged at the instant `as_of`."""

    decision_id: str
    goal: str | None
    plan: str | None
    requested_mode: Mode | None
    labels: list[str]
    requester: ActorData | None
    created_at: str
    policy: PolicyData | None
    expires_at: str | None
    adapter_id: str | None
    adapter_digest: str | None
    as_of: str
    approver_groups: NotRequired[dict[str, list[str]]]
    dispatch: NotRequired[Dispatch]
    idempotency_key: NotRequired[str]
    metadata: NotRequired[dict[str, str]]
    supersedes: NotRequired[str]
    template_name: NotRequired[str]
    template_digest: NotRequired[str]
    rules_digest: NotRequired[str]
    ending: NotRequired[EndingLine]
    rehearsal: NotRequired[RehearsalLine | None]
    imported: NotRequired[ImportLine]


class ReconciledLine(TypedDict):
    """Who settled an execution whose outcome was unknown, how, and how they knew."""

    actor: ActorData
    ts: str
    outcome: Literal["completed", "failed"]
    evidence: str


class StatusData(DecisionFields):
    """The answer of `status`. `events` are there on request, `late_outcome` where an outcome came after `recover`,
    `cancel` where somebody has cancelled the execution under way.
    """

    request_id: str
    state: StateName
    active_approvals: int
    total_approvals: int
    required_approvals: int
    is_approved: bool
    basis: str | None
    blocking_reasons: list[BlockingReasonData]
    approvals: list[ApprovalLine]
    awaited: AwaitedData | None
    executions: list[ExecutionLine]
    run: LinkedRun | None
    event_count: int
    groups_missing: NotRequired[dict[str, int]]
    reconciled: NotRequired[ReconciledLine]
    late_outcome: NotRequired[JsonObject]
    cancel: NotRequired[CancelLine]
    events: NotRequired[list[EventData]]


class WaitData(StatusData):
    """The answer of `wait_for`: the status when the wait ended. `timed_out`: before a state that was waited for."""

    timed_out: bool


class FeedEvent(TypedDict):
    """One event of the store, at its position in the log. `digest` and chain are in the bundle."""

    position: int
    request_id: str
    generation: int
    seq: int
    event_type: str
    ts: str
    actor: ActorData
    payload: JsonObject
    origin: Literal["local", "imported"]


class EventsData(TypedDict):
    """The answer of `events_since`. Pass `cursor` for what comes next; it is the next position of the log to read."""

    events: list[FeedEvent]
    cursor: int


class InspectedDecision(DecisionFields):
    status: str
    event_count: int


class LifecycleEntryData(TypedDict):
    ts: str
    category: str
    label: str
    summary: str
    actor: str
    event_type: str
    seq: int


class LifecycleProgressData(TypedDict):
    """`approvals` is "current/required"."""

    approvals: str
    approvals_current: int
    approvals_required: int
    ready_to_execute: bool
    has_executed: bool
    execution_outcome: str | None


class LifecycleData(TypedDict):
    state: StateName
    is_blocked: bool
    blocking_reasons: list[BlockingReasonData]
    progress: LifecycleProgressData
    timeline_total: int
    timeline_truncated: bool


class ApprovalsData(TypedDict):
    required: int
    current: int
    is_approved: bool
    approvals: list[ApprovalLine]
    groups_missing: NotRequired[dict[str, int]]


class UsedTemplate(TypedDict):
    """The template of the policy. An imported one can differ from the template of the same name in this store."""

    is_of_this_store: bool
    name: str
    digest: str
    snapshot: JsonObject
    overrides_applied: JsonObject


class InspectData(TypedDict):
    """The answer of `inspect`; the last three keys are there on request, and `cancel` as in `status`."""

    ok: bool
    decision: InspectedDecision
    lifecycle: LifecycleData
    approval: ApprovalsData
    policy: PolicyData | None
    template: UsedTemplate | None
    will_run: Annotated[JsonObject | None, Says("What the steps of an open decision would run.")]
    execution: list[ExecutionLine]
    timeline: list[LifecycleEntryData]
    basis: str | None
    head: str
    cancel: NotRequired[CancelLine]
    events: NotRequired[list[EventData]]
    compiled_router_request: NotRequired[JsonObject | None]
    rendered: NotRequired[str]


class TemplateLine(PolicyData):
    template_name: str
    description: str
    overrides: Overrides
    created_at: str
    created_by: ActorData
    digest: str


class TemplateCreateData(TypedDict):
    """`template_create`."""

    template_name: str
    description: str
    digest: str
    created_at: str


class TemplateData(TypedDict):
    """The answer of `template_get`; `events` are there on request."""

    template: TemplateLine
    digest: str
    snapshot: JsonObject
    events: NotRequired[list[EventData]]


class TemplatesData(TypedDict):
    """`template_list`."""

    templates: list[TemplateLine]
    count: int
    offset: int
    limit: int


class BundleData(TypedDict):
    """The answer of `export_bundle`; `rendered` is there on request."""

    bundle: JsonObject
    digest: str
    canonical_json: str
    rendered: NotRequired[str]


class PackageData(TypedDict):
    """The answer of `export_audit_package`; `rendered` is there on request. `unproven` says why the package carries no
    proof that it is in the store's log: the caller may not sign the log, and the last checkpoint is older.
    """

    package: JsonObject
    digest: str
    unproven: NotRequired[str]
    rendered: NotRequired[str]


class SignedPackageData(TypedDict):
    """A package, the exact bytes that were signed, and the DSSE envelope that holds them."""

    package: JsonObject
    digest: str
    canonical_json: str
    envelope: str
    signed_by: str
    unproven: NotRequired[str]


class RecordData(TypedDict):
    """The answer of `export_audit_record`; `record_digest` is bare."""

    audit_record: JsonObject
    record_digest: str
    canonical_json: str
