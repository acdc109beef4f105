"""A client of one MCP server: the official SDK in a thread of its own, over pipes that a supervisor holds.

The SDK chooses the protocol's version and checks the shape of answers. The wire under it is ours, because it bounds
what a server can do to us:

- A line has at most `most_bytes`; the first longer one ends the conversation. A line that is not a message is skipped.
  Standard error is read, and only its end is kept.
- Only answers reach the SDK. A ping of the server is answered. Its other requests (sampling, elicitation, roots) get
  the error -32601: nobody is asked on a server's word. Of its notifications only `tools/list_changed` is noted.
- Nothing more is read until our answer is written, so a server that asks and never reads makes nothing grow.

Calls come from the caller's thread, which may have a loop of its own. They wait at most until their deadline, and obey
an order to stop.
"""

import asyncio
import json
import math
import os
from collections.abc import AsyncGenerator, Callable, Collection, Coroutine, Mapping
from concurrent.futures import CancelledError, Future, wait
from contextlib import asynccontextmanager, suppress
from threading import Thread
from time import monotonic
from typing import Any, Final, TypeAlias, TypeVar, cast

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp import Client, MCPError
from mcp.client import Transport
from mcp.shared.message import SessionMessage
from mcp_types import (
    CallToolRequest,
    CallToolRequestParams,
    Implementation,
    ListToolsRequest,
    PaginatedRequestParams,
    Result,
    jsonrpc_message_adapter,
)

from nexus_control.execution.mcp_answers import Listing, NoAnswerError
from nexus_control.execution.revealing import masked, masked_error
from nexus_control.execution.spelling import bounded
from nexus_control.execution.stopping import order_given
from nexus_control.execution.talking import Talk

METHOD_NOT_FOUND: Final = -32601
_MOST_PAGES = 100
_MOST_NAMES = 50
_MOST_SHOWN = 300
_LOOK_SECONDS = 0.1
_DRAIN_SECONDS = 0.5
_LAST_WORDS = 8192
_CHUNK = 65536
_WHO: Final = Implementation(name="nexus-control", version="2")

_Incoming: TypeAlias = SessionMessage | Exception
_Streams: TypeAlias = tuple[MemoryObjectReceiveStream[_Incoming], MemoryObjectSendStream[SessionMessage]]
_ResultT = TypeVar("_ResultT")


class _Raw(Result, extra="allow"):
    """A result whose shape was checked, with all its fields as the server gave them."""

    @property
    def fields(self) -> dict[str, Any]:
        return self.model_extra or {}


