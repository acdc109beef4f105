"""The protocols of routers: one that every router has, and several that are used if a router has them.

A router executes a goal, or a plan, through one of its adapters, and answers with a dictionary, which `response` reads.
An exception does not prove that nothing happened: after a read timeout, for example, the request may have been carried
out (`leaves_outcome_unknown`). Only a fault with a code in `REFUSALS` says that nothing was begun.
"""

import subprocess
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol, cast, runtime_checkable

from nexus_control.errors import ErrorCode
from nexus_control.evidence.run_steps import StepOutcome
from nexus_control.execution.description import StepDescription

REFUSALS = frozenset(
    {
        ErrorCode.ADAPTER_UNKNOWN,
        ErrorCode.PLAN_INVALID,
        ErrorCode.ROUTER_NOT_CONFIGURED,
        ErrorCode.ROUTER_NOT_READY,
        ErrorCode.TOOL_DEFINITION_CHANGED,
    }
)
"""The codes with which a router refuses a run before its first step."""


@runtime_checkable
class RouterProtocol(Protocol):
    """The two methods that `execute` needs of a router.

        >>> router: RouterProtocol = LocalRouter([adapter])

    Any object with these two methods is a router. The other protocols of this module are optional.
    """

    def run(
        self,
        goal: str,
        adapter_id: str,
        dry_run: bool,
        plan: str | None = None,
        max_steps: int | None = None,
        require_capabilities: list[str] | None = None,
    ) -> dict[str, Any]:
        """Execute a goal, or a plan, through one adapter, and answer with the run.

            >>> router.run("Rotate the key", "python:keys", dry_run=True, plan=plan)["run"]["run_id"]
            '...'

        `plan` is the text that was approved. The answer names the run, as `run_id` or `run.run_id`, and counts its
        `steps_executed`; the module `response` describes the other keys. Raise RouterOutcomeUnknown when nobody can
        tell what was done. Timeouts and lost connections are treated like it; other exceptions count as failures.
        """
        ...

    def get_adapter_capabilities(self, adapter_id: str) -> set[str] | None:
        """The adapter's capabilities, or None if they are not known.

            >>> sorted(router.get_adapter_capabilities("python:keys"))
            ['apply', 'dry_run']

        An execution needs each required capability in this set; with None it is refused.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownRun:
    """A run as its router's log tells it. `has_ended`: whether the log has the end of the run."""

    run_id: str
    execution_id: str
    has_ended: bool
    steps: tuple[StepOutcome, ...]


@runtime_checkable
class RunFinder(Protocol):
    """A router that knows for which request it ran what, also after a crash."""

    def runs_of(self, request_id: str) -> tuple[KnownRun, ...]:
        """The runs that were made for this request, oldest first.

        >>> [run.has_ended for run in router.runs_of(executed_id)]
        [True]
        """
        ...


@runtime_checkable
class RunExporter(Protocol):
    """A router that keeps its runs. Raises ROUTER_RUN_NOT_FOUND."""

    def export_run(self, run_id: str) -> dict[str, Any]:
        """The run of this id, as JSON: its events and their digest.

            >>> run_id = router.run("Rotate the key", "python:keys", True, plan)["run"]["run_id"]
            >>> router.export_run(run_id)["run"]["run_id"] == run_id
            True

        Raises ROUTER_RUN_NOT_FOUND.
        """
        ...


@runtime_checkable
class AdapterDescriber(Protocol):
    """A router that knows the digests of its adapters' declarations. A request that it checks as a plan checker is
    bound to the adapter's declaration.
    """

    def adapter_digest(self, adapter_id: str) -> str | None:
        """The prefixed digest of the adapter's declaration; None where it is not known.

        >>> router.adapter_digest("python:keys")
        'sha256:...'
        """
        ...


