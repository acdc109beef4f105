"""Faults of what a step calls, and of ourselves, each with real processes. After each the state is true, nothing ran
twice, no process is left, and a person settles what is unknown.
"""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.execution.support import eventually
from tests.joints.faults import Desk, Left, left_alive
from tests.support.mishaps import MOMENTS
from tests.support.room import run_on_a_small_disk

pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds processes in /proc")

KINDS = ("subprocess", "python", "mcp")
REFUSED = "POLICY_NOT_SATISFIED"


def done(lines: int = 1) -> Left:
    return Left(code=None, state="completed", effect="done", lines=lines, step="ok")


def failed(lines: int) -> Left:
    return Left(code="ROUTER_ERROR", state="failed", effect="unknown", lines=lines, step="error")


def unknown(lines: int, step: str = "unknown", code: str | None = "OUTCOME_UNKNOWN") -> Left:
    return Left(code=code, state="outcome_unknown", effect="unknown", lines=lines, step=step)


def cut_off(lines: int, step: str | None = "unknown", code: str | None = None) -> Left:
    """The process is gone, or can record nothing; the claim stands until it is recovered."""
    return Left(code=code, state="executing", effect=None, lines=lines, step=step)


def refused(code: str | None) -> Left:
    """Nothing was claimed."""
    return Left(code=code, state="approved", effect=None, lines=0, step=None)


NOT_BEGUN = Left(code="ROUTER_ERROR", state="failed", effect="none", lines=0, step=None)

DOWNSTREAM: dict[str, dict[str, Left]] = {
    "subprocess": {
        "exits before the effect": failed(0),
        "exits after the effect": failed(1),
        "dies before the effect": unknown(0),
        "dies after the effect": unknown(1),
        "hangs before the effect": unknown(0),
        "hangs after the effect": unknown(1),
        "prints garbage": done(),
        "floods 100 MB": done(),
        "claims to have failed": done(),
        "claims to have acted": done(lines=0),
        "asks back": failed(0),
        "asks at the terminal": failed(0),
        "leaves children behind": done(),
        "kills us before the effect": cut_off(0),
        "kills us after the effect": cut_off(1),
    },
    "python": {
        "exits before the effect": unknown(0),
        "exits after the effect": unknown(1),
        "raises before the effect": failed(0),
        "raises after the effect": failed(1),
        "ends us before the effect": cut_off(0),
        "ends us after the effect": cut_off(1),
        "hangs before the effect": unknown(0, code=None),
        "hangs after the effect": unknown(1, code=None),
        "prints garbage": done(),
        "floods 100 MB": done(),
        "claims to have failed": done(),
        "claims to have acted": done(lines=0),
        "asks back": failed(0),
        "kills us before the effect": cut_off(0),
        "kills us after the effect": cut_off(1),
    },
    "mcp": {
        "exits before the effect": unknown(0),
        "exits after the effect": unknown(1),
        "fails before the effect": failed(0),
        "fails after the effect": failed(1),
        "refuses the call": failed(0),
        "hangs before the effect": unknown(0),
        "hangs after the effect": unknown(1),
        "prints garbage": done(),
        "answers garbage": failed(1),
        "answers twice": done(),
        "floods 100 MB": done(),
        "floods 100 MB in a line": unknown(1),
        "floods 100 MB of errors": done(),
        "floods 100 MB of result": unknown(1),
        "claims to have failed": failed(1),
        "claims to have acted": done(lines=0),
        "asks back": failed(0),
        "leaves children behind": done(),
        "kills us before the effect": cut_off(0),
        "kills us after the effect": cut_off(1),
    },
}
"""By what a step calls. A time limit ends a program that hangs; a function cannot be ended, so SIGTERM ends us."""

