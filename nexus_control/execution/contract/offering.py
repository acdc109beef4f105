"""Promises of the optional protocols. Each is skipped where the router does not have the protocol.

Runs are found, and never run twice, by the execution that they are in: `current().execution_id`.
"""

import re
from collections.abc import Callable
from typing import TypeVar
from unittest import SkipTest

from nexus_control.audit_package import router_bundle_digest
from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.evidence.run_bundle import run_bundle_digest
from nexus_control.execution.contract.trial import (
    UNKNOWN_ADAPTER,
    Trial,
    attempt,
    counted,
    given,
    has_a_good_run,
    keep,
    new_execution,
)
from nexus_control.execution.router import (
    REFUSALS,
    AdapterDescriber,
    KnownRun,
    ObstacleFinder,
    PlanChecker,
    PlanDescriber,
    ReadinessChecker,
    RunExporter,
    RunFinder,
    RunPreparer,
)
from nexus_control.execution.signs import at, meaning
from nexus_control.integrity import prefixed

P = TypeVar("P")


def _offering(router: object, protocol: type[P], method: str) -> P:
    if not isinstance(router, protocol):
        raise SkipTest(f"the router has no `{method}`")
    return router


def _enter_and_leave(preparer: RunPreparer, adapter_id: str, plan: str) -> None:
    with preparer.prepared(adapter_id, False, plan):
        pass


def _code_raised(call: Callable[[], object]) -> ErrorCode | None:
    try:
        call()
    except NexusControlError as fault:
        return fault.code
    return None


def an_export_is_of_the_run_that_is_named(trial: Trial) -> None:
    router = trial.make_router()
    exporter = _offering(router, RunExporter, "export_run")
    ids = [has_a_good_run(attempt(trial, router, trial.works)) for _ in range(2)]
    for run_id in ids:
        bundle = exporter.export_run(run_id)
        named = at(bundle, "run", "run_id")
        keep(
            named == run_id, f"the export of {run_id!r} is of {named!r:.300}", "Export the run that is named."
        )


def an_export_matches_its_digest(trial: Trial) -> None:
    router = trial.make_router()
    exporter = _offering(router, RunExporter, "export_run")
    bundle = exporter.export_run(has_a_good_run(attempt(trial, router, trial.works)))
    declared, mend = (
        router_bundle_digest(bundle),
        "Make it with `nexus_control.evidence.run_bundle.make_run_bundle`.",
    )
    if _code_raised(lambda: run_bundle_digest(bundle)):
        raise AssertionError(f"the export has no `run` and `events` of JSON. {mend}")
    found = prefixed(run_bundle_digest(bundle))
    keep(declared == found, f"the export declares the digest {declared}, and its content has {found}", mend)


def an_export_tells_how_the_run_ended(trial: Trial) -> None:
    router = trial.make_router()
    exporter = _offering(router, RunExporter, "export_run")
    for plan, ended in ((trial.works, "completed"), (trial.fails, "failed")):
        tried = attempt(trial, router, plan)
        if tried.run_id is not None:
            status = at(exporter.export_run(tried.run_id), "run", "status")
            mend = f"Let `run.status` say {ended.upper()}: the export has the last word."
            keep(
                meaning(status) == ended,
                f"the export of a run that {ended} has the status {status!r:.300}",
                mend,
            )


def a_run_that_is_not_there_is_not_exported(trial: Trial) -> None:
    exporter = _offering(trial.make_router(), RunExporter, "export_run")
    code = _code_raised(lambda: exporter.export_run(new_execution().request_id))
    keep(code == ErrorCode.ROUTER_RUN_NOT_FOUND, f"it raised {code}", "Raise ROUTER_RUN_NOT_FOUND.")


def the_digest_of_an_adapter_is_stable(trial: Trial) -> None:
    routers = [_offering(trial.make_router(), AdapterDescriber, "adapter_digest") for _ in range(2)]
    digests = [router.adapter_digest(trial.adapter_id) for router in routers for _ in range(2)]
    same = len(set(digests)) == 1 and (
        digests[0] is None or bool(re.fullmatch("sha256:[0-9a-f]{64}", digests[0]))
    )
    mend = "Answer sha256:<hex> of the declaration in canonical JSON; it is compared again before each execution."
    keep(same, f"the digests of one declaration are {list(dict.fromkeys(digests))}", mend)


