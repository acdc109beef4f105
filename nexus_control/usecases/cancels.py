"""What a claim says of a cancel: who asked for it, when and why; and how a run hears of it.

    {"actor": {"type": "human", "id": "ada"}, "reason": "wrong cluster", "ts": "2026-11-27T10:00:00.000000+00:00"}

The process that runs looks at its claim's row, at most five times a second. A look that the store fails ends no run:
it goes on as if nobody had cancelled it, and looks again later, the later the longer the store kept it waiting.
"""

import time
from dataclasses import dataclass
from typing import Final

from nexus_control.canonical_json import canonical_json
from nexus_control.errors import NexusControlError
from nexus_control.execution.spelling import bounded
from nexus_control.execution.stopping import Order
from nexus_control.log.row_texts import decoded
from nexus_control.storage.contract import Claim
from nexus_control.storage.faults import damaged
from nexus_control.store import DecisionStore
from nexus_control.usecases.run_answers import CancelLine
from nexus_control.values.actors import Actor
from nexus_control.values.records import encode

_PACE_SECONDS: Final = 0.2
_PATIENCE: Final = 10
"""How many times as long as a look took nobody looks again: then looking takes a tenth of a run at most."""
_LONGEST_REASON: Final = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancel:
    """Somebody's wish that an execution ends."""

    actor: Actor
    reason: str
    ts: str

    def to_text(self) -> str:
        return canonical_json(encode(self))

    def to_line(self) -> CancelLine:
        return {"actor": self.actor.to_dict(), "ts": self.ts, "reason": self.reason}


def cancel_of(claim: Claim) -> Cancel | None:
    """The cancel that was asked for while the execution was under way; None without one. Raises STORE_UNAVAILABLE for
    a text that was not written here.
    """
    if not claim.cancel or claim.recovered:
        return None
    try:
        return decoded(Cancel, claim.cancel, "cancel")
    except (ValueError, TypeError, RecursionError) as error:
        raise damaged(f"the cancel of decision {claim.decision_id:.80} is damaged") from error


class CancelWatch:
    """The order that a cancel of this claim gives to its run."""

    def __init__(self, store: DecisionStore, claim: Claim) -> None:
        self._store = store
        self._claim = claim
        self._order: Order | None = None
        self._next_look = 0.0
        self._failed = False

    def given(self, *, at_once: bool) -> Order | None:
        waits = time.monotonic() < self._next_look and (self._failed or not at_once)
        if self._order is None and not waits:
            started = time.monotonic()
            self._order = self._look()
            ended = time.monotonic()
            self._next_look = ended + max(_PACE_SECONDS, _PATIENCE * (ended - started))
        return self._order

    def _look(self) -> Order | None:
        claim, self._failed = self._claim, False
        try:
            with self._store.reading() as session:
                kept = session.rows.claim(claim.decision_id)
            is_its = kept is not None and (kept.generation, kept.seq) == (claim.generation, claim.seq)
            cancel = cancel_of(kept) if kept is not None and is_its else None
        except NexusControlError:
            self._failed = True
            return None
        if cancel is None:
            return None
        return Order("cancel", f"{cancel.actor} cancelled the run: {bounded(cancel.reason, _LONGEST_REASON)}")
