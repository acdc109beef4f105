"""Gives each line of the client to the protocol's session, or answers it here if no session can take it.

A session belongs to one protocol era, and the client's first request decides which. `server/discover` does not decide
it: a client that probes with it may give up waiting and open with `initialize`. So each `server/discover` before the
session gets a short session of its own, which ends with the answer. The next request may be of either era.

A line that cannot be read is answered with an error, and so is a response to a request that was never made. An error
without an id is not answered, because with it a client reports that it could not read a line of ours.
"""

from collections.abc import AsyncGenerator
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

import anyio
import mcp_types as types
from anyio.streams.memory import MemoryObjectSendStream
from mcp.server.lowlevel.server import Server
from mcp.shared.message import SessionMessage

from nexus_control.server.lines import Line, Refused, invalid, read_line

_PROBE = "server/discover"
_HANDSHAKE_DONE = "notifications/initialized"


class Conversation:
    """The conversation with one client. Every message to the client goes into `outgoing`."""

    def __init__(
        self, server: Server[dict[str, Any]], outgoing: MemoryObjectSendStream[SessionMessage]
    ) -> None:
        self._server = server
        self._outgoing = outgoing
        self._asked: set[str] = set()
        """The ids of our own requests. A response with such an id is accepted at any time."""
        self._unanswered: set[types.RequestId] = set()
        self._changed = anyio.Event()

    def written(self, message: types.JSONRPCMessage) -> None:
        """Note that this message was written to the client's pipe."""
        if isinstance(message, types.JSONRPCResponse | types.JSONRPCError) and message.id is not None:
            self._unanswered.discard(message.id)
            self._changed.set()

    async def all_answered(self) -> None:
        """Wait until every request that was not cancelled has its answer. That may be never: set a time limit."""
        while self._unanswered:
            self._changed = anyio.Event()
            await self._changed.wait()

    async def run(self, lines: AsyncGenerator[Line]) -> None:
        """Converse until there are no more lines; then cancel the calls that are under way."""
        to_session, heard = anyio.create_memory_object_stream[SessionMessage | Exception]()
        with heard:
            async with anyio.create_task_group() as tasks:
                with to_session:
                    opened = False
                    async for line in lines:
                        message = self._understood(line)
                        if isinstance(message, Refused):
                            await self._refuse(message)
                        elif not opened and _is_probe(message):
                            await self._answer_alone(message)
                        elif opened or _opens(message):
                            if not opened:
                                tasks.start_soon(self._serve, heard, _Voice(self._outgoing, self._asked))
                                opened = True
                            await to_session.send(SessionMessage(message))

    def _understood(self, line: Line) -> types.JSONRPCMessage | Refused:
        message = read_line(line)
        match message:
            case types.JSONRPCResponse(id=answered) | types.JSONRPCError(id=str() | int() as answered):
                known = str(answered) in self._asked
                return message if known else invalid("an answer to a request that was never made")
            case types.JSONRPCRequest():
                self._unanswered.add(message.id)
            case types.JSONRPCNotification(
                method="notifications/cancelled", params={"requestId": str() | int() as taken_back}
            ):
                self._unanswered.discard(taken_back)
            case _:
                pass
        return message

    async def _refuse(self, line: Refused) -> None:
        with suppress(anyio.BrokenResourceError):  # the client no longer reads, and the server is ending
            await self._outgoing.send(SessionMessage(line.answer))

    async def _answer_alone(self, request: types.JSONRPCMessage) -> None:
        voice = _Voice(self._outgoing, self._asked)
        to_session, heard = anyio.create_memory_object_stream[SessionMessage | Exception]()
        with heard:
            async with anyio.create_task_group() as tasks:
                with to_session:
                    tasks.start_soon(self._serve, heard, voice)
                    await to_session.send(SessionMessage(request))
                    await voice.answered.wait()

    async def _serve(self, heard: Any, voice: "_Voice") -> None:
        await self._server.run(heard, voice, self._server.create_initialization_options())


class _Voice:
    """The stream that a session writes to. It collects the ids of our requests, and whether the session answered."""

    def __init__(self, outgoing: MemoryObjectSendStream[SessionMessage], asked: set[str]) -> None:
        self._outgoing = outgoing
        self._asked = asked
        self.answered = anyio.Event()

    async def send(self, item: SessionMessage, /) -> None:
        if isinstance(item.message, types.JSONRPCRequest):
            self._asked.add(str(item.message.id))
        await self._outgoing.send(item)
        if isinstance(item.message, types.JSONRPCResponse | types.JSONRPCError):
            self.answered.set()

    async def aclose(self) -> None:
        """The pipe stays open: another session may follow."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        await self.aclose()


def _is_probe(message: types.JSONRPCMessage) -> bool:
    return isinstance(message, types.JSONRPCRequest) and message.method == _PROBE


def _opens(message: types.JSONRPCMessage) -> bool:
    """Whether a session begins with this message. Before a session, other notifications have no meaning."""
    if isinstance(message, types.JSONRPCNotification):
        return message.method == _HANDSHAKE_DONE
    return isinstance(message, types.JSONRPCRequest)
