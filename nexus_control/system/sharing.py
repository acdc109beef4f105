"""Permissions of files that a team shares: who owns a file, and who may do what with it.

Nothing is opened here: permissions are changed by name, so the locks that a process has on a database stay.
"""

import os
import stat
from dataclasses import dataclass
from pathlib import Path

_GROUP = 0o060
_GROUP_READS = 0o040
_FOLDER_OF_A_GROUP = 0o2070  # also that new files belong to the folder's group


@dataclass(frozen=True, slots=True, kw_only=True)
class Permissions:
    """The permissions of a file or folder, with the numbers of its user and group."""

    mode: int
    user: int
    group: int

    @property
    def is_shared(self) -> bool:
        """Whether the group may read and write it."""
        return self.mode & _GROUP == _GROUP

    @property
    def is_folder_of_a_group(self) -> bool:
        """Whether the group may make files in it, and they belong to the group."""
        return self.mode & _FOLDER_OF_A_GROUP == _FOLDER_OF_A_GROUP


def permissions_of(path: Path) -> Permissions | None:
    """None where nothing is, or where that may not be looked at."""
    try:
        found = path.stat()
    except OSError:
        return None
    return Permissions(mode=stat.S_IMODE(found.st_mode), user=found.st_uid, group=found.st_gid)


def share(path: Path, group: int, *, writable: bool = True) -> bool:
    """Give a file or folder to this group, which may then read it and, with `writable`, write it. What others may do
    stays. Returns whether anything changed. Raises OSError.
    """
    found = path.stat()
    of_the_group = _GROUP if writable else _GROUP_READS
    wanted = stat.S_IMODE(found.st_mode) | (
        _FOLDER_OF_A_GROUP if stat.S_ISDIR(found.st_mode) else of_the_group
    )
    if found.st_gid == group and stat.S_IMODE(found.st_mode) == wanted:
        return False
    os.chown(path, -1, group)
    path.chmod(wanted)
    return True


def may_give_to(group: int) -> bool:
    """Whether this process may give its files to the group: it is a member of it, or root."""
    return os.geteuid() == 0 or group in (os.getegid(), *os.getgroups())