class _Wire:
    """The pipes of a server as a transport of the SDK."""

    def __init__(self, talk: Talk, most_bytes: int) -> None:
        self._talk = talk
        self._most_bytes = most_bytes
        self._writing = asyncio.Lock()
        self.broken: str | None = None
        self.list_changed = False
        self.last_words = bytearray()

    @asynccontextmanager
    async def streams(self) -> AsyncGenerator[_Streams]:
        to_client, incoming = anyio.create_memory_object_stream[_Incoming](0)
        outgoing, from_client = anyio.create_memory_object_stream[SessionMessage](0)
        async with to_client, incoming, outgoing, from_client, anyio.create_task_group() as tasks:
            tasks.start_soon(self._receive, to_client)
            tasks.start_soon(self._send_all, from_client, to_client)
            tasks.start_soon(self._listen)
            yield incoming, outgoing
            tasks.cancel_scope.cancel()

    async def _receive(self, to_client: MemoryObjectSendStream[_Incoming]) -> None:
        """Passes answers on, until the server's output ends or a message is too long."""
        line = bytearray()
        with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError, OSError):
            while part := await _read(self._talk.stdout):
                *ended, rest = part.split(b"\n")
                for each in ended:
                    line += each
                    await self._take(line, to_client)
                    line = bytearray()
                line += rest
                if len(line) > self._most_bytes:
                    self.broken = f"it sent a message of more than {self._most_bytes} bytes"
                    break
        self.broken = self.broken or "it closed its output"
        await to_client.aclose()

    async def _take(self, line: bytearray, to_client: MemoryObjectSendStream[_Incoming]) -> None:
        try:
            message = json.loads(line, parse_float=_finite, parse_constant=_finite)
            answer = jsonrpc_message_adapter.validate_python(message, by_name=False)
        except (ValueError, RecursionError):  # no JSON, too deep, or no message
            return
        match message:
            case {"method": "ping", "id": id_}:
                await self._send({"jsonrpc": "2.0", "id": id_, "result": {}})
            case {"method": _, "id": id_}:
                error = {"code": METHOD_NOT_FOUND, "message": "This client answers no requests of a server"}
                await self._send({"jsonrpc": "2.0", "id": id_, "error": error})
            case {"method": method}:
                self.list_changed = self.list_changed or method == "notifications/tools/list_changed"
            case _:
                await to_client.send(SessionMessage(answer))

    async def _send_all(
        self,
        from_client: MemoryObjectReceiveStream[SessionMessage],
        to_client: MemoryObjectSendStream[_Incoming],
    ) -> None:
        try:
            async for each in from_client:
                await self._send(each.message.model_dump(by_alias=True, mode="json", exclude_unset=True))
        except OSError as error:
            self.broken = self.broken or f"it takes no input ({error.strerror})"
            await to_client.aclose()

    async def _send(self, message: Mapping[str, Any]) -> None:
        left = memoryview(json.dumps(message).encode() + b"\n")
        async with self._writing:
            while left:
                await anyio.wait_writable(self._talk.stdin)
                with suppress(BlockingIOError):
                    left = left[os.write(self._talk.stdin, left[:_CHUNK]) :]

    async def _listen(self) -> None:
        while part := await _read(self._talk.stderr):
            self.last_words += part
            del self.last_words[:-_LAST_WORDS]


