"""The embedded router: executes a plan, step by step, through declared adapters.

Before an execution is claimed, `check_plan` and `require_ready` refuse a run that could not begin:

    ADAPTER_UNKNOWN    the adapter is not declared
    PLAN_INVALID       the plan is malformed, longer than `max_steps`, or calls a method that is not declared
    ROUTER_NOT_READY   the adapter lacks the capability `apply` or `dry_run` that the mode needs, the program of the
                       first step is missing, a secret cannot be read, or the run log cannot be written; an MCP server
                       that does not start, or lacks a tool
    TOOL_DEFINITION_CHANGED   a tool of an MCP server is not what was pinned

A run makes the first two checks again before its first step, and checks its required capabilities
(CAPABILITY_MISSING). If one of these checks fails, the run has failed with nothing executed.

Each step is logged, called, and logged again; the start of the first one together with the plan. The first step that is
not ok ends the run as failed; so does an order to stop or to cancel that comes between two steps (STOPPED, CANCELLED).
An apply run raises RouterOutcomeUnknown with the run id when it cannot tell what a step did, because the step was cut
off or its end could not be logged. It raises RunStopped when an order to stop cut the step off. A run that was
cancelled has failed (CANCELLED) also where a step was cut off: that step's effect is unknown. Any other exception is
logged and raised again.

Secrets are read before the first step, once a run. Their values are masked in what an adapter gives back, and in what
it raises, before anything is recorded, answered or hashed.

The answer has the shape of nexus-router's answer, inside the canonical domain; it holds no time.
"""

import time
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.execution.adapter import (
    Adapter,
    Adapters,
    OwnerHelper,
    SessionOpener,
    StartChecker,
    StepError,
    StepResult,
    code_of,
    undeclared_adapter,
)
from nexus_control.execution.description import StepDescription
from nexus_control.execution.local_run import (
    Run,
    RunError,
    RunMode,
    end_run,
    failure_of,
    finished_events,
    listed_result,
    require_known,
    selection_event,
    started_events,
)
from nexus_control.execution.plan import Step, known_plan, parse_plan, plan_invalid, recorded, require_at_most
from nexus_control.execution.revealing import (
    masked,
    masked_result,
    revealing,
    sources_of,
    without_values,
)
from nexus_control.execution.router import (
    AdapterDescriber,
    KnownRun,
    Obstacle,
    ObstacleFinder,
    PlanChecker,
    PlanDescriber,
    ReadinessChecker,
    RouterOutcomeUnknown,
    RouterProtocol,
    RunExporter,
    RunFinder,
    RunPreparer,
)
from nexus_control.execution.run_log import OpenRun, RunLog
from nexus_control.execution.secrets import SecretTaker, secret_problem
from nexus_control.execution.spelling import bounded, encodable
from nexus_control.execution.stopping import order_given
from nexus_control.system.clock import SYSTEM_CLOCK, Clock
from nexus_control.values.likely_names import without_capabilities
from nexus_control.values.records import encode


@dataclass(frozen=True, slots=True)
class StepProgress:
    """The step at which a run is, and how that step is. `index` counts from 1."""

    run_id: str
    index: int
    total: int
    step_id: str
    status: Literal["started", "ok", "error", "unknown"]


