"""An order to stop that reaches runs in other threads.

    stop = Stop()
    with heeding(stop):         # also for the tasks and threads that copy this context
        start_the_threads()
    stop.order("the server ended")

A run obeys every order that its context heeds. The kind of the order says what the run becomes:

    shutdown    the server must end before its runs are over, or a Python function, which hears of it alone, has reached
                its time limit. What was cut off has an unknown outcome
    cancel      somebody stops this run alone. It has failed, and its answer says what it did

No further step begins. A program under a supervisor is killed; so is, at a cancel, an `async def` function, as far as
it lets itself be cancelled. Another Python function, or another project's router, cannot be stopped.
"""

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

OrderKind: TypeAlias = Literal["shutdown", "cancel"]


@dataclass(frozen=True, slots=True)
class Order:
    """An order that was given. `why` completes "because ..."."""

    kind: OrderKind
    why: str


class Orders(Protocol):
    """Where an order may come from."""

    def given(self, *, at_once: bool) -> Order | None:
        """The order, from when it was given on. It may come late, unless it is asked for `at_once`. Raises nothing."""
        ...


class Stop:
    """The order of a server that ends. `why` is None until it is given; afterwards it completes "because ..."."""

    __slots__ = ("why",)

    def __init__(self) -> None:
        self.why: str | None = None

    def order(self, why: str) -> None:
        """Give the order, from any thread. Only the first order sets `why`."""
        self.why = self.why or why

    def given(self, *, at_once: bool) -> Order | None:
        return None if self.why is None else Order("shutdown", self.why)


_heeded: ContextVar[tuple[Orders, ...]] = ContextVar("orders", default=())


@contextmanager
def heeding(orders: Orders) -> Generator[None]:
    """Runs in this context obey these orders, too."""
    token = _heeded.set((*_heeded.get(), orders))
    try:
        yield
    finally:
        _heeded.reset(token)


def order_given(*, at_once: bool = False) -> Order | None:
    """The order that the runs in this context must obey; None while they may go on."""
    given = (orders.given(at_once=at_once) for orders in _heeded.get())
    return next(filter(None, given), None)


def stop_ordered() -> str | None:
    """Why the runs in this context must stop; None while they may go on."""
    order = order_given()
    return None if order is None else order.why
