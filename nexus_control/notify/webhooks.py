"""Sends a message as a webhook (Standard Webhooks 1.0, https://www.standardwebhooks.com): one POST over TLS.

    webhook-id: evt_0d1c…_2                         the event's id: a receiver drops what it has seen
    webhook-timestamp: 1764151200                   when this try began, in seconds
    webhook-signature: v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4=

The signature is base64 of HMAC-SHA256 over `id.timestamp.body`. Its key is what follows `whsec_` in the secret, in
base64: 24 to 64 bytes.

The standard library's client is used, because it follows no redirect and asks no proxy of the environment. One
deadline ends the whole conversation: the look-up of the name, the connections to its addresses one after the other, and
the answer, however slowly it comes. A look-up cannot be cut short, so it has a thread of its own, which is left where
it takes too long. Only the status and the headers of the answer are read, never its body.
"""

import base64
import binascii
import errno
import hashlib
import hmac
import http.client
import io
import socket
import ssl
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from urllib.parse import urlsplit

from nexus_control.execution.secrets import SecretSource, UnreadableSecretError
from nexus_control.notify.sinks import Message, Reply

if TYPE_CHECKING:
    from typing_extensions import Buffer

Address: TypeAlias = tuple[socket.AddressFamily, tuple[Any, ...]]

SECONDS: Final = 10.0
_PREFIX: Final = "whsec_"
_SHORTEST, _LONGEST = 24, 64
_TRIED_AGAIN: Final = (408, 425, 429)
"""The statuses of 4xx that pass; any other one refuses the message for ever."""
_NO_KEY: Final = f"is not {_PREFIX} and base64 of {_SHORTEST} to {_LONGEST} bytes"


