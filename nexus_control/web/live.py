"""Open pages learn that the store has changed: one watcher of the store for all of them.

Each open page holds one stream of server-sent events (`/live`). While there is a page, the watcher asks the store once
a second for the size of its log, which is one small read; without a page it asks nothing. A page gets one event
`change` for any number of changes since the last one that it read. So a slow reader costs one waiting task and no
queue. There are at most 400 streams; a page beyond them gets 503 and asks again after some seconds.

A stream begins once the watcher has looked at the store, and a page looks at itself once more when its stream begins.
So a change between the making of the page and the stream is not lost, nor one while the stream was broken.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

POLL_SECONDS: Final = 1.0
"""The pause between two looks at the store."""
BEAT_SECONDS: Final = 15.0
"""After this silence a stream gets a comment line, so that a page that went away is noticed."""
MOST_STREAMS: Final = 400
_UNBUFFERED: Final = {"x-accel-buffering": "no"}
"""Tells nginx to pass each event on at once."""


class Live:
    """Who watches, and how many changes there were. `size` asks the store; `pause` waits between two looks."""

    def __init__(
        self,
        size: Callable[[], Awaitable[int | None]],
        *,
        pause: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        self._size = size
        self._pause = pause or (lambda: asyncio.sleep(POLL_SECONDS))
        self._changes = 0
        self._news = asyncio.Event()
        self._has_looked = asyncio.Event()
        self._watcher: asyncio.Task[None] | None = None
        self.streams = 0
        self.has_ended = False

    @property
    def is_full(self) -> bool:
        return self.streams >= MOST_STREAMS

    def end(self) -> None:
        """End all streams, because the server ends."""
        self.has_ended = True
        self._news.set()

    @asynccontextmanager
    async def page(self) -> AsyncGenerator[None]:
        """In the block, one more page is open, and no change is missed."""
        self.streams += 1
        if self._watcher is None:
            self._watcher = asyncio.create_task(self._watch())
        try:
            await self._has_looked.wait()
            yield
        finally:
            self.streams -= 1
            if not self.streams:
                self._rest()

    def events(self) -> AsyncGenerator[bytes]:
        """What one page is told of changes after this call, as server-sent events."""
        return self._events(self._changes)

    async def _events(self, heard: int) -> AsyncGenerator[bytes]:
        yield b"retry: 3000\n\n"
        while not self.has_ended:
            if heard != self._changes:
                heard = self._changes
                yield b"event: change\ndata: 1\n\n"
                continue
            news = self._news
            try:
                async with asyncio.timeout(BEAT_SECONDS):
                    await news.wait()
            except TimeoutError:
                yield b": still here\n\n"

    def _rest(self) -> None:
        if self._watcher is not None:
            self._watcher.cancel()
            self._watcher = None
            self._has_looked.clear()

    async def _watch(self) -> None:
        known = await self._size()
        self._has_looked.set()
        while True:
            await self._pause()
            size = await self._size()
            if size is not None and size != known:
                known = size
                self._tell()

    def _tell(self) -> None:
        self._changes += 1
        news, self._news = self._news, asyncio.Event()
        news.set()


class Stream(StreamingResponse):
    """The response that one open page listens to. Its place is free as soon as the page goes away."""

    def __init__(self, live: Live) -> None:
        super().__init__(live.events(), media_type="text/event-stream", headers=_UNBUFFERED)
        self._live = live

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._live.page():
            await super().__call__(scope, receive, send)
