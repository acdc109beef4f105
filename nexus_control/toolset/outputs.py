"""What the tools answer. Where the library has a record for a part of it, that record is the model.

Objects are open: a later version may say more. A key that need not be there has a default.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, Field

from nexus_control.blocking import BlockingReason
from nexus_control.decision import DecisionState
from nexus_control.lifecycle import LifecycleEntry
from nexus_control.log.projection import ConflictMode
from nexus_control.template import Overrides
from nexus_control.usecases.views import Inactive
from nexus_control.values.actors import Actor
from nexus_control.values.payloads import Assurance, Effect, EventType, Mode, PolicyFields

JsonObject: TypeAlias = dict[str, Any]


class ToolOutput(BaseModel):
    """What every success holds."""

    summary: Annotated[str, Field(description="What happened, in a sentence.")]
    next_action: Annotated[str, Field(description="What to do now.")]


class DecisionOutput(ToolOutput):
    """Where a person's approval is waited for, `details.command` is what to show them."""

    details: JsonObject | None = None


class ErrorOutput(BaseModel):
    """Every refusal and fault."""

    code: Annotated[str, Field(description="Stable: decide by this, never by the message.")]
    message: str
    details: JsonObject
    next: Annotated[str, Field(description="What to do about it.")]


class ApprovalOutput(DecisionOutput):
    request_id: str
    state: DecisionState
    current_approvals: int
    required_approvals: int
    is_approved: bool


class RequestOutput(ApprovalOutput):
    min_approvals: int
    basis: str
    template_name: str | None = None
    template_digest: str | None = None
    overrides_applied: JsonObject | None = None


class ExecuteOutput(ToolOutput):
    request_id: str
    run_id: str
    mode: Mode
    steps_executed: int
    request_digest: str
    response_digest: str


class EventLine(BaseModel):
    event_id: str
    decision_id: str
    seq: int
    event_type: EventType
    ts: str
    actor: Actor
    payload: JsonObject
    digest: str


class ApprovalLine(BaseModel):
    actor: Actor
    granted_at: str
    expires_at: str | None
    comment: str | None
    assurance: Assurance
    revoked_at: str | None
    revoke_reason: str | None
    active: Annotated[bool, Field(description="Whether it counts here and now.")]
    inactive_because: Inactive | None
    imported: bool


class ExecutionLine(BaseModel):
    adapter_id: str
    dry_run: bool
    rehearsal: bool
    outcome: Literal["running", "completed", "failed", "outcome_unknown"]
    requested_at: str
    started_at: str | None
    completed_at: str | None
    run_id: str | None
    steps_executed: int | None
    error_code: str | None
    error_message: str | None
    effect: Annotated[
        Effect | None,
        Field(
            description="What is known of what it did. After a failure only none is safe to ask for again."
        ),
    ]


class EndingLine(BaseModel):
    actor: Actor
    ts: str
    reason: str


class ImportLine(BaseModel):
    at: str
    by: Actor | None
    bundle_digest: str
    events: int
    copied_from: str | None
    forensic: bool
    rolled_back: bool
    final_rehearsal: bool


class DecisionFields(BaseModel):
    decision_id: str
    goal: str | None
    plan: str | None
    requested_mode: Mode | None
    labels: list[str]
    requester: Actor | None
    created_at: str
    policy: PolicyFields | None
    expires_at: str | None
    adapter_id: str | None
    adapter_digest: str | None
    as_of: str
    template_name: str | None = None
    template_digest: str | None = None
    ending: EndingLine | None = None
    imported: ImportLine | None = None


class LinkedRun(BaseModel):
    run_id: str | None
    status: str


class StatusOutput(DecisionFields, DecisionOutput):
    request_id: str
    state: DecisionState
    active_approvals: int
    total_approvals: int
    required_approvals: int
    is_approved: bool
    basis: str | None
    blocking_reasons: list[BlockingReason]
    executions: list[ExecutionLine]
    run: LinkedRun | None
    event_count: int
    late_outcome: JsonObject | None = None
    events: list[EventLine] | None = None


