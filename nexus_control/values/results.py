"""The one place that turns faults into results.

Inside the library a fault is an exception; callers get a `ToolResult`. A fault that is not a `NexusControlError` is a
defect of the library: its traceback is logged, and the answer is INTERNAL without its text, which may hold secrets.
"""

import logging
import os
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar, cast

from nexus_control.errors import ErrorCode, NexusControlError

T = TypeVar("T")

_MADE = "Do not do it again. Look at the status when the store can be read again."

_log = logging.getLogger("nexus_control")


@dataclass(frozen=True)
class ToolResult(Generic[T]):
    """What a method answers: its data, or a refusal.

        result = tools.approve(request_id, Actor("human", "bob"))
        if not result:
            print(result.error, result.next)

    Each method has a TypedDict of its own for `data`. Reading `data` of a refusal raises the refusal, so a refusal that
    nobody looked at is never taken for an answer. A refusal has an `error` that reads `CODE: message`, its
    `error_code`, `details` of JSON values, and `next`: what to do about it.
    """

    # No slots: with them, on Python 3.11, calling `ToolResult[X](...)` raises TypeError.
    success: bool
    _data: T | None = field(default=None, hash=False)
    error: str | None = None
    error_code: str | None = None
    details: dict[str, Any] = field(default_factory=lambda: {}, hash=False)
    next: str | None = None

    def __bool__(self) -> bool:
        return self.success

    @property
    def data(self) -> T:
        """The data of a success. Raises the NexusControlError of a refusal."""
        if self.success:
            return cast("T", self._data)
        known = self.error_code in set(ErrorCode)
        code = ErrorCode(self.error_code) if known else ErrorCode.INTERNAL
        message = (self.error or "").removeprefix(f"{code}: ")
        raise NexusControlError(code, message, self.details, self.next)

    def to_dict(self) -> dict[str, Any]:
        """As JSON: `success`, and the data or the refusal."""
        if self.success:
            return {"success": True, "data": self._data}
        return {
            "success": False,
            "error": self.error,
            "error_code": self.error_code,
            "details": self.details,
            "next": self.next,
        }


def fault_of(action: Callable[[], T]) -> T | NexusControlError:
    """The value of `action`, or the fault that it raised. This is the library's boundary: no exception passes it."""
    pid = os.getpid()
    try:
        return action()
    except NexusControlError as fault:
        return fault
    except SystemExit:  # of an embedder's router: the caller goes on, and only a child that it forked ends
        if os.getpid() != pid:
            raise
        return NexusControlError(ErrorCode.INTERNAL, "unexpected SystemExit")
    except Exception as defect:
        with suppress(Exception):  # an exception of foreign code may be one that cannot be shown
            _log.exception("unexpected fault")
        return NexusControlError(ErrorCode.INTERNAL, f"unexpected {type(defect).__name__}; see the log")


@contextmanager
def looking_after(done: str) -> Generator[None]:
    """In the block the store is looked at after a change, which a fault there does not undo. `done` is the change, as a
    sentence without its stop: it stands before the fault's own message. The advice is not to make it again.
    """
    try:
        yield
    except NexusControlError as fault:
        message = f"{done}, but what it led to could not be read: {fault.message}"
        raise NexusControlError(fault.code, message, {**fault.details, "made": True}, _MADE) from fault


def is_made(fault: NexusControlError) -> bool:
    """Whether the change was made, and only what it led to could not be read."""
    return fault.details.get("made") is True


def result_of(action: Callable[[], T]) -> ToolResult[T]:
    """`action`'s data as a success, its fault as a refusal."""
    outcome = fault_of(action)
    if isinstance(outcome, NexusControlError):
        return ToolResult(
            success=False,
            error=str(outcome),
            error_code=str(outcome.code),
            details=outcome.details,
            next=outcome.next,
        )
    return ToolResult(success=True, _data=outcome)
