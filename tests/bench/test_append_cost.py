"""Chain and log cost little: an append on a file writes at most two pages more with them than without.

How long it takes is measured by `python -m tests.bench.append_cost`: at most 15 % longer.
"""

from pathlib import Path

import pytest

from nexus_control import DecisionStore
from nexus_control.evidence.chain import GENESIS
from nexus_control.log.upkeep import find_faults
from tests.bench.append_cost import WORKLOADS, NullChainStore, append_events, measure

PAGE = 4096 + 24
"""A page in the write-ahead log, with its header."""
WRITTEN = Path("/proc/self/io")
APPENDS = 240


def bytes_written(store: DecisionStore, workload: str) -> int:
    """By so many appends, after some that make room for more."""
    steps = WORKLOADS[workload](store, 2 * APPENDS)
    for _ in range(APPENDS):
        next(steps)
    before = _written_so_far()
    for _ in range(APPENDS):
        next(steps)
    return _written_so_far() - before


def _written_so_far() -> int:
    (line,) = (line for line in WRITTEN.read_text().splitlines() if line.startswith("wchar:"))
    return int(line.split()[1])


@pytest.mark.skipif(not WRITTEN.exists(), reason="this system does not count what a process writes")
@pytest.mark.parametrize("workload", WORKLOADS)
def test_an_append_writes_at_most_two_pages_more_with_chain_and_log(workload: str, tmp_path: Path) -> None:
    stores = NullChainStore(tmp_path / "null.db"), DecisionStore(tmp_path / "whole.db")
    without, whole = (bytes_written(store, workload) for store in stores)
    assert 0 < whole - without <= 2 * PAGE * APPENDS
    for store in stores:
        store.close()


def test_the_benchmark_measures_both_stores(tmp_path: Path) -> None:
    cost = measure(tmp_path, "append_event", rounds=2, appends=6)
    assert [len(times) for times in (*cost.null, *cost.product)] == [6] * 4
    assert cost.all > 0
    assert cost.quick > 0


def test_the_null_chain_is_null_and_the_other_whole(tmp_path: Path) -> None:
    stores = NullChainStore(tmp_path / "null.db"), DecisionStore(tmp_path / "whole.db")
    for store in stores:
        assert len(list(append_events(store, 24))) == 24
    null, whole = stores
    assert find_faults(whole) == []
    with null.reading() as without, whole.reading() as session:
        assert {entry.leaf for _, entry in without.rows.log()} == {GENESIS}
        assert without.rows.subtrees() == {}
        assert len(session.rows.subtrees()) == 24 + 22
    for store in stores:
        store.close()
