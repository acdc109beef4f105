"""A call that has done its work is answered as a success, also where the artifacts folder cannot be written."""

import json
from pathlib import Path

from nexus_control import DecisionStore, LocalRouter, NexusControlTools, PythonAdapter
from nexus_control.toolset import ToolContext, call, tool_named
from tests.execution.support import plan, step
from tests.support.governed import SCHEDULER, approved


def test_an_execution_whose_steps_fit_no_answer_is_still_a_success(tmp_path: Path) -> None:
    (tmp_path / "artifacts").write_text("not a folder")
    long = "x" * 20_000
    adapter = PythonAdapter("keys", {"tell": lambda: long})
    with DecisionStore(tmp_path / "store.db") as store, LocalRouter([adapter]) as router:
        request_id = approved(NexusControlTools(store), plan=plan(step("tell")))
        context = ToolContext(
            store=store,
            actor=SCHEDULER,
            database=str(tmp_path / "store.db"),
            artifacts=tmp_path / "artifacts",
            router=router,
        )
        for name, more in (("execute", {"adapter_id": "python:keys"}), ("status", {})):
            tool = tool_named(f"nexus-control.{name}")
            assert tool is not None
            answered = call(tool, context, {"request_id": request_id, **more})
            assert not answered.is_error, answered.content
            said = json.dumps(answered.content)
            assert "artifacts folder" in said
            assert len(said) < 8192
