"""What the inbox refuses before a page is made, each with a status and with all its headers."""

import re
from collections.abc import Generator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from nexus_control import NexusControlTools
from nexus_control.web.guarding import HEADERS
from tests.web.in_process import HOST, ORIGIN, answers, mounted
from tests.web.requests_here import ALICE
from tests.web.served import LONGEST, Served, read_answer, served

MEBIBYTE = 1024 * 1024
STARTED, SLOW = 500, b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: "
POSTED = (
    "POST {path} HTTP/1.1\r\nHost: localhost:{port}\r\nOrigin: http://localhost:{port}\r\n"
    "Content-Length: 60000\r\n\r\n"
)


@pytest.fixture(scope="module")
def inbox(tmp_path_factory: pytest.TempPathFactory) -> Generator[Served]:
    database = tmp_path_factory.mktemp("inbox") / "store.db"
    with NexusControlTools(database) as tools:
        assert tools.request("Rotate the keys", ALICE)
    with served(database) as inbox:
        yield inbox


FOREIGN = {
    "another name": "evil.example",
    "another name, our port": "evil.example:{port}",
    "our name, another port": "localhost:1",
    "our name without its port": "localhost",
    "our name with a dot": "localhost.:{port}",
    "a name that ends in ours": "evil.localhost:{port}",
    "an address of another machine": "192.0.2.1:{port}",
    "our address, another port": "127.0.0.1:1",
    "another spelling of our address": "0x7f000001:{port}",
    "with a user": "a@localhost:{port}",
    "two in one": "localhost:{port},evil.example",
}


@pytest.mark.parametrize("host", FOREIGN.values(), ids=FOREIGN)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_foreign_host_is_misdirected(inbox: Served, host: str, method: str) -> None:
    given = host.format(port=inbox.port)
    answer = inbox.send(f"{method} /?{inbox.query}", f"Origin: {inbox.origin}", host=given)
    assert answer.status == 421
    assert "Rotate" not in answer.body


@pytest.mark.parametrize("address", ["127.0.0.1", "[::1]"])
def test_an_address_of_this_listener_leads_to_localhost(inbox: Served, address: str) -> None:
    answer = inbox.send(f"GET /history?{inbox.query}&text=a%20b", host=f"{address}:{inbox.port}")
    assert answer.status == 307
    assert answer.headers["location"] == f"{inbox.origin}/history?{inbox.query}&text=a%20b"


@pytest.mark.parametrize("target", ["//evil.example/", "/\\evil.example", "http://evil.example/"])
def test_an_address_leads_nowhere_else(inbox: Served, target: str) -> None:
    answer = inbox.send(f"GET {target}", host=f"127.0.0.1:{inbox.port}")
    assert answer.status in (400, 421)
    assert "location" not in answer.headers


def test_a_post_to_an_address_is_not_redirected(inbox: Served) -> None:
    answer = inbox.send(
        f"POST /?{inbox.query}",
        f"Origin: http://127.0.0.1:{inbox.port}",
        "Content-Length: 0",
        host=f"127.0.0.1:{inbox.port}",
    )
    assert answer.status == 421


@pytest.mark.parametrize("hosts", [[], ["Host: localhost:{port}", "Host: evil.example"]])
def test_a_request_names_one_host(inbox: Served, hosts: list[str]) -> None:
    lines = [f"GET /?{inbox.query} HTTP/1.1", "Connection: close", *hosts]
    answer = inbox.send_bytes("\r\n".join([*lines, "", ""]).format(port=inbox.port).encode())
    assert answer.status == 400


WITHOUT_TOKEN = {
    "none": "",
    "empty": "token=",
    "wrong": "token=wrong-wrong-wrong-wrong",
    "shortened": "{cut}",
    "longer": "{right}x",
    "twice": "{right}&{right}",
    "right and wrong": "{right}&token=x",
    "as another argument": "Token={token}",
    "not ASCII": "token=%C3%A9",
    "not UTF-8": "token=%ff%fe",
    "after a semicolon": "x=1;{right}",
}


