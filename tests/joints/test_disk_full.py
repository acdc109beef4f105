"""A disk that is full at whatever is written: the refusal names the file, nothing is half written, and with room again
the same call succeeds.
"""

import errno
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from nexus_control import LocalRouter, NexusControlTools, PythonAdapter
from nexus_control.cli.main import app
from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.log.checkpoints import publish
from nexus_control.log.head import place_of
from nexus_control.log.log_keys import rotate
from nexus_control.log.upkeep import examine, find_faults, refusal_to_write
from tests.joints.office import approved, execute, requested, runs_in
from tests.support.amounts import number_of
from tests.support.governed import ALICE, BOB, SCHEDULER, data_of
from tests.support.room import no_file_beyond, run_on_a_small_disk

CAROL = {"type": "human", "id": "carol"}
PLAN: list[dict[str, object]] = [
    {"step_id": "s1", "intent": "Rotate", "call": {"tool": "keys", "method": "rotate", "args": {}}}
]


@dataclass(frozen=True)
class Desk:
    """A store with an approved request, a signed checkpoint and a head, none of them of this moment."""

    path: Path
    tools: NexusControlTools
    request_id: str

    @property
    def store(self) -> Any:
        return self.tools.store

    def beside(self, name: str) -> Path:
        return Path(f"{self.path}.{name}")

    def kept(self) -> dict[str, bytes]:
        """All that lies in the folder but what SQLite makes of its own."""
        return {
            each.name: each.read_bytes()
            for each in self.path.parent.iterdir()
            if not each.name.endswith(("-wal", "-shm"))
        }


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    path = tmp_path / "store.db"
    tools = NexusControlTools(path)
    publish(tools.store)
    data_of(tools.deny(requested(tools), BOB, "Not now"))
    return Desk(path, tools, approved(tools))


def fault_of(act: Callable[[], object]) -> tuple[str | None, str, str]:
    """Code, message and advice of a refusal, of a result or of an exception."""
    try:
        result: Any = act()
    except NexusControlError as fault:
        return fault.code, fault.message, fault.next
    return (
        getattr(result, "error_code", None),
        str(getattr(result, "error", "")),
        str(getattr(result, "next", "")),
    )


Act = Callable[[Desk], object]
ACTS: dict[str, tuple[Act, str]] = {
    # what is called, and the end of the file's name that the refusal must hold
    "a request": (lambda desk: desk.tools.request("More", ALICE), "store.db "),
    "an approval": (lambda desk: desk.tools.approve(desk.request_id, CAROL), "store.db "),
    "a denial": (lambda desk: desk.tools.deny(desk.request_id, BOB, "No"), "store.db "),
    "a checkpoint": (lambda desk: publish(desk.store), "store.db.checkpoint "),
    "another key": (lambda desk: rotate(desk.store), "store.db.key.next "),
}


@pytest.mark.parametrize("what", ACTS)
def test_a_call_without_room_names_the_file_changes_nothing_and_succeeds_with_room(
    what: str, desk: Desk
) -> None:
    act, file = ACTS[what]
    before, size = desk.kept(), _log_size(desk)
    with no_file_beyond(0):
        code, message, advice = fault_of(lambda: act(desk))
    assert code == ErrorCode.STORE_UNAVAILABLE
    assert file in message
    assert "disk space" in advice
    assert (desk.kept(), _log_size(desk)) == (before, size)
    assert fault_of(lambda: act(desk))[0] is None
    assert find_faults(desk.store) == []


def _log_size(desk: Desk) -> int:
    with desk.store.reading() as session:
        return session.rows.log_size()