class InspectedDecision(DecisionFields):
    status: str
    event_count: int


class ProgressView(BaseModel):
    approvals: Annotated[str, Field(description="Current and required, as 0/2.")]
    approvals_current: int
    approvals_required: int
    ready_to_execute: bool
    has_executed: bool
    execution_outcome: str | None


class LifecycleView(BaseModel):
    state: DecisionState
    is_blocked: bool
    blocking_reasons: list[BlockingReason]
    progress: ProgressView
    timeline_total: int
    timeline_truncated: bool


class ApprovalView(BaseModel):
    required: int
    current: int
    is_approved: bool
    approvals: list[ApprovalLine]


class UsedTemplate(BaseModel):
    is_of_this_store: bool
    name: str
    digest: str
    snapshot: JsonObject
    overrides_applied: JsonObject


class InspectOutput(DecisionOutput):
    ok: bool
    decision: InspectedDecision
    lifecycle: LifecycleView
    approval: ApprovalView
    policy: PolicyFields | None
    template: UsedTemplate | None
    will_run: Annotated[JsonObject | None, Field(description="What the steps of an open decision would run.")]
    execution: list[ExecutionLine]
    timeline: list[LifecycleEntry]
    basis: str | None
    head: str
    events: list[EventLine] | None = None
    compiled_router_request: JsonObject | None = None
    rendered: str | None = None


class TemplateCreateOutput(ToolOutput):
    template_name: str
    description: str
    digest: str
    created_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateLine(PolicyFields):
    template_name: str
    description: str
    overrides: Overrides
    created_at: str
    created_by: Actor
    digest: str


class TemplateGetOutput(ToolOutput):
    template: TemplateLine
    digest: str
    snapshot: Mapping[str, Any]
    events: list[EventLine] | None = None


class TemplateListOutput(ToolOutput):
    templates: list[TemplateLine]
    count: int
    offset: int
    limit: int


class ArtifactOutput(ToolOutput):
    """A small artifact is in the answer, a large one in a file: then `path` and `file_sha256` say which."""

    decision_id: str
    digest: Annotated[str, Field(description="The artifact's own, prefixed; not that of the file.")]
    event_count: int
    bytes: Annotated[int, Field(description="The size of the artifact's canonical JSON.")]
    path: Annotated[str | None, Field(description="The file that holds the artifact.")] = None
    file_sha256: Annotated[str | None, Field(description="As sha256sum prints it.")] = None


class ExportBundleOutput(ArtifactOutput):
    bundle: JsonObject | None = None


class ExportAuditPackageOutput(ArtifactOutput):
    run_id: str
    package: JsonObject | None = None


class ImportedLine(BaseModel):
    decision_id: str
    source_decision_id: str
    events_imported: int
    generation: int
    forensic: bool
    imported_by: Actor | None


class ReplayLine(BaseModel):
    state: DecisionState


class ImportBundleOutput(ToolOutput):
    ok: bool
    imported: ImportedLine
    unchanged: bool
    digest_verified: bool
    conflict_mode: ConflictMode
    replay_ran: bool
    replay: ReplayLine | None


OUTPUT_MODELS: dict[str, type[ToolOutput]] = {
    "nexus-control.request": RequestOutput,
    "nexus-control.approve": ApprovalOutput,
    "nexus-control.execute": ExecuteOutput,
    "nexus-control.status": StatusOutput,
    "nexus-control.inspect": InspectOutput,
    "nexus-control.template.create": TemplateCreateOutput,
    "nexus-control.template.get": TemplateGetOutput,
    "nexus-control.template.list": TemplateListOutput,
    "nexus-control.export_bundle": ExportBundleOutput,
    "nexus-control.import_bundle": ImportBundleOutput,
    "nexus-control.export_audit_package": ExportAuditPackageOutput,
}
"""What each tool of the table answers."""
