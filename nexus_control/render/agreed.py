"""How far the approvals of a request have come, in the same words at the terminal and on pages.

It waits for 2 approvals, 1 of security      Of security: 1, 1 still needed, of alice, bob
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from nexus_control.lifecycle import counted
from nexus_control.render.decision import needed_of, verdict_text
from nexus_control.render.text import View, listed

_NOTHING: Final[View] = {}


def waits_for(reasons: Sequence[View]) -> str | None:
    """`It waits for 2 approvals, 1 of security`; None where something else than approvals comes first."""
    if not reasons or reasons[0]["code"] != "MISSING_APPROVALS":
        return None
    details: View = reasons[0]["details"]
    return f"It waits for {counted(details['missing'], 'approval')}{needed_of(details)}"


def standing_lines(reasons: Sequence[View]) -> Iterator[str]:
    """What keeps the request from being executed: the first reason in words, then the others with their codes."""
    waits = waits_for(reasons)
    yield f"{waits}." if waits else verdict_text(reasons)
    yield from (f"and {reason['code']}: {reason['message']}" for reason in reasons[1:])


def group_lines(view: View) -> Iterator[str]:
    """For each group that the policy names: how many it needs, how many it still needs, and of whom. `view` is what
    `inspect` answers.
    """
    needed: Mapping[str, int] = (view["policy"] and view["policy"].get("required_from")) or _NOTHING
    reasons = view["lifecycle"]["blocking_reasons"]
    lacking: View = next(
        (each["details"]["groups"] for each in reasons if "groups" in each["details"]), _NOTHING
    )
    members: View = view["decision"].get("approver_groups", _NOTHING)
    for group, count in needed.items():
        still = f", {lacking[group]} still needed" if group in lacking else ""
        yield f"Of {group}: {count}{still}, of {listed(members.get(group, ()))}"


def not_of_each_group(line: View) -> str:
    """Behind the number of approvals in a list: `, not of each group`, where those of a group are missing."""
    return "" if line.get("groups_filled", True) else ", not of each group"
