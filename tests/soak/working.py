"""A writer of the soak: it takes decisions through the governed flow, alone or on decisions that all writers share.

Which flow is the n-th of a life, and what each does, follows from the seed, whatever happened before it. Each call has
a nonce, which the events that it makes carry: in the goal, the comment, the reason, the evidence, the run's id or the
actor's id.
"""

import hashlib
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

from nexus_control import NexusControlTools
from nexus_control.audit_package import verify_audit_package
from nexus_control.canonical_json import canonical_json
from nexus_control.values.actors import Actor
from nexus_control.values.results import ToolResult
from tests.concurrency.racing import TallyRouter
from tests.soak.journal import append_line
from tests.support.governed import ADAPTER, ALICE

HOT = 5
"""Decisions that all writers work on at once."""
ENDLESS = 2
"""So many of them are never executed or ended, and their histories grow."""
QUORUM_OF_HOT = 3
PEOPLE = [Actor("human", f"person-{number}") for number in range(40)]
FINAL = ("completed", "failed", "denied", "withdrawn")
ENDS = {
    "execute": 40,
    "fail": 8,
    "rehearse": 8,
    "deny": 8,
    "withdraw": 8,
    "copy": 6,
    "roll back": 6,
    "leave": 6,
}
_TIDY_EVERY = 40


class Effects(TallyRouter):
    """Flushes a line with nonce and goal to the tally, unless it has to fail before."""

    def __init__(self, tally: Path, nonce: str, *, fails: bool, seconds: float) -> None:
        super().__init__(tally)
        self.nonce, self.fails, self.seconds = nonce, fails, seconds

    def run(self, goal: str, adapter_id: str, dry_run: bool, *others: Any, **named: Any) -> dict[str, Any]:
        if self.fails:
            raise RuntimeError("it has to fail, before its effect")
        if not dry_run:
            super().run(f"{self.nonce} {goal}", adapter_id, dry_run)
            with self.tally.open("rb") as tally:
                os.fsync(tally.fileno())
        time.sleep(self.seconds)
        return {"run_id": f"run-{self.nonce}", "steps_executed": 1}


