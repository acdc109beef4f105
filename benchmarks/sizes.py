"""How much is measured: everything, or as little as shows that the answers are right."""

from pydantic import BaseModel, ConfigDict


class Sizes(BaseModel):
    """`seconds` are given to each contender of a measurement; `events` and `decisions` are the sizes of the plots."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seconds: float
    rounds: int
    events: tuple[int, ...]
    decisions: tuple[int, ...]
    threads: tuple[int, ...]
    processes: int
    races: int


FULL = Sizes(
    seconds=0.5,
    rounds=5,
    events=(10, 100, 1_000, 10_000),
    decisions=(100, 1_000, 10_000, 50_000),
    threads=(1, 2, 4, 8),
    processes=8,
    races=12,
)
SMOKE = Sizes(
    seconds=0.1,
    rounds=1,
    events=(10, 200),
    decisions=(100, 400),
    threads=(1, 8),
    processes=8,
    races=4,
)
