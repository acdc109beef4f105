"""One run of the embedded router: its state, the events that its log gets, and its answer.

A run's records are inside the canonical domain, and the answer holds no time. The answer has the shape of
nexus-router's answer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, cast

from nexus_control.execution.adapter import Adapter, StepError, StepResult
from nexus_control.execution.plan import Step
from nexus_control.execution.router import RouterOutcomeUnknown, RunStopped
from nexus_control.execution.run_log import OpenRun, RunEvent

RunMode: TypeAlias = Literal["dry_run", "apply"]


class RunError(Exception):
    """The reason why a run failed, or was refused before its first step."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(slots=True)
class Run:
    """A run that is under way: its request, its log, and the steps done so far."""

    log: OpenRun
    mode: RunMode
    adapter_id: str
    adapter: Adapter | None
    steps: tuple[Step, ...] = ()
    plan: Sequence[Mapping[str, object]] = ()
    """The steps as the records hold them."""
    results: list[dict[str, object]] = field(default_factory=list[dict[str, object]])


def require_known(run: Run, result: StepResult, error: RunError) -> None:
    """Logs and raises that the outcome is unknown, where this step was cut off. A run that was cancelled has failed."""
    if result.status == "unknown" and result.error_code is not StepError.CANCELLED:
        run.log.append(("RUN_FAILED", {"outcome": "unknown", "reason": error.code, "message": error.message}))
        kind = RunStopped if result.error_code is StepError.STOPPED else RouterOutcomeUnknown
        raise kind(error.message, run.log.run_id)


def failure_of(result: StepResult) -> dict[str, str]:
    """Code and message of a step that is not ok."""
    code = result.error_code or StepError.STEP_FAILED
    return {"code": str(code), "message": result.error_message or "no reason given"}


def selection_event(adapter_id: str, adapter: Adapter) -> RunEvent:
    """The adapter that the run uses."""
    return "DISPATCH_SELECTED", {
        "adapter_id": adapter_id,
        "adapter_kind": adapter.kind,
        "capabilities": sorted(adapter.capabilities),
        "selection_source": "request",
    }


def started_events(
    adapter_id: str, step: Mapping[str, object], adapter: Adapter
) -> tuple[RunEvent, RunEvent]:
    """The events before a step of the recorded plan begins."""
    requested = {
        "step_id": step["step_id"],
        "adapter_id": adapter_id,
        "adapter_capabilities": sorted(adapter.capabilities),
        "call": step["call"],
    }
    return ("STEP_STARTED", {"step_id": step["step_id"]}), ("TOOL_CALL_REQUESTED", requested)


def finished_events(run: Run, step: Step, result: StepResult, milliseconds: int) -> tuple[RunEvent, RunEvent]:
    """The events after a step ended."""
    called: dict[str, object] = {
        "step_id": step.step_id,
        "adapter_id": run.adapter_id,
        "duration_ms": milliseconds,
        "output": dict(result.output),
        "simulated": run.mode == "dry_run",
    }
    if result.status == "ok":
        return ("TOOL_CALL_SUCCEEDED", called), ("STEP_COMPLETED", {"step_id": step.step_id, "status": "ok"})
    called["error"] = failure_of(result)
    if result.status == "unknown":
        called["effect"] = "unknown"
    return ("TOOL_CALL_FAILED", called), ("STEP_COMPLETED", {"step_id": step.step_id, "status": "error"})


def listed_result(run: Run, step: Step, result: StepResult) -> dict[str, object]:
    """The step as the answer lists it."""
    listed: dict[str, object] = {
        "step_id": step.step_id,
        "status": "ok" if result.status == "ok" else "error",
        "simulated": run.mode == "dry_run",
        "output": dict(result.output),
        "evidence": [],
    }
    if result.status != "ok":
        listed["error"] = failure_of(result)
        if result.untouched or result.error_code is StepError.NOT_STARTED:
            listed["effect"] = "none"
    return listed


def end_run(run: Run, error: RunError | None) -> dict[str, Any]:
    """Logs the run's end and returns its answer."""
    if error is None:
        committed = run.log.append(("RUN_COMPLETED", {"outcome": "ok"}))
    else:
        failure = {"outcome": "error", "error_code": error.code, "message": error.message}
        committed = run.log.append(("RUN_FAILED", failure))
    ok = sum(1 for result in run.results if result["status"] == "ok")
    response: dict[str, object] = {
        "summary": {
            "mode": run.mode,
            "steps": len(run.results),
            "tools_used": sorted({step.call.method for step in run.steps[: len(run.results)]}),
            "outputs_total": ok,
            "outputs_applied": ok if run.mode == "apply" else 0,
            "outputs_skipped": len(run.steps) - len(run.results),
            "adapter_id": run.adapter_id,
        },
        "dispatch": {
            "adapter_id": run.adapter_id,
            "adapter_kind": run.adapter.kind if run.adapter else "none",
            "selection_source": "request" if run.adapter else "failed",
        },
        "run": {"run_id": run.log.run_id, "events_committed": committed},
        "plan": list(run.plan),
        "results": run.results,
    }
    if error is not None:
        response["error"] = {"code": error.code, "message": error.message}
    return cast("dict[str, Any]", response)
