"""What `create_app` refuses, and that a mounted inbox keeps its rules."""

import asyncio
from collections.abc import Generator
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from nexus_control import DecisionStore, NexusControlError
from nexus_control.errors import ErrorCode
from nexus_control.web import create_app
from nexus_control.web.guarding import HEADERS
from nexus_control.web.inbox import READERS, RECORDERS
from tests.web.in_process import HOST, ORIGIN, TOKEN, answers, mounted
from tests.web.served import LONGEST


@pytest.fixture
def store(tmp_path: Path) -> Generator[DecisionStore]:
    with DecisionStore(tmp_path / "store.db", passkey_origins=[ORIGIN]) as store:
        yield store


WRONG: dict[str, dict[str, Any]] = {
    "origins as one text": {"origins": ORIGIN},
    "no origin": {"origins": []},
    "origins as a number": {"origins": 5},
    "origins that can be read once": {"origins": iter([ORIGIN])},
    "a slash at the end": {"origins": [f"{ORIGIN}/"]},
    "a capital letter": {"origins": ["https://Approve.example.org"]},
    "an IP address": {"origins": ["https://192.0.2.1"]},
    "an origin that the store does not allow": {"origins": [ORIGIN, "https://other.approve.example.org"]},
    "an origin that is no text": {"origins": [None]},
    "an origin that the RP ID does not fit": {"origins": ["https://example.com"]},
    "an RP ID that is an address": {"rp_id": "192.0.2.1"},
    "an RP ID that is no text": {"rp_id": None},
    "a short token": {"reader_token": "x" * 15},
    "a token of blanks": {"reader_token": " " * 16},
    "a token with a new line": {"reader_token": f"{TOKEN}\n"},
    "a token of bytes": {"reader_token": TOKEN.encode()},
    "no token": {"reader_token": None},
    "no store": {"store": None},
    "a word for a bool": {"may_decide": "no"},
}


@pytest.mark.parametrize("given", WRONG.values(), ids=WRONG)
def test_an_argument_that_does_not_serve_is_refused(store: DecisionStore, given: dict[str, Any]) -> None:
    right: dict[str, Any] = {"store": store, "origins": [ORIGIN], "rp_id": HOST, "reader_token": TOKEN}
    assert create_app(**right)
    with pytest.raises(NexusControlError) as refused:
        create_app(**right | given)
    assert refused.value.code is ErrorCode.INVALID_ARGUMENT
    assert next(iter(given)) in refused.value.message


RULES: dict[str, tuple[int, dict[str, Any]]] = {
    "a page": (200, {}),
    "another host": (421, {"headers": (("host", "evil.example"),)}),
    "no token": (403, {"query": ""}),
    "another origin": (
        403,
        {"method": "POST", "headers": (("host", HOST), ("origin", "https://evil.example"))},
    ),
    "another method": (405, {"method": "PUT"}),
    "a GET with a body": (400, {"headers": (("host", HOST), ("content-length", "1"))}),
    "a large body": (
        413,
        {"method": "POST", "headers": (("host", HOST), ("origin", ORIGIN), ("content-length", "65537"))},
    ),
    "a slash too many": (404, {"path": "/inbox/history/"}),
}


@pytest.mark.parametrize("name", RULES)
def test_a_mounted_inbox_keeps_its_rules(store: DecisionStore, name: str) -> None:
    status, given = RULES[name]
    asked: dict[str, Any] = {"path": "/inbox/history", **given}
    (answer,) = answers(mounted(store, "/inbox"), **asked)
    assert answer.status == status
    assert answer.headers.items() >= HEADERS.items()


def test_pages_are_read_while_verdicts_wait_for_the_store(store: DecisionStore) -> None:
    inbox = create_app(store, origins=[ORIGIN], rp_id=HOST, reader_token=TOKEN).state.inbox

    async def story() -> str:
        free = Event()
        waiting = [asyncio.create_task(inbox.record(free.wait)) for _ in range(READERS + RECORDERS)]
        await asyncio.sleep(0)
        try:
            async with asyncio.timeout(LONGEST):
                return await inbox.call(lambda: "read")
        finally:
            free.set()
            await asyncio.gather(*waiting)

    assert asyncio.run(story()) == "read"
