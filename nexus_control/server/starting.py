"""Prepares the server's process before any foreign code is loaded.

The client's two pipes move to private descriptors; descriptor 0 becomes /dev/null, and descriptor 1 becomes standard
error. So the output of a router, an adapter, a library or one of their programs goes to the log and never into the
protocol. The pipes stay private until the process ends.

Started programs inherit neither pipe. A forked child has /dev/null in place of the pipes, and the signal handlers of a
fresh process: the loop's wake-up descriptor is shared with the server, which would take the child's signals for its
own.

Until the serving handles them, SIGINT and SIGTERM end the process at once, and SIGINT prints no traceback.
"""

import fcntl
import os
import signal
import sys
import threading
from dataclasses import dataclass
from io import TextIOWrapper
from typing import Any, cast

from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.system.signals import ENDING

_INPUT, _OUTPUT, _LOG = 0, 1, 2
_NAMES = {_INPUT: "input", _OUTPUT: "output"}
_WRONG_WAY = {_INPUT: os.O_WRONLY, _OUTPUT: os.O_RDONLY}
"""A closed stream is replaced by /dev/null, opened in the wrong direction, so that using it fails."""


@dataclass(frozen=True, slots=True)
class Pipes:
    """The descriptors of the client's pipes."""

    reading: int
    writing: int


def start() -> Pipes:
    """Move the client's pipes to private descriptors. Raises CONFIG_INVALID if a pipe is closed."""
    pipes = Pipes(_private(_INPUT), _private(_OUTPUT))
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    nothing = os.open(os.devnull, os.O_RDWR)
    if not _is_open(_LOG):  # otherwise the next opened file, a database perhaps, would take its place
        os.dup2(nothing, _LOG)
    os.dup2(nothing, _INPUT)
    cast("TextIOWrapper[Any]", sys.stdout).reconfigure(line_buffering=True)  # also writes what is buffered
    os.dup2(_LOG, _OUTPUT)
    if nothing > _LOG:
        os.close(nothing)
    _end_at_forks(pipes)
    return pipes


def _private(descriptor: int) -> int:
    if (
        not _is_open(descriptor)
        or fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == _WRONG_WAY[descriptor]
    ):
        raise NexusControlError(
            ErrorCode.CONFIG_INVALID,
            f"standard {_NAMES[descriptor]} is closed; a host speaks with the server over it",
        )
    return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _LOG + 1)


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def _end_at_forks(pipes: Pipes) -> None:
    """A forked child must not act as the server: signals are blocked until it has closed the pipes and its handlers."""
    blocked = threading.local()

    def block() -> None:
        blocked.before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)

    def unblock() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked.before)

    def let_go() -> None:
        try:
            nothing = os.open(os.devnull, os.O_RDWR)
        except OSError:  # no descriptor is free
            os.close(pipes.reading)
            os.close(pipes.writing)
        else:
            for descriptor in (pipes.reading, pipes.writing):
                os.dup2(nothing, descriptor, inheritable=False)
            os.close(nothing)
        signal.set_wakeup_fd(-1)
        for number in ENDING:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, signal.SIG_DFL)
        unblock()

    os.register_at_fork(before=block, after_in_parent=unblock, after_in_child=let_go)
