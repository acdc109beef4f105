"""What a promise is checked with: a router on trial, and one attempt to run something with it.

Each attempt is in an execution of its own (`execution.context`), as each run of a decision is.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol
from unittest import SkipTest

from nexus_control.execution.context import CurrentExecution, executing
from nexus_control.execution.response import RunReport, read_response
from nexus_control.execution.router import RouterProtocol, leaves_outcome_unknown
from nexus_control.execution.signs import Meaning
from nexus_control.execution.spelling import described
from nexus_control.system.clock import SYSTEM_CLOCK
from nexus_control.values.actors import Actor
from nexus_control.values.payloads import Mode
from nexus_control.values.results import ToolResult

MAX_WORDS = 500
UNKNOWN_ADAPTER = "no-such-adapter"


class Facade(Protocol):
    """What the governed promises use of `NexusControlTools`."""

    def request(
        self,
        goal: str,
        actor: Actor,
        mode: Mode = ...,
        plan: str | None = ...,
        *,
        adapter_id: str | None = ...,
    ) -> ToolResult[Any]: ...
    def approve(self, request_id: str, actor: Actor, /) -> ToolResult[Any]: ...
    def execute(
        self, request_id: str, adapter_id: str, actor: Actor, router: RouterProtocol | None, /
    ) -> ToolResult[Any]: ...
    def status(self, request_id: str, /) -> ToolResult[Any]: ...
    def result(self, request_id: str, /) -> ToolResult[Any]: ...
    def export_audit_package(
        self, decision_id: str, embed_router_bundle: bool, router_bundle: Mapping[str, object] | None, /
    ) -> ToolResult[Any]: ...
    def close(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A router on trial, and what its author knows of it.

        >>> trial = Trial(
        ...     make_router=lambda: MyRouter(shop),
        ...     make_tools=NexusControlTools,
        ...     adapter_id="shop",
        ...     works="look pay",
        ...     fails="look break",
        ...     effects=lambda: shop.paid,
        ... )

    `make_router` opens the router; each router that it makes sees the runs of the ones before, as after a crash.
    `make_tools` makes the tools of an empty store: `NexusControlTools` itself. `works` is a plan that ends well, with
    one effect in each run. `effects` counts these effects so far, asking the place where they are and not the router.
    `fails` is a plan whose run fails. The rest is optional, and its promises are skipped without it: `loses` is a plan
    after which nobody can tell what was done, `refuses` one that the adapter never takes, and `make_changed_router`
    makes a router in which the adapter is declared otherwise.
    """

    make_router: Callable[[], RouterProtocol]
    make_tools: Callable[[], Facade]
    adapter_id: str
    works: str
    fails: str
    effects: Callable[[], int]
    loses: str | None = None
    refuses: str | None = None
    make_changed_router: Callable[[], RouterProtocol] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """What a run answered, or raised, and how many effects it had."""

    answer: object
    report: RunReport
    error: Exception | None
    effects: int

    @property
    def outcome(self) -> Meaning:
        """How the run counts."""
        if self.error is None:
            return self.report.outcome
        return "unknown" if leaves_outcome_unknown(self.error) else "failed"

    @property
    def run_id(self) -> str | None:
        return self.report.run_id

    @property
    def seen(self) -> str:
        """What was seen, for the words of a broken promise."""
        if self.error is not None:
            return f"run raised {described(self.error, MAX_WORDS)}"
        said = "; ".join(filter(None, (self.report.error_message, *self.report.notes)))
        return f"the answer was read as {self.outcome}" + (f" ({said:.{MAX_WORDS}})" if said else "")


def new_execution() -> CurrentExecution:
    """An execution of a request of its own, as `execute` begins one."""
    request_id = f"contract-{SYSTEM_CLOCK.new_id()}"
    return CurrentExecution(
        request_id=request_id,
        execution_id=f"{request_id}:0:4",
        requester=Actor("system", "contract"),
        rehearsal=False,
    )


def attempt(
    trial: Trial,
    router: RouterProtocol,
    plan: str,
    *,
    dry_run: bool = False,
    adapter_id: str | None = None,
    max_steps: int | None = None,
    execution: CurrentExecution | None = None,
) -> Attempt:
    """Run the plan once, as an execution does."""
    before = trial.effects()
    answer: object = None
    error: Exception | None = None
    with executing(replace(execution or new_execution(), rehearsal=dry_run)):
        try:
            answer = router.run("Keep the contract", adapter_id or trial.adapter_id, dry_run, plan, max_steps)
        except Exception as raised:  # noqa: BLE001 - a router is foreign code; the exception is what was seen
            error = raised
    report = read_response(answer, dry_run=dry_run)
    return Attempt(answer=answer, report=report, error=error, effects=trial.effects() - before)


def counted(effects: int) -> str:
    return "1 effect" if effects == 1 else f"{effects} effects"


def keep(kept: bool, seen: str, mend: str) -> None:
    """Raises AssertionError, which also `python -O` keeps, for a promise that was not kept."""
    if not kept:
        raise AssertionError(f"{seen}. {mend}")


def given(value: str | None, name: str) -> str:
    """An optional field of the trial. Raises SkipTest where it is not given."""
    if value is None:
        raise SkipTest(f"the trial has no `{name}`")
    return value


def has_a_good_run(tried: Attempt) -> str:
    """The id of a run that ended well; another promise says what a router without one does wrong."""
    if tried.outcome != "completed" or tried.run_id is None:
        raise SkipTest(f"needs a run that ends well, and {tried.seen}")
    return tried.run_id
