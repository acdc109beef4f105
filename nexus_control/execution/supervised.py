"""Runs one command under a supervisor: it ends at its time limit, and no process of its session outlives this process.

`supervisor.py` says how the two sides talk. We kill the command by closing the lifeline. Because a command can kill or
stop its supervisor, we look every tenth of a second whether that happened, and then kill the session that the report
names. An order to stop, or to cancel the run (`stopping`), is looked for equally often.

Output is kept up to a limit and read beyond it, so a command that prints too much still runs to its end.
"""

import os
import selectors
import tempfile
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import IO

from nexus_control.execution.stopping import order_given
from nexus_control.execution.supervision import (
    Ended,
    Ending,
    Received,
    Supervisor,
    end_supervisor,
    ended_of,
    is_stopped,
    kill_what_is_left,
    spelled,
)

_DRAIN_SECONDS = 0.5
_LOOK_SECONDS = 0.1


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
                kill_what_is_left(received)
                over, deadline = True, time.monotonic() + _DRAIN_SECONDS
    return "exited"
