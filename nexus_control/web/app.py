"""The application: its routes, and the answer to an address without a page.

   GET  /                     what waits, for everybody or for one person      waiting
   GET  /history              all requests, with a search                      waiting
   GET  /me                   what one person can approve                      standing
   GET  /requests/ID          one request, as a reviewer sees it, and "Decide" reviewing, deciding
   GET  /requests/ID/report   the report of a decision                         reporting
   GET  /live                 a stream of changes                              live
   GET  /static/NAME          style, scripts and icon

   GET, POST /enrol           a new passkey                                    enrolling
   POST /requests/ID/VERDICT  approve, deny, revoke                            verdicts

Every path needs the reader's token, except the static files.
"""

import re
from collections.abc import Iterable, Sequence
from importlib.resources import files
from typing import Final, cast

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from nexus_control.errors import ErrorCode, NexusControlError, invalid_argument, next_step
from nexus_control.execution.router import PlanChecker, RouterProtocol
from nexus_control.store import DecisionStore
from nexus_control.usecases.inbox_settings import InboxSettings, inbox_settings
from nexus_control.web import enrolling, reporting, reviewing, standing, verdicts, waiting
from nexus_control.web.guarding import HEADERS, Guard
from nexus_control.web.inbox import Inbox, Visit
from nexus_control.web.live import Live, Stream
from nexus_control.web.pages import respond_with_problem
from nexus_control.web.posting import status_of

_TYPES: Final = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_TOKEN: Final = re.compile(r"[!-~]{16,}")


def create_app(
    store: DecisionStore,
    *,
    origins: Sequence[str],
    rp_id: str,
    reader_token: str,
    router: PlanChecker | RouterProtocol | None = None,
    may_decide: bool = True,
) -> Starlette:
    """The inbox as a Starlette application, to run or to mount.

        app = create_app(store, origins=["http://localhost:8737"], rp_id="localhost", reader_token=token)

    `origins` are the addresses under which browsers open it, each as scheme, host and port: any other Host is refused.
    The store must allow them as its `passkey_origins`, unless `may_decide` is false: then nothing is decided here; nor
    where the store has no `allowed_signers`, because no passkey counts there.
    `rp_id` is the host that passkeys are made for. Who has `reader_token` (at least 16 printable characters of ASCII)
    may read. `router` knows what the steps of a request would run. Run it in one process: a page that another process
    made is refused. Raises INVALID_ARGUMENT.
    """
    settings = _checked(store, origins, rp_id, reader_token, may_decide)
    inbox = Inbox(
        store=store,
        origins=settings.origins.origins,
        rp_id=settings.rp_id,
        reader_token=reader_token,
        router=router,
        may_decide=may_decide and store.allowed_signers is not None,
        live=Live(lambda: _log_size(inbox)),
    )
    app = Starlette(
        routes=_routes(inbox),
        middleware=[Middleware(Guard, inbox=inbox)],
        exception_handlers={
            HTTPException: _Handler(inbox).on_http,  # pyright: ignore[reportArgumentType]
            NexusControlError: _Handler(inbox).on_refusal,  # pyright: ignore[reportArgumentType]
            500: _Handler(inbox).on_defect,
        },
    )
    app.router.redirect_slashes = (
        False  # such a redirect would name the scheme of the connection, not of the proxy
    )
    app.state.inbox = inbox
    return app


def _checked(
    store: object, origins: object, rp_id: object, reader_token: object, may_decide: object
) -> InboxSettings:
    """The settings, when all arguments are in order. Raises INVALID_ARGUMENT."""
    if not isinstance(store, DecisionStore):
        raise invalid_argument("store", "must be a DecisionStore")
    if not isinstance(may_decide, bool):
        raise invalid_argument("may_decide", "must be true or false")
    if not isinstance(reader_token, str) or not _TOKEN.fullmatch(reader_token):
        raise invalid_argument(
            "reader_token", "must be at least 16 printable characters of ASCII, without a blank"
        )
    if not isinstance(origins, list | tuple) or not origins:
        raise invalid_argument("origins", "must be a list of at least one address of the inbox")
    if not isinstance(rp_id, str):
        raise invalid_argument("rp_id", "must be text")
    settings = inbox_settings(cast("Sequence[str]", origins), rp_id)
    for origin in settings.origins.origins:
        if may_decide and not store.passkey_origins.allow(origin):
            problem = f"holds {origin}, which is not among the passkey_origins of the store: no approval would count"
            raise invalid_argument("origins", problem)
    return settings


async def _log_size(inbox: Inbox) -> int | None:
    """The size of the store's log, or None where it cannot be read now."""

    def size() -> int:
        with inbox.store.reading() as session:
            return session.rows.log_size()

    try:
        return await inbox.call(size)
    except NexusControlError:
        return None


def _routes(inbox: Inbox) -> list[BaseRoute]:
    async def live(_: Request) -> Response:
        if inbox.live.is_full:
            raise HTTPException(503)
        return Stream(inbox.live)

    return [
        *waiting.routes(inbox),
        *standing.routes(inbox),
        *reviewing.routes(inbox),
        *reporting.routes(inbox),
        *enrolling.routes(inbox),
        *verdicts.routes(inbox),
        Route("/live", live),
        *_static(),
    ]


def _static() -> Iterable[Route]:
    """Each file at a route of its own: no path reaches any other file."""
    package = files("nexus_control")
    found = {each.name: each for each in (package / "web" / "static").iterdir()}
    for name, file in {**found, "report.css": package / "render" / "report.css"}.items():
        content, media = file.read_bytes(), _TYPES[name[name.rindex(".") :]]

        async def give(_: Request, content: bytes = content, media: str = media) -> Response:
            return Response(content, media_type=media)

        yield Route(f"/static/{name}", give)


class _Handler:
    """What is answered instead of a page."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox

    async def on_http(self, request: Request, error: HTTPException) -> Response:
        heading, text = _PROBLEMS.get(error.status_code, _PROBLEMS[404])
        response = respond_with_problem(self._inbox, Visit.of(request), error.status_code, heading, text)
        response.headers.update(error.headers or {})
        return response

    async def on_refusal(self, request: Request, fault: NexusControlError) -> Response:
        heading = (
            "There is no such request"
            if fault.code is ErrorCode.DECISION_NOT_FOUND
            else "This cannot be done"
        )
        return respond_with_problem(
            self._inbox,
            Visit.of(request),
            status_of(fault),
            heading,
            f"{fault.message}.",
            fault.next,
        )

    async def on_defect(self, request: Request, _: Exception) -> Response:
        """A defect of ours, which the server logs. This answer does not pass the guard, so it brings the headers."""
        visit = Visit.of(request)
        response = respond_with_problem(
            None, visit, 500, "The inbox has a defect", next_step(ErrorCode.INTERNAL)
        )
        response.headers.update(HEADERS)
        return response


_PROBLEMS: Final = {
    404: ("There is no such page", "Follow the links of the inbox."),
    405: ("This page takes nothing of that kind", "Open it, and use its buttons."),
    503: ("Too many pages are open", "Close some of them; then open this one again."),
}
