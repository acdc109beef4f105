"""What in a router's answer speaks of failure, of doubt, and of an effect. Pure, and total: any object can be read.

Signs of failure, in the answer or in one of its steps (an item of `results` or `steps`):

    an `error`, or `errors`, that is not empty      a failed `status`, or `run.status`
    `ok` or `success` that is false                 an `exit_code` or `returncode` that is not 0
    a step's status that is no ok word

Signs of doubt: a status that is unfinished, or of no known meaning; `ok` or `success` that is no truth value.
Words are compared case-folded, with `-` and space read as `_`.

The effect of a failed run, as far as it is certain:

    of a step   its own `effect` where it names one (none, done or unknown); none where it was skipped or simulated;
                unknown where it failed or may go on; else done
    of a run    its own `effect` and those of its steps: unknown if any is, else done if any is, else none. Where an
                answer names none of these, it is none if a list of no steps and a count of 0 say so, else unknown
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, cast

from nexus_control.canonical_json import MAX_SAFE_INTEGER
from nexus_control.execution.spelling import bounded, encodable, spell
from nexus_control.payloads import Effect

RunOutcome: TypeAlias = Literal["completed", "failed", "unknown"]

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
_NOT_RUN: Final = ("skipped", "simulated", "planned")
_EFFECTS: tuple[Effect, ...] = ("unknown", "done", "none")
"""The one that says least of a run comes first."""
_FLAGS: Final = ("ok", "success")
_EXIT_CODES: Final = ("exit_code", "exitcode", "exit_status", "returncode", "return_code")


@dataclass(frozen=True, slots=True)
class Fault:
    """A failure that an answer speaks of."""

    code: str
    message: str


class _Absent:
    """The value of a key that is not there."""


ABSENT: Final = _Absent()


def at(value: object, *path: str) -> object:
    """The value under these keys, one in the other; ABSENT where there is none."""
    for key in path:
        if not isinstance(value, dict):
            return ABSENT
        value = cast("dict[str, object]", value).get(key, ABSENT)
    return value


def shown(value: object) -> str:
    """A value as a note shows it."""
    if value is ABSENT:
        return "absent"
    return "null" if value is None else bounded(spell(value).text, 80)


def meaning(status: object) -> RunOutcome | None:
    """What a status word says; None where it has no known meaning."""
    return _OUTCOMES.get(_word(status))


def fault_in(response: object) -> Fault | None:
    """The first sign of failure."""
    if own := _own_fault(response, "the router"):
        return own
    for number, step in enumerate(_steps(response), start=1):
        step_id = at(step, "step_id")
        name = f"step {shown(step_id)}" if isinstance(step_id, str) else f"step {number}"
        if fault := _own_fault(step, name) or _odd_step(step, name):
            return fault
    return None


def doubts_in(response: object) -> Iterator[str]:
    """What keeps an answer without a sign of failure from saying that all went well."""
    for status in _statuses(response):
        if meaning(status) is None:
            yield f"status was {shown(status)}, a word without a known meaning"
    for answer in (response, *_steps(response)):
        for status in _statuses(answer):
            if meaning(status) == "unknown":
                yield f"status was {shown(status)}: the run had not ended"
        for key in _FLAGS:
            if not _is_nothing(flag := at(answer, key)) and flag not in (0, 1):
                yield f"{key} was {shown(flag)}, which is no truth value"


def effect_in(response: object) -> Effect:
    """What is certain of what a failed run did."""
    steps = list(_steps(response))
    effects = [_effect_of_step(step) for step in steps]
    if own := _named_effect(response):
        effects.append(own)
    if not effects:
        return "none" if _lists_steps(response) and _counts_none(response) else "unknown"
    return next(effect for effect in _EFFECTS if effect in effects)


def _effect_of_step(step: object) -> Effect:
    if own := _named_effect(step):
        return own
    if at(step, "simulated") is True or _word(at(step, "status")) in _NOT_RUN:
        return "none"
    failed = _own_fault(step, "step") or _odd_step(step, "step") or any(doubts_in(step))
    return "unknown" if failed else "done"


def _named_effect(answer: object) -> Effect | None:
    return next((effect for effect in _EFFECTS if effect == at(answer, "effect")), None)


def _lists_steps(response: object) -> bool:
    return any(isinstance(at(response, key), list | tuple) for key in ("results", "steps"))


def _counts_none(response: object) -> bool:
    counts = [at(response, *path) for path in (("steps_executed",), ("summary", "steps"))]
    return 0 in counts and all(count is ABSENT or count == 0 for count in counts)


def _own_fault(answer: object, who: str) -> Fault | None:
    for key in ("error", "errors"):
        if not _is_nothing(error := at(answer, key)):
            return _fault_of(error)
    for status in _statuses(answer):
        if meaning(status) == "failed":
            return Fault(RUN_FAILED, f"The status of {who} is {shown(status)}")
    for key in _FLAGS:
        if (flag := at(answer, key)) is False or (type(flag) is int and flag == 0):
            return Fault(RUN_FAILED, f"{who} answered {key}: {shown(flag)}")
    for key in _EXIT_CODES:
        code = at(answer, key)
        if code is not ABSENT and code is not None and spell(code).text not in ("0", '"0"'):
            return Fault(RUN_FAILED, f"The {key} of {who} is {shown(code)}")
    return None


def _odd_step(step: object, name: str) -> Fault | None:
    status = at(step, "status")
    if status is ABSENT or meaning(status) in ("completed", "unknown"):
        return None
    return Fault(RUN_FAILED, f"The status of {name} is {shown(status)}, not ok")


def _fault_of(error: object) -> Fault:
    first = cast("list[object]", error)[0] if isinstance(error, list | tuple) else error
    message = at(first, "message")
    text = message if isinstance(message, str) and message else _text(cast("object", error))
    return Fault(_code(at(first, "code")), bounded(text, MAX_ERROR_MESSAGE_LENGTH))


def _code(value: object) -> str:
    text = str(value) if type(value) is int and abs(value) <= MAX_SAFE_INTEGER else value
    if isinstance(text, str) and 0 < len(text) <= MAX_ERROR_CODE_LENGTH and text.isprintable():
        return encodable(text)
    return RUN_FAILED


def _steps(response: object) -> Iterator[object]:
    for key in ("results", "steps"):
        items = at(response, key)
        if isinstance(items, dict):  # by name; what is no object there is no step
            named: Iterable[object] = cast("Mapping[str, object]", items).values()
            yield from (item for item in named if isinstance(item, dict))
        elif isinstance(items, list | tuple):
            yield from cast("Iterable[object]", items)


def _statuses(answer: object) -> Iterator[object]:
    for path in (("status",), ("run", "status")):
        status = at(answer, *path)
        if status is not ABSENT and status is not None:
            yield status


def _word(status: object) -> str:
    if not isinstance(status, str):
        return ""
    return status.strip().casefold().replace("-", "_").replace(" ", "_")


def _is_nothing(value: object) -> bool:
    if value is ABSENT or value is None or value is False:
        return True
    return type(value) in (str, int, dict, list, tuple) and not value


def _text(value: object) -> str:
    return value if isinstance(value, str) else spell(value).text
