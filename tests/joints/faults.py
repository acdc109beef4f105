"""What a fault leaves behind, and how it is settled: one process executes, others look and settle.

desk = Desk(folder, "subprocess")
request_id = desk.approved("dies after the effect")
answer = desk.execute(request_id)
desk.require(request_id, answer, Left(code="OUTCOME_UNKNOWN", state="outcome_unknown", effect="unknown", lines=1))
desk.settle(request_id)
"""

import json
import os
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nexus_control import LocalRouter, NexusControlTools, verify_audit_package
from nexus_control.log.upkeep import find_faults
from tests.cli.running import Commands, environment
from tests.execution.support import eventually, lives
from tests.joints import downstream
from tests.support.governed import approved, data_of, require_whole_store

DATABASE = "store.db"


@dataclass(frozen=True, kw_only=True)
class Left:
    """What is there after a fault."""

    code: str | None
    """That the command answered; None if it succeeded, or was ended without an answer."""
    state: str
    effect: str | None
    lines: int
    """Of the file of effects."""
    step: str | None
    """The step, as the run log and the kept answer tell it; None where no run is known."""


@dataclass(frozen=True)
class Desk:
    """A store with an adapter of this kind, in a folder that is the current one."""

    folder: Path
    kind: str
    time_limit: int = 60

    def prepare(self) -> None:
        program = self.folder / "keys"
        program.write_text(downstream.SERVER if self.kind == "mcp" else downstream.PROGRAM)
        program.chmod(0o755)
        self.declare(self.time_limit)
        (self.folder / "at_start").unlink(missing_ok=True)
        if self.kind == "mcp":
            downstream.pin()

    def declare(self, seconds: int) -> None:
        """Write the settings, with this time limit for a step."""
        if self.kind != "python":
            shared = downstream.SETTINGS.format(kind=self.kind, seconds=seconds, marker=self.folder)
            settings = self.folder / downstream.SETTINGS_FILE
            settings.write_text(shared + downstream.CALLED[self.kind])

    @property
    def adapter_id(self) -> str:
        return f"{self.kind}:keys"

    @contextmanager
    def tools(self) -> Generator[tuple[NexusControlTools, LocalRouter]]:
        make = downstream.python_router if self.kind == "python" else downstream.configured_router
        with make() as router, NexusControlTools(self.folder / DATABASE, plan_checker=router) as tools:
            yield tools, router

    def approved(self, fault: str) -> str:
        call = {"tool": "keys", "method": "act", "args": {"fault": fault}}
        plan = [{"step_id": "s1", "intent": "Act", "call": call}]
        with self.tools() as (tools, _):
            return approved(tools, plan=plan, adapter_id=self.adapter_id)

    def _execute(self, request_id: str) -> list[str]:
        factory = "tests.joints.downstream:python_router"
        return ["execute", request_id, *(["--router", factory] if self.kind == "python" else [])]

    def execute(self, request_id: str, *mishap: str, **changes: str) -> dict[str, Any]:
        """What a process of the command line answers that executes the decision; nothing if it is ended before."""
        module = ["tests.support.mishaps", *mishap] if mishap else ["nexus_control"]
        words = [*self._execute(request_id), "--db", str(self.folder / DATABASE), "--json"]
        ended = subprocess.run(
            [sys.executable, "-m", *module, *words],
            cwd=self.folder,
            env=environment(FAULTY=str(self.folder), **changes),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=240,
        )
        assert ended.stdout or ended.returncode not in (0, 1, 2), ended.returncode
        return json.loads(ended.stdout) if ended.stdout else {}

    def require(self, request_id: str, answer: dict[str, Any], left: Left) -> None:
        """What is there is this, the store is whole, and no process is left."""
        found = Left(code=answer.get("code"), **self._found(request_id))
        assert found == left, (found, answer)
        assert eventually(lambda: not left_alive(self.folder)), left_alive(self.folder)
        self._require_whole(request_id)

    def settle(self, request_id: str) -> None:
        """Bring the decision to its end, by what the advice says; nothing runs that ran before."""
        commands, lines, state = Commands(self.folder), self.lines(), self.state(request_id)
        if state == "approved":  # refused, or not begun: it costs no approval, and runs once later
            commands.answer(*self._execute(request_id))
            assert (self.state(request_id), self.lines()) == ("completed", lines + 1)
            self._require_refused(request_id)
            return
        self._require_refused(request_id)
        recovered = commands.answer("recover")["recovered"]
        assert recovered == ([request_id] if state == "executing" else [])
        if state in ("executing", "outcome_unknown"):
            self._require_refused(request_id)
            settled = "completed" if lines else "failed"
            commands.answer("reconcile", request_id, "--outcome", settled, "--evidence", "Looked")
            state = settled
            self._require_refused(request_id)
        assert (self.state(request_id), self.lines()) == (state, lines)
        self._require_whole(request_id)

    def state(self, request_id: str) -> str:
        return Commands(self.folder).answer("status", request_id)["state"]

    def lines(self) -> int:
        file = self.folder / "effect"
        return len(file.read_text().splitlines()) if file.exists() else 0

    def _found(self, request_id: str) -> dict[str, Any]:
        commands = Commands(self.folder)
        status, steps = commands.answer("status", request_id), list[dict[str, Any]]()
        if status["executions"]:
            steps = commands.answer("run", "show", request_id)["results"]
        return {
            "state": status["state"],
            "effect": status["executions"][-1]["effect"] if status["executions"] else None,
            "lines": self.lines(),
            "step": steps[-1]["status"] if steps else None,
        }

    def _require_refused(self, request_id: str) -> None:
        """To execute it once more is refused, and changes nothing."""
        before = self._found(request_id)
        Commands(self.folder).answer(*self._execute(request_id), code=1)
        assert self._found(request_id) == before, before

    def _require_whole(self, request_id: str) -> None:
        """The store is whole, no time goes back in it or in the run log, and what was completed can be proved."""
        with self.tools() as (tools, router):
            assert require_whole_store(tools.store) == [request_id]
            assert find_faults(tools.store) == []
            events = tools.store.get_events(request_id)
            times = [[event.ts for event in events]]
            runs = router.runs_of(request_id)
            times += [[event["ts"] for event in router.export_run(run.run_id)["events"]] for run in runs]
            assert [sorted(each) for each in times] == times
            assert len(runs) <= 1
            if str(events[-1].event_type) == "EXECUTION_COMPLETED":
                package = data_of(tools.export_audit_package(request_id))["package"]
                assert verify_audit_package(package).ok


def left_alive(folder: Path) -> list[int]:
    """The living processes of a case: marked, or at work in its folder."""
    entries = Path("/proc").glob("[0-9]*")
    return [pid for each in entries if lives(pid := int(each.name)) and _is_of(folder, each)]


def _is_of(folder: Path, process: Path) -> bool:
    try:
        marked = f"FAULTY={folder}".encode() in (process / "environ").read_bytes().split(b"\0")
        return marked or ((process / "cwd").readlink() == folder and process.name != str(os.getpid()))
    except OSError:
        return False