def another_declaration_has_another_digest(trial: Trial) -> None:
    router = _offering(trial.make_router(), AdapterDescriber, "adapter_digest")
    if trial.make_changed_router is None:
        raise SkipTest("the trial has no `make_changed_router`")
    digest = router.adapter_digest(trial.adapter_id)
    changed = _offering(trial.make_changed_router(), AdapterDescriber, "adapter_digest")
    differs = digest is not None and changed.adapter_digest(trial.adapter_id) != digest
    keep(differs, f"both digests are {digest}", "Put all that decides what a plan does into the declaration.")


def a_plan_that_works_is_taken_and_not_run(trial: Trial) -> None:
    router, before = trial.make_router(), trial.effects()
    if not isinstance(router, PlanChecker | ReadinessChecker | ObstacleFinder):
        raise SkipTest("the router has none of `check_plan`, `require_ready`, `obstacle_to`")
    mend = "Refuse only what `run` would refuse."
    try:
        if isinstance(router, PlanChecker):
            router.check_plan(trial.adapter_id, trial.works, None)
        if isinstance(router, ReadinessChecker):
            router.require_ready(trial.adapter_id, False, trial.works)
    except NexusControlError as fault:
        raise AssertionError(f"`works` is refused: {fault}. {mend}") from fault
    if isinstance(router, ObstacleFinder):
        obstacle = router.obstacle_to(trial.adapter_id, False, trial.works)
        keep(obstacle is None, f"there is an obstacle to `works`: {obstacle}", mend)
    effects = trial.effects() - before
    keep(effects == 0, f"asking about a plan had {counted(effects)}", "Only look: nothing is approved yet.")


def a_plan_that_is_refused_is_not_run(trial: Trial) -> None:
    plan, router = given(trial.refuses, "refuses"), trial.make_router()
    checker = _offering(router, PlanChecker, "check_plan")
    code = _code_raised(lambda: checker.check_plan(trial.adapter_id, plan, None))
    keep(
        code == ErrorCode.PLAN_INVALID,
        f"for `refuses` it raised {code}",
        "Raise PLAN_INVALID in `check_plan`.",
    )
    tried = attempt(trial, router, plan)
    kept = tried.outcome == "failed" and tried.effects == 0
    mend = "Let `run` make the same check before its first step."
    keep(kept, f"`check_plan` refuses `refuses`; it had {counted(tried.effects)}, and {tried.seen}", mend)


def an_unknown_adapter_is_refused_before_the_claim(trial: Trial) -> None:
    router = trial.make_router()
    checker = _offering(router, PlanChecker, "check_plan")
    code = _code_raised(lambda: checker.check_plan(UNKNOWN_ADAPTER, trial.works, None))
    keep(code == ErrorCode.ADAPTER_UNKNOWN, f"`check_plan` raised {code}", "Raise ADAPTER_UNKNOWN.")


def a_run_that_cannot_begin_is_refused_with_a_code(trial: Trial) -> None:
    ready = _offering(trial.make_router(), ReadinessChecker, "require_ready")
    code = _code_raised(lambda: ready.require_ready(UNKNOWN_ADAPTER, False, trial.works))
    listed = ", ".join(sorted(REFUSALS))
    keep(code is None or code in REFUSALS, f"`require_ready` raised {code}", f"Raise one of {listed}.")


def a_prepared_run_does_what_a_run_does(trial: Trial) -> None:
    router = trial.make_router()
    preparer = _offering(router, RunPreparer, "prepared")
    alone = attempt(trial, router, trial.works)
    has_a_good_run(alone)
    mend, before = "Only get ready in `prepared`, and let go of it when its block ends.", trial.effects()
    try:
        _enter_and_leave(preparer, trial.adapter_id, trial.works)  # as where the claim is refused
        early = trial.effects() - before
        with preparer.prepared(trial.adapter_id, False, trial.works):
            tried = attempt(trial, router, trial.works)
    except NexusControlError as fault:
        raise AssertionError(f"`works` is refused: {fault}. {mend}") from fault
    keep(early == 0, f"getting ready had {counted(early)}", mend)
    effects = trial.effects() - before
    seen = f"a run in the block had {counted(effects)}, and {tried.seen}"
    keep(tried.outcome == "completed" and effects == alone.effects, seen, mend)


