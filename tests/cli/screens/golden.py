"""Golden screens: what a command shows at 80 and 120 columns on a terminal, and in a pipe, kept as files to look at.

    def two_requests(folder: Path) -> dict[str, str]:
        with at_work(folder) as (tools, clock):
            return {"first": data_of(tools.request("Rotate the keys", ALICE))["request_id"], ...}

    SCREENS = {
        "list": Screen("list", store=two_requests),
        "approve": Screen("approve", "@first", store=two_requests, typed="y\n"),
    }

    @each(SCREENS)
    def test_lists_look_as_they_did(shot: Shot) -> None:
        shot.check()

A module `test_*.py` in this folder names its screens in `SCREENS`. Each is compared with `golden/NAME.80.txt`,
`NAME.120.txt` and `NAME.piped.txt`. After a change on purpose, `make goldens` writes the files: look
at them in the diff. A missing file fails its test, and a file that no screen uses fails `test_golden_files.py`.

The command runs in a process of its own, in a fresh folder that is also its home, on `tests.cli.screens.machine`. There
it is 2026-03-02 14:03 in Berlin, a Monday, and the user is human:alice@studio. What still differs from run to run is
replaced in `_stable`, and nowhere else: the folder, how commands are started, and the sizes of a store's files, which
depend on SQLite. Colours are left out; trailing blanks are cut. A golden file begins with the command, and names what
went to standard error and an exit code other than 0.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Literal, TypeAlias

import pytest

from nexus_control import NexusControlTools
from nexus_control.store import DecisionStore
from tests.cli.running import environment, with_a_terminal
from tests.cli.screens.machine import Ids
from tests.support.clock import FakeClock

GOLDEN: Final = Path(__file__).parent / "golden"
IS_WRITING: Final = os.environ.get("NEXUS_CONTROL_GOLDEN") == "write"
NOW: Final = datetime(2026, 3, 2, 13, 3, tzinfo=UTC)
_ZONE: Final = "CET-1CEST,M3.5.0,M10.5.0/3"
_TEMPORARY: Final = str(Path("/tmp").resolve())
FOLDER: Final = "/home/alice/production-keys"
_LAUNCHER: Final = re.compile(rf"{re.escape(sys.executable)} -P (?:-E )?(?:-s )?-m nexus_control")
QUESTION: Final = "[y/N]: "
"""After it, what is typed is written into the golden file: the terminal does not echo it at a moment of its own."""
_SIZES: Final = re.compile(r"(?m)^(store\.db\S*) +(\d+)$")
_COLOURS: Final = re.compile(r"\x1b\[[\d;]*m")

Store: TypeAlias = Callable[[Path], Mapping[str, str]]
Medium: TypeAlias = Literal["80", "120", "piped"]
MEDIA: Final[tuple[Medium, ...]] = ("80", "120", "piped")


class Clock(FakeClock):
    """Runs up to `NOW`: give it `advance`, or a start of its own. Its ids look random."""

    def __init__(self, start: datetime = NOW - timedelta(days=1), seed: str = "store") -> None:
        super().__init__(start)
        self._names = Ids(seed)

    def new_id(self) -> str:
        return self._names.next()


@contextmanager
def at_work(
    folder: Path, groups: Mapping[str, Sequence[str]] | None = None
) -> Generator[tuple[NexusControlTools, Clock]]:
    """The folder's default database, made or opened, with a clock that begins a day before `NOW`."""
    clock = Clock()
    with DecisionStore(folder / "nexus-control.db", clock=clock, groups=groups) as store:
        yield NexusControlTools(store), clock


def nothing(_folder: Path) -> dict[str, str]:
    return {}


