"""Runs a call in worker threads: it can be cancelled, a long run goes on after its answer, and the client is told each
step of a run as it happens.
"""

import asyncio
import logging
import os
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from dataclasses import replace
from functools import partial
from typing import Any, NoReturn, TypeAlias, TypeVar

import anyio
import anyio.to_thread
from mcp.server.context import ServerRequestContext

from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.execution.local_router import StepProgress
from nexus_control.server.ending import Ending
from nexus_control.toolset.calling import (
    POLL_SECONDS,
    CallResult,
    call_meanwhile,
    call_now,
    question_of,
    seconds_to_wait,
)
from nexus_control.toolset.tool import Question, Tool, ToolContext

Request: TypeAlias = ServerRequestContext[dict[str, Any], Any]
T = TypeVar("T")
_log = logging.getLogger(__name__)

_report: ContextVar[Callable[[StepProgress], None] | None] = ContextVar("report", default=None)
"""The function that is told each step of the run that this thread executes."""


async def run(
    ending: Ending,
    tool: Tool,
    context: ToolContext,
    arguments: Mapping[str, object],
    patience: Callable[[], Awaitable[object]],
) -> CallResult:
    """Run a tool in a thread. Cancelling the call ends its waiting; a run goes on and records its outcome.

    Waiting takes no thread, and a tool that may run for long has one outside the pool: neither holds up other calls.
    When `patience` ends first, the answer is what the tool says meanwhile.
    """
    if tool.awaited is not None:
        return await _run_awaited(ending, tool, context, arguments)
    run_it = partial(_registered, ending, tool, context, arguments)
    if tool.meanwhile is None:
        return await anyio.to_thread.run_sync(run_it, abandon_on_cancel=True)
    outcomes: list[CallResult] = []

    async def until_it_ends() -> None:
        own = anyio.CapacityLimiter(1)
        outcomes.append(await anyio.to_thread.run_sync(run_it, abandon_on_cancel=True, limiter=own))
        tasks.cancel_scope.cancel()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(until_it_ends)
        await patience()
        tasks.cancel_scope.cancel()
    if outcomes:
        return outcomes[0]
    return await in_thread(partial(call_meanwhile, tool, context, arguments))


async def _run_awaited(
    ending: Ending, tool: Tool, context: ToolContext, arguments: Mapping[str, object]
) -> CallResult:
    woken = anyio.Event()
    with ending.call(woken) as may_begin:
        if not may_begin:
            return _contained(partial(call_now, replace(tool, run=_refuse), context, arguments))
        waited = 0.0
        while not woken.is_set():
            seconds = await in_thread(partial(seconds_to_wait, tool, context, arguments))
            if not isinstance(seconds, float | int) or waited >= seconds:
                break
            with anyio.move_on_after(POLL_SECONDS):
                await woken.wait()
            waited += POLL_SECONDS
        return await in_thread(partial(call_now, tool, context, arguments))


async def in_thread(action: Callable[[], T]) -> T | CallResult:
    """The result of a quick action, made in a thread of the pool."""
    return await anyio.to_thread.run_sync(_contained, action)


def _registered(
    ending: Ending, tool: Tool, context: ToolContext, arguments: Mapping[str, object]
) -> CallResult:
    with ending.call(threading.Event()) as may_begin:
        may_run = tool if may_begin else replace(tool, run=_refuse)
        return _contained(partial(call_now, may_run, context, arguments))


async def ask(
    ending: Ending, tool: Tool, context: ToolContext, arguments: Mapping[str, object]
) -> Question | CallResult:
    """A tool's question for a person, or the call's result if there is nothing to ask."""

    def asked() -> Question | CallResult:
        with ending.call(threading.Event()) as may_begin:
            may_ask = tool if may_begin else replace(tool, question=_refuse)
            return _contained(partial(question_of, may_ask, context, arguments))

    return await anyio.to_thread.run_sync(asked)


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
        fault = NexusControlError(ErrorCode.INTERNAL, f"unexpected {what}; see the log", {"exception": what})
        return CallResult(
            {"code": str(fault.code), "message": fault.message, "details": fault.details, "next": fault.next},
            is_error=True,
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
