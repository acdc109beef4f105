"""Files that people name: read whole, written whole or not at all. A fault names the option, and is one of usage."""

import os
import tempfile
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from nexus_control.canonical_json import MAX_TEXT_BYTES
from nexus_control.errors import NexusControlError, invalid_argument

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
        descriptor, draft = tempfile.mkstemp(dir=path.parent, prefix=".writing-")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
            Path(draft).chmod(_ANYBODY_MAY & ~_umask())
            Path(draft).replace(path)
        except BaseException:
            with suppress(OSError):
                Path(draft).unlink()
            raise
    except OSError as error:
        raise _unusable(option, "cannot be written", error) from None


def create_secret(option: str, path: Path, content: bytes) -> None:
    """Create a file that only its owner may read, where none was. Raises INVALID_ARGUMENT."""
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
    except OSError as error:
        raise _unusable(option, "cannot be created", error) from None


def _umask() -> int:
    mask = os.umask(0)  # it can only be read by setting it
    os.umask(mask)
    return mask


def _unusable(option: str, problem: str, error: OSError) -> NexusControlError:
    return invalid_argument(option, f"{problem}: {error.strerror or type(error).__name__}")
