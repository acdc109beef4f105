"""A sink: who is told, what of, and how one message is sent there.

The sending is one try. It takes bounded time (`MOST_SECONDS`), and its answer says in one sentence what came back,
without anything that the other side wrote: that could be a secret, or an instruction to a reader.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal, Protocol, TypeAlias, get_args

from nexus_control.canonical_json import canonical_json
from nexus_control.errors import NexusControlError
from nexus_control.values.results import fault_of

What: TypeAlias = Literal["pending", "approved", "denied", "executed", "failed", "unknown"]
"""The state that an event leaves its request in. `unknown` is that of an execution whose outcome nobody knows."""

EVERYTHING: Final[tuple[What, ...]] = get_args(What)
MOST_SECONDS: Final = 60
"""The longest time that one try may take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What one sink is told. `message_id` is the event's id; the same event always has the same.

    `document` is what programs get. `title` and `text` say it to people, in one line each.
    """

    message_id: str
    request_id: str | None
    document: dict[str, Any]
    title: str
    text: str

    def to_bytes(self) -> bytes:
        return canonical_json(self.document).encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What came back. `failed` is tried again; `refused` never takes this message, so it is not. `why` completes a
    sentence about the sink. `retry_after` is how long the receiver asks to wait.
    """

    outcome: Literal["delivered", "failed", "refused"]
    why: str
    retry_after: timedelta | None = None


class Target(Protocol):
    """Where messages go. `where` names the place to people: it holds no secret."""

    @property
    def kind(self) -> str: ...

    @property
    def where(self) -> str: ...

    def send(self, message: Message, now: datetime) -> Reply:
        """Try once. Raises nothing for whatever the other side does."""
        ...


def tried(target: Target, message: Message, now: datetime) -> Reply:
    """What came of one try. A defect of ours, or a machine that gives no more threads, is a try that failed: so it is
    counted, and seen by everybody, like any other.
    """
    reply = fault_of(lambda: target.send(message, now))
    if isinstance(reply, NexusControlError):
        return Reply(outcome="failed", why=f"it could not be tried: {reply.message}")
    return reply


@dataclass(frozen=True, slots=True, kw_only=True)
class Sink:
    """One `[[notify]]`. It is told of requests that have all of `labels`. With `goal` the request's goal goes out."""

    name: str
    events: Collection[What]
    labels: Collection[str]
    goal: bool
    target: Target
