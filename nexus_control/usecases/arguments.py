"""Checks of tool arguments: strict pydantic models, and refusals in the words of this module.

Nothing is coerced ("5" is not 5, true is not 1), unknown fields are refused, and a refusal names the field and the
rule but never repeats the value, which may be a secret. Limits are in characters; the plan's is in UTF-8 bytes.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, TypeAlias, TypeVar, cast, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from nexus_control.canonical_json import require_canonical_domain
from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.execution.plan import MAX_PLAN_BYTES
from nexus_control.integrity import is_bare, is_prefixed
from nexus_control.log.projection import ConflictMode
from nexus_control.values.actors import Actor, id_problem, new_id_problem, require_new_actor
from nexus_control.values.instants import parse_instant
from nexus_control.values.payloads import Assurance, Mode, SignedStatement, StateName

MAX_GOAL = 4096
MAX_REMARK = 4096
MAX_LABELS = 32
MAX_LABEL = 64
MAX_APPROVERS = 64
MAX_NAME = 256
MAX_PAGE = 10_000
MAX_SIGNED = 65_536

ModelT = TypeVar("ModelT", bound=BaseModel)


def validated(model: type[ModelT], values: Mapping[str, object]) -> ModelT:
    """`values` as a `model`. Raises INVALID_ARGUMENT with details.fields: [{field, problem}]."""
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        problems = [_problem(cast("dict[str, Any]", each)) for each in error.errors(include_url=False)]
    raise NexusControlError(
        ErrorCode.INVALID_ARGUMENT,
        "; ".join(f"{each['field']} {each['problem']}" for each in problems),
        {"fields": problems},
    )


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


def _refusing(problem_of: Callable[[str], str | None]) -> AfterValidator:
    """Refuses a text for the problem that is found with it."""

    def require_none(value: str) -> str:
        if problem := problem_of(value):
            raise ValueError(problem)
        return value

    return AfterValidator(require_none)


def _text_problem(value: str) -> str | None:
    if not value.strip():
        return "must not be empty"
    return "must not hold NUL" if "\x00" in value else None


def _bare_problem(value: str) -> str | None:
    return None if is_bare(value) else "must be 64 lower-case hex digits"


def _prefixed_problem(value: str) -> str | None:
    return None if is_prefixed(value) else "must be 'sha256:' and 64 lower-case hex digits"


def _actor(value: object) -> Actor:
    try:
        return require_new_actor(Actor.of(cast("Actor", value)))
    except NexusControlError as error:
        raise ValueError(error.message.removeprefix("actor").lstrip(". ")) from None


def _instant(value: object) -> datetime:
    if isinstance(value, datetime):
        if value.utcoffset() is None:
            raise ValueError("must have a UTC offset")
        try:
            return value.astimezone(UTC)
        except OverflowError:
            raise ValueError("must be in the years 1 to 9999") from None
    if not isinstance(value, str):
        raise ValueError("must be an ISO-8601 instant with an offset")
    try:
        return parse_instant(value)
    except NexusControlError:
        raise ValueError("must be an ISO-8601 instant with an offset") from None


def _plan(value: object) -> object:
    if isinstance(value, list | tuple):
        try:
            return require_canonical_domain(
                cast("Sequence[object]", value), where="plan", max_bytes=MAX_PLAN_BYTES, fractions=True
            )
        except NexusControlError as error:
            raise ValueError(f"is not usable: {error.message}") from None
    if isinstance(value, dict):
        raise ValueError("must be a list of steps, or text; it is an object")
    return cast("object", value)


def _size_problem(value: str) -> str | None:
    return f"must be at most {MAX_PLAN_BYTES} bytes" if len(value.encode()) > MAX_PLAN_BYTES else None


def _bundle(value: object) -> object:
    if isinstance(value, str | dict):
        return cast("str | dict[object, object]", value)
    raise ValueError("must be an object or JSON text")


def _list(value: object) -> object:
    return list(cast("Sequence[object]", value)) if isinstance(value, tuple) else value


Goal: TypeAlias = Annotated[str, Field(max_length=MAX_GOAL), _refusing(_text_problem)]
Remark: TypeAlias = Annotated[str, Field(max_length=MAX_REMARK)]
Reason: TypeAlias = Annotated[str, Field(max_length=MAX_REMARK), _refusing(_text_problem)]
Plan: TypeAlias = Annotated[
    str,
    _refusing(_size_problem),
    BeforeValidator(_plan, json_schema_input_type=str | list[dict[str, Any]]),
]
Name: TypeAlias = Annotated[str, Field(max_length=MAX_NAME), _refusing(id_problem)]
NewName: TypeAlias = Annotated[
    str, Field(max_length=MAX_NAME), _refusing(id_problem), _refusing(new_id_problem)
]
Identifier: TypeAlias = Annotated[str, Field(min_length=1, max_length=MAX_NAME)]
Label: TypeAlias = Annotated[str, Field(max_length=MAX_LABEL), _refusing(id_problem)]
BareDigest: TypeAlias = Annotated[str, _refusing(_bare_problem)]
Basis: TypeAlias = Annotated[str, _refusing(_prefixed_problem)]
ActorField: TypeAlias = Annotated[Actor, BeforeValidator(_actor)]
Instant: TypeAlias = Annotated[datetime, BeforeValidator(_instant)]
Count: TypeAlias = Annotated[int, Field(ge=1, le=2**31)]
Labels: TypeAlias = Annotated[list[Label], Field(max_length=MAX_LABELS), BeforeValidator(_list)]
Modes: TypeAlias = Annotated[list[Mode], Field(min_length=1, max_length=2), BeforeValidator(_list)]
Capabilities: TypeAlias = Annotated[list[Name], Field(max_length=64), BeforeValidator(_list)]
Approvers: TypeAlias = Annotated[list[NewName], Field(max_length=MAX_APPROVERS), BeforeValidator(_list)]
PageSize: TypeAlias = Annotated[int, Field(ge=1, le=MAX_PAGE)]
Offset: TypeAlias = Annotated[int, Field(ge=0, le=2**53)]
Signed: TypeAlias = Annotated[str, Field(min_length=1, max_length=MAX_SIGNED)]
JsonObjectField: TypeAlias = dict[str, Any]
BundleField: TypeAlias = Annotated[dict[Any, Any] | str, BeforeValidator(_bundle)]


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
    pass


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


class RecordArguments(Arguments):
    request_id: Identifier


class InspectArguments(Arguments):
    decision_id: Identifier
    render: bool = True
    include_events: bool = False
    include_compiled_router_request: bool = True


class ListArguments(Arguments):
    limit: PageSize = 100
    offset: Offset = 0
    after: Identifier | None = None
    state: StateName | None = None
    label: Label | None = None
    requester: Name | None = None
    awaiting: Name | None = None


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
