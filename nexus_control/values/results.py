"""The one place that turns faults into results.

Inside, a fault is an exception; what callers get is a `ToolResult`. A fault that is not a `NexusControlError` is a
defect of ours: it is logged with its traceback, and answered INTERNAL without its text, which may hold secrets.
"""

import logging
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

from nexus_control.errors import ErrorCode, NexusControlError

T = TypeVar("T")

_log = logging.getLogger("nexus_control")


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a tool answers. On failure `error` reads `CODE: message`, `details` holds JSON values, and `next` says what
    to do about it.
    """

    success: bool
    data: dict[str, Any] = field(default_factory=dict[str, Any])
    error: str | None = None
    error_code: str | None = None
    details: dict[str, Any] = field(default_factory=dict[str, Any])
    next: str | None = None

    def to_dict(self) -> dict[str, Any]:
        if self.success:
            return {"success": True, "data": self.data}
        return {
            "success": False,
            "error": self.error,
            "error_code": self.error_code,
            "details": self.details,
            "next": self.next,
        }


def fault_of(action: Callable[[], T]) -> T | NexusControlError:
    """What `action` returns, or the fault it raised. The boundary of the library: nothing passes it."""
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


def result_of(action: Callable[[], dict[str, Any]]) -> ToolResult:
    """`action`'s data as a success, its fault as a failure."""
    outcome = fault_of(action)
    if isinstance(outcome, NexusControlError):
        return ToolResult(
            success=False,
            error=str(outcome),
            error_code=str(outcome.code),
            details=outcome.details,
            next=outcome.next,
        )
    return ToolResult(success=True, data=outcome)
