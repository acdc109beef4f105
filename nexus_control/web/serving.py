"""The inbox as a process: uvicorn, with limits for slow and for many connections.

    A connection that has not sent the whole head of a request after 10 seconds is cut.
    Of more than 200 connections without a request, the oldest one is cut.
    At most 800 connections; the next one is closed at once.

A server writes no access log, because the reader's token is in the addresses. SIGTERM, SIGINT and SIGHUP end it: open
streams end at once, other responses within 3 seconds.
"""

import asyncio
import signal
import socket
from collections import OrderedDict
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

import h11
import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.h11_impl import H11Protocol

from nexus_control.system.signals import ENDING

HEAD_SECONDS: Final = 10
MOST_WAITING: Final = 200
MOST_CONNECTIONS: Final = 800
GRACE_SECONDS: Final = 3
_MOST_HEAD_BYTES: Final = 16 * 1024


class _Protocol(H11Protocol):
    """One connection, which must send the head of each request in time."""

    def __init__(self, waiting: "OrderedDict[_Protocol, None]", **settings: Any) -> None:
        super().__init__(**settings)
        self._waiting = waiting
        """All connections of the server without a request, the oldest first."""
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        if len(self.connections) > MOST_CONNECTIONS:
            transport.abort()
            return
        self._wait_for_head()
        if len(self._waiting) > MOST_WAITING:
            next(iter(self._waiting)).cut()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            self._wait_no_longer()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.conn.their_state is h11.IDLE and not self.transport.is_closing():
            self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._wait_no_longer()
        super().connection_lost(exc)

    def cut(self) -> None:
        self._wait_no_longer()
        self.transport.abort()

    def _wait_for_head(self) -> None:
        self._wait_no_longer()
        self._waiting[self] = None
        self._deadline = asyncio.get_running_loop().call_later(HEAD_SECONDS, self.cut)

    def _wait_no_longer(self) -> None:
        self._waiting.pop(self, None)
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


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
    """Serve the application of `create_app` until a signal ends it. `on_ready` is called once it can be reached."""
    waiting = OrderedDict[_Protocol, None]()
    config = uvicorn.Config(
        app,
        http=partial(_Protocol, waiting),  # pyright: ignore[reportArgumentType]
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
        h11_max_incomplete_event_size=_MOST_HEAD_BYTES,
    )

    async def run() -> None:
        server = _Server(config, app.state.inbox.live.end)
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
