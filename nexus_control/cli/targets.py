"""Writes an answer to the file that a person named, by the rules of `cp` and `curl -o`.

* Links are followed. If a link leads to nothing, the new file is created where it leads.
* A descriptor (`/dev/fd/3`, `/dev/stderr`) is written to, and so is a file that is not regular: a FIFO, a device, a
  process substitution. They are never replaced.
* A new file gets its mode from the umask. It appears whole, or not at all.
* A regular file keeps its mode, owner and group. It is replaced as a whole, so a full disk or a kill leaves the old
  content. If a replacement would lose something, the file is overwritten in place instead: if it has several names
  (hard links), access lists or other attributes, or an owner that we cannot set; if it is a mount point; or if its
  folder takes no new file. Then its new size is reserved first: a full disk leaves the old content, a kill may not.
* A file without write permission is refused, although its folder would let us replace it.

Faults are OSErrors.
"""

import errno
import os
import re
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

from nexus_control.system.whole_files import replace_file, umask

_ANYBODY_MAY: Final = 0o666
_PERMISSIONS: Final = 0o777
_DESCRIPTOR = re.compile(r"/dev/fd/(\d+)|/proc/self/fd/(\d+)|/dev/std(?:(out)|err)")
_MOST_LINKS: Final = 40
_LABELS: Final = {"security.selinux"}
"""Attributes that a new file gets from its folder, so a replacement does not lose them."""
_TAKES_NO_DRAFT: Final = {errno.EACCES, errno.EPERM, errno.EROFS, errno.EBUSY, errno.ENAMETOOLONG}


def put(path: Path, content: bytes) -> None:
    """Write `content` to the file, descriptor or device that `path` names."""
    if (descriptor := descriptor_of(path)) is not None:
        _write(os.dup(descriptor), content)
        return
    real = Path(os.path.realpath(path))
    try:
        found = path.stat()
    except FileNotFoundError:
        replace_file(real, content, _ANYBODY_MAY & ~umask())
        return
    if not stat.S_ISREG(found.st_mode):
        _write(os.open(path, os.O_WRONLY | os.O_CLOEXEC), content)
    elif not os.access(path, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    elif not (_is_its_only_name(real, found) and _is_replaced(real, found, content)):
        _overwrite(path, content)


def descriptor_of(path: Path) -> int | None:
    """The number of the descriptor of this process that a path names, with links followed; otherwise None."""
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
    """Whether a replacement would lose nothing: the file has no other name and no attributes of its own."""
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
    """Reserve the space for a file of this size. If that fails, the file stays as it was."""
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