class Conversation:
    """The conversation with a server that was started. Only one thread at a time may use it."""

    def __init__(self, talk: Talk, most_bytes: int) -> None:
        self._talk = talk
        self._wire = _Wire(talk, most_bytes)
        self._begun: Future[tuple[asyncio.AbstractEventLoop, Callable[[], None]]] = Future()
        self._opened: Future[Client] = Future()
        self._thread = Thread(target=self._serve, name="nexus-control mcp", daemon=True)

    def __enter__(self) -> "Conversation":
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the client; the server's pipes are left as they are."""
        with suppress(Exception):  # a loop that could not be made, or is closed already
            loop, cancel = self._begun.result()
            loop.call_soon_threadsafe(cancel)
        self._thread.join()

    @property
    def list_changed(self) -> bool:
        """Whether the server said, since its tools were listed, that they are others now."""
        return self._wire.list_changed

    @property
    def last_words(self) -> str:
        """The end of its standard error."""
        return bytes(self._wire.last_words).decode("utf-8", "replace").strip()

    def open(self, deadline: float) -> None:
        """Agrees with the server on a version. Raises NoAnswerError."""
        self._awaited(self._opened, deadline)

    def listed(self, wanted: Collection[str], deadline: float) -> Listing:
        """The whole definitions of the wanted tools, as the server gives them. Raises NoAnswerError."""
        self._wire.list_changed = False
        return self._run(self._list(wanted), deadline)

    def call(
        self, tool: str, arguments: Mapping[str, object], meta: Mapping[str, str], deadline: float
    ) -> dict[str, Any]:
        """The result as the server gives it, of the shape of a CallToolResult. Raises NoAnswerError."""
        params: dict[str, Any] = {"name": tool, "arguments": dict(arguments), "_meta": dict(meta)}
        request = CallToolRequest(params=CallToolRequestParams.model_validate(params))
        result = self._run(self._client.session.send_request(request, _Raw), deadline).fields
        if not isinstance(result.get("content"), list):
            raise NoAnswerError("protocol_error", "it asked for more input instead of giving a result")
        return result

    @property
    def _client(self) -> Client:
        return self._opened.result(0)

    async def _list(self, wanted: Collection[str]) -> Listing:
        cursor: str | None = None
        found, names = dict[str, dict[str, Any]](), list[str]()
        for _ in range(_MOST_PAGES):
            request = ListToolsRequest(params=PaginatedRequestParams(cursor=cursor))
            page = (await self._client.session.send_request(request, _Raw)).fields
            for tool in page["tools"]:
                name = tool["name"]
                if name in found:
                    raise NoAnswerError("protocol_error", f"it lists the tool {masked(name)!r:.80} twice")
                if name in wanted:
                    found[name] = tool
                if len(names) < _MOST_NAMES:
                    names.append(bounded(masked(name), 80))
            cursor = page.get("nextCursor")
            if cursor is None:
                return Listing(found, tuple(names))
        raise NoAnswerError("protocol_error", f"its list of tools has more than {_MOST_PAGES} pages")

    def _serve(self) -> None:
        try:
            anyio.run(self._main)
        except BaseException as error:
            for future in (self._begun, self._opened):
                if not future.done():
                    future.set_exception(error)

    async def _main(self) -> None:
        wire = cast("Transport", self._wire.streams())
        client = Client(wire, cache=None, client_info=_WHO)
        with anyio.CancelScope() as scope:
            self._begun.set_result((asyncio.get_running_loop(), scope.cancel))
            async with client:
                self._opened.set_result(client)
                await anyio.sleep_forever()

    def _run(self, call: Coroutine[Any, Any, _ResultT], deadline: float) -> _ResultT:
        loop, _ = self._begun.result()
        try:
            future = asyncio.run_coroutine_threadsafe(call, loop)
        except RuntimeError as error:  # the loop is closed
            call.close()
            raise self._trouble(error) from None
        return self._awaited(future, deadline)

    def _awaited(self, future: "Future[_ResultT]", deadline: float) -> _ResultT:
        seen_over = False
        while not wait([future], min(_LOOK_SECONDS, max(0.0, deadline - monotonic()))).done:
            if (order := order_given()) is not None:
                raise NoAnswerError("cancelled" if order.kind == "cancel" else "stopped", order.why)
            if monotonic() >= deadline:
                if seen_over:
                    raise NoAnswerError("transport_error", "it ended, or its supervisor was stopped")
                raise NoAnswerError("timeout", "it did not answer within its time limit")
            if not seen_over and self._talk.is_over:  # what it wrote before may still be under way
                seen_over, deadline = True, min(deadline, monotonic() + _DRAIN_SECONDS)
        try:
            return future.result()
        except NoAnswerError:
            raise
        except (Exception, CancelledError) as error:
            raise self._trouble(error) from None

    def _trouble(self, error: BaseException) -> NoAnswerError:
        while isinstance(error, BaseExceptionGroup):
            error = cast("BaseExceptionGroup[BaseException]", error).exceptions[0]
        if self._wire.broken is not None:
            return NoAnswerError("transport_error", self._wire.broken)
        if isinstance(error, MCPError):
            said = bounded(masked(error.message), _MOST_SHOWN)
            return NoAnswerError("protocol_error", f"it answered with the error {error.code}: {said}")
        if isinstance(error, ValueError):  # of pydantic, whose text would repeat what the server sent
            return NoAnswerError(
                "protocol_error", "its answer does not have the shape that the protocol says"
            )
        return NoAnswerError("protocol_error", masked_error(error, _MOST_SHOWN))


async def _read(descriptor: int) -> bytes:
    while True:
        await anyio.wait_readable(descriptor)
        with suppress(BlockingIOError):
            return os.read(descriptor, _CHUNK)


def _finite(text: str) -> float:
    """A number of JSON. Raises ValueError for one that no double holds, and for NaN."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number
