"""Locks on open files, which are waited for within a limit: every user who may read a file can hold its lock."""

import errno
import fcntl
import time

_RETRY_SECONDS = 0.002


def lock_within(seconds: float, descriptor: int, lock: int) -> None:
    """Take a lock of `flock` on an open file. Raises OSError where somebody keeps it for so long."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(descriptor, lock | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise OSError(errno.EBUSY, "somebody keeps it locked") from None
            time.sleep(_RETRY_SECONDS)