class Screen:
    """One command line. An argument `@name` stands for the value of this name in what `store` returned.

    `store` puts a database and files into the folder, once for all screens: each has a copy in a folder of its own.
    `typed` is typed when a question ends with [y/N]. `changes` are variables of the environment.
    """

    def __init__(
        self,
        *arguments: str,
        store: Store = nothing,
        typed: str = "",
        now: datetime = NOW,
        changes: Mapping[str, str] | None = None,
    ) -> None:
        self.arguments, self.store, self.typed, self.now = arguments, store, typed, now
        self.changes = changes or {}

    def shown(self, medium: Medium) -> str:
        """The text of a golden file."""
        folder = Path(tempfile.mkdtemp(prefix=_prefix(), dir=_TEMPORARY))
        try:
            named = {f"@{name}": value for name, value in _made(self.store, folder).items()}
            arguments = [named.get(each, each) for each in self.arguments]
            ran = _run(medium, self, arguments, folder)
        finally:
            shutil.rmtree(folder)
        parts = [f"$ nexus-control {' '.join(arguments)}\n", ran.stdout]
        if ran.stderr:
            parts += ["--- standard error\n", ran.stderr]
        if ran.returncode:
            parts.append(f"--- exit code {ran.returncode}\n")
        text = _stable("".join(parts), folder)
        return text if medium == "piped" else text.replace(QUESTION, f"{QUESTION}{self.typed}")


@dataclass(frozen=True)
class Shot:
    """A screen on a medium, and its golden file."""

    name: str
    screen: Screen
    medium: Medium

    @property
    def file(self) -> Path:
        return GOLDEN / f"{self.name}.{self.medium}.txt"

    def check(self) -> None:
        """The screen is as in its file, which is written instead by `make goldens`."""
        shown = self.screen.shown(self.medium)
        assert "Traceback (most recent call last)" not in shown  # nor is one kept
        if IS_WRITING:
            self.file.write_text(shown, encoding="utf-8")
            return
        assert self.file.exists(), f"{self.file.name} is missing: run `make goldens`, and look at it"
        assert shown == self.file.read_text(encoding="utf-8")


_MADE: Final[dict[Store, tuple[dict[str, bytes], Mapping[str, str]]]] = {}


def _made(store: Store, folder: Path) -> Mapping[str, str]:
    """Runs `store` for the first screen of it, and copies its files for the others."""
    if store not in _MADE:
        named = store(folder)
        files = {
            str(each.relative_to(folder)): each.read_bytes() for each in folder.rglob("*") if each.is_file()
        }
        _MADE[store] = files, named
    files, named = _MADE[store]
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return named


def shots(screens: Mapping[str, Screen]) -> list[Shot]:
    return [Shot(name, screen, medium) for name, screen in screens.items() for medium in MEDIA]


def each(screens: Mapping[str, Screen]) -> pytest.MarkDecorator:
    """Runs a test for every screen on every medium."""
    return pytest.mark.parametrize("shot", shots(screens), ids=lambda shot: f"{shot.name}.{shot.medium}")


def _prefix() -> str:
    """Makes every folder's path as long as the one that is written for it, so that lines break in the same places."""
    return "n" * (len(FOLDER) - len(_TEMPORARY) - len("/") - 8)


def _run(
    medium: Medium, screen: Screen, arguments: list[str], folder: Path
) -> "subprocess.CompletedProcess[str]":
    words = [sys.executable, "-m", "tests.cli.screens.machine", screen.now.isoformat(), *arguments]
    fixed = {"HOME": str(folder), "TZ": _ZONE, "TERM": "xterm-256color", "LANG": "C.UTF-8"}
    ours = environment(**fixed, **screen.changes)
    known = {
        name: value
        for name, value in ours.items()
        if name in screen.changes or not name.startswith(("NEXUS_CONTROL_", "XDG_"))
    }
    if medium != "piped":
        asked = (lambda: None) if screen.typed else None
        return with_a_terminal(
            words,
            known,
            folder=folder,
            typed=screen.typed,
            meanwhile=asked,
            columns=int(medium),
            echo=False,
        )
    return subprocess.run(
        words,
        cwd=folder,
        env=known,
        input=screen.typed,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=240,
    )


def _stable(text: str, folder: Path) -> str:
    text = _COLOURS.sub("", text).replace("\r\n", "\n").replace(str(folder), FOLDER)
    text = _LAUNCHER.sub("nexus-control", text)
    text = "".join(f"{line.rstrip()}\n" for line in text.splitlines())
    return _SIZES.sub(lambda found: found[0].replace(found[2], "#" * len(found[2])), text)
