"""`python -m benchmarks`: measure, judge the answers, write the result or the page."""

import argparse
import signal
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from benchmarks.cluster import private_cluster, programs
from benchmarks.report.page import PAGE, why_no_page, write_page
from benchmarks.report.table import table
from benchmarks.results import Results
from benchmarks.running import Run
from benchmarks.sizes import FULL, SMOKE, Sizes
from benchmarks.verdict import checks_made, complaints
from benchmarks.workloads import WORKLOADS


def main(arguments: list[str] | None = None) -> int:
    """0: the answers were right; 1: they were not, a process failed, or the page may not show this result."""
    given = _parser().parse_args(arguments)
    results = _read(given.show or given.report) or _measured(given)
    if given.out is not None:
        given.out.write_text(results.model_dump_json(indent=1) + "\n", encoding="utf-8")
    print(table(results))
    wrong = complaints(results)
    for line in wrong:
        print(f"wrong: {line}", file=sys.stderr)
    if not wrong:
        print(f"\nAll answers are right: {checks_made(results)} checks.")
    if given.report is None or wrong:
        return 1 if wrong else 0
    if problem := why_no_page(results):
        print(f"{PAGE.name} is not written: {problem}", file=sys.stderr)
        return 1
    for path in write_page(results):
        print(f"written: {path}", file=sys.stderr)
    return 0


def _end(number: int, _: FrameType | None) -> None:
    """An exception, so that the server is stopped and the folder removed."""
    sys.exit(128 + number)


def _read(path: Path | None) -> Results | None:
    return None if path is None else Results.model_validate_json(path.read_bytes())


def _measured(given: argparse.Namespace) -> Results:
    sizes: Sizes = SMOKE if given.smoke else FULL
    if given.rounds is not None:
        sizes = sizes.model_copy(update={"rounds": given.rounds})
    workloads: list[str] = given.workloads.split(",") if given.workloads else list(WORKLOADS)
    with (
        tempfile.TemporaryDirectory(dir=given.folder, prefix="benchmarks-") as folder,
        _server(given.postgresql, Path(folder), needed="postgresql" in workloads) as server,
    ):
        against = given.against.resolve() if given.against else None
        return Run(
            folder=Path(folder), sizes=sizes, workloads=workloads, against=against, postgresql=server
        ).results()


@contextmanager
def _server(url: str | None, folder: Path, *, needed: bool) -> Generator[str | None]:
    """The server that was given, one of our own, or None."""
    binaries = programs()
    if not needed or url is not None or binaries is None:
        yield url
        return
    folder.chmod(0o711)  # the server's own user passes through
    with private_cluster(binaries, folder / "postgresql") as own:
        yield own


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="What the store costs, beside what this machine can do."
    )
    add = parser.add_argument
    add("--smoke", action="store_true", help="small sizes, one round: only whether the answers are right")
    add("--out", type=Path, metavar="FILE", help="write every round's figures as JSON")
    add("--show", type=Path, metavar="FILE", help="measure nothing: print and judge this result")
    add("--report", type=Path, metavar="FILE", help="the same, and write docs/performance.md and its plots")
    add("--against", type=Path, metavar="FOLDER", help="another checkout, measured in the same rounds")
    add("--workloads", metavar="NAMES", help=f"some of: {','.join(WORKLOADS)}")
    add("--rounds", type=int, help=f"default: {FULL.rounds}; with --smoke {SMOKE.rounds}")
    add("--folder", type=Path, default=Path("/var/tmp"), help="on the disk to measure; default: %(default)s")
    add("--postgresql", metavar="URL", help="a server; default: a private one, where its programs are")
    return parser


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _end)
    sys.exit(main())