@pytest.mark.parametrize("query", WITHOUT_TOKEN.values(), ids=WITHOUT_TOKEN)
@pytest.mark.parametrize("path", ["/", "/history", "/me", "/live", "/requests/x", "/nowhere"])
def test_reading_needs_the_token(inbox: Served, path: str, query: str) -> None:
    token = inbox.query.removeprefix("token=")
    given = query.format(right=inbox.query, cut=inbox.query[:-1], token=token)
    answer = inbox.send(f"GET {path}?{given}", f"Cookie: token={token}", f"Authorization: Bearer {token}")
    assert answer.status == 403
    assert "full address" in answer.body
    assert "Rotate" not in answer.body


@pytest.mark.parametrize(
    "origin",
    ["", "Origin: null", "Origin: https://evil.example", "Origin: http://localhost", "Origin: {right}/",
     "Origin: {right}\r\nOrigin: https://evil.example", "Origin: {right}.evil.example", "Referer: {right}/"],
)  # fmt: skip
def test_a_post_comes_from_a_page_of_the_inbox(inbox: Served, origin: str) -> None:
    headers = [origin.format(right=inbox.origin), "Content-Length: 0"]
    assert inbox.send(f"POST /?{inbox.query}", *filter(None, headers)).status == 403


def test_a_post_needs_the_token_too(inbox: Served) -> None:
    answer = inbox.send("POST /requests/x/approve", f"Origin: {inbox.origin}", "Content-Length: 0")
    assert answer.status == 403


LARGE = {
    "with its length": ["Content-Length: 10485760"],
    "in chunks": ["Transfer-Encoding: chunked"],
}


@pytest.mark.parametrize("framing", LARGE.values(), ids=LARGE)
def test_a_large_body_is_refused(inbox: Served, framing: list[str]) -> None:
    chunk = b"%x\r\n" % MEBIBYTE + b"x" * MEBIBYTE + b"\r\n"
    body = chunk * 10 + b"0\r\n\r\n" if framing == LARGE["in chunks"] else b"x" * 10 * MEBIBYTE
    answer = inbox.send(f"POST /?{inbox.query}", f"Origin: {inbox.origin}", *framing, body=body)
    assert answer.status == 413


def test_a_body_of_64_kib_is_read(inbox: Served) -> None:
    headers = [f"Origin: {inbox.origin}", "Content-Length: 65536"]
    assert inbox.send(f"POST /?{inbox.query}", *headers, body=b"x" * 65_536).status == 405


@pytest.mark.parametrize("framing", ["Content-Length: 1", "Transfer-Encoding: chunked"])
def test_only_a_post_has_a_body(inbox: Served, framing: str) -> None:
    assert inbox.send(f"GET /?{inbox.query}", framing, body=b"1\r\nx\r\n0\r\n\r\n").status == 400


@pytest.mark.parametrize(
    "lines",
    [["Content-Length: 5", "Transfer-Encoding: chunked"], ["Content-Length: 5", "Content-Length: 6"],
     ["Content-Length: -1"], ["Content-Length: 1e3"], ["Transfer-Encoding: chunked, identity"]],
)  # fmt: skip
def test_a_body_has_one_length(inbox: Served, lines: list[str]) -> None:
    answer = inbox.send(f"POST /?{inbox.query}", f"Origin: {inbox.origin}", *lines, body=b"0\r\n\r\n")
    assert answer.status == 400


WEBSOCKET = ["Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="]


@pytest.mark.parametrize("path", ["/", "/live"])
def test_a_websocket_is_refused(inbox: Served, path: str) -> None:
    assert inbox.send(f"GET {path}?{inbox.query}", *WEBSOCKET).status == 400


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND"])
def test_another_method_is_refused(inbox: Served, method: str) -> None:
    answer = inbox.send(f"{method} /?{inbox.query}", f"Origin: {inbox.origin}")
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD, POST")


