"""Checks of tool arguments: strict pydantic models, and refusals in the words of this module.

Nothing is coerced ("5" is not 5, true is not 1), unknown fields are refused, and a refusal names the field and the
rule but never repeats the value, which may be a secret. `usecases.fields` has the types of the fields. The arguments of
lists are in `usecases.list_arguments`.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal, TypeVar, cast, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from nexus_control.errors import invalid_arguments
from nexus_control.log.projection import ConflictMode
from nexus_control.usecases.checks import MAX_LABEL, MAX_OFFSET
from nexus_control.usecases.fields import (
    ActorField,
    Approvers,
    BareDigest,
    Basis,
    BundleField,
    Capabilities,
    Count,
    Duration,
    Goal,
    Identifier,
    Instant,
    JsonObjectField,
    Labels,
    Metadata,
    Modes,
    Name,
    NewName,
    Offset,
    PageSize,
    Plan,
    Reason,
    Remark,
    RequiredFrom,
    RequiredRehearsal,
    Signed,
    Until,
    Wait,
)
from nexus_control.values.guarded import is_guarded
from nexus_control.values.payloads import Assurance, Dispatch, Effect, Mode, SignedStatement

ModelT = TypeVar("ModelT", bound=BaseModel)


def validated(model: type[ModelT], values: Mapping[str, object]) -> ModelT:
    """`values` as a `model`. Raises INVALID_ARGUMENT with details.fields: [{field, problem}]."""
    try:
        return model.model_validate(values if type(values) is dict else dict(values))
    except ValidationError as error:
        problems = [_problem(cast("dict[str, Any]", each)) for each in error.errors(include_url=False)]
    raise invalid_arguments(problems)


_RULES: dict[str, str] = {
    "missing": "is required",
    "extra_forbidden": "is not a known argument",
    "string_type": "must be text",
    "string_unicode": "must not hold lone surrogates",
    "int_type": "must be an integer",
    "bool_type": "must be true or false",
    "list_type": "must be a list",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "string_too_short": "must not be empty",
    "string_too_long": "must be at most {max_length} characters",
    "too_short": "cannot be empty",
    "too_long": "must have at most {max_length} items",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "literal_error": "must be one of {expected}",
    "value_error": "{error}",
}


def _problem(error: dict[str, Any]) -> dict[str, str]:
    field = ".".join(str(part) for part in error["loc"]) or "arguments"
    rule = _RULES.get(error["type"], "is not valid")
    return {"field": field[:200], "problem": rule.format_map(error.get("ctx", {}))}


class Arguments(BaseModel):
    """Base of all tool arguments."""

    model_config = ConfigDict(
        strict=True, extra="forbid", frozen=True, hide_input_in_errors=True, defer_build=True
    )


class PolicyArguments(Arguments):
    """The policy's fields as arguments; None leaves the default, or the template's value."""

    min_approvals: Count | None = None
    allowed_modes: Modes | None = None
    require_adapter_capabilities: Capabilities | None = None
    max_steps: Count | None = None
    labels: Labels | None = None
    approvers: Approvers | None = None
    allow_requester_approval: bool | None = None
    min_assurance: Assurance | None = None
    require_rehearsal: RequiredRehearsal | None = None
    required_from: RequiredFrom | None = None

    def given(self) -> dict[str, Any]:
        """The policy fields that were given, as JSON values."""
        values = {name: getattr(self, name) for name in PolicyArguments.model_fields}
        return {name: value for name, value in values.items() if value is not None}


class RequestArguments(PolicyArguments):
    goal: Goal
    actor: ActorField
    mode: Mode = "dry_run"
    plan: Plan | None = None
    template_name: Name | None = None
    expires_at: Instant | None = None
    adapter_id: Name | None = None
    expires_in: Annotated[Duration | None, Field(validate_default=True)] = None
    idempotency_key: Name | None = None
    metadata: Metadata | None = None
    supersedes: Identifier | None = None
    dispatch: Dispatch | None = None

    @field_validator("dispatch")
    @classmethod
    def _names_what_a_worker_runs(cls, dispatch: Dispatch | None, info: ValidationInfo) -> Dispatch | None:
        if dispatch is None or "adapter_id" not in info.data:
            return dispatch
        if info.data["adapter_id"] is None:
            raise ValueError("needs an adapter (adapter_id), so that the worker knows what to run")
        if is_guarded(info.data["adapter_id"]):
            raise ValueError("is not for a guarded call, which its caller runs")
        return dispatch

    @field_validator("expires_in")
    @classmethod
    def _is_the_only_expiry(cls, expires_in: timedelta | None, info: ValidationInfo) -> timedelta | None:
        if expires_in is not None and info.data.get("expires_at") is not None:
            raise ValueError("and expires_at are two ends: give one of them")
        return expires_in

    def expires(self, now: datetime) -> datetime | None:
        """When a request that is made now runs out."""
        return self.expires_at if self.expires_in is None else now + self.expires_in


class ShownArguments(Arguments):
    """Somebody decides on a request; `basis` is what they were shown."""

    request_id: Identifier
    actor: ActorField
    basis: Basis | None = None


class ApproveOptions(ShownArguments):
    comment: Remark | None = None
    expires_at: Instant | None = None


class VerdictArguments(ShownArguments):
    """An approver's verdict on a request. `statement` and `signature` come together, and make it a signed verdict."""

    statement: Signed | None = None
    signature: Annotated[Signed | None, Field(validate_default=True)] = None

    @field_validator("signature")
    @classmethod
    def _comes_with_its_statement(cls, signature: str | None, info: ValidationInfo) -> str | None:
        if "statement" in info.data and (info.data["statement"] is None) != (signature is None):
            raise ValueError("and statement come together: give both, or neither")
        return signature

    @property
    def signed(self) -> SignedStatement | None:
        if self.statement is None or self.signature is None:
            return None
        return SignedStatement(format="sshsig", statement=self.statement, signature=self.signature)


