"""The worker's loop: chores on their schedules, then one decision after another, then a wait for new events.

A store that is busy or away is told once, and looked at again after a pause that grows to a minute. So is a checkpoint
that cannot be signed, or written to its place; that is tried again at its next time. The loop itself asks for no time
but the store's clock, and waits by the function that it is given.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from nexus_control.cli.streams import output_is_ours, wait_while_read
from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.execution.catalogue import AdapterLister
from nexus_control.execution.router import RouterProtocol
from nexus_control.log import checkpoints
from nexus_control.rules.book import RuleBook
from nexus_control.storage.faults import is_damage
from nexus_control.store import DecisionStore
from nexus_control.usecases.working import Action, Worklist, recover_dead, work
from nexus_control.values.actors import Actor

FIRST_PAUSE: Final = timedelta(seconds=1)
LONGEST_PAUSE: Final = timedelta(minutes=1)
_PASSING: Final = {ErrorCode.KEY_UNUSABLE, ErrorCode.INVALID_ARGUMENT}
"""Why a checkpoint is not signed or written now, and may be later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    """How a worker works. Without `checkpoint_every` it signs no checkpoint; `keep` takes each to its place.
    `rules` are as for `execute`.
    """

    actor: Actor
    once: bool = False
    poll: timedelta = timedelta(seconds=1)
    recover_every: timedelta = timedelta(minutes=5)
    checkpoint_every: timedelta | None = None
    keep: Callable[[bytes], object] = len
    rules: RuleBook | None = None


@dataclass(slots=True)
class _Chore:
    every: timedelta
    do: Callable[[], None]
    last: datetime | None = None

    def do_if_due(self, now: datetime) -> None:
        """Do it at first, each time that so much has passed, and where the clock was set back."""
        if self.last is None or not self.last <= now < self.last + self.every:
            self.do()
            self.last = now


class Loop:
    """Without a router it executes nothing. `tell` prints an action. `is_over` says that nothing more begins."""

    def __init__(
        self,
        store: DecisionStore,
        router: RouterProtocol | None,
        orders: Orders,
        *,
        tell: Callable[[Action], object],
        wait: Callable[[timedelta], object],
        is_over: Callable[[], bool],
    ) -> None:
        self._store, self._router, self._orders = store, router, orders
        self._tell, self._wait, self._is_over = tell, wait, is_over
        self._worklist = Worklist(router.adapters.ids() if isinstance(router, AdapterLister) else ())
        self._chores = [_Chore(orders.recover_every, self._recover)]
        if orders.checkpoint_every is not None:
            self._chores.append(_Chore(orders.checkpoint_every, self._sign))
        self._signed: int | str | None = None
        """The size of the log in the checkpoint that was told last, or why there was none."""
        self._away: timedelta | None = None
        """The last pause, while the store is away."""
        self.has_failed = False
        """Whether an execution failed, or nobody knows what it did."""

    def run(self) -> None:
        """Work until it is over; with `once` until nothing is due. Raises the faults of the store; with `once` also
        when it is busy or away.
        """
        while not self._is_over():
            try:
                has_worked = self._turn()
                self._back()
            except NexusControlError as fault:
                if self._orders.once or fault.code is not ErrorCode.STORE_UNAVAILABLE or is_damage(fault):
                    raise
                self._wait(self._pause(fault))
                continue
            if not has_worked and self._orders.once:
                return
            if not has_worked:
                self._wait(self._orders.poll)

    def _turn(self) -> bool:
        """Do the chores, and execute what is due first; False where nothing is."""
        for chore in self._chores:
            chore.do_if_due(self._store.clock.now())
        self._worklist.look(self._store)
        due = self._worklist.next(self._store.clock.now())
        if due is None or self._router is None or self._is_over():
            return False
        wait_while_read(0)  # nothing is begun for a reader that is gone
        with output_is_ours():
            action = work(
                self._store, self._router, self._orders.actor, self._worklist, due, self._orders.rules
            )
        if action is not None:
            self._told(action)
        return True

    def _told(self, action: Action) -> None:
        self.has_failed = self.has_failed or action.outcome in ("failed", "unknown")
        self._tell(action)

    def _recover(self) -> None:
        for action in recover_dead(self._store, self._router):
            self._told(action)

    def _sign(self) -> None:
        try:
            published = checkpoints.publish(self._store)
            self._orders.keep(published.note.encode())
        except NexusControlError as fault:
            if fault.code not in _PASSING:
                raise
            if self._signed != fault.code:
                self._signed = fault.code
                code, why = str(fault.code), fault.message
                self._tell(Action(what="checkpoint", outcome="not_signed", error_code=code, message=why))
            return
        size = published.checkpoint.size
        if self._signed != size:
            self._signed = size
            self._tell(Action(what="checkpoint", outcome="signed", size=size))

    def _pause(self, fault: NexusControlError) -> timedelta:
        """How long to wait for the store, which is away. Tells it once."""
        if self._away is None:
            code, why = str(fault.code), fault.message
            self._tell(Action(what="store", outcome="away", error_code=code, message=why))
        self._away = FIRST_PAUSE if self._away is None else min(self._away * 2, LONGEST_PAUSE)
        return self._away

    def _back(self) -> None:
        if self._away is not None:
            self._away = None
            self._tell(Action(what="store", outcome="back"))