@pytest.mark.parametrize(
    "path",
    ["/../etc/passwd", "/static/../app.py", "/static/%2e%2e/app.py", "/static/.%2e/app.py", "/static/..%2fapp.py",
     "/static//inbox.css", "//static/inbox.css", "/requests/%00", "/static/inbox.css%00.js", "/\\evil", "/%5c..",
     "/requests/a/./b", "*", "evil.example:80", "/requests/caf\u00e9"],
)  # fmt: skip
def test_a_path_without_tricks_or_none(inbox: Served, path: str) -> None:
    answer = inbox.send(f"GET {path}?{inbox.query}")
    assert answer.status == 400
    assert "import" not in answer.body


@pytest.mark.parametrize(
    "path",
    ["/.well-known/webauthn", "/static/app.py", "/static/", "/static", "/nowhere", "/requests/", "/robots.txt",
     "/requests/no-such-request", "/requests/x/y", "/docs", "/openapi.json", "/history/", "/me/", "/enrol/", "/live/",
     "/requests/no-such-request/report/"],
)  # fmt: skip
def test_an_unknown_page_is_not_found(inbox: Served, path: str) -> None:
    answer = inbox.get(path)
    assert answer.status == 404
    assert "<h1>" in answer.body


def test_an_id_that_cannot_be_one_is_refused(inbox: Served) -> None:
    assert inbox.get(f"/requests/{'x' * 2000}").status == 400


@pytest.mark.parametrize(("count", "status"), [(50, 200), (51, 400), (2000, 400)])
def test_an_address_has_so_many_arguments_and_no_more(inbox: Served, count: int, status: int) -> None:
    arguments = "&a=1" * (count - 1)
    assert inbox.send(f"GET /?{inbox.query}{arguments}").status == status
    assert inbox.send(f"GET /?x=1{arguments}").status == (403 if status == 200 else 400)


@pytest.mark.parametrize(
    "query",
    ["after=-1", "after=1e9", "state=nope", "requester=%20a%00", "text=" + "x" * 9000, "label=%E2%80%AE"],
)
def test_an_argument_that_cannot_be_one_is_named(inbox: Served, query: str) -> None:
    answer = inbox.send(f"GET /history?{inbox.query}&{query}")
    assert answer.status == 400
    assert query.partition("=")[0] in answer.body


ANSWERED = {
    "a page": "GET /?{query}",
    "no token": "GET /",
    "a style": "GET /static/inbox.css",
    "nothing there": "GET /nowhere?{query}",
    "no method": "PUT /?{query}",
    "a trick": "GET //x?{query}",
    "a bad argument": "GET /history?{query}&after=x",
}


@pytest.mark.parametrize("line", ANSWERED.values(), ids=ANSWERED)
def test_every_answer_has_the_headers(inbox: Served, line: str) -> None:
    answer = inbox.send(line.format(query=inbox.query))
    assert answer.headers.items() >= HEADERS.items()
    assert not answer.headers.keys() & {"set-cookie", "server", "access-control-allow-origin"}


@pytest.mark.parametrize(
    "sent",
    [SLOW.decode(), POSTED.format(path="/x", port="{port}"), POSTED.format(path="/static/x", port="{port}"),
     "GET /static/report.css HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n" * 100],
    ids=["heads", "bodies without the token", "bodies for a file", "files that nobody reads"],
)  # fmt: skip
def test_connections_without_the_token_keep_nobody_out(inbox: Served, sent: str) -> None:
    with ExitStack() as opened:
        for _ in range(STARTED):
            each = opened.enter_context(inbox.connect())
            each.settimeout(0)
            with suppress(BlockingIOError, ConnectionError):
                each.sendall(sent.format(port=inbox.port).encode())
        assert inbox.get("/").status == 200
        assert inbox.get("/history").status == 200


