"""The arguments of a call against the input schema of a tool: as much of JSON Schema as is certain without a library.

Looked at are, for each argument itself and not for what is in it: names that are not declared, where the schema says
`"additionalProperties": false`; names that are required; `type`, `enum` and `const`. Beside a keyword that brings in
other schemas (`$ref`, `allOf`, ...) names are not looked at, and beside `$ref` nothing is. The server judges the rest.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, cast

from nexus_control.execution.adapter import undeclared_argument
from nexus_control.execution.spelling import bounded, spell

_TYPES: Final[Mapping[str, Callable[[object], bool]]] = {
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "integer": lambda value: (
        _is_number(value) and (isinstance(value, int) or cast("float", value).is_integer())
    ),
    "number": lambda value: _is_number(value),
    "array": lambda value: isinstance(value, list),
    "object": lambda value: isinstance(value, Mapping),
    "null": lambda value: value is None,
}
_BRINGING_IN: Final = {
    *("$ref", "$dynamicRef", "$recursiveRef", "allOf", "anyOf", "oneOf", "if", "dependentSchemas"),
    *("patternProperties", "dependencies", "extends"),
}
"""Keywords by which a schema, of whichever draft, may declare more names than its `properties`."""


def argument_names(schema: Mapping[str, Any]) -> list[str]:
    """The names that the schema lists, the required ones first."""
    required = [name for name in _list(schema.get("required")) if isinstance(name, str)]
    return list(dict.fromkeys((*required, *_object(schema.get("properties")))))


def problem_with_arguments(schema: Mapping[str, Any], args: Mapping[str, object]) -> str | None:
    """Why the tool would not take these arguments, or None: "args.path is missing"."""
    if "$ref" in schema:  # some drafts ignore all that stands beside it
        return None
    properties = _object(schema.get("properties"))
    is_closed = schema.get("additionalProperties") is False and not _BRINGING_IN & schema.keys()
    if is_closed and (problem := undeclared_argument(args, properties.keys())):
        return problem
    for name in _list(schema.get("required")):
        if isinstance(name, str) and name not in args:
            return f"args.{bounded(name, 80)} is missing"
    problems = (_problem(name, args[name], _object(properties.get(name))) for name in sorted(args))
    return next((problem for problem in problems if problem), None)


def _problem(name: str, value: object, schema: Mapping[str, Any]) -> str | None:
    if "$ref" in schema:
        return None
    declared: object = schema.get("type")
    types = [str(each) for each in _list(declared) or [declared]]
    if all(each in _TYPES for each in types) and not any(_TYPES[each](value) for each in types):
        return f"args.{bounded(name, 80)} must be of the type {' or '.join(types)}"
    allowed = _list(schema.get("enum")) or ([schema["const"]] if "const" in schema else [])
    if allowed and not any(_may_equal(value, each) for each in allowed):
        listed = bounded(", ".join(spell(each).text for each in allowed), 200)
        return f"args.{bounded(name, 80)} must be one of: {listed}"
    return None


def _may_equal(value: object, declared: object) -> bool:
    """Whether the value is what is declared, as JSON compares. A double of a pinned schema is its text there, so a
    number equals the text of the same number, too.
    """
    if isinstance(declared, str) and _is_number(value):
        try:
            return float(declared) == value
        except ValueError:
            return False
    if isinstance(value, Mapping) and isinstance(declared, Mapping):
        ours, theirs = cast("Mapping[str, object]", value), cast("Mapping[str, object]", declared)
        return ours.keys() == theirs.keys() and all(_may_equal(ours[key], theirs[key]) for key in ours)
    if isinstance(value, list) and isinstance(declared, list):
        items, others = cast("list[object]", value), cast("list[object]", declared)
        return len(items) == len(others) and all(map(_may_equal, items, others))
    if isinstance(value, bool) or isinstance(declared, bool):
        return value is declared
    return value == declared


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _object(value: object) -> Mapping[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _list(value: object) -> list[object]:
    return cast("list[object]", value) if isinstance(value, list) else []
