"""Webhooks to real receivers: signed as the specification says, and bounded whatever comes back."""

import re
import socket
import ssl
import subprocess
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from itertools import repeat
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from standardwebhooks import Webhook as Verifier
from standardwebhooks import WebhookVerificationError

from nexus_control.execution.secrets import SecretSource
from nexus_control.notify.sinks import Message
from nexus_control.notify.webhooks import Webhook
from nexus_control.system.clock import SYSTEM_CLOCK
from tests.notify.receiver import SECRET, Receiver, answering, receiving, webhook

MESSAGE = Message(
    message_id="evt_d%201_2",
    request_id="d 1",
    document={"type": "pending", "timestamp": "2026-01-02T03:04:05+00:00", "data": {"goal": "Schlüssel ⚿"}},
    title="t",
    text="x",
)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


def test_a_receiver_verifies_it_with_the_library_of_the_specification(
    receiver: Receiver, tmp_path: Path
) -> None:
    reply = webhook(receiver.url, tmp_path).send(MESSAGE, SYSTEM_CLOCK.now())
    assert (reply.outcome, reply.why) == ("delivered", "it answered HTTP 200")
    (received,) = receiver.received
    assert Verifier(SECRET).verify(received.body, received.headers) == MESSAGE.document
    assert received.headers["webhook-id"] == "evt_d%201_2"
    assert received.headers["content-type"] == "application/json"
    for spoiled in (received.body + b" ", received.body.replace(b"pending", b"approve")):
        with pytest.raises(WebhookVerificationError):
            Verifier(SECRET).verify(spoiled, received.headers)
    with pytest.raises(WebhookVerificationError):
        Verifier("whsec_" + "A" * 32).verify(received.body, received.headers)


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (200, "delivered"),
        (204, "delivered"),
        (301, "failed"),
        (307, "failed"),
        (400, "refused"),
        (401, "refused"),
        (404, "refused"),
        (408, "failed"),
        (410, "refused"),
        (425, "failed"),
        (429, "failed"),
        (500, "failed"),
        (503, "failed"),
    ],
)
def test_the_status_says_whether_it_is_tried_again(
    receiver: Receiver, tmp_path: Path, status: int, outcome: str
) -> None:
    with receiving() as elsewhere:
        receiver.answers = [(status, {"location": elsewhere.url})]
        reply = webhook(receiver.url, tmp_path).send(MESSAGE, SYSTEM_CLOCK.now())
        assert (reply.outcome, str(status) in reply.why) == (outcome, True)
        assert elsewhere.received == []


NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("120", timedelta(seconds=120)),
        ("Fri, 02 Jan 2026 03:05:05 GMT", timedelta(seconds=60)),
        ("Fri, 02 Jan 2026 03:00:00 GMT", timedelta()),
        ("999999999999999999999", timedelta(seconds=999_999_999)),
        ("soon", None),
        ("-5", None),
        ("", None),
        ("Fri, 99 Jan 2026 03:05:05 GMT", None),
    ],
)
def test_how_long_a_receiver_asks_to_wait_is_read(
    receiver: Receiver, tmp_path: Path, given: str, read: timedelta | None
) -> None:
    receiver.answers = [(429, {"retry-after": given})]
    assert webhook(receiver.url, tmp_path).send(MESSAGE, NOW).retry_after == read


def hang() -> Iterator[bytes]:
    Event().wait(20)
    yield b""


def drip(parts: bytes) -> Callable[[], Iterator[bytes]]:
    def answer() -> Iterator[bytes]:
        for byte in parts:
            Event().wait(0.02)
            yield bytes([byte])

    return answer


def endless(part: bytes, first: bytes = b"") -> Callable[[], Iterator[bytes]]:
    def answer() -> Iterator[bytes]:
        yield first
        yield from repeat(part)

    return answer


CUT = "it was cut|Connection reset by peer"  # reset where the receiver had not read all that was sent


