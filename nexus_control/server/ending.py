"""How a server ends: at the end of its input, and at SIGTERM, SIGINT or SIGHUP.

1. No call begins any more, and a `status` that waits answers at once.
2. Calls that are under way have two seconds to come to their end. A second sign to end cuts that short.
3. Programs that still run are killed; their runs have a second to record that.
4. What cannot be stopped, a Python function or a router of somebody else, is recorded as unknown. Should it still end,
   its outcome is refused, and kept as evidence.
5. The store and the run log are closed, each after the transactions that are under way.
6. What was answered is written: half a second is waited for that.
7. The process ends, at a signal by that signal. A thread that is still in code that cannot be stopped is not waited
   for, nor a client that does not read, and the interpreter is not taken down around them.
"""

import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable, Generator
from contextlib import ExitStack, contextmanager
from functools import partial

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


class Ending:
    """The calls that are under way, and their end. Their runs heed `stop`."""

    def __init__(self, stop: Stop) -> None:
        self._stop = stop
        self._changed = threading.Condition()
        self._waitings: list[threading.Event] = []
        self._signs = 0
        self._finishing = threading.Lock()
        self._unread = threading.Timer(_UNREAD_SECONDS, _leave)
        self._unread.daemon = True

    @contextmanager
    def call(self, waiting: threading.Event) -> Generator[bool]:
        """A call in its own thread, or False where none may begin any more. It waits until `waiting` is set."""
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
        """The server is to end: whether this is the first time that it is told."""
        with self._changed:
            self._signs += 1
            for waiting in self._waitings:
                waiting.set()
            self._changed.notify_all()
            return self._signs == 1

    def finish(self, store: DecisionStore, opened: ExitStack, why: str) -> None:
        """Bring the calls to their end, then close what was opened. Blocks for about three seconds at most, and for as
        long as the store is busy. Called again, it only waits until that is done.
        """
        with self._finishing:
            if not self._end_calls(why):
                fault_of(
                    partial(give_up_own, store, why)
                )  # what cannot be recorded now, the next start recovers
            fault_of(opened.close)

    def _end_calls(self, why: str) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: not self._waitings or self._signs > 1, GRACE_SECONDS)
            self._stop.order(why)
            return self._changed.wait_for(lambda: not self._waitings, KILL_SECONDS)

    def limit_writing(self) -> None:
        """End the process if what is still to be written finds no reader: it would be waited for without end."""
        self._unread.start()

    def leave(self) -> None:
        """End the process here and now if a call is still under way; the interpreter would wait for its thread."""
        self._unread.cancel()
        if self._waitings:
            _leave()


def _leave() -> None:
    sys.stderr.flush()
    os._exit(0)


async def finish_at_end_of_input(ending: Ending, finish: Callable[[str], None]) -> None:
    """Also when the serving was cancelled."""
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
    """Heeds the signals that were not ignored when we were started (as nohup does), until it is cancelled. What the
    calls answered on being ended is written before the process ends.
    """
    heeded = [number for number in ENDING if signal.getsignal(number) is not signal.SIG_IGN]
    try:
        with anyio.open_signal_receiver(*heeded) as numbers:
            task_status.started()
            async with anyio.create_task_group() as tasks:
                async for number in numbers:
                    if ending.sign():
                        tasks.start_soon(_finish_by, number, finish, all_answered)
    finally:  # the loop gives SIGINT back to Python, which makes an exception of it
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
    """Not in the pool that the calls share: they may fill it."""
    await anyio.to_thread.run_sync(finish, why, limiter=anyio.CapacityLimiter(1))
