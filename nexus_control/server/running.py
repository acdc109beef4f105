"""Runs one call in a worker thread: it can be cancelled, and the client is told each step of a run as it happens."""

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
"""The function that is told each step of the run that this thread executes."""


async def run(
    ending: Ending, tool: Tool, context: ToolContext, arguments: Mapping[str, object]
) -> CallResult:
    """Run a tool in a thread. Cancelling the call ends a waiting `status`; a run goes on and records its outcome."""
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
    """A tool's question for a person, or the call's result if there is nothing to ask."""

    def in_thread() -> Question | CallResult:
        with ending.call(threading.Event()) as may_begin:
            may_ask = tool if may_begin else replace(tool, question=_refuse)
            return _contained(lambda: question_of(may_ask, context, arguments))

    return await anyio.to_thread.run_sync(in_thread)


def _contained(action: Callable[[], T]) -> T | CallResult:
    """The result of `action`. Signals raise no exception in this thread, so SystemExit or KeyboardInterrupt here comes
    from a router or an adapter: it becomes the call's answer and does not end the server.

    A child process that a router or an adapter forked returns here too. It is ended, because it is not the server.
    """
    server = os.getpid()
    try:
        try:
            return action()
        finally:
            if os.getpid() != server:
                os._exit(1)
    except BaseException as defect:
        with suppress(Exception):  # showing an exception runs its own code, which may raise
            _log.exception("unexpected fault")
        what = type(defect).__name__
        return refused(
            NexusControlError(ErrorCode.INTERNAL, f"unexpected {what}; see the log", {"exception": what})
        )


def _refuse(_context: ToolContext, _arguments: object) -> NoReturn:
    raise NexusControlError(ErrorCode.SHUTTING_DOWN, "The server is ending and begins no further call")


@asynccontextmanager
async def reporting(request: Request) -> AsyncGenerator[None]:
    """In the block, the client is told each step of a run; the steps come from the thread that executes them."""
    loop, steps = asyncio.get_running_loop(), asyncio.Queue[StepProgress | None]()

    def put(step: StepProgress | None) -> None:
        with suppress(RuntimeError):  # the loop is closed, so no client can be told; the run goes on
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
    """Report a step of the run that this thread executes, if the client asked to be told."""
    report = _report.get()
    if report is not None:
        report(step)
