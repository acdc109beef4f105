"""Permissions of files that a team shares: who owns a file, and who may do what with it.

A member of the group may put anything into a shared folder: a link to a private file of the owner, for example. So no
name is followed, and what was looked at is what changes.
"""

import errno
import os
import stat
from collections.abc import Mapping
from contextlib import ExitStack
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


def share(database: Path, group: int, beside: Mapping[str, bool]) -> bool:
    """Give this group the database's folder, the database, and the files beside it, as far as they are there. What
    others may do stays. `beside` says for each suffix whether the group may write that file, or only read it.

    Returns whether anything changed. Raises OSError with the path for a link, a file with a second name, anything
    that is not a file, and a file of a user who is neither this one nor the owner of the database. Then
    nothing was changed.
    """
    with ExitStack() as stack:
        folder = _found(database.parent, None, stack)
        if folder is None:
            raise FileNotFoundError(errno.ENOENT, "it is not there", str(database.parent))
        files = dict[str, _Found]()
        for suffix in ("", *beside):
            found = _found(Path(f"{database}{suffix}"), folder, stack)
            if found is not None:
                files[suffix] = found
        owners = {os.geteuid()} | ({files[""].now.st_uid} if "" in files else set[int]())
        for each in (folder, *files.values()):
            each.require_safe(owners, is_folder=each is folder)
        changed = [folder.give(group, _FOLDER_OF_A_GROUP)]
        for suffix, each in files.items():
            changed.append(each.give(group, _GROUP if beside.get(suffix, True) else _GROUP_READS))
    return any(changed)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """A file or folder as it was found, under a descriptor that only stands for it (O_PATH). That opens nothing, so the
    locks that this process has on a database stay. Another file that takes the name meanwhile is not touched.

    A system without O_PATH can change permissions by name without following a link; there `descriptor` is None.
    """

    path: Path
    descriptor: int | None
    now: os.stat_result

    def require_safe(self, owners: set[int], *, is_folder: bool) -> None:
        mode = self.now.st_mode
        if stat.S_ISLNK(mode):
            raise OSError(errno.ELOOP, "it is a link", str(self.path))
        if not (stat.S_ISDIR(mode) if is_folder else stat.S_ISREG(mode)):
            raise OSError(errno.EINVAL, f"it is not a {'folder' if is_folder else 'file'}", str(self.path))
        if not is_folder and self.now.st_nlink != 1:
            raise OSError(errno.EMLINK, "it has a second name (a hard link)", str(self.path))
        if self.now.st_uid not in owners:
            raise OSError(errno.EPERM, "it belongs to another user", str(self.path))

    def give(self, group: int, permissions: int) -> bool:
        """Give it to the group, with these permissions too. Returns whether that changed anything."""
        before = stat.S_IMODE(self.now.st_mode)
        if self.now.st_gid == group and before | permissions == before:
            return False
        if self.descriptor is not None:
            itself = f"/proc/self/fd/{self.descriptor}"
            os.chown(itself, -1, group)
            os.chmod(itself, before | permissions)  # noqa: PTH101 - as os.chown
            return True
        os.chown(self.path, -1, group, follow_symlinks=False)
        os.chmod(self.path, before | permissions, follow_symlinks=False)  # noqa: PTH101 - pathlib has no equal
        after = self.path.lstat()
        if (after.st_dev, after.st_ino) != (self.now.st_dev, self.now.st_ino):
            raise OSError(errno.EAGAIN, "it was replaced meanwhile", str(self.path))
        return True


def _found(path: Path, folder: _Found | None, stack: ExitStack) -> _Found | None:
    """What is at this path, within the folder that was found before; None where nothing is."""
    within = None if folder is None else folder.descriptor
    name = str(path) if within is None else path.name
    if not hasattr(os, "O_PATH"):
        try:
            return _Found(path=path, descriptor=None, now=path.lstat())
        except FileNotFoundError:
            return None
    try:
        descriptor = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=within)
    except FileNotFoundError:
        return None
    stack.callback(os.close, descriptor)
    return _Found(path=path, descriptor=descriptor, now=os.fstat(descriptor))


def may_give_to(group: int) -> bool:
    """Whether this process may give its files to the group: it is a member of it, or root."""
    return os.geteuid() == 0 or group in (os.getegid(), *os.getgroups())
