"""Asking the person at the client by a form (elicitation), in the way of the protocol's era.

In the older era the form is a request of ours in the middle of the call. In the newer one it is the call's answer, and
the client then calls again with what was typed in and a token of ours. A token is good once, for that very question,
for as long as silence is waited for; an answer without one is not looked at.
"""

import secrets
import time
from dataclasses import dataclass

import anyio
import mcp_types as types
from mcp.shared.exceptions import MCPError
from mcp_types.version import is_version_at_least

from nexus_control.server.running import Request
from nexus_control.toolset.asking import FORM, read_answer
from nexus_control.toolset.tool import Answer

_ANSWERED_BY_A_SECOND_CALL = "2026-07-28"
_FORM_KEY = "approval"
_LONGEST_CLIENT_NAME = 100
_TOO_LATE = "nobody answered the form in time"
_COULD_NOT_ASK = "the host could not ask"
_UNANSWERED = {
    "accept": "the form came back without a choice",
    "decline": "the form was declined, which is no answer",
    "cancel": "the form was closed without an answer",
}


@dataclass(frozen=True, slots=True)
class _Asked:
    question: str
    since: float


class Asker:
    """Puts questions to the person at the client, and takes their answers; a text says why there is none."""

    def __init__(self, silence_seconds: float) -> None:
        self._silence = silence_seconds
        self._asked: dict[str, _Asked] = {}

    async def ask(
        self, request: Request, params: types.CallToolRequestParams, question: str
    ) -> Answer | str | types.InputRequiredResult:
        if is_version_at_least(request.protocol_version, _ANSWERED_BY_A_SECOND_CALL):
            return self._in_two_calls(request, params, question)
        asked, form = _Asked(question, time.monotonic()), types.ElicitResult(action="cancel")
        with anyio.move_on_after(self._silence) as silence:
            try:
                form = await request.session.elicit_form(question, FORM, request.request_id)
            except (MCPError, ValueError):  # ValueError: what came back is no answer to a form
                return _COULD_NOT_ASK
        return _TOO_LATE if silence.cancelled_caught else _answer(request, asked, form)

    def _in_two_calls(
        self, request: Request, params: types.CallToolRequestParams, question: str
    ) -> Answer | str | types.InputRequiredResult:
        now = time.monotonic()
        waiting = self._asked.pop(params.request_state or "", None)
        self._asked = {token: each for token, each in self._asked.items() if now - each.since < self._silence}
        if params.request_state is None:
            token = secrets.token_urlsafe(32)
            self._asked[token] = _Asked(question, now)
            form = types.ElicitRequestFormParams(message=question, requested_schema=FORM)
            requests: types.InputRequests = {_FORM_KEY: types.ElicitRequest(params=form)}
            return types.InputRequiredResult(input_requests=requests, request_state=token)
        if waiting is None or waiting.question != question or now - waiting.since > self._silence:
            return _TOO_LATE
        form = (params.input_responses or {}).get(_FORM_KEY)
        return _answer(request, waiting, form) if isinstance(form, types.ElicitResult) else _COULD_NOT_ASK


def _answer(request: Request, asked: _Asked, form: types.ElicitResult) -> Answer | str:
    client = request.session.client_params
    answer = read_answer(
        form.content if form.action == "accept" else None,
        client=client.client_info.name[:_LONGEST_CLIENT_NAME] if client else "unknown",
        latency_ms=round((time.monotonic() - asked.since) * 1000),
    )
    return answer or _UNANSWERED[form.action]


def can_ask(request: Request) -> bool:
    """Whether the client says that it can show a form; an empty declaration means forms."""
    declared = request.session.client_capabilities
    elicitation = declared.elicitation if declared else None
    return elicitation is not None and (elicitation.form is not None or elicitation.url is None)
