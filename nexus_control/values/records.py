"""Frozen dataclasses to JSON objects and back: the one strict decoder of stored and imported data.

A record is a frozen dataclass. Its annotations are the format: `str`, `int` (never a bool), `bool`, `Literal[...]`,
`tuple[X, ...]` (a JSON list), `Mapping[str, object]` (any JSON object, kept as it is), another record, and
`X | None` (null). A field with a default may be absent. Encoding leaves it out while it has that default, unless it is
`always_written()`. A field's `check()` is a further rule on its value. A record class with a method `shared` is made by
it, positionally: equal values may then give one object.

A wrong type is an error, never a default. Reading stops at the first mismatch. A second pass, which good data never
pays for, then reports every problem with the path of its field.
"""

import dataclasses
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import islice
from operator import attrgetter, itemgetter
from typing import Any, Literal, NamedTuple, Protocol, TypeVar, cast

from nexus_control.errors import ErrorCode, NexusControlError

MAX_PROBLEMS = 100
_MAX_SHAPES = 256

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
        return cast("RecordT", _read(kind, data))
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


def written_names(record: object) -> list[str]:
    """The keys of `encode(record)`."""
    fields, values_of = _written(type(record))
    return [
        name
        for (name, default, always), value in zip(fields, values_of(record), strict=True)
        if always or value != default
    ]


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
    return fields, _getter(attrgetter, names)


class _MismatchError(Exception):
    """The data is not of the kind that was expected."""


class _Way(NamedTuple):
    """How a value of one type is read: what makes it of the value, if anything, and the rules on what was made."""

    make: Callable[[Any], Any] | None = None
    tests: tuple[Callable[[Any], bool], ...] = ()

    def read(self, value: object) -> Any:
        made = value if self.make is None else self.make(value)
        for test in self.tests:
            if not test(made):
                raise _MismatchError
        return made


_KEPT = _Way()


class _Kind(Protocol):
    """One kind of value. `explain` yields something exactly when `way` or its `read` raises _MismatchError."""

    def way(self, given: type[object]) -> _Way:
        """How a value of this type is read. Raises _MismatchError for a wrong type."""
        ...

    def explain(self, value: object, where: str) -> Iterator[str]: ...


def _read(kind: _Kind, value: object) -> Any:
    return kind.way(type(value)).read(value)


@dataclasses.dataclass(frozen=True, slots=True)
class _Plain:
    """A value that is kept as it is."""

    exact: type[object]
    word: str

    def way(self, given: type[object]) -> _Way:
        if given is not self.exact:
            raise _MismatchError
        return _KEPT

    def explain(self, value: object, where: str) -> Iterator[str]:
        if type(value) is not self.exact:
            yield f"{where} must be {self.word}"


@dataclasses.dataclass(frozen=True, slots=True)
class _Literal:
    options: tuple[object, ...]

    def way(self, given: type[object]) -> _Way:
        if given is not type(self.options[0]):
            raise _MismatchError
        return _Way(tests=(frozenset(self.options).__contains__,))

    def explain(self, value: object, where: str) -> Iterator[str]:
        if value not in self.options or type(value) is not type(self.options[0]):
            yield f"{where} must be one of {', '.join(map(str, self.options))}"


@dataclasses.dataclass(frozen=True, slots=True)
class _List:
    item: _Kind

    def way(self, given: type[object]) -> _Way:
        if given is not list:
            raise _MismatchError
        return _Way(self._all)

    def _all(self, items: list[object]) -> tuple[Any, ...]:
        ways = {given: self.item.way(given) for given in set(map(type, items))}
        if all(way is _KEPT for way in ways.values()):
            return tuple(items)
        return tuple([ways[type(item)].read(item) for item in items])

    def explain(self, value: object, where: str) -> Iterator[str]:
        if type(value) is not list:
            yield f"{where} must be a list"
            return
        for number, item in enumerate(cast("list[object]", value)):
            yield from self.item.explain(item, f"{where}[{number}]")


@dataclasses.dataclass(frozen=True, slots=True)
class _Optional:
    inner: _Kind

    def way(self, given: type[object]) -> _Way:
        return _KEPT if given is types.NoneType else self.inner.way(given)

    def explain(self, value: object, where: str) -> Iterator[str]:
        if value is not None:
            yield from self.inner.explain(value, where)


@dataclasses.dataclass(frozen=True, slots=True)
class _Checked:
    """A kind with a further rule on values that are not null."""

    inner: _Kind
    test: Callable[[Any], bool]
    rule: str

    def way(self, given: type[object]) -> _Way:
        inner = self.inner.way(given)
        return inner if given is types.NoneType else _Way(inner.make, (*inner.tests, self.test))

    def explain(self, value: object, where: str) -> Iterator[str]:
        yield from _or_else(self.inner.explain(value, where), self._explain_test(value, where))

    def _explain_test(self, value: object, where: str) -> Iterator[str]:
        result = _read(self.inner, value)
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


class _Absent:
    """The type of what stands for a field that the data leaves out."""


_ABSENT = _Absent()


@dataclasses.dataclass(frozen=True, slots=True)
class _Field:
    name: str
    kind: _Kind
    default: object

    @property
    def required(self) -> bool:
        return self.default is dataclasses.MISSING

    def way(self, given: type[object]) -> _Way:
        return self.kind.way(given) if given is not _Absent else _Way(self._by_default)

    def _by_default(self, _: object) -> object:
        return self.default


