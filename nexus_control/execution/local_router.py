"""The embedded router: executes a plan, step by step, through declared adapters.

Before an execution is claimed, `check_plan` and `require_ready` refuse a run that could not begin:

    ADAPTER_UNKNOWN    the adapter is not declared
    PLAN_INVALID       the plan is malformed, longer than `max_steps`, or calls a method that is not declared
    ROUTER_NOT_READY   the adapter lacks the capability `apply` or `dry_run` that the mode needs, the program of the
                       first step is missing, or the run log cannot be written

A run makes the first two checks again before its first step, and checks its required capabilities
(CAPABILITY_MISSING). If one of these checks fails, the run has failed with nothing executed.

Each step is logged, called, and logged again; the start of the first one together with the plan. The first step that is
not ok ends the run as failed; so does an order to stop that comes between two steps (STOPPED). An apply run raises
RouterOutcomeUnknown with the run id when it cannot tell what a step did, because the step was cut off or its end could
not be logged. It raises RunStopped when an order to stop cut the step off. Any other exception is logged and raised
again.

The answer has the shape of nexus-router's answer, inside the canonical domain; it holds no time.
"""

import time
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast

from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.execution.adapter import Adapter, Adapters, StartChecker, StepError, StepResult
from nexus_control.execution.description import StepDescription
from nexus_control.execution.plan import Step, known_plan, parse_plan, plan_invalid, recorded, require_at_most
from nexus_control.execution.router import (
    KnownRun,
    Obstacle,
    ObstacleFinder,
    PlanDescriber,
    ReadinessChecker,
    RouterOutcomeUnknown,
    RouterProtocol,
    RunExporter,
    RunFinder,
    RunStopped,
)
from nexus_control.execution.run_log import OpenRun, RunEvent, RunLog
from nexus_control.execution.spelling import bounded, encodable
from nexus_control.execution.stopping import stop_ordered
from nexus_control.system.clock import SYSTEM_CLOCK, Clock
from nexus_control.values.records import encode

_Mode: TypeAlias = Literal["dry_run", "apply"]


@dataclass(frozen=True, slots=True)
class StepProgress:
    """The step at which a run is, and how that step is. `index` counts from 1."""

    run_id: str
    index: int
    total: int
    step_id: str
    status: Literal["started", "ok", "error", "unknown"]


