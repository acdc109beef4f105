"""Makes one call of a Python function, with a time limit or without, and cuts it off as far as Python can.

    a coroutine, at its limit or at a cancel    it is cancelled where it awaits, and has ended when the call returns.
                                                With a limit it is waited for five seconds more, and then left
    another function, at its limit              it is left: it goes on in its thread until it returns or the process
                                                ends
    another function, at a cancel               it goes on, and the call waits for it

Without a limit a function runs in the thread of its caller; a coroutine as well, unless a loop runs there already. With
a limit it runs in a daemon thread that has a copy of the caller's context. At the limit that context gets an order to
stop, which `current().stop_ordered()` tells to what was left. What was cut off may have done its work, so
its effect is unknown. A coroutine that returns a value although it was cancelled has ended well.

A child process that the function forks is no part of the run. Where it comes to the end of such a thread, it ends.
"""

import asyncio
import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from contextvars import copy_context
from typing import Any, Final, NoReturn

from nexus_control.execution.adapter import StepError
from nexus_control.execution.stopping import Stop, heeding, order_given

_LOOK_SECONDS: Final = 0.1
_LEAVE_SECONDS: Final = 5.0
_FOR_EVER: Final = float("inf")


class CutOffError(Exception):
    """The call did not come to its own end."""

    def __init__(self, code: StepError, message: str) -> None:
        super().__init__(message)
        self.code = code


def run_function(work: Callable[[], object], limit: float | None) -> object:
    """What `work` returns. Raises what it raises, and CutOffError at its limit, in seconds."""
    return work() if limit is None else _in_thread(work, limit, limit)


def run_coroutine(running: object, limit: float | None) -> object:
    """The result of a coroutine, run in a loop of its own: a loop of this thread waits for us and cannot run it. Raises
    what it raises, and CutOffError at a cancel and at its limit, in seconds.
    """

    def work() -> object:
        return asyncio.run(_awaited(running, limit))

    if limit is not None:
        return _in_thread(work, limit, limit + _LEAVE_SECONDS)
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return work()
    return _in_thread(work)


def _in_thread(
    work: Callable[[], object], limit: float | None = None, patience: float | None = None
) -> object:
    """What `work` returns in a thread of its own, which is left after `patience` seconds."""
    ended, stop, pid = Future[object](), Stop(), os.getpid()

    def run() -> None:
        result, raised = None, None
        try:
            with heeding(stop):
                result = work()
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that waits
            raised = error
        if os.getpid() != pid:
            _leave(raised)
        elif raised is None:
            ended.set_result(result)
        else:
            ended.set_exception(raised)

    thread = threading.Thread(target=copy_context().run, args=(run,), daemon=True)
    thread.start()
    thread.join(patience)
    if not ended.done():
        stop.order(f"its time limit of {limit:g} s was reached")
        raise CutOffError(
            StepError.TIMED_OUT, f"It had not ended at its time limit of {limit:g} s, and was left running"
        )
    thread.join()  # not only until the result is set: a fork directly after must not meet a live thread
    return ended.result()


def _leave(raised: BaseException | None) -> NoReturn:
    """Ends this process, a fork, as Python would in its main thread. Its end here would be code 0 in any case."""
    code = raised.code if isinstance(raised, SystemExit) else raised
    with suppress(Exception):  # what cannot be written is lost; the code is not
        if isinstance(code, BaseException):
            sys.excepthook(type(code), code, code.__traceback__)
        elif code is not None and not isinstance(code, int):
            print(code, file=sys.stderr)
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(0 if code is None else code & 0xFF if isinstance(code, int) else 1)


async def _awaited(running: Any, limit: float | None) -> object:
    task = asyncio.ensure_future(running)
    deadline = _FOR_EVER if limit is None else time.monotonic() + limit
    try:
        while True:
            left = max(0.0, deadline - time.monotonic())
            await asyncio.wait({task}, timeout=min(left, _LOOK_SECONDS))
            if task.done():
                return task.result()
            order = order_given()
            if order is not None and order.kind == "cancel":
                await _cut(task, CutOffError(StepError.CANCELLED, f"It was cut off because {order.why}"))
            elif time.monotonic() >= deadline:
                await _cut(
                    task, CutOffError(StepError.TIMED_OUT, f"It was cut off at its time limit of {limit:g} s")
                )
    finally:
        if task.done() and not task.cancelled():
            task.exception()  # otherwise Python warns that nobody asked for it


async def _cut(task: "asyncio.Future[object]", cut: CutOffError) -> None:
    """Cancel, and wait for the end. Raises `cut`, unless a value is returned all the same."""
    task.cancel()
    await asyncio.wait({task})
    if task.cancelled() or task.exception() is not None:
        raise cut