MISHAPS: dict[tuple[str, str], Left] = {
    ("killed", "before the claim"): refused(None),
    ("killed", "before the dispatch"): cut_off(0, step=None),
    ("killed", "before the end of the step is logged"): cut_off(1),
    ("killed", "before the end of the run is logged"): cut_off(1, step="ok"),
    ("killed", "before the outcome is recorded"): cut_off(1, step="ok"),
    ("killed", "after the outcome is recorded"): done(),
    ("full", "before the claim"): refused("STORE_UNAVAILABLE"),
    ("full", "before the dispatch"): cut_off(0, step=None, code="OUTCOME_UNKNOWN"),
    ("full", "before the end of the step is logged"): cut_off(1, code="OUTCOME_UNKNOWN"),
    ("full", "before the end of the run is logged"): cut_off(1, step="ok", code="OUTCOME_UNKNOWN"),
    ("full", "before the outcome is recorded"): cut_off(1, step="ok", code="OUTCOME_UNKNOWN"),
    ("full", "after the outcome is recorded"): done(),
    ("full_for_a_moment", "before the dispatch"): NOT_BEGUN,
    ("full_for_a_moment", "before the end of the step is logged"): unknown(1),
    ("full_for_a_moment", "before the end of the run is logged"): unknown(1, step="ok"),
    ("full_for_a_moment", "before the outcome is recorded"): unknown(1, step="ok"),
    ("clock_back", "before the claim"): done(),
    ("clock_back", "before the dispatch"): done(),
    ("clock_back", "before the end of the step is logged"): done(),
    ("clock_back", "before the outcome is recorded"): done(),
    ("clock_back_and_killed", "before the outcome is recorded"): cut_off(1, step="ok"),
}
"""What happens to the process that executes, and when."""


def desk_in(folder: Path, kind: str, monkeypatch: pytest.MonkeyPatch, *, time_limit: int = 60) -> Desk:
    monkeypatch.chdir(folder)
    desk = Desk(folder, kind, time_limit)
    desk.prepare()
    return desk


@pytest.mark.sample(25)
@pytest.mark.parametrize(
    ("kind", "fault", "left"),
    [
        pytest.param(kind, fault, left, id=f"{kind}: {fault}")
        for kind, faults in DOWNSTREAM.items()
        for fault, left in faults.items()
    ],
)
def test_whatever_a_step_does_the_state_is_true_and_nothing_runs_twice(
    kind: str, fault: str, left: Left, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = desk_in(tmp_path, kind, monkeypatch, time_limit=5 if fault.startswith("hangs") else 60)
    request_id = desk.approved(fault)
    desk.require(request_id, desk.execute(request_id), left)
    desk.settle(request_id)


@pytest.mark.sample(10)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("mishap", "moment", "left"),
    [pytest.param(*when, left, id=" ".join(when)) for when, left in MISHAPS.items()],
)
def test_whatever_happens_to_us_the_state_is_true_and_nothing_runs_twice(
    mishap: str, moment: str, left: Left, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = desk_in(tmp_path, kind, monkeypatch)
    request_id = desk.approved("works")
    desk.require(request_id, desk.execute(request_id, mishap, moment), left)
    desk.settle(request_id)


def test_a_flood_of_output_costs_no_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    desk = desk_in(tmp_path, "subprocess", monkeypatch)
    weights: list[int] = []
    for fault in ("works", "floods 100 MB"):
        desk.execute(desk.approved(fault), "weighed", "after the outcome is recorded")
        weights.append(int((tmp_path / "weight").read_text()))
    assert desk.lines() == 2
    assert weights[1] < weights[0] + 30_000, weights


_ON_A_SMALL_DISK = """
import os
import sys
from pathlib import Path
from tests.joints.faults import Desk
from tests.joints.test_fault_table import FILLED
folder = Path(sys.argv[1])
folder.chmod(0o700)  # settings in a folder that everybody may write are not used
os.chdir(folder)
desk = Desk(folder, "subprocess")
desk.prepare()
request_id = desk.approved("fills the disk")
answer = desk.execute(request_id)
assert (folder / "filler").stat().st_size > 1_000_000
(folder / "filler").unlink()
desk.require(request_id, answer, FILLED)
desk.settle(request_id)
"""
FILLED = cut_off(1, code="OUTCOME_UNKNOWN")


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("unshare") is None, reason="only root may mount")
def test_a_step_that_fills_the_disk_with_its_effect_leaves_the_outcome_unknown(tmp_path: Path) -> None:
    ran = run_on_a_small_disk("4m", tmp_path, _ON_A_SMALL_DISK)
    if "unshare" in ran.stderr or "mount:" in ran.stderr:
        pytest.skip(f"nothing can be mounted here: {ran.stderr}")
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize("sign", ["its variable", "its folder"])
def test_a_process_that_is_left_would_be_found(sign: str, tmp_path: Path) -> None:
    marked = {"FAULTY": str(tmp_path)} if sign == "its variable" else {}
    where = tmp_path if sign == "its folder" else Path("/")
    with subprocess.Popen(["sleep", "3600"], cwd=where, env=marked) as left:
        assert eventually(lambda: left_alive(tmp_path) == [left.pid])
        left.kill()
    assert left_alive(tmp_path) == []


