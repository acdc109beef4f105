"""Files that are written whole, flushed to the disk, or not there: what was there before stays until then. And how
files are looked at and read without waiting for anybody.

Faults are OSErrors; who calls says what they mean.
"""

import errno
import os
import stat
import tempfile
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

OWNER_ONLY: Final = 0o600


def is_regular(path: str | Path) -> bool:
    """Whether a regular file is seen there, links followed. Where nobody may look, or no name is that long, none is:
    Path.is_file raises.
    """
    return os.path.isfile(path)  # noqa: PTH113


def is_folder(path: str | Path) -> bool:
    """Whether a folder is seen there, as `is_regular`."""
    return os.path.isdir(path)  # noqa: PTH112


def is_there(path: str | Path) -> bool:
    """Whether anything is seen there, as `is_regular`."""
    return os.path.exists(path)  # noqa: PTH110


def is_database_in_use(path: str | Path) -> bool:
    """Whether some process has it open through SQLite. Such a file is not opened: to close it would give back the locks
    that this process has on it.
    """
    return is_there(f"{os.path.realpath(path)}-shm")


def read_regular(path: Path, most_bytes: int) -> bytes:
    """The content of a regular file. Nobody is waited for: a pipe has no content that stays."""
    if is_database_in_use(path):
        raise OSError(errno.EBUSY, "it is a database in use")
    content = read_head(path, most_bytes + 1)
    if len(content) > most_bytes:
        raise OSError(errno.EFBIG, f"it is larger than {most_bytes} bytes")
    return content


def read_head(path: Path, size: int) -> bytes:
    """The first bytes of a regular file, as `read_regular`. The file must be none that this process has open through
    SQLite.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file")
        return file.read(size)


def replace_file(
    path: Path, content: bytes, mode: int = OWNER_ONLY, owner: tuple[int, int] | None = None
) -> None:
    """Put a file there, in place of what was. After a kill or a power cut, either the old file is there or the new one,
    whole; a draft named `.writing-...` may be left beside it. `owner` is user and group, if not ours.
    """
    with _draft(path, content, mode, owner) as draft:
        draft.replace(path)


def create_file(path: Path, content: bytes, mode: int = OWNER_ONLY) -> None:
    """Make a file where none was; after a kill it is whole, or not there. Raises FileExistsError."""
    with _draft(path, content, mode) as draft:
        path.hardlink_to(draft)


@contextmanager
def _draft(path: Path, content: bytes, mode: int, owner: tuple[int, int] | None = None) -> Generator[Path]:
    """A whole file beside `path`, on the disk already; what is left of it at the end is removed."""
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
