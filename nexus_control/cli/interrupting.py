"""Handles SIGTERM, SIGHUP (the terminal was closed) and Ctrl-C while a command executes a request.

The first signal interrupts the run, as an exception in the main thread: a supervised program is killed, and the outcome
is recorded as unknown. Later signals are ignored, so they cannot interrupt the recording. Then the process ends by the
first signal, which its parent sees. Signals that were ignored when the process started (nohup) stay ignored.
"""

import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType

from nexus_control.system.signals import ENDING


class Terminated(BaseException):
    """Raised by a signal that ends the process. As with KeyboardInterrupt, `except Exception` does not catch it."""

    def __init__(self, number: signal.Signals) -> None:
        super().__init__(number.name)
        self.number = number


@contextmanager
def interruptible() -> Generator[None]:
    """Raises KeyboardInterrupt or Terminated in the block for the first signal, and after the block if it went on."""
    came: list[BaseException] = []

    def interrupt(number: int, _frame: FrameType | None) -> None:
        if not came:
            came.append(
                KeyboardInterrupt() if number == signal.SIGINT else Terminated(signal.Signals(number))
            )
            raise came[0]

    before = {each: signal.getsignal(each) for each in ENDING}
    may_heed = threading.current_thread() is threading.main_thread()  # only it may set handlers
    heeded = {each: was for each, was in before.items() if may_heed and was not in (signal.SIG_IGN, None)}
    try:
        for number in heeded:
            signal.signal(number, interrupt)
        yield
    finally:
        for number, handler in heeded.items():
            signal.signal(number, handler)
    if came:
        raise came[0]
