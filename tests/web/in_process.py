"""Requests to an application in this process."""

import asyncio
from collections.abc import MutableMapping
from typing import Any

from starlette.applications import Starlette
from starlette.routing import Mount

from nexus_control import DecisionStore
from nexus_control.execution.router import RouterProtocol
from nexus_control.web import create_app

TOKEN = "a-token-of-a-test"
ORIGIN = "https://approve.example.org"


def mounted(
    store: DecisionStore, place: str, path: str, *, query: str = "", router: RouterProtocol | None = None
) -> str:
    """The page at this path of an application in which the inbox has this place."""
    inbox = create_app(
        store, origins=[ORIGIN], rp_id="approve.example.org", reader_token=TOKEN, router=router
    )
    return asyncio.run(_body(Starlette(routes=[Mount(place, inbox)]), path, query))


async def _body(app: Starlette, path: str, query: str) -> str:
    parts = list[bytes]()

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: MutableMapping[str, Any]) -> None:
        parts.append(message.get("body", b""))

    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "https",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": f"token={TOKEN}&{query}".encode(),
        "headers": [(b"host", b"approve.example.org")],
    }
    await app(scope, receive, send)
    return b"".join(parts).decode()
