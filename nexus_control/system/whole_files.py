"""Files that are written whole or not at all, and flushed to the disk; an old file stays until the new one is complete.
Files are looked at and read without waiting for anybody, except one that is overwritten in place, for a moment.

Faults are OSErrors; the caller gives them a code.
"""

import errno
import fcntl
import hashlib
import os
import secrets
import stat
import tempfile
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from nexus_control.system.locking import lock_within

OWNER_ONLY: Final = 0o600
_SECTOR_BYTES = 512
_PATIENCE_SECONDS = 5.0


def is_regular(path: str | Path) -> bool:
    """Whether a regular file is there, links followed. False where the path may not be looked at, or is too long for
    the system, where Path.is_file raises.
    """
    return os.path.isfile(path)  # noqa: PTH113 - Path.is_file raises


def is_folder(path: str | Path) -> bool:
    """Whether a folder is there; never raises, as `is_regular`."""
    return os.path.isdir(path)  # noqa: PTH112 - Path.is_dir raises


def is_there(path: str | Path) -> bool:
    """Whether anything is there; never raises, as `is_regular`."""
    return os.path.exists(path)  # noqa: PTH110 - Path.exists raises


def is_database_in_use(path: str | Path) -> bool:
    """Whether some process has the file open through SQLite. Such a file must not be opened here: closing it would drop
    the locks that this process has on it.
    """
    real = os.path.realpath(path) if os.path.islink(path) else path  # noqa: PTH114 - `is_there` says why
    return is_there(f"{real}-shm")


def read_regular(path: Path, most_bytes: int, *, overwritten: bool = False) -> bytes:
    """The content of a regular file. Raises OSError for anything else: reading a pipe would wait for its writer. With
    `overwritten` it may be one that `overwrite_file` overwrites at this moment.
    """
    if is_database_in_use(path):
        raise OSError(errno.EBUSY, "it is a database in use")
    content = read_head(path, most_bytes + 1, overwritten=overwritten)
    if len(content) > most_bytes:
        raise OSError(errno.EFBIG, f"it is larger than {most_bytes} bytes")
    return content


def read_head(path: Path, size: int, *, overwritten: bool = False) -> bytes:
    """The first bytes of a regular file, as `read_regular`. This process must not have the file open through SQLite."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file")
        if not overwritten:
            return _read(descriptor, size)
        lock_within(_PATIENCE_SECONDS, descriptor, fcntl.LOCK_SH)
        try:
            return _read(descriptor, size)
        finally:
            fcntl.flock(descriptor, fcntl.LOCK_UN)  # a child of fork() may have the descriptor, too
    finally:
        os.close(descriptor)


def _read(descriptor: int, size: int) -> bytes:
    content = b""
    while chunk := os.read(descriptor, size - len(content)):
        content += chunk
    return content


def digest_of_regular(path: Path) -> str:
    """The bare SHA-256 of a regular file of any size. Raises OSError as `read_regular`."""
    if is_database_in_use(path):
        raise OSError(errno.EBUSY, "it is a database in use")
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file")
        return hashlib.file_digest(file, "sha256").hexdigest()


def umask() -> int:
    """The permissions that new files of this process do not get."""
    mask = os.umask(0)  # it can only be read by setting it
    os.umask(mask)
    return mask


def replace_file(
    path: Path, content: bytes, mode: int = OWNER_ONLY, owner: tuple[int, int] | None = None
) -> None:
    """Put a file there, in place of any old one. After a kill or a power cut either the old file or the whole new one
    is there; a draft named `.writing-...` may be left beside it. `owner` is user and group, unless they are those of
    this process; -1 leaves one of them as it is.
    """
    with _draft(path, content, mode, owner) as draft:
        draft.replace(path)


def overwrite_file(path: Path, content: bytes, mode: int, owner: tuple[int, int]) -> bool:
    """Overwrite a file in place, without waiting for the disk. After a kill or a power cut either the old content or
    the whole new one is there, because both have one length and lie within one sector.

    False, and nothing was done, for a file of another length, of other permissions or another owner, with other names,
    or that somebody is reading: it is to be replaced.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        found = os.fstat(descriptor)
        if (
            not stat.S_ISREG(found.st_mode)
            or found.st_nlink != 1
            or found.st_size != len(content)
            or len(content) > _SECTOR_BYTES
            or stat.S_IMODE(found.st_mode) != mode
            or owner[0] not in (-1, found.st_uid)
            or owner[1] not in (-1, found.st_gid)
        ):
            return False
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            return os.pwrite(descriptor, content, 0) == len(content)
        finally:
            fcntl.flock(descriptor, fcntl.LOCK_UN)
    except OSError:
        return False
    finally:
        os.close(descriptor)


def create_file(
    path: Path, content: bytes, mode: int = OWNER_ONLY, owner: tuple[int, int] | None = None
) -> None:
    """Make a new file. After a kill it is whole, or not there. `owner` as in `replace_file`. Raises FileExistsError."""
    with _draft(path, content, mode, owner) as draft:
        path.hardlink_to(draft)


def replace_within(folder: int, name: str, content: bytes) -> None:
    """Like `replace_file`, readable by its owner only, in the folder that this descriptor stands for."""
    draft = f".writing-{secrets.token_hex(8)}"
    descriptor = os.open(
        draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, OWNER_ONLY, dir_fd=folder
    )
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        os.rename(draft, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        os.unlink(draft, dir_fd=folder)
        raise


@contextmanager
def _draft(path: Path, content: bytes, mode: int, owner: tuple[int, int] | None = None) -> Generator[Path]:
    """A complete draft beside `path`, flushed to the disk; removed at the end of the block if it is still there."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".writing-")
    draft = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            if owner is not None:
                os.fchown(file.fileno(), *owner)
            os.fchmod(file.fileno(), mode)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        yield draft
    finally:
        with suppress(FileNotFoundError):
            draft.unlink()
