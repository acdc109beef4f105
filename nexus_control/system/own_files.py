"""Reads a file that nobody but this user and root can have written, nor lead elsewhere.

    read_own(Path("/home/me/project/nexus-control.toml"), 1_000_000)

The way to the file is walked folder by folder, each opened in the one before. Nothing on it may be in the hands of
others: neither a folder, nor a link, nor the file. So what the name leads to stays the same afterwards too, for the
programs that are run by paths relative to it. What is judged is the opened file, and its content is read from there.

A sticky folder such as /tmp may lie on the way, because others cannot move our entries in it; it may not hold the file
itself. Write permission for the group is harmless where the user is alone in it.
"""

import errno
import grp
import os
import pwd
import stat
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final

from nexus_control.system.whole_files import is_database_in_use

_ACCESS_LIST: Final = "system.posix_acl_access"
_MOST_LINKS: Final = 40
_FOLDER: Final = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE: Final = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC


class OthersMayWriteError(Exception):
    """Somebody else may have written the file; the text says why."""


def read_own(path: Path, most_bytes: int) -> bytes:
    """The content of the regular file at an absolute path. Raises OthersMayWriteError; OSError as `read_regular`."""
    if is_database_in_use(path):
        raise OSError(errno.EBUSY, "it is a database in use")
    with ExitStack() as opened:
        descriptor = _open_own(path, opened)
        with os.fdopen(os.dup(descriptor), "rb") as file:
            content = file.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise OSError(errno.EFBIG, f"it is larger than {most_bytes} bytes")
    return content


def _open_own(path: Path, opened: ExitStack) -> int:
    """The file's descriptor, which `opened` closes."""
    where, left, links = Path("/"), list(path.parts[1:]), 0
    folder = _opened("/", _FOLDER, None, opened)
    while left:
        name = left.pop(0)
        here, is_last = where.parent if name == ".." else where / name, not left
        _require_own(os.fstat(folder), where, sticky=not is_last)
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if stat.S_ISLNK(found.st_mode):
            _require_owner(found, here, "the link ")
            links += 1
            if links > _MOST_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
            target = Path(os.readlink(name, dir_fd=folder))
            left = [*target.parts, *left]
            if target.is_absolute():
                where, left = Path("/"), left[1:]
                folder = _opened("/", _FOLDER, None, opened)
            continue
        if is_last:
            descriptor = _opened(name, _FILE, folder, opened)
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise OSError(errno.EINVAL, "it is not a regular file")
            _require_own(status, here, sticky=False)
            return descriptor
        where, folder = here, _opened(name, _FOLDER, folder, opened)
    raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))


def _opened(name: str, flags: int, folder: int | None, opened: ExitStack) -> int:
    descriptor = os.open(name, flags, dir_fd=folder)
    opened.callback(os.close, descriptor)
    return descriptor


def _require_own(found: os.stat_result, path: Path, *, sticky: bool) -> None:
    """`sticky`: a folder in which only the owner of an entry may move it may be writable by others."""
    is_folder = stat.S_ISDIR(found.st_mode)
    what = "the folder " if is_folder else ""
    _require_owner(found, path, what)
    if sticky and found.st_mode & stat.S_ISVTX:
        return
    if found.st_mode & stat.S_IWOTH:
        raise OthersMayWriteError(f"everybody may write {what}{path} (chmod o-w)")
    if found.st_mode & stat.S_IWGRP and not _is_alone(path, found.st_gid):
        raise OthersMayWriteError(f"its group may write {what}{path} (chmod g-w)")


def _require_owner(found: os.stat_result, path: Path, what: str) -> None:
    if found.st_uid not in (0, os.getuid()):
        owner = _user_name(found.st_uid)
        raise OthersMayWriteError(f"{what}{path} belongs to {owner}, who is neither root nor you")


def _is_alone(path: Path, group: int) -> bool:
    """Whether only this user has the group's permission: it is the group of this user alone, and no list of access
    gives the permission to more users or groups.
    """
    try:
        me, members = pwd.getpwuid(os.getuid()), grp.getgrgid(group)
    except KeyError:
        return False
    listed: list[str] = []
    with suppress(OSError, AttributeError):  # file systems and systems without such lists
        listed = os.listxattr(path, follow_symlinks=False)
    return (
        group == me.pw_gid
        and members.gr_name == me.pw_name
        and set(members.gr_mem) <= {me.pw_name}
        and _ACCESS_LIST not in listed
    )


def _user_name(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return f"uid {user}"