@runtime_checkable
class PlanChecker(Protocol):
    """A router that can refuse a plan when the request is made, and again before it is executed.

        >>> checked = NexusControlTools(store, plan_checker=router)

    With a plan checker, a request that names its adapter is refused if the adapter could never run the plan, or lacks a
    capability that the request requires. A checker that is an `AdapterDescriber` too binds the request to the adapter's
    declaration.
    """

    def check_plan(self, adapter_id: str, plan: str | None, max_steps: int | None) -> None:
        """Returns when the adapter could run the plan.

            >>> router.check_plan("python:keys", plan, max_steps=None)

        Raises ADAPTER_UNKNOWN for an adapter that is not declared, PLAN_INVALID for a plan that it cannot run.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Obstacle:
    """Why a run could not begin. With `is_final` it is in the declaration itself; otherwise it may be mended."""

    text: str
    is_final: bool


@runtime_checkable
class ObstacleFinder(Protocol):
    """A router that can tell, when something is requested, why it could not be started here. It writes nothing."""

    def obstacle_to(self, adapter_id: str, dry_run: bool, plan: str | None) -> Obstacle | None:
        """Why the plan, which the adapter takes, could not be started here and now; None if no reason is known.

        >>> router.obstacle_to("python:keys", dry_run=False, plan=plan) is None
        True
        """
        ...


@runtime_checkable
class ReadinessChecker(Protocol):
    """A router that can tell, before an execution is claimed, that its run could not begin. It raises a fault with a
    code in `REFUSALS`, such as ROUTER_NOT_READY.
    """

    def require_ready(self, adapter_id: str, dry_run: bool, plan: str | None) -> None:
        """Returns when a run could begin now.

            >>> router.require_ready("python:keys", dry_run=False, plan=plan)

        Raises ROUTER_NOT_READY for a missing capability or program, or a run log that cannot be written;
        ADAPTER_UNKNOWN; PLAN_INVALID.
        """
        ...


@runtime_checkable
class RunPreparer(Protocol):
    """A router that gets ready before an execution is claimed, and stays so until it is recorded: it starts a server,
    for example. `execute` then asks it instead of `require_ready`.
    """

    def prepared(self, adapter_id: str, dry_run: bool, plan: str | None) -> AbstractContextManager[None]:
        """In the block the run can begin; `run` is called in it, in the same thread.

            >>> with router.prepared("python:keys", dry_run=False, plan=plan):
            ...     answer = router.run("Rotate the key", "python:keys", dry_run=False, plan=plan)

        Raises, before the block, what `require_ready` raises, and TOOL_DEFINITION_CHANGED.
        """
        ...


@runtime_checkable
class PlanDescriber(Protocol):
    """A router that can describe what each step of a plan would run."""

    def describe(self, adapter_id: str, plan: str | None) -> tuple[StepDescription, ...]:
        """What each step of a plan would run when it is applied, and in a dry run.

            >>> router.describe("python:keys", plan)[0].apply.args
            {'service': 'billing'}

        Raises ADAPTER_UNKNOWN or PLAN_INVALID.
        """
        ...


class RouterOutcomeUnknown(Exception):
    """A router raises it when it cannot tell what its run did.

        >>> raise RouterOutcomeUnknown("the connection was lost", run_id="run-7")
        Traceback (most recent call last):
        nexus_control.execution.router.RouterOutcomeUnknown: the connection was lost

    The decision is then `outcome_unknown` until a person settles it. It is never run again automatically.
    """

    def __init__(self, detail: str, run_id: str | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.run_id = run_id


class RunStopped(RouterOutcomeUnknown):
    """Raised for a run that was cut off because its process had to end (see `stopping`)."""


def leaves_outcome_unknown(error: BaseException) -> bool:
    """Whether a router or a step that raised this exception may still have had its effect: timeouts, lost connections,
    SystemExit. Libraries have no common base class for these, so a class also counts if its name or an ancestor's is
    `*Timeout*` or `*ConnectionError*` (requests, httpx, urllib3, botocore, redis).

        leaves_outcome_unknown(requests.ReadTimeout())   # True
    """
    try:
        return _leaves_outcome_unknown(error)
    except Exception:  # noqa: BLE001 - runs the code of a foreign exception, which may raise
        return True


def _leaves_outcome_unknown(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", error)
        return any(map(leaves_outcome_unknown, group.exceptions))
    known = TimeoutError | ConnectionError | subprocess.TimeoutExpired | RouterOutcomeUnknown | SystemExit
    return isinstance(error, known) or any(
        word in ancestor.__name__
        for ancestor in type(error).__mro__
        for word in ("Timeout", "ConnectionError")
    )
