"""The steps of a plan, for views that show it step by step.

[{"step_id": text, "intent": text, "call": {"tool": text, "method": text, "args": object}}]
"""

from typing import cast

from nexus_control.canonical_json import parse_json
from nexus_control.errors import NexusControlError
from nexus_control.render.text import View


def planned_steps(plan: str) -> list[View] | None:
    """The steps of a plan in the router's own shape. None for any other plan, which is shown as the text that it is:
    another key of a step would not be shown.
    """
    try:
        parsed = parse_json(plan)
    except NexusControlError:
        return None
    steps = cast("list[object]", parsed) if isinstance(parsed, list) else []
    return cast("list[View]", steps) or None if all(map(_is_step, steps)) else None


def _is_step(step: object) -> bool:
    call, *texts = _fields(step, "call", "intent", "step_id") or [None]
    called = _fields(call, "args", "method", "tool")
    return [*map(type, [*texts, *called])] == [str, str, dict, str, str]


def _fields(value: object, *names: str) -> list[object]:
    """The values of these fields if `value` is an object with exactly these fields; otherwise an empty list."""
    fields = cast("dict[str, object]", value) if isinstance(value, dict) else {}
    return [fields[name] for name in names] if sorted(fields) == list(names) else []
