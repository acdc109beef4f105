"""The arguments of a list of decisions, which check themselves: listing loads no pydantic.

They are as strict as the models of `usecases.arguments`, and refuse in the same words. Nothing is coerced, and a
refusal never repeats the value.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, get_args

from nexus_control.decision import DecisionState
from nexus_control.errors import invalid_arguments
from nexus_control.usecases.checks import MAX_GOAL, MAX_LABEL, MAX_NAME, MAX_OFFSET, MAX_PAGE, instant
from nexus_control.values.actors import id_problem
from nexus_control.values.payloads import StateName


@dataclass(frozen=True, slots=True, kw_only=True)
class ListArguments:
    """Which decisions, and which page of them. Raises INVALID_ARGUMENT, which names every wrong field.

    `since` may be the text of an instant, and is kept as one in UTC.
    """

    limit: int = 100
    offset: int = 0
    after: str | None = None
    state: StateName | DecisionState | None = None
    label: str | None = None
    requester: str | None = None
    awaiting: str | None = None
    executable: bool | None = None
    since: str | datetime | None = None
    text: str | None = None

    def __post_init__(self) -> None:
        problems: list[dict[str, str]] = []
        for name, checked in _CHECKS.items():
            value = getattr(self, name)
            if value is None and name not in _NEVER_NONE:
                continue
            try:
                object.__setattr__(self, name, checked(value))
            except ValueError as error:
                problems.append({"field": name, "problem": str(error)})
        if problems:
            raise invalid_arguments(problems)


def _whole(least: int, most: int) -> Callable[[object], int]:
    def checked(value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool):
            raise ValueError("must be an integer")
        if value < least:
            raise ValueError(f"must be at least {least}")
        if value > most:
            raise ValueError(f"must be at most {most}")
        return int(value)

    return checked


def _text(most: int, *, is_id: bool = False) -> Callable[[object], str]:
    def checked(value: object) -> str:
        if not isinstance(value, str):
            raise ValueError("must be text")
        if any("\ud800" <= each <= "\udfff" for each in value):
            raise ValueError("must not hold lone surrogates")
        if len(value) > most:
            raise ValueError(f"must be at most {most} characters")
        if problem := id_problem(value) if is_id else None if value else "must not be empty":
            raise ValueError(problem)
        return str.__str__(value)  # a subclass of str, such as an enumeration's member, is not kept

    return checked


_STATES: Final = get_args(StateName)


def _state(value: object) -> str:
    if not isinstance(value, str) or value not in _STATES:
        *others, last = map(repr, _STATES)
        raise ValueError(f"must be one of {', '.join(others)} or {last}")
    return str.__str__(value)


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("must be true or false")
    return value


_CHECKS: Final[Mapping[str, Callable[[Any], object]]] = {
    "limit": _whole(1, MAX_PAGE),
    "offset": _whole(0, MAX_OFFSET),
    "after": _text(MAX_NAME),
    "state": _state,
    "label": _text(MAX_LABEL, is_id=True),
    "requester": _text(MAX_NAME, is_id=True),
    "awaiting": _text(MAX_NAME, is_id=True),
    "executable": _flag,
    "since": instant,
    "text": _text(MAX_GOAL),
}
_NEVER_NONE: Final = ("limit", "offset")