@pytest.mark.parametrize(
    ("parts", "outcome", "said"),
    [
        pytest.param(hang, "failed", "no answer within 0.3 seconds", id="hangs"),
        pytest.param(drip(b"HTTP/1.1 200 " + b"O" * 5000), "failed", "within 0.3 seconds", id="drips"),
        pytest.param(
            drip(b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 1000), "failed", "within 0.3", id="drips headers"
        ),
        pytest.param(endless(b"x" * 65536), "failed", "is not HTTP", id="a line without an end"),
        pytest.param(
            endless(b"a: b\r\n" * 100, b"HTTP/1.1 200 OK\r\n"), "failed", "is not HTTP", id="endless headers"
        ),
        pytest.param(endless(b"HTTP/1.1 100 Continue\r\n\r\n"), "failed", "within 0.3", id="continues"),
        pytest.param(
            endless(b"x" * 65536, b"HTTP/1.1 200 OK\r\ncontent-length: 104857600\r\n\r\n"),
            "delivered",
            "HTTP 200",
            id="answers 100 MB",
        ),
        pytest.param(lambda: iter(()), "failed", "", id="closes"),
        pytest.param(
            lambda: iter([b"HTTP/1.1 200 OK\r\nContent-Le"]),
            "failed",
            CUT,
            id="closes in the headers",
        ),
        pytest.param(
            lambda: iter([b"HTTP/1.1 200 OK\r\na: b\r\n"]),
            "failed",
            CUT,
            id="closes before their end",
        ),
        pytest.param(
            lambda: iter([b"HTTP/1.1 200 OK\r\n\r\n"]), "delivered", "HTTP 200", id="closes after them"
        ),
        pytest.param(lambda: iter([b"HTTP/1.1 99x\r\n\r\n"]), "failed", "is not HTTP", id="no status"),
        pytest.param(lambda: iter([b"\0\xff" * 20 + b"\n"]), "failed", "is not HTTP", id="no HTTP"),
    ],
)
def test_whatever_a_receiver_does_the_try_ends_and_repeats_nothing_of_it(
    tmp_path: Path, parts: Callable[[], Iterator[bytes]], outcome: str, said: str
) -> None:
    with answering(parts) as url:
        reply = webhook(url, tmp_path, seconds=0.3).send(MESSAGE, SYSTEM_CLOCK.now())
    assert (reply.outcome, re.search(said, reply.why) is not None) == (outcome, True), reply
    assert not {"xxx", "99x", "a: b"} & {part for part in ("xxx", "99x", "a: b") if part in reply.why}


