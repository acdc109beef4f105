"""The signals that end a process, and how to end by one, so that the parent sees which signal it was."""

import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

ENDING: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_LEAVE_IT_ALIVE: Final = {"SIGCHLD", "SIGCLD", "SIGCONT", "SIGURG", "SIGWINCH", "SIGPIPE", "SIGXFSZ"}
"""Ignored by the system, or by Python."""
_STOPPING: Final = {"SIGSTOP", "SIGTSTP", "SIGTTIN", "SIGTTOU"}
_FAULTS: Final = {"SIGKILL", "SIGSEGV", "SIGBUS", "SIGFPE", "SIGILL", "SIGSYS"}
"""What Python cannot go on after."""
FATAL: Final = frozenset(
    each
    for each in signal.valid_signals()
    if getattr(each, "name", "") not in _LEAVE_IT_ALIVE | _STOPPING | _FAULTS
)
"""Every signal that ends a process unless it is handled, and that can be handled."""


def end_by(number: signal.Signals) -> None:
    """End the process by this signal, as if nothing handled it."""
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)


@contextmanager
def ended_by_interrupt() -> Generator[None]:
    """In the block, Ctrl-C ends the process at once and without a traceback, unless SIGINT is ignored or handled."""
    handler = signal.getsignal(signal.SIGINT)
    if handler is not signal.default_int_handler or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
