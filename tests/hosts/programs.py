"""The agent hosts that tests run: where their programs are, and in which environment they run, offline.

A host is the program of an npm package. It is found in the folder `node_modules/.bin` of the npm prefix that
NEXUS_CONTROL_TEST_HOSTS names, and without that variable on PATH:

    npm install --prefix PREFIX node@22 @anthropic-ai/claude-code@2.1.332 @openai/codex@0.169.0
    NEXUS_CONTROL_TEST_HOSTS=PREFIX make joints
"""

import os
import shutil
import signal
import subprocess
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

VARIABLE = "NEXUS_CONTROL_TEST_HOSTS"
LONGEST = 120
"""Seconds after which a host that has not ended is a failure. A run takes one or two."""
_NOWHERE = "http://127.0.0.1:9"
"""What a host asks of anything except the fake model goes to a port where nothing listens."""


def search_path() -> str:
    """The PATH of a host, and where its program is looked for."""
    prefix = os.environ.get(VARIABLE)
    return os.pathsep.join(
        [*([str(Path(prefix) / "node_modules" / ".bin")] if prefix else []), os.environ["PATH"]]
    )


def missing(program: str, package: str) -> str | None:
    """Why the host cannot be run here; None if it can."""
    if shutil.which(program, path=search_path()):
        return None
    return (
        f"{program} of the npm package {package} is neither on PATH nor in the prefix that {VARIABLE} names"
    )


@dataclass(frozen=True)
class Ended:
    """How a host ended, and what it printed."""

    code: int
    stdout: str
    stderr: str


@dataclass(frozen=True)
class Host:
    """One program in one folder, with a home of its own and nothing of this process's environment."""

    program: str
    folder: Path
    environment: Mapping[str, str]

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def work(self) -> Path:
        return self.folder / "work"

    def run(self, words: Sequence[str]) -> Ended:
        with self.running(words) as process:
            stdout, stderr = process.communicate(timeout=LONGEST)
        return Ended(process.returncode, stdout, stderr)

    @contextmanager
    def running(self, words: Sequence[str]) -> Generator["subprocess.Popen[str]"]:
        """The host in a process group of its own. The group is killed in the end, if it is still there."""
        for place in (self.home, self.work, self.folder / "tmp"):
            place.mkdir(parents=True, exist_ok=True)
        process = subprocess.Popen(
            [self.program, *words],
            cwd=self.work,
            env={
                "PATH": search_path(),
                "HOME": str(self.home),
                "TMPDIR": str(self.folder / "tmp"),
                "LANG": "C.UTF-8",
                "HTTP_PROXY": _NOWHERE,
                "HTTPS_PROXY": _NOWHERE,
                "NO_PROXY": "127.0.0.1",
                **self.environment,
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        with process:
            try:
                yield process
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
