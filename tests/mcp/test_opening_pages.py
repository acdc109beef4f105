"""Clients that can open a page for a person, where there is an inbox."""

import asyncio
from pathlib import Path
from typing import Any, Literal

import pytest
from mcp import Client
from mcp.client.context import ClientRequestContext
from mcp.types import (
    ElicitRequestFormParams,
    ElicitRequestParams,
    ElicitRequestURLParams,
    ElicitResult,
)

from nexus_control import NexusControlTools
from nexus_control.server.protocol import make_server
from nexus_control.server.settings import Settings, open_context
from nexus_control.values.actors import Actor
from tests.mcp.serving import ERAS, Era, data, refusal
from tests.support.governed import data_of

INBOX = "https://approve.example.org"
AGENT, BOB = Actor("system", "agent@here"), Actor("human", "bob")
Action = Literal["accept", "decline", "cancel"]


class Person:
    """At a client that can show forms and open pages: `seen` is what was put before them."""

    def __init__(self, action: Action = "accept") -> None:
        self.seen: list[ElicitRequestFormParams | ElicitRequestURLParams] = []
        self._action: Action = action

    async def answer(self, context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
        assert isinstance(params, ElicitRequestFormParams | ElicitRequestURLParams)
        self.seen.append(params)
        content = None if isinstance(params, ElicitRequestURLParams) else {"verdict": "approve"}
        return ElicitResult.model_validate({"action": self._action, "content": content})


def ask_for(
    folder: Path,
    era: Era,
    person: Person,
    *,
    inbox: str | None = INBOX,
    calls: int = 1,
    requests: int = 1,
    **policy: object,
) -> tuple[str, list[dict[str, Any]]]:
    """The last request's id, and the answers to so many calls of approve for each of so many requests."""

    async def flow() -> tuple[str, list[dict[str, Any]]]:
        settings = Settings(
            database=str(folder / "store.db"),
            actor=AGENT,
            approver=BOB,
            passkey_origins=() if inbox is None else (inbox,),
        )
        with open_context(settings) as context:
            server = make_server(context, settings)
            async with Client(server, mode=era, elicitation_callback=person.answer) as agent:
                call, told, request_id = data if inbox is None else refusal, list[dict[str, Any]](), ""
                for _ in range(requests):
                    asked = await data(agent, "request", goal="Rotate", mode="apply", **policy)
                    request_id = asked["request_id"]
                    told += [await call(agent, "approve", request_id=request_id) for _ in range(calls)]
                return request_id, told

    return asyncio.run(flow())


@pytest.mark.parametrize("era", ERAS)
def test_a_person_is_sent_to_the_page_of_the_request_and_decides_there(era: Era, tmp_path: Path) -> None:
    person = Person()
    request_id, (told,) = ask_for(tmp_path, era, person, min_assurance="signed", plan="x" * 9000)
    (page,) = person.seen
    assert isinstance(page, ElicitRequestURLParams)
    assert page.url == f"{INBOX}/requests/{request_id}"
    assert request_id in page.message
    assert told["code"] == "APPROVAL_NEEDS_A_PERSON"
    assert "they were sent to its page" in told["message"]
    assert told["details"]["page"] == page.url
    assert "wait_seconds" in told["next"]
    tools = NexusControlTools(db_path=tmp_path / "store.db")
    assert data_of(tools.status(request_id))["state"] == "pending_approval"


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("action", ["decline", "cancel"])
def test_a_page_that_was_not_opened_is_no_decision(era: Era, action: Action, tmp_path: Path) -> None:
    request_id, (told,) = ask_for(tmp_path, era, Person(action))
    assert told["code"] == "APPROVAL_NEEDS_A_PERSON"
    assert "they did not open its page" in told["message"]
    tools = NexusControlTools(db_path=tmp_path / "store.db")
    assert data_of(tools.status(request_id))["state"] == "pending_approval"


@pytest.mark.parametrize("era", ERAS)
def test_a_person_is_sent_to_a_page_twice_and_then_left_alone(era: Era, tmp_path: Path) -> None:
    person = Person()
    _, told = ask_for(tmp_path, era, person, calls=4)
    assert len(person.seen) == 2
    assert {each["code"] for each in told} == {"APPROVAL_NEEDS_A_PERSON"}


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize(("action", "most"), [("accept", 9), ("decline", 6)])
def test_who_opens_each_page_is_sent_to_the_next_and_who_opens_none_is_left_alone(
    era: Era, action: Action, most: int, tmp_path: Path
) -> None:
    person = Person(action)
    ask_for(tmp_path, era, person, requests=9)
    assert len(person.seen) == most


@pytest.mark.parametrize("era", ERAS)
def test_without_an_inbox_the_same_client_shows_a_form(era: Era, tmp_path: Path) -> None:
    person = Person()
    _, (approved,) = ask_for(tmp_path, era, person, inbox=None)
    assert isinstance(person.seen[0], ElicitRequestFormParams)
    assert approved["is_approved"]


def test_a_page_is_not_opened_for_what_nobody_can_approve(tmp_path: Path) -> None:
    person = Person()
    _, (told,) = ask_for(tmp_path, "auto", person, require_rehearsal={"max_age_seconds": 60})
    assert told["code"] == "REHEARSAL_REQUIRED"
    assert not person.seen
