import os
import signal
from collections import defaultdict
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.support import postgres
from tests.support.amounts import sample_of

# No deadline and no complaint about slowness: the tests share two cores. In CI the examples are the same each time.
settings.register_profile("local", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("local"), derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")

# Programs that are started inherit what is ignored, as after `nohup` or in the background of a script.
for number in (signal.SIGHUP, signal.SIGQUIT):
    signal.signal(number, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Of each test with the mark `sample(few)`, keeps so many cases."""
    if any("[" in argument for argument in config.args):
        return
    cases: defaultdict[str, list[pytest.Item]] = defaultdict(list)
    for item in items:
        if item.get_closest_marker("sample"):
            cases[item.nodeid.partition("[")[0]].append(item)
    dropped: set[str] = set()
    for test, each in cases.items():
        mark = each[0].get_closest_marker("sample")
        assert mark is not None
        kept = {item.nodeid for item in sample_of(each, mark.args[0], test)}
        dropped |= {item.nodeid for item in each} - kept
    if dropped:
        config.hook.pytest_deselected(items=[item for item in items if item.nodeid in dropped])
        items[:] = [item for item in items if item.nodeid not in dropped]


@pytest.fixture(scope="session")
def cluster() -> Iterator[postgres.Cluster]:
    """A private PostgreSQL server of this process; the test is skipped where there can be none."""
    yield from postgres.started()


@pytest.fixture
def postgres_url(cluster: postgres.Cluster) -> Iterator[str]:
    """The URL of a store that is not there yet."""
    schema = cluster.new_schema()
    yield cluster.url(schema)
    cluster.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE")
