"""What a server does to its process before it loads anything of somebody else.

The client's two pipes get descriptors of our own, and what foreign code would take for them is something else:
descriptor 0 is /dev/null, descriptor 1 is standard error. What a router, an adapter, a library or a program of theirs
prints is in the log, then, and never in the protocol. The pipes are never given back.

Programs that are started inherit neither pipe. A child of a fork has /dev/null in their place. It has the signals of a
fresh process too: the loop's way of being woken by them is shared with the server, which would take them for its own.

SIGINT ends the process at once and without a word, as SIGTERM does, until the serving heeds both.
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
"""How what stands in for a closed stream is opened, so that using it fails."""


@dataclass(frozen=True, slots=True)
class Pipes:
    """The descriptors of the client's pipes."""

    reading: int
    writing: int


def start() -> Pipes:
    """Take the client's pipes away from everybody else. Raises CONFIG_INVALID where one is closed."""
    pipes = Pipes(_private(_INPUT), _private(_OUTPUT))
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    nothing = os.open(os.devnull, os.O_RDWR)
    if not _is_open(_LOG):  # else the next file that is opened, a database perhaps, would be standard error
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
    """A child is no server. No signal reaches it before it has let go of what it shares with the server."""
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
