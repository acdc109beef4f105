"""A slot: one small file that is overwritten in place, by one writer at a time, without waiting for the disk.

The file is never replaced, so a lock on it holds for everybody who opens it. A content is written in one call, from the
first byte on, and lies within one sector: a writer that is killed, or loses power, leaves the old content or the
new one. The old content of a new slot is empty.

The lock is `flock`, on the slot's own file and never on the database: POSIX locks on the database would be lost when
any descriptor of it is closed. It is released by LOCK_UN and not by closing, because a child of `fork()` keeps open
what its parent had open. A writer waits for the lock only for a moment, because every user who may read the file can
hold it.

The file gets the permissions, and where the system allows it the owner and group, of the database that it lies beside,
as SQLite gives them to its own: all who write to the store write to it. In a log folder they are the folder's.
"""

import errno
import fcntl
import os
import stat
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol, TypeAlias

from nexus_control.storage.faults import unavailable
from nexus_control.system.locking import lock_within

MOST_BYTES = 512
"""The largest content that is read: one sector of a disk."""

Change: TypeAlias = Callable[[bytes], bytes | None]
"""From the old content to the new one; None keeps the old one."""

_PATIENCE_SECONDS = 5.0
_READ_AND_WRITE = 0o666


class Slot(Protocol):
    """Faults are STORE_UNAVAILABLE."""

    def read(self) -> bytes:
        """The content; empty where nothing is there."""
        ...

    def read_writable(self) -> bytes:
        """Like `read`. Raises STORE_UNAVAILABLE where `update` could not write to what is there."""
        ...

    def require_writable(self) -> None:
        """Make sure that `update` will find a file that it may write to, without waiting for its lock. A file that is
        made for this is empty.
        """
        ...

    def update(self, change: Change) -> bytes:
        """Replace the content by the result of `change`, as the only writer. Returns the content that `change` was
        given.
        """
        ...


class MemorySlot:
    """A slot beside a store in memory."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._content = b""

    def read(self) -> bytes:
        return self._content

    def read_writable(self) -> bytes:
        return self._content

    def require_writable(self) -> None:
        pass

    def update(self, change: Change) -> bytes:
        with self._lock:
            found = self._content
            changed = change(found)
            self._content = found if changed is None else changed
            return found


class FileSlot:
    """A slot in the file at `path`, whose permissions are those of the file or folder `like`."""

    def __init__(self, path: Path, like: Path) -> None:
        self._path = path
        self._like = like

    def read(self) -> bytes:
        try:
            with self._opened(os.O_RDONLY, fcntl.LOCK_SH) as file:
                return os.pread(file, MOST_BYTES, 0)
        except FileNotFoundError:
            return b""
        except OSError as error:
            raise self._fault("read", error) from error

    def read_writable(self) -> bytes:
        try:
            return self._update(lambda _: None)
        except FileNotFoundError:
            return b""
        except OSError as error:
            raise self._fault("written", error) from error

    def require_writable(self) -> None:
        try:
            self._create()
            with self._opened(os.O_RDWR, None):
                pass
        except OSError as error:
            raise self._fault("written", error) from error

    def update(self, change: Change) -> bytes:
        try:
            try:
                return self._update(change)
            except FileNotFoundError:
                self._create()
                return self._update(change)
        except OSError as error:
            raise self._fault("written", error) from error

    def _update(self, change: Change) -> bytes:
        with self._opened(os.O_RDWR, fcntl.LOCK_EX) as file:
            found = os.pread(file, MOST_BYTES, 0)
            changed = change(found)
            if changed is not None:
                _overwrite(file, changed)
            return found

    @contextmanager
    def _opened(self, flags: int, lock: int | None) -> Generator[int]:
        # Opening a pipe would wait for its other end; a link, hard or symbolic, can lead to another user's file.
        file = os.open(self._path, flags | os.O_NONBLOCK | os.O_NOFOLLOW)
        try:
            found = os.fstat(file)
            if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
                raise OSError(errno.EINVAL, "it is not a regular file of its own")
            if lock is not None:
                lock_within(_PATIENCE_SECONDS, file, lock)
            try:
                yield file
            finally:
                if lock is not None:
                    fcntl.flock(file, fcntl.LOCK_UN)
        finally:
            os.close(file)

    def _create(self) -> None:
        like = self._like.stat()
        mode = stat.S_IMODE(like.st_mode) & _READ_AND_WRITE
        with suppress(FileExistsError):
            file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
            try:
                with suppress(PermissionError):
                    os.fchown(file, like.st_uid if os.geteuid() == 0 else -1, like.st_gid)
                os.fchmod(file, mode)  # also the bits that the umask took away
            finally:
                os.close(file)

    def _fault(self, verb: str, error: OSError) -> Exception:
        return unavailable(f"{self._path} cannot be {verb}: {error.strerror}", path=str(self._path))


def _overwrite(file: int, content: bytes) -> None:
    written = os.pwrite(file, content, 0)
    if written != len(content):
        raise OSError(errno.ENOSPC, "there is no room for it")
    if os.fstat(file).st_size > written:
        os.ftruncate(file, written)
