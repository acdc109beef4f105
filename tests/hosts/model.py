"""A model on loopback that says what a test scripted, and keeps what it was asked.

A conversation has turns: the text "done", or calls of tools with ids that the test chose. The turn that is said is the
one after the turns that the request already holds: a conversation that is resumed or forked goes on where it was.
"""

import json
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar


@dataclass(frozen=True)
class Call:
    """One use of a tool, as the model asks for it. A text instead of arguments is a program for Codex's `exec`."""

    id: str
    tool: str
    arguments: Mapping[str, Any] | str


Turn = str | Sequence[Call] | Callable[[Mapping[str, str]], Sequence[Call]]
"""The model's whole answer to one request: a text, which ends the host's run, or calls.

A function makes the calls from the texts that earlier calls gave, by their ids.
"""
Said = str | Sequence[Call]


@dataclass
class FakeModel(ABC):
    """What every wire format has in common. A request past the last turn is answered with the text `done`."""

    path: ClassVar[str]
    """Where a conversation is posted to."""

    turns: Sequence[Turn]
    requests: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    """What the host sent for its conversation, in order."""
    asides: Mapping[str, Sequence[Turn]] = field(default_factory=dict[str, Sequence[Turn]])
    """The turns of other conversations, as with a subagent: by a text that they begin with."""
    others: list[str] = field(default_factory=list[str])
    """Paths that the host asked for and this model does not have."""
    url: str = ""

    def turn(self, request: Mapping[str, Any]) -> Said:
        first, number = self.beginning(request), self.said(request)
        turns = next((turns for text, turns in self.asides.items() if text in first), self.turns)
        turn = turns[number] if number < len(turns) else "done"
        return turn(self.given(request)) if callable(turn) else turn

    def results(self) -> dict[str, str]:
        """What the last request of the conversation gives the model for each call, by the call's id."""
        return self.given(self.requests[-1])

    @abstractmethod
    def beginning(self, request: Mapping[str, Any]) -> str:
        """What the conversation began with, as JSON."""

    @abstractmethod
    def said(self, request: Mapping[str, Any]) -> int:
        """How many turns of the model the request holds."""

    @abstractmethod
    def is_conversation(self, request: Mapping[str, Any]) -> bool:
        """Whether the request is the agent's, and not for a title or the like."""

    @abstractmethod
    def events(self, turn: Said) -> Iterable[dict[str, Any]]:
        """The turn as this wire format streams it."""

    @abstractmethod
    def given(self, request: Mapping[str, Any]) -> dict[str, str]:
        """The text that the request gives the model for each call, by the call's id."""


@contextmanager
def serving(model: FakeModel) -> Generator[FakeModel]:
    """The model listens on a free port of loopback, at `model.url`."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(model))
    model.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield model
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _handler(model: FakeModel) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            if self.path.partition("?")[0] != model.path:
                self.refuse()
                return
            request = json.loads(body)
            if model.is_conversation(request):
                model.requests.append(request)
                turn = model.turn(request)
            else:
                turn = "done"
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            for event in model.events(turn):
                self.wfile.write(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode())

        def do_GET(self) -> None:
            self.refuse()

        def do_HEAD(self) -> None:
            self.refuse()

        def refuse(self) -> None:
            model.others.append(f"{self.command} {self.path}")
            self.send_response(404)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Prints nothing."""

    return Handler
