"""Finds the signs of failure, of doubt and of an effect in a router's answer. Pure and total: any object can be read.

The parts of an answer are the answer itself, its objects `run` and `summary`, and its steps. A step is an item of
`results` or `steps` (a list, or an object of steps by name) in the answer, in `run` or in `summary`.

Signs of failure, in any part:

    an `error` or `errors` that is not empty                a `status`, `state` or `outcome` with a word of failure
    `ok` or `success` that is false, `is_error` that is true    an `exit_code` or `returncode` that is not 0
    a step with a status that is not an ok word

Signs of doubt: a status that is unfinished or has no known meaning; `ok` or `success` that is neither true nor false.
For a run that was to have an effect, a sign that it had no effect is a sign of doubt too: `effect`, a mode or a status
such as `simulated`, or only steps that were not run. Words are compared case-folded, with `-` and space read as `_`.

The effect of a failed run, as far as it is certain:

    of a step   the `effect` that the step names (none, done or unknown). Otherwise: none if it was simulated, or was
                skipped without a sign of failure; unknown if it failed or may go on; else done
    of a run    its own `effect` and its steps' effects: unknown if any is unknown, else done if any is done, else
                none. An answer without any effect has effect none if it has an `error`, an empty list of steps and a
                count of 0; else unknown. The effect is never none if an answer counts more steps than it lists, or
                says that outputs were applied
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias, cast

from nexus_control.canonical_json import MAX_SAFE_INTEGER
from nexus_control.execution.spelling import bounded, encodable, spell
from nexus_control.values.payloads import Effect

Meaning: TypeAlias = Literal["completed", "failed", "unknown"]
"""How a run ended, as its router's answer says it."""

MAX_ERROR_CODE_LENGTH = 128
MAX_ERROR_MESSAGE_LENGTH = 4096

RUN_FAILED = "RUN_FAILED"
"""The error code of a failed run whose answer has no code."""

_MEANINGS: dict[Meaning, str] = {
    "completed": "ok|success|succeeded|successful|complete|completed|done|passed|finished|skipped|simulated|planned",
    "failed": "failed|failure|fail|error|errored|cancelled|canceled|aborted|timeout|timed_out|rejected|refused|denied|"
    "crashed|killed|interrupted|partial|partially_failed|partial_failure|incomplete",
    "unknown": "pending|queued|scheduled|accepted|starting|started|running|in_progress|unknown|outcome_unknown",
}
_MEANING_OF: Final[dict[str, Meaning]] = {
    word: meant for meant, words in _MEANINGS.items() for word in words.split("|")
}
_NOT_RUN: Final = ("skipped", "simulated", "planned", "dry_run")
_EFFECTS: tuple[Effect, ...] = ("unknown", "done", "none")
"""Ordered by how much a meaning says about a run; the meaning that says least comes first."""
_STATUSES: Final = ("status", "state", "outcome")
_FLAGS: Final = ("ok", "success")
_EXIT_CODES: Final = ("exit_code", "exitCode", "exitcode", "exit_status", "returncode", "return_code")
_ERRORS: Final = ("error", "errors")
_ERROR_FLAGS: Final = ("is_error", "isError")
_SAYS_OF_A_STEP: Final = (*_STATUSES, *_FLAGS, *_EXIT_CODES, *_ERRORS, *_ERROR_FLAGS)
"""An object under `results` with one of these keys is a step itself; without any, its values are steps by name."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A failure that an answer reports."""

    code: str
    message: str


ABSENT: Final = object()
"""The value that a missing key has here."""


def at(value: object, *path: str) -> object:
    """The value under these nested keys; ABSENT if a key is missing."""
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


def meaning(status: object) -> Meaning | None:
    """The meaning of a status word; None if its meaning is not known."""
    return _MEANING_OF.get(_word(status))


def fault_in(response: object) -> Fault | None:
    """The first sign of failure."""
    for part in _parts(response):
        if own := _own_fault(part, "the router"):
            return own
    for number, step in enumerate(_steps(response), start=1):
        step_id = at(step, "step_id")
        name = f"step {shown(step_id)}" if isinstance(step_id, str) else f"step {number}"
        if fault := _own_fault(step, name) or _odd_step(step, name):
            return fault
    return None


def doubts_in(response: object, *, dry_run: bool = False) -> Iterator[str]:
    """The signs of doubt: why an answer without a sign of failure does not prove success."""
    for part in _parts(response):
        status = at(part, "status")
        if not _is_nothing(status) and meaning(status) is None:
            yield f"status was {shown(status)}, a word without a known meaning"
    steps = list(_steps(response))
    for answer in (*_parts(response), *steps):
        yield from _unclear(answer)
    if not dry_run:
        yield from _without_effect(response, steps)