class LocalRouter(
    RouterProtocol,
    RunExporter,
    RunFinder,
    AdapterDescriber,
    PlanChecker,
    PlanDescriber,
    ObstacleFinder,
    ReadinessChecker,
    RunPreparer,
):
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
        with self._revealed(adapter_id, dry_run, plan), _recording():
            self._log.require_writable()

    @contextmanager
    def prepared(self, adapter_id: str, dry_run: bool, plan: str | None) -> Generator[None]:
        with self._revealed(adapter_id, dry_run, plan):
            self.require_ready(adapter_id, dry_run, plan)
            with _opened(self._declared(adapter_id), "dry_run" if dry_run else "apply", known_plan(plan)):
                yield

    def _revealed(self, adapter_id: str, dry_run: bool, plan: str | None) -> AbstractContextManager[None]:
        return revealing(sources_of(self._declared(adapter_id), known_plan(plan), dry_run=dry_run))

    def obstacle_to(self, adapter_id: str, dry_run: bool, plan: str | None) -> Obstacle | None:
        mode: RunMode = "dry_run" if dry_run else "apply"
        adapter = self._declared(adapter_id)
        if mode not in adapter.capabilities:
            return Obstacle(
                text=without_capabilities(adapter_id, [mode], adapter.capabilities), is_final=True
            )
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
        mode: RunMode = "dry_run" if dry_run else "apply"
        with ExitStack() as held:
            with _recording():
                held.enter_context(self._log.held())
            try:
                adapter = self._selected(adapter_id, [mode, *(require_capabilities or ())])
                steps = parse_plan(plan)
                _require_takes(adapter, steps, max_steps)
                held.enter_context(revealing(sources_of(adapter, steps, dry_run=dry_run)))
                held.enter_context(_opened(adapter, mode, steps))
            except NexusControlError as error:
                return self._refuse(goal, mode, adapter_id, RunError(str(error.code), masked(error.message)))
            except RunError as error:
                return self._refuse(goal, mode, adapter_id, error)
            planned = [recorded(encode(step)) for step in steps]
            # The first step is logged together with the plan, unless it is not begun.
            started = () if order_given() else started_events(adapter_id, planned[0], adapter)
            with _recording():
                selected = selection_event(adapter_id, adapter)
                log = self._log.begin(mode, goal, selected, ("PLAN_CREATED", {"plan": planned}), *started)
            run = Run(log, mode, adapter_id, adapter, steps, planned)
            with _interrupted(log, mode):
                return self._execute(run, adapter, len(started) // 2)

    def _declared(self, adapter_id: str) -> Adapter:
        adapter = self._adapters.get(adapter_id)
        if adapter is None:
            known = self._adapters.ids()
            raise NexusControlError(
                ErrorCode.ADAPTER_UNKNOWN, undeclared_adapter(adapter_id, known), {"adapter_ids": list(known)}
            )
        return adapter

    def _selected(self, adapter_id: str, required: Sequence[str]) -> Adapter:
        adapter = self._adapters.get(adapter_id)
        if adapter is None:
            said = undeclared_adapter(adapter_id, self._adapters.ids())
            raise RunError("UNKNOWN_ADAPTER", bounded(said, 300))
        missing = sorted(set(required) - adapter.capabilities)
        if missing:
            said = bounded(without_capabilities(adapter_id, missing, adapter.capabilities), 300)
            raise RunError("CAPABILITY_MISSING", said)
        return adapter

    def _refuse(self, goal: str, mode: RunMode, adapter_id: str, error: RunError) -> dict[str, Any]:
        with _recording():
            log = self._log.begin(mode, goal)
        return end_run(Run(log, mode, adapter_id, None), error)

    def _execute(self, run: Run, adapter: Adapter, logged: int) -> dict[str, Any]:
        """Execute the steps. The start of the first `logged` ones is in the log already."""
        error: RunError | None = None
        for index, step in enumerate(run.steps, start=1):
            if index > logged:
                if order := order_given(at_once=True):
                    error = RunError(
                        code_of(order), f"step {step.step_id!r} was not begun because {order.why}"
                    )
                    break
                run.log.append(*started_events(run.adapter_id, run.plan[index - 1], adapter))
            self._tell(run, index, step, "started")
            started = time.monotonic()
            result = masked_result(adapter.execute(step.call, dry_run=run.mode == "dry_run"))
            if run.mode == "dry_run" and result.status == "unknown":
                result = replace(result, status="error")  # a dry run has no effect that could be unknown
            milliseconds = int((time.monotonic() - started) * 1000)
            run.results.append(listed_result(run, step, result))
            run.log.append(*finished_events(run, step, result, milliseconds))
            self._tell(run, index, step, result.status)
            if result.status != "ok":
                error = _error_of(step, result)
                require_known(run, result, error)
                break
        return end_run(run, error)

    def _tell(
        self, run: Run, index: int, step: Step, status: Literal["started", "ok", "error", "unknown"]
    ) -> None:
        if self._on_step is not None:
            self._on_step(StepProgress(run.log.run_id, index, len(run.steps), step.step_id, status))


def _error_of(step: Step, result: StepResult) -> RunError:
    failure, order = failure_of(result), order_given()
    said = failure["message"]
    if result.error_code is StepError.CANCELLED and order is not None:
        said = f"it was cut off because {order.why}"  # also where the step's own message is not recorded
    return RunError(failure["code"], f"step {step.step_id!r}: {said}")


def _opened(adapter: Adapter, mode: RunMode, steps: Sequence[Step]) -> AbstractContextManager[None]:
    """The session that the steps run in, where the adapter has sessions."""
    if mode == "dry_run" or not isinstance(adapter, SessionOpener):
        return nullcontext()
    return adapter.opened([step.call for step in steps])


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
def _interrupted(log: OpenRun, mode: RunMode) -> Generator[None]:
    """An exception in a run is logged and raised again. If logging fails, the outcome of an apply is unknown."""
    try:
        yield
    except RouterOutcomeUnknown as error:
        if (shown := without_values(error)) is not error:
            raise shown from None
        raise
    except NexusControlError as error:
        shown = without_values(error)
        if mode == "apply":
            said = masked(error.message)
            raise RouterOutcomeUnknown(f"The run was interrupted: {said}", log.run_id) from shown
        if shown is not error:
            raise shown from None
        raise
    except BaseException as error:
        with suppress(NexusControlError):
            log.append(("RUN_FAILED", {"outcome": "unknown", "reason": masked(type(error).__name__)}))
        if (shown := without_values(error)) is not error:
            raise shown from None
        raise


def _require_takes(adapter: Adapter, steps: Sequence[Step], max_steps: int | None) -> None:
    """Raises PLAN_INVALID for steps that the adapter cannot run."""
    require_at_most(max_steps, steps)
    taker = adapter if isinstance(adapter, SecretTaker) else None  # once: a look at a protocol is slow
    for n, step in enumerate(steps):
        problem = adapter.problem_with(step.call)
        if step.call.tool != adapter.name:
            problem = f"tool must be {adapter.name!r}, the adapter's name, not {step.call.tool!r:.80}"
        problem = problem or secret_problem(taker, step.call)
        if problem:
            command = adapter.command_for_owner(step.call) if isinstance(adapter, OwnerHelper) else None
            details = {"step_id": step.step_id} | ({"command": command} if command else {})
            raise plan_invalid(f"plan[{n}].call.{problem} (step {step.step_id!r})", **details)
