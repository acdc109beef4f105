"""How a value of each annotation of a record is read, and what keeps a value from being read.

The kinds of values, by annotation: `str`, `int`, `bool`, `Mapping[str, object]` (kept as they are), `Literal[...]`,
`tuple[X, ...]`, a record, and `X | None`. `values.records` says what is accepted, and is what others import.

A kind answers for a *type* how its values are read (`way`), so a record works that out once for each combination of
types. `explain` is the second pass, which only data with a problem pays for.
"""

import dataclasses
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from operator import itemgetter
from typing import Any, Literal, NamedTuple, Protocol, cast

from nexus_control.values.likely_names import unknown_fields

MAX_SHAPES = 256
_MANY = 8  # values: from so many on, loops over columns take less time than one value after the other


class MismatchError(Exception):
    """The data is not of the kind that was expected."""


class _Way(NamedTuple):
    """How a value of one type is read: what makes it of the value, if anything, and the rules on what was made.
    `make_all` makes many at once.
    """

    make: Callable[[Any], Any] | None = None
    tests: tuple[Callable[[Any], bool], ...] = ()
    make_all: Callable[[Sequence[Any]], Sequence[Any]] | None = None

    def read(self, value: object) -> Any:
        made = value if self.make is None else self.make(value)
        for test in self.tests:
            if not test(made):
                raise MismatchError
        return made

    def read_all(self, values: Sequence[Any]) -> Sequence[Any]:
        made = values
        if self.make_all is not None:
            made = self.make_all(values)
        elif self.make is not None:
            made = list(map(self.make, values))
        for test in self.tests:
            if not all(map(test, made)):
                raise MismatchError
        return made


_KEPT = _Way()


class Kind(Protocol):
    """One kind of value. `explain` yields something exactly when `way` or its `read` raises MismatchError."""

    def way(self, given: type[object]) -> _Way:
        """How a value of this type is read. Raises MismatchError for a wrong type."""
        ...

    def explain(self, value: object, where: str) -> Iterator[str]: ...


def read(kind: Kind, value: object) -> Any:
    return kind.way(type(value)).read(value)


def read_all(kind: "Kind | _Field", values: Sequence[Any]) -> Sequence[Any]:
    """Like `read` of each. Many values of one type are read in loops of the interpreter."""
    ways = {given: kind.way(given) for given in set(map(type, values))}
    if len(ways) == 1 and len(values) >= _MANY:
        return next(iter(ways.values())).read_all(values)
    return [ways[type(value)].read(value) for value in values]


@dataclasses.dataclass(frozen=True, slots=True)
class _Plain:
    """A value that is kept as it is."""

    exact: type[object]
    word: str

    def way(self, given: type[object]) -> _Way:
        if given is not self.exact:
            raise MismatchError
        return _KEPT

    def explain(self, value: object, where: str) -> Iterator[str]:
        if type(value) is not self.exact:
            yield f"{where} must be {self.word}"


@dataclasses.dataclass(frozen=True, slots=True)
class _Literal:
    options: tuple[object, ...]

    def way(self, given: type[object]) -> _Way:
        if given is not type(self.options[0]):
            raise MismatchError
        return _Way(tests=(frozenset(self.options).__contains__,))

    def explain(self, value: object, where: str) -> Iterator[str]:
        if value not in self.options or type(value) is not type(self.options[0]):
            yield f"{where} must be one of {', '.join(map(str, self.options))}"


@dataclasses.dataclass(frozen=True, slots=True)
class _List:
    item: Kind

    def way(self, given: type[object]) -> _Way:
        if given is not list:
            raise MismatchError
        return _Way(self._all)

    def _all(self, items: list[object]) -> tuple[Any, ...]:
        return tuple(read_all(self.item, items))

    def explain(self, value: object, where: str) -> Iterator[str]:
        if type(value) is not list:
            yield f"{where} must be a list"
            return
        for number, item in enumerate(cast("list[object]", value)):
            yield from self.item.explain(item, f"{where}[{number}]")


