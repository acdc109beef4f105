"""The question that a host puts to a person: all that an approver must know, as Markdown that also reads as text.

The same request, and the same rehearsal of it, always gives the same question, so a client that is asked twice
recognises it. The text does not depend on the clock or on other approvals.
"""

from collections.abc import Iterator

from nexus_control.render.decision import imported_text
from nexus_control.render.policy import policy_lines, template_lines
from nexus_control.render.rehearsed import COVERED, rehearsal_lines
from nexus_control.render.results import step_lines
from nexus_control.render.text import View, bullet, code_block, escape, listed, page
from nexus_control.render.will_run import will_run_lines
from nexus_control.values.actors import Actor


def render_question(view: View, approver: Actor, expires_at: str | None) -> str:
    """The question whether `approver` approves. `view` holds `decision`, `template`, `will_run` and `basis` as in the
    answer of `inspect`; at `expires_at` the approval would end. `rehearsed` is the execution that the approval covers,
    where the policy requires one.
    """
    plan: str | None = view["decision"]["plan"]
    template = view["template"]
    return page(
        f"Do you, {escape(str(approver))}, approve this request? Others rely on your answer; it is recorded as yours.",
        "\n".join(_facts(view, expires_at)),
        "\n".join(["Its policy:\n", *_policy(view["decision"])]),
        *(["\n".join(["The template of that policy:\n", *template_lines(template)])] if template else []),
        "Plan: (none)" if plan is None else f"Plan, in full:\n\n{code_block(plan)}",
        "\n".join(["What will run:\n", *will_run_lines(view["decision"], view["will_run"])]),
        *(["\n".join(_rehearsed(view))] if view["rehearsed"] else []),
    )


def _policy(decision: View) -> Iterator[str]:
    return policy_lines(decision["policy"], decision.get("approver_groups"))


def _rehearsed(view: View) -> Iterator[str]:
    """What the last rehearsal gave back, whole: the approval covers it."""
    yield f"{COVERED}, whole:\n"
    yield from rehearsal_lines(view["decision"]["rehearsal"])
    yield from step_lines(view["rehearsed"]["results"] or (), whole=True)


def _facts(view: View, expires_at: str | None) -> Iterator[str]:
    decision = view["decision"]
    requester = decision["requester"]
    yield bullet("Goal", decision["goal"])
    yield bullet("Mode", decision["requested_mode"])
    yield bullet("Requested by", f"{requester['type']}:{requester['id']}")
    yield bullet("Labels", listed(decision["labels"]))
    yield bullet("The request ends", decision["expires_at"] or "never")
    if expires_at:
        yield bullet("Your approval would end", expires_at)
    if imported := decision.get("imported"):
        yield bullet("Imported, not requested here", imported_text(imported))
    yield bullet("Request id", decision["decision_id"])
    yield bullet("Basis", view["basis"])
