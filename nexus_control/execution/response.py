"""Reads what a router answered. Pure, and total: any object gives a report.

    run id     `run_id`, else `run.run_id`: printable text of at most 256 characters, no space at either end
    steps      `steps_executed`, else `summary.steps`: an integer from 0 to 2^53-1; anything else is 0, and a note
    digest     of the answer's canonical JSON; outside the canonical domain, of what `spelling.spell` gives, and a note

The outcome, by the first of these that says something:

1. No run id: unknown. Nobody could say which run it was.
2. The status of the run as its router exported it, if that is one of the words below. It has the last word.
3. An `error`; a failed `status` (or `run.status`); `ok` or `success` that is false; a failed step: failed. A step is an
   item of `results` or `steps`, and fails by the same rules, and by any status that is not an ok word.
4. An unfinished `status`: unknown.
5. Otherwise: completed.

Words are compared case-folded, with `-` and space read as `_`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, cast

from nexus_control.canonical_json import MAX_SAFE_INTEGER
from nexus_control.execution.spelling import bounded, encodable, spell
from nexus_control.integrity import sha256_hex

RunOutcome: TypeAlias = Literal["completed", "failed", "unknown"]

MAX_RUN_ID_LENGTH = 256
MAX_ERROR_CODE_LENGTH = 128
MAX_ERROR_MESSAGE_LENGTH = 4096

RUN_FAILED = "RUN_FAILED"
"""The error code of a failed run that brings none of its own."""

_MEANINGS: tuple[tuple[RunOutcome, str], ...] = (
    (
        "completed",
        "ok|success|succeeded|successful|complete|completed|done|passed|finished|skipped|simulated|planned",
    ),
    (
        "failed",
        "failed|failure|fail|error|errored|cancelled|canceled|aborted|timeout|timed_out|rejected|refused|denied|"
        "crashed|killed|interrupted|partial|partially_failed|partial_failure|incomplete",
    ),
    (
        "unknown",
        "pending|queued|scheduled|accepted|starting|started|running|in_progress|unknown|outcome_unknown",
    ),
)
_OUTCOMES: dict[str, RunOutcome] = {
    word: outcome for outcome, words in _MEANINGS for word in words.split("|")
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
    """What an answer says. `response_digest` is bare; `notes` says what was odd, in the order it was found.

    An error code and message are there exactly when the run failed, or when its outcome is unknown and the answer
    spoke of a failure.
    """

    outcome: RunOutcome
    run_id: str | None
    steps_executed: int
    response_digest: str
    digest_note: str | None = None
    error_code: str | None = None
    error_message: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def failed(self) -> bool:
        return self.outcome == "failed"


@dataclass(frozen=True, slots=True)
class _Fault:
    code: str
    message: str


class _Absent:
    """The value of a key that is not there."""


_ABSENT: Final = _Absent()


def read_response(response: object, exported: object = None) -> RunReport:
    """The report of what a router answered, and of the run's bundle where the router exported it."""
    notes: list[str] = []
    spelling = spell(response)
    _note_type(response, notes)
    run_id = _run_id(response, notes)
    steps = _steps_executed(response, notes)
    fault = _fault(response)
    outcome = _outcome(response, fault, notes)
    if run_id is None:
        outcome = "unknown"
    elif exported is not None:
        outcome, fault = _last_word(exported, run_id, outcome, fault, notes)
    if spelling.note is not None:
        notes.append(f"response_digest is not of canonical JSON: {spelling.note}")
    return RunReport(
        outcome=outcome,
        run_id=run_id,
        steps_executed=steps,
        response_digest=sha256_hex(spelling.text),
        digest_note=spelling.note,
        error_code=fault.code if fault else None,
        error_message=fault.message if fault else None,
        notes=tuple(bounded(note, MAX_ERROR_MESSAGE_LENGTH) for note in notes),
    )


def _note_type(response: object, notes: list[str]) -> None:
    if not isinstance(response, dict):
        notes.append(f"the answer was a {type(response).__name__}, not a dictionary")


def _run_id(response: object, notes: list[str]) -> str | None:
    for path in (("run_id",), ("run", "run_id")):
        value = _at(response, *path)
        if value is _ABSENT or value is None:
            continue
        if isinstance(value, str) and _is_run_id(value):
            return encodable(value)
        notes.append(f"{'.'.join(path)} was not usable as a run id ({_shown(value)})")
    return None


def _is_run_id(text: str) -> bool:
    return 0 < len(text) <= MAX_RUN_ID_LENGTH and text.isprintable() and text.strip() == text


