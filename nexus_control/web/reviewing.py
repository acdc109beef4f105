"""One request, as a reviewer sees it."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from nexus_control.render.html import Html
from nexus_control.render.text import View
from nexus_control.usecases import arguments as door
from nexus_control.usecases import views
from nexus_control.web.deciding import decide_form, what_was_done
from nexus_control.web.inbox import Inbox, Visit
from nexus_control.web.pages import el, respond


def routes(inbox: Inbox) -> list[Route]:
    """The page of one request."""

    async def review(request: Request) -> Response:
        visit, request_id = Visit.of(request), request.path_params["request_id"]
        return await review_page(inbox, visit, request_id, done=request.query_params.get("done"))

    return [Route("/requests/{request_id}", review)]


async def review_page(
    inbox: Inbox, visit: Visit, request_id: str, *notices: Html, done: str | None = None, status: int = 200
) -> Response:
    """The request as it is now. `done` is the verdict that was just given. Raises DECISION_NOT_FOUND."""
    view = await inspected(inbox, request_id)
    decide = await decide_form(inbox, visit, view)
    said = [*notices, *what_was_done(visit, view, done)]
    return respond(
        inbox,
        visit,
        view["decision"]["goal"] or "Request",
        *said,
        *_review(view, decide),
        is_live=True,
        status=status,
    )


async def inspected(inbox: Inbox, request_id: str) -> View:
    """What `inspect` answers. Raises DECISION_NOT_FOUND."""
    arguments = door.validated(door.InspectArguments, {"decision_id": request_id, "render": False})
    return await inbox.call(lambda: views.inspect(inbox.store, arguments, inbox.router))


def _review(view: View, decide: Html) -> list[Html]:
    return [
        el("h1", view["decision"]["goal"]),
        el(
            "section",
            el("h2", "Decide", id="decide"),
            decide,
            aria_labelledby="decide",
        ),
    ]
