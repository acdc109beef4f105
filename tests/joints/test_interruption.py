"""Exceptions of an embedder's signal handler, which may come between any two lines of a call."""

from pathlib import Path

from tests.joints.office import require_whole, run_plainly
from tests.support.amounts import ROUNDS

_INTERRUPTED = """
import random, signal, subprocess, sys
from nexus_control import DecisionStore, NexusControlTools
alice = {"type": "human", "id": "alice"}
tools = NexusControlTools(DecisionStore(sys.argv[1], busy_timeout=1))
def interrupt(*_):
    raise KeyboardInterrupt
signal.signal(signal.SIGALRM, interrupt)
chance = random.Random(int(sys.argv[3]))
acknowledged = [tools.request("Rotate", alice).data["request_id"]]
interrupted = 0
while interrupted < int(sys.argv[2]):
    try:
        signal.setitimer(signal.ITIMER_REAL, chance.uniform(0.00002, 0.0015))
        result = tools.request("Rotate", alice)
        tools.status(acknowledged[0])
        signal.setitimer(signal.ITIMER_REAL, 0)
    except KeyboardInterrupt:
        interrupted += 1
    signal.setitimer(signal.ITIMER_REAL, 0)
    assert tools.status(acknowledged[0]).success, interrupted
    acknowledged.append(tools.request("Rotate", alice).data["request_id"])
other = "import sys; from nexus_control import *; s = DecisionStore(sys.argv[1], busy_timeout=2); s.create_decision()"
subprocess.run([sys.executable, "-c", other, sys.argv[1]], check=True)
tools.store.close()
print(*acknowledged)
"""


def test_a_store_goes_on_after_any_interruption_of_a_call(tmp_path: Path) -> None:
    for seed in range(3):
        path = tmp_path / f"{seed}.db"
        acknowledged = run_plainly(_INTERRUPTED, path, ROUNDS * 10, seed).split()
        require_whole(path, *acknowledged)
