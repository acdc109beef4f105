"""Reads lines from one of the client's pipes, and writes messages to the other.

Reading uses no thread and can be cancelled at any moment. Writing uses a thread outside the pool, so that an answer
is written also while calls take all threads of the pool.
"""

import logging
import os
import select
from collections.abc import AsyncGenerator, Callable

import anyio
import anyio.to_thread
import mcp_types as types
from anyio.streams.memory import MemoryObjectReceiveStream
from mcp.shared.message import SessionMessage

from nexus_control.server.lines import Line, Lines

_CHUNK = 65536
_log = logging.getLogger(__name__)


async def read_lines(descriptor: int) -> AsyncGenerator[Line]:
    """Each line until the input ends. The input may also be a file or a device, which is always readable."""
    lines, waits = Lines(), True
    while True:
        if waits:
            try:
                await anyio.wait_readable(descriptor)
            except OSError:  # the system cannot watch this kind of descriptor
                waits = False
        try:
            chunk = os.read(descriptor, _CHUNK)
        except BlockingIOError:  # another process that shares the pipe has read the data
            continue
        except OSError:  # the other end of the socket or terminal is gone
            chunk = b""
        for line in lines.feed(chunk) if chunk else lines.end():
            yield line
        if not chunk:
            return


async def write_messages(
    descriptor: int,
    messages: MemoryObjectReceiveStream[SessionMessage],
    written: Callable[[types.JSONRPCMessage], None],
) -> None:
    """Write each message on a line of its own until the stream ends. Raises ConnectionError."""
    own = anyio.CapacityLimiter(1)
    with messages:
        async for message in messages:
            line = _encoded(message.message)
            if line is not None:
                await anyio.to_thread.run_sync(_write, descriptor, line, limiter=own)
            written(message.message)


def _encoded(message: types.JSONRPCMessage) -> bytes | None:
    """The line of a message. An answer that UTF-8 cannot encode is replaced by an error."""
    try:
        return message.model_dump_json(by_alias=True, exclude_unset=True).encode() + b"\n"
    except ValueError:
        _log.exception("a message cannot be written")
    if not isinstance(message, types.JSONRPCResponse | types.JSONRPCError):
        return None
    error = types.ErrorData(code=types.INTERNAL_ERROR, message="The answer holds text that is not Unicode")
    return _encoded(types.JSONRPCError(jsonrpc="2.0", id=message.id, error=error))


def _write(descriptor: int, line: bytes) -> None:
    rest = memoryview(line)
    while rest:
        try:
            rest = rest[os.write(descriptor, rest) :]
        except BlockingIOError:  # another process that shares the pipe made it non-blocking
            select.select([], [descriptor], [])
        except OSError as error:  # the client cannot get the line, whatever the reason
            raise ConnectionError(error.strerror) from error
