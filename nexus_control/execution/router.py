"""What nexus-control needs from a router, and what it uses when a router offers it.

A router executes a goal, or a plan, through one of its adapters, and answers with a dictionary (`response` says how
that is read). An exception does not prove that nothing happened; `RouterOutcomeUnknown` says so outright.
"""

from typing import Any, Protocol, runtime_checkable

from nexus_control.execution.description import StepDescription


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
    """What can tell before a request is made that its plan could not run. Raises PLAN_INVALID."""

    def check_plan(self, adapter_id: str, plan: str | None, max_steps: int | None) -> None: ...


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
