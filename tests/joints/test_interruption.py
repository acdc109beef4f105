"""Exceptions of an embedder's signal handler, which may come between any two lines of a call."""

import gc
import sqlite3
from contextlib import closing
from pathlib import Path

from nexus_control.storage.sqlite_connection import connect
from nexus_control.storage.sqlite_file import SqliteFile
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


def test_who_only_reads_after_an_interrupted_write_keeps_no_other_process_from_writing(
    tmp_path: Path,
) -> None:
    path = tmp_path / "store.db"
    file = SqliteFile(path, _prepare)
    turn = file.transaction("BEGIN IMMEDIATE", writing=True)
    turn.__enter__().execute("INSERT INTO t VALUES (1)")
    turn.is_over = True  # the interruption came when leaving had just begun
    del turn
    gc.collect()
    with closing(connect(path.as_uri(), 0)) as other:
        with file.transaction("BEGIN", writing=False) as connection:
            assert connection.execute("SELECT count(*) FROM t").fetchone() == (0,)
        other.execute("BEGIN IMMEDIATE")
        other.execute("ROLLBACK")
    file.close()


def _prepare(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("CREATE TABLE IF NOT EXISTS t(x)")
