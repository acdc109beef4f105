"""A supervisor that runs: how it gets a command, and what it tells of it. `supervisor.py` is its other side.

    supervisor, received = Supervisor(), Received(max_output_bytes)
    supervisor.begin(spelled(argv, cwd, environment), [stdin, stdout, stderr])
    ...                                        # received.take(...) what comes
    end_supervisor(supervisor, received)       # kills what is left
    ended_of("exited", received)

A command can kill or stop its supervisor. Then we kill the session that the report names.
"""

import os
import re
import selectors
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Literal, TypeAlias

from nexus_control.execution.stopping import Order
from nexus_control.execution.supervisor import kill_session

Ending: TypeAlias = Literal["exited", "not_started", "timed_out", "stopped", "cancelled", "lost"]

_SUPERVISOR = str(Path(__file__).with_name("supervisor.py"))
_KILL_SECONDS = 5.0
_REPORTED = re.compile(rb"-?[0-9]{1,9}")
LAST_WORDS = 8192
"""How many bytes of the end of standard error are kept apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a command ended. `exit_code` is there when it exited; a negative code is the signal that ended it.

    `ending` is `stopped` or `cancelled` when such an order came and the command was killed; `detail` says why. It is
    `lost` when the supervisor was killed or stopped, so nobody saw the end; the command was then killed.

    `stdout` and `stderr` together hold the first `max_output_bytes` of the output, and `last_words` the end of standard
    error. `cut` names the streams that had more, and `unended` those that still had a writer when we stopped reading.
    `left_behind` counts the processes that the command left in its session when it exited; they were killed then.
    """

    ending: Ending
    exit_code: int | None = None
    stdout: bytes = field(default=b"", repr=False)
    stderr: bytes = field(default=b"", repr=False)
    last_words: bytes = field(default=b"", repr=False)
    cut: frozenset[str] = frozenset()
    unended: frozenset[str] = frozenset()
    left_behind: int = 0
    detail: str = ""

    def ended_early(self, stream: str) -> bool:
        """Whether this stream may have ended in the middle of what a process was writing."""
        by_itself = self.ending == "exited" and (self.exit_code or 0) >= 0 and not self.left_behind
        return not by_itself or stream in self.unended


@dataclass(slots=True)
class Received:
    """The output and reports so far. Output beyond the limit is dropped."""

    room: int
    stdout: bytearray = field(default_factory=bytearray, repr=False)
    stderr: bytearray = field(default_factory=bytearray, repr=False)
    last_words: bytearray = field(default_factory=bytearray, repr=False)
    report: bytearray = field(default_factory=bytearray)
    cut: set[str] = field(default_factory=set[str])
    unended: frozenset[str] = frozenset()
    order: Order | None = None

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
            del self.last_words[:-LAST_WORDS]

    @property
    def is_in_order(self) -> bool:
        """Whether the report is of this command. A waiting process that was killed makes one without a start."""
        return self.report.startswith(b"started ")

    @property
    def is_whole(self) -> bool:
        """Whether the command ended, and its supervisor goes on."""
        return self.is_in_order and self.said(b"left") is not None and self.said(b"exit") is not None

    def said(self, word: bytes) -> int | None:
        """The number that the supervisor reported with this word. A line that it would not write is passed over."""
        for line in bytes(self.report).splitlines():
            if found := _REPORTED.fullmatch(line.removeprefix(word + b" ")):
                return int(found[0])
        return None


