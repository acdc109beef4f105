"""The rules that every request must keep before a page sees it, and the headers of every response.

    Host      must be that of a configured origin, else 421 (DNS rebinding). An address of this listener, 127.0.0.1:PORT
              or [::1]:PORT, is redirected to http://localhost:PORT, because passkeys work only there.
    Target    a plain path: no "..", no "//", no encoded slash, no control character, else 400
    Query     at most 50 arguments, else 400
    Method    GET, HEAD or POST, else 405
    Origin    a POST must have one of the configured origins, else 403
    Body      at most 64 KiB (413), only of a POST (400), and read within 10 seconds (408)
    Token     the reader's token in the query, else 403; only static files are given without it

A page gets the whole body at once. A refused request has its connection closed: its body may still be under way. A
websocket is refused, with 400 where the server knows none. A request that is still without an answer when the server
ends gets a 503.
"""

import asyncio
import re
from collections.abc import Mapping, Sequence
from hmac import compare_digest
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nexus_control.web.inbox import Inbox, Visit
from nexus_control.web.pages import respond_with_problem, respond_without_token

MOST_BODY: Final = 64 * 1024
BODY_SECONDS: Final = 10.0
_MOST_ARGUMENTS: Final = 50
ADMIT: Final = "nexus_control.admit"
"""The member of a request's state that is called once the request is found to have the token."""
_STATIC: Final = "/static/"
_METHODS: Final = ("GET", "HEAD", "POST")
_TRICK: Final = re.compile(
    rb"//|\\|%2f|%5c|%00|(?:/|%2e)(?:\.|%2e)(?:\.|%2e)?(?=/|$)|[^\x21-\x7e]", re.IGNORECASE
)
HEADERS: Final = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "permissions-policy": "publickey-credentials-get=(self), publickey-credentials-create=(self)",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


