"""Routers that do what a test says, and count their runs."""

from collections.abc import Callable
from typing import Any


class ScriptedRouter:
    """Each run answers what `act` returns, or raises what it raises."""

    def __init__(
        self, act: Callable[[], object], capabilities: Callable[[], Any] = lambda: {"apply"}
    ) -> None:
        self.act = act
        self.capabilities = capabilities
        self.runs = 0

    def run(
        self,
        goal: str,
        adapter_id: str,
        dry_run: bool,
        plan: str | None = None,
        max_steps: int | None = None,
        require_capabilities: list[str] | None = None,
    ) -> Any:
        self.runs += 1
        return self.act()

    def get_adapter_capabilities(self, adapter_id: str) -> Any:
        return self.capabilities()


class KeepingRouter(ScriptedRouter):
    """Keeps its runs, too: what it exports is what `keep` returns."""

    def __init__(self, act: Callable[[], object], keep: Callable[[], object]) -> None:
        super().__init__(act)
        self.keep = keep

    def export_run(self, run_id: str) -> Any:
        return self.keep()


def good_answer(run_id: str = "run-1") -> dict[str, Any]:
    return {"run_id": run_id, "steps_executed": 2}
