"""The key and the checkpoint beside a store: commands that sign nothing themselves may make them in passing."""

from collections.abc import Sequence
from pathlib import Path

from nexus_control.cli.settings import Settings
from nexus_control.errors import NexusControlError


def signed_beside(frame: Settings) -> list[tuple[int, int] | None]:
    """The identities of the key and the checkpoint, to compare with those after the command."""
    try:
        base = frame.base
    except NexusControlError:  # the command itself reports it
        base = None
    return [None if base is None else _identity_of(f"{base}{suffix}") for suffix in (".key", ".checkpoint")]


def _identity_of(path: str) -> tuple[int, int] | None:
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def newly_signed(before: Sequence[object], after: Sequence[object]) -> str | None:
    """A sentence about what a command made in passing; None if it made nothing."""
    had_key, had_checkpoint = (earlier == later for earlier, later in zip(before, after, strict=True))
    if had_key:
        return None if had_checkpoint else "A new checkpoint of the log was signed and kept beside the store"
    if had_checkpoint:
        return "A key was made for the log"
    return "A key was made for the log, and a checkpoint signed and kept beside the store"
