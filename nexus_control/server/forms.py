"""Asks the person at the client by a form, or sends them to a page (elicitation), in the way of the protocol's era.

In the older era the server sends the form as a request within the call. In the newer era the form is the call's answer,
and the client calls again with the typed values and a token of ours. A token is valid once, for its own question, until
the time limit of the form; values without a token are ignored.

A page is opened in the same way. The client tells only whether it was opened; what the person decides there comes into
the store without us.

Nobody is to be worn down by questions: one form is open at a time, and after two forms about a request came back
without a typed answer, no further one is shown for ten minutes. Nor is a page opened a third time; but one that was
opened is no sign of somebody who is tired of questions.
"""

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import anyio
import mcp_types as types
from mcp.shared.exceptions import MCPError
from mcp_types.version import is_version_at_least

from nexus_control.server.running import Request
from nexus_control.toolset.asking import FORM, read_answer
from nexus_control.toolset.tool import FormAnswer, Question

PAUSE_SECONDS: Final = 600
MOST_UNANSWERED: Final = 2
MOST_UNANSWERED_IN_ALL = 6

_ANSWERED_BY_A_SECOND_CALL = "2026-07-28"
_FORM_KEY = "approval"
_LONGEST_CLIENT_NAME = 100
_TOO_LATE = "nobody answered the form in time"
_COULD_NOT_ASK = "the host could not ask"
_ANOTHER = "this does not answer the form of this request"
_OPEN = "another form is open already"
_PAUSED = "forms came back without an answer, and no other is shown for some minutes"
_SHOWN = {
    "accept": "they were sent to its page, and decide there",
    "decline": "they did not open its page",
    "cancel": "they did not open its page",
}
_UNANSWERED = {
    "accept": "the form came back without a choice",
    "decline": "the form was declined without an answer",
    "cancel": "the form was closed without an answer",
}


@dataclass(frozen=True, slots=True)
class _Asked:
    question: Question
    since: float
    was_opened: bool = False
    """A page that the person opened: they did what they were asked for."""


class Asker:
    """Puts questions to the person at the client and reads the answers. A text instead of an answer says why there is
    no answer. `elapsed` is a monotonic clock, in seconds. All methods run on the server's one event loop.
    """

    def __init__(self, silence_seconds: float, elapsed: Callable[[], float] = time.monotonic) -> None:
        self._silence = silence_seconds
        self._elapsed = elapsed
        self._open: dict[str, _Asked] = {}
        """The forms that wait for an answer, by token."""
        self._unanswered: list[_Asked] = []
        """The forms that came back without an answer, each with the time of that."""

    async def ask(
        self, request: Request, params: types.CallToolRequestParams, question: Question
    ) -> FormAnswer | str | types.InputRequiredResult:
        self._forget()
        in_two_calls = is_version_at_least(request.protocol_version, _ANSWERED_BY_A_SECOND_CALL)
        if in_two_calls and params.request_state is not None:
            return self._second_call(request, params, params.request_state, question)
        if self._open:
            return _OPEN
        if sum(_same(each.question, question) for each in self._unanswered) >= MOST_UNANSWERED:
            return _PAUSED
        if sum(not each.was_opened for each in self._unanswered) >= MOST_UNANSWERED_IN_ALL:
            return _PAUSED
        token = secrets.token_urlsafe(32)
        self._open[token] = _Asked(question, self._elapsed())
        if not in_two_calls:
            return await self._in_one_call(request, token)
        requests: types.InputRequests = {_FORM_KEY: types.ElicitRequest(params=_asking(question))}
        return types.InputRequiredResult(input_requests=requests, request_state=token)

    async def _in_one_call(self, request: Request, token: str) -> FormAnswer | str:
        asked, answer, was_opened = self._open[token], None, False
        try:
            with anyio.move_on_after(self._silence):
                told = await _asked_at_once(request, asked.question, token)
                answer = self._answer(request, asked, told)
                was_opened = _is_opened(asked.question, told)
                return answer or _unanswered(asked.question, told)
        except (MCPError, ValueError):  # ValueError: the client's response is not an answer to a form
            return _COULD_NOT_ASK
        finally:
            self._close(token, answer, was_opened=was_opened)
        return _TOO_LATE

    def _second_call(
        self, request: Request, params: types.CallToolRequestParams, token: str, question: Question
    ) -> FormAnswer | str:
        """The answer to the form of this token, about the request as the form showed it. `question` shows it as it is
        now, and only tells whether the call is still the same.
        """
        asked, answer, was_opened = self._open.get(token), None, False
        if asked is None:
            return _TOO_LATE
        form = (params.input_responses or {}).get(_FORM_KEY)
        try:
            if not _same_call(asked.question, question):
                return _ANOTHER
            if not isinstance(form, types.ElicitResult):
                return _COULD_NOT_ASK
            answer = self._answer(request, asked, form)
            was_opened = _is_opened(asked.question, form)
            return answer or _unanswered(asked.question, form)
        finally:
            self._close(token, answer, was_opened=was_opened)

    def _answer(self, request: Request, asked: _Asked, form: types.ElicitResult) -> FormAnswer | None:
        if asked.question.page is not None:
            return None
        client = request.session.client_params
        return read_answer(
            asked.question,
            form.content if form.action == "accept" else None,
            client=client.client_info.name[:_LONGEST_CLIENT_NAME] if client else "unknown",
            latency_ms=round((self._elapsed() - asked.since) * 1000),
        )

    def _close(self, token: str, answer: FormAnswer | None, *, was_opened: bool = False) -> None:
        asked = self._open.pop(token, None)
        if asked is not None and answer is None:
            self._unanswered.append(_Asked(asked.question, self._elapsed(), was_opened))

    def _forget(self) -> None:
        """Closes the forms whose time is over, and forgets those that were closed long ago."""
        now = self._elapsed()
        for token in [token for token, asked in self._open.items() if now - asked.since > self._silence]:
            self._close(token, None)
        self._unanswered = [each for each in self._unanswered if now - each.since < PAUSE_SECONDS]


