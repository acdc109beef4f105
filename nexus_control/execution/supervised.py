"""Runs one command under a supervisor: it ends at its time limit, and no process of its session outlives this process.

`supervisor.py` says how the two sides talk. We kill the command by closing the lifeline. Because a command can kill or
stop its supervisor, we look every tenth of a second whether that happened, and then kill the session that the report
names. An order to stop, or to cancel the run (`stopping`), is looked for equally often.

Output is kept up to a limit and read beyond it, so a command that prints too much still runs to its end.
"""

import os
import selectors
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Literal, TypeAlias

from nexus_control.execution.stopping import Order, order_given
from nexus_control.execution.supervisor import kill_session

Ending: TypeAlias = Literal["exited", "not_started", "timed_out", "stopped", "cancelled", "lost"]

_SUPERVISOR = str(Path(__file__).with_name("supervisor.py"))
_DRAIN_SECONDS = 0.5
_KILL_SECONDS = 5.0
_LOOK_SECONDS = 0.1
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
    stdin: bytes | None = None,
    remove: Path | None = None,
) -> Ended:
    """Runs `argv` to its end, or kills it at its time limit.

    Its environment is exactly `environment`. Its standard input is empty, or holds `stdin`. `remove` is a folder of
    files, which is removed when the command is over, also if this process is killed before. Raises ValueError for a NUL
    in what it is given.
    """
    deadline = time.monotonic() + timeout_seconds
    command = spelled(argv, cwd, environment, remove)
    received = Received(max_output_bytes)
    shared = _shared.get()
    try:
        supervisor = Supervisor() if shared is None else shared.take()
    except OSError as error:
        return Ended(ending="not_started", detail=error.strerror or type(error).__name__)
    with ExitStack() as unless_whole:
        unless_whole.callback(end_supervisor, supervisor, received)
        ending = _converse(supervisor, command, stdin, received, deadline)
        if shared is not None and ending == "exited" and received.is_whole:
            unless_whole.pop_all()
            shared.give_back(supervisor)
    return ended_of(ending, received)


@contextmanager
def sharing_a_supervisor() -> Generator[None]:
    """Commands that run one after another in this block have the same supervisor. It is started now, so that it is
    ready when the first command comes. In such a block another one changes nothing.
    """
    if _shared.get() is not None:
        yield
        return
    with closing(_Shared(os.getpid())) as shared:
        with suppress(OSError):  # the command will say so
            shared.give_back(Supervisor())
        token = _shared.set(shared)
        try:
            yield
        finally:
            _shared.reset(token)


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


class _Shared:
    """The supervisors of a context that wait for a command: one, unless the context was copied to other threads."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._waiting: list[Supervisor] = []
        self._is_closed = False

    def take(self) -> Supervisor:
        """One that waits, or another one. Raises OSError if it cannot be started."""
        while (supervisor := self._next()) is not None:
            with ExitStack() as unless_ready:
                unless_ready.callback(end_supervisor, supervisor, Received(0))
                if supervisor.is_ready:
                    unless_ready.pop_all()
                    return supervisor
        return Supervisor()

    def give_back(self, supervisor: Supervisor) -> None:
        if self._pid != os.getpid():  # a fork of ours made it, and would make another for its next command
            end_supervisor(supervisor, Received(0))
            return
        self._waiting.append(supervisor)
        if self._is_closed:
            self.close()

    def close(self) -> None:
        self._is_closed = True
        while (supervisor := self._next()) is not None:
            end_supervisor(supervisor, Received(0))

    def _next(self) -> Supervisor | None:
        if self._pid != os.getpid():  # in a fork of ours, they are ours and not the fork's
            return None
        with suppress(IndexError):
            return self._waiting.pop()
        return None


_shared: ContextVar[_Shared | None] = ContextVar("shared supervisor", default=None)


def spelled(
    argv: Sequence[str], cwd: Path, environment: Mapping[str, str], remove: Path | None = None
) -> bytes:
    """A command as `supervisor.py` reads it. Raises ValueError for a NUL, which would end a text."""
    variables = (f"{name}={value}" for name, value in environment.items())
    texts = [os.fsencode(text) for text in (cwd, remove or "", str(len(argv)), *argv, *variables)]
    if any(b"\0" in text for text in texts):
        raise ValueError("a command holds a NUL")
    return b"".join(text + b"\0" for text in texts)


@contextmanager
def _holding(content: bytes | None) -> Generator[IO[bytes]]:
    """A file without a name that holds this. The system drops it, and on Linux it is in memory only."""
    if content is None:
        with Path(os.devnull).open("rb", buffering=0) as nothing:
            yield nothing
        return
    in_memory = hasattr(os, "memfd_create")
    with os.fdopen(os.memfd_create("stdin"), "w+b") if in_memory else tempfile.TemporaryFile() as file:
        file.write(content)
        file.seek(0)
        yield file


def _converse(
    supervisor: Supervisor, command: bytes, stdin: bytes | None, received: Received, deadline: float
) -> Ending:
    """Hands the command over, and collects output and report until both end, or the command must not go on."""
    with ExitStack() as opened, selectors.PollSelector() as selector:
        try:
            theirs: list[IO[bytes]] = [opened.enter_context(_holding(stdin))]
            for name in ("stdout", "stderr"):
                ours, end = os.pipe()
                pipe = opened.enter_context(os.fdopen(ours, "rb", buffering=0))
                selector.register(pipe, selectors.EVENT_READ, name)
                theirs.append(opened.enter_context(os.fdopen(end, "wb", buffering=0)))
        except OSError as error:  # too many open files, for example
            received.take("report", f"error {error.errno}\n".encode())
            return "not_started"
        selector.register(supervisor.reports, selectors.EVENT_READ, "report")
        try:
            remaining = max(0.001, deadline - time.monotonic())
            supervisor.begin(command, [each.fileno() for each in theirs], remaining)
        except OSError:
            supervisor.let_go()  # the report ends with it
        for each in theirs:
            each.close()
        return _collect(supervisor, selector, received, deadline)


def _collect(
    supervisor: Supervisor, selector: selectors.BaseSelector, received: Received, deadline: float
) -> Ending:
    over = False
    while selector.get_map():
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            received.unended = frozenset(key.data for key in selector.get_map().values())
            return "exited" if over else "timed_out"
        if not over and (order := order_given()) is not None:
            received.order = order
            return "cancelled" if order.kind == "cancel" else "stopped"
        if not over and is_stopped(supervisor.process):
            return "lost"
        for key, _ in selector.select(min(remaining, _LOOK_SECONDS)):
            part = os.read(key.fd, 65536)
            received.take(key.data, part)
            is_report = key.data == "report"
            if not part or (is_report and received.said(b"exit") is not None):
                selector.unregister(key.fileobj)
            if is_report and key.fileobj not in selector.get_map():
                # A process that left the session may hold the output open for ever: stop reading here.
                _kill_what_is_left(received)
                over, deadline = True, time.monotonic() + _DRAIN_SECONDS
    return "exited"


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
    _kill_what_is_left(received)


def _kill_what_is_left(received: Received) -> None:
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