class _RunError(Exception):
    """The reason why a run failed, or was refused before its first step."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(slots=True)
class _Run:
    """A run that is under way: its request, its log, and the steps done so far."""

    log: OpenRun
    mode: _Mode
    adapter_id: str
    adapter: Adapter | None
    steps: tuple[Step, ...] = ()
    results: list[dict[str, object]] = field(default_factory=list[dict[str, object]])


class LocalRouter(RouterProtocol, RunExporter, RunFinder, PlanDescriber, ObstacleFinder, ReadinessChecker):
    """A router over declared adapters. Its run log is the file `db_path`; by default it is kept in memory.

        >>> router = LocalRouter(load_adapters("nexus-control.toml"), "runs.db")
        >>> router.close()

    Any thread may use it. `on_step` is called after the start and the end of each step were logged; an exception that
    it raises interrupts the run.
    """

    def __init__(
        self,
        adapters: Iterable[Adapter],
        db_path: str | Path = ":memory:",
        *,
        clock: Clock = SYSTEM_CLOCK,
        on_step: Callable[[StepProgress], None] | None = None,
    ) -> None:
        self._adapters = adapters if isinstance(adapters, Adapters) else Adapters(adapters)
        self._log = RunLog(db_path, clock)
        self._on_step = on_step

    def __enter__(self) -> "LocalRouter":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the run log. The end of a `with` block does the same.

        >>> LocalRouter([adapter]).close()
        """
        self._log.close()

    @property
    def adapters(self) -> Adapters:
        return self._adapters

    def get_adapter_capabilities(self, adapter_id: str) -> set[str] | None:
        adapter = self._adapters.get(adapter_id)
        return None if adapter is None else set(adapter.capabilities)

    def adapter_digest(self, adapter_id: str) -> str | None:
        return self._adapters.digest(adapter_id)

    def check_plan(self, adapter_id: str, plan: str | None, max_steps: int | None) -> None:
        _require_takes(self._declared(adapter_id), known_plan(plan), max_steps)

    def require_ready(self, adapter_id: str, dry_run: bool, plan: str | None) -> None:
        if (obstacle := self.obstacle_to(adapter_id, dry_run, plan)) is not None:
            other = "Call execute with an adapter that has it, or make a new request for one."
            raise NexusControlError(
                ErrorCode.ROUTER_NOT_READY, obstacle.text, advice=other if obstacle.is_final else None
            )
        with _recording():
            self._log.require_writable()

    def obstacle_to(self, adapter_id: str, dry_run: bool, plan: str | None) -> Obstacle | None:
        mode: _Mode = "dry_run" if dry_run else "apply"
        adapter = self._declared(adapter_id)
        if mode not in adapter.capabilities:
            return Obstacle(text=f"adapter {adapter_id} does not have the capability {mode}", is_final=True)
        first = known_plan(plan)[0]  # only the first: a later step's program may be made by an earlier step
        if isinstance(adapter, StartChecker) and (why := adapter.obstacle_to(first.call, dry_run=dry_run)):
            return Obstacle(text=f"step {first.step_id!r} could not be started: {why}", is_final=False)
        return None

    def describe(self, adapter_id: str, plan: str | None) -> tuple[StepDescription, ...]:
        adapter, steps = self._declared(adapter_id), parse_plan(plan)
        _require_takes(adapter, steps, None)
        return tuple(
            StepDescription(
                step_id=step.step_id,
                intent=step.intent,
                apply=adapter.describe(step.call, dry_run=False),
                dry_run=adapter.describe(step.call, dry_run=True),
            )
            for step in steps
        )

    def export_run(self, run_id: str) -> dict[str, Any]:
        return self._log.export(run_id)

    def runs_of(self, request_id: str) -> tuple[KnownRun, ...]:
        return self._log.runs_of(request_id)

    def run(
        self,
        goal: str,
        adapter_id: str,
        dry_run: bool,
        plan: str | None = None,
        max_steps: int | None = None,
        require_capabilities: list[str] | None = None,
    ) -> dict[str, Any]:
        goal, adapter_id = encodable(goal), encodable(adapter_id)
        mode: _Mode = "dry_run" if dry_run else "apply"
        with ExitStack() as held:
            with _recording():
                held.enter_context(self._log.held())
            try:
                adapter = self._selected(adapter_id, [mode, *(require_capabilities or ())])
                steps = parse_plan(plan)
                _require_takes(adapter, steps, max_steps)
            except NexusControlError as error:
                return self._refuse(goal, mode, adapter_id, _RunError(str(error.code), error.message))
            except _RunError as error:
                return self._refuse(goal, mode, adapter_id, error)
            planned = "PLAN_CREATED", {"plan": [recorded(encode(step)) for step in steps]}
            # The first step is logged together with the plan, unless it is not begun.
            started = () if stop_ordered() else _started_events(adapter_id, steps[0], adapter)
            with _recording():
                log = self._log.begin(mode, goal, _selection_event(adapter_id, adapter), planned, *started)
            with _interrupted(log, mode):
                return self._execute(_Run(log, mode, adapter_id, adapter, steps), adapter, len(started) // 2)

    def _declared(self, adapter_id: str) -> Adapter:
        adapter = self._adapters.get(adapter_id)
        if adapter is None:
            known = self._adapters.ids()
            listed = bounded(", ".join(known), 300) or "none"
            meant = [each for each in known if each.endswith(f":{adapter_id}")]
            hint = f". Did you mean {bounded(meant[0], 80)}?" if len(meant) == 1 else ""
            raise NexusControlError(
                ErrorCode.ADAPTER_UNKNOWN,
                f"there is no adapter {adapter_id!r:.80}; declared are: {listed}{hint}",
                {"adapter_ids": list(known)},
            )
        return adapter

    def _selected(self, adapter_id: str, required: Sequence[str]) -> Adapter:
        adapter = self._adapters.get(adapter_id)
        if adapter is None:
            raise _RunError("UNKNOWN_ADAPTER", f"Unknown adapter: {bounded(repr(adapter_id), 300)}")
        missing = sorted(set(required) - adapter.capabilities)
        if missing:
            named = bounded(", ".join(missing), 300)
            raise _RunError("CAPABILITY_MISSING", f"{adapter_id} does not have the capability {named}")
        return adapter

    def _refuse(self, goal: str, mode: _Mode, adapter_id: str, error: _RunError) -> dict[str, Any]:
        with _recording():
            log = self._log.begin(mode, goal)
        return _ended(_Run(log, mode, adapter_id, None), error)

    def _execute(self, run: _Run, adapter: Adapter, logged: int) -> dict[str, Any]:
        """Execute the steps. The start of the first `logged` ones is in the log already."""
        error: _RunError | None = None
        for index, step in enumerate(run.steps, start=1):
            if index > logged:
                if why := stop_ordered():
                    error = _RunError(StepError.STOPPED, f"step {step.step_id!r} was not begun because {why}")
                    break
                run.log.append(*_started_events(run.adapter_id, step, adapter))
            self._tell(run, index, step, "started")
            started = time.monotonic()
            result = adapter.execute(step.call, dry_run=run.mode == "dry_run")
            if run.mode == "dry_run" and result.status == "unknown":
                result = replace(result, status="error")  # a dry run has no effect that could be unknown
            milliseconds = int((time.monotonic() - started) * 1000)
            run.results.append(_listed(run, step, result))
            run.log.append(*_finished_events(run, step, result, milliseconds))
            self._tell(run, index, step, result.status)
            if result.status != "ok":
                failure = _failure(result)
                error = _RunError(failure["code"], f"step {step.step_id!r}: {failure['message']}")
                _require_known(run, result, error)
                break
        return _ended(run, error)

    def _tell(
        self, run: _Run, index: int, step: Step, status: Literal["started", "ok", "error", "unknown"]
    ) -> None:
        if self._on_step is not None:
            self._on_step(StepProgress(run.log.run_id, index, len(run.steps), step.step_id, status))


@contextmanager
def _recording() -> Generator[None]:
    """Turns a fault of the run log into ROUTER_NOT_READY: no run begins that cannot be recorded."""
    try:
        yield
    except NexusControlError as fault:
        raise NexusControlError(
            ErrorCode.ROUTER_NOT_READY, f"the router cannot record its run: {fault.message}", fault.details
        ) from fault


@contextmanager
def _interrupted(log: OpenRun, mode: _Mode) -> Generator[None]:
    """An exception in a run is logged and raised again. If logging fails, the outcome of an apply is unknown."""
    try:
        yield
    except RouterOutcomeUnknown:
        raise
    except NexusControlError as error:
        if mode == "dry_run":
            raise
        raise RouterOutcomeUnknown(f"The run was interrupted: {error.message}", log.run_id) from error
    except BaseException as error:
        with suppress(NexusControlError):
            log.append(("RUN_FAILED", {"outcome": "unknown", "reason": type(error).__name__}))
        raise


def _require_takes(adapter: Adapter, steps: Sequence[Step], max_steps: int | None) -> None:
    """Raises PLAN_INVALID for steps that the adapter cannot run."""
    require_at_most(max_steps, steps)
    for n, step in enumerate(steps):
        problem = adapter.problem_with(step.call)
        if step.call.tool != adapter.name:
            problem = f"tool must be {adapter.name!r}, the adapter's name"
        if problem:
            raise plan_invalid(f"plan[{n}].call.{problem} (step {step.step_id!r})", step_id=step.step_id)


def _require_known(run: _Run, result: StepResult, error: _RunError) -> None:
    if result.status == "unknown":
        run.log.append(("RUN_FAILED", {"outcome": "unknown", "reason": error.code, "message": error.message}))
        kind = RunStopped if result.error_code is StepError.STOPPED else RouterOutcomeUnknown
        raise kind(error.message, run.log.run_id)


def _failure(result: StepResult) -> dict[str, str]:
    code = result.error_code or StepError.STEP_FAILED
    return {"code": str(code), "message": result.error_message or "no reason given"}


def _selection_event(adapter_id: str, adapter: Adapter) -> RunEvent:
    return "DISPATCH_SELECTED", {
        "adapter_id": adapter_id,
        "adapter_kind": adapter.kind,
        "capabilities": sorted(adapter.capabilities),
        "selection_source": "request",
    }


def _started_events(adapter_id: str, step: Step, adapter: Adapter) -> tuple[RunEvent, RunEvent]:
    requested = {
        "step_id": step.step_id,
        "adapter_id": adapter_id,
        "adapter_capabilities": sorted(adapter.capabilities),
        "call": recorded(encode(step.call)),
    }
    return ("STEP_STARTED", {"step_id": step.step_id}), ("TOOL_CALL_REQUESTED", requested)


def _finished_events(
    run: _Run, step: Step, result: StepResult, milliseconds: int
) -> tuple[RunEvent, RunEvent]:
    called: dict[str, object] = {
        "step_id": step.step_id,
        "adapter_id": run.adapter_id,
        "duration_ms": milliseconds,
        "output": dict(result.output),
        "simulated": run.mode == "dry_run",
    }
    if result.status == "ok":
        return ("TOOL_CALL_SUCCEEDED", called), ("STEP_COMPLETED", {"step_id": step.step_id, "status": "ok"})
    called["error"] = _failure(result)
    if result.status == "unknown":
        called["effect"] = "unknown"
    return ("TOOL_CALL_FAILED", called), ("STEP_COMPLETED", {"step_id": step.step_id, "status": "error"})


def _listed(run: _Run, step: Step, result: StepResult) -> dict[str, object]:
    listed: dict[str, object] = {
        "step_id": step.step_id,
        "status": "ok" if result.status == "ok" else "error",
        "simulated": run.mode == "dry_run",
        "output": dict(result.output),
        "evidence": [],
    }
    if result.status != "ok":
        listed["error"] = _failure(result)
        if result.untouched or result.error_code is StepError.NOT_STARTED:
            listed["effect"] = "none"
    return listed


def _ended(run: _Run, error: _RunError | None) -> dict[str, Any]:
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
        "plan": [recorded(encode(step)) for step in run.steps],
        "results": run.results,
    }
    if error is not None:
        response["error"] = {"code": error.code, "message": error.message}
    return cast("dict[str, Any]", response)
