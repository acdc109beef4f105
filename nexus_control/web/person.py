"""The form in which readers say who they are. It filters, says whose passkey signs, and grants nothing."""

from collections.abc import Iterator

from nexus_control.render.html import Html
from nexus_control.web.inbox import Visit
from nexus_control.web.pages import el, hidden_query


def person_form(visit: Visit, path: str, button: str) -> Html:
    """The form in which readers say who they are."""
    everybody = el("a", "Forget it", href=f"{visit.link(path, **{'as': None})}&as=")
    return el(
        "form",
        el("label", "Your id", for_="person"),
        el("div", *person_field(visit, button), class_="row"),
        hidden_query(visit, **{"as": None}),
        el(
            "p",
            "It only chooses what is shown, and is kept in this browser. ",
            everybody if visit.person else "",
            class_="note",
        ),
        method="get",
        action=visit.link_without_query(path),
        class_="ask",
    )


def person_field(visit: Visit, button: str) -> Iterator[Html]:
    """The field with the id `person`, and the button that sends it."""
    yield el(
        "input",
        type="text",
        id="person",
        name="as",
        value=visit.person,
        maxlength=256,
        autocomplete="username",
        autocapitalize="none",
        spellcheck="false",
        required=True,
    )
    yield el("button", button, type="submit", class_="quiet")
