"""What people see of guarded calls, which an agent's host or a program of theirs runs by itself."""

from pathlib import Path
from typing import Any

from nexus_control.guards import ToolCall
from tests.cli.screens.golden import FOLDER, Screen, Shot, at_work, each
from tests.support.governed import ALICE, BOB, SCHEDULER, data_of

SCRIPT = "cd build &&\n  rm -rf cache\n"
BASH = ToolCall(
    tool="Bash",
    arguments={"command": SCRIPT, "timeout": 60, "description": "Empty the cache"},
    call_id="call_1",
    folder=FOLDER,
)
ROTATE = ToolCall(tool="deploy.rotate", arguments={"service": "billing", "keep": 1}, call_id="")


def asked(folder: Path) -> dict[str, str]:
    """A call of a tool that waits, and one in every later state; a governed function that waits."""
    with at_work(folder) as (tools, clock):
        clock.advance(hours=22)

        def request(goal: str, call: ToolCall, adapter_id: str) -> str:
            metadata = {"host": "codex", "session": "s1"} if call.folder else None
            given: dict[str, Any] = {"plan": call.plan(), "adapter_id": adapter_id, "metadata": metadata}
            clock.advance(minutes=5)
            return data_of(tools.request(goal, ALICE, mode="apply", expires_in="8h", **given))["request_id"]

        ids = {
            name: request('Bash(command="cd build …")', BASH, "tool:Bash")
            for name in ("pending", "approved", "ran", "failed")
        }
        ids["function"] = request('deploy.rotate(service="billing")', ROTATE, "function:deploy.rotate")
        for name in ("approved", "ran", "failed"):
            data_of(tools.approve(ids[name], BOB))
        executions = {
            name: data_of(tools.claim(ids[name], "tool:Bash", SCHEDULER))["execution_id"]
            for name in ("ran", "failed")
        }
        data_of(tools.record(executions["ran"], "completed", "3 files\nok"))
        data_of(tools.record(executions["failed"], "failed", error="no such folder"))
        return ids


SCREENS = {
    "guarded-review": Screen("approve", "@pending", "--as", "human:carol", store=asked, typed="y\n"),
    "guarded-review-all": Screen("approve", "@pending", "--as", "human:carol", "--full", store=asked, typed="n\n"),
    "guarded-review-function": Screen("approve", "@function", "--as", "human:carol", store=asked, typed="y\n"),
    "guarded-status-approved": Screen("status", "@approved", store=asked),
    "guarded-status-ran": Screen("status", "@ran", store=asked),
    "guarded-status-failed": Screen("status", "@failed", store=asked),
    "guarded-wait": Screen("wait", "@approved", store=asked),
    "guarded-execute": Screen("execute", "@approved", store=asked),
    "guarded-run-show": Screen("run", "show", "@ran", store=asked),
    "guarded-run-show-failed": Screen("run", "show", "@failed", store=asked),
    "guarded-list": Screen("list", store=asked),
}  # fmt: skip


@each(SCREENS)
def test_what_people_see_of_guarded_calls_looks_as_it_did(shot: Shot) -> None:
    shot.check()
