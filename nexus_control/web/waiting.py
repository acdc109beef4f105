"""Lists of requests, newest first: what waits, and the history with a search.

Pages go on by the cursor of the page before, so the cost of a page does not grow with the store.
"""

from functools import lru_cache
from typing import Final, NamedTuple, cast, get_args

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from nexus_control.lifecycle import counted
from nexus_control.render.agreed import not_of_each_group
from nexus_control.render.html import Html
from nexus_control.usecases.list_answers import RequestLine, RequestsData
from nexus_control.usecases.list_arguments import ListArguments
from nexus_control.usecases.listing import list_requests
from nexus_control.values.payloads import StateName
from nexus_control.web.inbox import Inbox, Visit
from nexus_control.web.pages import badge, el, hidden_query, moment, respond, words
from nexus_control.web.person import person_form
from nexus_control.web.reviewing import who

LINES: Final = 50
"""The requests on one page."""
_SEARCHED: Final = ("text", "state", "requester", "label")
_LONGEST_GOAL: Final = 300


def routes(inbox: Inbox) -> list[Route]:
    """The lists."""

    async def waiting(request: Request) -> Response:
        visit, after = Visit.of(request), request.query_params.get("after") or None
        found = await _listed(
            inbox,
            ListArguments(limit=LINES, after=after, state="pending_approval", awaiting=visit.person or None),
        )
        heading = f"What waits for {visit.person}" if visit.person else "What waits for an approval"
        content = [
            el("h1", heading),
            person_form(visit, "/", "Show what waits for me"),
            _list(visit, found, "Nothing waits now. This page shows new requests by itself."),
            _pager(visit, "/", found, after),
        ]
        return respond(inbox, visit, heading, *content, current="/", is_live=after is None)

    async def history(request: Request) -> Response:
        visit, query = Visit.of(request), request.query_params
        asked = {name: query.get(name, "").strip() or None for name in _SEARCHED}
        after = query.get("after") or None
        found = await _listed(
            inbox,
            ListArguments(
                limit=LINES,
                after=after,
                text=asked["text"],
                state=cast("StateName | None", asked["state"]),
                requester=asked["requester"],
                label=asked["label"],
            ),
        )
        content = [
            el("h1", "History"),
            _search(visit, asked),
            _list(visit, found, "No request fits this search."),
            _pager(visit, "/history", found, after, **asked),
        ]
        return respond(inbox, visit, "History", *content, current="/history")

    return [Route("/", waiting), Route("/history", history)]


async def _listed(inbox: Inbox, arguments: ListArguments) -> RequestsData:
    return await inbox.call(lambda: list_requests(inbox.store, arguments))


def _search(visit: Visit, asked: dict[str, str | None]) -> Html:
    states = [el("option", "any", value="", selected=asked["state"] is None)]
    states += [
        el("option", words(state), value=state, selected=asked["state"] == state)
        for state in get_args(StateName)
    ]
    fields = [
        _labelled("Goal contains", "text", asked),
        el("div", el("label", "State", for_="state"), el("select", *states, id="state", name="state")),
        _labelled("Asked for by", "requester", asked),
        _labelled("Label", "label", asked),
    ]
    return el(
        "form",
        *fields,
        hidden_query(visit),
        el("div", el("button", "Search", type="submit"), class_="row"),
        method="get",
        action=visit.link_without_query("/history"),
        class_="search",
        role="search",
    )


def _labelled(label: str, name: str, asked: dict[str, str | None]) -> Html:
    field = el("input", type="text", id=name, name=name, value=asked[name] or "", maxlength=256)
    return el("div", el("label", label, for_=name), field)


class _Card(NamedTuple):
    """What is shown of one request in a list."""

    request_id: str
    goal: str
    state: str
    approvals: str
    tags: tuple[str, ...]
    asked_by: str
    asked_at: str
    ends_at: str | None


def _list(visit: Visit, found: RequestsData, nothing: str) -> Html:
    if not found["requests"]:
        return el("p", nothing, class_="empty")
    return el("ul", *(_drawn(visit, _card(line)) for line in found["requests"]), class_="cards")


def _card(line: RequestLine) -> _Card:
    goal = line["goal"] or "A request without a goal"
    is_open = line["state"] in ("pending_approval", "approved")
    tags = (*(["dry run"] if line["mode"] == "dry_run" else []), *(["imported"] if line["imported"] else []))
    return _Card(
        request_id=line["request_id"],
        goal=goal if len(goal) <= _LONGEST_GOAL else f"{goal[:_LONGEST_GOAL]} …",
        state=line["state"],
        approvals=f"{line['current_approvals']} of {counted(line['required_approvals'], 'approval')}"
        f"{not_of_each_group(line)}",
        tags=(*tags, *line["labels"]),
        asked_by=who(line["requester"]),
        asked_at=line["created_at"],
        ends_at=line["expires_at"] if is_open else None,
    )


@lru_cache(maxsize=1024)
def _drawn(visit: Visit, card: _Card) -> Html:
    """The card's element. After a change all open pages ask for nearly the same cards again."""
    ending = (", ends ", moment(card.ends_at)) if card.ends_at else ()
    tags = (el("span", each, class_="tag") for each in card.tags)
    return el(
        "li",
        el("h2", el("a", card.goal, href=visit.link(f"/requests/{card.request_id}"))),
        el("p", badge(card.state), " ", el("span", card.approvals), " ", *tags),
        el("p", f"{card.asked_by}, ", moment(card.asked_at), *ending, class_="soft"),
    )


def _pager(visit: Visit, path: str, found: RequestsData, after: str | None, **asked: str | None) -> Html:
    """Links to the page of older requests, and back to the newest."""
    links = list[Html]()
    if after:
        links.append(el("a", "Newest", href=visit.link(path, **asked), class_="button quiet"))
    if found["cursor"]:
        older = visit.link(path, after=found["cursor"], **asked)
        links.append(el("a", "Older", href=older, class_="button quiet", rel="next"))
    return el("nav", *links, aria_label="More requests", class_="row") if links else Html("")