@dataclasses.dataclass(frozen=True, slots=True)
class _Optional:
    inner: Kind

    def way(self, given: type[object]) -> _Way:
        return _KEPT if given is types.NoneType else self.inner.way(given)

    def explain(self, value: object, where: str) -> Iterator[str]:
        if value is not None:
            yield from self.inner.explain(value, where)


@dataclasses.dataclass(frozen=True, slots=True)
class _Checked:
    """A kind with a further rule on values that are not null."""

    inner: Kind
    test: Callable[[Any], bool]
    rule: str

    def way(self, given: type[object]) -> _Way:
        inner = self.inner.way(given)
        return inner if given is types.NoneType else inner._replace(tests=(*inner.tests, self.test))

    def explain(self, value: object, where: str) -> Iterator[str]:
        yield from _or_else(self.inner.explain(value, where), self._explain_test(value, where))

    def _explain_test(self, value: object, where: str) -> Iterator[str]:
        result = read(self.inner, value)
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
    """The type of the value of a field that the data leaves out, until it gets its default."""


_ABSENT = _Absent()


@dataclasses.dataclass(frozen=True, slots=True)
class _Field:
    name: str
    kind: Kind
    default: object

    @property
    def required(self) -> bool:
        return self.default is dataclasses.MISSING

    def column(self, given: Sequence[dict[str, object]]) -> list[object]:
        """The value of this field in each of these records. Raises KeyError where one lacks it."""
        name = self.name
        return (
            [each[name] for each in given] if self.required else [each.get(name, _ABSENT) for each in given]
        )

    def way(self, given: type[object]) -> _Way:
        return self.kind.way(given) if given is not _Absent else _Way(self._by_default)

    def _by_default(self, _: object) -> object:
        return self.default


class _Shape:
    """The ways of all fields of a record, for values of these types. Raises MismatchError for a wrong type."""

    __slots__ = ("makes", "tests")

    def __init__(self, fields: Sequence[_Field], given: Iterable[type[object]]) -> None:
        ways = [field.way(each) for field, each in zip(fields, given, strict=True)]
        self.makes = [(place, way.make) for place, way in enumerate(ways) if way.make is not None]
        self.tests = [(place, test) for place, way in enumerate(ways) for test in way.tests]


class _Record:
    """A record's fields are looked up and their types compared all at once. The records of a class come in few shapes,
    and each is worked out once.
    """

    __slots__ = (
        "_absent",
        "_build",
        "_build_all",
        "_extra_keys",
        "_fields",
        "_record",
        "_values_of",
        "shapes",
    )

    def __init__(self, record: type[object], fields: Sequence[_Field], extra_keys: bool) -> None:
        names = [field.name for field in fields]
        self._record = record
        self._fields = fields
        self._extra_keys = extra_keys
        self._absent = {field.name: _ABSENT for field in fields if not field.required}
        self._values_of = getter(itemgetter, names)
        self._build, self._build_all = _builders(record, names)
        self.shapes: dict[tuple[type[object], ...], _Shape] = {}

    def way(self, given: type[object]) -> _Way:
        if given is not dict:
            raise MismatchError
        return _Way(self._decode, make_all=self._decode_all)

    def _decode(self, given: dict[str, object]) -> Any:
        whole = {**self._absent, **given} if self._absent else given
        try:
            values: Sequence[Any] = self._values_of(whole)
        except KeyError:
            raise MismatchError from None
        if len(whole) > len(values) and not self._extra_keys:
            raise MismatchError
        types_of = tuple(map(type, values))
        shape = self.shapes.get(types_of) or self._new_shape(types_of)
        if shape.makes:
            values = list(values)
            for place, make in shape.makes:
                values[place] = make(values[place])
        for place, test in shape.tests:
            if not test(values[place]):
                raise MismatchError
        try:
            return self._build(values)
        except ValueError:  # a rule of the record's own, as Actor and Policy have
            raise MismatchError from None

    def _decode_all(self, given: Sequence[dict[str, object]]) -> Sequence[Any]:
        try:
            columns = [field.column(given) for field in self._fields]
        except KeyError:
            raise MismatchError from None
        if not self._extra_keys:
            absent = sum(column.count(_ABSENT) for column in columns) if self._absent else 0
            if sum(map(len, given)) + absent > len(columns) * len(given):
                raise MismatchError
        try:
            return self._build_all(list(map(read_all, self._fields, columns)))
        except ValueError:
            raise MismatchError from None

    def _new_shape(self, types_of: tuple[type[object], ...]) -> _Shape:
        shape = _Shape(self._fields, types_of)
        if len(self.shapes) >= MAX_SHAPES:  # the writer of the data chooses the shapes
            self.shapes.clear()
        self.shapes[types_of] = shape
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
            yield from unknown_fields(prefix, mapping, {field.name for field in self._fields})

    def _explain_own_rule(self, mapping: dict[str, object], where: str) -> Iterator[str]:
        values = {
            each.name: read(each.kind, mapping[each.name]) for each in self._fields if each.name in mapping
        }
        try:
            self._record(**values)
        except ValueError as error:
            yield f"{where or 'value'}: {getattr(error, 'message', error)}"


