"""The address of a decision's page in the inbox: ORIGIN/requests/ID. The reader's token is never in it."""

from urllib.parse import quote


def page_of(origin: str, decision_id: str) -> str:
    """The page of one decision.

    >>> page_of("https://approve.example.org", "d1")
    'https://approve.example.org/requests/d1'
    """
    return f"{origin}/requests/{quote(decision_id, safe='')}"
