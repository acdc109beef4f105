"""What nexus-control needs from a router, and what it uses when a router offers it.

A router executes a goal, or a plan, through one of its adapters, and answers with a dictionary (`response` says how
that is read). An exception does not prove that nothing happened: after one of `leaves_outcome_unknown`, such as a read
timeout, the request may have been carried out. Faults of `REFUSALS` say that nothing was begun.
"""

import subprocess
from typing import Any, Protocol, cast, runtime_checkable

from nexus_control.errors import ErrorCode
from nexus_control.execution.description import StepDescription

REFUSALS = frozenset(
    {
        ErrorCode.ADAPTER_UNKNOWN,
        ErrorCode.PLAN_INVALID,
        ErrorCode.ROUTER_NOT_CONFIGURED,
        ErrorCode.ROUTER_NOT_READY,
    }
)
"""The codes with which a router refuses a run before its first step."""


class RouterProtocol(Protocol):
    """What `execute` needs. `get_adapter_capabilities` answers None where they are not known."""

    def run(
        self,
        goal: str,
        adapter_id: str,
        dry_run: bool,
        plan: str | None = None,
        max_steps: int | None = None,
        require_capabilities: list[str] | None = None,
    ) -> dict[str, Any]: ...

    def get_adapter_capabilities(self, adapter_id: str) -> set[str] | None: ...


@runtime_checkable
class RunExporter(Protocol):
    """A router that keeps its runs. Raises ROUTER_RUN_NOT_FOUND."""

    def export_run(self, run_id: str) -> dict[str, Any]: ...


@runtime_checkable
class AdapterDescriber(Protocol):
    """A router that knows its adapters' declarations: the prefixed digest of one, None where it is not known."""

    def adapter_digest(self, adapter_id: str) -> str | None: ...


@runtime_checkable
class PlanChecker(AdapterDescriber, Protocol):
    """What can tell, when a request is made and before it is executed, that its plan could not run. Raises
    ADAPTER_UNKNOWN and PLAN_INVALID.
    """

    def check_plan(self, adapter_id: str, plan: str | None, max_steps: int | None) -> None: ...


@runtime_checkable
class ReadinessChecker(Protocol):
    """What can tell before an execution is claimed that its run could not begin. Raises a refusal (`REFUSALS`), as
    ROUTER_NOT_READY.
    """

    def require_ready(self, adapter_id: str, dry_run: bool, plan: str | None) -> None: ...


@runtime_checkable
class PlanDescriber(PlanChecker, Protocol):
    """What can tell what each step of a plan would run. Raises PLAN_INVALID."""

    def describe(self, adapter_id: str, plan: str | None) -> tuple[StepDescription, ...]: ...


class RouterOutcomeUnknown(Exception):
    """A router's word that it cannot tell what its run did."""

    def __init__(self, detail: str, run_id: str | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.run_id = run_id


class RunStopped(RouterOutcomeUnknown):
    """A run that was cut off because its process had to end (see `stopping`)."""


def leaves_outcome_unknown(error: BaseException) -> bool:
    """Whether an exception, from a router or a step, leaves open whether its effect was had: one of the timeout or
    connection kind, or SystemExit. Libraries derive theirs from no common class, so classes are known by their names,
    too: a class named `*Timeout*` or `*ConnectionError*` in the ancestry (requests, httpx, urllib3, botocore, redis).

        leaves_outcome_unknown(requests.ReadTimeout())   # True
    """
    try:
        return _leaves_outcome_unknown(error)
    except Exception:  # noqa: BLE001 - runs the code of a foreign exception; what it is cannot be found out
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
