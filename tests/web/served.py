"""A real `nexus-control inbox` in a process of its own, and requests to it that no client library would send."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tests.cli.running import environment

LONGEST = 60
"""Seconds after which what the server was to do is a failure."""


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: str


@dataclass(frozen=True)
class Served:
    """A running inbox."""

    process: "subprocess.Popen[str]"
    address: str

    @property
    def port(self) -> int:
        return urlsplit(self.address).port or 0

    @property
    def query(self) -> str:
        """The query with the reader's token."""
        return urlsplit(self.address).query

    @property
    def origin(self) -> str:
        return f"http://localhost:{self.port}"

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), LONGEST)

    def get(self, path: str, **query: str) -> Answer:
        more = "".join(f"&{name}={value}" for name, value in query.items())
        return self.send(f"GET {path}?{self.query}{more}")

    def send(self, line: str, *headers: str, body: bytes = b"", host: str | None = None) -> Answer:
        """The answer to a request of this first line. Without `host` it has the right one."""
        head = [
            f"{line} HTTP/1.1",
            f"Host: {host or f'localhost:{self.port}'}",
            "Connection: close",
            *headers,
        ]
        return self.send_bytes("\r\n".join([*head, "", ""]).encode("latin-1") + body)

    def send_bytes(self, content: bytes) -> Answer:
        with self.connect() as connection:
            with suppress(
                BrokenPipeError, ConnectionResetError
            ):  # it has answered, and does not want the rest
                connection.sendall(content)
            return read_answer(connection)


def read_answer(connection: socket.socket) -> Answer:
    received = bytearray()
    try:
        while part := connection.recv(65_536):
            received += part
    except ConnectionResetError:
        assert received, "the server cut the connection without an answer"
    head, _, body = bytes(received).partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return Answer(int(first.split()[1]), headers, body.decode())


@contextmanager
def served(
    database: Path | str, *options: str, folder: Path | None = None, errors: Path = Path(os.devnull)
) -> Generator[Served]:
    """The inbox of this store, at a free port of loopback; what it says on standard error is in `errors`. It must end
    with 0.
    """
    words = [sys.executable, "-m", "nexus_control", "inbox", "--db", str(database), "--listen", "127.0.0.1:0"]
    with (
        errors.open("w") as said,
        subprocess.Popen(
            [*words, *options],
            cwd=folder,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
        ) as process,
    ):
        assert process.stdout is not None
        try:
            line = process.stdout.readline().strip()
            assert line.startswith("http"), line
            yield Served(process, line)
            process.send_signal(signal.SIGTERM)
            assert process.wait(LONGEST) == 0
        finally:
            process.kill()
