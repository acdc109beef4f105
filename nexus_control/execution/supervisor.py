"""Runs commands, one after another, and kills their remaining processes when its caller ends. A script: standard
library only.

    python -I -S -X utf8 supervisor.py PARENT_PID COMMANDS_FD REPORT_FD

Standard input is the lifeline, which the parent keeps open. The running command is killed, and no other follows, when
the lifeline ends, because the parent closed it or died; when our parent is no longer PARENT_PID, although a fork of the
parent still holds the lifeline open; and when this process is told to end.

The next command's process is forked before the command is known, so that it need not be waited for. It reads the
command itself, from the socket COMMANDS_FD:

    8 bytes      the length of what follows, the highest byte first; with them come three descriptors:
                 the command's standard input, output and error
    text NUL     each: the directory; a folder of files, or nothing; how many arguments there are; the arguments, the
                 first of which is the program; the whole environment, as NAME=VALUE

The environment is not passed as our own, because Python would add variables. The folder of files is removed when the
command is over.

The command can stop this process, which then notices nothing. So the kernel is asked to send SIGCONT when the lifeline
changes: its end wakes us. If this process is killed or stays stopped, our parent kills the command's session itself.

The command runs in a session of its own. When it ends, every process that it left in its session is killed too. A
process that left the session (a daemon) is not found.

REPORT_FD gets lines. `started PID` comes first, from the process that is about to become the command, and `error ERRNO`
if it cannot be started. Then come `left COUNT` (how many processes it left when it ended by itself) and `exit CODE`
(negative: a signal). If the report ends without `exit`, this process was killed.
"""

import fcntl
import os
import select
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    import socket
    from collections.abc import Callable
else:  # the modules around these two load `enum`; without it this script starts in half the time
    import _signal as signal
    import _socket as socket

_STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_ORPHAN_CHECK_MILLISECONDS = 500
_SWEEPS = 20


def main(arguments: list[str]) -> None:
    parent, commands, report = map(int, arguments)
    wake = _watch_signals()
    _wake_at_the_end_of_the_lifeline()
    for ours in (commands, report):
        os.set_inheritable(ours, False)
    while _supervise_one(parent, commands, report, wake):
        pass
    os._exit(0)


def _supervise_one(parent: int, commands: int, report: int, wake: int) -> bool:
    """Waits for a command and for its end. Returns whether another may follow."""
    ours, (folder, folder_end) = os.getpid(), os.pipe()
    child = os.fork()
    if child == 0:
        _become(_Given(commands, ours, folder_end), report)
    os.close(folder_end)
    status = _wait(child, parent, wake)
    if status is None:
        os.kill(child, signal.SIGKILL)  # it may not have its session yet
        kill_session(child)
        _, status = os.waitpid(child, 0)
        _remove(folder)
        _tell(report, f"exit {os.waitstatus_to_exitcode(status)}")
        return False
    left = kill_session(child)
    _remove(folder)
    _tell(report, f"left {left}\nexit {os.waitstatus_to_exitcode(status)}")
    return True


def kill_session(session: int) -> int:
    """Kills the process group and the session, and repeats that while processes in it still fork. Returns how many
    processes there were. Without /proc only the group is found, and counts as one.
    """
    found: set[int] = set()
    for _ in range(_SWEEPS):
        members = _session_members(session)
        if _is_sent(os.killpg, session):
            members = [session] if members is None else members
        if not members:
            break
        found.update(members)
        for pid in members:
            _is_sent(os.kill, pid)
    return len(found)


