"""Runs a tool once, between its claim and its record.

    run(claim, record, rotate)

* Only the claim gives once. It is taken right before the tool runs, and raises where it is refused.
* What the tool returned is recorded as completed, its exception as failed with unknown effect, and the exception is
  raised again. A timeout, a cancellation and an interruption leave the outcome unknown.
"""

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Literal, Protocol, TypeAlias, TypeVar, cast

from pydantic_core import to_jsonable_python

from nexus_control.execution.spelling import bounded, described
from nexus_control.tool import NexusControlTools
from nexus_control.values.payloads import Effect

_log = logging.getLogger("nexus_control")
MOST_OF_A_TEXT = 4096
T = TypeVar("T")
Outcome: TypeAlias = Literal["completed", "failed", "unknown"]
Claim: TypeAlias = Callable[[], str]
"""Takes the one right to run, and answers the execution's id. Raises what refuses it."""


class Record(Protocol):
    """Records an outcome, and says whether that succeeded. Raises nothing."""

    def __call__(
        self,
        execution_id: str,
        outcome: Outcome,
        output: object = None,
        error: str | None = None,
        effect: Effect | None = None,
    ) -> bool: ...


def run(
    claim: Claim,
    record: Record,
    tool: Callable[[], T],
    *,
    failure_in: Callable[[T], str | None] | None = None,
    kept_of: Callable[[T], object] | None = None,
) -> T:
    """Claim, run the tool, record. Returns what the tool returns, and raises what the claim or the tool raises.

    `failure_in` finds a failure that was turned into a returned value. `kept_of` takes from that value what is
    recorded.
    """
    execution_id = claim()
    try:
        returned = tool()
        outcome = _outcome(returned, failure_in, kept_of)
    except BaseException as error:
        _record_surely(record, execution_id, _outcome_of(error))
        raise
    _record_surely(record, execution_id, outcome)
    return returned


def _record_surely(record: Record, execution_id: str, outcome: "_Outcome") -> None:
    """Record an outcome, also where an interruption comes while the store is waited for: the same once more changes
    nothing.
    """
    try:
        record(execution_id, *outcome)
    except BaseException:
        record(execution_id, *outcome)
        raise


async def arun(
    claim: Claim,
    record: Record,
    tool: Callable[[], Awaitable[T]],
    *,
    failure_in: Callable[[T], str | None] | None = None,
    kept_of: Callable[[T], object] | None = None,
) -> T:
    """`run` for a coroutine. The store is asked in threads, and the tool runs where it is awaited: its context
    variables are the caller's.
    """
    claiming = _Claiming(claim, record)
    try:
        execution_id = await asyncio.to_thread(claiming.take)
    except asyncio.CancelledError:
        claiming.abandon()
        raise
    try:
        returned = await tool()
        outcome = _outcome(returned, failure_in, kept_of)
    except Exception as error:
        await asyncio.shield(asyncio.to_thread(record, execution_id, *_outcome_of(error)))
        raise
    except BaseException as error:
        # In this thread: a cancelled task must not wait for another one.
        _record_surely(record, execution_id, _outcome_of(error))
        raise
    await asyncio.shield(asyncio.to_thread(record, execution_id, *outcome))
    return returned


class _Claiming:
    """A claim that is taken in a thread, and given back once nobody waits for it any more: nothing was run for it."""

    def __init__(self, claim: Claim, record: Record) -> None:
        self._claim = claim
        self._record = record
        self._lock = threading.Lock()
        self._is_abandoned = False
        self._execution_id: str | None = None

    def take(self) -> str:
        execution_id = self._claim()
        with self._lock:
            self._execution_id = execution_id
            is_abandoned = self._is_abandoned
        if is_abandoned:
            self._give_back(execution_id)
        return execution_id

    def abandon(self) -> None:
        with self._lock:
            self._is_abandoned = True
            execution_id = self._execution_id
        if execution_id is not None:
            self._give_back(execution_id)

    def _give_back(self, execution_id: str) -> None:
        self._record(execution_id, "failed", None, "cancelled before the tool ran", "none")


def recorded(
    tools: NexusControlTools,
    execution_id: str,
    outcome: Outcome,
    output: object,
    error: str | None,
    effect: Effect | None,
) -> bool:
    """Record an outcome, and say whether that succeeded; where it did not, the log of the process says why."""
    said = (error or "").replace("\0", "\N{REPLACEMENT CHARACTER}")
    text = bounded(said, MOST_OF_A_TEXT) if said.strip() else None
    result = tools.record(execution_id, outcome, output, text, effect)
    if not result.success:
        _log.error("the outcome %s of %s was not recorded: %s", outcome, execution_id, result.error)
    return result.success


def plain(value: object) -> object:
    """A value as JSON, for the record: models, dates and sets are spelled, and what cannot be is its `repr`. So is an
    iterator: to read it would leave nothing to the caller.
    """
    try:
        return to_jsonable_python(_unread(value), fallback=repr)
    except Exception as error:  # noqa: BLE001 - runs the __repr__ of foreign objects
        return described(error, MOST_OF_A_TEXT)


def _unread(value: object) -> object:
    match value:
        case Iterator():
            return repr(cast("object", value))
        case list() | tuple() | set() | frozenset():
            return [_unread(each) for each in cast("list[object]", value)]
        case dict():
            return {name: _unread(each) for name, each in cast("dict[object, object]", value).items()}
        case _:
            return value


_Outcome: TypeAlias = tuple[Outcome, object, str | None]


def _outcome(
    returned: T, failure_in: Callable[[T], str | None] | None, kept_of: Callable[[T], object] | None
) -> _Outcome:
    failure = failure_in(returned) if failure_in is not None else None
    kept = kept_of(returned) if kept_of is not None else returned
    return ("completed" if failure is None else "failed", kept, failure)


def _outcome_of(error: BaseException) -> _Outcome:
    """What an exception says of the effect: an ordinary one that the tool failed, any other one nothing."""
    is_failure = isinstance(error, Exception) and not isinstance(error, TimeoutError)
    return ("failed" if is_failure else "unknown", None, described(error, MOST_OF_A_TEXT))
