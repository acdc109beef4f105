"""The arguments that a tool gets, as JSON that people read and that is bound.

Another argument is spelled in another way, and the same one alike in every process. A key that begins with a
parenthesis is the guard's own: `(type)`, `(bytes)`, `(secret)`, `(pairs)`.
"""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any, cast

from nexus_control.guards.once import plain
from nexus_control.integrity import sha256_hex


def spelled(value: object) -> object:
    """An argument as JSON, the same in every process, and another one for another argument.

        >>> spelled({date(2026, 1, 2), date(2026, 1, 1)})
        ['2026-01-01', '2026-01-02']
        >>> spelled(Look(path="/srv"))
        {'(type)': 'Look', 'path': '/srv'}

    A model and a dataclass are spelled with the name of their class, because two of a union may have the same fields. A
    model's fields are spelled even where it leaves them out of its own JSON. Bytes are spelled in hex, and a secret as
    its digest. Dates, paths and other values that JSON does not have are their text, and a set is a list. An object
    that pydantic does not know is its `repr`; where that names an address, each resume is another content.
    """
    match value:
        case str() | int() | float() | None:
            return value
        case Mapping():
            return _mapped(cast("Mapping[object, object]", value))
        case tuple() if callable(named := getattr(cast("object", value), "_asdict", None)):
            return _typed(cast("object", value), cast("dict[str, object]", named()))
        case list() | tuple():
            return [spelled(each) for each in cast("list[object]", value)]
        case set() | frozenset():
            return sorted((spelled(each) for each in cast("set[object]", value)), key=json.dumps)
        case bytes() | bytearray():
            return {"(bytes)": value.hex()}
        case _ if isinstance(fields := getattr(type(value), "model_fields", None), Mapping):
            names = cast("Mapping[str, object]", fields)
            extra: dict[str, object] = getattr(value, "model_extra", None) or {}
            return _typed(value, {name: getattr(value, name) for name in names} | extra)
        case _ if callable(reveal := getattr(value, "get_secret_value", None)):
            return {"(secret)": sha256_hex(json.dumps(spelled(reveal())))}
        case _ if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return _typed(value, {each.name: getattr(value, each.name) for each in dataclasses.fields(value)})
        case _:
            return plain(value)


def _typed(value: object, fields: Mapping[Any, object]) -> dict[str, object]:
    return {"(type)": type(value).__qualname__} | _mapped(fields)


def _mapped(items: Mapping[Any, object]) -> dict[str, object]:
    """An object of JSON; or its pairs, where a key is no text, or could be taken for one of ours."""
    if all(isinstance(key, str) and not key.startswith("(") for key in items):
        return {key: spelled(each) for key, each in items.items()}
    pairs = [[spelled(key), spelled(each)] for key, each in items.items()]
    return {"(pairs)": sorted(pairs, key=json.dumps)}