def test_the_table_has_each_moment() -> None:
    assert {moment for _, moment in MISHAPS} == set(MOMENTS)


def unlink_program(desk: Desk) -> None:
    (desk.folder / "keys").unlink()


def change_declaration(desk: Desk) -> None:
    desk.declare(desk.time_limit + 1)


def starting(fault: str) -> Callable[[Desk], None]:
    def damage(desk: Desk) -> None:
        (desk.folder / "at_start").write_text(fault)

    return damage


BROKEN: dict[str, tuple[str, Callable[[Desk], None], dict[str, str], str]] = {
    "the program is missing": ("subprocess", unlink_program, {}, "ROUTER_NOT_READY"),
    "the definition has changed": ("subprocess", change_declaration, {}, REFUSED),
    "the server is missing": ("mcp", unlink_program, {}, "ROUTER_NOT_READY"),
    "the declaration of the server has changed": ("mcp", change_declaration, {}, REFUSED),
    "the server exits": ("mcp", starting("exits"), {}, "ROUTER_NOT_READY"),
    "the server hangs": ("mcp", starting("hangs"), {}, "ROUTER_NOT_READY"),
    "the server floods": ("mcp", starting("floods"), {}, "ROUTER_NOT_READY"),
    "the server lacks the tool": ("mcp", starting("lacks the tool"), {}, "ROUTER_NOT_READY"),
    "the tool has changed": ("mcp", starting("has changed"), {}, "TOOL_DEFINITION_CHANGED"),
    "the function is missing": ("python", lambda desk: None, {"MISSING": "1"}, REFUSED),
    "the function has changed": ("python", lambda desk: None, {"CHANGED": "1"}, REFUSED),
}


@pytest.mark.sample(6)
@pytest.mark.parametrize(("kind", "damage", "changes", "code"), BROKEN.values(), ids=BROKEN)
def test_a_step_that_cannot_be_called_costs_no_approval_and_runs_once_when_it_can(
    kind: str,
    damage: Callable[[Desk], None],
    changes: dict[str, str],
    code: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    desk = desk_in(tmp_path, kind, monkeypatch, time_limit=5 if kind == "mcp" else 60)
    request_id = desk.approved("works")
    damage(desk)
    desk.require(request_id, desk.execute(request_id, **changes), refused(code))
    desk.prepare()
    desk.settle(request_id)


def test_a_tool_that_changes_after_the_claim_is_not_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = desk_in(tmp_path, "mcp", monkeypatch)
    request_id = desk.approved("works")
    starting("changes")(desk)
    left = Left(code="ROUTER_ERROR", state="failed", effect="none", lines=0, step="error")
    desk.require(request_id, desk.execute(request_id), left)
    desk.prepare()
    desk.settle(request_id)


def test_a_program_that_is_gone_after_the_claim_is_a_failure_without_an_effect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = desk_in(tmp_path, "subprocess", monkeypatch)
    request_id = desk.approved("works")
    left = Left(code="ROUTER_ERROR", state="failed", effect="none", lines=0, step="error")
    desk.require(request_id, desk.execute(request_id, "program_gone", "before the dispatch"), left)
    desk.prepare()
    desk.settle(request_id)
