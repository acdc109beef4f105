"""Whether a store's files are still the ones that are open.

SQLite goes on writing to a file that was replaced or deleted, so this is asked at each transaction. A look at a file
that is written all the time is not free: since 6.13 Linux gives a file that somebody looked at a new time at its next
write, and the journal has to record it. A look at the log (`-wal`) after each commit made an append take a seventh
longer. So the folder is asked instead. Its time of change (ctime) is another one whenever a name in it was made,
removed or replaced, and no program can set it. The files are looked at where it has changed since the last look, or so
shortly before that two changes may have the same time: kernels count these times in ticks of up to ten milliseconds,
and some file systems in one or two seconds.

A file that is mounted over `-wal` or `-shm` changes nothing in the folder, and is not noticed.
"""

import os
from pathlib import Path
from typing import TypeAlias

from nexus_control.storage.faults import replaced
from nexus_control.system.clock import SYSTEM_CLOCK

Inode: TypeAlias = tuple[int, int]
"""Device and inode: which file it is, whatever its path."""

_Folder: TypeAlias = tuple[int, int, int]
"""Which folder it is, and when a name in it last changed, in nanoseconds."""

_NS = 1_000_000_000
_WHOLE_SECONDS = 2 * _NS + 1
_TICKS = _NS // 10


class Places:
    """The path of a SQLite file, and of the two files that SQLite keeps beside it while a connection is open."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.inode = inode_at(path)
        self._folder = str(Path(path).parent)
        self._beside = dict[str, Inode]()
        self._settled: _Folder | None = None

    def keep(self) -> None:
        """Take the file that is there now for the one that is open."""
        self.inode = inode_at(self.path)

    def keep_beside(self) -> None:
        """Take the files beside it for those that are open; none of them is watched before."""
        beside = {name: inode_at(name) for name in (f"{self.path}-wal", f"{self.path}-shm")}
        self._beside = {name: inode for name, inode in beside.items() if inode is not None}
        self._settled = None

    def require_file(self) -> None:
        """Raises STORE_REPLACED when the file at the path is not the one that is open."""
        if inode_at(self.path) != self.inode:
            raise replaced(self.path, self.path)

    def require_all(self) -> None:
        """Raises STORE_REPLACED when the file at the path, or one beside it, is not the one that is open."""
        settled = self._settled
        if settled is not None and _folder_at(self._folder) == settled:
            return
        # Before the looks that follow: a thread may wait after any of them.
        now = SYSTEM_CLOCK.now().timestamp() * _NS
        folder = _folder_at(self._folder)
        self.require_file()
        for name, inode in self._beside.items():
            if inode_at(name) != inode:
                raise replaced(self.path, name)
        self._settled = folder if folder is not None and _is_old(folder[-1], now) else None


def inode_at(path: str) -> Inode | None:
    """Which file is at this path; None where nothing is, or where that cannot be read."""
    try:
        found = os.stat(path)  # called at each transaction: a Path takes twice as long
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _is_old(changed: int, now: float) -> bool:
    """Whether a change of the folder after `now` has another time than this one. Both in nanoseconds."""
    return now - changed > (_TICKS if changed % _NS else _WHOLE_SECONDS)


def _folder_at(path: str) -> _Folder | None:
    """The folder that is at this path; None as in `inode_at`."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_ctime_ns