def _asking(question: Question) -> types.ElicitRequestParams:
    """The question as the newer era asks it."""
    if question.page is not None:
        return types.ElicitRequestURLParams(message=question.text, url=question.page)
    return types.ElicitRequestFormParams(message=question.text, requested_schema=FORM)


async def _asked_at_once(request: Request, question: Question, token: str) -> types.ElicitResult:
    """The client's answer in the older era. The token is the elicitation's id, where it needs one."""
    session, number = request.session, request.request_id
    if question.page is not None:
        return await session.elicit_url(question.text, question.page, token, number)
    return await session.elicit_form(question.text, FORM, number)


def _is_opened(question: Question, told: types.ElicitResult) -> bool:
    return question.page is not None and told.action == "accept"


def _unanswered(question: Question, told: types.ElicitResult) -> str:
    """Why there is no answer."""
    return (_UNANSWERED if question.page is None else _SHOWN)[told.action]


def _same(one: Question, other: Question) -> bool:
    """Whether both questions are about the same request with the same content."""
    return (one.request_id, one.basis) == (other.request_id, other.basis)


def _same_call(asked: Question, now: Question) -> bool:
    """Whether the second call asks the question of the first: for the same request, in the same words. If the request
    has changed since, or was rehearsed again, the words may differ: what the form showed then refuses it later.
    """
    if (asked.request_id, asked.expires_at) != (now.request_id, now.expires_at):
        return False
    return asked.text == now.text or (asked.basis, asked.rehearsal) != (now.basis, now.rehearsal)


def can_ask(request: Request) -> bool:
    """Whether the client declares that it can show a form. An empty declaration of elicitation means forms."""
    declared = request.session.client_capabilities
    elicitation = declared.elicitation if declared else None
    return elicitation is not None and (elicitation.form is not None or elicitation.url is None)


def can_open(request: Request) -> bool:
    """Whether the client declares that it can open a page for a person."""
    declared = request.session.client_capabilities
    return declared is not None and declared.elicitation is not None and declared.elicitation.url is not None
