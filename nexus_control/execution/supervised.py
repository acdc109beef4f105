"""Runs one command under a supervisor: it ends at its time limit, and no process of its session outlives this process.

`supervisor.py` says how the two sides talk. We kill the command by closing the lifeline. Because a command can kill or
stop its supervisor, we look every tenth of a second whether that happened, and then kill the session that the report
names. An order to stop (`stopping`) is looked for equally often.

Output is kept up to a limit and read beyond it, so a command that prints too much still runs to its end.

A command can also be talked with (`talking`): its pipes are then the caller's, and the lifeline is one of its own.
"""

import os
import selectors
import subprocess
import sys
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Literal, TypeAlias

from nexus_control.execution.stopping import stop_ordered
from nexus_control.execution.supervisor import kill_session

Ending: TypeAlias = Literal["exited", "not_started", "timed_out", "stopped", "lost"]

_SUPERVISOR = str(Path(__file__).with_name("supervisor.py"))
_DRAIN_SECONDS = 0.5
_KILL_SECONDS = 5.0
_LOOK_SECONDS = 0.1
_LAST_WORDS = 8192


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a command ended. `exit_code` is there when it exited; a negative code is the signal that ended it.

    `ending` is `stopped` when an order to stop came and the command was killed; `detail` says why the order came. It
    is `lost` when the supervisor was killed or stopped, so nobody saw the end; the command was then killed.

    `stdout` and `stderr` together hold the first `max_output_bytes` of the output, and `last_words` the end of standard
    error. `cut` names the streams that had more. `left_behind` counts the processes that the command left in its
    session when it exited; they were killed then.
    """

    ending: Ending
    exit_code: int | None = None
    stdout: bytes = b""
    stderr: bytes = b""
    last_words: bytes = b""
    cut: frozenset[str] = frozenset()
    left_behind: int = 0
    detail: str = ""


@dataclass(slots=True)
class _Received:
    """The output and reports so far. Output beyond the limit is dropped."""

    room: int
    stdout: bytearray = field(default_factory=bytearray)
    stderr: bytearray = field(default_factory=bytearray)
    last_words: bytearray = field(default_factory=bytearray)
    report: bytearray = field(default_factory=bytearray)
    cut: set[str] = field(default_factory=set[str])

    def take(self, name: str, part: bytes) -> None:
        if name == "report":
            self.report.extend(part)
            return
        kept = part[: self.room]
        self.room -= len(kept)
        (self.stdout if name == "stdout" else self.stderr).extend(kept)
        if len(kept) < len(part):
            self.cut.add(name)
        if name == "stderr":
            self.last_words.extend(part)
            del self.last_words[:-_LAST_WORDS]

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
    """Runs `argv` to its end, or kills it at its time limit.

    Its environment is exactly `environment`, which must not be empty.
    """
    deadline = time.monotonic() + timeout_seconds
    report, report_end = os.pipe()
    with os.fdopen(report, "rb", buffering=0) as reports:
        try:
            supervisor = _start(argv, cwd, 0, report_end)
        except OSError as error:
            return Ended(ending="not_started", detail=error.strerror or type(error).__name__)
        finally:
            os.close(report_end)
        received = _Received(max_output_bytes)
        with supervisor:
            try:
                ending = _converse(supervisor, reports, environment, received, deadline)
            finally:
                _end(supervisor, _pipes(supervisor)[0], reports, received)
    return _ended(ending, received)


class Talk:
    """A command that runs, with its pipes. `stdin`, `stdout` and `stderr` are descriptors of ours that do not block."""

    def __init__(
        self,
        supervisor: "subprocess.Popen[bytes]",
        line: IO[bytes],
        reports: IO[bytes],
        received: _Received,
    ) -> None:
        self._supervisor, self._line, self._reports, self._received = supervisor, line, reports, received
        pipes = _pipes(supervisor)
        for pipe in pipes:
            os.set_blocking(pipe.fileno(), False)
        self.stdin, self.stdout, self.stderr = (pipe.fileno() for pipe in pipes)

    @property
    def is_over(self) -> bool:
        """Whether the command ended, could not be started, or lost its supervisor."""
        return self._supervisor.poll() is not None or _is_stopped(self._supervisor)

    def kill(self) -> None:
        """Kills the command and all processes of its session."""
        _end(self._supervisor, self._line, self._reports, self._received)

    def end(self, patience_seconds: float) -> str:
        """Ends its input, and waits that long for its end. Says how it ended by itself; "" when it did not."""
        _pipes(self._supervisor)[0].close()
        with suppress(subprocess.TimeoutExpired):
            self._supervisor.wait(patience_seconds)
        if self._supervisor.returncode is None:
            return ""
        _read_last_report(self._reports, self._received)
        ended = _ended("exited", self._received)
        if ended.ending == "not_started":
            return f"could not be started: {ended.detail}"
        code = ended.exit_code
        return (
            ""
            if code is None
            else f"exited with code {code}"
            if code >= 0
            else f"was ended by signal {-code}"
        )


@contextmanager
def talking(argv: Sequence[str], *, cwd: Path, environment: Mapping[str, str]) -> Generator[Talk]:
    """In the block `argv` runs, with the pipes of the `Talk`; at its end all processes of its session are killed.

    Its environment is exactly `environment`, which must not be empty. Raises OSError where it cannot be started.
    """
    report, report_end = os.pipe()
    lifeline_end, lifeline = os.pipe()
    with os.fdopen(report, "rb", buffering=0) as reports, os.fdopen(lifeline, "wb", buffering=0) as line:
        try:
            supervisor = _start(argv, cwd, lifeline_end, report_end)
        finally:
            os.close(report_end)
            os.close(lifeline_end)
        received = _Received(0)
        with supervisor:
            try:
                _give_environment(line, environment)
                yield Talk(supervisor, line, reports, received)
            finally:
                _end(supervisor, line, reports, received)


def _start(argv: Sequence[str], cwd: Path, lifeline: int, report_end: int) -> "subprocess.Popen[bytes]":
    descriptors = (str(lifeline), str(report_end))
    return subprocess.Popen(
        [sys.executable, "-I", "-S", "-X", "utf8", _SUPERVISOR, str(os.getpid()), *descriptors, *argv],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
        cwd=cwd,
        env={},
        pass_fds=(report_end, *((lifeline,) if lifeline else ())),
        start_new_session=True,
    )


def _converse(
    supervisor: "subprocess.Popen[bytes]",
    reports: IO[bytes],
    environment: Mapping[str, str],
    received: _Received,
    deadline: float,
) -> Ending:
    """Collects output and report until both end, or the command must not go on."""
    lifeline, stdout, stderr = _pipes(supervisor)
    _give_environment(lifeline, environment)
    with selectors.DefaultSelector() as selector:
        for pipe, name in ((stdout, "stdout"), (stderr, "stderr"), (reports, "report")):
            selector.register(pipe, selectors.EVENT_READ, name)
        over = False
        while selector.get_map():
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                return "exited" if over else "timed_out"
            if not over and stop_ordered():
                return "stopped"
            if not over and _is_stopped(supervisor):
                return "lost"
            for key, _ in selector.select(min(remaining, _LOOK_SECONDS)):
                part = os.read(key.fd, 65536)
                received.take(key.data, part)
                if not part:
                    selector.unregister(key.fileobj)
                if not part and key.fileobj is reports:
                    # A process that left the session may hold the output open for ever: stop reading here.
                    _kill_what_is_left(received)
                    over, deadline = True, time.monotonic() + _DRAIN_SECONDS
    return "exited"


def _give_environment(lifeline: IO[bytes], environment: Mapping[str, str]) -> None:
    block = b"".join(os.fsencode(f"{name}={value}") + b"\0" for name, value in environment.items())
    with suppress(BrokenPipeError):
        lifeline.write(block + b"\0")


def _is_stopped(process: "subprocess.Popen[bytes]") -> bool:
    """Whether a signal stopped it; False where the system cannot tell."""
    if not hasattr(os, "waitid"):
        return False
    try:
        return os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return False


def _end(
    supervisor: "subprocess.Popen[bytes]", lifeline: IO[bytes], reports: IO[bytes], received: _Received
) -> None:
    """Closes the lifeline and waits until the supervisor has killed the remaining processes; otherwise we kill them."""
    if _is_stopped(supervisor):
        supervisor.kill()
    lifeline.close()
    try:
        supervisor.wait(_KILL_SECONDS)
    except subprocess.TimeoutExpired:
        supervisor.kill()
        supervisor.wait()
    _read_last_report(reports, received)
    _kill_what_is_left(received)


def _kill_what_is_left(received: _Received) -> None:
    """Kills the processes that a supervisor, killed before its work was done, has left."""
    session = received.said(b"started")
    if session is not None and received.said(b"exit") is None:
        kill_session(session)


def _read_last_report(reports: IO[bytes], received: _Received) -> None:
    """Reads the report to its end. A process that is about to become the command keeps it open until it reported."""
    deadline = time.monotonic() + _KILL_SECONDS
    with selectors.DefaultSelector() as selector:
        selector.register(reports, selectors.EVENT_READ)
        while selector.select(max(0, deadline - time.monotonic())):
            part = os.read(reports.fileno(), 65536)
            if not part:
                return
            received.take("report", part)


def _ended(ending: Ending, received: _Received) -> Ended:
    errno, exit_code = received.said(b"error"), received.said(b"exit")
    if errno is not None:
        return Ended(ending="not_started", detail=os.strerror(errno))
    if ending == "exited" and exit_code is None:
        ending = "lost"
    return Ended(
        ending=ending,
        exit_code=exit_code if ending == "exited" else None,
        stdout=bytes(received.stdout),
        stderr=bytes(received.stderr),
        last_words=bytes(received.last_words),
        cut=frozenset(received.cut),
        left_behind=received.said(b"left") or 0 if ending == "exited" else 0,
        detail=(stop_ordered() or "") if ending == "stopped" else "",
    )


def _pipes(supervisor: "subprocess.Popen[bytes]") -> tuple[IO[bytes], IO[bytes], IO[bytes]]:
    if supervisor.stdin is None or supervisor.stdout is None or supervisor.stderr is None:
        raise RuntimeError("the supervisor was started without its pipes")
    return supervisor.stdin, supervisor.stdout, supervisor.stderr
