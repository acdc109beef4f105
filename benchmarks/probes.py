"""A process that does one thing and prints the most memory that it had, in MiB, and how much it did.

    python -m benchmarks.probes listing FOLDER/store.db 50000

Its imports are few, so that the memory is of the package and of the work.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import nexus_control


def idle(_: str, __: str) -> int:
    return 0


def listing(database: str, decisions: str) -> int:
    """Six pages of 100, from the first to the last."""
    with nexus_control.DecisionStore(database) as store:
        tools, last = nexus_control.NexusControlTools(store), int(decisions) - 100
        return sum(tools.list_requests(limit=100, offset=last * part // 5).data["count"] for part in range(6))


def exporting(database: str, decision_id: str) -> int:
    with nexus_control.DecisionStore(database) as store:
        exported = nexus_control.NexusControlTools(store).export_bundle(decision_id, render=False).data
    return len(exported["bundle"]["events"])


def verifying(package: str, _: str) -> int:
    """A package from its file: the six checks."""
    return len(nexus_control.verify_audit_package(Path(package).read_text(encoding="utf-8")).checks)


def proving(package: str, _: str) -> int:
    """A package from its file: every check of its evidence."""
    return len(nexus_control.verify_evidence(Path(package).read_text(encoding="utf-8")).checks)


PROBES: dict[str, Callable[[str, str], int]] = {
    probe.__name__: probe for probe in (idle, listing, exporting, verifying, proving)
}


def most_memory() -> float:
    """Of this process since it began this program, in MiB, as Linux tells it."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    (line,) = (line for line in lines if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    name, first, second = sys.argv[1:]
    done = PROBES[name](first, second)
    print(most_memory(), done)