def test_an_execution_without_room_runs_nothing_and_runs_once_with_room(desk: Desk, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    with no_file_beyond(0):
        assert execute(desk.tools, desk.request_id, runs) == ErrorCode.STORE_UNAVAILABLE
    assert runs_in(runs) == 0
    assert data_of(desk.tools.status(desk.request_id))["state"] == "approved"
    assert execute(desk.tools, desk.request_id, runs) is None
    assert runs_in(runs) == 1


def test_wherever_the_room_ends_what_was_acknowledged_stays_and_nothing_is_torn(desk: Desk) -> None:
    wal = desk.path.with_name("store.db-wal")
    acknowledged = [desk.request_id]
    for more in range(0, 80_000, 80_000 // number_of(100, few=16)):
        with no_file_beyond(wal.stat().st_size + more):
            while (asked := desk.tools.request(f"{more}", ALICE)).success:
                acknowledged.append(asked.data["request_id"])
                assert desk.tools.approve(acknowledged[-1], BOB).error_code in (None, "STORE_UNAVAILABLE")
        assert asked.error_code == ErrorCode.STORE_UNAVAILABLE
        assert find_faults(desk.store) == []
    assert len(acknowledged) > 10
    known = {decision_id for decision_id, _ in desk.store.list_decisions(limit=10_000)}
    assert known >= set(acknowledged)
    assert all(len(desk.store.get_events(each)) >= 2 for each in known)


def test_a_verdict_stands_where_there_is_no_room_for_the_head_and_doctor_says_so(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A head is overwritten in its place, so a disk that is full does not matter, unless the file was taken away."""
    head = desk.beside("head")
    os.truncate(head, 0)
    pwrite = os.pwrite

    def full(descriptor: int, content: bytes, offset: int) -> int:
        if os.path.samestat(os.fstat(descriptor), head.stat()):
            raise OSError(errno.ENOSPC, "No space left on device")
        return pwrite(descriptor, content, offset)

    monkeypatch.setattr(os, "pwrite", full)
    data_of(desk.tools.deny(desk.request_id, BOB, "No"))
    faults, beside = examine(desk.store, refusal_to_write(desk.store))
    assert (faults, beside["head"].status) == ([], "skipped")
    assert place_of(desk.store.sidecar) in beside["head"].reason


def test_a_run_log_without_room_for_the_run_is_found_out_before_the_run_or_told_honestly_after(
    tmp_path: Path,
) -> None:
    ran = tmp_path / "ran"

    def rotate_keys() -> str:
        with ran.open("a") as file:
            file.write("x")
        return "rotated"

    router = LocalRouter(
        [PythonAdapter("keys", {"rotate": rotate_keys}, capabilities=["apply"])], tmp_path / "runs.db"
    )

    def asked(tools: NexusControlTools) -> str:
        request_id: str = data_of(tools.request("Rotate", ALICE, mode="apply", plan=PLAN))["request_id"]
        data_of(tools.approve(request_id, BOB))
        return request_id

    with NexusControlTools(tmp_path / "store.db") as tools:
        for _ in range(20):
            data_of(tools.execute(asked(tools), "python:keys", SCHEDULER, router))
    assert (tmp_path / "runs.db-wal").stat().st_size > 400_000
    codes: set[str | None] = set()
    for more in range(0, 120_000, 120_000 // number_of(60, few=15)):
        with NexusControlTools(tmp_path / "store.db") as tools:  # its WAL is short again, and has room
            request_id, before = asked(tools), ran.stat().st_size
            with no_file_beyond((tmp_path / "runs.db-wal").stat().st_size + more):
                result = tools.execute(request_id, "python:keys", SCHEDULER, router)
            happened = ran.stat().st_size - before
            state = data_of(tools.status(request_id))["state"]
            codes.add(result.error_code)
            assert (state, happened) in {
                ("approved", 0),
                ("failed", 0),
                ("outcome_unknown", 0),
                ("outcome_unknown", 1),
                ("completed", 1),
            }, (more, state, happened, result.error)
            assert find_faults(tools.store) == []
    assert {ErrorCode.ROUTER_NOT_READY, None} < codes, codes
    router.close()


COMMANDS: dict[str, tuple[str, ...]] = {
    "export": ("export", "{id}", "--output", "{folder}/bundle.json"),
    "report": ("report", "{id}", "--output", "{folder}/report.html"),
    "backup": ("backup", "{folder}/backup"),
}


@pytest.mark.parametrize("what", COMMANDS)
def test_a_file_without_room_is_not_left_half_written(what: str, desk: Desk) -> None:
    words = [word.format(id=desk.request_id, folder=desk.path.parent) for word in COMMANDS[what]]
    command = ["--db", str(desk.path), *words]
    before = desk.kept()
    with no_file_beyond(100):
        ran = CliRunner().invoke(app, command, prog_name="nexus-control")
    assert ran.exit_code == 2, ran.output
    assert str(desk.path.parent) in ran.output
    assert desk.kept() == before
    assert CliRunner().invoke(app, command, prog_name="nexus-control").exit_code == 0
    assert len(desk.kept()) == len(before) + 1


_FILL = """
import subprocess
import sys
from pathlib import Path
from nexus_control import NexusControlTools
from nexus_control.log.checkpoints import publish
from nexus_control.log.upkeep import find_faults
from tests.joints.office import approved, requested
from tests.support.governed import ALICE, BOB, data_of
folder = Path(sys.argv[1])
tools = NexusControlTools(folder / "store.db")
publish(tools.store)
first, made = approved(tools), []
while (asked := tools.request("More", ALICE, plan="x" * 2000)).success:
    made.append(asked.data["request_id"])
assert asked.error_code == "STORE_UNAVAILABLE", asked.error
assert asked.details["sqlite_errorname"] == "SQLITE_FULL", asked.details
assert str(folder / "store.db") in asked.error and "disk space" in asked.next
assert data_of(tools.status(first))["state"] == "approved"
assert find_faults(tools.store) == []
with (folder / "filler").open("wb", buffering=0) as file:
    try:
        while file.write(b"x" * 512):
            pass
    except OSError:
        pass
checkpoint = (folder / "store.db.checkpoint").read_bytes()
try:
    publish(tools.store)
    raise SystemExit("there was room for a checkpoint")
except ValueError as fault:
    assert "store.db.checkpoint cannot be written: No space left on device" in str(fault), fault
assert (folder / "store.db.checkpoint").read_bytes() == checkpoint
subprocess.run(["mount", "-o", "remount,size=8m", str(folder)], check=True)
tools.store.close()
tools = NexusControlTools(folder / "store.db")
assert {each for each, _ in tools.store.list_decisions(limit=10_000)} == {first, *made}
publish(tools.store)
assert find_faults(tools.store) == []
print(len(made))
"""


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("unshare") is None, reason="only root may mount")
def test_a_file_system_that_is_really_full_is_named_and_gives_back_what_was_acknowledged(
    tmp_path: Path,
) -> None:
    ran = run_on_a_small_disk("1m", tmp_path, _FILL)
    if "unshare" in ran.stderr or "mount:" in ran.stderr:
        pytest.skip(f"nothing can be mounted here: {ran.stderr}")
    assert ran.returncode == 0, ran.stderr
    assert int(ran.stdout) > 10
