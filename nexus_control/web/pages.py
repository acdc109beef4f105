"""The frame of every page: head, skip link, navigation, main part; and pages that say what went wrong.

Pages are built with `el`, which escapes each text and each attribute (`render.html`). So no text of a request can
become an element. Pages have no inline style and no inline script, because the Content-Security-Policy forbids them.
"""

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Final

from starlette.responses import HTMLResponse

from nexus_control.render.html import Html, element, joined
from nexus_control.render.times import in_utc
from nexus_control.web.inbox import Inbox, Visit

PAGES: Final = {"/": "Waiting", "/history": "History", "/me": "You"}
"""The pages of the navigation."""
_COLOURS: Final = {
    "approved": "good",
    "completed": "good",
    "denied": "bad",
    "failed": "bad",
    "withdrawn": "idle",
}


def el(name: str, /, *children: object, **attributes: object) -> Html:
    """An element. Attributes that are None or False are left out, and True is an attribute without a value.

    >>> el("a", "a < b", href="/x", class_="plain", aria_current=None)
    '<a href="/x" class="plain">a &lt; b</a>'

    An underscore at the end of a name is dropped, and those within it are hyphens: `class_`, `aria_label`.
    """
    written = {
        _spelled(key): "" if value is True else value
        for key, value in attributes.items()
        if value is not None and value is not False
    }
    return element(name, written, *children)


@cache
def _spelled(key: str) -> str:
    return key.removesuffix("_").replace("_", "-")


def respond(
    inbox: Inbox,
    visit: Visit,
    title: str,
    *children: object,
    current: str = "",
    status: int = 200,
    is_live: bool = False,
    headers: Mapping[str, str] | None = None,
) -> HTMLResponse:
    """The page as a response. `current` is its path in the navigation; an `is_live` page shows changes by itself."""
    main = el("main", *children, id="main", tabindex="-1", data_live=visit.link("/live") if is_live else None)
    parts = [
        el("a", "Skip to the content", href="#main", class_="skip"),
        el("header", _brand(visit), _navigation(visit, current), class_="bar"),
        main,
        el("p", role="status", id="said", class_="visually-hidden"),
    ]
    return HTMLResponse(_document(visit, title, parts), status, headers)


def respond_without_token(visit: Visit) -> HTMLResponse:
    """403 for a reader who gave no token, or a wrong one. It tells nothing of what is here."""
    main = el(
        "main",
        el("h1", "This page needs its full address"),
        el(
            "p",
            "The inbox is read with a token, which is part of the address that the command nexus-control inbox printed "
            "when it was started. Open that address, or ask the person who started it for it. Where the token is not "
            "kept in a file, each start has another one, and earlier addresses end.",
        ),
        el("p", "If this browser has opened the inbox before, it goes on by itself.", class_="soft"),
        id="main",
        tabindex="-1",
        data_needs_token=True,
    )
    return HTMLResponse(_document(visit, "Address incomplete", [main]), 403)


def respond_with_problem(
    inbox: Inbox | None, visit: Visit, status: int, heading: str, *texts: object
) -> HTMLResponse:
    """A page that says what is wrong, and what to do next."""
    content = [el("h1", heading), *(el("p", text) for text in texts)]
    if inbox is None or not visit.token:
        return HTMLResponse(
            _document(visit, heading, [el("main", *content, id="main", tabindex="-1")]), status
        )
    return respond(
        inbox,
        visit,
        heading,
        *content,
        el("p", el("a", "Go to what waits", href=visit.link("/"))),
        status=status,
    )


def moment(instant: str) -> Html:
    """An instant, to the second, in UTC."""
    return el("time", f"{in_utc(instant)} UTC", datetime=instant)


def words(state: str) -> str:
    return state.replace("_", " ")


def badge(state: str) -> Html:
    """A state in words; its colour says the same."""
    return el("span", words(state), class_=f"badge {_COLOURS.get(state, 'odd')}")


def hidden_query(visit: Visit, **query: str | None) -> Html:
    """The reader's token and id as hidden fields of a form that is sent with GET."""
    given = {"token": visit.token, "as": visit.person, **query}
    return joined(
        el("input", type="hidden", name=name, value=value) for name, value in given.items() if value
    )


def _brand(visit: Visit) -> Html:
    return el("a", el("span", "Inbox", class_="brand"), href=visit.link("/"), class_="home")


def _navigation(visit: Visit, current: str) -> Html:
    links = [
        el("a", name, href=visit.link(path), aria_current="page" if path == current else None)
        for path, name in PAGES.items()
    ]
    return el("nav", *links, aria_label="Pages")


def _document(visit: Visit, title: str, body: Iterable[Html]) -> str:
    head = [
        el("meta", charset="utf-8"),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", name="color-scheme", content="light dark"),
        el("title", f"{title} · Inbox"),
        el("link", rel="stylesheet", href=visit.static("report.css")),
        el("link", rel="stylesheet", href=visit.static("inbox.css")),
        el("link", rel="icon", href=visit.static("icon.svg"), type="image/svg+xml"),
        el("script", src=visit.static("inbox.js"), defer=True),
        el("script", src=visit.static("passkeys.js"), defer=True),
    ]
    whole = el("html", el("head", *head), el("body", *body, data_root=visit.root), lang="en")
    return f"<!doctype html>\n{whole}\n"
