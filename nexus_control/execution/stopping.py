"""An order to stop, which reaches runs in other threads.

A server that must end before its runs are over orders them to stop. A program under a supervisor is killed, and no
further step is begun. A Python function, and a router of somebody else, cannot be stopped: they go on until the
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
    """An order that may come. `why` is None until it does, and then completes "because ..."."""

    __slots__ = ("why",)

    def __init__(self) -> None:
        self.why: str | None = None

    def order(self, why: str) -> None:
        """From any thread; the first order stands."""
        self.why = self.why or why


_heeded: ContextVar[Stop | None] = ContextVar("stop", default=None)


@contextmanager
def heeding(stop: Stop) -> Generator[None]:
    """What runs in this context heeds `stop`."""
    token = _heeded.set(stop)
    try:
        yield
    finally:
        _heeded.reset(token)


def stop_ordered() -> str | None:
    """Why what runs in this context is to stop, if it is."""
    stop = _heeded.get()
    return None if stop is None else stop.why
