"""One request, as a reviewer sees it."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from nexus_control.render.html import Html
from nexus_control.render.text import View
from nexus_control.usecases import arguments as door
from nexus_control.usecases import views
from nexus_control.web.deciding import decide_form
from nexus_control.web.inbox import Inbox, Visit
from nexus_control.web.pages import el, respond


def routes(inbox: Inbox) -> list[Route]:
    """The page of one request."""

    async def review(request: Request) -> Response:
        visit = Visit.of(request)
        view = await inspected(inbox, request.path_params["request_id"])
        return respond(
            inbox, visit, view["decision"]["goal"] or "Request", *_review(inbox, visit, view), is_live=True
        )

    return [Route("/requests/{request_id}", review)]


async def inspected(inbox: Inbox, request_id: str) -> View:
    """What `inspect` answers. Raises DECISION_NOT_FOUND."""
    arguments = door.validated(door.InspectArguments, {"decision_id": request_id, "render": False})
    return await inbox.call(lambda: views.inspect(inbox.store, arguments, inbox.router))


def _review(inbox: Inbox, visit: Visit, view: View) -> list[Html]:
    return [
        el("h1", view["decision"]["goal"]),
        el(
            "section",
            el("h2", "Decide", id="decide"),
            decide_form(inbox, visit, view),
            aria_labelledby="decide",
        ),
    ]
