"""The steps of a run in an answer: their counts, the first one that is not ok, and all of them where they are short;
else they are in a file.
"""

import json
from collections.abc import Sequence
from typing import Final

from nexus_control.execution.spelling import bounded
from nexus_control.toolset.fitting import kept_in_file
from nexus_control.toolset.outputs import RunSteps, StepsData
from nexus_control.toolset.tool import ToolContext
from nexus_control.usecases.run_answers import StepErrorData, StepLine

INLINE_STEPS: Final = 1500
_LONGEST_MESSAGE: Final = 300


def run_steps(
    context: ToolContext, execution_id: str, results: Sequence[StepLine], *, truncated: bool
) -> RunSteps:
    """The steps of one execution. `truncated`: the router's answer had more than is known of it."""
    statuses = [each["status"] for each in results]
    steps: StepsData = {
        "count": len(results),
        "ok": statuses.count("ok"),
        "error": statuses.count("error"),
        "unknown": statuses.count("unknown"),
        "truncated": truncated,
    }
    if len(json.dumps(results, ensure_ascii=False).encode()) <= INLINE_STEPS:
        return {"steps": steps, "results": list(results)}
    first = next((each for each in results if each["status"] != "ok"), None)
    if first is not None:
        steps["first_not_ok"] = _without_output(first)
    steps["file"] = kept_in_file(context, "steps", execution_id, list(results))
    return {"steps": steps}


def _without_output(step: StepLine) -> StepLine:
    error, shown = step["error"], None
    if error is not None:
        shown = StepErrorData(code=error["code"], message=bounded(error["message"], _LONGEST_MESSAGE))
    return {
        "step_id": step["step_id"],
        "status": step["status"],
        "output": None,
        "error": shown,
        "exit_code": step["exit_code"],
        "effect": step["effect"],
    }
