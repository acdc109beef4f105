"""Routers for `serve --router tests.mcp.python_routers:NAME`: Python code, which nothing can stop."""

import asyncio
import multiprocessing
import os
import signal
import stat
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from tests.support.routers import ScriptedRouter, good_answer

NOISE = "this is no line of the protocol"
_WRITE_ONTO_PIPES = """
import os, stat, sys
for descriptor in range(100):
    try:
        found = os.fstat(descriptor)
    except OSError:
        continue
    if stat.S_ISFIFO(found.st_mode) and descriptor != 2:
        os.write(descriptor, sys.argv[1].encode())
"""


def quick() -> ScriptedRouter:
    return ScriptedRouter(good_answer)


def endless() -> ScriptedRouter:
    """Its run makes the file `started` in the current folder, and never comes back."""

    def act() -> Any:
        Path("started").write_text(str(os.getpid()))
        threading.Event().wait()

    return ScriptedRouter(act)


def never_made() -> NoReturn:
    """A factory that makes the file `started` in the current folder, and never comes back."""
    Path("started").touch()
    while True:
        threading.Event().wait()


def make_noise() -> None:
    """Everything that writes onto standard output, and a reader of standard input, in this process and in children."""
    print(NOISE)
    sys.stdout.write(NOISE)
    os.write(1, NOISE.encode())
    for command in ("echo", "printf"):
        subprocess.run([command, NOISE], check=True)
    subprocess.run(["cat"], check=True)  # ends, because its input does
    assert sys.stdin.read() == ""
    subprocess.run([sys.executable, "-c", _WRITE_ONTO_PIPES, NOISE], check=True, close_fds=False)


def noisy() -> ScriptedRouter:
    make_noise()

    def act() -> Any:
        make_noise()
        return good_answer()

    def capabilities() -> set[str]:
        make_noise()
        return {"apply"}

    return ScriptedRouter(act, capabilities)


class _Wilful(ScriptedRouter):
    """Raises what the file `raises` in the current folder says, in the method that the file `where` says."""

    def __init__(self) -> None:
        super().__init__(
            lambda: self._perhaps("run", good_answer()), lambda: self._perhaps("capabilities", {"apply"})
        )

    def adapter_digest(self, adapter_id: str) -> Any:
        return self._perhaps("digest", None)

    def describe(self, adapter_id: str, plan: str | None) -> Any:
        return self._perhaps("describe", ())

    def check_plan(self, adapter_id: str, plan: str | None, max_steps: int | None) -> Any:
        return self._perhaps("check", None)

    def export_run(self, run_id: str) -> Any:
        return self._perhaps("export", None)

    def _perhaps(self, method: str, value: Any) -> Any:
        if Path("where").read_text() != method:
            return value
        _RAISING[Path("raises").read_text()]()


def _exit() -> NoReturn:
    sys.exit(3)


def _interrupt() -> NoReturn:
    raise KeyboardInterrupt


def _close_generator() -> NoReturn:
    raise GeneratorExit


def _cancel() -> NoReturn:
    raise asyncio.CancelledError


def _stop_iterating() -> NoReturn:
    raise StopIteration


_RAISING: dict[str, Callable[[], NoReturn]] = {
    "SystemExit": _exit,
    "KeyboardInterrupt": _interrupt,
    "GeneratorExit": _close_generator,
    "CancelledError": _cancel,
    "StopIteration": _stop_iterating,
}
RAISED = tuple(_RAISING)


def wilful() -> ScriptedRouter:
    return _Wilful()


def forking() -> ScriptedRouter:
    """Its run forks children that write where the protocol was, come back, exit, and are ended by signals."""

    def act() -> Any:
        Path("server").write_text(str(os.getpid()))
        warnings.simplefilter("ignore", DeprecationWarning)  # that the process has threads is the point
        child = os.fork()
        if child == 0:
            return _write_everywhere()
        Path("returned").write_text(str(os.waitpid(child, 0)[1]))
        child = os.fork()
        if child == 0:
            _write_everywhere()
            sys.exit(3)
        os.waitpid(child, 0)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            waiting = multiprocessing.get_context("fork").Process(target=signal.pause)
            waiting.start()
            assert waiting.pid is not None
            os.kill(waiting.pid, number)
            waiting.join()
            assert waiting.exitcode == -number
        return good_answer()

    return ScriptedRouter(act)


def forked_once() -> ScriptedRouter:
    """Its run forks a child that comes back like the run itself."""

    def act() -> Any:
        child = os.fork()
        if child:
            os.waitpid(child, 0)
        return good_answer()

    return ScriptedRouter(act)


def _write_everywhere() -> Any:
    print(NOISE)
    for descriptor in range(100):
        with suppress(OSError):
            if stat.S_ISFIFO(os.fstat(descriptor).st_mode) and descriptor != 2:
                os.write(descriptor, f"{NOISE}\n".encode())
    return good_answer()


def exiting() -> NoReturn:
    sys.exit(3)


def failing() -> NoReturn:
    raise KeyError("NO_SUCH_VARIABLE")


def forked_in_factory() -> ScriptedRouter:
    """Made in two processes: the child comes back, too."""
    child = os.fork()
    if child:
        Path("child").write_text(str(os.waitpid(child, 0)[1]))
    return quick()
