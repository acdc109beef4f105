"""What the steps of a run gave back: read from a router's answer, or from the events of its record. Pure and total:
what has another shape is passed over.

An answer lists its steps as `results`: [{"step_id", "status", "output", "error", "effect", "simulated"}]. Another
answer has no steps that we can read. The adapters of this package write four kinds of output:

    {"result": V}                               what a function returned, or a `call` program printed: V
    {"exit_code": N, "stdout": T, "stderr": T}  of an `argv` program: T of standard output, parsed where it is JSON
    {"would_run": [...]}, {"would_call": {...}} of a step that was only described: as it is
    {"sha256": H, "bytes": N}                   of an adapter that records digests only: as it is
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, TypeAlias, cast

from nexus_control.canonical_json import parse_json
from nexus_control.errors import NexusControlError
from nexus_control.values.payloads import Effect

StepStatus: TypeAlias = Literal["ok", "error", "unknown"]

NOT_ENDED: Final = "NOT_ENDED"
_ABSENT: Final = object()
_CALLED: Final[dict[str, StepStatus]] = {"TOOL_CALL_SUCCEEDED": "ok", "TOOL_CALL_FAILED": "error"}


@dataclass(frozen=True, slots=True, kw_only=True)
class StepOutcome:
    """What one step gave back. `error` is a code and a message. `note` tells of a cut output, or of processes that were
    ended with the step. The instants are there where a record tells them.
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
    started_at: str | None = None
    ended_at: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """The step as every view shows it (`usecases.run_answers.StepLine`), without its instants."""
        line: dict[str, Any] = {
            "step_id": self.step_id,
            "status": self.status,
            "output": self.output,
            "error": None if self.error is None else {"code": self.error[0], "message": self.error[1]},
            "exit_code": self.exit_code,
            "effect": self.effect,
        }
        said = {name: getattr(self, name) for name in ("simulated", "stderr", "truncated", "note")}
        return line | {name: value for name, value in said.items() if value}


def steps_in(answer: object) -> tuple[StepOutcome, ...] | None:
    """The steps that an answer lists; None where it lists none that can be read."""
    listed = _at(answer, "results")
    if not isinstance(listed, list):
        return None
    found = [_of_result(each) for each in cast("list[object]", listed)]
    return tuple(step for step in found if step is not None)


def number_of_steps(answer: object) -> int:
    """How many steps an answer lists, also such as cannot be read."""
    listed = _at(answer, "results")
    return len(cast("list[object]", listed)) if isinstance(listed, list) else 0


def steps_of_events(events: object) -> tuple[StepOutcome, ...]:
    """The steps that a run's events tell of, [{"type", "payload", "ts"?}], in order. A step without an end is
    unknown.
    """
    steps: dict[str, StepOutcome] = {}
    for event in cast("list[object]", events) if isinstance(events, list) else []:
        kind, payload, ts = (_at(event, key) for key in ("type", "payload", "ts"))
        step_id, moment = _at(payload, "step_id"), ts if isinstance(ts, str) else None
        if not isinstance(step_id, str) or not isinstance(payload, dict):
            continue
        if kind == "STEP_STARTED" and step_id not in steps:
            steps[step_id] = _begun(step_id, moment)
        elif status := _CALLED.get(str(kind)):
            told = cast("dict[str, Any]", payload)
            unknown = told.get("effect") == "unknown"
            began = steps[step_id].started_at if step_id in steps else None
            ended = _outcome({**told, "status": "unknown" if unknown else status}, step_id)
            steps[step_id] = replace(ended, started_at=began, ended_at=moment)
    return tuple(steps.values())


def _begun(step_id: str, at: str | None) -> StepOutcome:
    error = (NOT_ENDED, "The step was begun, and its end is not recorded")
    return StepOutcome(
        step_id=step_id, status="unknown", output=None, error=error, effect="unknown", started_at=at
    )


def _of_result(listed: object) -> StepOutcome | None:
    if not isinstance(listed, dict):
        return None
    step = cast("dict[str, Any]", listed)
    step_id = step.get("step_id")
    return _outcome(step, step_id) if isinstance(step_id, str) else None


def _at(value: object, key: str) -> object:
    return cast("dict[str, object]", value).get(key, _ABSENT) if isinstance(value, dict) else _ABSENT


def _outcome(step: Mapping[str, Any], step_id: str) -> StepOutcome:
    status = _status(step.get("status"))
    simulated = step.get("simulated") is True
    raw = step.get("output", _ABSENT)
    exit_code, stderr = _at(raw, "exit_code"), _at(raw, "stderr")
    return StepOutcome(
        step_id=step_id,
        status=status,
        output=_output(raw),
        error=_error(step.get("error")) if status != "ok" else None,
        exit_code=exit_code if type(exit_code) is int else None,
        effect=_effect(step, status, simulated),
        simulated=simulated,
        stderr=stderr if isinstance(stderr, str) else "",
        truncated=_at(raw, "truncated") is True,
        note=next(_texts(_at(raw, "note")), ""),
    )


def _status(word: object) -> StepStatus:
    if word in ("ok", "unknown"):
        return cast("StepStatus", word)
    return "error"


def _effect(step: Mapping[str, Any], status: StepStatus, simulated: bool) -> Effect:
    if simulated or step.get("effect") == "none" or _at(step.get("error"), "code") == "NOT_STARTED":
        return "none"
    return "done" if status == "ok" else "unknown"


def _error(error: object) -> tuple[str, str]:
    if isinstance(error, str):
        return "STEP_FAILED", error
    code, message = _at(error, "code"), _at(error, "message")
    return next(_texts(code), "STEP_FAILED"), next(_texts(message), "no reason given")


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value


def _output(raw: object) -> object:
    """What a step gave back, without the frame that an adapter of this package puts around it."""
    if (result := _at(raw, "result")) is not _ABSENT:
        return result
    stdout = _at(raw, "stdout")
    if not isinstance(stdout, str):
        return None if raw is _ABSENT or raw == {} else raw
    if _at(raw, "truncated") is True:  # 1234, cut, is 12
        return stdout
    try:
        return parse_json(stdout)
    except NexusControlError:
        return stdout
