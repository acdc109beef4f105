"""Lines that are no message of the protocol, sent to a real server: each is answered, and the server goes on."""

import json
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from nexus_control.server.lines import MAX_LINE_BYTES
from tests.mcp.by_hand import ENVELOPE, Pipes, served
from tests.mcp.serving import ERAS, Era

PARSE_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND, INVALID_PARAMS = -32700, -32600, -32601, -32602
PING = b'{"jsonrpc":"2.0","id":%s,"method":"ping"}'
DEEP = b"[" * 200 + b"]" * 200
ENDLESS = b"[" * 200_000
LONG = b'"' + b"x" * (MAX_LINE_BYTES + 1) + b'"'


def ping(request_id: bytes, more: bytes = b"") -> bytes:
    return b'{"jsonrpc":"2.0","id":%s,"method":"ping"%s}' % (request_id, more)


def last(request_id: bytes, value: bytes) -> bytes:
    """As some clients write it: the id comes last."""
    return b'{"method":"ping","params":{"a":%s},"jsonrpc":"2.0","id":%s}' % (value, request_id)


BROKEN: dict[str, tuple[bytes, int, int | str | None]] = {
    "no JSON": (b"hello", PARSE_ERROR, None),
    "an empty line": (b"", PARSE_ERROR, None),
    "blanks": (b"  \t ", PARSE_ERROR, None),
    "a header of another protocol": (b"Content-Length: 46\r", PARSE_ERROR, None),
    "bytes of zero": (b"\0\0\0", PARSE_ERROR, None),
    "UTF-16": (PING.decode().replace("%s", "7").encode("utf-16-le").replace(b"\n", b""), PARSE_ERROR, None),
    "half a surrogate pair": (ping(b"101", rb',"params":{"a":"\ud83d"}'), PARSE_ERROR, 101),
    "the other half": (last(b"102", rb'"\ude00 !"'), PARSE_ERROR, 102),
    "half a surrogate pair as a name": (ping(b"103", rb',"params":{"\ud83d":1}'), PARSE_ERROR, 103),
    "half a surrogate pair as the id": (ping(rb'"\ud83d"'), PARSE_ERROR, None),
    "a batch": (b"[" + ping(b"104") + b"]", INVALID_REQUEST, None),
    "a batch of two": (b"[" + ping(b"104") + b"," + ping(b"105") + b"]", INVALID_REQUEST, None),
    "an empty batch": (b"[]", INVALID_REQUEST, None),
    "a float id": (ping(b"1.5"), INVALID_REQUEST, None),
    "an integral float id": (ping(b"7.0"), INVALID_REQUEST, None),
    "a true id": (ping(b"true"), INVALID_REQUEST, None),
    "a null id": (ping(b"null"), INVALID_REQUEST, None),
    "a list as id": (ping(b"[1]"), INVALID_REQUEST, None),
    "an object as id": (ping(b'{"a":1}'), INVALID_REQUEST, None),
    "a huge id": (ping(b"9" * 30), PARSE_ERROR, None),
    "an id of 5000 digits": (ping(b"9" * 5000), PARSE_ERROR, None),
    "a number of 5000 digits": (ping(b"106", b',"params":{"a":%s}' % (b"9" * 5000)), PARSE_ERROR, 106),
    "a number beyond all doubles": (ping(b"107", b',"params":{"a":1e999}'), PARSE_ERROR, 107),
    "NaN": (ping(b"108", b',"params":{"a":NaN}'), PARSE_ERROR, 108),
    "nesting of 200": (ping(b"109", b',"params":{"a":%s}' % DEEP), PARSE_ERROR, 109),
    "nesting of 200 before the id": (last(b"110", DEEP), PARSE_ERROR, 110),
    "nesting without end": (ENDLESS, PARSE_ERROR, None),
    "nesting without end in a request": (ping(b"111", b',"params":' + ENDLESS), PARSE_ERROR, 111),
    "invalid UTF-8": (ping(b"112", b',"params":{"a":"\xff\xfe"}'), PARSE_ERROR, 112),
    "invalid UTF-8 in the id": (ping(b'"\xff"'), PARSE_ERROR, None),
    "a surrogate in UTF-8": (ping(b'"a"', b',"params":{"a":"\xed\xa0\x80"}'), PARSE_ERROR, "a"),
    "a byte order mark": (b"\xef\xbb\xbf" + ping(b"113"), PARSE_ERROR, 113),
    "a control character": (ping(b"114", b',"params":{"a":"\x01"}'), PARSE_ERROR, 114),
    "a name twice": (ping(b"115", b',"params":{"a":1,"a":2}'), PARSE_ERROR, 115),
    "the id twice": (ping(b"116", b',"id":117'), PARSE_ERROR, None),
    "a request that was cut off": (ping(b"118")[:-1], PARSE_ERROR, 118),
    "two messages on a line": (ping(b"119") + ping(b"120"), PARSE_ERROR, 119),
    "single quotes": (ping(b"1").replace(b'"', b"'"), PARSE_ERROR, None),
    "a line that is too long": (ping(b"121", b',"params":{"a":%s}' % LONG), INVALID_REQUEST, 121),
    "a line that is too long, its id last": (last(b'"b"', LONG), INVALID_REQUEST, "b"),
    "a line that is too long, and nothing": (b"x" * (MAX_LINE_BYTES + 1), INVALID_REQUEST, None),
    "an empty object": (b"{}", INVALID_REQUEST, None),
    "text": (b'"ping"', INVALID_REQUEST, None),
    "a number": (b"7", INVALID_REQUEST, None),
    "null": (b"null", INVALID_REQUEST, None),
    "an id alone": (b'{"jsonrpc":"2.0","id":122}', INVALID_REQUEST, 122),
    "no version": (b'{"id":123,"method":"ping"}', INVALID_REQUEST, 123),
    "version 1": (b'{"jsonrpc":"1.0","id":124,"method":"ping"}', INVALID_REQUEST, 124),
    "a version that is a number": (b'{"jsonrpc":2.0,"id":125,"method":"ping"}', INVALID_REQUEST, 125),
    "a method that is a number": (b'{"jsonrpc":"2.0","id":126,"method":1}', INVALID_REQUEST, 126),
    "a notification whose method is null": (b'{"jsonrpc":"2.0","method":null}', INVALID_REQUEST, None),
    "params that are a list": (ping(b"127", b',"params":[1]'), INVALID_REQUEST, 127),
    "params that are text": (ping(b"128", b',"params":"x"'), INVALID_REQUEST, 128),
    "a notification whose params are a number": (
        b'{"jsonrpc":"2.0","method":"notifications/initialized","params":5}',
        INVALID_REQUEST,
        None,
    ),
    "a request that is a response too": (ping(b"129", b',"result":{}'), INVALID_REQUEST, 129),
    "a response to nothing": (b'{"jsonrpc":"2.0","id":130,"result":{}}', INVALID_REQUEST, None),
    "an error to nothing": (
        b'{"jsonrpc":"2.0","id":131,"error":{"code":1,"message":"no"}}',
        INVALID_REQUEST,
        None,
    ),
    "a response that is both": (
        b'{"jsonrpc":"2.0","id":132,"result":{},"error":{"code":1,"message":"no"}}',
        INVALID_REQUEST,
        None,
    ),
    "a response whose result is a number": (b'{"jsonrpc":"2.0","id":133,"result":5}', INVALID_REQUEST, None),
    "a response that cannot be read": (
        rb'{"jsonrpc":"2.0","id":134,"result":{"a":"\ud83d"}}',
        PARSE_ERROR,
        None,
    ),
}

