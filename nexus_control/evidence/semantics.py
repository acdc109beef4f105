"""Did the approved request run, and only that? Checks over a bundle's replayed events, and over its run, if any.

    policy_satisfied      at each EXECUTION_REQUESTED enough approvals of eligible people counted, neither expired nor
                          revoked then, nor of another rehearsal than the last, where the policy requires one; different
                          members of the recorded groups filled all slots of the policy at once; the request had not
                          expired; the plan was not longer than allowed
    approvals_distinct    no two approvers who counted have ids that look alike by letters of another script; other ids
                          that look alike, or that a new request would refuse, are named as `info`
    mode_consistent       the dispatched mode was requested and allowed, and the run states the same mode
    single_execution      at most one dispatch was not a rehearsal
    request_digest        the router was asked for exactly the approved request
    link_digest           the link's digest is recomputed from decision, run, request and result
    router_result         the run that the package names or holds is the run that the events record
    router_digest_recomputed
                          an embedded run bundle of a known shape has the digest that it declares
    separation_of_duties  where the policy forbids it, the requester did not approve; where it allows it, `info` tells

Expiry and revocation are judged at the `ts` of EXECUTION_REQUESTED, never now. `router_result` and
`router_digest_recomputed` are about the run that a package binds to the bundle. The decision of a package was always
executed. A bundle may hold a decision in any state; without an execution, the checks of it are `info`.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

from nexus_control.approvals import Approval
from nexus_control.audit_package import PackageRouter, router_bundle_digest
from nexus_control.blocking import Attempt, BlockingReason, attempt_reasons
from nexus_control.bundle import DecisionBundle, compute_link_digest
from nexus_control.bundle_parts import settled_run
from nexus_control.events import EventType
from nexus_control.evidence.bundle_checks import History
from nexus_control.evidence.report import Check, Finding, compared, failed, judged, noted, passed, skipped
from nexus_control.evidence.run_bundle import run_bundle_digest
from nexus_control.facts import Execution, Facts
from nexus_control.integrity import bare, json_digest, prefixed
from nexus_control.lifecycle import counted
from nexus_control.values.actors import new_id_problem
from nexus_control.values.instants import parse_instant
from nexus_control.values.lookalikes import letters_of_other_scripts, skeleton


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A bundle, the replay of its events, and the run that a package binds to it."""

    bundle: DecisionBundle
    history: History
    router: PackageRouter | None = None

    @property
    def facts(self) -> Facts:
        return self.history.decision.facts

    def before(self, execution: Execution) -> Facts:
        """The facts on which this execution was dispatched."""
        return self.history.dispatched[execution.seq]

    def counted(self, execution: Execution) -> tuple[Approval, ...]:
        """The approvals that counted when this execution was dispatched."""
        return self.before(execution).active_approvals(parse_instant(execution.requested_at))


def semantic_checks(case: Case) -> Iterator[Check]:
    """Every check above."""
    for name, judge in _CHECKS.items():
        yield judged(name, partial(judge, case))
    if (router := case.router) is not None:
        yield judged("router_result", lambda: _router_result(case, router))
        yield judged("router_digest_recomputed", lambda: _router_digest_recomputed(router))


def _nothing_executed(case: Case) -> Finding:
    said = "nothing was executed"
    return noted(said) if case.router is None else failed(said)


def _reasons(case: Case, execution: Execution) -> tuple[BlockingReason, ...]:
    """Why this execution should not have been dispatched. Facts that only the executor knew are taken on its word."""
    facts = case.before(execution)
    bound, cover = facts.attached, facts.progress.cover
    attempt = Attempt(
        adapter_id=execution.adapter_id,
        dry_run=execution.dry_run,
        capabilities=facts.policy.require_adapter_capabilities if facts.policy else (),
        adapter_digest=(bound and bound.adapter_digest) or (cover and cover.adapter_digest),
        by_worker=True,
    )
    return attempt_reasons(facts, parse_instant(execution.requested_at), attempt)


def _policy_satisfied(case: Case) -> Finding:
    executions = case.facts.progress.executions
    for execution in executions:
        found = [each.message for each in _reasons(case, execution) if each.code != "MODE_NOT_ALLOWED"]
        if found:
            return failed(f"event {execution.seq} dispatched a blocked request: {'; '.join(found)}")
    if case.facts.linked_execution is None:
        return _nothing_executed(case)
    limit = case.facts.policy.max_steps if case.facts.policy else None
    longest = max(_steps(case), default=0)
    if limit is not None and longest > limit:
        return failed("more steps than the policy allows", expected=f"at most {limit}", actual=longest)
    return passed(
        f"{counted(len(case.counted(case.facts.linked_execution)), 'approval')} counted at dispatch"
    )


def _steps(case: Case) -> Iterator[int]:
    """The numbers of steps that the plan and the runs are known to have had."""
    yield from (
        each.steps_executed for each in case.facts.progress.executions if each.steps_executed is not None
    )
    try:
        plan: object = json.loads((case.facts.created.plan if case.facts.created else None) or "null")
    except (ValueError, RecursionError):
        return
    if isinstance(plan, list):
        yield len(cast("list[object]", plan))


