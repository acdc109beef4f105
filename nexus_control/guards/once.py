"""Runs a tool once, between its claim and its record.

    run(claim, record, rotate)

* Only the claim gives once. It is taken right before the tool runs, and raises where it is refused.
* What the tool returned is recorded as completed, its exception as failed with unknown effect, and the exception is
  raised again. A timeout, a cancellation and an interruption leave the outcome unknown.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Literal, Protocol, TypeAlias, TypeVar

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
        record(execution_id, *_outcome_of(error))
        raise
    record(execution_id, *outcome)
    return returned


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
    claiming = asyncio.ensure_future(asyncio.to_thread(claim))
    try:
        execution_id = await asyncio.shield(claiming)
    except asyncio.CancelledError:
        # The claim goes on in its thread. Nothing was run for it.
        await asyncio.wait({claiming})
        if claiming.exception() is None:
            why = "cancelled before the tool ran"
            await asyncio.to_thread(record, claiming.result(), "failed", None, why, "none")
        raise
    try:
        returned = await tool()
        outcome = _outcome(returned, failure_in, kept_of)
    except BaseException as error:
        # In this thread: a cancelled task must not wait for another one.
        record(execution_id, *_outcome_of(error))
        raise
    await asyncio.shield(asyncio.to_thread(record, execution_id, *outcome))
    return returned


def recorded(
    tools: NexusControlTools,
    execution_id: str,
    outcome: Outcome,
    output: object,
    error: str | None,
    effect: Effect | None,
) -> bool:
    """Record an outcome, and say whether that succeeded; where it did not, the log of the process says why."""
    text = bounded(error, MOST_OF_A_TEXT) if error and error.strip() else None
    result = tools.record(execution_id, outcome, output, text, effect)
    if not result.success:
        _log.error("the outcome %s of %s was not recorded: %s", outcome, execution_id, result.error)
    return result.success


def plain(value: object) -> object:
    """A value as JSON, for the record: models, dates and sets are spelled, and what cannot be is its `repr`."""
    try:
        return to_jsonable_python(value, fallback=repr)
    except Exception as error:  # noqa: BLE001 - runs the __repr__ of foreign objects
        return described(error, MOST_OF_A_TEXT)


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
