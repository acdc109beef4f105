"""The demonstration's run: it chooses the folder, shows each chapter, and gives the exit code."""

import json
import sys
import time
from contextlib import closing, nullcontext, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from nexus_control import __version__
from nexus_control.cli.demo.story import LOG_KEY, PACKAGE, PACKAGE_KEY, Chapter, NotAsExpectedError, tell
from nexus_control.cli.exit_codes import REFUSED, USAGE
from nexus_control.cli.frame import printing
from nexus_control.cli.screen import Mark, Screen, columns
from nexus_control.cli.streams import PrintingFailed
from nexus_control.errors import NexusControlError
from nexus_control.system.commands import command, shell_line
from nexus_control.usecases.answers import JsonObject

_NAME = Mark("nexus-control demo:", "bad")
_KEPT = (
    (PACKAGE, "the decision bound to its run; the forged copies are forged-*.json"),
    ("audit-package.dsse.json", "the signature over that file"),
    ("auditor/", "the public keys that an auditor knows: the log's, and the package signer's"),
    ("run-bundle.json", "what the router recorded of the run"),
    ("decisions.db", "the store: every event of the request; .key and .checkpoint are its log's"),
    ("service/", "what was changed"),
    ("nexus-control.toml", "what a plan may call"),
)


def run_demo(keep: Path | None, *, as_json: bool) -> int:
    """Run the demonstration and return the exit code. `keep` is a new or empty folder; with None no file is kept."""
    if keep is not None and (problem := _cannot_use(keep)):
        if as_json:
            with suppress(PrintingFailed):
                refusal = {"ok": False, "version": __version__, "error": problem}
                print(json.dumps(refusal, indent=2), flush=True)
        Screen(sys.stderr).prose(problem, _NAME)
        return USAGE
    place = TemporaryDirectory(prefix="nexus-control-demo-") if keep is None else nullcontext(keep.absolute())
    with printing(None if keep is None else f"What the demonstration made is in {keep}"), place as folder:
        return _run(Path(folder), keep is not None, None if as_json else Screen(sys.stdout))


def _cannot_use(keep: Path) -> str | None:
    """Why the files cannot be kept in this folder; None if they can, and then the folder was made."""
    try:
        keep.mkdir(parents=True, exist_ok=True)
        return f"{keep} is not empty: name a folder that is new or empty" if any(keep.iterdir()) else None
    except OSError as error:
        return f"{keep} cannot be used: {error.strerror}"


def _run(folder: Path, is_kept: bool, screen: Screen | None) -> int:
    started, steps, problem = time.monotonic(), list[JsonObject](), None
    if screen is not None:
        screen.prose(
            f"nexus-control {__version__} rotates the keys of a made-up service, in a scratch folder."
        )
    try:
        with closing(tell(folder)) as chapters:
            for number, chapter in enumerate(chapters, start=1):
                steps.append({"step": number, "title": chapter.title, **chapter.facts})
                if screen is not None:
                    _show(screen, number, chapter)
    except PrintingFailed:
        raise
    except (NotAsExpectedError, NexusControlError, OSError) as error:
        problem = f"step {len(steps) + 1}: {error}"
    seconds = time.monotonic() - started
    if screen is None:
        where = {"folder": str(folder) if is_kept else None, "seconds": round(seconds, 3)}
        report = {"ok": problem is None, "version": __version__, **where, "steps": steps}
        print(json.dumps(report if problem is None else report | {"error": problem}, indent=2))
    elif problem is None:
        screen.heading(f"Done: {len(steps)} steps in {seconds:.1f} s")
        _close(screen, folder if is_kept else None)
    else:
        screen.heading("Not as expected")
        Screen(sys.stderr).prose(problem, _NAME)
    return 0 if problem is None else REFUSED


def _show(screen: Screen, number: int, chapter: Chapter) -> None:
    screen.heading(f"{number}. {chapter.title}")
    screen.prose(chapter.intent)
    for grid in chapter.grids:
        screen.grid(grid)
    screen.blank()
    screen.prose(chapter.found, Mark("=>", "good"))


def _close(screen: Screen, kept: Path | None) -> None:
    if kept is None:
        screen.prose("Nothing was left behind. To look at the files, the database and the package:")
        screen.verbatim(shell_line(command("demo", options={"--keep": Path("demo")})))
    else:
        screen.prose("Left for you in")
        screen.verbatim(str(kept))
        screen.grid(columns("file|what it is", _KEPT))
        screen.blank()
        screen.prose("Verify the package, or a forged one, yourself:")
        known = {"--package-key": kept / PACKAGE_KEY, "--log-key": (kept / LOG_KEY).read_text().strip()}
        options = {"--require": "L3", **known}
        screen.verbatim(shell_line(command("verify", argument=kept / PACKAGE, options=options)))
    screen.prose("Your own adapter in five minutes: QUICKSTART.md. What is guaranteed: ARCHITECTURE.md.")
