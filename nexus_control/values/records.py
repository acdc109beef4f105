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
from collections.abc import Callable, Sequence
from functools import cache
from itertools import islice
from operator import attrgetter
from typing import Any, TypeVar, cast

from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.values.kinds import SCALARS, MismatchError, getter, read, read_all, record_kind

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
    kind = record_kind(record, extra_keys)
    try:
        return cast("RecordT", read(kind, data))
    except MismatchError:
        problems = list(islice(kind.explain(data, where), MAX_PROBLEMS))
        raise NexusControlError(code, f"{where}: {problems[0]}", {"problems": problems}) from None


def decode_each(
    record: type[RecordT], data: Sequence[object], *, extra_keys: bool = False
) -> Sequence[RecordT] | None:
    """All of `data` as records, several times as fast as one after the other; None where one of them is not one."""
    try:
        return cast("Sequence[RecordT]", read_all(record_kind(record, extra_keys), data))
    except MismatchError:
        return None


def problems_of(record: type[object], data: object, *, where: str = "") -> list[str]:
    """The first `MAX_PROBLEMS` problems that keep `data` from being a `record`; empty when it is one."""
    return list(islice(record_kind(record, extra_keys=False).explain(data, where), MAX_PROBLEMS))


def encode(record: object) -> dict[str, Any]:
    """The JSON object of a record: fields at their default are left out, tuples become lists. What is in it and has a
    `to_dict` spells itself.
    """
    fields, values_of = _written(type(record))
    return {
        name: value if value is None or type(value) in SCALARS else _plain(value)
        for (name, default, always), value in zip(fields, values_of(record))  # noqa: B905, it takes longer with strict
        if always or (value is not default and value != default)
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
        return [item if type(item) in SCALARS else _plain(item) for item in items]
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
    return fields, getter(attrgetter, names)
