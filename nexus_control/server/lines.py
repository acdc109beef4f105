"""A line of the protocol: one JSON-RPC 2.0 message, or a refusal that says what is wrong with the line.

1. A line is at most 16 MiB. Of a longer line only the two ends are kept; import a larger bundle by its `path`.
2. It is JSON as `canonical_json` reads it (no duplicate key, no half of a surrogate pair, integers of 64 bits), nested
   at most 128 levels deep; else the refusal is -32700.
3. It is a request, a notification or a response. `params`, if present, is an object; `id` is text or an integer.
   Otherwise the refusal is -32600. Batches are refused.

The refusal carries the id of the request. In a line that is not JSON, the id is searched where clients write it: at the
beginning, among members that are neither lists nor objects, and at the very end. A line without a method is a response,
so its `id` is one of ours, and the refusal has no id.
"""

import re
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, cast

import mcp_types as types

from nexus_control.canonical_json import parse_json
from nexus_control.errors import NexusControlError

MAX_LINE_BYTES: Final = 16 * 1024 * 1024
MAX_LINE_DEPTH: Final = 128

_SIGHT = 4096
_SCALAR = r'("(?:[^"\\]|\\.)*"|-?[0-9]{1,19}|true|false|null)'
_BEGINNING = re.compile(r"\ufeff?\s*\{")
_MEMBER = re.compile(rf'\s*"(\w+)"\s*:\s*{_SCALAR}\s*(?:,|\}}|\Z)')
_AT_THE_END = re.compile(rf'[{{,]\s*"id"\s*:\s*{_SCALAR}\s*\}}\s*\Z')


@dataclass(frozen=True, slots=True)
class Refused:
    """The answer to a line that is not a message."""

    answer: types.JSONRPCError


@dataclass(frozen=True, slots=True)
class TooLong:
    """The two ends of a line that is longer than allowed."""

    head: bytes
    tail: bytes


Line: TypeAlias = bytes | TooLong


class Lines:
    """Cuts the input into lines. Of a line that is too long it keeps only the two ends."""

    def __init__(self) -> None:
        self._kept = bytearray()
        self._head: bytes | None = None
        """The beginning of a line that is already too long; `_kept` then holds only the end so far."""

    def feed(self, chunk: bytes) -> Generator[Line]:
        """The lines that end in this chunk, without their line feeds."""
        *whole, rest = chunk.split(b"\n")
        for part in whole:
            self._keep(part)
            yield self._line()
        self._keep(rest)

    def end(self) -> Generator[Line]:
        """The last line, if the input ended without a line feed."""
        if self._kept:
            yield self._line()

    def _keep(self, part: bytes) -> None:
        self._kept += part
        if self._head is None and len(self._kept) > MAX_LINE_BYTES:
            self._head = bytes(self._kept[:_SIGHT])
        if self._head is not None:
            del self._kept[:-_SIGHT]

    def _line(self) -> Line:
        kept, head = bytes(self._kept), self._head
        self._kept, self._head = bytearray(), None
        return kept if head is None else TooLong(head, kept)


def read_line(line: Line) -> types.JSONRPCMessage | Refused:
    """The message in a line, or the refusal of the line."""
    if isinstance(line, TooLong):
        problem = f"a line has at most {MAX_LINE_BYTES} bytes"
        return _refused(types.INVALID_REQUEST, problem, _id_by_sight(line.head, line.tail))
    try:
        value = parse_json(line, max_bytes=MAX_LINE_BYTES, max_depth=MAX_LINE_DEPTH)
    except NexusControlError as fault:
        request_id = _id_by_sight(line[:_SIGHT], line[-_SIGHT:])
        return _refused(types.PARSE_ERROR, fault.message, request_id)
    if isinstance(value, list):
        return invalid("a batch; each message has a line of its own")
    if not isinstance(value, dict):
        return invalid("a message is an object")
    return _message(cast("dict[str, Any]", value))


def _message(value: dict[str, Any]) -> types.JSONRPCMessage | Refused:
    is_answer = "result" in value or "error" in value
    has_id = _is_id(value.get("id"))
    request_id = value["id"] if has_id and ("method" in value or not is_answer) else None
    if value.get("jsonrpc") != "2.0":
        return invalid('jsonrpc must be "2.0"', request_id)
    if "method" not in value:
        return _response(value) or invalid("neither a request nor a response", request_id)
    if is_answer:
        return invalid("both a request and a response", request_id)
    method, params = value["method"], value.get("params")
    if not isinstance(method, str):
        return invalid("method must be text", request_id)
    if params is not None and not isinstance(params, dict):
        return invalid("params must be an object", request_id)
    params = cast("dict[str, Any] | None", params)
    if has_id:
        return types.JSONRPCRequest(jsonrpc="2.0", id=value["id"], method=method, params=params)
    if "id" in value:
        return invalid("id must be text or an integer")
    return types.JSONRPCNotification(jsonrpc="2.0", method=method, params=params)


def _response(value: dict[str, Any]) -> types.JSONRPCResponse | types.JSONRPCError | None:
    key = value.get("id")  # an error may lack it
    match value:
        case {"result": _, "error": _}:
            return None
        case {"result": dict()} if _is_id(key):
            return types.JSONRPCResponse(jsonrpc="2.0", id=value["id"], result=value["result"])
        case {"error": {"code": int(code), "message": str(message)}} if key is None or _is_id(key):
            error = types.ErrorData(code=code, message=message, data=value["error"].get("data"))
            return types.JSONRPCError(jsonrpc="2.0", id=key, error=error)
        case _:
            return None


def invalid(problem: str, request_id: types.RequestId | None = None) -> Refused:
    """The refusal (-32600) of JSON that is not a valid message."""
    return _refused(types.INVALID_REQUEST, problem, request_id)


def _refused(code: int, problem: str, request_id: types.RequestId | None) -> Refused:
    kind = "Parse error" if code == types.PARSE_ERROR else "Invalid request"
    error = types.ErrorData(code=code, message=f"{kind}: {problem}")
    return Refused(types.JSONRPCError(jsonrpc="2.0", id=request_id, error=error))


def _is_id(value: object) -> bool:
    return isinstance(value, str | int) and not isinstance(value, bool)


def _id_by_sight(head: bytes, tail: bytes) -> types.RequestId | None:
    """The id of a request, from the two ends of a line that cannot be read."""
    text = head.decode(errors="surrogateescape")
    begun = _BEGINNING.match(text)
    if begun is None:
        return None
    members: dict[str, str] = {}
    at = begun.end()
    while (member := _MEMBER.match(text, at)) is not None:
        name, value = member.groups()
        if name in members:
            return None
        members[name], at = value, member.end()
    if "method" not in members:
        return None
    ended = _AT_THE_END.search(tail.decode(errors="surrogateescape"))
    return _spelled_id(members.get("id") or (ended[1] if ended else "null"))


def _spelled_id(spelling: str) -> types.RequestId | None:
    try:
        value = parse_json(spelling)
    except NexusControlError:
        return None
    return cast("types.RequestId", value) if _is_id(value) else None
