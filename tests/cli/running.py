"""Runs the command line as its users do."""

import json
import os
import pty
import subprocess
import sys
import termios
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer
from typer.testing import CliRunner

from nexus_control.cli.commands import COMMANDS, target_of
from nexus_control.cli.main import app
from tests.support.places import REPOSITORY

LAUNCHER = [sys.executable, "-P", "-E", "-s", "-m", "nexus_control"]
"""How the commands begin that are printed; `-E` is left out where PYTHONPATH names the package, and `-s` where it
is installed in the user site."""


_QUESTION, _END_OF_INPUT = b"[y/N]: ", "\x04"


def environment(**changes: str) -> dict[str, str]:
    """Ours, but for what would choose width or colour."""
    kept = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "FORCE_COLOR")}
    return {**kept, "PYTHONPATH": str(REPOSITORY), "PYTHONWARNINGS": "error", **changes}


def nexus_control(
    *arguments: str, folder: Path | None = None, changes: Mapping[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    """One run of the command line in a process of its own, as from a pipe."""
    return subprocess.run(
        [sys.executable, "-m", "nexus_control", *arguments],
        cwd=folder,
        env=environment(**(changes or {})),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=240,
    )


def command_names(group: typer.Typer) -> list[tuple[str, ...]]:
    """Every command, as the words that call it."""
    if group is app:
        commands = [(name, target_of(name)) for name in COMMANDS]
    else:
        commands = [(each.name or "", each.callback) for each in group.registered_commands]
        commands = [(name or getattr(command, "__name__", ""), command) for name, command in commands]
    return [
        (name, *words)
        for name, command in commands
        for words in (command_names(command) if isinstance(command, typer.Typer) else [()])
    ]


def at_a_terminal(
    *arguments: str,
    typed: str = "",
    width: int = 100,
    folder: Path | None = None,
    changes: Mapping[str, str] | None = None,
    ahead: str = "",
    meanwhile: Callable[[], object] | None = None,
) -> "subprocess.CompletedProcess[str]":
    """One run with a terminal; everything it shows is in `stdout`. Each line of `typed` answers one question, and the
    end of the input answers any further one. `ahead` is typed before the command runs, and `meanwhile` happens once the
    first question is asked.
    """
    known = environment(COLUMNS=str(width), TERM="xterm-256color", LANG="C.UTF-8", **(changes or {}))
    words = [sys.executable, "-m", "nexus_control", *arguments]
    return with_a_terminal(words, known, folder=folder, typed=typed, ahead=ahead, meanwhile=meanwhile)


def with_a_terminal(
    words: list[str],
    known: Mapping[str, str],
    *,
    folder: Path | None = None,
    typed: str = "",
    ahead: str = "",
    meanwhile: Callable[[], object] | None = None,
    columns: int | None = None,
    echo: bool = True,
    settings: Mapping[str, Any] | None = None,
) -> "subprocess.CompletedProcess[str]":
    """Any program, as `at_a_terminal` runs ours, with an environment of its own. `columns` sizes the terminal.
    `settings` are more of what `subprocess` takes, such as a user. Without `echo` it does not show what is typed, which
    otherwise comes before or after what the program says next.
    """
    ours, theirs = pty.openpty()
    if not echo:
        attributes = termios.tcgetattr(theirs)
        attributes[3] &= ~termios.ECHO
        termios.tcsetattr(theirs, termios.TCSANOW, attributes)
    if columns is not None:
        termios.tcsetwinsize(theirs, (40, columns))
    os.write(ours, ahead.encode())
    process = subprocess.Popen(
        words,
        cwd=folder,
        env=known,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        close_fds=True,
        **(settings or {}),
    )
    os.close(theirs)
    shown, lines, asked = bytearray(), iter(typed.splitlines(keepends=True)), 0
    try:
        while part := os.read(ours, 65536):
            shown += part
            if shown.count(_QUESTION) == asked:
                continue
            asked += 1
            if meanwhile is not None and asked == 1:
                meanwhile()
            os.write(ours, next(lines, _END_OF_INPUT).encode())
    except OSError:  # on Linux, reading from a terminal that everybody has left fails
        pass
    os.close(ours)
    return subprocess.CompletedProcess(words, process.wait(240), shown.decode(), "")


@dataclass(frozen=True)
class Commands:
    """Commands on a database in a folder, in this process: as quick as a test wants them."""

    folder: Path
    database: str = "store.db"

    def run(self, *arguments: str, code: int = 0) -> str:
        """The standard output of a command that must end with this code."""
        given = ["--db", str(self.folder / self.database), *arguments]
        ran = CliRunner().invoke(app, given, prog_name="nexus-control")
        assert ran.exit_code == code, ran.output
        return ran.stdout

    def answer(self, *arguments: str, code: int = 0) -> dict[str, Any]:
        """The document that it prints with `--json`."""
        return json.loads(self.run(*arguments, "--json", code=code))
