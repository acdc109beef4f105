"""Runs the demonstration: where it happens, what is shown of it, and how it ends."""

import json
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from nexus_control import __version__
from nexus_control.cli.demo.chapter import Chapter, NotAsExpectedError
from nexus_control.cli.demo.scratch import Scratch
from nexus_control.cli.demo.story import Story
from nexus_control.cli.frame import printing
from nexus_control.cli.screen import Mark, Screen, columns
from nexus_control.cli.streams import PrintingFailed
from nexus_control.errors import NexusControlError
from nexus_control.system.commands import command, shell_line

OK, FAILED, USAGE = 0, 1, 2

_KEPT = (
    ("audit-package.json", "the decision and its run, bound; the forged-*.json are the copies"),
    ("audit-package.dsse.json", "the signature over that file"),
    ("auditor/", "the public keys that an auditor knows: the log's, and that which signs packages"),
    ("run-bundle.json", "what the router recorded of the run"),
    ("decisions.db", "the store: every event of the request; .key and .checkpoint are its log's"),
    ("service/", "what was changed"),
    ("nexus-control.toml", "what a plan may call"),
)


def run_demo(keep: Path | None, *, as_json: bool) -> int:
    """The exit code. `keep` is a folder that is new or empty; without it nothing is left."""
    started = time.monotonic()
    if keep is not None and (problem := _cannot_use(keep)):
        return _refuse(problem, as_json=as_json)
    with printing(None if keep is None else f"What the demonstration made is in {keep}"):
        return _run(keep, started, as_json=as_json)


def _run(keep: Path | None, started: float, *, as_json: bool) -> int:
    screen = None if as_json else Screen(sys.stdout)
    chapters: list[dict[str, Any]] = []

    def show(chapter: Chapter) -> None:
        chapters.append({"step": len(chapters) + 1, "title": chapter.title, **chapter.facts})
        if screen is not None:
            _show(screen, chapter, len(chapters))

    with _place(keep) as folder:
        if screen is not None:
            screen.prose(
                f"nexus-control {__version__} rotates the keys of a made-up service, in a scratch folder."
            )
        problem = _play(folder, show)
    report: dict[str, Any] = {
        "ok": problem is None,
        "version": __version__,
        "folder": None if keep is None else str(folder),
        "seconds": round(time.monotonic() - started, 3),
        "steps": chapters,
    }
    if problem is not None:
        report["error"] = f"step {len(chapters) + 1}: {problem}"
    if screen is None:
        print(json.dumps(report, indent=2))
    else:
        _close(screen, report, keep)
    return OK if problem is None else FAILED


def _play(folder: Path, show: Callable[[Chapter], None]) -> str | None:
    """Every chapter, shown as it is told; what went wrong, if something did."""
    try:
        with Story(Scratch(folder)) as story:
            for chapter in story.tell():
                show(chapter)
    except PrintingFailed:
        raise
    except (NotAsExpectedError, NexusControlError, OSError) as error:
        return str(error)
    return None


def _cannot_use(keep: Path) -> str | None:
    """Why nothing can be kept there; otherwise the folder exists now."""
    try:
        keep.mkdir(parents=True, exist_ok=True)
        if any(keep.iterdir()):
            return f"{keep} is not empty: name a folder that is new or empty"
    except OSError as error:
        return f"{keep} cannot be used: {error.strerror}"
    return None


@contextmanager
def _place(keep: Path | None) -> Generator[Path]:
    if keep is not None:
        yield keep.absolute()
    else:
        with tempfile.TemporaryDirectory(prefix="nexus-control-demo-") as folder:
            yield Path(folder)


def _refuse(problem: str, *, as_json: bool) -> int:
    if as_json:
        with suppress(PrintingFailed):
            print(json.dumps({"ok": False, "version": __version__, "error": problem}, indent=2), flush=True)
    Screen(sys.stderr).prose(problem, Mark("nexus-control demo:", "bad"))
    return USAGE


def _show(screen: Screen, chapter: Chapter, number: int) -> None:
    screen.heading(f"{number}. {chapter.title}")
    screen.prose(chapter.intent)
    for grid in chapter.grids:
        screen.grid(grid)
    screen.blank()
    screen.prose(chapter.found, Mark("=>", "good"))


def _close(screen: Screen, report: dict[str, Any], keep: Path | None) -> None:
    if not report["ok"]:
        screen.heading("Not as expected")
        Screen(sys.stderr).prose(report["error"], Mark("nexus-control demo:", "bad"))
        return
    screen.heading(f"Done: {len(report['steps'])} steps in {report['seconds']:.1f} s")
    if keep is None:
        screen.prose("Nothing was left behind. To look at the files, the database and the package:")
        screen.verbatim(shell_line(command("demo", options={"--keep": Path("demo")})))
    else:
        screen.prose("Left for you in")
        screen.verbatim(report["folder"])
        screen.grid(columns("file|what it is", _KEPT))
        screen.blank()
        screen.prose("Verify the package, or a forged one, yourself:")
        screen.verbatim(_verifying(Path(report["folder"])))
    screen.prose("Your own adapter in ten minutes: QUICKSTART.md. What is guaranteed: ARCHITECTURE.md.")


def _verifying(folder: Path) -> str:
    options = {
        "--require": "L3",
        "--package-key": folder / "auditor" / "package.pub",
        "--log-key": (folder / "auditor" / "log.key").read_text().strip(),
    }
    return shell_line(command("verify", argument=folder / "audit-package.json", options=options))