def test_a_receiver_that_is_not_there_is_tried_again(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    reply = webhook(f"http://127.0.0.1:{port}/", tmp_path).send(MESSAGE, SYSTEM_CLOCK.now())
    assert (reply.outcome, reply.why) == ("failed", "no connection to it: Connection refused")


@contextmanager
def silent(count: int) -> Generator[list[tuple[str, int]]]:
    """Places that accept no connection: the queue of each is full."""
    with ExitStack() as stack:
        places: list[tuple[str, int]] = []
        for _ in range(count):
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
            places.append(listener.getsockname())
            for _ in range(3):
                waiting = stack.enter_context(socket.socket())
                waiting.setblocking(False)
                waiting.connect_ex(places[-1])
        yield places


def leading_to(places: list[tuple[str, int]]) -> Callable[..., list[Any]]:
    return lambda *_, **__: [(socket.AF_INET, socket.SOCK_STREAM, 6, "", place) for place in places]


def test_addresses_that_do_not_answer_leave_time_for_the_one_that_does(
    receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = int(receiver.url.split(":")[2].removesuffix("/hook"))
    with silent(4) as places:
        monkeypatch.setattr(socket, "getaddrinfo", leading_to([*places, ("127.0.0.1", port)]))
        reply = webhook("http://localhost/hook", tmp_path, seconds=1.5).send(MESSAGE, SYSTEM_CLOCK.now())
        assert (reply.outcome, len(receiver.received)) == ("delivered", 1)
        monkeypatch.setattr(socket, "getaddrinfo", leading_to(places))
        reply = webhook("http://localhost/hook", tmp_path, seconds=0.3).send(MESSAGE, SYSTEM_CLOCK.now())
        assert (reply.outcome, reply.why) == ("failed", "it gave no answer within 0.3 seconds")


def test_a_name_that_is_not_looked_up_in_time_ends_the_try(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_over, were_over = Event(), list[bool]()

    def look_up(*_: object, **__: object) -> list[Any]:
        were_over.append(is_over.wait(20))
        raise OSError

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    reply = webhook("http://localhost/hook", tmp_path, seconds=0.3).send(MESSAGE, SYSTEM_CLOCK.now())
    assert (reply.why, were_over) == ("it gave no answer within 0.3 seconds", [])
    is_over.set()


@pytest.mark.parametrize("name", ["no-such-name.invalid", "a" * 70 + ".invalid"])
def test_a_name_that_leads_nowhere_is_tried_again(tmp_path: Path, name: str) -> None:
    reply = webhook(f"https://{name}/", tmp_path).send(MESSAGE, SYSTEM_CLOCK.now())
    assert (reply.outcome, reply.retry_after) == ("failed", None)


def test_no_proxy_of_the_environment_is_asked(
    receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with receiving() as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "https_proxy"):
            monkeypatch.setenv(name, proxy.url)
        assert webhook(receiver.url, tmp_path).send(MESSAGE, SYSTEM_CLOCK.now()).outcome == "delivered"
        assert (len(receiver.received), proxy.received) == (1, [])


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate for localhost that signs itself, with its key."""
    pem = tmp_path / "localhost.pem"
    words = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=localhost",
    ]
    words += ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(tmp_path / "key.pem")]
    subprocess.run([*words, "-out", str(pem)], check=True, capture_output=True)
    return pem


@pytest.mark.parametrize("is_trusted", [True, False])
def test_over_tls_only_a_receiver_with_a_trusted_certificate_is_told(
    tmp_path: Path, certificate: Path, monkeypatch: pytest.MonkeyPatch, is_trusted: bool
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, tmp_path / "key.pem")
    with receiving(context) as receiver:
        url = receiver.url.replace("http://127.0.0.1", "https://localhost")
        if is_trusted:
            monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        reply = webhook(url, tmp_path).send(MESSAGE, SYSTEM_CLOCK.now())
        assert len(receiver.received) == is_trusted
    if is_trusted:
        assert reply.outcome == "delivered"
    else:
        assert reply.why == "no TLS connection to it: CERTIFICATE_VERIFY_FAILED"


def test_a_tls_handshake_that_drips_ends_in_time(tmp_path: Path) -> None:
    with answering(drip(b"\x16\x03\x03\x0f\xff" + bytes(3000))) as url:
        reply = webhook(url.replace("http:", "https:"), tmp_path, seconds=0.3).send(
            MESSAGE, SYSTEM_CLOCK.now()
        )
    assert (reply.outcome, "within 0.3 seconds" in reply.why) == ("failed", True)


@pytest.mark.parametrize(
    "secret",
    [
        "s3cret-value",
        "whsec_",
        "whsec_!!!!not-base64!!!!",
        "whsec_" + "A" * 28,
        "whsec_" + "A" * 100,
        "A" * 32,
    ],
)
def test_a_secret_that_is_not_one_is_not_used_and_not_repeated(
    receiver: Receiver, tmp_path: Path, secret: str
) -> None:
    reply = webhook(receiver.url, tmp_path, secret=secret).send(MESSAGE, SYSTEM_CLOCK.now())
    assert (reply.outcome, receiver.received) == ("failed", [])
    assert "whsec_ and base64 of 24 to 64 bytes" in reply.why
    assert secret in ("whsec_",) or secret not in reply.why


def test_a_secret_may_be_replaced_while_the_worker_runs(receiver: Receiver, tmp_path: Path) -> None:
    sink = webhook(receiver.url, tmp_path)
    (tmp_path / "hook.secret").unlink()
    reply = sink.send(MESSAGE, SYSTEM_CLOCK.now())
    assert (reply.outcome, "hook.secret" in reply.why) == ("failed", True)
    (tmp_path / "hook.secret").write_text(SECRET)
    assert sink.send(MESSAGE, SYSTEM_CLOCK.now()).outcome == "delivered"


def test_what_is_shown_of_a_receiver_holds_neither_its_path_nor_its_secret(tmp_path: Path) -> None:
    sink = Webhook(
        "https://hooks.example.org/T0/s3cret?token=s3cret", SecretSource(file="s3cret", base=tmp_path)
    )
    assert sink.where == "https://hooks.example.org"
    assert "s3cret" not in repr(sink)
