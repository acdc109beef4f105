"""Frozen dataclasses to JSON objects and back: the one strict decoder for everything that is read back.

A record is a frozen dataclass. Its annotations are the format: `str`, `int` (never a bool), `bool`, `Literal[...]`,
`tuple[X, ...]` (a JSON list), `Mapping[str, object]` (any JSON object, kept as it is), another record, and
`X | None` (null). A field with a default may be absent, and is left out when it is encoded with that default,
unless it is `always_written()`. A further rule on the value is a field's `check()`.

A wrong type is an error, never a default. Every problem is reported, with the path of its field.
"""

import dataclasses
import types
import typing
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Literal, TypeVar, cast

from nexus_control.errors import ErrorCode, NexusControlError

RecordT = TypeVar("RecordT")
Problems = list[str]
_Reader = Callable[[object, str, Problems], Any]


def check(
    test: Callable[[Any], bool], rule: str, *, default: Any = dataclasses.MISSING, always: bool = False
) -> Any:
    """A field whose decoded value, unless null, must satisfy `test`; `rule` completes "must be ..."."""
    written = always or default is dataclasses.MISSING
    return dataclasses.field(default=default, metadata={"check": (test, rule), "always": written})


def always_written(default: Any) -> Any:
    """A dataclass field with a default that is written even when it has that default."""
    return dataclasses.field(default=default, metadata={"always": True})


def decode(
    record: type[RecordT], data: object, *, where: str, code: ErrorCode, extra_keys: bool = False
) -> RecordT:
    """`data` as a `record`. Raises `code` with details.problems; unknown keys are one unless `extra_keys`."""
    problems: Problems = []
    value = _read_record(record, data, where, problems, extra_keys)
    if problems:
        raise NexusControlError(code, f"{where}: {problems[0]}", {"problems": problems})
    return cast("RecordT", value)


def problems_of(record: type[object], data: object, *, where: str = "") -> list[str]:
    """Everything that keeps `data` from being a `record`; empty when it is one."""
    problems: Problems = []
    _read_record(record, data, where, problems, extra_keys=False)
    return problems


def encode(record: object) -> dict[str, Any]:
    """The JSON object of a record: fields at their default are left out, tuples become lists."""
    result: dict[str, Any] = {}
    for name, default, always in _written(type(record)):
        value = getattr(record, name)
        if always or value != default:
            result[name] = _plain(value)
    return result


def _plain(value: object) -> Any:
    if isinstance(value, tuple):
        return [_plain(item) for item in cast("tuple[object, ...]", value)]
    if dataclasses.is_dataclass(value):
        return encode(value)
    return value


@cache
def _written(record: type[object]) -> tuple[tuple[str, object, bool], ...]:
    return tuple(
        (f.name, f.default, f.metadata.get("always", f.default is dataclasses.MISSING))
        for f in dataclasses.fields(cast("Any", record))
    )


@dataclasses.dataclass(frozen=True, slots=True)
class _Field:
    name: str
    required: bool
    read: _Reader


@cache
def _fields(record: type[object]) -> tuple[_Field, ...]:
    hints = typing.get_type_hints(record)
    return tuple(
        _Field(f.name, f.default is dataclasses.MISSING, _checked(_reader(hints[f.name]), f))
        for f in dataclasses.fields(cast("Any", record))
    )


def _read_record(
    record: type[object], data: object, where: str, problems: Problems, extra_keys: bool
) -> object:
    if not isinstance(data, dict):
        problems.append(f"{where or 'value'} must be an object")
        return None
    mapping = cast("dict[str, object]", data)
    before = len(problems)
    prefix = f"{where}." if where else ""
    fields = _fields(record)
    values: dict[str, Any] = {}
    for field in fields:
        if field.name in mapping:
            values[field.name] = field.read(mapping[field.name], prefix + field.name, problems)
        elif field.required:
            problems.append(f"Missing required field: {prefix}{field.name}")
    if not extra_keys and len(values) < len(mapping):
        known = {field.name for field in fields}
        problems.extend(f"Unknown field: {prefix}{key}" for key in mapping if key not in known)
    if len(problems) > before:
        return None
    try:
        return record(**values)
    except ValueError as error:  # a rule of the record's own, as Actor and Policy have
        problems.append(f"{where or 'value'}: {getattr(error, 'message', error)}")
        return None


def _checked(read: _Reader, field: "dataclasses.Field[Any]") -> _Reader:
    if "check" not in field.metadata:
        return read
    test, rule = field.metadata["check"]

    def read_and_check(value: object, where: str, problems: Problems) -> Any:
        before = len(problems)
        result = read(value, where, problems)
        if len(problems) == before and result is not None and not test(result):
            problems.append(f"{where} must be {rule}")
        return result

    return read_and_check


def _reader(hint: Any) -> _Reader:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        (inner,) = (argument for argument in arguments if argument is not type(None))
        return _optional(_reader(inner))
    if origin is Literal:
        return _literal(arguments)
    if origin is tuple:
        return _list(_reader(arguments[0]))
    if hint in (str, int, bool):
        return _scalar(hint)
    if dataclasses.is_dataclass(hint):
        record = cast("type[object]", hint)
        return lambda value, where, problems: _read_record(record, value, where, problems, False)
    if origin is Mapping:
        return _object
    raise TypeError(f"no record can hold {hint!r}")


_WORDS: dict[type[object], str] = {str: "text", int: "an integer", bool: "true or false"}


def _scalar(kind: type[object]) -> _Reader:
    def read(value: object, where: str, problems: Problems) -> Any:
        if type(value) is not kind:
            problems.append(f"{where} must be {_WORDS[kind]}")
        return value

    return read


def _literal(options: tuple[object, ...]) -> _Reader:
    def read(value: object, where: str, problems: Problems) -> Any:
        if value not in options or type(value) is not type(options[0]):
            problems.append(f"{where} must be one of {', '.join(map(str, options))}")
        return value

    return read


def _list(item: _Reader) -> _Reader:
    def read(value: object, where: str, problems: Problems) -> Any:
        if not isinstance(value, list):
            problems.append(f"{where} must be a list")
            return ()
        items = cast("list[object]", value)
        return tuple(item(each, f"{where}[{n}]", problems) for n, each in enumerate(items))

    return read


def _optional(inner: _Reader) -> _Reader:
    def read(value: object, where: str, problems: Problems) -> Any:
        return None if value is None else inner(value, where, problems)

    return read


def _object(value: object, where: str, problems: Problems) -> Any:
    if not isinstance(value, Mapping):
        problems.append(f"{where} must be an object")
    return cast("object", value)
