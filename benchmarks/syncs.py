"""Counting fsync and fdatasync: a small library, loaded before the process's own, counts each call and passes it on.

The counts do not depend on the machine, and show a store that is quick because it is not durable.
"""

import ctypes
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
static long calls = 0;
long benchmarks_sync_count(void) { return __atomic_load_n(&calls, __ATOMIC_RELAXED); }
static int passed_on(const char *name, int fd) {
  int (*original)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
  __atomic_add_fetch(&calls, 1, __ATOMIC_RELAXED);
  return original(fd);
}
int fsync(int fd) { return passed_on("fsync", fd); }
int fdatasync(int fd) { return passed_on("fdatasync", fd); }
"""
WHY_NOT = "syncs are counted on Linux, where there is a C compiler"


def build_counter(folder: Path) -> Path | None:
    """The library for LD_PRELOAD; None where it cannot be made."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None or not sys.platform.startswith("linux"):
        return None
    source, library = folder / "syncs.c", folder / "syncs.so"
    source.write_text(SOURCE, encoding="utf-8")
    command = [compiler, "-O1", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"]
    built = subprocess.run(command, capture_output=True, check=False)
    return library if built.returncode == 0 else None


def sync_count() -> int | None:
    """The syncs of this process so far; None where nobody counts them."""
    count = _counter()
    return None if count is None else count()


@cache
def _counter() -> Callable[[], int] | None:
    try:
        function = ctypes.CDLL(None).benchmarks_sync_count
    except AttributeError:
        return None
    function.restype = ctypes.c_long
    return lambda: int(function())
