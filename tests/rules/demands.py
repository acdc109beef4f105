"""A book, the templates that it names, and what a request gets under it: the same at every door.

`Row.request` are the fields of a request by system:agent. Its `policy` are the fields of the policy that the request
gets, as far as they differ from what it would have without a book; or a code refuses it.
"""

import json
from dataclasses import dataclass, field
from typing import Any

from nexus_control import NexusControlTools
from nexus_control.values.actors import Actor
from tests.support.governed import BOB, data_of

AGENT = Actor(type="system", id="agent")
BOOK = """
default = "deny"

[[rules]]
tool = "keys"
method = "rotate"
template = "two-people"

[[rules]]
tool = "keys"
method = "list"
verdict = "allow"

[[rules]]
tool = "data"
template = "owners"

[[rules]]
tool = "data"
mode = "dry_run"
verdict = "allow"

[[rules]]
tool = "money"
template = "one-person"

[[rules]]
tool = "money"
arguments = { "/amount" = { gt = 100 } }
template = "owners"

[[rules]]
tool = "notes"
verdict = "allow"

[[rules]]
tool = "notes"
labels = ["prod"]
template = "two-people"

[[rules]]
tool = "disk"
mode = "apply"
template = "two-people"

[[rules]]
tool = "logs"
template = "labelled"

[[rules]]
tool = "logs"
labels = ["prod"]
template = "owners"

[[rules]]
tool = "gone"
template = "nowhere"

[[rules]]
tool = "desk"
requester = "human:alice"
verdict = "allow"

[[rules]]
tool = "Bash"
template = "one-person"
"""
BOTH = ["dry_run", "apply"]
TEMPLATES: dict[str, dict[str, Any]] = {
    "one-person": {"min_approvals": 1, "allowed_modes": BOTH},
    "two-people": {
        "min_approvals": 2,
        "allowed_modes": BOTH,
        "allow_requester_approval": False,
        "max_steps": 5,
    },
    "owners": {
        "min_approvals": 2,
        "allowed_modes": ["apply"],
        "approvers": ["alice", "bob", "carol"],
        "min_assurance": "signed",
    },
    "three-people": {
        "min_approvals": 3,
        "allowed_modes": BOTH,
        "allow_requester_approval": False,
        "max_steps": 2,
    },
    "labelled": {"min_approvals": 1, "allowed_modes": ["apply"], "labels": ["prod"]},
}


def with_templates(tools: NexusControlTools) -> NexusControlTools:
    """These tools, whose store has the templates now."""
    for name, policy in TEMPLATES.items():
        data_of(tools.template_create(name, BOB, **policy))
    return tools


def step(call: str, step_id: str = "s1", args: dict[str, Any] | None = None) -> dict[str, Any]:
    """A step of a plan, whose call is written as `tool.method`."""
    tool, _, method = call.partition(".")
    return {
        "step_id": step_id,
        "intent": "do it",
        "call": {"tool": tool, "method": method, "args": args or {}},
    }


def plan(*calls: str, **args: Any) -> str:
    """The plan of these calls, each with these arguments."""
    return json.dumps([step(call, f"s{n}", args) for n, call in enumerate(calls, start=1)])


def guarded(tool: str, /, **arguments: Any) -> dict[str, Any]:
    """What a guard asks with for a call of this tool."""
    return {
        "plan": json.dumps({"tool": tool, "arguments": arguments}),
        "adapter_id": f"tool:{tool}",
        "mode": "apply",
    }


@dataclass(frozen=True, kw_only=True)
class Row:
    """A request, and its policy or the code that refuses it. `of` is the template that is recorded with it."""

    request: dict[str, Any]
    of: str | None = None
    policy: dict[str, Any] = field(default_factory=dict[str, Any])
    code: str | None = None