REFUSED = {
    "no token": "POST /x",
    "another host": "POST /?{query}",
    "a trick": "POST //x?{query}",
    "another method": "PUT /?{query}",
    "a GET with a body": "GET /?{query}",
    "an address of this listener": "GET /?{query}",
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_refused_request_has_its_connection_closed_before_its_body_is_in(inbox: Served, name: str) -> None:
    host = {"another host": "evil.example", "an address of this listener": f"127.0.0.1:{inbox.port}"}
    lines = [
        f"{REFUSED[name].format(query=inbox.query)} HTTP/1.1",
        f"Host: {host.get(name, f'localhost:{inbox.port}')}",
        f"Origin: {inbox.origin}",
        "Content-Length: 60000",
    ]
    answer = inbox.send_bytes("\r\n".join([*lines, "", ""]).encode())  # it reads to the end of the connection
    assert answer.headers["connection"] == "close"
    assert answer.status in (307, 400, 403, 405, 421)


def test_a_sender_who_went_away_is_not_answered(tmp_path: Path) -> None:
    with NexusControlTools(tmp_path / "store.db") as tools:
        app = mounted(tools.store, "/inbox")
        headers = (("host", HOST), ("origin", ORIGIN))
        gone = {"type": "http.disconnect"}
        assert answers(app, "/inbox/enrol", method="POST", headers=headers, received=gone) == []


def test_a_slow_connection_is_cut(inbox: Served) -> None:
    with inbox.connect() as slow:
        slow.sendall(SLOW)
        assert slow.recv(1) == b""


def test_a_slow_body_is_answered_and_cut(inbox: Served) -> None:
    head = f"POST /?{inbox.query} HTTP/1.1\r\nHost: localhost:{inbox.port}\r\nOrigin: {inbox.origin}\r\n"
    with inbox.connect() as slow:
        slow.sendall(f"{head}Content-Length: 100\r\n\r\nx".encode())
        assert read_answer(slow).status == 408


def test_a_slow_body_is_answered_when_the_server_ends(tmp_path: Path) -> None:
    with NexusControlTools(tmp_path / "store.db") as tools:
        assert tools.list_requests()
    errors = tmp_path / "errors"
    with ExitStack() as opened, served(tmp_path / "store.db", errors=errors) as inbox:
        slow = opened.enter_context(inbox.connect())
        slow.sendall(POSTED.format(path=f"/enrol?{inbox.query}", port=inbox.port).encode() + b"x")
        assert inbox.get("/").status == 200
        inbox.process.terminate()
        answer = read_answer(slow)
        assert (answer.status, answer.headers.items() >= HEADERS.items()) == (503, True)
        assert inbox.process.wait(LONGEST) == 0
    assert "Traceback" not in errors.read_text()


def test_what_is_sent_adds_nothing_to_the_log(tmp_path: Path) -> None:
    with NexusControlTools(tmp_path / "store.db") as tools:
        assert tools.request("Rotate the keys", ALICE)
    errors = tmp_path / "errors"
    with served(tmp_path / "store.db", errors=errors) as inbox:
        for line in (*ANSWERED.values(), "GET /requests/x?{query}", "POST /?{query}", "NONSENSE"):
            inbox.send(line.format(query=inbox.query))
        inbox.send_bytes(b"\0\1\2\r\n\r\n")
        inbox.send(f"GET /?{inbox.query}", *WEBSOCKET)
    assert " ".join(errors.read_text().split()) == (
        "Note: No file says whose signatures count, so nothing can be decided here. "
        "Name it with --allowed-signers, or in the configuration."
    )


def test_links_of_a_page_stay_in_the_inbox(inbox: Served) -> None:
    found = re.findall(r'(?:href|src|action)="([^"]*)"', inbox.get("/").body)
    assert found
    assert all(each.startswith(("/", "#")) and not each.startswith("//") for each in found)
