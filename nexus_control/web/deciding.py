"""Deciding a request with a passkey."""

from starlette.routing import Route

from nexus_control.render.html import Html
from nexus_control.render.text import View
from nexus_control.web.inbox import Inbox, Visit


def routes(inbox: Inbox) -> list[Route]:
    """The routes that decide."""
    return []


def decide_form(inbox: Inbox, visit: Visit, request: View) -> Html:
    """What stands in the section "Decide" of a request. `request` is what `inspect` answers."""
    return Html("")
