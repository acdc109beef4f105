"""A verdict that comes from a page: approve, deny, revoke.

    POST /requests/ID/VERDICT   {"token", "statement", "assertion": {...}, "comment" or "reason"}, bytes in base64url

The signature is packed and verified by the code that verifies it later, then the use case records the verdict about the
basis that the statement names. A refused verdict changes nothing: the answer is the request as it is now, with why.
"""

from dataclasses import dataclass
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.evidence.formats.origins import PasskeyOrigins
from nexus_control.evidence.statement import Verdict
from nexus_control.usecases import arguments as door
from nexus_control.usecases import deciding
from nexus_control.usecases.answers import ApprovalData, StateData
from nexus_control.usecases.passkeys import signed_by_passkey
from nexus_control.web.deciding import VERDICTS, require_ours
from nexus_control.web.inbox import Inbox, Visit
from nexus_control.web.passkey_form import AssertionBody
from nexus_control.web.posting import posted, refusal, refusal_as_json, status_of, wants_json
from nexus_control.web.reviewing import review_page

_NOT_DONE: Final = {"approve": "Not approved", "deny": "Not denied", "revoke": "Not revoked"}


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictBody:
    """The body of a verdict."""

    token: str
    statement: str
    assertion: AssertionBody
    comment: str | None = None
    reason: str | None = None


def routes(inbox: Inbox) -> list[Route]:
    """The routes that decide."""
    return [_route(inbox, verdict) for verdict in VERDICTS]


def _route(inbox: Inbox, verdict: Verdict) -> Route:
    async def answer(request: Request) -> Response:
        visit, request_id = Visit.of(request), request.path_params["request_id"]
        typed = ""
        try:
            body = await posted(request, VerdictBody)
            typed = body.comment or body.reason or ""
            data = await inbox.record(lambda: _decided(inbox, request_id, verdict, body))
        except NexusControlError as fault:
            if wants_json(request):
                return refusal_as_json(fault)
            # Of a request that is nowhere, `review_page` says so.
            notice = refusal(fault, _NOT_DONE[verdict])
            return await review_page(
                inbox, visit, request_id, notice, typed={verdict: typed}, status=status_of(fault)
            )
        if wants_json(request):
            return JSONResponse(data)
        return RedirectResponse(visit.link(f"/requests/{request_id}", done=verdict), 303)

    return Route(f"/requests/{{request_id}}/{verdict}", answer, methods=["POST"])


def _decided(inbox: Inbox, request_id: str, verdict: Verdict, body: VerdictBody) -> ApprovalData | StateData:
    if not inbox.may_decide:
        raise NexusControlError(ErrorCode.INVALID_STATE, "This inbox is for reading: nothing is decided here")
    stated = require_ours(inbox, body.statement, body.token)
    signed = signed_by_passkey(
        inbox.store,
        body.statement,
        body.assertion.decoded(),
        rp_id=inbox.rp_id,
        origins=PasskeyOrigins(inbox.origins),
    )
    given: dict[str, object] = {
        "request_id": request_id,
        "actor": {"type": "human", "id": stated.approver},
        "basis": stated.basis.chain,
        "statement": signed.statement,
        "signature": signed.signature,
    }
    said = {"comment": body.comment or None, "reason": body.reason or None}
    given |= {name: text for name, text in said.items() if text is not None}
    match verdict:
        case "approve":
            given["rehearsal_digest"] = stated.rehearsal_digest
            return deciding.approve(inbox.store, door.validated(door.ApproveArguments, given))
        case "deny":
            return deciding.deny(inbox.store, door.validated(door.DenyArguments, given))
        case "revoke":
            return deciding.revoke_approval(inbox.store, door.validated(door.RevokeArguments, given))
