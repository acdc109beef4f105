"""What a command that executes does when it is told to end, by SIGTERM, SIGHUP (its terminal was closed) or Ctrl-C.

The first of these interrupts the run, as an exception in the main thread: a supervised program is killed, and the
outcome is recorded as unknown. Later ones change nothing, so that they do not tear the recording. Then the process ends
by the signal, and its parent sees which. Signals that were ignored when we were started (nohup) stay ignored.
"""

import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType

from nexus_control.system.signals import ENDING


class Terminated(BaseException):
    """A signal came that ends the process. As for KeyboardInterrupt, `except Exception` is not for it."""

    def __init__(self, number: signal.Signals) -> None:
        super().__init__(number.name)
        self.number = number


@contextmanager
def interruptible() -> Generator[None]:
    """Raises KeyboardInterrupt or Terminated in the block for the first signal; after it, where the block went on."""
    came: list[BaseException] = []

    def interrupt(number: int, _frame: FrameType | None) -> None:
        if not came:
            came.append(
                KeyboardInterrupt() if number == signal.SIGINT else Terminated(signal.Signals(number))
            )
            raise came[0]

    before = {each: signal.getsignal(each) for each in ENDING}
    may_heed = threading.current_thread() is threading.main_thread()  # Python lets no other thread
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
