"""How much of a long test is run: a sample in `pytest`, which stays quick; all of it in `make joints`.

    @pytest.mark.sample(3)                        # above a table's parametrize: so many of its cases
    for number in range(number_of(300, few=20)):  # in a test: so many repetitions
    for position in sample_of(positions, 40):     # in a test: so many of these

A sample is the same in every run, and keeps its order. `make joints` sets TESTS_IN_FULL=1, and runs each test file with
such a mark or an import of this module. A case that is named on the command line, `test_x.py::test_y[case]`, is run.
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


def sample_of(cases: Iterable[T], few: int, seed: str = "") -> list[T]:
    """So many of the cases. Tests that give seeds of their own do not all take the same numbers."""
    whole = list(cases)
    if IN_FULL or few >= len(whole):
        return whole
    return [whole[number] for number in sorted(Random(seed or SEED).sample(range(len(whole)), few))]