def _is_sent(send: "Callable[[int, int], None]", number: int) -> bool:
    """Sends SIGKILL; False where nobody is there to get it."""
    try:
        send(number, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return False
    return True


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


def _wake_at_the_end_of_the_lifeline() -> None:
    if not hasattr(fcntl, "F_SETSIG"):  # only Linux has it
        return
    try:
        fcntl.fcntl(0, fcntl.F_SETSIG, signal.SIGCONT)
        fcntl.fcntl(0, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(0, fcntl.F_SETFL, fcntl.fcntl(0, fcntl.F_GETFL) | os.O_ASYNC)
    except OSError:
        pass  # not every kernel can; our parent kills the session then


class _Given:
    """A command, read from the socket by the process that becomes it. That ends if `supervisor` or the socket does. The
    supervisor is told of the folder of files.
    """

    def __init__(self, commands: int, supervisor: int, folder_end: int) -> None:
        waiting = _poll(commands)
        while not waiting.poll(_ORPHAN_CHECK_MILLISECONDS):
            if os.getppid() != supervisor:
                os._exit(0)
        channel = socket.socket(fileno=commands)
        length, passed, _, _ = channel.recvmsg(8, socket.CMSG_SPACE(3 * 4))
        if not length:
            os._exit(0)
        self.pipes: list[int] = memoryview(passed[0][2]).cast("i").tolist()
        block = bytearray()
        while len(block) < int.from_bytes(length, "big"):
            part = channel.recv(1 << 20)
            if not part:
                os._exit(0)
            block += part
        self.directory, folder, count, *words = bytes(block).split(b"\0")[:-1]
        os.write(folder_end, folder)
        self.argv = words[: int(count)]
        pairs = (entry.partition(b"=") for entry in words[int(count) :])
        self.environment = {name: value for name, _, value in pairs}


def _become(given: _Given, report: int) -> None:
    try:
        os.setsid()
        _tell(report, f"started {os.getpid()}")
        for number, pipe in enumerate(given.pipes):
            os.dup2(pipe, number)
            os.close(pipe)  # a descriptor that was passed is inherited
        for number in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        os.chdir(given.directory)
        _execute(given.argv, given.environment)
    except OSError as error:
        _tell(report, f"error {error.errno}")
    finally:
        os._exit(127)


def _execute(argv: list[bytes], environment: dict[bytes, bytes]) -> None:
    """Like os.execvpe, which would load a module in each process that becomes a command."""
    program, why = argv[0], None
    path = environment.get(b"PATH", os.defpath.encode())
    for folder in [b""] if b"/" in program else path.split(b":"):
        try:
            os.execve(os.path.join(folder, program), argv, environment)  # noqa: PTH118 - pathlib is slow to load
        except OSError as error:
            if why is None or isinstance(why, FileNotFoundError | NotADirectoryError):
                why = error
    raise why or FileNotFoundError(2, "")


def _remove(told: int) -> None:
    """Removes the folder of files that the command's process told of, before it became the command."""
    folder = os.read(told, 4096)
    os.close(told)
    if not folder:
        return
    try:
        names = os.listdir(folder)  # noqa: PTH208 - pathlib is slow to load
    except OSError:
        return  # our parent has removed it
    for name in names:
        _try(os.unlink, os.path.join(folder, name))  # noqa: PTH118 - as above
    _try(os.rmdir, folder)  # unless the program has put something beside our files


def _try(remove: "Callable[[bytes], None]", path: bytes) -> None:
    try:  # noqa: SIM105 - contextlib is slow to load
        remove(path)
    except OSError:
        pass


def _wait(child: int, parent: int, wake: int) -> int | None:
    """The child's wait status; None when it must be killed before it ends."""
    waiting = _poll(0, wake)
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status
        ready = [descriptor for descriptor, _ in waiting.poll(_ORPHAN_CHECK_MILLISECONDS)]
        if os.getppid() != parent:
            return None
        if 0 in ready and not os.read(0, 1):
            return None
        if wake in ready and set(os.read(wake, 512)) & set(_STOPPING):
            return None


def _poll(*descriptors: int) -> "select.poll":
    """Tells which of these can be read. `select.select` takes no descriptor beyond 1023."""
    waiting = select.poll()
    for descriptor in descriptors:
        waiting.register(descriptor, select.POLLIN)
    return waiting


def _session_members(session: int) -> list[int] | None:
    """The living processes of a session; None where there is no /proc."""
    try:
        names = os.listdir("/proc")  # noqa: PTH208 - pathlib would double the time this script takes to start
    except OSError:
        return None
    return [int(name) for name in names if name.isdigit() and _lives_in(session, name)]


def _lives_in(session: int, pid: str) -> bool:
    try:
        if os.getsid(int(pid)) != session:  # a twentieth of what reading costs
            return False
        with open(f"/proc/{pid}/stat", "rb") as stat:  # noqa: PTH123 - as above
            state = stat.read().rpartition(b")")[2].split()[0]
    except OSError:
        return False
    return state not in (b"Z", b"X")


def _tell(report: int, line: str) -> None:
    try:  # noqa: SIM105 - contextlib is slow to load
        os.write(report, line.encode() + b"\n")
    except OSError:
        pass  # our parent is gone


if __name__ == "__main__":
    main(sys.argv[1:])
