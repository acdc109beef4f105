"""Errors, events, policy and configuration, from the records that are their format (`values.records`)."""

import inspect
import re
import textwrap
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any, cast

from nexus_control import blocking
from nexus_control.errors import ErrorCode, next_step
from nexus_control.execution import config
from nexus_control.policy import Policy
from nexus_control.rules import reading
from nexus_control.toolset.inputs import DESCRIPTIONS
from nexus_control.values.payloads import PAYLOADS, POLICY_FIELDS, Elicitation, EventType, SignedStatement
from tests.support.reference.markdown import code, one_line, table

_WORDS = {str: "text", int: "whole number", bool: "true or false", float: "number", object: "any JSON value"}


def errors() -> str:
    return table(["code", "what to do"], [(code(each), next_step(each)) for each in ErrorCode])


def blocking_reasons() -> str:
    return ", ".join(code(each) for each in blocking.ORDER) + "."


def events() -> str:
    """The table that readers of a log need: `?` marks what is left out at its default."""
    return table(
        ["event", "payload"],
        [(code(each), ", ".join(_name(field) for field in _fields(PAYLOADS[each]))) for each in EventType],
    )


def event_fields() -> str:
    """A heading an event, with what it says and the type of each field."""
    return "\n\n".join(
        f"### {code(each)}\n\n{_doc(PAYLOADS[each])}\n\n{_record(PAYLOADS[each])}" for each in EventType
    )


def parts_of_payloads() -> str:
    parts: tuple[type[object], ...] = (SignedStatement, Elicitation)
    return "\n\n".join(f"### {_heading(each)}\n\n{_doc(each)}\n\n{_record(each)}" for each in parts)


def policy() -> str:
    return table(
        ["field", "type", "default", "meaning"],
        [
            (code(field.name), _type_of(field), _default(field), DESCRIPTIONS[field.name])
            for field in _fields(Policy)
            if field.name in POLICY_FIELDS
        ],
    )


def adapter() -> str:
    return _section_of_a_file(config.SubprocessTable)


def mcp_adapter() -> str:
    return _section_of_a_file(config.McpTable)


def adapter_tool() -> str:
    return _section_of_a_file(config.ToolTable)


def rule() -> str:
    return _section_of_a_file(reading.RuleTable)


def configuration_example() -> str:
    """The file that the module's docstring shows."""
    shown = re.search(r"\n\n((?:    .*\n)+)", inspect.getdoc(config) or "")
    assert shown is not None
    return f"```toml\n{textwrap.dedent(shown[1]).rstrip()}\n```"


def _record(record: type[object]) -> str:
    return table(
        ["key", "type", "default"],
        [(code(_name(field)), _type_of(field), _default(field)) for field in _fields(record)],
    )


def _section_of_a_file(record: type[object]) -> str:
    return table(
        ["key", "type", "default"],
        [(code(field.name), _type_of(field), _default(field)) for field in _fields(record)],
    )


def _fields(record: type[object]) -> tuple[Field[Any], ...]:
    return fields(cast("Any", record))


def _is_optional(field: Field[Any]) -> bool:
    return not field.metadata.get("always", field.default is MISSING)


def _name(field: Field[Any]) -> str:
    return f"{field.name}?" if _is_optional(field) else field.name


def _default(field: Field[Any]) -> str:
    if field.default is MISSING:
        return "required"
    return code(_json(field.default))


def _json(value: object) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, tuple):
        return f"[{', '.join(_json(each) for each in cast('tuple[object, ...]', value))}]"
    return f'"{value}"' if isinstance(value, str) else str(value)


def _type_of(field: Field[Any]) -> str:
    _, rule = field.metadata.get("check", (None, ""))
    return type_words(field.type) + (f" ({rule})" if rule else "")


def type_words(annotation: Any) -> str:
    """An annotation of a record, as a reader of the JSON says it."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        named = [type_words(each) for each in arguments if each is not types.NoneType]
        return " or ".join(named + ["null"] * (types.NoneType in arguments))
    if origin is typing.Literal:
        return " or ".join(code(_json(each)) for each in arguments)
    if origin is tuple:
        return f"list of {type_words(arguments[0])}"
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return "object"
    return _heading(annotation) if is_dataclass(annotation) else _WORDS[annotation]


def _heading(record: Any) -> str:
    """A record's name in words: `SignedStatement` is a signed statement."""
    return re.sub(r"(?<!^)(?=[A-Z])", " ", record.__name__).lower()


def _doc(record: type[object]) -> str:
    return one_line(inspect.getdoc(record) or "")
