"""An order to stop that reaches runs in other threads.

When a server must end before its runs are over, it orders them to stop. A program under a supervisor is then killed,
and no further step begins. A Python function, or another project's router, cannot be stopped: it goes on until the
process ends.

    stop = Stop()
    with heeding(stop):         # also for the tasks and threads that copy this context
        start_the_threads()
    stop.order("the server ended")
"""

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar


class Stop:
    """An order that may be given. `why` is None until then; afterwards it completes "because ..."."""

    __slots__ = ("why",)

    def __init__(self) -> None:
        self.why: str | None = None

    def order(self, why: str) -> None:
        """Give the order, from any thread. Only the first order sets `why`."""
        self.why = self.why or why


_heeded: ContextVar[Stop | None] = ContextVar("stop", default=None)


@contextmanager
def heeding(stop: Stop) -> Generator[None]:
    """Runs in this context obey `stop`."""
    token = _heeded.set(stop)
    try:
        yield
    finally:
        _heeded.reset(token)


def stop_ordered() -> str | None:
    """Why the runs in this context must stop; None while they may go on."""
    stop = _heeded.get()
    return None if stop is None else stop.why
