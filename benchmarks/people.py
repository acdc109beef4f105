"""Who acts in the workloads, what they say, and a router that only counts."""

import json
import os
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nexus_control import Actor, DecisionStore, EventType, NexusControlTools

ALICE, BOB, CAROL, DAVE = (Actor(type="human", id=name) for name in ("alice", "bob", "carol", "dave"))
APPROVERS = [Actor(type="human", id=f"approver-{number}") for number in range(50)]
CREATED: dict[str, object] = {
    "goal": "Rotate the keys",
    "plan": None,
    "requested_mode": "apply",
    "labels": [],
}
POLICY: dict[str, object] = {
    "min_approvals": 2,
    "allowed_modes": ["apply"],
    "require_adapter_capabilities": [],
    "max_steps": None,
    "labels": [],
}
GRANTED: dict[str, object] = {
    "comment": "Plan und Übergabe geprüft: looks good to me, ticket OPS-4711.",
    "expires_at": None,
}
REVOKED: dict[str, object] = {"reason": "The window was moved"}
GRANTED_TEXT = json.dumps(GRANTED, ensure_ascii=False)


@contextmanager
def opened(database: Path | str) -> Generator[NexusControlTools]:
    """Earlier versions close the store only."""
    with DecisionStore(str(database)) as store:
        yield NexusControlTools(store)


def begin_decision(store: DecisionStore) -> str:
    """A decision with its first two events."""
    decision_id = store.create_decision()
    store.append_event(decision_id, EventType.DECISION_CREATED, ALICE, CREATED)
    store.append_event(decision_id, EventType.POLICY_ATTACHED, ALICE, POLICY)
    return decision_id


def append_verdict(store: DecisionStore, decision_id: str, number: int) -> None:
    """The verdict of this number: an approval, and at the next number the same person's revocation."""
    person = APPROVERS[number // 2 % len(APPROVERS)]
    if number % 2 == 0:
        store.append_event(decision_id, EventType.APPROVAL_GRANTED, person, GRANTED)
    else:
        store.append_event(decision_id, EventType.APPROVAL_REVOKED, person, REVOKED)


class CountingRouter:
    """A router that does nothing for a while, and counts its runs: in `log`, a line each, across processes."""

    def __init__(self, *, seconds: float = 0.0, log: Path | None = None) -> None:
        self.runs = 0
        self._seconds, self._log, self._lock = seconds, log, threading.Lock()

    def run(
        self,
        goal: str,
        adapter_id: str,
        dry_run: bool,
        plan: str | None = None,
        max_steps: int | None = None,
        require_capabilities: list[str] | None = None,
    ) -> dict[str, Any]:
        with self._lock:
            self.runs += 1
            number = self.runs
        if self._log is not None:
            with self._log.open("a", encoding="utf-8") as log:
                log.write(f"{goal}\n")
        time.sleep(self._seconds)
        return {"run_id": f"run-{os.getpid()}-{number}", "steps_executed": 3, "outcome": "ok"}

    def get_adapter_capabilities(self, adapter_id: str) -> set[str] | None:
        return {"apply", "dry_run"}
