"""The steps of a run on the page: from the run's own record in a document, or from the store's answers.

A record was written elsewhere, and another router's may have any shape. Events of an unknown shape are passed over.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

from nexus_control.canonical_json import parse_json
from nexus_control.errors import NexusControlError
from nexus_control.render.html import Html, joined, tag
from nexus_control.render.results import StepText, step_texts
from nexus_control.render.text import View

_KINDS: Final = {"✓": "pass", "✗": "fail", "?": "info"}
_CALLED: Final = {"TOOL_CALL_SUCCEEDED": "ok", "TOOL_CALL_FAILED": "error"}


@dataclass(frozen=True, slots=True)
class RunStep:
    """One step: what it gave back, with the keys of a `StepLine`, and when it began and ended."""

    line: View
    started_at: str | None = None
    ended_at: str | None = None


def steps_of(record: Mapping[str, object] | None) -> tuple[RunStep, ...]:
    """The steps that a run's bundle of nexus-router's shape tells of, in order. A step without an end is `unknown`."""
    events = record.get("events") if record is not None else None
    steps = dict[str, RunStep]()
    for event in cast("list[object]", events) if isinstance(events, list) else []:
        told = _object(event)
        payload, ts = _object(told.get("payload")), told.get("ts")
        step_id, kind = payload.get("step_id"), str(told.get("type"))
        at = ts if isinstance(ts, str) else None
        if not isinstance(step_id, str):
            continue
        if kind == "STEP_STARTED" and step_id not in steps:
            steps[step_id] = RunStep(_line(step_id, "unknown", {"effect": "unknown"}), at)
        elif kind in _CALLED:
            begun = steps[step_id].started_at if step_id in steps else None
            steps[step_id] = RunStep(_line(step_id, _CALLED[kind], payload), begun, at)
    return tuple(steps.values())


def step_list(lines: Iterable[View]) -> Html:
    """Each step with how it went, then what it gave back."""
    return tag("ol", joined(tag("li", *_shown(step)) for step in step_texts(lines)), kind="plan")


def _line(step_id: str, status: str, payload: Mapping[str, object]) -> dict[str, Any]:
    output, error = _object(payload.get("output")), _object(payload.get("error"))
    is_program, exit_code = isinstance(output.get("stdout"), str), output.get("exit_code")
    unknown, simulated = payload.get("effect") == "unknown", payload.get("simulated") is True
    untouched = simulated or payload.get("effect") == "none" or error.get("code") == "NOT_STARTED"
    line: dict[str, Any] = {
        "step_id": step_id,
        "status": "unknown" if unknown else status,
        "output": _parsed(output["stdout"]) if is_program else output.get("result", output or None),
        "error": {name: str(error.get(name, "-")) for name in ("code", "message")} if error else None,
        "exit_code": exit_code if type(exit_code) is int else None,
        "effect": "none" if untouched else "done" if status == "ok" and not unknown else "unknown",
        "simulated": simulated,
    }
    texts = {"stderr": output.get("stderr"), "note": output.get("note")}
    return line | {name: text for name, text in texts.items() if isinstance(text, str)}


def _parsed(text: object) -> object:
    try:
        return parse_json(str(text))
    except NexusControlError:
        return text


def _shown(step: StepText) -> Iterator[Html]:
    yield tag("span", step.step_id, kind="name")
    yield Html(" ")
    yield tag("span", f"{step.sign} {step.said}", kind=_KINDS[step.sign])
    for name, text in step.blocks:
        yield tag("pre", f"{name}:\n{text}" if name else text)


def _object(value: object) -> Mapping[str, object]:
    return cast("dict[str, object]", value) if isinstance(value, dict) else {}
