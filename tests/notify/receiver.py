"""Receivers of webhooks on the loopback: one that behaves, and sockets that do not."""

import json
import socket
import ssl
import threading
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from nexus_control.execution.secrets import SecretSource
from nexus_control.notify.webhooks import Webhook

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
"""The example of the specification of Standard Webhooks."""


@dataclass
class Received:
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def document(self) -> dict[str, Any]:
        return json.loads(self.body)


@dataclass
class Receiver:
    """`answers` are the next statuses, with their headers; afterwards it answers 200."""

    url: str
    received: list[Received] = field(default_factory=list[Received])
    answers: list[tuple[int, Mapping[str, str]]] = field(default_factory=list[tuple[int, Mapping[str, str]]])
    is_down: bool = False

    @property
    def told(self) -> list[str]:
        """The ids that it took, in order; it saw those that it refused, too."""
        return [each.headers["webhook-id"] for each in self.received]


@contextmanager
def receiving(secured: ssl.SSLContext | None = None) -> Generator[Receiver]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", "0")))
            status, headers = receiver.answers.pop(0) if receiver.answers else (200, dict[str, str]())
            if receiver.is_down:
                status = 503
            if status < 300:
                sent = {name.lower(): value for name, value in self.headers.items()}
                receiver.received.append(Received(self.path, sent, body))
            self.send_response(status)
            for name, value in {"content-length": "0", **headers}.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """It prints nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if secured is not None:
        server.socket = secured.wrap_socket(server.socket, server_side=True)
    receiver = Receiver(f"http://127.0.0.1:{server.server_port}/hook")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def answering(parts: Callable[[], Iterable[bytes]]) -> Generator[str]:
    """The URL of a socket that answers each connection with these bytes, whatever it was sent, and then closes it."""

    def serve(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.recv(65536)
            for part in parts():
                connection.sendall(part)

    def accept() -> None:
        with suppress(OSError):
            while not over.is_set():
                connection, _ = listener.accept()
                threading.Thread(target=serve, args=(connection,), daemon=True).start()

    over = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/hook"
    finally:
        over.set()
        with suppress(OSError):
            socket.create_connection(listener.getsockname()).close()
        listener.close()
        thread.join()


def webhook(url: str, folder: Path, *, secret: str = SECRET, seconds: float = 10.0) -> Webhook:
    (folder / "hook.secret").write_text(f"{secret}\n")
    return Webhook(url, SecretSource(file="hook.secret", base=folder), seconds)
