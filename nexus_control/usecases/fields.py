"""The types of the arguments: each is checked the same wherever it stands, and refused in words that complete the
sentence that begins with its name. Limits are in characters; those of the plan and the metadata are in UTF-8 bytes.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any, TypeAlias, cast

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, WithJsonSchema, with_config
from typing_extensions import TypedDict

from nexus_control.canonical_json import require_canonical_domain
from nexus_control.errors import NexusControlError
from nexus_control.execution.plan import MAX_PLAN_BYTES
from nexus_control.integrity import is_bare, is_prefixed
from nexus_control.usecases.checks import MAX_GOAL, MAX_LABEL, MAX_NAME, MAX_OFFSET, MAX_PAGE, instant
from nexus_control.values.actors import Actor, id_problem, new_id_problem, require_new_actor, typed_problem
from nexus_control.values.groups import slots_of
from nexus_control.values.instants import parse_duration
from nexus_control.values.payloads import Mode, StateName

MAX_REMARK = 4096
MAX_LABELS = 32
MAX_APPROVERS = 64
MAX_SIGNED = 65_536
MAX_METADATA = 32
MAX_METADATA_BYTES = 4096
MAX_DURATION = timedelta(days=3660)
MAX_WAIT = 86_400


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


def _duration(value: object) -> timedelta:
    if isinstance(value, str):
        try:
            value = parse_duration(value)
        except NexusControlError:
            value = None
    if not isinstance(value, timedelta):
        raise ValueError("must be a duration, such as 4h, 90m or 2d")
    if not timedelta() < value <= MAX_DURATION:
        raise ValueError(f"must be longer than nothing, and at most {MAX_DURATION.days} days")
    return value


def _wait(value: object) -> float:
    seconds = None
    if isinstance(value, str):
        try:
            is_number = value.isascii() and value.isdecimal()
            seconds = float(value) if is_number else parse_duration(value).total_seconds()
        except NexusControlError:
            pass
    elif isinstance(value, int | float) and not isinstance(value, bool):
        seconds = value
    if seconds is None or not 0 <= seconds <= MAX_WAIT:
        raise ValueError(f"must be seconds, or 90s, 5m, 1h, and at most {MAX_WAIT // 3600}h")
    return float(seconds)


def _metadata(value: Mapping[str, str]) -> Mapping[str, str]:
    if len(value) > MAX_METADATA:
        raise ValueError(f"must have at most {MAX_METADATA} items")
    for name, text in value.items():
        if problem := id_problem(name):
            raise ValueError(f"has a name that {problem}")
        if "\x00" in text:
            raise ValueError("must not hold NUL")
    if sum(len(part.encode()) for item in value.items() for part in item) > MAX_METADATA_BYTES:
        raise ValueError(f"must be at most {MAX_METADATA_BYTES} bytes in all")
    return value


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
    return value


def _size_problem(value: str) -> str | None:
    return f"must be at most {MAX_PLAN_BYTES} bytes" if len(value.encode()) > MAX_PLAN_BYTES else None


def _bundle(value: object) -> object:
    if isinstance(value, str | dict):
        return cast("str | dict[object, object]", value)
    raise ValueError("must be an object or JSON text")


@with_config(ConfigDict(extra="forbid", strict=True))
class _RequiredRehearsal(TypedDict):
    max_age_seconds: Annotated[int, Field(ge=1, le=2**31)]


def _rehearsal(value: object) -> object:
    if not isinstance(value, Mapping):
        raise ValueError('must be an object such as {"max_age_seconds": 3600}')
    return dict(cast("Mapping[object, object]", value))


def _slots(value: object) -> object:
    try:
        return slots_of(value) or {}
    except NexusControlError as fault:
        raise ValueError(fault.message.removeprefix("required_from ")) from None


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
Instant: TypeAlias = Annotated[datetime, BeforeValidator(instant)]
Duration: TypeAlias = Annotated[timedelta, BeforeValidator(_duration, json_schema_input_type=str)]
Wait: TypeAlias = Annotated[float, BeforeValidator(_wait, json_schema_input_type=float | str)]
Metadata: TypeAlias = Annotated[dict[str, str], AfterValidator(_metadata)]
Count: TypeAlias = Annotated[int, Field(ge=1, le=2**31)]
Labels: TypeAlias = Annotated[list[Label], Field(max_length=MAX_LABELS), BeforeValidator(_list)]
Modes: TypeAlias = Annotated[list[Mode], Field(min_length=1, max_length=2), BeforeValidator(_list)]
Capabilities: TypeAlias = Annotated[list[Name], Field(max_length=64), BeforeValidator(_list)]
Approver: TypeAlias = Annotated[NewName, _refusing(typed_problem)]
Approvers: TypeAlias = Annotated[list[Approver], Field(max_length=MAX_APPROVERS), BeforeValidator(_list)]
PageSize: TypeAlias = Annotated[int, Field(ge=1, le=MAX_PAGE)]
Offset: TypeAlias = Annotated[int, Field(ge=0, le=MAX_OFFSET)]
Signed: TypeAlias = Annotated[str, Field(min_length=1, max_length=MAX_SIGNED)]
JsonObjectField: TypeAlias = dict[str, Any]
BundleField: TypeAlias = Annotated[dict[Any, Any] | str, BeforeValidator(_bundle)]
RequiredRehearsal: TypeAlias = Annotated[
    _RequiredRehearsal, BeforeValidator(_rehearsal), WithJsonSchema({"type": "object"})
]
RequiredFrom: TypeAlias = Annotated[
    dict[str, int], BeforeValidator(_slots), WithJsonSchema({"type": "object"})
]
Until: TypeAlias = Annotated[list[StateName], Field(min_length=1), BeforeValidator(_list)]
