"""Lists of requests: what waits, and the history."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from nexus_control.usecases.list_arguments import ListArguments
from nexus_control.usecases.listing import list_requests
from nexus_control.web.inbox import Inbox, Visit
from nexus_control.web.pages import el, respond


def routes(inbox: Inbox) -> list[Route]:
    """The lists."""

    async def waiting(request: Request) -> Response:
        visit = Visit.of(request)
        data = await inbox.call(
            lambda: list_requests(inbox.store, ListArguments(limit=20, state="pending_approval"))
        )
        lines = [
            el("li", el("a", line["goal"], href=visit.link(f"/requests/{line['request_id']}")))
            for line in data["requests"]
        ]
        return respond(
            inbox, visit, "Waiting", el("h1", "Waiting"), el("ul", *lines), current="/", is_live=True
        )

    return [Route("/", waiting)]