class Guard:
    """Stands before all routes. Only the answer to a defect does not pass it (`app`)."""

    def __init__(self, app: ASGIApp, inbox: Inbox) -> None:
        self._app = app
        self._inbox = inbox
        self._hosts = frozenset(map(_host_header, inbox.origins))
        self._redirects = dict(_redirects(inbox.origins))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        elif scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        else:
            await self._answer(scope, receive, _Sender(send))

    async def _answer(self, scope: Scope, receive: Receive, send: "_Sender") -> None:
        try:
            await self._respond(scope, receive, send)
        except asyncio.CancelledError:  # by the server, which ends
            if not send.has_begun:
                await self._problem(scope, 503, "The inbox has ended", _ENDED)(scope, receive, send)
            raise

    async def _respond(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = self._refusal(scope)
        if refusal is None and scope["method"] == "POST":
            try:
                async with asyncio.timeout(BODY_SECONDS):
                    body = await _body(receive)
            except TimeoutError:
                refusal = self._problem(scope, 408, "The request came too slowly", "Send it again.")
            else:
                if body is None:
                    return
                if len(body) > MOST_BODY:
                    refusal = self._problem(scope, 413, "The request is too large", _TOO_LARGE)
                receive = _Whole(body, receive)
        if refusal is not None:
            refusal.headers["connection"] = "close"
        await (refusal or self._app)(scope, receive, send)

    def _refusal(self, scope: Scope) -> Response | None:
        """The response to a request that breaks a rule which its head shows; None for one that keeps them."""
        headers = Headers(scope=scope)
        target = scope.get("raw_path") or scope["path"].encode()
        hosts = headers.getlist("host")
        if len(hosts) != 1 or hosts[0].lower() not in self._hosts:
            place = self._redirects.get(hosts[0].lower()) if len(hosts) == 1 else None
            if place and scope["method"] in ("GET", "HEAD") and not _is_trick(target):
                query = scope["query_string"].decode("ascii", "replace")
                return RedirectResponse(f"{place}{target.decode()}{'?' if query else ''}{query}", 307)
            return self._problem(scope, 421, "This is not an address of the inbox", _WRONG_HOST)
        if headers.get("upgrade", "").lower() == "websocket":
            return self._problem(scope, 400, "The inbox has no websocket", "Open its pages instead.")
        if _is_trick(target) or scope["query_string"].count(b"&") >= _MOST_ARGUMENTS:
            return self._problem(scope, 400, "The address has no page", "Follow the links of the inbox.")
        if scope["method"] not in _METHODS:
            problem = self._problem(scope, 405, "The inbox does not know this method", "Use GET or POST.")
            problem.headers["allow"] = ", ".join(_METHODS)
            return problem
        return self._refusal_of_sender(scope, headers)

    def _refusal_of_sender(self, scope: Scope, headers: Headers) -> Response | None:
        size = headers.get("content-length", "0")
        if scope["method"] == "POST":
            if headers.getlist("origin") not in [[origin] for origin in self._inbox.origins]:
                return self._problem(scope, 403, "This was not sent by a page of the inbox", _WRONG_ORIGIN)
            if "content-length" in headers and "transfer-encoding" in headers:
                return self._problem(scope, 400, "The request has two lengths", "Send it with one of them.")
            if not size.isdecimal() or len(size) > 12 or int(size) > MOST_BODY:
                return self._problem(scope, 413, "The request is too large", _TOO_LARGE)
        elif size != "0" or "transfer-encoding" in headers:
            return self._problem(scope, 400, "Only a POST may have a body", "Send it without one.")
        if self._has_token(scope):
            scope.get("state", {}).get(ADMIT, _no_limit)()
        elif not _path_within(scope).startswith(_STATIC):
            return respond_without_token(_visit(scope))
        return None

    def _has_token(self, scope: Scope) -> bool:
        """Whether the query has the reader's token, once. The comparison takes the same time for every wrong one."""
        pairs = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        given = [value for name, value in pairs if name == "token"]
        return len(given) == 1 and compare_digest(given[0].encode(), self._inbox.reader_token.encode())

    def _problem(self, scope: Scope, status: int, heading: str, text: str) -> HTMLResponse:
        return respond_with_problem(None, _visit(scope), status, heading, text)


_TOO_LARGE: Final = f"The inbox takes at most {MOST_BODY // 1024} KiB."
_WRONG_HOST: Final = (
    "Open the address that the command nexus-control inbox printed. If people reach the inbox under another name, its "
    "owner adds that origin to the configuration."
)
_ENDED: Final = (
    "Open the request again once the inbox runs. It then shows whether what you sent was recorded."
)
_WRONG_ORIGIN: Final = "Open the request in the inbox, and decide there. Nothing was written."


def _host_header(origin: str) -> str:
    """The Host header that a browser sends to this origin: host and port."""
    return urlsplit(origin).netloc


def _no_limit() -> None:
    """Another server than `serving` has limits of its own."""


def _redirects(origins: Sequence[str]) -> Mapping[str, str]:
    """For each Host that is an address of this machine: the origin of `localhost` at the same port."""
    found = dict[str, str]()
    for origin in origins:
        parts = urlsplit(origin)
        if parts.scheme == "http" and parts.hostname == "localhost":
            port = f":{parts.port}" if parts.port else ""
            found |= {f"{address}{port}": origin for address in ("127.0.0.1", "[::1]")}
    return found


def _is_trick(target: bytes) -> bool:
    return not target.startswith(b"/") or _TRICK.search(target) is not None


def _path_within(scope: Scope) -> str:
    """The path below the place where the application is mounted."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


def _visit(scope: Scope) -> Visit:
    return Visit(root=scope.get("root_path", ""), token="", person="")


async def _body(receive: Receive) -> bytes | None:
    """The body, whole unless it is too large; None if the sender went away."""
    body = b""
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        body += message.get("body", b"")
        if len(body) > MOST_BODY or not message.get("more_body"):
            return body


class _Whole:
    """A body that was received, then what comes after it."""

    def __init__(self, body: bytes, receive: Receive) -> None:
        self._first: Message | None = {"type": "http.request", "body": body, "more_body": False}
        self._receive = receive

    async def __call__(self) -> Message:
        first, self._first = self._first, None
        return first or await self._receive()


class _Sender:
    """Adds the headers to a response."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.has_begun = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.has_begun = True
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers[name] = value
        await self._send(message)
