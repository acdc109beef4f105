"""Requests an execution. The request is validated as a whole before its first event, and never changes afterwards."""

from collections.abc import Mapping
from typing import Any

from nexus_control.decision import require_future
from nexus_control.errors import invalid_argument
from nexus_control.execution.router import PlanChecker
from nexus_control.policy import Policy
from nexus_control.store import DecisionStore
from nexus_control.template import Template
from nexus_control.usecases.answers import RequestData
from nexus_control.usecases.arguments import RequestArguments
from nexus_control.usecases.views import approval_view
from nexus_control.values.instants import format_instant
from nexus_control.values.lookalikes import skeleton
from nexus_control.values.payloads import DecisionCreatedPayload, PolicyAttachedPayload


def request(
    store: DecisionStore, arguments: RequestArguments, plan_checker: PlanChecker | None = None
) -> RequestData:
    """A new decision, pending approval."""
    # Before the transaction: a template never changes, and a plan checker may be slow, or read the store itself.
    template = _template(store, arguments.template_name)
    overrides = arguments.given()
    policy = _policy(arguments, template, overrides)
    require_attainable(policy, arguments.actor.id)
    adapter_digest = None
    if plan_checker is not None and arguments.adapter_id is not None:
        plan_checker.check_plan(arguments.adapter_id, arguments.plan, policy.max_steps)
        adapter_digest = plan_checker.adapter_digest(arguments.adapter_id)
    created = DecisionCreatedPayload(
        goal=arguments.goal,
        plan=arguments.plan,
        requested_mode=arguments.mode,
        labels=policy.labels,
    )
    attached = PolicyAttachedPayload(
        **policy.fields(),
        **_template_fields(template, overrides),
        expires_at=format_instant(arguments.expires_at) if arguments.expires_at else None,
        adapter_id=arguments.adapter_id,
        adapter_digest=adapter_digest,
    )
    with store.writing() as session:
        require_future(arguments.expires_at, session.now, "expires_at")
        decision = session.create(arguments.actor, (created, attached))
        standing = approval_view(decision.facts, session.now, decision.authority)
    data: RequestData = {
        **standing,
        "min_approvals": policy.min_approvals,
        "basis": decision.basis or "",
    }
    if template is not None:
        data["template_name"] = template.name
        data["template_digest"] = template.digest
        data["overrides_applied"] = attached.to_dict()["overrides_applied"]
    return data


def require_attainable(policy: Policy, requester_id: str | None) -> None:
    """Raises INVALID_ARGUMENT when even all eligible approvers are too few. Ids that look alike count once."""
    if not policy.approvers:
        return
    eligible = {skeleton(approver) for approver in policy.approvers}
    if requester_id is not None and not policy.allow_requester_approval:
        eligible.discard(skeleton(requester_id))
    if len(eligible) < policy.min_approvals:
        raise invalid_argument(
            "min_approvals", f"is {policy.min_approvals}, but only {len(eligible)} people may approve"
        )


def _template(store: DecisionStore, name: str | None) -> Template | None:
    if name is None:
        return None
    with store.reading() as session:
        return session.template(name)


def _policy(
    arguments: RequestArguments, template: Template | None, overrides: Mapping[str, object]
) -> Policy:
    if template is not None:
        policy = template.policy_with(overrides)
    else:
        modes = ("dry_run", "apply") if arguments.mode == "apply" else ("dry_run",)
        policy = Policy().overridden({"allowed_modes": modes, **overrides})
    if not policy.allows_mode(arguments.mode):
        allowed = ", ".join(policy.allowed_modes)
        raise invalid_argument("mode", f"{arguments.mode} is not in allowed_modes ({allowed})")
    return policy


def _template_fields(template: Template | None, overrides: Mapping[str, object]) -> dict[str, Any]:
    if template is None:
        return {}
    return {
        "template_name": template.name,
        "template_snapshot": template.to_snapshot(),
        "template_digest": template.digest,
        "overrides_applied": dict(overrides),
    }
