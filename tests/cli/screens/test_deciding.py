"""What a requester and an approver see: the answer of `request`, the review, what follows, and the help."""

import json
from pathlib import Path
from typing import Any

import pytest

from nexus_control import Actor, NexusControlTools
from nexus_control.execution.config import load_adapters
from nexus_control.execution.local_router import LocalRouter
from tests.cli.screens.golden import GOLDEN, Screen, Shot, at_work, each
from tests.support.governed import ALICE, BOB, SCHEDULER, data_of

CONFIG = """
[adapters.services]
kind = "subprocess"
capabilities = ["apply", "dry_run"]
timeout_seconds = 30
[adapters.services.tools.rotate]
argv = ["sh", "-c", "echo rotated \\"$1\\"", "sh", "{service}"]
dry_run_argv = ["echo", "would rotate", "{service}"]
[adapters.services.tools.restart]
argv = ["sh", "-c", "echo restarted \\"$1\\"", "sh", "{service}"]
dry_run_argv = ["printf", '{{"restart": "%s", "seconds": 4}}', "{service}"]
"""
PLAN = """\
- step_id: rotate
  intent: new keys for billing
  call:
    tool: services
    method: rotate
    args: {service: billing}
- step_id: restart
  intent: load them
  call:
    tool: services
    method: restart
    args: {service: billing}
"""
STEPS = [
    {
        "step_id": name,
        "intent": intent,
        "call": {"tool": "services", "method": name, "args": {"service": "billing"}},
    }
    for name, intent in (("rotate", "new keys for billing"), ("restart", "load them"))
]
CAROL = Actor("human", "carol")
GOAL = "Rotate the API keys of billing, because the old ones were in a log"
ORDINARY = 40
"""The most lines of a review of an ordinary request."""


def files(folder: Path) -> dict[str, str]:
    (folder / "nexus-control.toml").write_text(CONFIG)
    (folder / "plan.yaml").write_text(PLAN)
    return {}


def a_template(folder: Path) -> dict[str, str]:
    with at_work(folder) as (tools, _):
        policy: dict[str, Any] = {
            "min_approvals": 2,
            "allowed_modes": ["dry_run", "apply"],
            "approvers": ["bob", "carol", "dave"],
        }
        description = "What customers notice: " + "two people look at it, and it is rehearsed before. " * 2
        data_of(tools.template_create("production", ALICE, description=description, **policy))
        data_of(
            tools.template_create("staging", ALICE, allow_requester_approval=False, min_assurance="local")
        )
    return files(folder)


def asked(folder: Path, *, rehearsed: bool = False, **given: Any) -> tuple[str, NexusControlTools]:
    """A request under the template, with a plan of two steps."""
    a_template(folder)
    with at_work(folder) as (tools, clock):
        clock.advance(hours=22)
        router = LocalRouter(load_adapters(folder / "nexus-control.toml"), clock=clock)
        tools = NexusControlTools(tools.store, plan_checker=router)
        values: dict[str, Any] = {
            "template_name": "production",
            "adapter_id": "subprocess:services",
            **given,
        }
        request_id = data_of(tools.request(GOAL, ALICE, mode="apply", plan=STEPS, **values))["request_id"]
        if rehearsed:
            data_of(tools.approve(request_id, BOB, comment="in the window that we agreed on"))
            data_of(tools.approve(request_id, CAROL))
            data_of(tools.execute(request_id, "subprocess:services", SCHEDULER, router, dry_run=True))
            data_of(tools.revoke_approval(request_id, CAROL, reason="I have to see the rehearsal"))
        return request_id, tools


def an_ordinary_request(folder: Path) -> dict[str, str]:
    return {"id": asked(folder, rehearsed=True, labels=["keys"], expires_in="8h")[0]}


def overrides(folder: Path) -> dict[str, str]:
    given: dict[str, Any] = {
        "min_approvals": 1,
        "approvers": ["mallory"],
        "max_steps": 9,
        "metadata": {"ticket": "OPS-12"},
    }
    return {"id": asked(folder, **given)[0]}


def a_long_plan(folder: Path) -> dict[str, str]:
    with at_work(folder) as (tools, _):
        plan = json.dumps([{**STEPS[0], "step_id": f"rotate-{number}"} for number in range(1, 31)])
        return {"id": data_of(tools.request("x" * 400, ALICE, mode="apply", plan=plan))["request_id"]}


REQUEST = ("request", GOAL)
SCREENS = {
    "request": Screen(*REQUEST, "--plan", "1. rotate", "--approver", "bob", "--approver", "alice@studio"),
    "request-apply": Screen(
        *REQUEST, "--mode", "apply", "--plan-file", "plan.yaml", "--adapter", "subprocess:services", "--template",
        "production", "--expires-in", "8h", "--no-requester-may-approve", store=a_template,
    ),
    "request-wrong": Screen(*REQUEST, "--min-approvals", "0", "--expires-in", "soon"),
    "template-create": Screen("template", "create", "production", "--min-approvals", "2"),
    "template-list": Screen("template", "list", store=a_template),
    "template-get": Screen("template", "get", "production", store=a_template),
    "review": Screen("approve", "@id", "--as", "human:carol", store=an_ordinary_request, typed="y\n"),
    "review-overrides": Screen("approve", "@id", "--as", "human:mallory", store=overrides, typed="n\n"),
    "review-cut": Screen("approve", "@id", "--as", "human:carol", store=a_long_plan, typed="n\n"),
    "review-denied": Screen(
        "deny", "@id", "--reason", "not during the freeze", "--as", "human:mallory", store=overrides, typed="y\n"
    ),
    "review-not-eligible": Screen("approve", "@id", "--as", "human:eve", store=an_ordinary_request, typed="y\n"),
    "help": Screen("--help"),
    "help-template": Screen("template", "-h"),
    "help-approve": Screen("approve", "-h"),
    "no-such-command": Screen("aprove"),
}  # fmt: skip


@each(SCREENS)
def test_what_a_requester_and_an_approver_see_looks_as_it_did(shot: Shot) -> None:
    shot.check()


@pytest.mark.parametrize("width", ["80", "120"])
@pytest.mark.parametrize("name", ["review", "review-overrides", "review-denied"])
def test_an_ordinary_request_is_reviewed_on_one_screen_with_verdict_and_goal_last(
    name: str, width: str
) -> None:
    lines = (GOLDEN / f"{name}.{width}.txt").read_text().splitlines()
    question = next(number for number, line in enumerate(lines) if "[y/N]" in line)
    assert question <= ORDINARY
    assert any(line.startswith(("It waits for", "✗", "✓")) for line in lines[question - 3 : question - 1])
    assert "Goal: Rotate the API keys of billing" in "\n".join(lines[question - 3 : question])
