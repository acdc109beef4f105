from collections.abc import Iterator

import pytest

from nexus_control.store import DecisionStore
from nexus_control.tool import NexusControlTools
from tests.support.clock import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def tools(clock: FakeClock) -> Iterator[NexusControlTools]:
    with DecisionStore(clock=clock) as store:
        yield NexusControlTools(store)
