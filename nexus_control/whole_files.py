"""Files that are written whole, flushed to the disk, or not there: what was there before stays until then.

Faults are OSErrors; who calls says what they mean.
"""

import os
import tempfile
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

OWNER_ONLY: Final = 0o600


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
