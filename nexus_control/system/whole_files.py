"""Files that are written whole or not at all, and flushed to the disk; an old file stays until the new one is complete.
Files are looked at and read without waiting for anybody.

Faults are OSErrors; the caller gives them a code.
"""

import errno
import os
import secrets
import stat
import tempfile
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

OWNER_ONLY: Final = 0o600


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
    return is_there(f"{os.path.realpath(path)}-shm")


def read_regular(path: Path, most_bytes: int) -> bytes:
    """The content of a regular file. Raises OSError for anything else: reading a pipe would wait for its writer."""
    if is_database_in_use(path):
        raise OSError(errno.EBUSY, "it is a database in use")
    content = read_head(path, most_bytes + 1)
    if len(content) > most_bytes:
        raise OSError(errno.EFBIG, f"it is larger than {most_bytes} bytes")
    return content


def read_head(path: Path, size: int) -> bytes:
    """The first bytes of a regular file, as `read_regular`. This process must not have the file open through SQLite."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file")
        return file.read(size)


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
