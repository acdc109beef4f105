"""Artifacts as files, in one flat folder that only its owner can read.

A file is named by the kind of artifact and the decision's id; by the id's sha256 where the id has characters that file
systems interpret. It is written whole or not at all, and replaces the earlier export of the same decision. Reading
takes a name in the folder, or the absolute path that an export answered. A path that leads out of the folder, by `..`
or a symbolic link, is refused. The folder is made with mode 0700, each file with 0600.

Where people share the database's folder, another of them could put a link or a folder of their own into the artifacts
folder's place. So a folder that is a link, belongs to another user than this one or root, or may be written by others
is refused. Files are written and read in the folder that was looked at, whatever takes its name.
"""

import os
import re
import stat
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from nexus_control.canonical_json import MAX_TEXT_BYTES
from nexus_control.errors import ErrorCode, NexusControlError, invalid_argument
from nexus_control.integrity import sha256_hex
from nexus_control.system.whole_files import replace_within

_OTHERS_WRITE = 0o022
_PLAIN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def file_name(kind: str, decision_id: str) -> str:
    """The name of a decision's artifact of this kind."""
    plain = decision_id if _PLAIN_ID.fullmatch(decision_id) else sha256_hex(decision_id)
    return f"{kind}-{plain}.json"


def write_artifact(folder: Path | None, name: str, content: bytes) -> Path:
    """Write a file, whole or not at all. Returns its absolute path. Raises ARTIFACTS_UNAVAILABLE."""
    if folder is None:
        raise _no_folder()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _opened(folder) as descriptor:
            replace_within(descriptor, name, content)
    except OSError as error:
        raise _unavailable(folder, f"Cannot write to the artifacts folder: {error.strerror}") from error
    return folder.absolute() / name


def read_artifact(folder: Path | None, path: str) -> bytes:
    """The content of a file in the folder. Raises INVALID_ARGUMENT for anything else, and ARTIFACTS_UNAVAILABLE where
    another user could have filled the folder.
    """
    if folder is None:
        raise _no_folder()
    given = Path(path)
    if given.parent not in (Path(), folder.absolute()):
        raise invalid_argument("path", "must be the name of a file in the artifacts folder")
    try:
        with _opened(folder) as descriptor:
            content = _read_regular(given.name, descriptor)
    except NexusControlError:
        raise
    except (OSError, ValueError):  # ValueError: a NUL in the name
        content = None
    if content is None:
        raise invalid_argument("path", "names no readable file in the artifacts folder")
    if len(content) > MAX_TEXT_BYTES:
        raise invalid_argument("path", f"names a file of more than {MAX_TEXT_BYTES} bytes")
    return content


@contextmanager
def _opened(folder: Path) -> Generator[int]:
    """A descriptor of the folder. Raises OSError, and ARTIFACTS_UNAVAILABLE for one that is not ours alone."""
    if folder.is_symlink():
        raise _unavailable(folder, f"The artifacts folder {folder} is a link: name the folder itself")
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        found = os.fstat(descriptor)
        if found.st_uid not in (os.geteuid(), 0):
            raise _unavailable(folder, f"The artifacts folder {folder} belongs to another user")
        if stat.S_IMODE(found.st_mode) & _OTHERS_WRITE:
            raise _unavailable(
                folder, f"The artifacts folder {folder} may be written by others: run chmod 700 on it"
            )
        yield descriptor
    finally:
        os.close(descriptor)


def _no_folder() -> NexusControlError:
    return NexusControlError(
        ErrorCode.ARTIFACTS_UNAVAILABLE,
        "There is no folder for artifacts: nothing lies beside this store",
        advice="Name a folder: serve --artifacts DIR, or --log-folder DIR.",
    )


def _unavailable(folder: Path, problem: str) -> NexusControlError:
    return NexusControlError(ErrorCode.ARTIFACTS_UNAVAILABLE, problem, {"folder": str(folder)})


def _read_regular(name: str, folder: int) -> bytes | None:
    # A link is not followed, and the writer of a pipe is not waited for.
    descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read(MAX_TEXT_BYTES + 1)
    finally:
        os.close(descriptor)