def _unclear(answer: object) -> Iterator[str]:
    if meaning(status := at(answer, "status")) == "unknown":
        yield f"status was {shown(status)}: the run had not ended"
    for key in _FLAGS:
        flag = at(answer, key)
        if not (_is_nothing(flag) or flag is True or (type(flag) is int and flag == 1)):
            yield f"{key} was {shown(flag)}, which is neither true nor false"


def _without_effect(response: object, steps: list[object]) -> Iterator[str]:
    """The signs that a run had no effect, or may have had none."""
    for part in _parts(response):
        for key in ("status", "mode"):
            if _word(said := at(part, key)) in _NOT_RUN:
                yield f"{key} was {shown(said)}, though the run was to have an effect"
    if (effect := _named_effect(response)) not in (None, "done"):
        yield f"effect was {shown(effect)}, though the run was said to have gone well"
    if steps and all(_effect_of_step(step) == "none" for step in steps):
        yield "no step was run, though the run was to have an effect"


def effect_in(response: object) -> Effect:
    """The effect of a failed run, as far as it is certain."""
    steps = list(_steps(response))
    effects = [_effect_of_step(step) for step in steps]
    if own := _named_effect(response):
        effects.append(own)
    if not effects and not (_lists_no_steps(response) and not _is_nothing(at(response, "error"))):
        return "unknown"
    if not effects or set(effects) == {"none"}:
        return "unknown" if _counts_more(response, len(steps)) else "none"
    return next(effect for effect in _EFFECTS if effect in effects)


def _effect_of_step(step: object) -> Effect:
    if own := _named_effect(step):
        return own
    if at(step, "simulated") is True:
        return "none"
    if not _is_object(step) or _own_fault(step, "step") or _odd_step(step, "step") or any(_unclear(step)):
        return "unknown"
    return "none" if _word(at(step, "status")) in _NOT_RUN else "done"


def _named_effect(answer: object) -> Effect | None:
    return next((effect for effect in _EFFECTS if effect == at(answer, "effect")), None)


def _lists_no_steps(response: object) -> bool:
    """Whether the answer has an empty list of steps and also a count of 0 steps."""
    lists: list[Any] = [each for key in ("results", "steps") if (each := at(response, key)) is not ABSENT]
    return (
        bool(lists)
        and all(type(each) in (list, dict) and not each for each in lists)
        and 0 in _counts(response)
    )


def _counts_more(response: object, listed: int) -> bool:
    counts = _counts(response)
    applied = at(response, "summary", "outputs_applied")
    return any(count is None or count > listed for count in counts) or (
        applied is not ABSENT and _count(applied) != 0
    )


def _counts(response: object) -> list[int | None]:
    """The counts of steps in the answer; None for a value that is not a count."""
    counts = (at(response, "steps_executed"), at(response, "summary", "steps"))
    return [_count(count) for count in counts if count is not ABSENT]


def _count(value: object) -> int | None:
    return value if type(value) is int and value >= 0 else None


def _own_fault(answer: object, who: str) -> Fault | None:
    for key in _ERRORS:
        if not _is_nothing(error := at(answer, key)):
            return _fault_of(error)
    for key in _STATUSES:
        if meaning(status := at(answer, key)) == "failed":
            return Fault(RUN_FAILED, f"The {key} of {who} is {shown(status)}")
    for key in _FLAGS:
        if type(flag := at(answer, key)) in (bool, int, float) and not flag:
            return Fault(RUN_FAILED, f"{who} answered {key}: {shown(flag)}")
    for key in _ERROR_FLAGS:
        if at(answer, key) is True:
            return Fault(RUN_FAILED, f"{who} answered {key}: true")
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


def _parts(response: object) -> list[object]:
    return [response, *filter(_is_object, (at(response, "run"), at(response, "summary")))]


def _steps(response: object) -> Iterator[object]:
    for part in _parts(response):
        for key in ("results", "steps"):
            items = at(part, key)
            if isinstance(items, list | tuple):
                yield from cast("Iterable[object]", items)
            elif isinstance(items, dict):
                named = cast("Mapping[str, object]", items)
                is_one = any(said in named for said in _SAYS_OF_A_STEP)
                yield from (named,) if is_one else named.values()


def _word(status: object) -> str:
    if not isinstance(status, str):
        return ""
    return status.strip().casefold().replace("-", "_").replace(" ", "_")


def _is_object(value: object) -> bool:
    return isinstance(value, dict)


def _is_nothing(value: object) -> bool:
    if value is ABSENT or value is None or value is False:
        return True
    return type(value) in (str, int, dict, list, tuple) and not value


def _text(value: object) -> str:
    return value if isinstance(value, str) else spell(value).text