class Writer:
    """One life of a writer, with a name that no other life has."""

    def __init__(self, tools: NexusControlTools, folder: Path, seed: int, name: str) -> None:
        self.tools = tools
        self.calls = folder / f"{name}.calls"
        self.tally = folder / "tally"
        self.seed = seed
        self.name = name
        self.flows = 0
        self.made = 0

    def step(self) -> None:
        """One flow, or one act on a shared decision."""
        chance = Random(f"{self.seed}.{self.name}.{self.flows}")
        if self.flows % _TIDY_EVERY == 0:
            self._tidy()
        if chance.random() < 0.5:
            self._own(chance)
        else:
            self._hot(chance.randrange(HOT), chance)
        self.flows += 1

    def call(
        self, what: str, on: str, act: Callable[[str], ToolResult[Any]], keep: Sequence[str] = ()
    ) -> ToolResult[Any]:
        nonce = f"{self.name}.{self.made}"
        self.made += 1
        append_line(self.calls, {"n": nonce, "begun": what, "on": on}, flush=False)
        result = act(nonce)
        got: dict[str, Any] = {name: result.data[name] for name in keep} if result.success else {}
        if what == "export" and result.success:
            got = _facts_of(result.data)
        append_line(self.calls, {"n": nonce, "code": result.error_code, "got": got})
        return result

    # --- what is left behind by the dead --------------------------------------------------------------------------

    def _tidy(self) -> None:
        """Settle what earlier lives left in mid-run, by looking at what really happened."""
        self.call("recover", "", lambda _: self.tools.recover(), ["recovered"])
        listed = self.tools.list_requests(state="outcome_unknown", limit=20)
        for each in listed.data["requests"] if listed.success else ():
            goal = each["goal"]
            happened = any(line.endswith(f" {goal}") for line in self.tally.read_text().splitlines())
            self._reconcile(each["request_id"], happened)

    def _reconcile(self, request_id: str, happened: bool) -> None:
        outcome = "completed" if happened else "failed"
        self.call("reconcile", request_id, lambda n: self.tools.reconcile(request_id, ALICE, outcome, n))

    # --- a decision of its own ------------------------------------------------------------------------------------

    def _own(self, chance: Random) -> None:
        quorum, keyed = chance.choice((1, 1, 2, 3)), chance.random() < 0.3
        end = chance.choices(list(ENDS), list(ENDS.values()))[0]
        people = chance.sample(PEOPLE, quorum)
        changes_mind, exports = chance.random() < 0.2, chance.random() < 0.3
        asked = self.call(
            "request",
            "",
            lambda n: self.tools.request(
                f"own {n}",
                ALICE,
                mode="apply",
                min_approvals=quorum,
                labels=["own"],
                idempotency_key=n if keyed else None,
            ),
            ["request_id", "created"],
        )
        if not asked.success:
            return
        request_id: str = asked.data["request_id"]
        early = self._export(request_id) if end in ("copy", "roll back") else None
        if end not in ("deny", "leave"):
            for person in people:
                self._approve(request_id, person)
        if changes_mind:
            self._revoke(request_id, people[0])
            self._approve(request_id, people[0])
        self._end(request_id, end, early, chance)
        if exports:
            self._export(request_id)

    def _end(self, request_id: str, end: str, early: dict[str, Any] | None, chance: Random) -> None:
        match end:
            case "execute" | "fail":
                self._execute(request_id, chance, fails=end == "fail")
                if end == "execute" and chance.random() < 0.3:
                    self.call("package", request_id, lambda _: self._package(request_id))
            case "rehearse":
                self._execute(request_id, chance, dry_run=True)
                self._execute(request_id, chance)
            case "deny":
                self.call("deny", request_id, lambda n: self.tools.deny(request_id, PEOPLE[0], n))
            case "withdraw":
                self.call("withdraw", request_id, lambda n: self.tools.withdraw(request_id, ALICE, n))
            case "copy" if early is not None:
                self._import(early, "new_decision_id")
            case "roll back" if early is not None:
                self._import(early, "overwrite")
                self._execute(request_id, chance)
            case _:
                pass

    # --- a decision that all share --------------------------------------------------------------------------------

    def _hot(self, number: int, chance: Random) -> None:
        act = chance.choices(("approve", "revoke", "execute", "deny"), (70, 20, 8, 2))[0]
        person = chance.choice(PEOPLE)
        request_id = self._current(number)
        if request_id is None:
            return
        match act:
            case "execute" if number >= ENDLESS:
                self._execute(request_id, chance, fails=chance.random() < 0.1)
            case "deny" if number >= ENDLESS:
                self.call("deny", request_id, lambda n: self.tools.deny(request_id, person, n))
            case "revoke":
                self._revoke(request_id, person)
            case _:
                self._approve(request_id, person)

    def _current(self, number: int) -> str | None:
        """The newest decision in this place. Whoever finds it ended asks for the next, which one key makes once."""
        listed = self.tools.list_requests(label=f"hot-{number}", limit=1)
        if not listed.success:
            return None
        newest = listed.data["requests"][0] if listed.data["requests"] else None
        if newest is not None and newest["state"] not in FINAL:
            return newest["request_id"]
        goal = f"hot {number} {0 if newest is None else int(newest['goal'].split()[-1]) + 1}"
        asked = self.call(
            "request",
            goal,
            lambda _: self.tools.request(
                goal,
                ALICE,
                mode="apply",
                min_approvals=QUORUM_OF_HOT,
                labels=[f"hot-{number}"],
                idempotency_key=goal,
            ),
            ["request_id", "created"],
        )
        return asked.data["request_id"] if asked.success else None

    # --- single calls ---------------------------------------------------------------------------------------------

    def _approve(self, request_id: str, person: Actor) -> None:
        self.call("approve", request_id, lambda n: self.tools.approve(request_id, person, comment=n))

    def _revoke(self, request_id: str, person: Actor) -> None:
        self.call("revoke", request_id, lambda n: self.tools.revoke_approval(request_id, person, n))

    def _execute(
        self, request_id: str, chance: Random, *, fails: bool = False, dry_run: bool | None = None
    ) -> None:
        seconds = chance.choice((0.0, 0.0, 0.02, 0.1))
        self.call(
            "execute",
            request_id,
            lambda n: self.tools.execute(
                request_id,
                ADAPTER,
                Actor("system", f"runner-{n}"),
                Effects(self.tally, n, fails=fails, seconds=seconds),
                dry_run,
            ),
            ["run_id", "mode"],
        )

    def _export(self, request_id: str) -> dict[str, Any] | None:
        exported = self.call(
            "export", request_id, lambda _: self.tools.export_bundle(request_id, render=False)
        )
        return exported.data["bundle"] if exported.success else None

    def _package(self, request_id: str) -> ToolResult[Any]:
        packed = self.tools.export_audit_package(request_id, render=False)
        if packed.success and not verify_audit_package(packed.data["package"]).ok:
            raise AssertionError(f"the package of {request_id} does not verify")
        return packed

    def _import(self, bundle: dict[str, Any], mode: Any) -> None:
        self.call(
            "import",
            bundle["decision"]["decision_id"],
            lambda n: self.tools.import_bundle(
                bundle, conflict_mode=mode, allow_rollback=True, actor=Actor("human", f"importer-{n}")
            ),
            ["imported", "unchanged"],
        )


def digest_of_events(digests: Sequence[str]) -> str:
    return hashlib.sha256(canonical_json(list(digests)).encode()).hexdigest()


def _facts_of(exported: dict[str, Any]) -> dict[str, Any]:
    """What is kept of a bundle: it must be the beginning of what is stored in the end."""
    events = exported["bundle"]["events"]
    return {"count": len(events), "events": digest_of_events([event["digest"] for event in events])}
