"""Frozen dataclasses to JSON objects and back: the one strict decoder of stored and imported data.

A record is a frozen dataclass. Its annotations are the format: `str`, `int` (never a bool), `bool`, `Literal[...]`,
`tuple[X, ...]` (a JSON list), `Mapping[str, object]` (any JSON object, kept as it is), another record, and
`X | None` (null). A field with a default may be absent. Encoding leaves it out while it has that default, unless it is
`always_written()`. A field's `check()` is a further rule on its value.

A wrong type is an error, never a default. Reading stops at the first mismatch. A second pass, which good data never
pays for, then reports every problem with the path of its field.
"""

import dataclasses
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from itertools import islice
from operator import attrgetter
from typing import Any, Literal, Protocol, TypeVar, cast

from nexus_control.errors import ErrorCode, NexusControlError

MAX_PROBLEMS = 100

RecordT = TypeVar("RecordT")


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
    """`data` as a `record`. Raises `code` with details.problems. An unknown key is a problem unless `extra_keys`."""
    kind = _record(record, extra_keys)
    try:
        return cast("RecordT", kind.read(data))
    except _MismatchError:
        problems = list(islice(kind.explain(data, where), MAX_PROBLEMS))
        raise NexusControlError(code, f"{where}: {problems[0]}", {"problems": problems}) from None


def problems_of(record: type[object], data: object, *, where: str = "") -> list[str]:
    """The first `MAX_PROBLEMS` problems that keep `data` from being a `record`; empty when it is one."""
    return list(islice(_record(record, extra_keys=False).explain(data, where), MAX_PROBLEMS))


def encode(record: object) -> dict[str, Any]:
    """The JSON object of a record: fields at their default are left out, tuples become lists. What is in it and has a
    `to_dict` spells itself.
    """
    fields, values_of = _written(type(record))
    return {
        name: value if value is None or type(value) in _SCALARS else _plain(value)
        for (name, default, always), value in zip(fields, values_of(record), strict=True)
        if always or value != default
    }


def _plain(value: object) -> Any:
    if isinstance(value, tuple):
        items = cast("tuple[object, ...]", value)
        return [item if type(item) in _SCALARS else _plain(item) for item in items]
    if not hasattr(value, "__dataclass_fields__"):
        return value
    spelled: Callable[[], object] | None = getattr(value, "to_dict", None)
    return encode(value) if spelled is None else spelled()


@cache
def _written(
    record: type[object],
) -> tuple[tuple[tuple[str, object, bool], ...], Callable[[object], tuple[object, ...]]]:
    """Name, default and `always_written` of each field; and a function that reads all values at once."""
    fields = tuple(
        (f.name, f.default, f.metadata.get("always", f.default is dataclasses.MISSING))
        for f in dataclasses.fields(cast("Any", record))
    )
    names = [name for name, _, _ in fields]
    # attrgetter of one name gives a bare value, of two a tuple: the first name is given twice, so it is always a tuple.
    read = attrgetter(*names, names[0])
    return fields, lambda value: read(value)[:-1]


class _MismatchError(Exception):
    """The data is not of the kind that was expected."""


class _Kind(Protocol):
    """One kind of value. `explain` yields something exactly when `read` raises _MismatchError."""

    def read(self, value: object) -> Any: ...

    def explain(self, value: object, where: str) -> Iterator[str]: ...


@dataclasses.dataclass(frozen=True, slots=True)
class _Plain:
    """A value that is kept as it is."""

    type: type[object]
    word: str

    def read(self, value: object) -> Any:
        if type(value) is not self.type:
            raise _MismatchError
        return value

    def explain(self, value: object, where: str) -> Iterator[str]:
        if type(value) is not self.type:
            yield f"{where} must be {self.word}"


@dataclasses.dataclass(frozen=True, slots=True)
class _Literal:
    options: tuple[object, ...]

    def read(self, value: object) -> Any:
        if value not in self.options or type(value) is not type(self.options[0]):
            raise _MismatchError
        return value

    def explain(self, value: object, where: str) -> Iterator[str]:
        if value not in self.options or type(value) is not type(self.options[0]):
            yield f"{where} must be one of {', '.join(map(str, self.options))}"


@dataclasses.dataclass(frozen=True, slots=True)
class _List:
    item: _Kind

    def read(self, value: object) -> Any:
        if type(value) is not list:
            raise _MismatchError
        return tuple(map(self.item.read, cast("list[object]", value)))

    def explain(self, value: object, where: str) -> Iterator[str]:
        if type(value) is not list:
            yield f"{where} must be a list"
            return
        for number, item in enumerate(cast("list[object]", value)):
            yield from self.item.explain(item, f"{where}[{number}]")


