"""The steps of a run: what each answered, as the run's bundle or the store tells it.

    {"step_id", "status": ok | error | unknown, "output", "error": {code, message} | None, "exit_code", "effect"}

A bundle was written elsewhere, and another router's may have any shape. Events of an unknown shape are passed over.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

from nexus_control.canonical_json import parse_json
from nexus_control.errors import NexusControlError
from nexus_control.lifecycle import effect_words
from nexus_control.render.html import Html, joined, tag
from nexus_control.values.payloads import Effect

_MOST_CHARACTERS, _MOST_LINES = 4_000, 40
_PROGRAM: Final = {"exit_code", "stdout", "stderr"}
_KINDS: Final = {"ok": "pass", "error": "fail", "unknown": "info"}
_CALLED: Final = {"TOOL_CALL_SUCCEEDED": "ok", "TOOL_CALL_FAILED": "error"}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStep:
    """One step. `output` is JSON; `notes` are remarks of the adapter, such as that the output was cut."""

    step_id: str
    status: str
    effect: Effect
    output: object = None
    standard_error: str = ""
    error: str = ""
    exit_code: int | None = None
    notes: tuple[str, ...] = ()
    started_at: str | None = None
    ended_at: str | None = None


def steps_of(bundle: Mapping[str, object] | None) -> tuple[RunStep, ...]:
    """The steps that a run's bundle of nexus-router's shape tells of, in order. A step without an end is `unknown`."""
    events = bundle.get("events") if bundle is not None else None
    steps = dict[str, RunStep]()
    for event in cast("list[object]", events) if isinstance(events, list) else []:
        told = _object(event)
        payload, ts = _object(told.get("payload")), told.get("ts")
        step_id, kind = payload.get("step_id"), str(told.get("type"))
        at = ts if isinstance(ts, str) else None
        if not isinstance(step_id, str):
            continue
        if kind == "STEP_STARTED" and step_id not in steps:
            steps[step_id] = RunStep(step_id=step_id, status="unknown", effect="unknown", started_at=at)
        elif kind in _CALLED:
            begun = steps[step_id].started_at if step_id in steps else None
            steps[step_id] = _called(step_id, _CALLED[kind], payload, begun, at)
    return tuple(steps.values())


def steps_of_lines(lines: Iterable[Mapping[str, Any]]) -> tuple[RunStep, ...]:
    """The steps of an execution as the store's answers list them (`results`)."""
    return tuple(
        RunStep(
            step_id=line["step_id"],
            status=line["status"],
            effect=line["effect"],
            output=line["output"],
            error=_failure(line["error"]),
            exit_code=line["exit_code"],
        )
        for line in lines
    )


def step_list(steps: Iterable[RunStep]) -> Html:
    """Each step with its status, then its output."""
    return tag("ol", joined(tag("li", *_shown(step)) for step in steps), kind="plan")


def _called(
    step_id: str, status: str, payload: Mapping[str, object], begun: str | None, at: str | None
) -> RunStep:
    output, error = _object(payload.get("output")), _object(payload.get("error"))
    unknown, code = payload.get("effect") == "unknown", error.get("code")
    untouched = payload.get("simulated") is True or code == "NOT_STARTED"
    exit_code, note = output.get("exit_code"), output.get("note")
    program = output.keys() >= _PROGRAM
    return RunStep(
        step_id=step_id,
        status="unknown" if unknown else status,
        effect="none" if untouched else "done" if status == "ok" else "unknown",
        output=output["stdout"] if program else output.get("result", output or None),
        standard_error=str(output["stderr"]) if program else "",
        error=_failure(error),
        exit_code=exit_code if type(exit_code) is int else None,
        notes=(note,) if isinstance(note, str) else (),
        started_at=begun,
        ended_at=at,
    )


def _failure(error: object) -> str:
    told = _object(error)
    return ": ".join(str(told[name]) for name in ("code", "message") if told.get(name))


def _shown(step: RunStep) -> Iterator[Html]:
    exit_code = None if step.exit_code is None else f"exit code {step.exit_code}"
    effect = None if step.status == "ok" else effect_words(step.effect)
    said = ", ".join(filter(None, [exit_code, effect, *step.notes]))
    yield tag("span", step.step_id, kind="name")
    yield Html(" ")
    yield tag("span", step.status, kind=_KINDS.get(step.status, "info"))
    if said:
        yield tag("span", f" · {said}", kind="soft")
    if step.error:
        yield tag("div", step.error, kind="fail")
    if step.output not in (None, ""):
        yield tag("pre", _text_of(step.output))
    if step.standard_error.strip():
        yield tag("pre", f"standard error:\n{_cut(step.standard_error)}")


def _text_of(output: object) -> str:
    """An output as text: JSON with an indent, also where a text holds an object or a list; other texts as they are."""
    value = _parsed(output) if isinstance(output, str) else output
    return _cut(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=2))


def _parsed(text: str) -> object:
    try:
        value = parse_json(text) if text.lstrip()[:1] in ("{", "[") else text
    except NexusControlError:
        return text
    return value


def _cut(text: str) -> str:
    """The beginning of a long text, and how much more of it the document holds."""
    shown = "\n".join(text.strip("\n").split("\n")[:_MOST_LINES])[:_MOST_CHARACTERS]
    rest = len(text.strip("\n")) - len(shown)
    return f"{shown}\n… {rest} more characters are in the run's record …" if rest else shown


def _object(value: object) -> Mapping[str, object]:
    return cast("dict[str, object]", value) if isinstance(value, dict) else {}