@cache
def record_kind(record: type[object], extra_keys: bool) -> _Record:
    hints = typing.get_type_hints(record)
    fields = [
        _Field(field.name, _with_check(_kind(hints[field.name]), field), field.default)
        for field in dataclasses.fields(cast("Any", record))
    ]
    return _Record(record, tuple(fields), extra_keys)


def _with_check(kind: Kind, field: "dataclasses.Field[Any]") -> Kind:
    return _Checked(kind, *field.metadata["check"]) if "check" in field.metadata else kind


def getter(kind: type[Any], names: Sequence[str]) -> Callable[[Any], tuple[Any, ...]]:
    """An `itemgetter` or `attrgetter` of these names that always gives a tuple: that of one name gives a bare value."""
    read = kind(*names)
    return read if len(names) > 1 else lambda value: (read(value),)


def _builders(
    record: type[object], names: Sequence[str]
) -> tuple[Callable[[Sequence[Any]], object], Callable[[Sequence[Sequence[Any]]], Sequence[object]]]:
    """What makes a record of its values, and what makes many of the values of each field."""
    if (shared := getattr(record, "shared", None)) is not None:
        return lambda values: shared(*values), lambda columns: list(map(shared, *columns))
    slots = [getattr(record, name, None) for name in names]
    is_generated = cast("Any", record).__dataclass_params__.init
    if not is_generated or not all(isinstance(slot, types.MemberDescriptorType) for slot in slots):

        def called(*values: Any) -> object:
            return record(**dict(zip(names, values, strict=True)))

        return lambda values: called(*values), lambda columns: list(map(called, *columns))
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

    def build_all(columns: Sequence[Sequence[Any]]) -> Sequence[object]:
        built = [new(record) for _ in columns[0]]
        for set_value, column in zip(setters, columns, strict=True):
            any(map(set_value, built, column))  # runs to the end, because each call answers None
        if settle is not None:
            any(map(settle, built))
        return built

    return build, build_all


SCALARS: dict[object, _Plain] = {
    str: _Plain(str, "text"),
    int: _Plain(int, "an integer"),
    bool: _Plain(bool, "true or false"),
}
_OBJECT = _Plain(dict, "an object")


def _kind(hint: Any) -> Kind:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        (inner,) = (argument for argument in arguments if argument is not type(None))
        return _Optional(_kind(inner))
    if origin is Literal:
        return _Literal(arguments)
    if origin is tuple:
        return _List(_kind(arguments[0]))
    if hint in SCALARS:
        return SCALARS[hint]
    if dataclasses.is_dataclass(hint):
        return record_kind(cast("type[object]", hint), extra_keys=False)
    if origin is Mapping:
        return _OBJECT
    raise TypeError(f"no record can hold {hint!r}")
