"""Artifacts as files, in one flat folder that only its owner can read.

A file is named by the kind of artifact and the decision's id; by the id's sha256 where the id has characters that file
systems interpret. It is written whole or not at all, and replaces the earlier export of the same decision. Reading
takes a name in the folder, or the absolute path that an export answered. A path that leads out of the folder, by `..`
or a symbolic link, is refused. The folder is made with mode 0700, each file with 0600.
"""

import os
import re
import stat
from pathlib import Path

from nexus_control.canonical_json import MAX_TEXT_BYTES
from nexus_control.errors import ErrorCode, NexusControlError, invalid_argument
from nexus_control.integrity import sha256_hex
from nexus_control.system.whole_files import replace_file

_PLAIN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def file_name(kind: str, decision_id: str) -> str:
    """The name of a decision's artifact of this kind."""
    plain = decision_id if _PLAIN_ID.fullmatch(decision_id) else sha256_hex(decision_id)
    return f"{kind}-{plain}.json"


def write_artifact(folder: Path, name: str, content: bytes) -> Path:
    """Write a file, whole or not at all. Returns its absolute path. Raises ARTIFACTS_UNAVAILABLE."""
    path = folder.absolute() / name
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        replace_file(path, content)
    except OSError as error:
        raise NexusControlError(
            ErrorCode.ARTIFACTS_UNAVAILABLE,
            f"Cannot write to the artifacts folder: {error.strerror}",
            {"folder": str(folder)},
        ) from error
    return path


def read_artifact(folder: Path, path: str) -> bytes:
    """The content of a file in the folder. Raises INVALID_ARGUMENT for anything else."""
    given = Path(path)
    if given.parent not in (Path(), folder.absolute()):
        raise invalid_argument("path", "must be the name of a file in the artifacts folder")
    try:
        content = _read_regular(folder / given.name)
    except (OSError, ValueError):  # ValueError: a NUL in the name
        content = None
    if content is None:
        raise invalid_argument("path", "names no readable file in the artifacts folder")
    if len(content) > MAX_TEXT_BYTES:
        raise invalid_argument("path", f"names a file of more than {MAX_TEXT_BYTES} bytes")
    return content


def _read_regular(path: Path) -> bytes | None:
    # A link is not followed, and the writer of a pipe is not waited for.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read(MAX_TEXT_BYTES + 1)
    finally:
        os.close(descriptor)
