"""One process of a run: it makes the fixtures, or runs one workload, with the implementation that it is told.

    python -P -m benchmarks.job < job.json

The job comes by standard input, since a URL may hold a password; the outcome goes to a file.
"""

import sys
from pathlib import Path

from pydantic import BaseModel, ConfigDict

import nexus_control
from benchmarks.fixtures import make_fixtures
from benchmarks.results import Outcome
from benchmarks.sizes import Sizes
from benchmarks.workloads import WORKLOADS, Setting


class Job(BaseModel):
    """`workload` of None makes the fixtures. `checkout` is the folder that holds the package to measure."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    checkout: Path
    folder: Path
    fixtures: Path
    sizes: Sizes
    workload: str | None = None
    with_packages: bool = False
    postgresql: str | None = None


def outcome_path(folder: Path) -> Path:
    """Where the outcome of a job in this folder is."""
    return folder / "outcome.json"


def perform(job: Job) -> Outcome:
    where = Path(nexus_control.__file__).resolve()
    if not where.is_relative_to(job.checkout.resolve()):
        raise RuntimeError(f"the package was imported from {where}, and is to be that of {job.checkout}")
    if job.workload is None:
        make_fixtures(job.folder, job.fixtures, job.sizes, with_packages=job.with_packages)
        return Outcome()
    setting = Setting(folder=job.folder, fixtures=job.fixtures, sizes=job.sizes, postgresql=job.postgresql)
    return WORKLOADS[job.workload].run(setting)


if __name__ == "__main__":
    asked = Job.model_validate_json(sys.stdin.read())
    outcome_path(asked.folder).write_text(perform(asked).model_dump_json(), encoding="utf-8")
