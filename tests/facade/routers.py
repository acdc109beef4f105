"""Routers that do as they are told, and remember what they were asked."""

from collections.abc import Callable, Mapping
from typing import Any

RUN_ID = "run-1"
ANSWER: Mapping[str, Any] = {"run_id": RUN_ID, "status": "completed", "steps_executed": 2}


class FakeRouter:
    """Answers `answer`, or what `answer()` gives or raises. `capabilities` None: it cannot tell."""

    def __init__(self, answer: object = ANSWER, capabilities: set[str] | None = None) -> None:
        self.answer = answer
        self.capabilities = capabilities
        self.calls: list[dict[str, Any]] = []

    def run(
        self,
        goal: str,
        adapter_id: str,
        dry_run: bool,
        plan: str | None = None,
        max_steps: int | None = None,
        require_capabilities: list[str] | None = None,
    ) -> Any:
        asked = {"goal": goal, "adapter_id": adapter_id, "dry_run": dry_run, "plan": plan}
        self.calls.append(asked | {"max_steps": max_steps, "require_capabilities": require_capabilities})
        return self.answer() if callable(self.answer) else self.answer

    def get_adapter_capabilities(self, adapter_id: str) -> set[str] | None:
        return self.capabilities


class DescribingRouter(FakeRouter):
    """A router that knows its adapters' declarations, and checks plans."""

    def __init__(self, digest: str | None, check: Callable[[], None] = lambda: None) -> None:
        super().__init__()
        self.digest = digest
        self.check = check

    def adapter_digest(self, adapter_id: str) -> str | None:
        return self.digest

    def check_plan(self, adapter_id: str, plan: str | None, max_steps: int | None) -> None:
        self.check()


class CheckingRouter(FakeRouter):
    """A router that checks plans, and does not know its adapters' declarations."""

    def __init__(self, check: Callable[[], None]) -> None:
        super().__init__()
        self.check = check

    def check_plan(self, adapter_id: str, plan: str | None, max_steps: int | None) -> None:
        self.check()


class ExportingRouter(FakeRouter):
    """A router that keeps the bundle of its run."""

    def __init__(self, bundle: dict[str, Any], answer: object = ANSWER) -> None:
        super().__init__(answer)
        self.bundle = bundle

    def export_run(self, run_id: str) -> dict[str, Any]:
        return self.bundle


def raising(error: BaseException) -> Callable[[], object]:
    """An answer that is an exception."""

    def answer() -> object:
        raise error

    return answer
