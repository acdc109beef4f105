"""Files that people name in options. A fault names the option and counts as a fault of usage.

A file that is named in an option and read once may be a FIFO, a terminal or a process substitution: the command waits
for it, as `cat` does. A file that is read more than once, is found beside another file, or is named in an environment
variable must be a regular file.
"""

import errno
import os
import sys
from collections.abc import Generator, Iterable
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Annotated

import typer

from nexus_control.canonical_json import MAX_TEXT_BYTES
from nexus_control.cli.targets import descriptor_of, put
from nexus_control.errors import NexusControlError, invalid_argument
from nexus_control.execution import run_log
from nexus_control.storage import main_files_of, sqlite_schema
from nexus_control.storage.log_folder import is_in_log_folder
from nexus_control.system.whole_files import (
    create_file,
    is_database_in_use,
    is_folder,
    is_regular,
    read_head,
    read_regular,
)

STANDARD_INPUT = Path("-")
_STANDARD_OUTPUT = {Path("-"), Path("/dev/stdout"), Path("/dev/fd/1"), Path("/proc/self/fd/1")}
_SQLITE = b"SQLite format 3\0"
_APPLICATION_ID = slice(68, 72)
"""The offset of the application id in a database (https://sqlite.org/fileformat.html, 1.3)."""


def output_file(given: str) -> Path:
    """The path of a new file that an option names. A name that ends in `/` is refused: a Path would drop the `/`."""
    if given.endswith("/") and not is_folder(given):
        raise typer.BadParameter(f"{given} is not a folder.")
    return Path(given)


def _unless_standard(output: Path | None) -> Path | None:
    return None if output in _STANDARD_OUTPUT else output


Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        parser=output_file,
        callback=_unless_standard,
        help="Write it here rather than to standard output, which is also -.",
    ),
]


def read_bytes(option: str, path: Path, *, waits: bool = True) -> bytes:
    """The content of a file, or of standard input (-). Raises INVALID_ARGUMENT.

    A file that SQLite has open in this process is refused: closing it would release the locks of every store on it.
    """
    try:
        if is_database_in_use(path):
            raise invalid_argument(option, f"names {path}, which is a database in use")
        if not waits:
            return read_regular(path, MAX_TEXT_BYTES)
        with nullcontext(sys.stdin.buffer) if path == STANDARD_INPUT else path.open("rb") as file:
            content = file.read(MAX_TEXT_BYTES + 1)
    except OSError as error:
        raise _unusable(option, path, "read", error) from None
    if len(content) > MAX_TEXT_BYTES:
        raise invalid_argument(option, f"is larger than {MAX_TEXT_BYTES} bytes")
    return content


def read_text(option: str, path: Path) -> str:
    """The content of a file of UTF-8. Raises INVALID_ARGUMENT."""
    try:
        return read_bytes(option, path).decode()
    except UnicodeDecodeError:
        raise invalid_argument(option, "is not UTF-8") from None


@contextmanager
def blaming(option: str, given: str) -> Generator[None]:
    """In the block, a fault of the value `given` becomes INVALID_ARGUMENT of this option."""
    try:
        yield
    except NexusControlError as fault:
        raise invalid_argument(option, f"{given} is not taken: {fault.message}") from None


def require_writable(option: str, path: Path, own: Iterable[Path], read: Iterable[Path] = ()) -> None:
    """Returns when a file can be written there without harm. Refused are the store's own files (`own`), the files that
    the command reads, any database of nexus-control and the files beside it. Raises INVALID_ARGUMENT.
    """
    try:
        real = Path(os.path.realpath(path))
    except OSError as error:
        raise _unusable(option, path, "written", error) from None
    if any(real == each or _is_same_file(path, each) for each in own):
        raise invalid_argument(option, f"names {path}, which is a file of the store itself: name another")
    if is_regular(path) and is_one_of(path, read):
        raise invalid_argument(option, f"names {path}, which this command reads: name another")
    if is_folder(real):
        raise invalid_argument(option, f"names {path}, which is a folder: name a file in it")
    if any(map(_is_database, main_files_of(real))) or is_in_log_folder(real):
        raise invalid_argument(option, f"names {path}, which is a file of a store: name another")
    if descriptor_of(path) is None:
        _require_permitted(option, path, real)


def write_bytes(option: str, path: Path, content: bytes) -> None:
    """Write to the file that a person named, by the rules of `cli.targets`. Raises INVALID_ARGUMENT."""
    try:
        put(path, content)
    except OSError as error:
        raise _unusable(option, path, "written", error) from None


def create_secret(option: str, path: Path, content: bytes) -> None:
    """Create a file that only its owner may read. Raises INVALID_ARGUMENT, also if the file exists."""
    try:
        create_file(path, content)
    except OSError as error:
        raise _unusable(option, path, "created", error) from None


def _require_permitted(option: str, path: Path, real: Path) -> None:
    """Returns unless the permissions forbid the writing. For a file that is not regular only the writing can tell."""
    try:
        written = path if _is_there(path) else real.parent
        written.stat()
        if (is_regular(written) or is_folder(written)) and not os.access(written, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise _unusable(option, path, "written", error) from None


def _is_there(path: Path) -> bool:
    try:
        path.stat()
    except FileNotFoundError:
        return False
    return True


def _is_database(path: Path) -> bool:
    """Whether the file is a database of nexus-control, or one that is in use. The command's own database, the only one
    that this process has open, was recognised by its name before.
    """
    if not is_regular(path):
        return False
    if is_database_in_use(path):
        return True
    try:
        head = read_head(path, _APPLICATION_ID.stop)
    except OSError:
        return False
    ours = (sqlite_schema.APPLICATION_ID, run_log.APPLICATION_ID)
    return head.startswith(_SQLITE) and int.from_bytes(head[_APPLICATION_ID], "big") in ours


def is_one_of(path: Path, others: Iterable[Path]) -> bool:
    """Whether the path leads to one of these files, also by another name."""
    return any(_is_same_file(path, each) for each in others)


def _is_same_file(path: Path, other: Path) -> bool:
    try:
        return path.samefile(other)
    except OSError:
        return False


def _unusable(option: str, path: Path, verb: str, error: OSError) -> NexusControlError:
    return invalid_argument(
        option, f"names {path}, which cannot be {verb}: {error.strerror or type(error).__name__}"
    )
