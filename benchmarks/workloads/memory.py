"""The most memory of a process that does one thing: `benchmarks.probes`."""

import os
import subprocess
import sys
from pathlib import Path

from benchmarks.fixtures import copy_of, names_of
from benchmarks.results import Outcome
from benchmarks.workloads import Setting

PAGES = 600


def run(setting: Setting) -> Outcome:
    events, decisions = setting.sizes.events[-1], setting.sizes.decisions[-1]
    listed = copy_of(setting.fixtures, f"decisions-{decisions}", setting.folder)
    exported = copy_of(setting.fixtures, "events", setting.folder)
    package = setting.fixtures / f"package-{events}.json"
    idle, _ = _probe("idle", "", "")
    listing, pages = _probe("listing", listed, str(decisions))
    exporting, exported_events = _probe("exporting", exported, names_of(setting.fixtures).executed[events])
    verifying, six = _probe("verifying", package, "")
    proving, checks = _probe("proving", package, "")
    right = pages == PAGES and exported_events == events and six >= 5 and checks > six
    return Outcome(
        metrics={
            "imported_mib": idle,
            "listing_mib": listing,
            "exporting_mib": exporting,
            "verifying_mib": verifying,
            "proving_mib": proving,
            "check_probes_did_it": float(right),
        }
    )


def _probe(name: str, first: Path | str, second: str) -> tuple[float, int]:
    """The most memory in MiB, and how much was done."""
    environment = {key: value for key, value in os.environ.items() if key != "LD_PRELOAD"}
    command = [sys.executable, "-P", "-m", "benchmarks.probes", name, str(first), second]
    ran = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    memory, done = ran.stdout.split()
    return float(memory), int(done)
