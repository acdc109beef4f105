"""What chain and log cost at an append: the product against itself with a null chain, on a file that is synced.

The null chain exists in this module alone. Its store writes the same entries and projections in the same transactions,
but every chain hash is one constant, and no subtree of the Merkle tree is computed, read or written. The two stores
take turns, append by append, so that whatever else the machine does falls on both.

Two figures are given, each the median over all rounds. *All* is the ratio of the two sums of time: what is paid now and
then is in it, and what else the machine does, too. *Quick* is the ratio of the two appends than which a quarter is
quicker: neither is in it.

    python -m tests.bench.append_cost [--folder FOLDER] [--rounds N] [--appends N]
"""

import argparse
import tempfile
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter_ns
from typing import TypeAlias

from nexus_control import DecisionStore, NexusControlTools
from nexus_control.evidence.chain import GENESIS
from nexus_control.evidence.formats.merkle import Read, Subtrees
from nexus_control.log import entries
from nexus_control.log.session import WriteSession
from nexus_control.storage import sqlite_rows
from nexus_control.storage.contract import ResultT
from nexus_control.values.actors import Actor

BOUND = 1.15
"""What an append with chain and log may cost, as a multiple of one without."""

ALICE = Actor(type="human", id="alice")
APPROVERS = [Actor(type="human", id=f"approver-{number}") for number in range(10)]
PLAN = '[{"step_id":"s1","intent":"rotate","call":{"tool":"keys","method":"rotate","args":{"service":"billing"}}}]'
CREATED: dict[str, object] = {
    "goal": "Rotate the signing key of the billing service",
    "plan": PLAN,
    "requested_mode": "apply",
    "labels": ["prod", "keys"],
}
POLICY: dict[str, object] = {
    "min_approvals": 2,
    "allowed_modes": ["dry_run", "apply"],
    "require_adapter_capabilities": [],
    "max_steps": 20,
    "labels": ["prod"],
}
GRANTED: dict[str, object] = {
    "expires_at": None,
    "comment": "I have read the plan, and who is on call knows.",
}

Steps: TypeAlias = Iterator[object]
"""Appends, one a step. What they need was made before the first."""


class NullChainStore(DecisionStore):
    """A store without chain and log."""

    def write(self, work: Callable[[WriteSession], ResultT]) -> ResultT:
        with _null_chain():
            return super().write(work)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Nanoseconds of each append of each round, without and with chain and log."""

    null: list[list[int]]
    product: list[list[int]]

    @property
    def all(self) -> float:
        return self._ratio(sum)

    @property
    def quick(self) -> float:
        return self._ratio(_quartile)

    def _ratio(self, figure: Callable[[list[int]], float]) -> float:
        return median(figure(b) / figure(a) for a, b in zip(self.null, self.product, strict=True))


def _quartile(times: list[int]) -> float:
    return quantiles(times, n=4)[0]


def append_events(store: DecisionStore, appends: int) -> Steps:
    """`DecisionStore.append_event`: decisions of twelve events, one after the other."""
    drafts = [
        ("DECISION_CREATED", ALICE, CREATED),
        ("POLICY_ATTACHED", ALICE, POLICY),
        *(("APPROVAL_GRANTED", approver, GRANTED) for approver in APPROVERS),
    ]
    decisions = [store.create_decision() for _ in range(-(-appends // len(drafts)))]
    return (store.append_event(decision, *draft) for decision in decisions for draft in drafts)


def approve(store: DecisionStore, appends: int) -> Steps:
    """`NexusControlTools.approve`: ten people, one after the other, approve what was requested."""
    tools = NexusControlTools(store=store)
    requests = [
        tools.request(goal="Rotate the keys", actor=ALICE, mode="apply", plan=PLAN, min_approvals=3)
        for _ in range(-(-appends // len(APPROVERS)))
    ]
    assert all(request.success for request in requests)
    return (
        tools.approve(request.data["request_id"], actor=approver, comment="I have read the plan.")
        for request in requests
        for approver in APPROVERS
    )


WORKLOADS: dict[str, Callable[[DecisionStore, int], Steps]] = {
    "append_event": append_events,
    "approve": approve,
}


def measure(folder: Path, workload: str, *, rounds: int, appends: int) -> Cost:
    """Take turns on two new files in `folder`."""
    stores = (NullChainStore(folder / f"{workload}-null.db"), DecisionStore(folder / f"{workload}.db"))
    null, product = (WORKLOADS[workload](store, appends * (rounds + 1)) for store in stores)
    _take_turns(null, product, appends)  # the first round loads what is loaded late
    times = [_take_turns(null, product, appends) for _ in range(rounds)]
    for store in stores:
        store.close()
    return Cost(null=[without for without, _ in times], product=[whole for _, whole in times])


def _take_turns(null: Steps, product: Steps, appends: int) -> tuple[list[int], list[int]]:
    """Nanoseconds of each append of each."""
    spent: dict[str, list[int]] = {"null": [], "product": []}
    turns = cycle(("null", "product", "product", "null"))
    for _ in range(2 * appends):
        turn = next(turns)
        start = perf_counter_ns()
        next(null if turn == "null" else product)
        end = perf_counter_ns()
        spent[turn].append(end - start)
    return spent["null"], spent["product"]


@contextmanager
def _null_chain() -> Generator[None]:
    written, computed, grown = entries.event_leaf_data, entries.leaf_hash, sqlite_rows.grow
    entries.event_leaf_data, entries.leaf_hash, sqlite_rows.grow = _no_data, _constant_leaf, _no_tree
    try:
        yield
    finally:
        entries.event_leaf_data, entries.leaf_hash, sqlite_rows.grow = written, computed, grown


def _no_data(**_: object) -> bytes:
    return b""


def _constant_leaf(leaf_data: bytes) -> str:
    return GENESIS


def _no_tree(size: int, leaves: Iterable[bytes], read: Read) -> Subtrees:
    return {}


def main() -> None:
    """Measure every workload and print a table."""
    parser = argparse.ArgumentParser(description="What chain and log cost at an append, on a synced file.")
    parser.add_argument("--folder", type=Path, default=Path(), help="on the disk to measure; default: here")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--appends", type=int, default=500, help="of each store in a round")
    given = parser.parse_args()
    print(f"{'':14}{'null':>12}{'whole':>12}{'all':>9}{'quick':>9}    (at most {BOUND})")
    for workload in WORKLOADS:
        with tempfile.TemporaryDirectory(dir=given.folder, prefix="append-cost-") as folder:
            cost = measure(Path(folder), workload, rounds=given.rounds, appends=given.appends)
        null, whole = (median(map(median, times)) / 1000 for times in (cost.null, cost.product))
        print(f"{workload:14}{null:9.0f} µs{whole:9.0f} µs{cost.all:9.3f}{cost.quick:9.3f}")


if __name__ == "__main__":
    main()