class ApproveArguments(ApproveOptions, VerdictArguments):
    """`rehearsal_digest` is of the rehearsal that the person was shown."""

    rehearsal_digest: Basis | None = None


class RevokeArguments(VerdictArguments):
    reason: Remark | None = None


class DenyArguments(VerdictArguments):
    reason: Reason


class WithdrawArguments(ShownArguments):
    reason: Reason


class StatementArguments(Arguments):
    """The verdict that an approver is about to sign."""

    request_id: Identifier
    approver: Name
    verdict: Literal["approve", "deny", "revoke"] = "approve"
    expires_at: Instant | None = None


class ExecuteArguments(Arguments):
    request_id: Identifier
    adapter_id: Name
    actor: ActorField
    dry_run: bool | None = None


class ClaimArguments(ExecuteArguments):
    """`owner_pid` is the process that lives until the outcome is recorded; by default the caller's own."""

    owner_pid: Annotated[int, Field(gt=0, le=2**31 - 1)] | None = None


class CancelArguments(Arguments):
    request_id: Identifier
    actor: ActorField
    reason: Reason


class RecordOutcomeArguments(Arguments):
    """What a caller that ran the tool itself says of it."""

    execution_id: Identifier
    outcome: Literal["completed", "failed", "unknown"]
    output: object = None
    error: Reason | None = None
    effect: Effect | None = None

    @field_validator("error")
    @classmethod
    def _is_of_what_did_not_complete(cls, error: str | None, info: ValidationInfo) -> str | None:
        if error is not None and info.data.get("outcome") == "completed":
            raise ValueError("belongs to the outcome failed or unknown")
        return error

    @field_validator("effect")
    @classmethod
    def _is_of_a_failure(cls, effect: Effect | None, info: ValidationInfo) -> Effect | None:
        if effect is not None and info.data.get("outcome") != "failed":
            raise ValueError(
                "belongs to the outcome failed: a completed one is done, of an unknown one nobody knows"
            )
        return effect


class ReconcileArguments(Arguments):
    request_id: Identifier
    actor: ActorField
    outcome: Literal["completed", "failed"]
    evidence: Reason
    run_id: Name | None = None
    response_digest: BareDigest | None = None


class RecoverArguments(Arguments):
    request_id: Identifier | None = None
    force: bool = False


class StatusArguments(Arguments):
    request_id: Identifier
    include_events: bool = False


class ResultArguments(Arguments):
    """The results of one execution: the linked one, or the one that `execution` names by its seq."""

    request_id: Identifier
    execution: Annotated[int, Field(ge=0, le=2**53)] | None = None


class WaitArguments(Arguments):
    """`until` are the states that end the wait; by default all but draft, pending_approval and executing."""

    request_id: Identifier
    until: Until | None = None
    timeout: Wait = 60


class EventsArguments(Arguments):
    cursor: Annotated[int, Field(ge=0, le=MAX_OFFSET)] = 0
    limit: PageSize = 500


class RecordArguments(Arguments):
    request_id: Identifier


class InspectArguments(Arguments):
    decision_id: Identifier
    render: bool = True
    include_events: bool = False
    include_compiled_router_request: bool = True


class TemplateCreateArguments(PolicyArguments):
    name: NewName
    actor: ActorField
    description: Remark = ""
    overrides: Literal["any", "tighten_only"] = "any"


class TemplateGetArguments(Arguments):
    name: Identifier
    include_events: bool = False


class TemplateListArguments(Arguments):
    limit: PageSize = 100
    offset: Offset = 0
    label_filter: Annotated[str, Field(max_length=MAX_LABEL)] | None = None


class BundleOptions(Arguments):
    decision_id: Identifier
    include_template_snapshot: bool = True
    include_router_link: bool = True


class ExportBundleArguments(BundleOptions):
    render: bool = True


class ImportOptions(Arguments):
    verify_digest: bool = True
    # Not a Literal: another mode has a code of its own, CONFLICT_MODE_INVALID.
    conflict_mode: Annotated[str, Field(json_schema_extra={"enum": list(get_args(ConflictMode))})] = (
        "reject_on_conflict"
    )
    replay_after_import: bool = True
    allow_rollback: bool = False


class ImportBundleArguments(ImportOptions):
    bundle: BundleField
    actor: ActorField | None = None


class AuditPackageOptions(Arguments):
    decision_id: Identifier
    embed_router_bundle: bool = False
    router_bundle: JsonObjectField | None = None
    router_bundle_digest: str | None = None
    verify_router_bundle_digest: bool = True


class ExportAuditPackageArguments(AuditPackageOptions):
    render: bool = True
