"""Stores for the golden screens: a request in every state, as a team leaves them in a day."""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from nexus_control import NexusControlTools
from nexus_control.store import DecisionStore
from nexus_control.values.actors import Actor
from tests.cli.screens.golden import Clock, at_work
from tests.facade.routers import ANSWER, FakeRouter
from tests.support.governed import data_of

ALICE, BOB, CAROL = Actor("human", "alice@studio"), Actor("human", "bob@studio"), Actor("human", "carol")
RELEASES = Actor("system", "release-train")
ADAPTER = "subprocess:keys"


def answer(*results: Mapping[str, Any], status: str = "completed") -> FakeRouter:
    """A router whose run has these results."""
    return FakeRouter(
        {"run_id": "run-7f3a", "status": status, "steps_executed": len(results), "results": results}
    )


GOOD = {"step_id": "rotate", "status": "ok", "output": {"result": {"rotated": 4, "region": "eu-1"}}}
PROGRAM = {
    "step_id": "restart",
    "status": "ok",
    "output": {"exit_code": 0, "stdout": "api restarted\nworker restarted\n", "stderr": ""},
}
BAD = {
    "step_id": "notify",
    "status": "error",
    "output": {"exit_code": 3, "stdout": "", "stderr": "mail: no route to host\n"},
    "error": {"code": "PROGRAM_FAILED", "message": "notify ended with 3"},
}


class Office:
    """People at work on one store."""

    def __init__(self, tools: NexusControlTools, clock: Clock) -> None:
        self.tools, self.clock = tools, clock
        self.ids: dict[str, str] = {}

    def ask(self, name: str, goal: str, actor: Actor = ALICE, mode: str = "apply", **more: Any) -> str:
        asked: dict[str, Any] = {"goal": goal, "actor": actor, "mode": mode, "adapter_id": ADAPTER, **more}
        self.ids[name] = data_of(self.tools.request(**asked))["request_id"]
        self.clock.advance(minutes=5)
        return self.ids[name]

    def agree(self, name: str, actor: Actor = BOB, comment: str | None = None, **span: float) -> None:
        until = (self.clock.instant + timedelta(**span)).isoformat() if span else None
        data_of(self.tools.approve(self.ids[name], actor, comment=comment, expires_at=until))
        self.clock.advance(minutes=5)

    def run(self, name: str, router: FakeRouter, *, dry_run: bool | None = None) -> None:
        self.tools.execute(self.ids[name], ADAPTER, RELEASES, router, dry_run=dry_run)
        self.clock.advance(minutes=5)

    def until(self, **span: float) -> str:
        return (self.clock.instant + timedelta(**span)).isoformat()


def one_of_each(folder: Path) -> dict[str, str]:
    """A request in every state; the newest is an hour old."""
    with at_work(folder) as (tools, clock):
        office = Office(tools, clock)
        office.ask("completed", "Rotate the API keys of every service in eu-1", labels=["keys", "eu-1"])
        office.agree("completed", comment="checked the plan")
        office.run("completed", answer({**GOOD, "simulated": True}), dry_run=True)
        office.run("completed", answer(GOOD, PROGRAM))
        office.ask("failed", "Rotate the keys of the mail gateway")
        office.agree("failed")
        office.run("failed", answer(GOOD, BAD, status="failed"))
        office.ask("failed_before", "Rotate the keys of the archive")
        office.agree("failed_before")
        office.run("failed_before", FakeRouter(_refusing))
        office.ask("unknown", "Rotate the keys of the payment gateway")
        office.agree("unknown")
        office.run("unknown", FakeRouter(_lost))
        office.ask("denied", "Rotate all keys at noon")
        data_of(tools.deny(office.ids["denied"], BOB, "not during the freeze"))
        office.ask("withdrawn", "Rotate the keys of the old shop")
        data_of(tools.withdraw(office.ids["withdrawn"], ALICE, "the shop is closed"))
        office.ask(
            "expired", "Rotate the keys of the test bench", min_approvals=2, expires_at=office.until(hours=2)
        )
        office.agree("expired")
        clock.advance(hours=20)
        office.ask(
            "pending",
            "Rotate the keys of the billing service",
            min_approvals=2,
            approvers=["bob@studio", "carol", "dave"],
            allow_requester_approval=False,
            expires_at=office.until(hours=6),
            metadata={"ticket": "OPS-4711"},
            idempotency_key="billing-2026-03",
        )
        office.agree("pending", comment="looks right")
        office.ask("lapsed", "Rotate the keys of the backup service")
        office.agree("lapsed", CAROL)
        data_of(tools.revoke_approval(office.ids["lapsed"], CAROL, "wrong window"))
        office.agree("lapsed", minutes=30)
        office.ask("rehearsed", "Rotate the keys of the search service", RELEASES)
        office.agree("rehearsed")
        office.run("rehearsed", answer({**GOOD, "simulated": True}), dry_run=True)
        office.ask("dry_run", "See what a rotation would do", mode="dry_run")
        office.agree("dry_run")
        office.ask("signed", "Rotate the root key", min_assurance="signed", adapter_id=None)
        return office.ids


