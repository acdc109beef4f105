"""What all pages share: the store, who may read, where the pages are served, and how a blocking call is made.

`Inbox` belongs to the application, `Visit` to one request of a browser. Store calls block, so a page makes them with
`await inbox.call(...)`, in one of a limited number of threads. A verdict takes `await inbox.record(...)`, which has
threads of its own: verdicts may wait for the store's one lock, and pages can be read meanwhile.
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, Self, TypeVar
from urllib.parse import quote, urlencode

from anyio import CapacityLimiter, to_thread
from starlette.requests import Request

from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.execution.router import PlanChecker, RouterProtocol
from nexus_control.store import DecisionStore
from nexus_control.values.actors import id_problem
from nexus_control.values.results import fault_of
from nexus_control.web.live import Live

T = TypeVar("T")

READERS: Final = 8
RECORDERS: Final = 4
"""How many calls that read the store, and that write it, run at once; the others wait for their turn."""


@dataclass
class Loss:
    """Whether the store was lost beneath the inbox: nothing but opening it again helps then."""

    fault: NexusControlError | None = None
    tell: Callable[[], None] = lambda: None
    """Called by the server's thread at the first such fault."""


@dataclass(frozen=True, kw_only=True)
class Inbox:
    """One inbox: its store, and the settings that `create_app` was given."""

    store: DecisionStore
    origins: tuple[str, ...]
    rp_id: str
    reader_token: str
    live: Live
    router: PlanChecker | RouterProtocol | None = None
    may_decide: bool = True
    """Whether decisions are taken here; False where the store is open for reading only."""
    loss: Loss = field(default_factory=Loss)
    form_key: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)
    """Authenticates the forms of this run of the inbox."""
    _reading: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(READERS))
    _recording: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(RECORDERS))

    async def call(self, action: Callable[[], T]) -> T:
        """The value of `action`, which may block. Raises NexusControlError, and nothing else."""
        return await self._called(action, self._reading)

    async def record(self, action: Callable[[], T]) -> T:
        """As `call`, for an action that writes. It is done though its sender goes, but not where the server ends
        before its turn has come.
        """
        return await self._called(action, self._recording)

    async def _called(self, action: Callable[[], T], limiter: CapacityLimiter) -> T:
        outcome = await to_thread.run_sync(lambda: fault_of(action), limiter=limiter)
        if not isinstance(outcome, NexusControlError):
            return outcome
        if outcome.code is ErrorCode.STORE_REPLACED and self.loss.fault is None:
            self.loss.fault = outcome
            self.loss.tell()
        raise outcome


@dataclass(frozen=True, slots=True)
class Visit:
    """One request of a browser: where the application is mounted, the reader's token, and who the reader says to be.

    >>> visit.link("/requests/dec_1")
    '/requests/dec_1?token=s3cret&as=bob'
    """

    root: str
    token: str
    person: str
    """An id that the reader chose, or "". It filters what is shown and grants nothing."""

    @classmethod
    def of(cls, request: Request) -> Self:
        person = request.query_params.get("as", "").strip()
        return cls(
            root=str(request.scope.get("root_path", "")),
            token=request.query_params.get("token", ""),
            person="" if person and id_problem(person) else person,
        )

    def link(self, path: str, **query: str | None) -> str:
        """The address of a page of this inbox, with the reader's token. Arguments that are None or "" are left out."""
        return f"{self.root}{quote(path)}{_query(self.token, self.person, **query)}"

    def link_without_query(self, path: str) -> str:
        """The address of a form, whose fields are the query."""
        return f"{self.root}{quote(path)}"

    def static(self, name: str) -> str:
        """The address of a static file, which needs no token."""
        return f"{self.root}/static/{name}"


@lru_cache(maxsize=64)
def _query(token: str, person: str, **more: str | None) -> str:
    """The end of an address. A page has many links with the same."""
    given = {"token": token, "as": person, **more}
    pairs = urlencode({name: value for name, value in given.items() if value})
    return f"?{pairs}" if pairs else ""
