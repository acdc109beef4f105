"""A shell command that says when it runs, and waits until the test lets it go on.

with gate(folder) as gate:
    model = [[Call("toolu_1", "Bash", {"command": gate.command})]]
    ...
    gate.reached()                                  # the command runs now
    os.kill(process.pid, signal.SIGKILL)
    gate.open()                                     # it may end, if it still lives
"""

import os
import select
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.hosts.programs import LONGEST


@dataclass(frozen=True)
class Gate:
    """Each run adds a line to the file `runs`. The test holds both ends of each pipe: opening one never waits."""

    folder: Path
    pipes: dict[str, int]

    @property
    def command(self) -> str:
        runs, started, go, over = (self.folder / name for name in ("runs", "started", "go", "over"))
        return f"echo run >> {runs}; echo > {started}; read -r line < {go}; echo > {over}"

    @property
    def runs(self) -> int:
        return effects(self.folder / "runs")

    def reached(self) -> None:
        """Returns when the command runs."""
        self._wait("started")

    def open(self) -> None:
        """Let one run go on."""
        os.write(self.pipes["go"], b"\n")

    def ended(self) -> None:
        """Returns when a run came to its end."""
        self._wait("over")

    def _wait(self, name: str) -> None:
        pipe = self.pipes[name]
        assert select.select([pipe], [], [], LONGEST)[0], f"the command is not {name}"
        os.read(pipe, 1)


def effects(file: Path) -> int:
    """How many lines the runs of a command added to a file."""
    with suppress(FileNotFoundError):
        return len(file.read_text(encoding="utf-8").splitlines())
    return 0


@contextmanager
def gate(folder: Path) -> Generator[Gate]:
    folder.mkdir()
    pipes: dict[str, int] = {}
    try:
        for name in ("started", "go", "over"):
            os.mkfifo(folder / name)
            pipes[name] = os.open(folder / name, os.O_RDWR)
        yield Gate(folder, pipes)
    finally:
        for pipe in pipes.values():
            os.close(pipe)
