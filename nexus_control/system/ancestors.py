"""Which processes this one was started by: Linux's /proc, and elsewhere only the parent.

ancestors()    # [Ancestor(pid=4711, name="bash"), Ancestor(pid=4242, name="claude"), ...]
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_MOST: Final = 64


@dataclass(frozen=True, slots=True)
class Ancestor:
    """A process. `name` is that of its program as the kernel keeps it, at most 15 bytes; "" where that is unknown."""

    pid: int
    name: str


def ancestors() -> list[Ancestor]:
    """The parent, its parent, and so on, without the first process of the namespace."""
    found: list[Ancestor] = []
    pid = os.getppid()
    while pid > 1 and len(found) < _MOST:
        try:
            stat = Path(f"/proc/{pid}/stat").read_bytes()
        except OSError:
            return found or [Ancestor(pid, "")]
        # The name in parentheses may hold anything, also ")". After it come the state and the parent.
        before, _, after = stat.rpartition(b")")
        found.append(Ancestor(pid, os.fsdecode(before.partition(b"(")[2])))
        pid = int(after.split()[1])
    return found
