"""The calls that the issue says must work literally."""

from pathlib import Path
from typing import Any

import pytest

from nexus_control import (
    Decision,
    NexusControlTools,
    compute_lifecycle,
    export_audit_package,
    verify_audit_package,
)
from nexus_control.events import Actor


class YourRouter:
    """The smallest router."""

    def run(
        self,
        goal: str,
        adapter_id: str,
        dry_run: bool,
        plan: str | None = None,
        max_steps: int | None = None,
        require_capabilities: list[str] | None = None,
    ) -> dict[str, Any]:
        return {"run_id": "run-1", "steps_executed": 1}

    def get_adapter_capabilities(self, adapter_id: str) -> set[str] | None:
        return None


def test_the_calls_of_the_readme_work_literally(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    your_router = YourRouter()
    actor = Actor(type="human", id="carol")

    tools = NexusControlTools(db_path="decisions.db")
    result = tools.request(
        goal="Rotate production API keys",
        actor=Actor(type="human", id="alice@example.com"),
        mode="apply",
        min_approvals=2,
        labels=["prod", "security"],
    )
    request_id = result.data["request_id"]
    tools.approve(request_id, actor=Actor(type="human", id="alice@example.com"))
    tools.approve(request_id, actor=Actor(type="human", id="bob@example.com"))
    result = tools.execute(
        request_id=request_id,
        adapter_id="subprocess:mcpt:key-rotation",
        actor=Actor(type="system", id="scheduler"),
        router=your_router,
    )
    assert result.success, result.error
    audit = tools.export_audit_package(request_id)
    assert audit.data["digest"].startswith("sha256:")
    package = export_audit_package(tools.store, request_id).package
    assert package is not None
    verification = verify_audit_package(package)
    assert verification.ok
    result = tools.template_create(
        name="prod-deploy",
        actor=Actor(type="human", id="platform-team"),
        min_approvals=2,
        allowed_modes=["dry_run", "apply"],
        require_adapter_capabilities=["timeout"],
        labels=["prod"],
    )
    assert result.success, result.error
    result = tools.request(
        goal="Deploy v2.1.0", actor=actor, template_name="prod-deploy", override_min_approvals=3
    )
    assert result.data["min_approvals"] == 3

    decision_id = result.data["request_id"]
    events = tools.store.get_events(decision_id)
    decision = Decision.load(tools.store, decision_id)
    policy = decision.policy
    lifecycle = compute_lifecycle(decision, events, policy)
    reason, entry = lifecycle.blocking_reasons[0], lifecycle.timeline[0]
    assert (reason.code, reason.message) == ("MISSING_APPROVALS", "Missing 3 approvals (0 of 3)")
    assert (entry.seq, entry.label) == (0, "created")

    bundle_json = tools.export_bundle(decision_id).data["canonical_json"]
    result = tools.import_bundle(bundle_json, conflict_mode="new_decision_id", replay_after_import=True)
    assert result.success, result.error
    tools.store.close()
    assert [path.name for path in tmp_path.glob("*.db")] == ["decisions.db"]
