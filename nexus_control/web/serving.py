"""The inbox as a process: uvicorn, with limits for slow and for many connections.

    The head of a request must be in after 10 seconds, and its body after 15 more, else the connection is cut.
    Of a response, the reader must take 64 KiB, or what is left of it, in each 30 seconds, else the connection is cut.
    Of more than 200 connections that are not answered to somebody with the reader's token, the oldest one is cut.
    At most 800 connections; the next one is closed at once.

A server writes no access log, because the reader's token is in the addresses. SIGTERM, SIGINT and SIGHUP end it: open
streams end at once, and what is not answered after 3 seconds gets a 503. A verdict that waits for the store's lock then
is recorded if it gets the lock in its usual time, and the process ends after that. One that waits for its turn is not.
A store that was replaced beneath the server ends it in the same way, once a page is asked for or is open.
"""

import asyncio
import signal
import socket
import struct
from collections import OrderedDict
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, Final

import h11
import uvicorn
from starlette.applications import Starlette
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from nexus_control.system.signals import ENDING
from nexus_control.web.guarding import ADMIT, BODY_SECONDS
from nexus_control.web.inbox import Inbox

HEAD_SECONDS: Final = 10.0
_LATER: Final = 5.0
"""So much longer than the guard waits the connection does, so that a slow body is answered before it is cut."""
TAKE_SECONDS: Final = 30.0
TAKE_BYTES: Final = 64 * 1024
MOST_STRANGERS: Final = 200
MOST_CONNECTIONS: Final = 800
GRACE_SECONDS: Final = 3
_MOST_HEAD_BYTES: Final = 16 * 1024
_AT_ONCE: Final = struct.pack("ii", 1, 0)
_OWED: Final = {h11.IDLE: HEAD_SECONDS, h11.SEND_BODY: BODY_SECONDS + _LATER}
"""What a sender may still owe: the head, or the body. The time for it."""


class _Protocol(H11Protocol):
    """One connection, which must send each request and take each response in time."""

    def __init__(self, strangers: "OrderedDict[_Protocol, None]", **settings: Any) -> None:
        super().__init__(**settings)
        self.app_state = {**self.app_state, ADMIT: self._admit}
        self._strangers = strangers
        """All connections of the server that are not answered to somebody with the token, the oldest first."""
        self._owed: object = None
        self._sending: asyncio.TimerHandle | None = None
        self._taking: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        if len(self.connections) > MOST_CONNECTIONS:
            transport.abort()
            return
        transport.set_write_buffer_limits(0)  # so that `pause_writing` tells of every byte that is not taken
        self._watch_sender()
        self._be_stranger()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch_sender()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._watch_sender()
        if not self.transport.is_closing():
            self._be_stranger()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_reader()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._taking = _stopped(self._taking)

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget()
        super().connection_lost(exc)

    def cut(self) -> None:
        self._forget()
        if self.transport.get_write_buffer_size():  # the system, too, drops what is not taken
            connection = self.transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
        self.transport.abort()

    def _admit(self) -> None:
        """This request has the token."""
        self._strangers.pop(self, None)

    def _be_stranger(self) -> None:
        self._strangers.setdefault(self)
        if len(self._strangers) > MOST_STRANGERS:
            next(iter(self._strangers)).cut()

    def _watch_sender(self) -> None:
        """Give the sender time for what they owe, from when they began to owe it."""
        state = self.conn.their_state
        owed = state if state in _OWED and not self.transport.is_closing() else None
        if owed is not self._owed:
            self._owed, self._sending = owed, _stopped(self._sending)
            if owed is not None:
                self._sending = self.loop.call_later(_OWED[owed], self.cut)

    def _watch_reader(self, before: int | None = None) -> None:
        """Cut a reader who took too little since the buffer had `before` bytes, else look again later."""
        left = self.transport.get_write_buffer_size()
        if before is not None and left > before - TAKE_BYTES:
            self.cut()
        else:
            self._taking = self.loop.call_later(TAKE_SECONDS, self._watch_reader, left)

    def _forget(self) -> None:
        self._strangers.pop(self, None)
        self._sending, self._taking = _stopped(self._sending), _stopped(self._taking)


def _stopped(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()


class _Server(uvicorn.Server):
    """A server that a signal ends by a return, after the open streams were ended."""

    def __init__(self, config: uvicorn.Config, on_end: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_end = on_end

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        loop = asyncio.get_running_loop()
        heeded = [each for each in ENDING if signal.getsignal(each) is not signal.SIG_IGN]
        for number in heeded:
            loop.add_signal_handler(number, self.end)
        try:
            yield
        finally:
            for number in heeded:
                loop.remove_signal_handler(number)

    def end(self) -> None:
        self.should_exit = True
        self._on_end()


def serve(app: Starlette, sockets: Sequence[socket.socket], *, on_ready: Callable[[], None]) -> None:
    """Serve the application of `create_app` until a signal ends it. `on_ready` is called once it can be reached.
    Raises STORE_REPLACED where another store took the place of the one that is open: its owner finds out which file is
    the right one, and starts it again.
    """
    inbox: Inbox = app.state.inbox
    strangers = OrderedDict[_Protocol, None]()

    async def quietly(scope: Scope, receive: Receive, send: Send) -> None:
        with suppress(asyncio.CancelledError):  # the server ends, and the log needs no traceback
            await app(scope, receive, send)

    config = uvicorn.Config(
        quietly,
        http=partial(_Protocol, strangers),  # pyright: ignore[reportArgumentType]
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="error",  # a warning tells of what a sender did, and anybody may send
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
        h11_max_incomplete_event_size=_MOST_HEAD_BYTES,
    )

    async def run() -> None:
        server = _Server(config, inbox.live.end)
        inbox.loss.tell = server.end
        serving = asyncio.create_task(server.serve(list(sockets)))
        while not server.started and not serving.done():
            await asyncio.sleep(0)
        try:
            if server.started:
                on_ready()
        except BaseException:
            server.end()
            raise
        finally:
            await serving

    asyncio.run(run())
    if inbox.loss.fault is not None:
        raise inbox.loss.fault
