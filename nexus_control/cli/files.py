"""Files that people name: read whole, written whole or not at all. A fault names the option, and is one of usage."""

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from nexus_control.canonical_json import MAX_TEXT_BYTES
from nexus_control.errors import NexusControlError, invalid_argument
from nexus_control.whole_files import create_file, replace_file

_ANYBODY_MAY = 0o666


def read_bytes(option: str, path: Path) -> bytes:
    """The content of a file. Raises INVALID_ARGUMENT."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_TEXT_BYTES + 1)
    except OSError as error:
        raise _unusable(option, "cannot be read", error) from None
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


def write_bytes(option: str, path: Path, content: bytes) -> None:
    """Write a file, replacing what was there. Raises INVALID_ARGUMENT."""
    try:
        replace_file(path, content, _ANYBODY_MAY & ~_umask())
    except OSError as error:
        raise _unusable(option, "cannot be written", error) from None


def create_secret(option: str, path: Path, content: bytes) -> None:
    """Create a file that only its owner may read, where none was. Raises INVALID_ARGUMENT."""
    try:
        create_file(path, content)
    except OSError as error:
        raise _unusable(option, "cannot be created", error) from None


def _umask() -> int:
    mask = os.umask(0)  # it can only be read by setting it
    os.umask(mask)
    return mask


def _unusable(option: str, problem: str, error: OSError) -> NexusControlError:
    return invalid_argument(option, f"{problem}: {error.strerror or type(error).__name__}")
