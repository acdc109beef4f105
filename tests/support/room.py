"""A disk on which there is no room: by a limit of this process, or truly, on a file system of its own."""

import resource
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from tests.support.places import REPOSITORY

_MOUNTING = 'mount -t tmpfs -o size="$1" tmpfs "$2" && shift 2 && exec "$@"'


@contextmanager
def no_file_beyond(size: int) -> Generator[None]:
    """In the block, no file of this process grows beyond so many bytes (RLIMIT_FSIZE): what is longer may be read, and
    overwritten up to there. Python ignores the signal, so that a write fails with EFBIG.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def run_on_a_small_disk(size: str, folder: Path, code: str) -> "subprocess.CompletedProcess[str]":
    """Run Python with a file system of this size at the folder, in a mount namespace of its own: so nothing stays
    mounted. Only root may do that.
    """
    words = ["unshare", "--mount", "sh", "-c", _MOUNTING, "sh", size, str(folder), sys.executable, "-c", code]
    return subprocess.run(
        [*words, str(folder)], cwd=REPOSITORY, capture_output=True, text=True, timeout=240, check=False
    )
