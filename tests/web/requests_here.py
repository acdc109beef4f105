"""Requests that the inbox shows."""

import json
from pathlib import Path

from nexus_control import Actor, LocalRouter, NexusControlTools, load_adapters

ALICE, BOB, CAROL = (Actor("human", name) for name in ("alice", "bob", "carol"))
AGENT = Actor("system", "agent@build-7")

CONFIG = """\
[adapters.keys]
kind = "subprocess"
capabilities = ["apply", "dry_run"]
[adapters.keys.tools.rotate]
argv = ["echo", "rotated", "{service}", "--keep", "two words"]
dry_run_argv = ["echo", "would rotate", "{service}"]
args = { service = "str" }
"""
PLAN = [
    {
        "step_id": "rotate-it",
        "intent": "Rotate the key of billing",
        "call": {"tool": "keys", "method": "rotate", "args": {"service": "billing"}},
    }
]


def adapters_in(folder: Path) -> Path:
    file = folder / "nexus-control.toml"
    file.write_text(CONFIG)
    return file


def ask_everything(database: Path, config: Path, *, approve: bool = False) -> str:
    """A request that has something to say in each section of its page: its id."""
    with (
        LocalRouter(load_adapters(config), f"{database}.runs") as router,
        NexusControlTools(database, plan_checker=router) as tools,
    ):
        template = tools.template_store
        if not template.template_exists("production"):
            template.create_template(
                "production",
                ALICE,
                min_approvals=2,
                allowed_modes=["dry_run", "apply"],
                approvers=["bob", "carol", "dave"],
                require_rehearsal={"max_age_seconds": 3600},
            )
        asked = tools.request(
            "Rotate the signing keys",
            AGENT,
            mode="apply",
            plan=json.dumps(PLAN),
            template_name="production",
            labels=["prod"],
            metadata={"ticket": "OPS-12"},
            adapter_id="subprocess:keys",
            expires_in="4h",
            max_steps=3,
        )
        request_id = asked.data["request_id"]
        assert tools.execute(request_id, "subprocess:keys", AGENT, router, dry_run=True)
        assert tools.approve(request_id, BOB, comment="the plan is right")
        if approve:
            assert tools.approve(request_id, CAROL)
            assert tools.execute(request_id, "subprocess:keys", AGENT, router, dry_run=False)
        return request_id
