"""Decisions whose reports are looked at: an ordinary one, with everything that usually happens, and its package."""

from pathlib import Path
from typing import Any

from nexus_control import LocalRouter, NexusControlTools
from nexus_control.canonical_json import canonical_json
from nexus_control.execution.adapter import Adapters
from nexus_control.values.actors import Actor
from tests.execution.support import keys_adapter, tool
from tests.support.clock import FakeClock
from tests.support.governed import data_of

ALICE, BOB, CAROL = (Actor(type="human", id=f"{name}@example.com") for name in ("alice", "bob", "carol"))
OPERATOR = Actor(type="system", id="release-runner")
ADAPTER = "subprocess:keys"
WROTE = '{{"service": "{service}", "rotated": ["k1", "k2"]}}'


def plan(steps: int) -> list[dict[str, Any]]:
    calls = {"inspect": {"service": "billing"}, "rotate": {"service": "billing"}}
    return [
        {
            "step_id": f"{method}-{number}",
            "intent": f"{method.capitalize()} the API keys of billing",
            "call": {"tool": "keys", "method": method, "args": args},
        }
        for number, (method, args) in enumerate(list(calls.items()) * steps)
    ][:steps]


def ordinary(folder: Path, *, steps: int = 4, embed: bool = True, hours: float = 20) -> bytes:
    """The package of a change that two of three approvers agreed to; one took their approval back and gave it again.
    It was rehearsed, then run by real programs, and exported a day later.
    """
    clock = FakeClock()
    say = tool("echo", WROTE, dry_run=["echo", "would rotate {service}"])
    tools = {"inspect": tool("echo", "2 keys, both older than 90 days: {service}"), "rotate": say}
    router = LocalRouter(Adapters([keys_adapter(folder, tools)]), clock=clock)
    store = NexusControlTools(db_path=":memory:", clock=clock)
    asked: dict[str, Any] = {"mode": "apply", "plan": plan(steps), "labels": ["production", "keys"]}
    rules: dict[str, Any] = {"min_approvals": 2, "approvers": [each.id for each in (ALICE, BOB, CAROL)]}
    goal = "Rotate the API keys of billing before the audit"
    request_id = data_of(store.request(goal, ALICE, **asked, **rules))["request_id"]
    clock.advance(hours=2, minutes=10)
    data_of(store.approve(request_id, BOB, comment="Read the plan; the window is agreed with support."))
    clock.advance(minutes=4)
    data_of(store.revoke_approval(request_id, BOB, "the window moved"))
    clock.advance(hours=hours)
    data_of(store.approve(request_id, BOB, comment="New window is fine."))
    clock.advance(seconds=40)
    data_of(store.approve(request_id, CAROL))
    clock.advance(minutes=3)
    data_of(store.execute(request_id, ADAPTER, OPERATOR, router, dry_run=True))
    clock.advance(days=1, hours=3)
    executed = data_of(store.execute(request_id, ADAPTER, OPERATOR, router))
    run = router.export_run(executed["run_id"]) if embed else None
    clock.advance(days=1)
    exported = store.export_audit_package(request_id, embed_router_bundle=embed, router_bundle=run)
    return canonical_json(data_of(exported)["package"]).encode()
