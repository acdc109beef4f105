"""What a step of the embedded router costs: a Python function beside two durable commits, a program beside itself.

A step is measured in a plan of many steps, and what a run costs with one step is taken off: the rest is what each
further step takes. A run of one step is shown apart, since a program's supervisor is started in it.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack

from benchmarks.results import Outcome
from benchmarks.syncs import WHY_NOT
from benchmarks.timing import Timed, in_turns
from benchmarks.workloads import Setting
from benchmarks.workloads.limits import raw_commits
from nexus_control import LocalRouter, PythonAdapter, load_adapters

STEPS = 10
FURTHER = STEPS - 1
COMMITS = 2
PROGRAMS: dict[str, list[str]] = {
    "true": ["true"],
    "git": ["git", "--version"],
    "python": [sys.executable, "-I", "-S", "-c", "print(1)"],
    "script": [sys.executable, "-c", "import json, subprocess; print(json.dumps([1]))"],
}
"""The shortest program that there is, a short one, a bare start of Python, and a script that loads two modules."""
CONFIG = """
[adapters.programs]
kind = "subprocess"
capabilities = ["apply"]
timeout_seconds = 60
"""


class Running:
    """Each call is a run of a plan: of `STEPS` steps of one method, or of one step."""

    def __init__(self, router: LocalRouter, adapter_id: str, method: str, steps: int) -> None:
        self._router, self._adapter_id = router, adapter_id
        call: dict[str, object] = {"tool": adapter_id.partition(":")[2], "method": method, "args": {}}
        plan = [{"step_id": f"s{number}", "intent": "measure", "call": call} for number in range(steps)]
        self.plan = json.dumps(plan)

    def __call__(self) -> list[object]:
        """The output of each step."""
        answer = self._router.run("Measure", self._adapter_id, dry_run=False, plan=self.plan)
        return [result["output"] for result in answer["results"]]


def run(setting: Setting) -> Outcome:
    programs = {name: argv for name, argv in PROGRAMS.items() if shutil.which(argv[0])}
    config = setting.folder / "nexus-control.toml"
    config.write_text(CONFIG + "".join(map(_tool, programs, programs.values())), encoding="utf-8")
    with ExitStack() as opened:
        adapters = [*load_adapters(config), PythonAdapter("functions", {"answer": lambda: "answered"})]
        router = opened.enter_context(LocalRouter(adapters, setting.folder / "runs.db"))
        raw = opened.enter_context(raw_commits(setting.folder / "raw.db"))
        metrics, skipped = _python(router, raw, setting.sizes.seconds)
        wrong = 0
        for name, argv in programs.items():
            figures, wrongly = _program(router, name, argv, setting)
            metrics |= figures
            wrong += wrongly
    metrics["bad_steps"] = metrics.get("bad_steps", 0) + wrong
    missing = {
        f"program_{name}_step_ms": f"there is no {PROGRAMS[name][0]}"
        for name in PROGRAMS.keys() - programs.keys()
    }
    return Outcome(metrics=metrics, skipped=skipped | missing)


def _python(
    router: LocalRouter, raw: Callable[[], object], seconds: float
) -> tuple[dict[str, float], dict[str, str]]:
    many, one = (Running(router, "python:functions", "answer", steps) for steps in (STEPS, 1))

    def commits() -> None:
        for _ in range(COMMITS * FURTHER):
            raw()

    bad = sum(output != {"result": "answered"} for output in many())
    timed = in_turns({"many": many, "one": one, "raw": commits}, 2 * seconds)
    metrics = {
        "python_step_ms": each_further(timed),
        "python_run_ms": timed["one"].milliseconds,
        "calib_two_commits_ms": timed["raw"].milliseconds / FURTHER,
        "bad_steps": float(bad),
    }
    syncs = [timed[name].syncs_per_call for name in ("many", "one")]
    if syncs[0] is None or syncs[1] is None:
        return metrics, {"check_each_step_is_synced": WHY_NOT}
    a_step = (syncs[0] - syncs[1]) / FURTHER
    metrics |= {
        "info_syncs_per_step": a_step,
        "check_each_step_is_synced": float(round(a_step, 1) >= COMMITS),
    }
    return metrics, {}


def _program(
    router: LocalRouter, name: str, argv: Sequence[str], setting: Setting
) -> tuple[dict[str, float], int]:
    many, one = (Running(router, "subprocess:programs", name, steps) for steps in (STEPS, 1))
    environment = {"PATH": os.environ.get("PATH") or os.defpath, "LANG": os.environ.get("LANG") or "C.UTF-8"}

    def bare() -> str:
        ran = subprocess.run(
            argv,
            cwd=setting.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=True,
        )
        return ran.stdout.decode()

    wanted = {"exit_code": 0, "stdout": bare(), "stderr": ""}
    bad = sum(output != wanted for output in many())
    timed = in_turns({"bare": bare, "many": many, "one": one}, 2 * setting.sizes.seconds)
    return {
        f"program_{name}_step_ms": each_further(timed),
        f"program_{name}_run_ms": timed["one"].milliseconds,
        f"calib_program_{name}_ms": timed["bare"].milliseconds,
    }, bad


def each_further(timed: dict[str, Timed]) -> float:
    """Milliseconds of a step after the first."""
    return (timed["many"].milliseconds - timed["one"].milliseconds) / FURTHER


def _tool(name: str, argv: Sequence[str]) -> str:
    return f"[adapters.programs.tools.{name}]\nargv = {json.dumps(argv)}\n"
