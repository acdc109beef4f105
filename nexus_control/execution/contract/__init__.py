"""The contract of routers, as checks that a router's author runs in their own tests.

    import pytest
    from nexus_control import NexusControlTools
    from nexus_control.execution.contract import PROMISES, Promise, Trial

    @pytest.mark.parametrize("promise", PROMISES)
    def test_my_router_keeps_its_promise(promise: Promise) -> None:
        promise(Trial(make_router=MyRouter, make_tools=NexusControlTools, ...))

A promise is a function of a `Trial`. Its name is a sentence of the contract. It raises AssertionError, which says what
was seen and what to do, or `unittest.SkipTest` where the router does not offer what the promise is about; pytest shows
that as skipped. `check_router` needs no pytest. Both really run the router: give it a place where that harms nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias
from unittest import SkipTest

from nexus_control.execution.contract import governing, offering, running
from nexus_control.execution.contract.trial import Facade, Trial
from nexus_control.execution.spelling import described

__all__ = ["PROMISES", "Facade", "Promise", "Trial", "Verdict", "check_router"]

Promise: TypeAlias = Callable[[Trial], None]

PROMISES: Final[tuple[Promise, ...]] = (*running.PROMISES, *offering.PROMISES, *governing.PROMISES)
"""Every sentence of the contract: of `run` and the capabilities, of the optional protocols, of the governed flow."""

MAX_WORDS = 2000


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a promise. `words` is empty for one that was kept."""

    promise: str
    status: Literal["kept", "broken", "skipped"]
    words: str = ""


def check_router(trial: Trial) -> tuple[Verdict, ...]:
    """Put a router to every promise, and answer what became of each.

    >>> [verdict.words for verdict in check_router(trial) if verdict.status == "broken"]
    []

    An exception of the router, where none belongs, breaks the promise.
    """
    return tuple(_verdict(promise, trial) for promise in PROMISES)


def _verdict(promise: Promise, trial: Trial) -> Verdict:
    name = promise.__name__
    try:
        promise(trial)
    except SkipTest as skipped:
        return Verdict(name, "skipped", str(skipped))
    except AssertionError as broken:
        return Verdict(name, "broken", str(broken))
    except Exception as error:  # noqa: BLE001 - a router is foreign code
        return Verdict(name, "broken", described(error, MAX_WORDS))
    return Verdict(name, "kept")
