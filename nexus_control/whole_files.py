"""Files that are written whole, flushed to the disk, or not there: what was there before stays until then.

Faults are OSErrors; who calls says what they mean.
"""

import os
import tempfile
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Final

OWNER_ONLY: Final = 0o600


def replace_file(path: Path, content: bytes, mode: int = OWNER_ONLY) -> None:
    """Put a file there, in place of what was. After a power cut it is the one or the other."""
    descriptor, draft = tempfile.mkstemp(dir=path.parent, prefix=".writing-")
    with _whole_or_gone(Path(draft)):
        with os.fdopen(descriptor, "wb") as file:
            _write(file, content)
        Path(draft).chmod(mode)
        Path(draft).replace(path)


def create_file(path: Path, content: bytes, mode: int = OWNER_ONLY) -> None:
    """Make a file where none was. Raises FileExistsError."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with _whole_or_gone(path), os.fdopen(descriptor, "wb") as file:
        _write(file, content)


def _write(file: IO[bytes], content: bytes) -> None:
    file.write(content)
    file.flush()
    os.fsync(file.fileno())


@contextmanager
def _whole_or_gone(path: Path) -> Generator[None]:
    try:
        yield
    except BaseException:
        with suppress(OSError):
            path.unlink()
        raise
