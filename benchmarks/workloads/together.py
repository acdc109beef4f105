"""Doing something in several threads or processes that begin at the same moment."""

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier as ProcessBarrier
from threading import Barrier
from typing import Generic, TypeVar

T = TypeVar("T")
A = TypeVar("A")
PATIENCE = 60.0
_gate: ProcessBarrier | None = None


def in_threads(threads: int, prepare: Callable[[int], Callable[[], T]]) -> list[T]:
    """Each thread prepares by its number; when all have, each does what it prepared."""
    barrier = Barrier(threads)

    def one(number: int) -> T:
        work = prepare(number)
        barrier.wait(PATIENCE)
        return work()

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(one, range(threads)))


class Processes(Generic[A]):
    """Forked processes, one for each argument. Make them before this process opens a store."""

    def __init__(self, processes: int) -> None:
        context = get_context("fork")
        self._pool = ProcessPoolExecutor(processes, context, _remember, (context.Barrier(processes),))

    def __call__(self, work: Callable[[A], T], arguments: list[A]) -> list[T]:
        """`work` calls `begin_together` when it is ready. It is a function of a module."""
        return list(self._pool.map(work, arguments, timeout=PATIENCE))

    def close(self) -> None:
        self._pool.shutdown()


def begin_together() -> None:
    """Wait, in one of several processes, until all are here."""
    if _gate is None:
        raise RuntimeError("this process is not one of several")
    _gate.wait(PATIENCE)


def _remember(gate: ProcessBarrier) -> None:
    global _gate
    _gate = gate
