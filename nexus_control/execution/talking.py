"""Runs one command under a supervisor, and gives its pipes to the caller, who talks with it.

`supervised` says what the supervisor promises: no process of the command's session outlives the block or this process.
"""

import os
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from nexus_control.execution.supervision import (
    Received,
    Supervisor,
    can_be_read,
    end_supervisor,
    ended_of,
    is_stopped,
    spelled,
)


class Talk:
    """A command that runs, with its pipes. `stdin`, `stdout` and `stderr` are descriptors of ours that do not block."""

    def __init__(self, supervisor: Supervisor, pipes: Sequence[IO[bytes]], received: Received) -> None:
        self._supervisor, self._input, self._received = supervisor, pipes[0], received
        for pipe in pipes:
            os.set_blocking(pipe.fileno(), False)
        self.stdin, self.stdout, self.stderr = (pipe.fileno() for pipe in pipes)

    @property
    def is_over(self) -> bool:
        """Whether the command ended, could not be started, or lost its supervisor."""
        self._read_report(0)
        process = self._supervisor.process
        return self._received.said(b"exit") is not None or process.poll() is not None or is_stopped(process)

    def kill(self) -> None:
        """Kills the command and all processes of its session."""
        end_supervisor(self._supervisor, self._received)

    def end(self, patience_seconds: float) -> str:
        """Ends its input, and waits that long for its end. Says how it ended by itself; "" when it did not."""
        self._input.close()
        self._read_report(patience_seconds)
        if self._received.said(b"exit") is None:
            return ""
        ended = ended_of("exited", self._received)
        if ended.ending == "not_started":
            return f"could not be started: {ended.detail}"
        code = ended.exit_code
        if code is None:
            return ""
        return f"exited with code {code}" if code >= 0 else f"was ended by signal {-code}"

    def _read_report(self, seconds: float) -> None:
        """Reads the report until it tells of the end, for at most so long."""
        deadline, reports = time.monotonic() + seconds, self._supervisor.reports
        while self._received.said(b"exit") is None and not reports.closed:
            if not can_be_read(reports, deadline - time.monotonic()):
                return
            part = os.read(reports.fileno(), 65536)
            if not part:
                return
            self._received.take("report", part)


@contextmanager
def talking(argv: Sequence[str], *, cwd: Path, environment: Mapping[str, str]) -> Generator[Talk]:
    """In the block `argv` runs, with the pipes of the `Talk`; at its end all processes of its session are killed.

    Its environment is exactly `environment`. Raises OSError where it cannot be started.
    """
    command, received = spelled(argv, cwd, environment), Received(0)
    with ExitStack() as opened, ExitStack() as theirs:
        ours: list[IO[bytes]] = []
        ends: list[int] = []
        for name in ("stdin", "stdout", "stderr"):
            readable, writable = os.pipe()
            end, our = (readable, writable) if name == "stdin" else (writable, readable)
            ends.append(end)
            theirs.callback(os.close, end)
            ours.append(opened.enter_context(os.fdopen(our, "wb" if name == "stdin" else "rb", buffering=0)))
        supervisor = Supervisor()
        opened.callback(end_supervisor, supervisor, received)
        supervisor.begin(command, ends)
        theirs.close()
        yield Talk(supervisor, ours, received)
