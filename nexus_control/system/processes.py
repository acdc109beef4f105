"""The process that executes a decision, told apart from every other process that ever had its number.

owner = {"host", "machine", "boot_id", "namespace", "clock", "pid", "started", "token"}: the host's name, the machine's
id (machine-id(5)), the kernel's boot id, the namespace in which the process id counts (a container has its own), that
of its clocks, the process id, the process's start time in clock ticks since boot (Linux, proc(5)), and a token for the
one execution. A value that cannot be read is empty. Earlier versions wrote neither machine nor clock.

With an empty token the owner is the process itself, and not one call in it: it was named by its number, perhaps by
another process. Its execution is under way while it lives. Then `call` tells one claim for it from another.

An owner is `gone` only when that is certain: the host was started again, there is no such process, it is a zombie, or
it started at another time. Where something cannot be read the owner is `unseen`, and keeps its claim:

    another host's name or machine's id                         several machines share the store
    another boot id, and the machine's id unreadable            it may be another machine whose name is the same
    no /proc at all (macOS), or that of other processes         start times are empty
    /proc hides the processes of other users (hidepid)          kill(2) still says whether there is one of this number
    another time namespace                                      start times are shifted there
    boot id or namespace unreadable on either side              the host may have been started again, or it is elsewhere
    an owner that another version wrote down                    its text cannot be read
"""

import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Literal, TypeAlias

from nexus_control.canonical_json import canonical_json, parse_json_object
from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.values.records import decode, encode

Standing: TypeAlias = Literal["alive", "gone", "unseen"]
"""`gone`: the execution has certainly ended. `unseen`: this process cannot tell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """One process on one boot of one host."""

    host: str
    boot_id: str
    namespace: str
    pid: int
    started: str
    token: str
    machine: str | None = None
    clock: str | None = None
    call: str | None = None

    def to_text(self) -> str:
        return canonical_json(encode(self))

    @classmethod
    def find(cls, text: str) -> "Owner | None":
        """The owner that `to_text` wrote; None for a text that another version wrote."""
        try:
            return decode(cls, parse_json_object(text), where="owner", code=ErrorCode.REPLAY_INVALID)
        except NexusControlError:
            return None

    @property
    def is_a_process(self) -> bool:
        """Whether the owner is a process, and not one call of `execute` in it."""
        return not self.token

    def standing(self) -> Standing:
        if self.is_under_way_here():
            return "alive"
        if self.host != os.uname().nodename or (self.machine or _machine()) != _machine():
            return "unseen"
        boots_are_known = bool(self.boot_id and _boot_id())
        if boots_are_known and self.boot_id != _boot_id():
            return "unseen" if self.machine == "" else "gone"
        if (self.clock or _clock()) != _clock():
            return "unseen"
        if self.namespace != _namespace() or (not self.namespace and sys.platform == "linux"):
            return "unseen"
        if self.pid == os.getpid() and not self.is_a_process:
            return "gone"  # an ended execution of this process, or one of an earlier process with the same number
        started = _started(self.pid)
        if started == "":
            return "gone"
        if started is None or not self.started:
            return "unseen"
        if started != self.started:
            return "gone"
        return "alive" if boots_are_known else "unseen"

    def is_under_way_here(self) -> bool:
        """Whether this very process runs the execution."""
        return self.pid == os.getpid() and self.token in _under_way


@contextmanager
def owning(token: str) -> Generator[Owner]:
    """This process, as the owner of one execution that is under way until the block ends."""
    _under_way.add(token)
    try:
        yield _owner(os.getpid(), _this_process()[1], token)
    finally:
        _under_way.discard(token)


def owner_named(pid: int | None, call: str | None = None) -> Owner | None:
    """The process of this number in this namespace as an owner, this one for None. None: there is no such process.
    `call` is an id of the claim.
    """
    number = os.getpid() if pid is None else pid
    started = _started(number)
    return None if started == "" else replace(_owner(number, started, ""), call=call)


def _owner(pid: int, started: str | None, token: str) -> Owner:
    return Owner(
        host=os.uname().nodename,
        boot_id=_boot_id(),
        namespace=_this_process()[0],
        pid=pid,
        started=started or "",
        token=token,
        machine=_machine(),
        clock=_clock(),
    )


_under_way: set[str] = set()


@cache
def _this_process() -> tuple[str, str | None]:
    """Where the number of this process counts, and when it started; neither changes."""
    return _namespace(), _started(os.getpid())


os.register_at_fork(after_in_child=_this_process.cache_clear)


@cache
def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


@cache
def _machine() -> str:
    try:
        return Path("/etc/machine-id").read_text().strip()
    except OSError:
        return ""


def _namespace() -> str:
    return _namespace_of("pid")


@cache
def _clock() -> str:
    """The namespace in which this process sees others start. Empty before Linux 5.6, which has one for all."""
    return _namespace_of("time")


def _namespace_of(kind: str) -> str:
    try:
        return str(Path(f"/proc/self/ns/{kind}").readlink())
    except OSError:
        return ""


def _started(pid: int) -> str | None:
    """When a process started. Empty: there is no such process, or it has ended. None: that cannot be read."""
    stat = _stat(pid)
    if stat is None:
        return None if _exists(pid) else ""
    # The command name in parentheses may hold anything, also ")". After it come the state, which is field 3; field 20,
    # the number of threads; and field 22, the start time. A process whose first thread has ended looks like a zombie.
    state, *fields = stat.rpartition(b")")[2].split()
    if len(fields) < 19:
        return None
    is_over = state == b"X" or (state == b"Z" and fields[16] in (b"0", b"1"))
    return "" if is_over else fields[18].decode()


def _stat(pid: int) -> bytes | None:
    """What /proc says of a process; None where /proc does not use the process numbers of this namespace."""
    try:
        if str(Path("/proc/self").readlink()) != str(os.getpid()):
            return None
        return Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None


def _exists(pid: int) -> bool:
    """Whether there is a process of this number, of any user."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
