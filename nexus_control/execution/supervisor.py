"""Runs one command, and kills its remaining processes when its caller ends. A script: standard library only.

    python -I -S -X utf8 supervisor.py PARENT_PID LIFELINE_FD REPORT_FD PROGRAM [ARGUMENT ...]

The parent writes the command's whole environment to the lifeline, one or more `NAME=VALUE` each ended by NUL, then one
more NUL, and keeps it open. The environment is not passed as our own, because Python would add variables. The command
is killed when the lifeline ends, because the parent closed it or died; when our parent is no longer PARENT_PID,
although a fork of the parent still holds the lifeline open; and when this process is told to end.

The command can stop this process, which then notices nothing. So the kernel is asked to send SIGCONT when the lifeline
changes: its end wakes us. If this process is killed or stays stopped, our parent kills the command's session itself.

The command runs in a session of its own, with our standard output and error. Its standard input is ours, or empty where
the lifeline is descriptor 0. When it ends, every process that it left in its session is killed too. A process that left
the session (a daemon) is not found.

REPORT_FD gets lines. `started PID` comes first, from the process that is about to become the command. Then comes either
`error ERRNO` (it could not be started), or `left COUNT` (how many processes it left when it ended by itself) and `exit
CODE` (negative: a signal). If the report ends without `exit`, this process was killed.
"""

import fcntl
import os
import select
import signal
import sys
from contextlib import suppress

_STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_ORPHAN_CHECK_SECONDS = 0.5
_SWEEPS = 20


def main(arguments: list[str]) -> None:
    parent, lifeline, report = map(int, arguments[:3])
    wake = _watch_signals()
    _wake_at_the_end_of(lifeline)
    for ours in (lifeline, report):
        os.set_inheritable(ours, ours == 0)
    environment = _read_environment(lifeline)
    child = os.fork()
    if child == 0:
        _become(arguments[3:], environment, report, empty_input=lifeline == 0)
    _let_go_of_pipes(lifeline)
    status = _wait(child, parent, lifeline, wake)
    if status is None:
        os.kill(child, signal.SIGKILL)  # it may not have its session yet
    left = kill_session(child)
    if status is None:
        _, status = os.waitpid(child, 0)
    else:
        _tell(report, f"left {left}")
    _tell(report, f"exit {os.waitstatus_to_exitcode(status)}")


def kill_session(session: int) -> int:
    """Kills the process group and the session, and repeats that while processes in it still fork. Returns how many
    processes there were. Without /proc only the group is found, and counts as one.
    """
    found: set[int] = set()
    for _ in range(_SWEEPS):
        members = _session_members(session)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(session, signal.SIGKILL)
            members = [session] if members is None else members
        if not members:
            break
        found.update(members)
        for pid in members:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
    return len(found)


def _watch_signals() -> int:
    """A descriptor that becomes readable when a child ended, or when a signal tells us to end."""
    readable, writable = os.pipe()
    os.set_blocking(readable, False)
    os.set_blocking(writable, False)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for number in (*_STOPPING, signal.SIGCHLD):
        signal.signal(number, lambda _number, _frame: None)
    signal.set_wakeup_fd(writable, warn_on_full_buffer=False)
    return readable


def _wake_at_the_end_of(lifeline: int) -> None:
    if not hasattr(fcntl, "F_SETSIG"):  # only Linux has it
        return
    with suppress(OSError):
        fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGCONT)
        fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)


def _read_environment(lifeline: int) -> dict[bytes, bytes]:
    block = b""
    while not block.endswith(b"\0\0"):
        part = os.read(lifeline, 65536)
        if not part:
            sys.exit(0)
        block += part
    pairs = (entry.partition(b"=") for entry in block.split(b"\0") if entry)
    return {name: value for name, _, value in pairs}


def _become(command: list[str], environment: dict[bytes, bytes], report: int, *, empty_input: bool) -> None:
    try:
        os.setsid()
        _tell(report, f"started {os.getpid()}")
        if empty_input:
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for number in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        os.execvpe(command[0], command, environment)
    except OSError as error:
        _tell(report, f"error {error.errno}")
    finally:
        os._exit(127)


def _let_go_of_pipes(lifeline: int) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    for pipe in {0, 1, 2} - {lifeline}:
        os.dup2(null, pipe)


def _wait(child: int, parent: int, lifeline: int, wake: int) -> int | None:
    """The child's wait status; None when it must be killed before it ends."""
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status
        ready, _, _ = select.select([lifeline, wake], [], [], _ORPHAN_CHECK_SECONDS)
        if os.getppid() != parent:
            return None
        if lifeline in ready and not os.read(lifeline, 1):
            return None
        if wake in ready and set(os.read(wake, 512)) & set(_STOPPING):
            return None


def _session_members(session: int) -> list[int] | None:
    """The living processes of a session; None where there is no /proc."""
    try:
        names = os.listdir("/proc")  # noqa: PTH208 - pathlib would double the time this script takes to start
    except OSError:
        return None
    return [int(name) for name in names if name.isdigit() and _lives_in(session, name)]


def _lives_in(session: int, pid: str) -> bool:
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:  # noqa: PTH123 - as above
            state, _parent, _group, its_session = stat.read().rpartition(b")")[2].split()[:4]
    except OSError:
        return False
    return state not in (b"Z", b"X") and int(its_session) == session


def _tell(report: int, line: str) -> None:
    with suppress(OSError):
        os.write(report, line.encode() + b"\n")


if __name__ == "__main__":
    main(sys.argv[1:])
