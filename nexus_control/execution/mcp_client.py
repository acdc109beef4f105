"""A client of one MCP server: the official SDK in a thread of its own, over pipes that a supervisor holds.

The SDK agrees with the server on the protocol's version. A later request is written by the thread that asks, and its
answer goes straight back to that thread: through the SDK's queues and tasks a call takes twice as long on our side. The
SDK's models check the shape of each answer. The wire under it is ours, because it bounds what a server can do to us:

- A line has at most `most_bytes`; the first longer one ends the conversation. A line that is not a message is skipped.
  Standard error is read, and only its end is kept.
- Only answers are passed on. A ping of the server is answered. Its other requests (sampling, elicitation, roots) get
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
from concurrent.futures import CancelledError, Future
from contextlib import asynccontextmanager, suppress
from itertools import count
from threading import Lock, Thread
from time import monotonic
from typing import Any, Final, TypeAlias, TypeVar, cast

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp import Client, MCPError
from mcp.client import Transport
from mcp.shared.message import SessionMessage
from mcp_types import (
    CLIENT_CAPABILITIES_META_KEY,
    CLIENT_INFO_META_KEY,
    PROTOCOL_VERSION_META_KEY,
    Implementation,
    JSONRPCError,
    JSONRPCResponse,
    jsonrpc_message_adapter,
)
from mcp_types.methods import validate_server_result
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

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
_FIRST_ID = 1_000_000
"""Far above the ids that the SDK gives its own requests, which it counts from 1."""
_OVER: Final = "the conversation with it was ended"
_WHO: Final = Implementation(name="nexus-control", version="2")

_Incoming: TypeAlias = SessionMessage | Exception
_Streams: TypeAlias = tuple[MemoryObjectReceiveStream[_Incoming], MemoryObjectSendStream[SessionMessage]]
_Answer: TypeAlias = JSONRPCResponse | JSONRPCError
_ResultT = TypeVar("_ResultT")


class _Wire:
    """The pipes of a server: a transport of the SDK, and the answers to requests that were `put` without it.

    Any thread may `put` a message; `answer_to` belongs to the thread that asks, and all else to the loop's thread. What
    the pipe did not take is left in `_unsent`, so messages stay whole and in order.
    """

    def __init__(self, talk: Talk, most_bytes: int) -> None:
        self._talk = talk
        self._most_bytes = most_bytes
        self._unsent = bytearray()
        self._putting, self._draining = Lock(), asyncio.Lock()
        self._asked: tuple[int, Future[_Answer]] | None = None
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

    def answer_to(self, id_: int) -> Future[_Answer]:
        """The answer to the request of this id, which is put next. Raises EOFError where none can come."""
        answer = Future[_Answer]()
        self._asked = (id_, answer)
        if self.broken is not None:
            raise EOFError
        return answer

    def put(self, message: Mapping[str, Any]) -> bool:
        """Writes as much as the pipe takes, and says whether that is all. Raises OSError."""
        with self._putting:
            self._unsent += json.dumps(message).encode() + b"\n"
            return self._is_drained()

    async def drain(self) -> None:
        """Writes what is left. Raises OSError."""
        async with self._draining:
            while self._unsent:
                await anyio.wait_writable(self._talk.stdin)
                with self._putting:
                    self._is_drained()

    def end(self, why: str) -> None:
        """No answer comes any more."""
        self.broken = self.broken or why
        asked, self._asked = self._asked, None
        if asked is not None:
            asked[1].set_exception(EOFError())

    def _is_drained(self) -> bool:
        with suppress(BlockingIOError):
            while self._unsent:
                del self._unsent[: os.write(self._talk.stdin, self._unsent[:_CHUNK])]
        return not self._unsent

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
                    self.end(f"it sent a message of more than {self._most_bytes} bytes")
                    break
        self.end("it closed its output")
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
            case {"id": id_} if self._asked is not None and str(id_) == str(self._asked[0]):
                (_, asked), self._asked = self._asked, None
                asked.set_result(cast("_Answer", answer))
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
            self.end(_no_input(error))
            await to_client.aclose()

    async def _send(self, message: Mapping[str, Any]) -> None:
        if not self.put(message):
            await self.drain()

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
        self._opened: Future[str] = Future()
        self._ids = count(_FIRST_ID)
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
        cursor: str | None = None
        found, names = dict[str, dict[str, Any]](), list[str]()
        for _ in range(_MOST_PAGES):
            page = self._ask("tools/list", {} if cursor is None else {"cursor": cursor}, {}, deadline)
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

    def call(
        self, tool: str, arguments: Mapping[str, object], meta: Mapping[str, str], deadline: float
    ) -> dict[str, Any]:
        """The result as the server gives it, of the shape of a CallToolResult. Raises NoAnswerError."""
        result = self._ask("tools/call", {"name": tool, "arguments": arguments}, meta, deadline)
        if result.get("resultType", "complete") != "complete" or not isinstance(result.get("content"), list):
            raise NoAnswerError(
                "protocol_error", "it asked for more, or for time, instead of giving a result"
            )
        if not isinstance(result.get("isError", False), bool):
            raise NoAnswerError("protocol_error", "it does not say whether its result is an error")
        return result

    def _ask(
        self, method: str, params: Mapping[str, object], meta: Mapping[str, str], deadline: float
    ) -> dict[str, Any]:
        """The result as the server gives it, of the shape that the agreed version says. Raises NoAnswerError."""
        version, id_ = self._opened.result(0), next(self._ids)
        message: dict[str, Any] = {"jsonrpc": "2.0", "id": id_, "method": method}
        if meta := {**meta, **_stamp(version)}:
            params = {**params, "_meta": meta}
        if params:
            message["params"] = params
        try:
            coming = self._wire.answer_to(id_)
            if not self._wire.put(message):
                self._run(self._wire.drain(), deadline)
        except (EOFError, OSError) as error:
            raise self._trouble(error) from None
        answer = self._awaited(coming, deadline)
        if isinstance(answer, JSONRPCError):
            raise self._trouble(MCPError.from_error_data(answer.error))
        result = answer.result
        if "ttlMs" in result:
            result["ttlMs"] = 0  # a hint for caches, which a server may get wrong: this client has none
        try:
            validate_server_result(method, version, result)
        except ValueError as error:
            raise self._trouble(error) from None
        return result

    def _serve(self) -> None:
        try:
            anyio.run(self._main)
        except BaseException as error:
            for future in (self._begun, self._opened):
                if not future.done():
                    future.set_exception(error)
        finally:
            self._wire.end(_OVER)

    async def _main(self) -> None:
        wire = cast("Transport", self._wire.streams())
        client = Client(wire, cache=None, client_info=_WHO)
        with anyio.CancelScope() as scope:
            self._begun.set_result((asyncio.get_running_loop(), scope.cancel))
            async with client:
                self._opened.set_result(client.protocol_version)
                await anyio.sleep_forever()

    def _run(self, call: Coroutine[Any, Any, _ResultT], deadline: float) -> _ResultT:
        loop, _ = self._begun.result()
        try:
            future = asyncio.run_coroutine_threadsafe(call, loop)
        except RuntimeError:  # the loop is closed
            call.close()
            raise self._trouble(CancelledError()) from None
        return self._awaited(future, deadline)

    def _awaited(self, future: "Future[_ResultT]", deadline: float) -> _ResultT:
        seen_over = False
        while not _is_done(future, min(_LOOK_SECONDS, max(0.0, deadline - monotonic()))):
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
        if isinstance(error, OSError):
            return NoAnswerError("transport_error", _no_input(error))
        if isinstance(error, CancelledError | asyncio.CancelledError):  # its loop is over
            return NoAnswerError("transport_error", _OVER)
        if isinstance(error, MCPError):
            said = bounded(masked(error.message), _MOST_SHOWN)
            return NoAnswerError("protocol_error", f"it answered with the error {error.code}: {said}")
        if isinstance(error, ValueError):  # of pydantic, whose text would repeat what the server sent
            return NoAnswerError(
                "protocol_error", "its answer does not have the shape that the protocol says"
            )
        return NoAnswerError("protocol_error", masked_error(error, _MOST_SHOWN))


def _stamp(version: str) -> dict[str, Any]:
    """What the protocol's version wants to be told with each request, where there is no handshake."""
    if version not in MODERN_PROTOCOL_VERSIONS:
        return {}
    return {
        PROTOCOL_VERSION_META_KEY: version,
        CLIENT_INFO_META_KEY: _WHO.model_dump(by_alias=True, exclude_none=True),
        CLIENT_CAPABILITIES_META_KEY: {},
    }


def _no_input(error: OSError) -> str:
    return f"it takes no input ({error.strerror})"


def _is_done(future: "Future[Any]", seconds: float) -> bool:
    """Whether it is done, after so long at most. Unlike `futures.wait` it makes nothing to wait on."""
    with suppress(TimeoutError, CancelledError):
        future.exception(seconds)
    return future.done()


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
