"""Reads the answer of a router. Pure and total: any Python object gives a report, and none raises.

    run id     `run_id`, else `run.run_id`: printable text of at most 256 characters, no space at either end
    steps      `steps_executed`, else `summary.steps`: an integer from 0 to 2^53-1; anything else is 0, and a note
    digest     of the answer's canonical JSON; outside the canonical domain, of the text that `spelling.spell` gives,
               and a note

The first rule that applies gives the outcome:

1. There is no run id: unknown, because nobody could say which run it was.
2. The router exported the run: the exported status decides. If that status has no known meaning, the outcome is failed
   with a sign of failure (`signs`), and unknown without one.
3. A sign of failure (`signs`): failed.
4. A sign of doubt (`signs`): unknown.
5. Otherwise: completed.
"""

from dataclasses import dataclass

from nexus_control.canonical_json import MAX_SAFE_INTEGER
from nexus_control.execution.signs import (
    ABSENT,
    MAX_ERROR_MESSAGE_LENGTH,
    RUN_FAILED,
    Fault,
    Meaning,
    at,
    doubts_in,
    effect_in,
    fault_in,
    meaning,
    shown,
)
from nexus_control.execution.spelling import bounded, encodable, spell
from nexus_control.integrity import sha256_hex
from nexus_control.values.payloads import Effect

MAX_RUN_ID_LENGTH = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
    """The content of an answer. `response_digest` is bare, and of `text`, the answer's spelling; `notes` lists the
    oddities in the order they were found.

    An error code and message are there exactly when the run failed, or when its outcome is unknown and the answer
    reports a failure. `effect` is only determined for a failed run.
    """

    outcome: Meaning
    run_id: str | None
    steps_executed: int
    response_digest: str
    text: str
    error_code: str | None = None
    error_message: str | None = None
    effect: Effect = "unknown"
    notes: tuple[str, ...] = ()


def read_response(response: object, exported: object = None, *, dry_run: bool = False) -> RunReport:
    """The report of a router's answer, and of the run's bundle if the router exported it. With `dry_run`, an answer
    that speaks of no effect is no sign of doubt.
    """
    notes: list[str] = []
    spelling = spell(response)
    if not issubclass(type(response), dict):
        notes.append(f"the answer was a {type(response).__name__}, not a dictionary")
    run_id = _run_id(response, notes)
    steps = _steps_executed(response, notes)
    fault = fault_in(response)
    doubts = [] if fault else list(doubts_in(response, dry_run=dry_run))
    notes.extend(doubts)
    outcome: Meaning = "failed" if fault else "unknown" if doubts else "completed"
    effect: Effect = effect_in(response) if fault else "unknown"
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
        text=spelling.text,
        error_code=fault.code if fault else None,
        error_message=fault.message if fault else None,
        effect=effect,
        notes=tuple(bounded(note, MAX_ERROR_MESSAGE_LENGTH) for note in notes),
    )


def _run_id(response: object, notes: list[str]) -> str | None:
    for path in (("run_id",), ("run", "run_id")):
        value = at(response, *path)
        if value is ABSENT or value is None:
            continue
        if isinstance(value, str) and _is_run_id(value):
            return encodable(value)
        notes.append(f"{'.'.join(path)} was not usable as a run id ({shown(value)})")
    return None


def _is_run_id(text: str) -> bool:
    return 0 < len(text) <= MAX_RUN_ID_LENGTH and text.isprintable() and text.strip() == text


def _steps_executed(response: object, notes: list[str]) -> int:
    for path in (("steps_executed",), ("summary", "steps")):
        value = at(response, *path)
        if value is ABSENT:
            continue
        if type(value) is int and 0 <= value <= MAX_SAFE_INTEGER:
            return value
        notes.append(f"{'.'.join(path)} was {shown(value)}; recorded 0")
        return 0
    notes.append("the answer had neither steps_executed nor summary.steps; recorded 0")
    return 0


def _last_word(
    exported: object, run_id: str, outcome: Meaning, fault: Fault | None, notes: list[str]
) -> tuple[Meaning, Fault | None]:
    status = at(exported, "run", "status")
    exported_id = at(exported, "run", "run_id")
    if not isinstance(exported_id, str) or exported_id != run_id:
        notes.append(f"the exported run was another run ({shown(exported_id)}); its status was not used")
        return outcome, fault
    if status is ABSENT or status is None:
        notes.append(f"the exported run's status was {shown(status)}; the answer was believed")
        return outcome, fault
    match meaning(status):
        case "completed":
            if fault is not None:
                notes.append(f"the answer reported {fault.code}; the exported run was {shown(status)}")
            return "completed", None
        case "failed":
            return "failed", fault or Fault(RUN_FAILED, f"The exported run's status is {shown(status)}")
        case "unknown":
            notes.append(f"the exported run's status was {shown(status)}: it had not ended")
            return "unknown", fault
        case None:
            notes.append(f"the exported run's status was {shown(status)}, a word without a known meaning")
            return ("unknown" if fault is None else outcome), fault
