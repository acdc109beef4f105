"""Promises of the whole flow: requested, approved, executed through the router, looked at, and proved."""

from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import Any

from nexus_control.audit_package import verify_audit_package
from nexus_control.errors import ErrorCode
from nexus_control.execution.contract.trial import Facade, Trial, counted, given, keep
from nexus_control.execution.router import RouterProtocol, RunExporter
from nexus_control.values.actors import Actor
from nexus_control.values.results import ToolResult

AGENT = Actor("system", "contract")
PERSON = Actor("human", "contract")


@contextmanager
def _approved(trial: Trial, plan: str) -> Generator[tuple[Facade, str]]:
    """The tools of a new store, and the id of a request in it that may be executed."""
    with closing(trial.make_tools()) as tools:
        asked = tools.request("Keep the contract", AGENT, "apply", plan, adapter_id=trial.adapter_id)
        request_id: str = asked.data["request_id"]
        tools.approve(request_id, PERSON).data  # noqa: B018 - raises the refusal, if it is one
        yield tools, request_id


def _execute(trial: Trial, tools: Facade, request_id: str, router: RouterProtocol) -> ToolResult[Any]:
    return tools.execute(request_id, trial.adapter_id, AGENT, router)


def a_decision_is_executed_once_and_its_proof_verifies(trial: Trial) -> None:
    router, before = trial.make_router(), trial.effects()
    with _approved(trial, trial.works) as (tools, request_id):
        executed = _execute(trial, tools, request_id, router)
        state = tools.status(request_id).data["state"]
        again = _execute(trial, tools, request_id, router)
        effects = trial.effects() - before
        kept = executed.success and not again.success and state == "completed" and effects == 1
        seen = f"{executed.error or 'it was executed'}; the state is {state}, with {counted(effects)}"
        keep(kept, seen, "Mend the promises of `run` first: its answer and its export decide the state.")
        named = tools.result(request_id).data["run_id"]
        keep(named == executed.data["run_id"], f"the result is of run {named!r}", "Answer the run's own id.")
        exported = router.export_run(named) if isinstance(router, RunExporter) else None
        package = tools.export_audit_package(request_id, exported is not None, exported)
        keep(package.success, f"there is no proof: {package.error}", "Export the very same run each time.")
        proof = verify_audit_package(package.data["package"])
        keep(proof.ok, f"the proof is {proof}", "Export the run with its own digest.")


def of_many_who_execute_one_runs(trial: Trial) -> None:
    router, before = trial.make_router(), trial.effects()
    with _approved(trial, trial.works) as (tools, request_id), ThreadPoolExecutor(2) as threads:
        racing = [threads.submit(_execute, trial, tools, request_id, router) for _ in range(2)]
        errors = [result.error for each in racing if not (result := each.result())]
    effects = trial.effects() - before
    seen = f"two executions at once had {counted(effects)}, and these errors: {errors}"
    keep(effects == 1, seen, "`run` is called once for a decision: carry its plan out once.")


def a_failed_decision_is_recorded_with_its_run(trial: Trial) -> None:
    with _approved(trial, trial.fails) as (tools, request_id):
        executed = _execute(trial, tools, request_id, trial.make_router())
        state = tools.status(request_id).data["state"]
    kept = executed.error_code == ErrorCode.ROUTER_ERROR and state == "failed" and executed.details["run_id"]
    seen = f"{executed.error or 'it was executed'}; the state is {state}"
    keep(bool(kept), seen, "Answer the failed run, with its id; where the run is exported, say FAILED there.")


def a_lost_decision_waits_for_a_person(trial: Trial) -> None:
    plan = given(trial.loses, "loses")
    with _approved(trial, plan) as (tools, request_id):
        executed = _execute(trial, tools, request_id, trial.make_router())
        state = tools.status(request_id).data["state"]
    kept = executed.error_code == ErrorCode.OUTCOME_UNKNOWN and state == "outcome_unknown"
    mend = "Raise RouterOutcomeUnknown; a person then finds out what was done, and records it."
    keep(kept, f"{executed.error or 'it was executed'}; the state is {state}", mend)


PROMISES = (
    a_decision_is_executed_once_and_its_proof_verifies,
    of_many_who_execute_one_runs,
    a_failed_decision_is_recorded_with_its_run,
    a_lost_decision_waits_for_a_person,
)
