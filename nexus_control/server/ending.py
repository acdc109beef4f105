"""How a server ends: at the end of its input, and at SIGTERM, SIGINT or SIGHUP.

1. No further call begins, and a `status` that waits answers at once.
2. Calls that are under way have two seconds to end. A second signal ends this wait.
3. Programs that still run are killed; their runs have one second to record that.
4. A run that cannot be stopped, in a Python function or in a foreign router, is recorded as unknown. If the run still
   ends later, its outcome is refused and kept as evidence.
5. The store and the run log are closed, each after its open transactions.
6. Answers that are ready are written; that may take half a second.
7. The process ends; if a signal came, by that signal. It does not wait for threads that cannot be stopped or for a
   client that does not read: it exits without the interpreter's own shutdown, which would wait for them.
"""

import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable, Generator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Protocol

import anyio
import anyio.to_thread
from anyio.abc import TaskStatus

from nexus_control.execution.stopping import Stop
from nexus_control.store import DecisionStore
from nexus_control.system.signals import ENDING, end_by
from nexus_control.usecases.settling import give_up_own
from nexus_control.values.results import fault_of

GRACE_SECONDS = 2.0
KILL_SECONDS = 1.0
_UNREAD_SECONDS = 0.5


class Waiting(Protocol):
    """Something that waits until it is set: an event of threads, or of the loop."""

    def set(self) -> None: ...


class Ending:
    """The calls that are under way, and how they are ended. Their runs obey `stop`."""

    def __init__(self, stop: Stop) -> None:
        self._stop = stop
        self._changed = threading.Condition()
        self._waitings: list[Waiting] = []
        self._signs = 0
        self._finishing = threading.Lock()
        self._unread = threading.Timer(_UNREAD_SECONDS, _leave)
        self._unread.daemon = True

    @contextmanager
    def call(self, waiting: Waiting) -> Generator[bool]:
        """Register a call for the block; False if no further call may begin. A call that waits must stop when `waiting`
        is set; that happens on the server's loop.
        """
        with self._changed:
            may_begin = not self._signs
            if may_begin:
                self._waitings.append(waiting)
        try:
            yield may_begin
        finally:
            with self._changed:
                if may_begin:
                    self._waitings.remove(waiting)
                self._changed.notify_all()

    def sign(self) -> bool:
        """Note that the server was told to end; returns whether this was the first time."""
        with self._changed:
            self._signs += 1
            for waiting in self._waitings:
                waiting.set()
            self._changed.notify_all()
            return self._signs == 1

    def finish(self, store: DecisionStore, opened: ExitStack, why: str) -> None:
        """End the calls, then close `opened`. Blocks for about three seconds at most, plus the time that the store is
        busy. A second call only waits until the first is done.
        """
        with self._finishing:
            if not self._end_calls(why):
                fault_of(
                    partial(give_up_own, store, why)
                )  # if recording fails now, the next start recovers the execution
            fault_of(opened.close)

    def _end_calls(self, why: str) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: not self._waitings or self._signs > 1, GRACE_SECONDS)
            self._stop.order(why)
            return self._changed.wait_for(lambda: not self._waitings, KILL_SECONDS)

    def limit_writing(self) -> None:
        """End the process soon if the client does not read the last answers: writing them would wait for ever."""
        self._unread.start()

    def leave(self) -> None:
        """End the process at once if a call is still under way, because the interpreter would wait for its thread."""
        self._unread.cancel()
        if self._waitings:
            _leave()


def _leave() -> None:
    sys.stderr.flush()
    os._exit(0)


async def finish_at_end_of_input(ending: Ending, finish: Callable[[str], None]) -> None:
    """End the calls because the input ended, also if the serving was cancelled."""
    ending.sign()
    with anyio.CancelScope(shield=True):
        await _in_own_thread(finish, "the server's input ended")
    ending.limit_writing()


async def finish_at_signals(
    ending: Ending,
    finish: Callable[[str], None],
    all_answered: Callable[[], Awaitable[None]],
    *,
    task_status: TaskStatus[None],
) -> None:
    """Handles the signals to end until it is cancelled; signals that were ignored at the start (nohup) stay ignored.
    Answers of calls that are ended are written before the process ends.
    """
    heeded = [number for number in ENDING if signal.getsignal(number) is not signal.SIG_IGN]
    try:
        with anyio.open_signal_receiver(*heeded) as numbers:
            task_status.started()
            async with anyio.create_task_group() as tasks:
                async for number in numbers:
                    if ending.sign():
                        tasks.start_soon(_finish_by, number, finish, all_answered)
    finally:  # the loop restores Python's own handler of SIGINT, which would raise KeyboardInterrupt
        for number in heeded:
            signal.signal(number, signal.SIG_DFL)


async def _finish_by(
    number: signal.Signals, finish: Callable[[str], None], all_answered: Callable[[], Awaitable[None]]
) -> None:
    await _in_own_thread(finish, f"the server was ended by {number.name}")
    with anyio.move_on_after(_UNREAD_SECONDS):
        await all_answered()
    end_by(number)


async def _in_own_thread(finish: Callable[[str], None], why: str) -> None:
    """Call `finish` in a thread outside the pool, because calls may have taken all threads of the pool."""
    await anyio.to_thread.run_sync(finish, why, limiter=anyio.CapacityLimiter(1))
