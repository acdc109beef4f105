"""Runs one command under a supervisor: bounded in time and output, and nothing of it outlives us.

`supervisor.py` says how the two sides talk. Closing the lifeline is the one way to kill the command; should the
supervisor itself have been killed, its report says whose process group is left.

Where an order to stop may come (`stopping`), it is looked for every tenth of a second.
"""

import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Literal, TypeAlias

from nexus_control.execution.stopping import heeded_stop, stop_ordered

Ending: TypeAlias = Literal["exited", "not_started", "timed_out", "output_limit", "stopped", "lost"]

_SUPERVISOR = str(Path(__file__).with_name("supervisor.py"))
_DRAIN_SECONDS = 0.5
_KILL_SECONDS = 5.0
_LOOK_SECONDS = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a command ended. `exit_code` is there when it exited; negative, it is the signal that ended it.

    `stopped`: it was killed because an order to stop came; `detail` says why. `lost`: the supervisor was killed, so
    nobody saw the end. Output beyond the limit is cut off.
    """

    ending: Ending
    exit_code: int | None = None
    stdout: bytes = b""
    stderr: bytes = b""
    detail: str = ""


@dataclass(slots=True)
class _Received:
    stdout: bytearray = field(default_factory=bytearray)
    stderr: bytearray = field(default_factory=bytearray)
    report: bytearray = field(default_factory=bytearray)

    def exceed(self, max_output_bytes: int) -> bool:
        return len(self.stdout) + len(self.stderr) > max_output_bytes

    def said(self, word: bytes) -> int | None:
        """The number that the supervisor reported with this word."""
        for line in bytes(self.report).splitlines():
            if line.startswith(word + b" "):
                return int(line.rpartition(b" ")[2])
        return None


def run_supervised(
    argv: Sequence[str],
    *,
    cwd: Path,
    environment: Mapping[str, str],
    timeout_seconds: float,
    max_output_bytes: int,
) -> Ended:
    """Runs `argv` to its end, or kills it. Its environment is exactly `environment`, which is not empty."""
    deadline = time.monotonic() + timeout_seconds
    report, report_end = os.pipe()
    with os.fdopen(report, "rb", buffering=0) as reports:
        try:
            supervisor = _start(argv, cwd, report_end)
        except OSError as error:
            return Ended(ending="not_started", detail=error.strerror or type(error).__name__)
        finally:
            os.close(report_end)
        received = _Received()
        with supervisor:
            try:
                cut = _converse(supervisor, reports, environment, received, deadline, max_output_bytes)
            finally:
                _end(supervisor, reports, received)
    return _ended(cut, received, max_output_bytes)


def _start(argv: Sequence[str], cwd: Path, report_end: int) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-I", "-S", "-X", "utf8", _SUPERVISOR, str(os.getpid()), str(report_end), *argv],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
        cwd=cwd,
        env={},
        pass_fds=(report_end,),
        start_new_session=True,
    )


def _converse(
    supervisor: "subprocess.Popen[bytes]",
    reports: IO[bytes],
    environment: Mapping[str, str],
    received: _Received,
    deadline: float,
    max_output_bytes: int,
) -> Ending:
    """Collects output and report until both end, or a limit is reached."""
    lifeline, stdout, stderr = _pipes(supervisor)
    block = b"".join(os.fsencode(f"{name}={value}") + b"\0" for name, value in environment.items())
    with suppress(BrokenPipeError):
        lifeline.write(block + b"\0")
    with selectors.DefaultSelector() as selector:
        for pipe, buffer in (
            (stdout, received.stdout),
            (stderr, received.stderr),
            (reports, received.report),
        ):
            selector.register(pipe, selectors.EVENT_READ, buffer)
        over, patience = False, float("inf") if heeded_stop() is None else _LOOK_SECONDS
        while selector.get_map():
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                return "exited" if over else "timed_out"
            if stop_ordered() and not over:
                return "stopped"
            for key, _ in selector.select(min(remaining, patience)):
                part = os.read(key.fd, 65536)
                key.data.extend(part)
                if not part:
                    selector.unregister(key.fileobj)
                if not part and key.fileobj is reports:
                    # What left the session may hold the output open for ever; what was written is there by now.
                    over, deadline = True, time.monotonic() + _DRAIN_SECONDS
                if received.exceed(max_output_bytes):
                    return "output_limit"
    return "exited"


def _end(supervisor: "subprocess.Popen[bytes]", reports: IO[bytes], received: _Received) -> None:
    """Lets go of the lifeline and waits until the supervisor has killed what was left; kills it ourselves if not."""
    lifeline, _, _ = _pipes(supervisor)
    lifeline.close()
    try:
        supervisor.wait(_KILL_SECONDS)
    except subprocess.TimeoutExpired:
        supervisor.kill()
        supervisor.wait()
    os.set_blocking(reports.fileno(), False)
    received.report.extend(reports.read() or b"")
    child = received.said(b"started")
    if child is not None and received.said(b"exit") is None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(child, signal.SIGKILL)


def _ended(cut: Ending, received: _Received, max_output_bytes: int) -> Ended:
    stdout = bytes(received.stdout[:max_output_bytes])
    stderr = bytes(received.stderr[:max_output_bytes])
    errno, exit_code = received.said(b"error"), received.said(b"exit")
    if errno is not None:
        return Ended(ending="not_started", detail=os.strerror(errno))
    if cut == "exited" and exit_code is None:
        return Ended(ending="lost", stdout=stdout, stderr=stderr)
    return Ended(
        ending=cut,
        exit_code=exit_code if cut == "exited" else None,
        stdout=stdout,
        stderr=stderr,
        detail=(stop_ordered() or "") if cut == "stopped" else "",
    )


def _pipes(supervisor: "subprocess.Popen[bytes]") -> tuple[IO[bytes], IO[bytes], IO[bytes]]:
    if supervisor.stdin is None or supervisor.stdout is None or supervisor.stderr is None:
        raise RuntimeError("the supervisor was started without its pipes")
    return supervisor.stdin, supervisor.stdout, supervisor.stderr
