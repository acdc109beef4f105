"""Enrolling a passkey."""

from starlette.routing import Route

from nexus_control.web.inbox import Inbox


def routes(inbox: Inbox) -> list[Route]:
    """The routes that enrol."""
    return []
