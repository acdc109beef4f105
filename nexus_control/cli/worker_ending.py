"""How a worker ends at SIGTERM, SIGINT or SIGHUP.

1. The first signal: no further execution begins, and a worker that waits wakes up.
2. A run that is under way may go on for the grace. A second signal cuts this short.
3. Then the run is ordered to stop (`execution.stopping`): its program is killed, and its outcome recorded as unknown.

Further signals change nothing. Signals that were ignored when the process began (nohup) stay ignored. The handler only
writes to pipes, because the code that it interrupts may hold any lock. A thread reads one pipe, and keeps the time of
the grace.
"""

import os
import select
import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from datetime import timedelta
from types import FrameType

from nexus_control.execution.stopping import Stop
from nexus_control.system.signals import ENDING


class Ending:
    """Whether the worker was told to end, and what tells its run to `stop`."""

    def __init__(self, stop: Stop) -> None:
        self.stop = stop
        self.grace = timedelta(seconds=30)
        self.number: signal.Signals | None = None
        """The first signal; None while the worker may go on."""

    @contextmanager
    def heeding(self) -> Generator[int]:
        """In the block, the signals are heeded; it is entered in the main thread. The descriptor that it gives can be
        read once a signal came.
        """
        (woken_by, waker), (heard, teller) = os.pipe(), os.pipe()

        def heed(number: int, _frame: FrameType | None) -> None:
            if self.number is None:
                self.number = signal.Signals(number)
                os.write(waker, b"!")
            os.write(teller, b"!")

        keeper = threading.Thread(target=self._keep_the_grace, args=(heard,), daemon=True)
        keeper.start()
        before = {each: was for each in ENDING if (was := signal.getsignal(each)) is not signal.SIG_IGN}
        try:
            for each in before:
                signal.signal(each, heed)
            yield woken_by
        finally:
            for each, handler in before.items():
                # Once it was told to end, later signals do not cut short how it ends.
                signal.signal(each, handler if self.number is None else signal.SIG_IGN)
            os.close(teller)  # ends the thread
            keeper.join()
            for each in (heard, woken_by, waker):
                os.close(each)

    def _keep_the_grace(self, heard: int) -> None:
        if not os.read(heard, 1):
            return  # the block has ended
        select.select([heard], [], [], self.grace.total_seconds())
        if self.number is not None:
            self.stop.order(f"the worker was ended by {self.number.name}")
