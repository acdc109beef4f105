"""What the steps of a run gave back: read from a router's answer, or from the events of its run log. Pure and total.

An answer lists its steps as `results`: [{"step_id", "status", "output", "error", "effect", "simulated"}]. Another
answer has no steps that we can read. The adapters of this package write four kinds of output:

    {"result": V}                               what a function returned, or a `call` program printed: V
    {"exit_code": N, "stdout": T, "stderr": T}  of an `argv` program: T of standard output, parsed where it is JSON
    {"would_run": [...]}, {"would_call": {...}} of a step that was only described: as it is
    {"sha256": H, "bytes": N}                   of an adapter that records digests only: as it is
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias, cast

from nexus_control.canonical_json import parse_json
from nexus_control.errors import NexusControlError
from nexus_control.execution.signs import ABSENT, at
from nexus_control.values.payloads import Effect

StepStatus: TypeAlias = Literal["ok", "error", "unknown"]

NOT_ENDED: Final = "NOT_ENDED"


@dataclass(frozen=True, slots=True, kw_only=True)
class StepOutcome:
    """What one step gave back. `error` is a code and a message. `note` tells of a cut output, or of processes that were
    ended with the step.
    """

    step_id: str
    status: StepStatus
    output: object
    error: tuple[str, str] | None = None
    exit_code: int | None = None
    effect: Effect
    simulated: bool = False
    stderr: str = ""
    truncated: bool = False
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownRun:
    """A run as its router's log tells it. `has_ended`: whether the log has the end of the run."""

    run_id: str
    execution_id: str
    has_ended: bool
    steps: tuple[StepOutcome, ...]


def steps_in(answer: object) -> tuple[StepOutcome, ...] | None:
    """The steps that an answer lists; None where it lists none that can be read."""
    listed = at(answer, "results")
    if not isinstance(listed, list):
        return None
    found = [_of_result(each) for each in cast("list[object]", listed)]
    return tuple(step for step in found if step is not None)


def steps_of_events(events: Iterable[tuple[str, Mapping[str, Any]]]) -> tuple[StepOutcome, ...]:
    """The steps that a run's events tell of, (type, payload) each. A step that was begun and has no end is unknown."""
    steps: dict[str, StepOutcome] = {}
    for kind, payload in events:
        step_id = str(payload.get("step_id", ""))
        if kind == "STEP_STARTED":
            message = "The step was begun, and its end is not recorded"
            steps[step_id] = StepOutcome(
                step_id=step_id, status="unknown", output=None, error=(NOT_ENDED, message), effect="unknown"
            )
        elif kind == "TOOL_CALL_SUCCEEDED":
            steps[step_id] = _outcome({**payload, "status": "ok"}, step_id)
        elif kind == "TOOL_CALL_FAILED":
            status = "unknown" if payload.get("effect") == "unknown" else "error"
            steps[step_id] = _outcome({**payload, "status": status}, step_id)
    return tuple(steps.values())


def _of_result(listed: object) -> StepOutcome | None:
    if not isinstance(listed, dict):
        return None
    step = cast("dict[str, Any]", listed)
    step_id = step.get("step_id")
    return _outcome(step, step_id) if isinstance(step_id, str) else None


def _outcome(step: Mapping[str, Any], step_id: str) -> StepOutcome:
    status = _status(step.get("status"))
    simulated = step.get("simulated") is True
    raw = step.get("output")
    exit_code, stderr = at(raw, "exit_code"), at(raw, "stderr")
    return StepOutcome(
        step_id=step_id,
        status=status,
        output=_output(raw),
        error=_error(step.get("error")) if status != "ok" else None,
        exit_code=exit_code if type(exit_code) is int else None,
        effect=_effect(step.get("effect"), status, simulated),
        simulated=simulated,
        stderr=stderr if isinstance(stderr, str) else "",
        truncated=at(raw, "truncated") is True,
        note=next(_texts(at(raw, "note")), ""),
    )


def _status(word: object) -> StepStatus:
    if word in ("ok", "unknown"):
        return cast("StepStatus", word)
    return "error"


def _effect(said: object, status: StepStatus, simulated: bool) -> Effect:
    if simulated or said == "none":
        return "none"
    return "done" if status == "ok" else "unknown"


def _error(error: object) -> tuple[str, str]:
    if isinstance(error, str):
        return "STEP_FAILED", error
    code, message = at(error, "code"), at(error, "message")
    return next(_texts(code), "STEP_FAILED"), next(_texts(message), "no reason given")


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value


def _output(raw: object) -> object:
    """What a step gave back, without the frame that an adapter of this package puts around it."""
    if (result := at(raw, "result")) is not ABSENT:
        return result
    stdout = at(raw, "stdout")
    if not isinstance(stdout, str):
        return raw
    if at(raw, "truncated") is True:  # 1234, cut, is 12
        return stdout
    try:
        return parse_json(stdout)
    except NexusControlError:
        return stdout