class _Shape:
    """The ways of all fields of a record, for values of these types. Raises _MismatchError for a wrong type."""

    __slots__ = ("makes", "tests")

    def __init__(self, fields: Sequence[_Field], given: Iterable[type[object]]) -> None:
        ways = [field.way(each) for field, each in zip(fields, given, strict=True)]
        self.makes = [(place, way.make) for place, way in enumerate(ways) if way.make is not None]
        self.tests = [(place, test) for place, way in enumerate(ways) for test in way.tests]


class _Record:
    """A record's fields are looked up and their types compared all at once. The records of a class come in few shapes,
    and each is worked out once.
    """

    __slots__ = ("_absent", "_build", "_extra_keys", "_fields", "_record", "_shapes", "_values_of")

    def __init__(self, record: type[object], fields: Sequence[_Field], extra_keys: bool) -> None:
        names = [field.name for field in fields]
        self._record = record
        self._fields = fields
        self._extra_keys = extra_keys
        self._absent = {field.name: _ABSENT for field in fields if not field.required}
        self._values_of = _getter(itemgetter, names)
        self._build = _builder(record, names)
        self._shapes: dict[tuple[type[object], ...], _Shape] = {}

    def way(self, given: type[object]) -> _Way:
        if given is not dict:
            raise _MismatchError
        return _Way(self._decode)

    def _decode(self, given: dict[str, object]) -> Any:
        whole = {**self._absent, **given} if self._absent else given
        try:
            values = list(self._values_of(whole))
        except KeyError:
            raise _MismatchError from None
        if len(whole) > len(values) and not self._extra_keys:
            raise _MismatchError
        types_of = tuple(map(type, values))
        shape = self._shapes.get(types_of) or self._new_shape(types_of)
        for place, make in shape.makes:
            values[place] = make(values[place])
        for place, test in shape.tests:
            if not test(values[place]):
                raise _MismatchError
        try:
            return self._build(values)
        except ValueError:  # a rule of the record's own, as Actor and Policy have
            raise _MismatchError from None

    def _new_shape(self, types_of: tuple[type[object], ...]) -> _Shape:
        shape = _Shape(self._fields, types_of)
        if len(self._shapes) >= _MAX_SHAPES:  # whoever writes the data chooses the shapes
            self._shapes.clear()
        self._shapes[types_of] = shape
        return shape

    def explain(self, value: object, where: str) -> Iterator[str]:
        if type(value) is not dict:
            yield f"{where or 'value'} must be an object"
            return
        mapping = cast("dict[str, object]", value)
        problems = self._explain_fields(mapping, f"{where}." if where else "")
        yield from _or_else(problems, self._explain_own_rule(mapping, where))

    def _explain_fields(self, mapping: dict[str, object], prefix: str) -> Iterator[str]:
        for field in self._fields:
            if field.name in mapping:
                yield from field.kind.explain(mapping[field.name], prefix + field.name)
            elif field.required:
                yield f"Missing required field: {prefix}{field.name}"
        if not self._extra_keys:
            known = {field.name for field in self._fields}
            yield from (f"Unknown field: {prefix}{key!s:.80}" for key in mapping if key not in known)

    def _explain_own_rule(self, mapping: dict[str, object], where: str) -> Iterator[str]:
        values = {
            each.name: _read(each.kind, mapping[each.name]) for each in self._fields if each.name in mapping
        }
        try:
            self._record(**values)
        except ValueError as error:
            yield f"{where or 'value'}: {getattr(error, 'message', error)}"


@cache
def _record(record: type[object], extra_keys: bool) -> _Record:
    hints = typing.get_type_hints(record)
    fields = [
        _Field(field.name, _with_check(_kind(hints[field.name]), field), field.default)
        for field in dataclasses.fields(cast("Any", record))
    ]
    return _Record(record, tuple(fields), extra_keys)


def _with_check(kind: _Kind, field: "dataclasses.Field[Any]") -> _Kind:
    return _Checked(kind, *field.metadata["check"]) if "check" in field.metadata else kind


def _getter(kind: type[Any], names: Sequence[str]) -> Callable[[Any], tuple[Any, ...]]:
    """An `itemgetter` or `attrgetter` of these names that always gives a tuple: that of one name gives a bare value."""
    read = kind(*names)
    return read if len(names) > 1 else lambda value: (read(value),)


def _builder(record: type[object], names: Sequence[str]) -> Callable[[Sequence[Any]], object]:
    """Makes a record of its values."""
    if (shared := getattr(record, "shared", None)) is not None:
        return lambda values: shared(*values)
    slots = [getattr(record, name, None) for name in names]
    is_generated = cast("Any", record).__dataclass_params__.init
    if not is_generated or not all(isinstance(slot, types.MemberDescriptorType) for slot in slots):
        return lambda values: record(**dict(zip(names, values, strict=True)))
    # What the generated __init__ does, without looking up for each field how a frozen object is set.
    setters = [cast("types.MemberDescriptorType", slot).__set__ for slot in slots]
    settle: Callable[[object], None] | None = getattr(record, "__post_init__", None)
    new = object.__new__

    def build(values: Sequence[Any]) -> object:
        built = new(record)
        for set_value, value in zip(setters, values, strict=True):
            set_value(built, value)
        if settle is not None:
            settle(built)
        return built

    return build


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
