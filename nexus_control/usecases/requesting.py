"""Requests an execution. The request is validated as a whole before its first event, and never changes afterwards.

A request with an idempotency key is made once. The same requester, key and content answer the decision that is there,
without another check, so that an interrupted caller just asks again. The content is all that was given but the expiry.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

from nexus_control.approvals import awaited, unattainable
from nexus_control.decision import require_future, require_may_withdraw, wrong_state
from nexus_control.errors import ErrorCode, NexusControlError, invalid_argument
from nexus_control.execution.router import AdapterDescriber, ObstacleFinder, PlanChecker, RouterProtocol
from nexus_control.log import head
from nexus_control.log.projection import Projection, request_key
from nexus_control.log.session import ReadSession, WriteSession
from nexus_control.policy import Policy, missing_capabilities, weaker_fields
from nexus_control.rules.book import RuleBook
from nexus_control.store import DecisionStore
from nexus_control.template import Template
from nexus_control.usecases import grouping
from nexus_control.usecases.answers import RequestData
from nexus_control.usecases.arguments import RequestArguments
from nexus_control.usecases.ruling import require_as_ruled, template_by_rules
from nexus_control.usecases.views import approval_view, authority_now
from nexus_control.values.actors import Actor
from nexus_control.values.groups import slot_words
from nexus_control.values.guarded import is_guarded
from nexus_control.values.instants import format_instant
from nexus_control.values.likely_names import without_capabilities
from nexus_control.values.payloads import (
    DecisionCreatedPayload,
    DecisionWithdrawnPayload,
    PolicyAttachedPayload,
)


def request(
    store: DecisionStore,
    arguments: RequestArguments,
    plan_checker: PlanChecker | None = None,
    rules: RuleBook | None = None,
) -> RequestData:
    """A new decision, pending approval; or the one that this idempotency key has made."""
    if arguments.idempotency_key is not None:
        with store.reading() as session:
            if (made := _made(session, arguments)) is not None:
                return _answer(store, session, made, is_new=False)
    # Before the transaction: a template never changes, and a plan checker may be slow, or read the store itself.
    template = _template(store, arguments.template_name) or template_by_rules(store, rules, arguments)
    created, attached = _opening(arguments, template)
    policy = Policy.of(attached)
    if rules is not None:
        with store.reading() as session:
            require_as_ruled(session, rules, created, attached, arguments.actor)
        attached = replace(attached, rules_digest=rules.digest)
    members = grouping.members_for(store, policy, attached.template_name)
    require_attainable(policy, arguments.actor, members)
    attached = replace(attached, approver_groups=members)
    _require_rehearsable(policy, arguments)
    warnings = list[str]()
    if arguments.require_rehearsal is not None and arguments.mode == "dry_run":
        warnings.append("require_rehearsal has no effect on a request for a dry run, which changes nothing")
    if template is not None and (weaker := weaker_fields(template.policy, policy)):
        warnings.append(
            f"It demands less than the template {template.name!r:.80}, which lets it: {', '.join(weaker)}"
        )
    if plan_checker is not None and arguments.adapter_id is not None:
        digest, found = _checked(plan_checker, arguments.adapter_id, arguments, policy)
        attached = replace(attached, adapter_digest=digest)
        warnings += found

    def work(session: WriteSession) -> RequestData:
        if (made := _made(session, arguments)) is not None:
            return _answer(store, session, made, is_new=False)
        expires = arguments.expires(session.now)
        require_future(expires, session.now, "expires_at")
        opening = (created, replace(attached, expires_at=format_instant(expires) if expires else None))
        superseded = _superseded(session, arguments)
        decision = session.create(arguments.actor, opening)
        if superseded is not None:
            reason = f"Superseded by {decision.decision_id}"
            session.append(superseded, arguments.actor, DecisionWithdrawnPayload(reason=reason))
        return _answer(store, session, decision, is_new=True, warnings=warnings)

    # A withdrawal is remembered beside the store, so that an older copy of it is noticed.
    with nullcontext() if arguments.supersedes is None else head.remembering(store):
        return store.write(work)


def _checked(
    checker: PlanChecker, adapter_id: str, arguments: RequestArguments, policy: Policy
) -> tuple[str | None, list[str]]:
    """The digest of the adapter, which takes the plan, and warnings. The digest is None where the checker cannot tell,
    and where the adapter is known to a worker alone.
    """
    try:
        checker.check_plan(adapter_id, arguments.plan, policy.max_steps)
    except NexusControlError as fault:
        if arguments.dispatch is None or fault.code is not ErrorCode.ADAPTER_UNKNOWN:
            raise
        return None, [f"Adapter {adapter_id} is not declared here: the worker is the first to check the plan"]
    warnings = list(_obstacles(checker, adapter_id, arguments))
    _require_capable(checker, adapter_id, policy)
    digest = checker.adapter_digest(adapter_id) if isinstance(checker, AdapterDescriber) else None
    return digest, warnings if arguments.dispatch is None else []


def made_with(store: DecisionStore, requester: Actor, idempotency_key: str) -> str | None:
    """The request that this requester made under an idempotency key; None if they made none."""
    with store.reading() as session:
        return session.rows.decision_of(request_key(requester, idempotency_key))


def _obstacles(checker: PlanChecker, adapter_id: str, arguments: RequestArguments) -> Iterator[str]:
    """Why the plan could not be started as things are here. Raises ROUTER_NOT_READY where that can never change: the
    request is bound to this declaration of the adapter.
    """
    if not isinstance(checker, ObstacleFinder):
        return
    obstacle = checker.obstacle_to(adapter_id, arguments.mode == "dry_run", arguments.plan)
    if obstacle is not None and obstacle.is_final:
        advice = "Ask for another mode, or name an adapter that has the capability; nothing was written."
        raise NexusControlError(ErrorCode.ROUTER_NOT_READY, obstacle.text, advice=advice)
    if obstacle is not None:
        yield f"As things are here, it could not be executed: {obstacle.text}"


def _require_capable(checker: PlanChecker, adapter_id: str, policy: Policy) -> None:
    """Raises ROUTER_NOT_READY for an adapter that is known to lack what the policy requires of it."""
    required = list(policy.require_adapter_capabilities)
    if not required or not isinstance(checker, RouterProtocol):
        return
    present = checker.get_adapter_capabilities(adapter_id)
    if present is not None and (missing := missing_capabilities(policy, present)):
        raise NexusControlError(
            ErrorCode.ROUTER_NOT_READY,
            without_capabilities(adapter_id, missing, present),
            {"required": required, "missing": list(missing), "capabilities": sorted(present)},
            advice="Require what the adapter has, or name an adapter that has all of it; nothing was written.",
        )


def _answer(
    store: DecisionStore,
    session: ReadSession,
    decision: Projection,
    *,
    is_new: bool,
    warnings: Sequence[str] = (),
) -> RequestData:
    facts, now = decision.facts, session.now
    authority = decision.authority if is_new else authority_now(store, session, decision, now)
    data: RequestData = {
        **approval_view(facts, now, authority),
        "created": is_new,
        "min_approvals": facts.policy.min_approvals if facts.policy else 0,
        "basis": decision.basis or "",
        "warnings": list(warnings),
    }
    attached = facts.attached.to_dict() if facts.attached else {}
    if attached.get("template_name") is not None:
        data["template_name"] = attached["template_name"]
        data["template_digest"] = attached["template_digest"]
        data["overrides_applied"] = attached["overrides_applied"]
    if "rules_digest" in attached:
        data["rules_digest"] = attached["rules_digest"]
    return data


def _opening(
    arguments: RequestArguments, template: Template | None
) -> tuple[DecisionCreatedPayload, PolicyAttachedPayload]:
    """The events of a request under this template, as far as they follow from what was given."""
    overrides = arguments.given()
    policy = _policy(arguments, template, overrides)
    created = DecisionCreatedPayload(
        goal=arguments.goal,
        plan=arguments.plan,
        requested_mode=arguments.mode,
        labels=policy.labels,
        idempotency_key=arguments.idempotency_key,
        metadata=arguments.metadata or None,
        supersedes=arguments.supersedes,
    )
    attached = PolicyAttachedPayload(
        **policy.fields(),
        **_template_fields(template, overrides),
        adapter_id=arguments.adapter_id,
        dispatch=arguments.dispatch,
    )
    return created, attached


def _made(session: ReadSession, arguments: RequestArguments) -> Projection | None:
    """The decision that this idempotency key has made; None if it has made no decision. Raises IDEMPOTENCY_CONFLICT.

    Where rules chose the template then, the same content has that template still, whatever the rules are now.
    """
    if arguments.idempotency_key is None:
        return None
    made = session.rows.decision_of(request_key(arguments.actor, arguments.idempotency_key))
    if made is None:
        return None
    decision = session.decision(made)
    opening = session.rows.entries("decision", made, decision.generation, 0, 2)
    before, template = decision.facts.attached, arguments.template_name
    if template is None and before is not None and before.rules_digest is not None:
        template = before.template_name
    now = _opening(arguments, None if template is None else session.template(template))
    differing = sorted(
        name
        for entry, payload in zip(opening, now, strict=False)
        for name in _differing(entry.payload, payload)
    )
    if differing:
        raise NexusControlError(
            ErrorCode.IDEMPOTENCY_CONFLICT,
            f"Request {made} was made with this idempotency key and other content: {', '.join(differing)}",
            {"request_id": made, "fields": differing},
        )
    return decision


def _differing(stored: str, given: DecisionCreatedPayload | PolicyAttachedPayload) -> list[str]:
    """The fields in which the stored payload is not what was given now. Expiry, digests and members are no part of the
    content: they depend on the time of the call, on the files of the adapter and of the rules, and on the groups that
    are configured.
    """
    before, now = json.loads(stored), given.to_dict()
    names = (before.keys() | now.keys()) - {"expires_at", "adapter_digest", "approver_groups", "rules_digest"}
    return [name for name in names if before.get(name) != now.get(name)]


def _superseded(session: WriteSession, arguments: RequestArguments) -> Projection | None:
    """The request that this one takes the place of, if it is still open. Raises DECISION_NOT_FOUND, NOT_REQUESTER or,
    while it is being executed, INVALID_STATE.
    """
    if arguments.supersedes is None:
        return None
    older = session.decision(arguments.supersedes)
    created = older.facts.created
    if created is None or created.requester != arguments.actor:
        raise NexusControlError(
            ErrorCode.NOT_REQUESTER, "Only its own requester may supersede a request", {"field": "supersedes"}
        )
    now = session.instant_of_verdict(older)
    if older.facts.phase == "executing":
        raise wrong_state(older.facts, now, "supersede")
    if older.facts.phase != "open":
        return None
    require_may_withdraw(older.facts, arguments.actor, now)
    return older


def require_attainable(
    policy: Policy, requester: Actor | None, members: Mapping[str, Sequence[str]] | None
) -> None:
    """Raises INVALID_ARGUMENT when even all who may approve are too few, or cannot fill the slots of groups: `members`
    are those of each group that the policy names, None where they are not known yet. Ids that look alike count once.
    """
    nobody, slots = unattainable(awaited(policy, members or {}, requester))
    if nobody:
        able = policy.min_approvals - nobody
        raise invalid_argument(
            "min_approvals",
            f"is {policy.min_approvals}, but only {able} {'person' if able == 1 else 'people'} may approve",
        )
    if slots and members is not None:
        raise invalid_argument(
            "required_from",
            f"can never be met by different people who may approve: {slot_words(slots)} would still be needed",
        )


def _require_rehearsable(policy: Policy, arguments: RequestArguments) -> None:
    """Raises INVALID_ARGUMENT for a request that could never have the rehearsal that its policy requires."""
    if policy.require_rehearsal is None or arguments.mode != "apply":
        return
    require_dry_runs(policy, arguments.template_name)
    if is_guarded(arguments.adapter_id):
        raise invalid_argument("require_rehearsal", "cannot be met: nobody can rehearse a guarded call")


def require_dry_runs(policy: Policy, template_name: str | None = None) -> None:
    """Raises INVALID_ARGUMENT for a policy that requires a rehearsal, and allows no dry run."""
    if policy.require_rehearsal is not None and not policy.allows_mode("dry_run"):
        where = f" in template {template_name}" if template_name else ""
        raise invalid_argument(
            "allowed_modes",
            f"must have dry_run, because require_rehearsal is set{where}: add dry_run, or require no rehearsal",
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
