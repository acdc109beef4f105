"""`python -m tests.soak --seconds 600`: writers that are killed all the time, and afterwards everything agrees.

Prints a line every few seconds and a table at the end. Exits 1 where anything disagrees; then the folder is kept.
"""

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from tests.concurrency.crashing import in_nursery
from tests.soak.conducting import soak
from tests.soak.places import PLACES

SEED = 20261126


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--storage", choices=list(PLACES), action="append")
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--writers", type=int, default=8)
    asked = parser.parse_args()
    for storage in asked.storage or list(PLACES):
        folder = Path(tempfile.mkdtemp(prefix=f"soak-{storage}-"))
        try:
            in_nursery(soak, storage, folder, asked.seconds, asked.rounds, asked.seed, asked.writers)
        except AssertionError:
            sys.exit(f"What was written down is in {folder}")
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
