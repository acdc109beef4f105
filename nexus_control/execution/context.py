"""What executed code knows of its execution: `current()`, and two variables in the environment of programs.

    from nexus_control.execution import current

    def rotate(service: str) -> str:
        return vault.rotate(service, idempotency_key=current().execution_id)

The execution's id never changes and is never used twice: it is the idempotency key for what the code calls next. A
function that takes long asks `current().stop_ordered()` now and then, and returns or raises where it must stop.
"""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final

from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.execution.stopping import stop_ordered
from nexus_control.values.actors import Actor

REQUEST_VARIABLE: Final = "NEXUS_CONTROL_REQUEST_ID"
EXECUTION_VARIABLE: Final = "NEXUS_CONTROL_EXECUTION_ID"
VARIABLES: Final = (EXECUTION_VARIABLE, REQUEST_VARIABLE)
"""The variables that every program gets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CurrentExecution:
    """The execution under way. `execution_id` is `<request_id>:<generation>:<seq>`."""

    request_id: str
    execution_id: str
    requester: Actor
    rehearsal: bool

    def stop_ordered(self) -> str | None:
        """Why the code that asks must stop: somebody cancelled the run, the server ends, or the function reached its
        time limit. None while it may go on.

            >>> while not current().stop_ordered():
            ...     copy_the_next_part()

        Ask in the thread that is executed, or in one that copies its context. The store is looked at a few times a
        second at most, however often this is asked.
        """
        return stop_ordered()


_CURRENT: ContextVar[CurrentExecution | None] = ContextVar("nexus_control_execution", default=None)


def current() -> CurrentExecution:
    """The execution that this code runs in.

        >>> current().rehearsal
        False

    It is known to the router and to the functions that it calls, in their thread and in a thread or task that copies
    its context. Raises INVALID_STATE anywhere else.
    """
    found = _CURRENT.get()
    if found is None:
        raise NexusControlError(
            ErrorCode.INVALID_STATE,
            "No execution is under way here",
            advice="Call current() only in code that an execution runs, in its thread.",
        )
    return found


def find_current() -> CurrentExecution | None:
    """Like `current`, but None outside an execution."""
    return _CURRENT.get()


@contextmanager
def executing(execution: CurrentExecution) -> Generator[None]:
    """In the block, `current()` answers this execution."""
    token = _CURRENT.set(execution)
    try:
        yield
    finally:
        _CURRENT.reset(token)


def variables() -> Mapping[str, str]:
    """The variables of the execution under way, for the environment of a program; empty outside one."""
    found = _CURRENT.get()
    if found is None:
        return {}
    return {REQUEST_VARIABLE: found.request_id, EXECUTION_VARIABLE: found.execution_id}