ROTATE, LIST, DELETE = plan("keys.rotate"), plan("keys.list"), plan("data.delete")
TWO = TEMPLATES["two-people"]
ROWS = {
    "an allowed call": Row(request={"plan": LIST, "mode": "apply"}, policy={"min_approvals": 1}),
    "an allowed call under a template": Row(
        request={"plan": LIST, "mode": "apply", "template_name": "two-people"}, of="two-people", policy=TWO
    ),
    "a call that needs a template": Row(
        request={"plan": ROTATE, "mode": "apply"}, of="two-people", policy=TWO
    ),
    "the same as a dry run": Row(request={"plan": ROTATE}, of="two-people", policy=TWO),
    "the template by its name": Row(
        request={"plan": ROTATE, "mode": "apply", "template_name": "two-people"}, of="two-people", policy=TWO
    ),
    "a stricter field": Row(
        request={"plan": ROTATE, "mode": "apply", "min_approvals": 4},
        of="two-people",
        policy={**TWO, "min_approvals": 4},
    ),
    "a stricter template": Row(
        request={"plan": ROTATE, "mode": "apply", "template_name": "three-people"},
        of="three-people",
        policy=TEMPLATES["three-people"],
    ),
    "two steps, one of them allowed": Row(
        request={"plan": plan("keys.list", "keys.rotate"), "mode": "apply"}, of="two-people", policy=TWO
    ),
    "an amount that one person may approve": Row(
        request={"plan": plan("money.send", amount=100), "mode": "apply"},
        of="one-person",
        policy=TEMPLATES["one-person"],
    ),
    "an amount for the owners": Row(
        request={"plan": plan("money.send", amount=101), "mode": "apply"},
        of="owners",
        policy=TEMPLATES["owners"],
    ),
    "a mode that needs nothing": Row(request={"plan": DELETE}, policy={"allowed_modes": ["dry_run"]}),
    "a mode that needs a template": Row(
        request={"plan": DELETE, "mode": "apply"}, of="owners", policy=TEMPLATES["owners"]
    ),
    "a label that needs a template": Row(
        request={"plan": plan("notes.write"), "mode": "apply", "labels": ["prod", "eu"]},
        of="two-people",
        policy={**TWO, "labels": ["prod", "eu"]},
    ),
    "a call without that label": Row(
        request={"plan": plan("notes.write"), "mode": "apply", "labels": ["eu"]}, policy={"labels": ["eu"]}
    ),
    "a guarded call": Row(
        request=guarded("Bash", command="git push"), of="one-person", policy=TEMPLATES["one-person"]
    ),
    "only the mode that the rules let pass": Row(
        request={"plan": plan("disk.wipe"), "mode": "apply", "allowed_modes": ["apply"]},
        of="two-people",
        policy={**TWO, "allowed_modes": ["apply"]},
    ),
    "a tool that no rule names": Row(
        request={"plan": plan("tax.pay"), "mode": "apply"}, code="DENIED_BY_RULE"
    ),
    "one denied step": Row(
        request={"plan": plan("keys.list", "tax.pay"), "mode": "apply"}, code="DENIED_BY_RULE"
    ),
    "steps that need different templates": Row(
        request={"plan": plan("keys.rotate", "data.delete"), "mode": "apply"}, code="RULES_DISAGREE"
    ),
    "an argument that is missing": Row(
        request={"plan": plan("money.send"), "mode": "apply"}, code="RULE_UNDECIDED"
    ),
    "an argument of another type": Row(
        request={"plan": plan("money.send", amount="100"), "mode": "apply"}, code="RULE_UNDECIDED"
    ),
    "no plan": Row(request={"mode": "apply"}, code="RULE_UNDECIDED"),
    "a text": Row(request={"plan": "Rotate all keys", "mode": "apply"}, code="RULE_UNDECIDED"),
    "fewer approvals": Row(
        request={"plan": ROTATE, "mode": "apply", "min_approvals": 1}, code="TEMPLATE_WEAKENED"
    ),
    "the requester as approver": Row(
        request={"plan": ROTATE, "mode": "apply", "allow_requester_approval": True}, code="TEMPLATE_WEAKENED"
    ),
    "more steps": Row(request={"plan": ROTATE, "mode": "apply", "max_steps": 9}, code="TEMPLATE_WEAKENED"),
    "other approvers": Row(
        request={"plan": DELETE, "mode": "apply", "approvers": ["alice", "mallory"]}, code="TEMPLATE_WEAKENED"
    ),
    "a lower assurance": Row(
        request={"plan": DELETE, "mode": "apply", "min_assurance": "local"}, code="TEMPLATE_WEAKENED"
    ),
    "a weaker template": Row(
        request={"plan": ROTATE, "mode": "apply", "template_name": "one-person"}, code="TEMPLATE_WEAKENED"
    ),
    "a template that is as strict in all fields but one": Row(
        request={"plan": DELETE, "mode": "apply", "template_name": "three-people"}, code="TEMPLATE_WEAKENED"
    ),
    "a mode beside it that the rules deny": Row(
        request={"plan": plan("disk.wipe"), "mode": "apply"}, code="DENIED_BY_RULE"
    ),
    "labels that the template brings": Row(
        request={"plan": plan("logs.drop"), "mode": "apply"}, code="TEMPLATE_WEAKENED"
    ),
    "a template that is not there": Row(
        request={"plan": plan("gone.run"), "mode": "apply"}, code="TEMPLATE_NOT_FOUND"
    ),
    "a guarded call of a tool that no rule names": Row(
        request=guarded("Write", path="/x"), code="DENIED_BY_RULE"
    ),
}
