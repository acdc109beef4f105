"""A router that keeps every promise of the contract and offers every optional protocol, for tests that break one."""

import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.evidence.run_bundle import make_run_bundle
from nexus_control.execution.context import current
from nexus_control.execution.description import CallDescription, StepDescription
from nexus_control.execution.router import KnownRun, Obstacle, RouterOutcomeUnknown
from nexus_control.integrity import prefixed, sha256_hex

ADAPTER = "shop"
NOW = "2026-01-01T00:00:00+00:00"


@dataclass
class Shop:
    """Where the effects are, and the runs."""

    paid: int = 0
    runs: dict[str, tuple[KnownRun, str]] = field(default_factory=dict[str, tuple[KnownRun, str]])
    lock: threading.Lock = field(default_factory=threading.Lock)


class HonestRouter:
    """A plan is words: `look` does nothing, `pay` is an effect, `break` fails, `lose` pays and its answer is lost."""

    def __init__(self, shop: Shop, declaration: str = "pays") -> None:
        self.shop = shop
        self.declaration = declaration

    def run(
        self,
        goal: str,
        adapter_id: str,
        dry_run: bool,
        plan: str | None = None,
        max_steps: int | None = None,
        require_capabilities: list[str] | None = None,
    ) -> Any:
        self.check_plan(adapter_id, plan, max_steps)
        steps = (plan or "").split()
        if dry_run:
            return self.answer(self.new_run("simulated"), "completed", steps)
        run_id = self.new_run("completed" if "break" not in steps else "failed")
        self.apply(run_id, steps)
        if "lose" in steps:
            raise RouterOutcomeUnknown("the answer was lost", run_id)
        return self.answer(run_id, "failed" if "break" in steps else "completed", steps)

    def new_run(self, status: str) -> str:
        with self.shop.lock:
            run_id, execution = f"run-{len(self.shop.runs)}", current()
            if any(run.execution_id == execution.execution_id for run, _ in self.shop.runs.values()):
                raise RouterOutcomeUnknown("this execution has had its run")
            known = KnownRun(run_id=run_id, execution_id=execution.execution_id, has_ended=True, steps=())
            self.shop.runs[run_id] = (known, status)
            return run_id

    def apply(self, run_id: str, steps: list[str]) -> None:
        with self.shop.lock:
            self.shop.paid += steps.count("pay") + steps.count("lose")

    def answer(self, run_id: str, status: str, steps: list[str]) -> Any:
        answered: dict[str, Any] = {"run_id": run_id, "status": status, "steps_executed": len(steps)}
        if status == "failed":
            return {**answered, "error": {"code": "BROKEN", "message": "a step broke"}, "effect": "unknown"}
        return answered

    def get_adapter_capabilities(self, adapter_id: str) -> Any:
        return {"apply", "dry_run"} if adapter_id == ADAPTER else None

    def export_run(self, run_id: str) -> dict[str, Any]:
        if run_id not in self.shop.runs:
            raise NexusControlError(ErrorCode.ROUTER_RUN_NOT_FOUND, "there is no such run")
        run = {"run_id": run_id, "status": self.shop.runs[run_id][1].upper()}
        return make_run_bundle(run, [], exported_at=NOW, export_method="test")

    def adapter_digest(self, adapter_id: str) -> str | None:
        return prefixed(sha256_hex(self.declaration)) if adapter_id == ADAPTER else None

    def check_plan(self, adapter_id: str, plan: str | None, max_steps: int | None) -> None:
        if adapter_id != ADAPTER:
            raise NexusControlError(ErrorCode.ADAPTER_UNKNOWN, "there is no such adapter")
        steps = (plan or "").split()
        if not set(steps) <= {"look", "pay", "break", "lose"}:
            raise NexusControlError(ErrorCode.PLAN_INVALID, "there is no such step")
        if max_steps is not None and len(steps) > max_steps:
            raise NexusControlError(ErrorCode.PLAN_INVALID, "there are too many steps")

    def require_ready(self, adapter_id: str, dry_run: bool, plan: str | None) -> None:
        self.check_plan(adapter_id, plan, None)

    @contextmanager
    def prepared(self, adapter_id: str, dry_run: bool, plan: str | None) -> Generator[None]:
        self.require_ready(adapter_id, dry_run, plan)
        yield

    def obstacle_to(self, adapter_id: str, dry_run: bool, plan: str | None) -> Obstacle | None:
        return None

    def describe(self, adapter_id: str, plan: str | None) -> tuple[StepDescription, ...]:
        nothing = CallDescription()
        return tuple(
            StepDescription(step_id=str(n), intent=step, apply=nothing, dry_run=nothing)
            for n, step in enumerate((plan or "").split())
        )

    def runs_of(self, request_id: str) -> tuple[KnownRun, ...]:
        runs = [run for run, _ in self.shop.runs.values()]
        return tuple(run for run in runs if run.execution_id.startswith(f"{request_id}:"))
