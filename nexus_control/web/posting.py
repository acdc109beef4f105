"""What the script of a page posts, and what is answered when it is refused.

A body is one JSON object, read strictly: no member twice or unknown, each of its own type, bounded depth. Bytes are in
base64url without padding. A refusal is a page, or for who asks for `application/json` an object:

    {"error": {"code": "BASIS_CHANGED", "message": "...", "next": "...", "details": {}}}
"""

from typing import Final, TypeVar

from starlette.requests import Request
from starlette.responses import JSONResponse

from nexus_control.canonical_json import parse_json_object
from nexus_control.errors import ErrorCode, NexusControlError, invalid_argument
from nexus_control.evidence.formats.base64_text import from_base64url
from nexus_control.render.html import Html
from nexus_control.render.text import spelled
from nexus_control.values.records import decode
from nexus_control.web.pages import el
from nexus_control.web.wording import advice

RecordT = TypeVar("RecordT")

_STATUS: Final = {
    ErrorCode.DECISION_NOT_FOUND: 404,
    ErrorCode.INVALID_ARGUMENT: 400,
    ErrorCode.JSON_INVALID: 400,
    ErrorCode.STORE_UNAVAILABLE: 503,
    ErrorCode.STORE_REPLACED: 503,
    ErrorCode.INTERNAL: 500,
}


def status_of(fault: NexusControlError) -> int:
    """The status of a refusal. Most are 409: the request is in order, and the decision is not in the state for it."""
    return _STATUS.get(fault.code, 409)


async def posted(request: Request, record: type[RecordT]) -> RecordT:
    """The body as a record. Raises JSON_INVALID, or INVALID_ARGUMENT for an object of another form."""
    data = parse_json_object(await request.body())
    return decode(record, data, where="body", code=ErrorCode.INVALID_ARGUMENT)


def octets(field: str, text: str) -> bytes:
    """The bytes of a field in base64url. Raises INVALID_ARGUMENT."""
    found = from_base64url(text)
    if found is None:
        raise invalid_argument(field, "must be base64url without padding")
    return found


def wants_json(request: Request) -> bool:
    """Whether the sender asked for an object rather than for a page."""
    return request.headers.get("accept", "").strip().lower().startswith("application/json")


def refusal_as_json(fault: NexusControlError) -> JSONResponse:
    error = {"code": fault.code, "message": fault.message, "next": fault.next, "details": fault.details}
    return JSONResponse({"error": error}, status_of(fault))


def refusal(fault: NexusControlError, heading: str, *more: object) -> Html:
    """The refusal in a page: what did not happen, why, and what to do next."""
    return el(
        "div",
        el("h2", heading),
        el("p", f"{spelled(fault.message).rstrip('.')}."),
        el("p", spelled(advice(fault))),
        *more,
        el("p", el("code", fault.code), class_="soft"),
        role="alert",
        class_="notice bad",
        data_code=fault.code,
    )