def _steps_executed(response: object, notes: list[str]) -> int:
    for path in (("steps_executed",), ("summary", "steps")):
        value = _at(response, *path)
        if value is _ABSENT:
            continue
        if type(value) is int and 0 <= value <= MAX_SAFE_INTEGER:
            return value
        notes.append(f"{'.'.join(path)} was {_shown(value)}; recorded 0")
        return 0
    notes.append("the answer had neither steps_executed nor summary.steps; recorded 0")
    return 0


def _outcome(response: object, fault: _Fault | None, notes: list[str]) -> RunOutcome:
    if fault is not None:
        return "failed"
    for status in _statuses(response):
        outcome = _meaning(status)
        if outcome is None:
            notes.append(f"status was {_shown(status)}, a word without a known meaning")
        elif outcome == "unknown":
            notes.append(f"status was {_shown(status)}: the run had not ended")
            return outcome
    return "completed"


def _last_word(
    exported: object, run_id: str, outcome: RunOutcome, fault: _Fault | None, notes: list[str]
) -> tuple[RunOutcome, _Fault | None]:
    status = _at(exported, "run", "status")
    exported_id = _at(exported, "run", "run_id")
    if not isinstance(exported_id, str) or exported_id != run_id:
        notes.append(f"the exported run was another run ({_shown(exported_id)}); its status was not used")
        return outcome, fault
    verdict = _meaning(status)
    if verdict is None:
        notes.append(f"the exported run's status was {_shown(status)}; the answer was believed")
        return outcome, fault
    if verdict == "unknown":
        notes.append(f"the exported run's status was {_shown(status)}: it had not ended")
        return verdict, fault
    if verdict == "completed":
        if fault is not None:
            notes.append(f"the answer reported {fault.code}; the exported run was {_shown(status)}")
        return verdict, None
    return verdict, fault or _Fault(RUN_FAILED, f"The exported run's status is {_shown(status)}")


def _fault(response: object) -> _Fault | None:
    fault = _own_fault(response, "the router")
    if fault is not None:
        return fault
    for number, step in _steps(response):
        step_id = _at(step, "step_id")
        name = f"step {_shown(step_id)}" if isinstance(step_id, str) else f"step {number}"
        step_fault = _own_fault(step, name) or _odd_step(step, name)
        if step_fault is not None:
            return step_fault
    return None


def _own_fault(answer: object, who: str) -> _Fault | None:
    error = _at(answer, "error")
    if not _is_nothing(error):
        return _fault_of(error)
    for status in _statuses(answer):
        if _meaning(status) == "failed":
            return _Fault(RUN_FAILED, f"The status of {who} is {_shown(status)}")
    for key in ("ok", "success"):
        if _at(answer, key) is False:
            return _Fault(RUN_FAILED, f"{who} answered {key}: false")
    return None


def _odd_step(step: object, name: str) -> _Fault | None:
    status = _at(step, "status")
    if status is _ABSENT or _meaning(status) == "completed":
        return None
    return _Fault(RUN_FAILED, f"The status of {name} is {_shown(status)}, not ok")


def _fault_of(error: object) -> _Fault:
    message = _at(error, "message")
    text = message if isinstance(message, str) and message else error
    return _Fault(_code(_at(error, "code")), _text(text))


def _code(value: object) -> str:
    text = str(value) if type(value) is int and abs(value) <= MAX_SAFE_INTEGER else value
    if isinstance(text, str) and 0 < len(text) <= MAX_ERROR_CODE_LENGTH and text.isprintable():
        return encodable(text)
    return RUN_FAILED


def _steps(response: object) -> Iterator[tuple[int, object]]:
    for key in ("results", "steps"):
        items = _at(response, key)
        if isinstance(items, list | tuple):
            yield from enumerate(cast("list[object]", items), start=1)


def _statuses(answer: object) -> Iterator[object]:
    for path in (("status",), ("run", "status")):
        status = _at(answer, *path)
        if status is not _ABSENT and status is not None:
            yield status


def _meaning(status: object) -> RunOutcome | None:
    if not isinstance(status, str):
        return None
    return _OUTCOMES.get(status.strip().casefold().replace("-", "_").replace(" ", "_"))


def _at(value: object, *path: str) -> object:
    for key in path:
        if not isinstance(value, dict):
            return _ABSENT
        value = cast("dict[str, object]", value).get(key, _ABSENT)
    return value


def _is_nothing(error: object) -> bool:
    if error is _ABSENT or error is None or error is False:
        return True
    return type(error) in (str, int, dict, list, tuple) and not error


def _shown(value: object) -> str:
    """A value as a note shows it."""
    if value is _ABSENT:
        return "absent"
    if value is None:
        return "null"
    return bounded(spell(value).text, 80)


def _text(value: object) -> str:
    return bounded(value if isinstance(value, str) else spell(value).text, MAX_ERROR_MESSAGE_LENGTH)
