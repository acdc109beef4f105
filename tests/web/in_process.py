"""Requests to an application in this process."""

import asyncio
from collections.abc import MutableMapping
from typing import Any

from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.types import ASGIApp

from nexus_control import DecisionStore
from nexus_control.execution.router import RouterProtocol
from nexus_control.web import create_app
from tests.web.served import Answer

TOKEN = "a-token-of-a-test"
HOST = "approve.example.org"
ORIGIN = f"https://{HOST}"


def mounted(store: DecisionStore, place: str, router: RouterProtocol | None = None) -> Starlette:
    """An application in which the inbox of this store has this place. Nothing can be decided in it."""
    inbox = create_app(
        store, origins=[ORIGIN], rp_id=HOST, reader_token=TOKEN, router=router, may_decide=False
    )
    return Starlette(routes=[Mount(place, inbox)])


def shown(store: DecisionStore, path: str, *, query: str = "", router: RouterProtocol | None = None) -> str:
    """The page at this path, without a slash before it, of the inbox of this store."""
    (answer,) = answers(
        mounted(store, "/inbox", router), f"/inbox/{path}", query=f"token={TOKEN}&{query}".rstrip("&")
    )
    return answer.body


def answers(
    app: ASGIApp,
    path: str,
    *,
    method: str = "GET",
    query: str = f"token={TOKEN}",
    headers: tuple[tuple[str, str], ...] = (("host", HOST),),
    received: MutableMapping[str, Any] | None = None,
) -> list[Answer]:
    """The answer; none where the application sends nothing. `received` is what it gets for a body."""
    sent = list[MutableMapping[str, Any]]()

    async def receive() -> MutableMapping[str, Any]:
        return received or {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in headers],
    }

    async def run() -> None:
        await app(scope, receive, send)

    asyncio.run(run())
    if not sent:
        return []
    body = b"".join(each.get("body", b"") for each in sent)
    given = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return [Answer(sent[0]["status"], given, body.decode())]