MISTAKEN: dict[str, tuple[str, dict[str, Any], int]] = {
    "an unknown method": ("no/such/method", {}, METHOD_NOT_FOUND),
    "an empty method": ("", {}, METHOD_NOT_FOUND),
    "a tool whose name is a number": ("tools/call", {"name": 5}, INVALID_PARAMS),
    "a call of no tool": ("tools/call", {}, INVALID_PARAMS),
    "a tool that does not exist": ("tools/call", {"name": "no_such_tool"}, INVALID_PARAMS),
    "arguments that are a list": (
        "tools/call",
        {"name": "nexus-control.template.list", "arguments": []},
        INVALID_PARAMS,
    ),
    "a resource that is a number": ("resources/read", {"uri": 7}, INVALID_PARAMS),
    "a resource that does not exist": ("resources/read", {"uri": "file:///etc/passwd"}, INVALID_PARAMS),
}


@pytest.fixture(scope="module", params=ERAS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Generator[Pipes]:
    era: Era = request.param
    with served(folder=tmp_path_factory.mktemp("lines"), era=era) as pipes:
        yield pipes
        assert pipes.end() == 0


def errors_until_it_serves(server: Pipes) -> list[Any]:
    """What was answered before a call that was made now."""
    asked, errors = server.call("template.list"), list[Any]()
    while True:
        message = server.next_message()
        if message.get("id") == asked:
            assert message["result"]["structuredContent"]["count"] == 0
            return errors
        errors.append(message)


@pytest.mark.parametrize("name", BROKEN)
def test_a_line_that_is_no_message_is_answered_with_an_error_and_the_server_goes_on(
    name: str, server: Pipes
) -> None:
    line, code, request_id = BROKEN[name]
    assert b"\n" not in line
    server.write(line)
    (answer,) = errors_until_it_serves(server)
    assert (answer["jsonrpc"], answer["error"]["code"], answer["id"]) == ("2.0", code, request_id)
    assert answer["error"]["message"]
    assert len(answer["error"]["message"]) < 200


@pytest.mark.parametrize("name", MISTAKEN)
def test_a_request_that_asks_for_what_is_not_there_is_answered_with_an_error(
    name: str, server: Pipes
) -> None:
    method, params, code = MISTAKEN[name]
    answer = server.answer(server.send(method, params))
    assert answer["error"]["code"] == code
    assert errors_until_it_serves(server) == []


UNANSWERED = {
    "a notification that nobody knows": b'{"jsonrpc":"2.0","method":"notifications/none"}',
    "one about a call that is not under way": (
        b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":77}}'
    ),
    "one with null for its params": b'{"jsonrpc":"2.0","method":"notifications/none","params":null}',
    "an error without an id": b'{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"Parse error"}}',
    "an error that has no id at all": b'{"jsonrpc":"2.0","error":{"code":-32700,"message":"Parse error"}}',
}


@pytest.mark.parametrize("name", UNANSWERED)
def test_a_notification_is_not_answered_nor_an_error_that_has_no_id(name: str, server: Pipes) -> None:
    server.write(UNANSWERED[name])
    assert errors_until_it_serves(server) == []


def test_a_line_may_end_in_a_carriage_return_hold_blanks_and_be_nested_deep(server: Pipes) -> None:
    params: dict[str, Any] = {
        "name": "nexus-control.status",
        "arguments": {"request_id": json.loads("[" * 100 + "]" * 100)},
    }
    if server.era == "auto":
        params["_meta"] = ENVELOPE
    message = {"jsonrpc": "2.0", "id": "spaced", "method": "tools/call", "params": params}
    server.write(b" " + json.dumps(message, separators=(" , ", " : ")).encode() + b" \r")
    answer = server.next_message()
    assert answer["id"] == "spaced"
    assert answer["result"]["structuredContent"]["code"] == "INVALID_ARGUMENT"


def test_a_last_line_without_an_end_is_heard(tmp_path: Path) -> None:
    with served(folder=tmp_path) as server:
        assert server.process.stdin is not None
        server.process.stdin.write(b"no JSON")
        server.close_input()
        assert server.next_message()["error"]["code"] == PARSE_ERROR
        assert server.process.wait(240) == 0


def test_a_line_that_is_too_long_takes_no_more_memory_than_is_allowed(tmp_path: Path) -> None:
    def peak(server: Pipes) -> int:
        status = Path(f"/proc/{server.process.pid}/status")
        if not status.is_file():
            pytest.skip("no /proc")
        (line,) = [each for each in status.read_text().splitlines() if each.startswith("VmHWM:")]
        return int(line.split()[1]) * 1024

    with served(folder=tmp_path) as server:
        before = peak(server)
        assert server.process.stdin is not None
        for _ in range(20 * MAX_LINE_BYTES // 65536):
            server.process.stdin.write(b"x" * 65536)
        server.write(b"")
        assert server.next_message()["error"]["code"] == INVALID_REQUEST
        assert peak(server) - before < 4 * MAX_LINE_BYTES
