"""A connection is cut whose peer keeps a request, or a response, for too long."""

import asyncio
import socket
from collections import OrderedDict
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial

import h11
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from uvicorn.server import ServerState

from nexus_control.web import serving
from nexus_control.web.serving import _Protocol  # pyright: ignore[reportPrivateUsage]
from tests.web.served import LONGEST

SOON = 0.05
LARGE = 64 * 1024 * 1024


@asynccontextmanager
async def listening(content: bytes) -> AsyncGenerator[int]:
    """The port of a server of such connections, whose application answers without reading a body."""

    async def answer(_: Request) -> Response:
        return Response(content)

    app = Starlette(routes=[Route("/", answer, methods=["GET", "POST"])])
    config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="off")
    made = partial(_Protocol, OrderedDict(), config=config, server_state=ServerState(), app_state={})
    server = await asyncio.get_running_loop().create_server(made, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


def test_a_body_that_the_application_did_not_wait_for_must_come_in_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(serving, "_OWED", {h11.IDLE: LONGEST, h11.SEND_BODY: SOON})

    async def story() -> None:
        async with listening(b"answered") as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\nx")
            async with asyncio.timeout(LONGEST):
                assert b"answered" in await reader.readuntil(b"answered")
                assert await reader.read() == b""
            writer.close()

    asyncio.run(story())


@pytest.mark.parametrize("ending", ["close", "keep-alive"])
def test_a_response_must_be_taken_in_time(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, ending: str
) -> None:
    monkeypatch.setattr(serving, "TAKE_SECONDS", SOON)

    async def story() -> None:
        async with listening(bytes(LARGE)) as port:
            with socket.create_connection(("127.0.0.1", port)) as connection:
                connection.setblocking(False)
                head = f"GET / HTTP/1.1\r\nHost: x\r\nConnection: {ending}\r\n\r\n"
                connection.sendall(head.encode())
                async with asyncio.timeout(LONGEST):
                    await reset(connection)

    asyncio.run(story())
    assert caplog.records == []


def test_a_reader_who_takes_a_response_slowly_gets_it_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "TAKE_SECONDS", SOON)

    async def story() -> int:
        async with listening(bytes(LARGE)) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            await reader.readuntil(b"\r\n\r\n")
            taken = 0
            while part := await reader.read(1024 * 1024):
                taken += len(part)
            writer.close()
            return taken

    assert asyncio.run(story()) == LARGE


async def reset(connection: socket.socket) -> None:
    """Wait until the peer has reset the connection, without reading from it."""
    while connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0:
        await asyncio.sleep(0)
