"""The question that a host puts to a person: all that an approver must know, as Markdown that also reads as text.

It is the same for the same request, so that a client which is asked twice knows the question again: nothing in it
depends on the clock or on what others have done meanwhile.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from nexus_control.actors import Actor
from nexus_control.render.text import bullet, code_block, counted, escape, listed, page


def render_question(decision: Mapping[str, Any], approver: Actor, expires_at: str | None) -> str:
    """Whether `approver` approves; `decision` is as `status` shows it, `expires_at` when the approval would end."""
    plan: str | None = decision["plan"]
    return page(
        f"Do you, {escape(str(approver))}, approve this request? Others rely on your answer; it is recorded as yours.",
        "\n".join(_facts(decision, expires_at)),
        "Plan: (none)" if plan is None else f"Plan, in full:\n\n{code_block(plan)}",
    )


def _facts(decision: Mapping[str, Any], expires_at: str | None) -> Iterator[str]:
    requester, policy = decision["requester"], decision["policy"]
    yield bullet("Goal", decision["goal"])
    yield bullet("Mode", decision["requested_mode"])
    yield bullet("Requested by", f"{requester['type']}:{requester['id']}")
    yield bullet("Adapter", decision["adapter_id"])
    yield bullet("Needs", counted(policy["min_approvals"], "approval"))
    yield bullet("Labels", listed(decision["labels"]))
    if decision["expires_at"]:
        yield bullet("The request ends", decision["expires_at"])
    if expires_at:
        yield bullet("Your approval would end", expires_at)
    yield bullet("Request id", decision["decision_id"])
