"""Files that people name. A fault names the option, and is one of usage."""

import os
import sys
from collections.abc import Generator, Iterable
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import IO

from nexus_control.canonical_json import MAX_TEXT_BYTES
from nexus_control.cli.targets import put
from nexus_control.errors import NexusControlError, invalid_argument
from nexus_control.whole_files import create_file

_STANDARD_INPUT = Path("-")


def read_bytes(option: str, path: Path) -> bytes:
    """The content of a file, or of standard input (-). Raises INVALID_ARGUMENT.

    A file that SQLite has open here is left alone: to close it would give back the locks of every store on it.
    """
    if Path(f"{os.path.realpath(path)}-shm").exists():
        raise invalid_argument(option, f"names {path}, which is a database in use")
    try:
        with _standard_input() if path == _STANDARD_INPUT else path.open("rb") as file:
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
    """What cannot be used of what an option gave is a fault of that option: INVALID_ARGUMENT."""
    try:
        yield
    except NexusControlError as fault:
        raise invalid_argument(option, f"{given} is not taken: {fault.message}") from None


def require_writable(option: str, path: Path, own: Iterable[Path]) -> None:
    """That a file can be put there, and is none of the store's own, whatever it is called. Raises INVALID_ARGUMENT."""
    real = Path(os.path.realpath(path))
    if any(real == each or _is_same_file(path, each) for each in own):
        raise invalid_argument(option, f"names {path}, which is a file of the store itself: name another")
    if real.is_dir():
        raise invalid_argument(option, f"names {path}, which is a folder: name a file in it")


def write_bytes(option: str, path: Path, content: bytes) -> None:
    """Write to what a person named, as `cli.targets` says. Raises INVALID_ARGUMENT."""
    try:
        put(path, content)
    except OSError as error:
        raise _unusable(option, path, "written", error) from None


def create_secret(option: str, path: Path, content: bytes) -> None:
    """Create a file that only its owner may read, where none was. Raises INVALID_ARGUMENT."""
    try:
        create_file(path, content)
    except OSError as error:
        raise _unusable(option, path, "created", error) from None


def _standard_input() -> AbstractContextManager[IO[bytes]]:
    return nullcontext(sys.stdin.buffer)


def _is_same_file(path: Path, other: Path) -> bool:
    try:
        return path.samefile(other)
    except OSError:
        return False


def _unusable(option: str, path: Path, verb: str, error: OSError) -> NexusControlError:
    return invalid_argument(
        option, f"names {path}, which cannot be {verb}: {error.strerror or type(error).__name__}"
    )
