"""Lists of requests, newest first: what waits, and the history with a search.

Pages go on by the cursor of the page before, so the cost of a page does not grow with the store.
"""

from collections.abc import Iterator, Sequence
from typing import Final, cast, get_args

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from nexus_control.lifecycle import counted
from nexus_control.render.html import Html
from nexus_control.usecases.list_answers import RequestLine, RequestsData
from nexus_control.usecases.list_arguments import ListArguments
from nexus_control.usecases.listing import list_requests
from nexus_control.values.payloads import StateName
from nexus_control.web.inbox import Inbox, Visit
from nexus_control.web.pages import badge, el, hidden_query, moment, respond, words
from nexus_control.web.person import person_form
from nexus_control.web.reviewing import who

LINES: Final = 20
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


def _list(visit: Visit, found: RequestsData, nothing: str) -> Html:
    lines: Sequence[RequestLine] = found["requests"]
    if not lines:
        return el("p", nothing, class_="empty")
    return el("ul", *(el("li", *_card(visit, line)) for line in lines), class_="cards")


def _card(visit: Visit, line: RequestLine) -> Iterator[Html]:
    goal = line["goal"] or "A request without a goal"
    shown = goal if len(goal) <= _LONGEST_GOAL else f"{goal[:_LONGEST_GOAL]} …"
    yield el("h2", el("a", shown, href=visit.link(f"/requests/{line['request_id']}")))
    approvals = f"{line['current_approvals']} of {counted(line['required_approvals'], 'approval')}"
    yield el("p", badge(line["state"]), " ", el("span", approvals), " ", *_remarks(line))
    yield el("p", f"{who(line['requester'])}, ", moment(line["created_at"]), *_ending(line), class_="soft")


def _remarks(line: RequestLine) -> Iterator[Html]:
    if line["mode"] == "dry_run":
        yield el("span", "dry run", class_="tag")
    if line["imported"]:
        yield el("span", "imported", class_="tag")
    yield from (el("span", label, class_="tag") for label in line["labels"])


def _ending(line: RequestLine) -> Iterator[object]:
    if line["expires_at"] and line["state"] in ("pending_approval", "approved"):
        yield ", ends "
        yield moment(line["expires_at"])


def _pager(visit: Visit, path: str, found: RequestsData, after: str | None, **asked: str | None) -> Html:
    """Links to the page of older requests, and back to the newest."""
    links = list[Html]()
    if after:
        links.append(el("a", "Newest", href=visit.link(path, **asked), class_="button quiet"))
    if found["cursor"]:
        older = visit.link(path, after=found["cursor"], **asked)
        links.append(el("a", "Older", href=older, class_="button quiet", rel="next"))
    return el("nav", *links, aria_label="More requests", class_="row") if links else Html("")