GROUPS = {"security": ["bob@studio", "carol"], "platform": ["carol", "dave", "erin"]}


def grouped(folder: Path) -> dict[str, str]:
    """A request that waits for somebody of a group, one that only others have approved, and one that has everybody."""
    needed: dict[str, Any] = {"min_approvals": 2, "required_from": {"security": 1, "platform": 1}}
    with at_work(folder, GROUPS) as (tools, clock):
        clock.advance(hours=23)
        office = Office(tools, clock)
        office.ask("pending", "Open the firewall for the new office", **needed)
        office.agree("pending", CAROL, comment="both networks were checked")
        office.ask("others", "Open the firewall for the warehouse", **needed)
        office.agree("others", ALICE)
        office.agree("others", RELEASES)
        office.ask("approved", "Open the firewall for the branch office", **needed)
        office.agree("approved", CAROL)
        office.agree("approved", BOB, hours=4)
        return office.ids


def _refusing() -> object:
    raise ValueError("the adapter is not ready")


def _lost() -> object:
    raise TimeoutError("no answer within 60 s")


def wide_goals(folder: Path) -> dict[str, str]:
    """Goals and requesters that no row has room for, and goals that try to look like rows."""
    with at_work(folder) as (tools, clock):
        office = Office(tools, clock)
        office.ask(
            "long", f"Rotate the keys of every service: {', '.join(f'service-{n}' for n in range(40))}"
        )
        office.ask("lines", "Rotate the keys\n\n0d1c0d39  1m  approved  2/2  apply  bob  Delete everything")
        office.ask("controls", "Rotate\tthe keys \x1b[31mnow\x1b[0m, C:\\keys")
        office.ask("japanese", "本番環境のすべてのサービスの鍵を今すぐ交換し、全員に知らせてください")
        office.ask("padded", f"Rotate{' ' * 200}the keys")
        office.ask(
            "requester", "Rotate the keys", Actor("human", "maximiliane.mustermann@production.example.com")
        )
        return office.ids


def imported(folder: Path) -> dict[str, str]:
    """Requests that came from another store: one to be approved here again, one unchecked, as evidence only."""
    clock = Clock(seed="elsewhere")
    elsewhere = NexusControlTools(DecisionStore(":memory:", clock=clock))
    there = Office(elsewhere, clock)
    there.ask("checked", "Rotate the keys of the branch office")
    there.agree("checked")
    there.ask("evidence", "Rotate the keys of the head office")
    there.agree("evidence")
    there.ask("run", "Rotate the keys of the warehouse")
    there.agree("run")
    there.run("run", answer(GOOD))
    with at_work(folder) as (tools, here):
        here.advance(hours=22)
        for name, request_id in there.ids.items():
            bundle = data_of(elsewhere.export_bundle(request_id))["bundle"]
            data_of(tools.import_bundle(bundle, verify_digest=name != "evidence", actor=CAROL))
            here.advance(minutes=5)
        return there.ids


def settled(folder: Path) -> dict[str, str]:
    """Executions whose outcome nobody knew, until Bob found out."""
    with at_work(folder) as (tools, clock):
        office = Office(tools, clock)
        for outcome in ("completed", "failed"):
            office.ask(outcome, "Rotate the keys of the payment gateway")
            office.agree(outcome)
            office.run(outcome, FakeRouter(_lost))
            evidence = f"the gateway's log shows that it {outcome}"
            data_of(tools.reconcile(office.ids[outcome], BOB, outcome, evidence))
    return office.ids


def under_way(folder: Path) -> dict[str, str]:
    """A request whose execution another process has claimed, and one that was never completed."""
    seen: dict[Path, bytes] = {}

    def look() -> object:
        seen.update({each: each.read_bytes() for each in folder.iterdir() if not each.name.endswith("-shm")})
        return ANSWER

    with at_work(folder) as (tools, clock):
        clock.advance(hours=23)
        office = Office(tools, clock)
        office.ids["draft"] = tools.store.create_decision()
        office.ask("executing", "Rotate the keys of the billing service")
        office.agree("executing")
        office.run("executing", FakeRouter(look))
    for each in folder.iterdir():
        each.unlink()
    for path, content in seen.items():
        path.write_bytes(content)
    return office.ids
