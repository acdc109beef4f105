"""A plan: the text that says what the embedded router executes.

    plan = [ step, ... ]                 a JSON list of at least one step, read strictly
    step = {"step_id": text, "intent": text, "call": {"tool": text, "method": text, "args": {name: value, ...}}}

Other keys are refused, and each `step_id` is unique. Numbers are integers up to 2^53-1 and finite doubles. People
approve the plan's text, which has the same hash everywhere. A plan has at most `MAX_PLAN_BYTES` of UTF-8, and 16 levels
of nesting less than an artifact may have.

A run's records are hashed as values, and doubles do not hash alike everywhere. So a record holds a double as the text
of its canonical JSON (`recorded`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

from nexus_control.canonical_json import canonical_json, parse_json, require_canonical_domain
from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.execution.spelling import DEPTH
from nexus_control.values.records import check, decode

MAX_PLAN_BYTES = 256 * 1024
MAX_NAME_LENGTH = 128
_MAX_SPELLED = 8 * MAX_PLAN_BYTES  # 1e15 is spelled 1000000000000000.0


def is_name(text: str) -> bool:
    """Whether this can name a tool, a method or a step."""
    return 0 < len(text) <= MAX_NAME_LENGTH and text.isprintable()


_NAME = f"printable text of 1 to {MAX_NAME_LENGTH} characters"


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One method of a tool, with its arguments by name."""

    tool: str = check(is_name, _NAME)
    method: str = check(is_name, _NAME)
    args: Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One call, the intent behind it, and its name in the run."""

    step_id: str = check(is_name, _NAME)
    intent: str
    call: Call


def parse_plan(plan: str | None) -> tuple[Step, ...]:
    """The steps of a plan. Raises PLAN_INVALID."""
    if plan is None:
        raise plan_invalid("it is missing; it must be a list of steps")
    items = items_of(plan, in_domain=True)
    steps = tuple(_step(item, n) for n, item in enumerate(items))
    if not steps:
        raise plan_invalid("the plan has no steps")
    seen: set[str] = set()
    for n, step in enumerate(steps):
        if step.step_id in seen:
            raise plan_invalid(f"plan[{n}].step_id {step.step_id!r} is not unique", step_id=step.step_id)
        seen.add(step.step_id)
    return steps


@lru_cache(8)
def known_plan(plan: str | None) -> tuple[Step, ...]:
    """Like `parse_plan`, for a plan that is only looked at: requested, approved and executed, it is read once. The
    arguments of a step can be changed by what executes it, which therefore gets its own.
    """
    return parse_plan(plan)


def _step(item: object, n: int) -> Step:
    try:
        return decode(Step, item, where=f"plan[{n}]", code=ErrorCode.PLAN_INVALID)
    except NexusControlError as error:
        raise plan_invalid(f"it must be a list of steps. {error.message}", **error.details) from None


def recorded(value: object) -> Any:
    """A part of a plan as a run's records hold it, inside the canonical domain: doubles become text."""
    if isinstance(value, float):
        return canonical_json(value)
    if isinstance(value, Mapping):
        return {key: recorded(item) for key, item in cast("Mapping[str, object]", value).items()}
    if isinstance(value, list):
        return [recorded(item) for item in cast("list[object]", value)]
    return value


def plan_invalid(problem: str, **details: object) -> NexusControlError:
    """A PLAN_INVALID fault with this problem."""
    return NexusControlError(ErrorCode.PLAN_INVALID, f"Invalid plan: {problem}", details)


def items_of(plan: str, *, in_domain: bool = False) -> list[object]:
    """The list that a plan is, not yet read as steps; with `in_domain`, refused outside the canonical domain."""
    try:
        items = parse_json(plan, max_bytes=MAX_PLAN_BYTES)
        if in_domain:
            require_canonical_domain(
                items, where="the plan", max_bytes=_MAX_SPELLED, fractions=True, depth=DEPTH
            )
    except NexusControlError as error:
        raise plan_invalid(f"it must be a list of steps, as JSON. {error.message}") from None
    if not isinstance(items, list):
        raise plan_invalid("it must be a list of steps")
    return cast("list[object]", items)


def require_at_most(max_steps: int | None, steps: Sequence[object]) -> None:
    """Raises PLAN_INVALID for a plan with more steps than that."""
    if max_steps is not None and len(steps) > max_steps:
        raise plan_invalid(
            f"it has {len(steps)} steps; at most {max_steps} are allowed",
            steps=len(steps),
            max_steps=max_steps,
        )
