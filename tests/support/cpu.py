"""Time of a processor: unlike the clock on the wall, it does not grow when others keep the machine busy."""

import resource
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(slots=True)
class Spent:
    seconds: float = 0.0


@contextmanager
def by_children() -> Generator[Spent]:
    """What processes that were started and ended in the block spent, with those that they waited for."""
    spent, before = Spent(), _so_far()
    yield spent
    spent.seconds = _so_far() - before


def _so_far() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
