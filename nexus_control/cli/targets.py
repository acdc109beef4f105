"""What a person named for an answer to be put there, written as `cp` and `curl -o` write it.

* Links are followed; one that leads to nothing is where the new file comes to be.
* A descriptor (`/dev/fd/3`, `/dev/stderr`) is written to; so is what is not a regular file: a FIFO, a
  device, a process substitution. None of them is ever replaced.
* A new file gets the mode of the umask. It is whole, or not there.
* A regular file keeps its mode, owner and group. It is replaced whole, so that a full disk or a kill leaves the old
  content. Where a replacement would lose something it is overwritten in its place: where it has several names (hard
  links), access lists or other attributes, an owner that we cannot give, or is mounted by itself; and in a folder that
  takes no draft. Then its new size is reserved first, and a full disk still leaves the old content; a kill may not.
* A file that may not be written is refused, although its folder would let it be replaced.

Faults are OSErrors.
"""

import errno
import os
import re
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

from nexus_control.system.whole_files import replace_file

_ANYBODY_MAY: Final = 0o666
_PERMISSIONS: Final = 0o777
_DESCRIPTOR = re.compile(r"/dev/fd/(\d+)|/proc/self/fd/(\d+)|/dev/std(?:(out)|err)")
_MOST_LINKS: Final = 40
_LABELS: Final = {"security.selinux"}
"""Attributes that every file gets from its folder again."""
_TAKES_NO_DRAFT: Final = {errno.EACCES, errno.EPERM, errno.EROFS, errno.EBUSY, errno.ENAMETOOLONG}


def put(path: Path, content: bytes) -> None:
    """Write `content` to what `path` names."""
    if (descriptor := descriptor_of(path)) is not None:
        _write(os.dup(descriptor), content)
        return
    real = Path(os.path.realpath(path))
    try:
        found = path.stat()
    except FileNotFoundError:
        replace_file(real, content, _ANYBODY_MAY & ~_umask())
        return
    if not stat.S_ISREG(found.st_mode):
        _write(os.open(path, os.O_WRONLY | os.O_CLOEXEC), content)
    elif not os.access(path, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    elif not (_is_its_only_name(real, found) and _is_replaced(real, found, content)):
        _overwrite(path, content)


def descriptor_of(path: Path) -> int | None:
    """The descriptor of this process that a path names, links followed."""
    name = os.path.abspath(path)  # noqa: PTH100 - Path.absolute() leaves `..` in it
    for _ in range(_MOST_LINKS):
        if named := _DESCRIPTOR.fullmatch(name):
            return int(named[1] or named[2] or (1 if named[3] else 2))
        try:
            name = os.path.normpath(Path(name).parent / Path(name).readlink())
        except OSError:
            return None
    return None


def _is_its_only_name(real: Path, found: os.stat_result) -> bool:
    """Whether a file that takes the place of this one is all that anybody could have meant by it."""
    try:
        is_there = os.path.samestat(real.stat(), found)
        attributes = set(os.listxattr(real)) if hasattr(os, "listxattr") else set[str]()
    except OSError:
        return False
    return is_there and found.st_nlink == 1 and attributes <= _LABELS


def _is_replaced(real: Path, found: os.stat_result, content: bytes) -> bool:
    try:
        owner = (found.st_uid, found.st_gid)
        replace_file(real, content, found.st_mode & _PERMISSIONS, owner)
    except OSError as error:
        if error.errno in _TAKES_NO_DRAFT:
            return False
        raise
    return True


def _overwrite(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    with os.fdopen(descriptor, "wb", buffering=0) as file:
        _reserve(descriptor, len(content))
        _write(os.dup(descriptor), content)
        file.truncate(len(content))
        os.fsync(descriptor)


def _reserve(descriptor: int, size: int) -> None:
    """See to it that a file can have this size, or leave it as it is."""
    before = os.fstat(descriptor).st_size
    if not size or not hasattr(os, "posix_fallocate"):
        return
    try:
        os.posix_fallocate(descriptor, 0, size)
    except OSError as error:
        with suppress(OSError):
            os.ftruncate(descriptor, before)
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
            raise


def _write(descriptor: int, content: bytes) -> None:
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)


def _umask() -> int:
    mask = os.umask(0)  # it can only be read by setting it
    os.umask(mask)
    return mask