def what_is_not_ready_is_not_prepared(trial: Trial) -> None:
    router = trial.make_router()
    preparer = _offering(router, RunPreparer, "prepared")
    code = _code_raised(lambda: _enter_and_leave(preparer, UNKNOWN_ADAPTER, trial.works))
    mend = "`execute` asks `prepared` alone: raise there, before the block, what `require_ready` raises."
    if isinstance(router, ReadinessChecker):
        ready = _code_raised(lambda: router.require_ready(UNKNOWN_ADAPTER, False, trial.works))
        keep(code == ready, f"`require_ready` raised {ready}, and `prepared` {code}", mend)
    else:
        keep(code is None or code in REFUSALS, f"`prepared` raised {code}", mend)


def a_description_has_every_step(trial: Trial) -> None:
    router = trial.make_router()
    describer = _offering(router, PlanDescriber, "describe")
    described = describer.describe(trial.adapter_id, trial.works)
    tried = attempt(trial, router, trial.works)
    has_a_good_run(tried)
    steps = tried.report.steps_executed
    mend = "Describe each step that `run` executes: people approve what they see."
    keep(len(described) == steps, f"{len(described)} steps were described, and {steps} run", mend)


def a_run_is_found_by_its_request(trial: Trial) -> None:
    router, execution = trial.make_router(), new_execution()
    _offering(router, RunFinder, "runs_of")
    run_id = has_a_good_run(attempt(trial, router, trial.works, execution=execution))
    attempt(trial, router, trial.works)  # of another request
    found = _found(trial, execution.request_id)
    kept = [(run.run_id, run.execution_id, run.has_ended) for run in found]
    expected = [(run_id, execution.execution_id, True)]
    mend = "Keep `current().execution_id` with each run, where another process finds it."
    keep(kept == expected, f"a new router found {kept!r:.300}, not {expected}", mend)
    nothing = _found(trial, new_execution().request_id)
    keep(
        nothing == (),
        f"a request without a run has {nothing!r:.300}",
        "Answer the runs of this request only.",
    )


def a_lost_run_is_found_by_its_request(trial: Trial) -> None:
    router, execution = trial.make_router(), new_execution()
    _offering(router, RunFinder, "runs_of")
    tried = attempt(trial, router, given(trial.loses, "loses"), execution=execution)
    found = [run.execution_id for run in _found(trial, execution.request_id)]
    mend = "Send `current().execution_id` before the effect, so that a run whose answer was lost is found."
    keep(
        found == [execution.execution_id],
        f"{tried.seen}; a new router found the executions {found!r:.300}",
        mend,
    )


def _found(trial: Trial, request_id: str) -> tuple[KnownRun, ...]:
    return _offering(trial.make_router(), RunFinder, "runs_of").runs_of(request_id)


def an_execution_is_not_run_twice(trial: Trial) -> None:
    router, execution = trial.make_router(), new_execution()
    _offering(router, RunFinder, "runs_of")
    first = attempt(trial, router, trial.works, execution=execution)
    run_id = has_a_good_run(first)
    again = attempt(trial, trial.make_router(), trial.works, execution=execution)
    kept = again.effects == 0 and (again.error is not None or again.run_id == run_id)
    mend = "Use `current().execution_id` as the idempotency key: answer the same run again, or raise."
    keep(kept, f"the second run of one execution had {counted(again.effects)}, and {again.seen}", mend)


PROMISES = (
    an_export_is_of_the_run_that_is_named,
    an_export_matches_its_digest,
    an_export_tells_how_the_run_ended,
    a_run_that_is_not_there_is_not_exported,
    the_digest_of_an_adapter_is_stable,
    another_declaration_has_another_digest,
    a_plan_that_works_is_taken_and_not_run,
    a_plan_that_is_refused_is_not_run,
    an_unknown_adapter_is_refused_before_the_claim,
    a_run_that_cannot_begin_is_refused_with_a_code,
    a_prepared_run_does_what_a_run_does,
    what_is_not_ready_is_not_prepared,
    a_description_has_every_step,
    a_run_is_found_by_its_request,
    a_lost_run_is_found_by_its_request,
    an_execution_is_not_run_twice,
)
