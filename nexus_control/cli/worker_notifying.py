"""How a worker tells its sinks: each has a thread of its own, so that no sink holds up an execution or another sink.

A thread ends with the worker. What it sends at that moment may go on for the grace (`cli.worker_ending`); then a
program is killed, and a receiver that does not answer is left. The message was not recorded as told, so it is sent
again, and a thread that goes on nevertheless prints nothing any more. A store that is busy or away is looked at again
after a pause, as the worker's own loop does. Any other fault, a defect too, is told in a line, once until a step
succeeds; the sink is tried again after such pauses, and executions and other sinks go on.
"""

import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from contextvars import copy_context
from datetime import timedelta
from typing import Final

from nexus_control.cli.streams import PrintingFailed
from nexus_control.cli.worker_loop import FIRST_PAUSE, LONGEST_PAUSE
from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.notify.delivering import Courier, Delivery, Step
from nexus_control.notify.sinks import Sink
from nexus_control.store import DecisionStore
from nexus_control.usecases.working import Action
from nexus_control.values.results import fault_of

_TO_END: Final = timedelta(seconds=2)
"""What a thread needs beyond the grace to record what it did."""
_LOOK_SECONDS: Final = 0.1


class Notifying:
    """The sinks of one worker. `tell` prints an action, from any thread. `failure` ends the worker: it could
    not print, or a thread ended by a defect.
    """

    def __init__(
        self,
        store: DecisionStore,
        sinks: Sequence[Sink],
        inbox: str | None,
        *,
        poll: timedelta,
        tell: Callable[[Action], object],
    ) -> None:
        self._couriers = [Courier(store, sink, inbox) for sink in sinks]
        self._poll, self._tell = poll, tell
        self._over = threading.Event()
        self._printing, self._is_left = threading.Lock(), False
        self.failure: PrintingFailed | NexusControlError | None = None

    @contextmanager
    def going_on(self, grace: Callable[[], timedelta]) -> Generator[None]:
        """In the block, the sinks are told what happens. Then the threads have the grace to end."""
        threads = self._started(self._go_on)
        try:
            yield
        finally:
            self._over.set()
            until = time.monotonic() + (grace() + _TO_END).total_seconds()
            for thread in threads:
                thread.join(max(0.0, until - time.monotonic()))
            is_ours = self._printing.acquire(timeout=_TO_END.total_seconds())
            self._is_left = True  # from now on nobody reads what a thread says
            if is_ours:
                self._printing.release()

    def tell_all(self, is_over: Callable[[], bool]) -> None:
        """Tell each sink everything that waits for it, whatever its pause, until one try fails."""
        for thread in self._started(self._tell_one):
            while thread.is_alive():
                thread.join(_LOOK_SECONDS)
                if is_over():
                    self._over.set()

    def _started(self, work: Callable[[Courier], None]) -> list[threading.Thread]:
        """A thread for each sink. It obeys the orders to stop that this context heeds."""
        threads = [
            threading.Thread(
                target=copy_context().run, args=(self._guarded, work, each), name=each.sink.name, daemon=True
            )
            for each in self._couriers
        ]
        for thread in threads:
            thread.start()
        return threads

    def _guarded(self, work: Callable[[Courier], None], courier: Courier) -> None:
        def watched() -> None:
            try:
                work(courier)
            except PrintingFailed as failure:
                self.failure = failure
            finally:
                with suppress(NexusControlError):
                    courier.release()

        defect = fault_of(watched)
        if isinstance(defect, NexusControlError):
            self.failure = defect

    def _go_on(self, courier: Courier) -> None:
        pause, told = FIRST_PAUSE, None
        while not self._over.is_set():
            step = fault_of(courier.step)
            if isinstance(step, NexusControlError):
                if step.code != told:
                    self._complain(courier, step)
                told = step.code
                self._over.wait(pause.total_seconds())
                pause = min(pause * 2, LONGEST_PAUSE)
                continue
            pause, told = FIRST_PAUSE, None
            self._say_of(courier, step)
            if step == "idle":
                self._over.wait(self._poll.total_seconds())

    def _tell_one(self, courier: Courier) -> None:
        def at_once() -> Step:
            return courier.step(at_once=True)

        while not self._over.is_set():
            step = fault_of(at_once)
            if isinstance(step, NexusControlError):
                self._complain(courier, step)
                return
            self._say_of(courier, step)
            if step == "idle" or (isinstance(step, Delivery) and step.outcome == "failed"):
                return

    def _say_of(self, courier: Courier, step: Step) -> None:
        if isinstance(step, Delivery):
            self._say(_action(step))
        elif step == "begun":
            name, why = courier.sink.name, "it is new, and is told what happens from now on"
            self._say(Action(what="notify", outcome="begun", sink=name, message=why))

    def _complain(self, courier: Courier, fault: NexusControlError) -> None:
        """Say why the sink cannot be told; not of the store, of which the worker's own loop tells."""
        if fault.code is not ErrorCode.STORE_UNAVAILABLE:
            code, why = str(fault.code), fault.message
            name = courier.sink.name
            self._say(Action(what="notify", outcome="failed", error_code=code, sink=name, message=why))

    def _say(self, action: Action) -> None:
        with self._printing:
            if not self._is_left:
                self._tell(action)


def _action(delivery: Delivery) -> Action:
    is_told = delivery.outcome == "delivered"
    return Action(
        what="notify",
        request_id=delivery.request_id,
        outcome=delivery.outcome,
        error_code=None if is_told else "NOT_DELIVERED",
        sink=delivery.sink,
        event_id=delivery.event_id,
        message=None if is_told else delivery.why,
    )
