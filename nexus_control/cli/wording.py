"""Faults of arguments in the words of the command line: the field `approvers.0` is the option `--approver` there."""

import inspect
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any, Final, cast

from nexus_control.errors import ErrorCode, NexusControlError

_PARAMETERS: Final = {
    "actor": "acting_as",
    "adapter_id": "adapter",
    "allow_requester_approval": "requester_may_approve",
    "allowed_modes": "allowed_mode",
    "approvers": "approver",
    "decision_id": "request_id",
    "path_or_url": "db",
    "label_filter": "label",
    "labels": "label",
    "require_adapter_capabilities": "require_capability",
    "template_name": "template",
}
"""The parameter of a command that gives an argument of another name."""


@contextmanager
def options_named(parameters: Mapping[str, inspect.Parameter]) -> Generator[None]:
    """In the block, a fault of an argument names the option that gave it. `parameters` are those of the command."""
    with _renamed(lambda field: _option(field, parameters)):
        yield


@contextmanager
def options_of(names: Mapping[str, str]) -> Generator[None]:
    """In the block, a fault of one of these fields names its option."""
    with _renamed(lambda field: names.get(field, field)):
        yield


@contextmanager
def _renamed(option: Callable[[str], str]) -> Generator[None]:
    try:
        yield
    except NexusControlError as fault:
        if fault.code is not ErrorCode.INVALID_ARGUMENT or "fields" not in fault.details:
            raise
        fields = cast("list[dict[str, str]]", fault.details["fields"])
        if fault.message != _said(fields):  # it says more than the fields do
            raise
        named = [{**each, "field": option(each["field"])} for each in fields]
        details = {**fault.details, "fields": named}
        raise NexusControlError(fault.code, _said(named), details, fault.next) from None


def _said(fields: list[dict[str, str]]) -> str:
    return "; ".join(f"{each['field']} {each['problem']}" for each in fields)


def _option(field: str, parameters: Mapping[str, inspect.Parameter]) -> str:
    argument = field.partition(".")[0]
    name = _PARAMETERS.get(argument, argument)
    if name not in parameters:
        return field
    given: Any = parameters[name].annotation.__metadata__[0]
    # typer keeps the first name of an option in an Annotated as its default
    options = [each for each in (given.default, *(given.param_decls or ())) if str(each).startswith("--")]
    if options:
        return str(options[-1]).partition("/")[0]
    is_option = type(given).__name__ == "OptionInfo"
    return f"--{name.replace('_', '-')}" if is_option else str(given.metavar or name.upper()).strip("[]")