@dataclasses.dataclass(frozen=True, slots=True)
class _Optional:
    inner: _Kind

    def read(self, value: object) -> Any:
        return None if value is None else self.inner.read(value)

    def explain(self, value: object, where: str) -> Iterator[str]:
        if value is not None:
            yield from self.inner.explain(value, where)


@dataclasses.dataclass(frozen=True, slots=True)
class _Checked:
    """A kind with a further rule on values that are not null."""

    inner: _Kind
    test: Callable[[Any], bool]
    rule: str

    def read(self, value: object) -> Any:
        result = self.inner.read(value)
        if result is not None and not self.test(result):
            raise _MismatchError
        return result

    def explain(self, value: object, where: str) -> Iterator[str]:
        yield from _or_else(self.inner.explain(value, where), self._explain_test(value, where))

    def _explain_test(self, value: object, where: str) -> Iterator[str]:
        result = self.inner.read(value)
        if result is not None and not self.test(result):
            yield f"{where} must be {self.rule}"


def _or_else(problems: Iterator[str], rule: Iterator[str]) -> Iterator[str]:
    """The problems, one at a time. A rule on the whole record is asked only once every field is sound."""
    first = next(problems, None)
    if first is None:
        yield from rule
    else:
        yield first
        yield from problems


@dataclasses.dataclass(frozen=True, slots=True)
class _Record:
    record: type[object]
    fields: tuple[tuple[str, bool, _Kind], ...]
    extra_keys: bool

    def read(self, value: object) -> Any:
        if type(value) is not dict:
            raise _MismatchError
        mapping = cast("dict[str, object]", value)
        values: dict[str, Any] = {}
        for name, required, kind in self.fields:
            if name in mapping:
                values[name] = kind.read(mapping[name])
            elif required:
                raise _MismatchError
        if len(values) < len(mapping) and not self.extra_keys:
            raise _MismatchError
        try:
            return self.record(**values)
        except ValueError:  # a rule of the record's own, as Actor and Policy have
            raise _MismatchError from None

    def explain(self, value: object, where: str) -> Iterator[str]:
        if type(value) is not dict:
            yield f"{where or 'value'} must be an object"
            return
        mapping = cast("dict[str, object]", value)
        problems = self._explain_fields(mapping, f"{where}." if where else "")
        yield from _or_else(problems, self._explain_own_rule(mapping, where))

    def _explain_fields(self, mapping: dict[str, object], prefix: str) -> Iterator[str]:
        for name, required, kind in self.fields:
            if name in mapping:
                yield from kind.explain(mapping[name], prefix + name)
            elif required:
                yield f"Missing required field: {prefix}{name}"
        if not self.extra_keys:
            known = {name for name, _, _ in self.fields}
            yield from (f"Unknown field: {prefix}{key!s:.80}" for key in mapping if key not in known)

    def _explain_own_rule(self, mapping: dict[str, object], where: str) -> Iterator[str]:
        values = {name: kind.read(mapping[name]) for name, _, kind in self.fields if name in mapping}
        try:
            self.record(**values)
        except ValueError as error:
            yield f"{where or 'value'}: {getattr(error, 'message', error)}"


@cache
def _record(record: type[object], extra_keys: bool) -> _Record:
    hints = typing.get_type_hints(record)
    return _Record(
        record,
        tuple(
            (field.name, field.default is dataclasses.MISSING, _with_check(_kind(hints[field.name]), field))
            for field in dataclasses.fields(cast("Any", record))
        ),
        extra_keys,
    )


def _with_check(kind: _Kind, field: "dataclasses.Field[Any]") -> _Kind:
    return _Checked(kind, *field.metadata["check"]) if "check" in field.metadata else kind


_SCALARS: dict[object, _Plain] = {
    str: _Plain(str, "text"),
    int: _Plain(int, "an integer"),
    bool: _Plain(bool, "true or false"),
}
_OBJECT = _Plain(dict, "an object")


def _kind(hint: Any) -> _Kind:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        (inner,) = (argument for argument in arguments if argument is not type(None))
        return _Optional(_kind(inner))
    if origin is Literal:
        return _Literal(arguments)
    if origin is tuple:
        return _List(_kind(arguments[0]))
    if hint in _SCALARS:
        return _SCALARS[hint]
    if dataclasses.is_dataclass(hint):
        return _record(cast("type[object]", hint), extra_keys=False)
    if origin is Mapping:
        return _OBJECT
    raise TypeError(f"no record can hold {hint!r}")