def _approvals_distinct(case: Case) -> Finding:
    execution = case.facts.linked_execution
    people = [each.actor.id for each in case.counted(execution)] if execution else []
    if alike := _alike(people, letters_of_other_scripts):
        return failed("two approvers look alike", expected=alike[0], actual=ascii(alike[1]))
    if alike := _alike(people, skeleton):
        return noted(f"two approvers look alike: {alike[0]!a} and {alike[1]!a}")
    for person in people:
        if problem := new_id_problem(person):
            return noted(f"the id {person!a} {problem}")
    return passed()


def _alike(people: Sequence[str], look: Callable[[str], str]) -> tuple[str, str] | None:
    """The first two people whose ids look the same, if any."""
    seen: dict[str, str] = {}
    for person in people:
        other = seen.setdefault(look(person), person)
        if other != person:
            return other, person
    return None


def _mode_consistent(case: Case) -> Finding:
    for execution in case.facts.progress.executions:
        found = [each.message for each in _reasons(case, execution) if each.code == "MODE_NOT_ALLOWED"]
        if found:
            return failed(f"event {execution.seq}: {found[0]}")
    execution, said = case.facts.linked_execution, _run_of(case).get("mode")
    if execution is None or said is None:
        return passed()
    dispatched = "dry_run" if execution.dry_run else "apply"
    return compared(dispatched, said, "the run says another mode than was dispatched")


def _single_execution(case: Case) -> Finding:
    created = case.facts.created
    real = [
        event.seq
        for event in case.history.decision.events
        if event.event_type is EventType.EXECUTION_REQUESTED
        and (event.payload.get("dry_run") is False or (created and created.requested_mode == "dry_run"))
    ]
    if len(real) > 1:
        return failed("dispatched more than once", actual=f"events {real[:10]}")
    return passed()


def _request_digest(case: Case) -> Finding:
    created, policy = case.facts.created, case.facts.policy
    for execution in case.facts.progress.executions:
        if case.router is None and execution.started_at is None and execution.outcome != "completed":
            continue  # the execution ended before the router was asked
        if execution.request_digest is None or created is None or policy is None:
            return failed(f"no event records what event {execution.seq} asked of the router")
        asked = policy.compile_to_router_request(
            created.goal, created.plan, execution.adapter_id, execution.dry_run
        )
        check = compared(
            json_digest(asked), execution.request_digest, "the router was asked for something else"
        )
        if check.status == "fail":
            return check
    return passed()


def _link_digest(case: Case) -> Finding:
    link = case.bundle.router_link
    if case.router is None and link.control_router_link_digest is None:
        return noted("no run with a result is linked")
    request, result, run_id = link.router_request_digest, link.router_result_digest, link.run_id
    if request is None or result is None or run_id is None:
        return failed("the link names no run, request or result")
    decision_id = case.bundle.decision.decision_id
    recomputed = compute_link_digest(decision_id, run_id, bare(request), bare(result))
    return compared(
        recomputed, link.control_router_link_digest, "the link's digest is not that of its fields"
    )


def _router_result(case: Case, router: PackageRouter) -> Finding:
    execution = case.facts.linked_execution
    run_here = settled_run(case.history.decision)
    if execution is None or run_here is None or run_here.result is None:
        return failed("the events record no result")
    recorded = execution.router_bundle_digest or prefixed(run_here.result)
    if recorded != router.digest:
        return failed("this is not the run that was recorded", expected=recorded, actual=router.digest)
    created, run = case.facts.created, _run_of(case)
    expected = {"run_id": run_here.run_id, "goal": created.goal if created else None}
    for field, value in expected.items():
        if field in run and run[field] != value:
            return failed(f"the run has another {field}", expected=value, actual=run[field])
    if run_here.evidence is not None:
        return noted(f"no run is known: a person reconciled the execution, because: {run_here.evidence:.500}")
    return passed()


def _router_digest_recomputed(router: PackageRouter) -> Finding:
    bundle = router.bundle
    if bundle is None:
        return passed("the run is referred to by its digest")
    match bundle:
        case {"digests": _} | {"run": _} | {"events": _}:
            pass
        case _:
            return skipped("the shape of the run bundle is not known")
    recomputed = prefixed(run_bundle_digest(bundle))
    return compared(router_bundle_digest(bundle), recomputed, "the run bundle's content was changed")


def _separation_of_duties(case: Case) -> Finding:
    created, execution = case.facts.created, case.facts.linked_execution
    if created is None or execution is None or case.facts.policy is None:
        return _nothing_executed(case)
    at = parse_instant(execution.requested_at)
    before = case.before(execution)
    approved = {each.actor.key for each in before.progress.approvals if before.is_current(each, at)}
    if created.requester.key in approved:
        if not case.facts.policy.allow_requester_approval:
            return failed("the requester approved, which the policy forbids")
        return noted("the requester is one of the approvers, as the policy allows")
    if execution.actor.key in approved:
        return noted("the executor is one of the approvers")
    return passed()


_CHECKS: dict[str, Callable[[Case], Finding]] = {
    "policy_satisfied": _policy_satisfied,
    "approvals_distinct": _approvals_distinct,
    "mode_consistent": _mode_consistent,
    "single_execution": _single_execution,
    "request_digest": _request_digest,
    "link_digest": _link_digest,
    "separation_of_duties": _separation_of_duties,
}


def _run_of(case: Case) -> Mapping[str, Any]:
    """The part `run` of an embedded run bundle of a known shape; otherwise empty."""
    bundle = case.router.bundle if case.router is not None else None
    run = (bundle or {}).get("run")
    return cast("dict[str, Any]", run) if isinstance(run, dict) else {}
