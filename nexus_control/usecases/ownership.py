"""Who is executing: a process, told apart from every other process that ever had its number.

owner = {"host", "boot_id", "namespace", "pid", "started", "token"}: the host's name, the kernel's boot id, the
namespace in which the process id counts (a container has its own), the process id, the process's start time in clock
ticks since boot (Linux, proc(5)), and a token for the one execution. Where /proc does not exist, what is read there is
empty, and a reused process id looks alive: a claim is then never recovered too early, only too late.
"""

import os
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from nexus_control.canonical_json import canonical_json, parse_json_object
from nexus_control.errors import ErrorCode
from nexus_control.records import decode, encode


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """One process on one boot of one host."""

    host: str
    boot_id: str
    namespace: str
    pid: int
    started: str
    token: str

    def to_text(self) -> str:
        return canonical_json(encode(self))

    @classmethod
    def from_text(cls, text: str) -> "Owner":
        return decode(cls, parse_json_object(text), where="owner", code=ErrorCode.REPLAY_INVALID)

    def is_elsewhere(self) -> bool:
        """Whether it belongs to another host, or a container of this one, where this process cannot look."""
        if self.host != os.uname().nodename:
            return True
        return self.boot_id == _boot_id() and self.namespace != _namespace()

    def is_gone(self) -> bool:
        """Whether an execution of this host has certainly ended: its process has, or it was ours and is over."""
        if self.boot_id != _boot_id():
            return True
        if self.pid == os.getpid() and self.started == _started(self.pid):
            return self.token not in _under_way
        return not _is_running(self.pid) or _started(self.pid) != self.started


@contextmanager
def owning(token: str) -> Generator[Owner]:
    """This process, as the owner of one execution that is under way until the block ends."""
    pid = os.getpid()
    _under_way.add(token)
    try:
        yield Owner(
            host=os.uname().nodename,
            boot_id=_boot_id(),
            namespace=_namespace(),
            pid=pid,
            started=_started(pid),
            token=token,
        )
    finally:
        _under_way.discard(token)


_under_way: set[str] = set()
_DEAD = (b"Z", b"X")
"""States of a process that has ended, although its parent has not yet asked how."""


@cache
def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _namespace() -> str:
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def _started(pid: int) -> str:
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return ""
    # The state is field 3, the start time field 22; the command name before them may hold anything, also ")".
    state, *fields = stat.rpartition(b")")[2].split()
    return "" if state in _DEAD else fields[18].decode()


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