class Supervisor:
    """A supervisor that runs. Raises OSError if it cannot be started."""

    def __init__(self) -> None:
        with ExitStack() as opened:
            self.commands, commands_end = map(opened.enter_context, socket.socketpair())
            report, report_end = os.pipe()
            self.reports = opened.enter_context(os.fdopen(report, "rb", buffering=0))
            opened.callback(os.close, report_end)
            theirs = (commands_end.fileno(), report_end)
            self.process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-X", "utf8", _SUPERVISOR, str(os.getpid()), *map(str, theirs)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                bufsize=0,
                cwd="/",
                env={},
                pass_fds=theirs,
                start_new_session=True,
            )
            opened.pop_all()
            os.close(report_end)
            commands_end.close()

    @property
    def is_ready(self) -> bool:
        """Whether it waits for a command. An earlier command may have left a process that ended or stopped it."""
        if self.process.poll() is not None or is_stopped(self.process):
            return False
        return not can_be_read(self.reports, 0)

    def begin(self, command: bytes, pipes: Sequence[int], timeout_seconds: float | None = None) -> None:
        """Hands a `spelled` command over, with its standard input, output and error. Raises OSError."""
        self.commands.settimeout(timeout_seconds)
        socket.send_fds(self.commands, [len(command).to_bytes(8, "big")], pipes)
        self.commands.sendall(command)

    def let_go(self) -> None:
        """Closes the lifeline: what runs is killed, and the supervisor ends."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        self.commands.close()


def spelled(
    argv: Sequence[str], cwd: Path, environment: Mapping[str, str], remove: Path | None = None
) -> bytes:
    """A command as `supervisor.py` reads it. Raises ValueError for a NUL, which would end a text."""
    variables = (f"{name}={value}" for name, value in environment.items())
    texts = [os.fsencode(text) for text in (cwd, remove or "", str(len(argv)), *argv, *variables)]
    if any(b"\0" in text for text in texts):
        raise ValueError("a command holds a NUL")
    return b"".join(text + b"\0" for text in texts)


def can_be_read(file: IO[bytes], seconds: float) -> bool:
    """Whether there is something to read, or its end, within so long. It needs no descriptor of its own."""
    with selectors.PollSelector() as selector:
        selector.register(file, selectors.EVENT_READ)
        return bool(selector.select(max(0, seconds)))


def is_stopped(process: "subprocess.Popen[bytes]") -> bool:
    """Whether a signal stopped it; False where the system cannot tell."""
    if not hasattr(os, "waitid"):
        return False
    try:
        return os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return False


def end_supervisor(supervisor: Supervisor, received: Received) -> None:
    """Closes the lifeline and waits until the supervisor has killed the remaining processes; otherwise we kill them."""
    process = supervisor.process
    if is_stopped(process):
        process.kill()
    supervisor.let_go()
    try:
        process.wait(_KILL_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if not supervisor.reports.closed:
        with supervisor.reports as reports:
            _read_last_report(reports, received)
    kill_what_is_left(received)


def kill_what_is_left(received: Received) -> None:
    """Kills the processes that a supervisor, killed before its work was done, has left."""
    session = received.said(b"started")
    if session is not None and received.said(b"exit") is None:
        kill_session(session)


def _read_last_report(reports: IO[bytes], received: Received) -> None:
    """Reads the report to its end. A process that is about to become the command keeps it open until it reported."""
    deadline = time.monotonic() + _KILL_SECONDS
    with selectors.PollSelector() as selector:
        selector.register(reports, selectors.EVENT_READ)
        while selector.select(max(0, deadline - time.monotonic())):
            part = os.read(reports.fileno(), 65536)
            if not part:
                return
            received.take("report", part)


def ended_of(ending: Ending, received: Received) -> Ended:
    errno, exit_code = received.said(b"error"), received.said(b"exit")
    if errno is not None:
        return Ended(ending="not_started", detail=os.strerror(errno))
    if ending == "exited" and not (received.is_in_order and exit_code is not None):
        ending = "lost"
    return Ended(
        ending=ending,
        exit_code=exit_code if ending == "exited" else None,
        stdout=bytes(received.stdout),
        stderr=bytes(received.stderr),
        last_words=bytes(received.last_words),
        cut=frozenset(received.cut),
        unended=received.unended if ending == "exited" else frozenset(),
        left_behind=received.said(b"left") or 0 if ending == "exited" else 0,
        detail=received.order.why if received.order else "",
    )
