"""Lines from the client's one pipe, and messages to its other.

Reading takes no thread, and can be given up at any moment. Writing takes one of its own, so that calls that fill the
pool of threads hold up no answer.
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
    """Each line until the input ends; also of a file or a device, which never keeps a reader waiting."""
    lines, waits = Lines(), True
    while True:
        if waits:
            try:
                await anyio.wait_readable(descriptor)
            except OSError:  # the system watches no descriptor of this kind
                waits = False
        try:
            chunk = os.read(descriptor, _CHUNK)
        except BlockingIOError:  # somebody who shares the pipe was quicker
            continue
        except OSError:  # a socket or a terminal whose other end is gone
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
    """Write each message on a line of its own, until there are no more. Raises ConnectionError."""
    own = anyio.CapacityLimiter(1)
    with messages:
        async for message in messages:
            line = _encoded(message.message)
            if line is not None:
                await anyio.to_thread.run_sync(_write, descriptor, line, limiter=own)
            written(message.message)


def _encoded(message: types.JSONRPCMessage) -> bytes | None:
    """The line of a message. In the place of an answer that UTF-8 cannot hold there is an error."""
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
        except BlockingIOError:  # who shares the pipe does not want writers to wait
            select.select([], [descriptor], [])
        except OSError as error:  # whatever keeps it from being written keeps the client from reading it
            raise ConnectionError(error.strerror) from error
