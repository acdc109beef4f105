"""Open pages learn of changes, with one watcher for all of them."""

import asyncio
import socket
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from pathlib import Path

import pytest

from nexus_control import NexusControlTools
from nexus_control.web.live import MOST_STREAMS, Live
from tests.web.requests_here import ALICE, BOB
from tests.web.served import LONGEST, Served, read_answer, served

PAGES = 200


class Store:
    """Counts how often it was asked for its size. `tick` lets the watcher look once more."""

    def __init__(self) -> None:
        self.size = 10
        self.reads = 0
        self._ticks = asyncio.Semaphore(0)
        self.live = Live(self._read, pause=self._ticks.acquire)

    async def _read(self) -> int:
        self.reads += 1
        return self.size

    async def tick(self, times: int = 1) -> None:
        for _ in range(times):
            self._ticks.release()
            await settle()


async def settle() -> None:
    """Let every task that can go on do so."""
    for _ in range(20):
        await asyncio.sleep(0)


async def read(store: Store, heard: list[bytes]) -> None:
    """What one open page does."""
    async with store.live.page():
        async for part in store.live.events():
            heard.append(part)


def changes(heard: list[bytes]) -> int:
    return sum(part.startswith(b"event: change") for part in heard)


def run(story: Callable[[Store], Coroutine[object, object, None]]) -> None:
    async def told() -> None:
        await story(Store())

    asyncio.run(told())


def test_an_idle_server_reads_the_store_once_a_tick_however_many_pages_are_open() -> None:
    async def story(store: Store) -> None:
        pages = [asyncio.create_task(read(store, [])) for _ in range(PAGES)]
        await settle()
        before = store.reads
        await store.tick(10)
        assert store.reads - before == 10
        store.live.end()
        await asyncio.gather(*pages)

    run(story)


def test_a_server_without_an_open_page_reads_nothing() -> None:
    async def story(store: Store) -> None:
        await store.tick(5)
        page = asyncio.create_task(read(store, []))
        await settle()
        page.cancel()
        await settle()
        before = store.reads
        await store.tick(5)
        assert (store.reads, store.live.streams) == (before, 0)

    run(story)


def test_each_page_hears_of_a_change_once() -> None:
    async def story(store: Store) -> None:
        heard = [list[bytes]() for _ in range(PAGES)]
        pages = [asyncio.create_task(read(store, each)) for each in heard]
        await settle()
        await store.tick(3)
        assert [changes(each) for each in heard] == [0] * PAGES
        store.size += 2
        await store.tick(3)
        assert [changes(each) for each in heard] == [1] * PAGES
        store.live.end()
        await asyncio.gather(*pages)
        assert [changes(each) for each in heard] == [1] * PAGES

    run(story)


def test_a_store_that_cannot_be_read_for_a_while_is_looked_at_again() -> None:
    async def story(store: Store) -> None:
        heard = list[bytes]()
        page = asyncio.create_task(read(store, heard))
        await settle()
        store.size, size = None, store.size  # pyright: ignore[reportAttributeAccessIssue]
        await store.tick(2)
        store.size = size
        await store.tick()
        assert changes(heard) == 0
        store.size += 1
        await store.tick()
        assert changes(heard) == 1
        store.live.end()
        await page

    run(story)


def test_a_page_that_comes_after_others_have_left_is_watched_for() -> None:
    async def story(store: Store) -> None:
        first = asyncio.create_task(read(store, []))
        await settle()
        first.cancel()
        await settle()
        heard = list[bytes]()
        second = asyncio.create_task(read(store, heard))
        await settle()
        store.size += 1
        await store.tick()
        assert changes(heard) == 1
        store.live.end()
        await second

    run(story)


def test_a_stream_begins_once_the_store_was_looked_at() -> None:
    async def story() -> None:
        looks = asyncio.Semaphore(0)

        async def size() -> int:
            await looks.acquire()
            return 1

        live, heard = Live(size), list[bytes]()

        async def read() -> None:
            async with live.page():
                heard.append(b"begun")

        page = asyncio.create_task(read())
        await settle()
        assert heard == []
        looks.release()
        await page
        assert heard == [b"begun"]

    asyncio.run(story())


def test_a_change_while_a_page_takes_an_event_is_told() -> None:
    async def story(store: Store) -> None:
        async with store.live.page():
            events = store.live.events()
            for wanted in (b"retry", b"event: change", b"event: change"):
                assert (await anext(events)).startswith(wanted)
                store.size += 1
                await store.tick()
            await events.aclose()

    run(story)


def listen(inbox: Served) -> socket.socket:
    """A connection on which a stream has begun."""
    connection = inbox.connect()
    head = f"GET /live?{inbox.query} HTTP/1.1\r\nHost: localhost:{inbox.port}\r\n\r\n"
    connection.sendall(head.encode())
    until(connection, b"retry:")
    return connection


def until(connection: socket.socket, wanted: bytes) -> bytes:
    received = b""
    while wanted not in received:
        part = connection.recv(65_536)
        assert part, received
        received += part
    return received


@pytest.fixture
def database(tmp_path: Path) -> Path:
    with NexusControlTools(tmp_path / "store.db") as tools:
        assert tools.request("Rotate the keys", ALICE)
    return tmp_path / "store.db"


def test_200_open_pages_all_hear_of_a_change_by_another_process(database: Path) -> None:
    with served(database) as inbox, ExitStack() as opened:
        pages = [opened.enter_context(listen(inbox)) for _ in range(PAGES)]
        with NexusControlTools(database) as tools:
            request_id = tools.list_requests().data["requests"][0]["request_id"]
            assert tools.approve(request_id, BOB)
        for page in pages:
            until(page, b"event: change")


def test_a_server_ends_although_pages_are_open(database: Path) -> None:
    with ExitStack() as opened, served(database) as inbox:
        pages = [opened.enter_context(listen(inbox)) for _ in range(20)]
        inbox.process.terminate()
        assert inbox.process.wait(LONGEST) == 0
        for page in pages:
            until(page, b"0\r\n\r\n")  # the stream's proper end


def test_there_are_so_many_streams_and_no_more_and_pages_that_leave_make_room(database: Path) -> None:
    with served(database) as inbox:
        with ExitStack() as opened:
            for _ in range(MOST_STREAMS):
                opened.enter_context(listen(inbox))
            answer = inbox.get("/live")
            assert (answer.status, "Close some" in answer.body) == (503, True)
            assert inbox.get("/").status == 200
        while (again := opened_again(inbox)) is None:  # the server hears of each that left
            pass
        again.close()


def opened_again(inbox: Served) -> socket.socket | None:
    connection = inbox.connect()
    connection.sendall(f"GET /live?{inbox.query} HTTP/1.1\r\nHost: localhost:{inbox.port}\r\n\r\n".encode())
    if b" 200 " in until(connection, b"\r\n\r\n"):
        return connection
    connection.close()
    return None


def test_a_stream_is_for_one_method(database: Path) -> None:
    with served(database) as inbox, inbox.connect() as connection:
        head = (
            f"POST /live?{inbox.query} HTTP/1.1\r\nHost: localhost:{inbox.port}\r\nOrigin: {inbox.origin}\r\n"
        )
        connection.sendall(f"{head}Content-Length: 0\r\nConnection: close\r\n\r\n".encode())
        assert read_answer(connection).status == 405