@dataclass(frozen=True, slots=True)
class Webhook:
    """A receiver at `url`. `seconds` is how long one try may take."""

    url: str = field(repr=False)
    secret: SecretSource = field(repr=False)
    seconds: float = SECONDS
    kind: str = "webhook"

    @property
    def where(self) -> str:
        """The receiver's host: path and query may hold a token."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}"

    def send(self, message: Message, now: datetime) -> Reply:
        body = message.to_bytes()
        try:
            key = key_of(self.secret.read())
        except UnreadableSecretError as error:
            return Reply(outcome="failed", why=f"its secret cannot be read: {error}")
        headers = {
            "content-type": "application/json",
            "user-agent": "nexus-control",
            "connection": "close",
            **signed_headers(key, message.message_id, now, body),
        }
        try:
            status, retry_after = _post(self.url, body, headers, time.monotonic() + self.seconds)
        except TimeoutError:
            return Reply(outcome="failed", why=f"it gave no answer within {self.seconds:g} seconds")
        except ssl.SSLError as error:
            return Reply(outcome="failed", why=f"no TLS connection to it: {error.reason or 'it was cut'}")
        except OSError as error:
            return Reply(
                outcome="failed", why=f"no connection to it: {error.strerror or type(error).__name__}"
            )
        except (http.client.HTTPException, UnicodeError, ValueError) as error:
            return Reply(outcome="failed", why=f"its answer is not HTTP ({type(error).__name__})")
        return _reply(status, _seconds_of(retry_after, now))


def key_of(secret: str) -> bytes:
    """The key in a secret. Raises UnreadableSecretError, which repeats nothing of it.

    >>> key_of("whsec_" + "A" * 32) == bytes(24)
    True
    """
    text = secret.strip()
    try:
        key = base64.b64decode(text.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise UnreadableSecretError(f"it {_NO_KEY}") from None
    if not text.startswith(_PREFIX) or not _SHORTEST <= len(key) <= _LONGEST:
        raise UnreadableSecretError(f"it {_NO_KEY}")
    return key


def signed_headers(key: bytes, message_id: str, now: datetime, body: bytes) -> dict[str, str]:
    """The three headers of Standard Webhooks.

    >>> signed_headers(bytes(24), "evt_1", datetime(2026, 1, 1, tzinfo=UTC), b"{}")["webhook-timestamp"]
    '1767225600'
    """
    seconds = str(int(now.timestamp()))
    signed = b".".join((message_id.encode(), seconds.encode(), body))
    signature = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    return {
        "webhook-id": message_id,
        "webhook-timestamp": seconds,
        "webhook-signature": f"v1,{signature}",
    }


def _reply(status: int, retry_after: timedelta | None) -> Reply:
    why = f"it answered HTTP {status}"
    if 200 <= status < 300:
        return Reply(outcome="delivered", why=why)
    if 300 <= status < 400:
        why = f"{why}, and a redirect is not followed"
    if 400 <= status < 500 and status not in _TRIED_AGAIN:
        return Reply(outcome="refused", why=why)
    return Reply(outcome="failed", why=why, retry_after=retry_after)


def _seconds_of(retry_after: str | None, now: datetime) -> timedelta | None:
    """How long a header Retry-After asks to wait (RFC 9110, section 10.2.3); None where it cannot be read."""
    text = (retry_after or "").strip()
    if text.isascii() and text.isdecimal():
        return timedelta(seconds=int(text[:9]))
    try:
        until = parsedate_to_datetime(text)
        return max(timedelta(), until.replace(tzinfo=until.tzinfo or UTC) - now)
    except (ValueError, TypeError, OverflowError):
        return None


def _post(url: str, body: bytes, headers: dict[str, str], deadline: float) -> tuple[int, str | None]:
    """The status and Retry-After of the answer. Raises OSError, HTTPException."""
    parts = urlsplit(url)
    connection = _Connection(parts.hostname or "", parts.port, parts.scheme == "https", deadline)
    try:
        path = f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}"
        connection.request("POST", path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.getheader("retry-after")
    finally:
        connection.close()


class _Connection(http.client.HTTPConnection):
    """A connection that every wait of ends at one deadline."""

    def __init__(self, host: str, port: int | None, secure: bool, deadline: float) -> None:
        self.default_port = 443 if secure else 80
        super().__init__(host, port or self.default_port)
        self._secure, self._deadline = secure, deadline

    def connect(self) -> None:
        plain = _connected(_addresses(self.host, self.port, self._deadline), self._deadline)
        try:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            plain.settimeout(_left(self._deadline))  # the handshake as a whole is bounded by it
            made = (
                ssl.create_default_context().wrap_socket(plain, server_hostname=self.host)
                if self._secure
                else plain
            )
        except BaseException:
            plain.close()
            raise
        self.sock: Any = _Bounded(made, self._deadline)


def _addresses(host: str, port: int, deadline: float) -> list[Address]:
    """What the name leads to. Raises OSError."""
    answer = SimpleQueue[list[Address] | OSError]()

    def look_up() -> None:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            answer.put([(family, place) for family, _, _, _, place in found])
        except OSError as error:
            answer.put(error)
        except UnicodeError:
            answer.put(socket.gaierror(socket.EAI_NONAME, "its name cannot be looked up"))

    threading.Thread(target=look_up, name=f"look up {host}", daemon=True).start()
    try:
        found = answer.get(timeout=_left(deadline))
    except Empty:
        raise TimeoutError from None
    if isinstance(found, OSError):
        raise found
    return found


def _connected(addresses: list[Address], deadline: float) -> socket.socket:
    """A connection to the first of these addresses that takes one. Each has an equal part of the time that is left.
    Raises the OSError of the last one.
    """
    fault: OSError = socket.gaierror(socket.EAI_NONAME, "its name leads to no address")
    for number, address in enumerate(addresses):
        try:
            return _connection_to(address, _left(deadline) / (len(addresses) - number))
        except OSError as error:
            fault = error
    raise fault


def _connection_to(address: Address, seconds: float) -> socket.socket:
    family, place = address
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.settimeout(seconds)
        made.connect(place)
    except BaseException:
        made.close()
        raise
    return made


class _Bounded:
    """What the client uses of a socket. It may not take longer than until the deadline, in however small parts."""

    def __init__(self, made: socket.socket, deadline: float) -> None:
        self._made, self._deadline = made, deadline

    def sendall(self, content: bytes) -> None:
        self._made.settimeout(_left(self._deadline))
        self._made.sendall(content)

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Reader(self._made, self._deadline))

    def close(self) -> None:
        self._made.close()


class _Reader(io.RawIOBase):
    def __init__(self, made: socket.socket, deadline: float) -> None:
        self._made, self._deadline = made, deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "Buffer") -> int:
        self._made.settimeout(_left(self._deadline))
        count = self._made.recv_into(memoryview(buffer))
        if not count:  # what follows the headers is never read, so they are not whole
            raise ConnectionAbortedError(errno.ECONNABORTED, "it was cut before its answer was whole")
        return count


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
