"""How much of a long test is run: a sample in `pytest`, which stays quick; all of it in `make joints`.

    @pytest.mark.parametrize("position", sample_of(range(len(SIGNED)), 40))
    for number in range(number_of(300, few=20)):

A sample is the same in every run, and keeps its order. `make joints` sets TESTS_IN_FULL=1, and runs each test file
that imports this module.
"""

import os
from collections.abc import Iterable
from random import Random
from typing import TypeVar

T = TypeVar("T")

IN_FULL = os.environ.get("TESTS_IN_FULL") == "1"
SEED = 20261123
ROUNDS = 300 if IN_FULL else 20
"""How often a race is run, where two features, processes or users meet."""


def number_of(whole: int, *, few: int) -> int:
    """How often something is repeated, or how many examples are drawn."""
    return whole if IN_FULL else few


def sample_of(cases: Iterable[T], few: int) -> list[T]:
    """The cases of a table, or so many of them."""
    whole = list(cases)
    return whole if IN_FULL else _sample(whole, few)


def _sample(whole: list[T], few: int) -> list[T]:
    chosen = Random(SEED).sample(range(len(whole)), min(few, len(whole)))
    return [whole[number] for number in sorted(chosen)]
