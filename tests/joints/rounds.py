"""How often a race is run: a few rounds in `pytest`, so that it stays quick; 300 in `make joints`."""

import os

ROUNDS = int(os.environ.get("JOINTS_ROUNDS", "20"))
