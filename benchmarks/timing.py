"""Timing in turns: contenders of one measurement run for a while each, again and again, so that noise falls on all."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from statistics import median
from time import perf_counter

from benchmarks.syncs import sync_count


@dataclass(slots=True)
class Timed:
    """The spans of all calls of one contender, in seconds, and its syncs where these are counted."""

    spans: list[float] = field(default_factory=list[float])
    seconds: float = 0.0
    syncs: int | None = None

    @property
    def per_second(self) -> float:
        return len(self.spans) / self.seconds

    @property
    def milliseconds(self) -> float:
        """Of the median call."""
        return 1000 * median(self.spans)

    @property
    def syncs_per_call(self) -> float | None:
        return None if self.syncs is None else self.syncs / len(self.spans)


def in_turns(
    contenders: Mapping[str, Callable[[], object]], seconds: float, *, turns: int = 4
) -> dict[str, Timed]:
    """Each contender gets its seconds in so many turns, and at least one call in each."""
    timed = {name: Timed() for name in contenders}
    for _ in range(turns):
        for name, call in contenders.items():
            _take_turn(call, timed[name], seconds / turns)
    return timed


def _take_turn(call: Callable[[], object], timed: Timed, seconds: float) -> None:
    syncs, begun = sync_count(), perf_counter()
    last, end = begun, begun + seconds
    while True:
        call()
        now = perf_counter()
        timed.spans.append(now - last)
        last = now
        if now >= end:
            break
    timed.seconds += last - begun
    if syncs is not None:
        timed.syncs = (timed.syncs or 0) + (sync_count() or 0) - syncs
