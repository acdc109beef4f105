"""One call in a worker thread: it can be cancelled, and the client hears of the steps of a run while it runs."""

import asyncio
import logging
import os
import threading
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from dataclasses import replace
from typing import Any, NoReturn, TypeAlias, TypeVar

import anyio
import anyio.to_thread
from mcp.server.context import ServerRequestContext

from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.execution.local_router import StepProgress
from nexus_control.server.ending import Ending
from nexus_control.toolset.calling import CallResult, call, question_of, refused
from nexus_control.toolset.tool import Question, Tool, ToolContext

Request: TypeAlias = ServerRequestContext[dict[str, Any], Any]
T = TypeVar("T")
_log = logging.getLogger(__name__)

_report: ContextVar[Callable[[StepProgress], None] | None] = ContextVar("report", default=None)
"""Who is told of the steps of the run that this thread carries out."""


async def run(
    ending: Ending, tool: Tool, context: ToolContext, arguments: Mapping[str, object]
) -> CallResult:
    """Run a tool in a thread. When the call is cancelled a waiting is ended; a run goes on and records its outcome."""
    waiting = threading.Event()

    def in_thread() -> CallResult:
        with ending.call(waiting) as may_begin:
            may_run = tool if may_begin else replace(tool, run=_refuse)
            return _contained(lambda: call(may_run, replace(context, wait=waiting.wait), arguments))

    try:
        return await anyio.to_thread.run_sync(in_thread, abandon_on_cancel=True)
    finally:
        waiting.set()


async def ask(
    ending: Ending, tool: Tool, context: ToolContext, arguments: Mapping[str, object]
) -> Question | CallResult:
    """A tool's question, or what the call answers without asking."""

    def in_thread() -> Question | CallResult:
        with ending.call(threading.Event()) as may_begin:
            may_ask = tool if may_begin else replace(tool, question=_refuse)
            return _contained(lambda: question_of(may_ask, context, arguments))

    return await anyio.to_thread.run_sync(in_thread)


def _contained(action: Callable[[], T]) -> T | CallResult:
    """What `action` returns. No signal raises anything in this thread, so an exception that would end the server
    (SystemExit, KeyboardInterrupt) is one of a router or an adapter, and is answered.

    A child that one of them forked comes back here too. It ends: it is not the server, and nobody waits for its answer.
    """
    server = os.getpid()
    try:
        try:
            return action()
        finally:
            if os.getpid() != server:
                os._exit(1)
    except BaseException as defect:
        with suppress(Exception):  # an exception of foreign code may be one that cannot be shown
            _log.exception("unexpected fault")
        what = type(defect).__name__
        return refused(
            NexusControlError(ErrorCode.INTERNAL, f"unexpected {what}; see the log", {"exception": what})
        )


def _refuse(_context: ToolContext, _arguments: object) -> NoReturn:
    raise NexusControlError(ErrorCode.SHUTTING_DOWN, "The server is ending, and begins nothing any more")


@asynccontextmanager
async def reporting(request: Request) -> AsyncGenerator[None]:
    """Tell the client of the steps of a run, from the thread that executes them."""
    loop, steps = asyncio.get_running_loop(), asyncio.Queue[StepProgress | None]()

    def put(step: StepProgress | None) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody is left to be told, and the run goes on
            loop.call_soon_threadsafe(steps.put_nowait, step)

    async def forward() -> None:
        while (step := await steps.get()) is not None:
            done = step.index - (step.status == "started")
            message = f"step {step.index} of {step.total}, {step.step_id}: {step.status}"
            await request.session.report_progress(done, step.total, message)

    token = _report.set(put)
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(forward)
            try:
                yield
            finally:
                put(None)
    finally:
        _report.reset(token)


def tell(step: StepProgress) -> None:
    """Report a step of the run that this thread carries out, where somebody listens."""
    report = _report.get()
    if report is not None:
        report(step)
