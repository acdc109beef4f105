"""What cannot be read of an owner proves nothing: its claim is held. Only a person who names it and forces ends it."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nexus_control import NexusControlTools
from nexus_control.system.processes import Owner
from tests.hostile.test_settling import claimed_by, idle_child, process, state, this_process
from tests.support.executor import executing
from tests.support.governed import approved, data_of, last_event, require_whole
from tests.support.places import REPOSITORY

ANOTHER_USER = 61_234
HIDING = {
    "hidepid": "mount -t proc -o hidepid=2 proc /proc",
    "no /proc": "mount -t tmpfs none /proc",
}


def require_held_until_forced(tools: NexusControlTools, request_id: str) -> None:
    assert data_of(tools.recover()) == {"recovered": [], "still_held": 1, "runs": []}
    held = tools.recover(request_id)
    assert held.error_code == "CLAIM_HELD"
    assert "cannot be seen from here" in (held.error or "")
    assert state(tools, request_id) == "executing"
    assert data_of(tools.recover(request_id, force=True))["recovered"] == [request_id]
    assert last_event(tools.store, request_id).payload["reason"] == "OWNER_GONE"
    require_whole(tools.store, request_id)


# --- another user, to whom the system does not show our processes -------------------------------------------------


def _can_hide_processes() -> bool:
    if os.geteuid() != 0:
        return False
    tried = subprocess.run(["unshare", "-m", "sh", "-c", HIDING["hidepid"]], capture_output=True)
    return tried.returncode == 0


needs_root = pytest.mark.skipif(
    not _can_hide_processes(), reason="needs root, and leave to mount another /proc"
)


@pytest.fixture
def shared() -> Generator[Path]:
    """A database that every user of the machine may read and write."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        yield Path(folder) / "decisions.db"


def looked_at(database: Path, request_id: str, hiding: str) -> Any:
    for file in database.parent.iterdir():
        file.chmod(0o666)
    looker = [sys.executable, "-m", "tests.support.looker", str(database), request_id, str(ANOTHER_USER)]
    ran = subprocess.run(
        ["unshare", "-m", "sh", "-c", f'{hiding} && exec "$@"', "sh", *looker],
        cwd=REPOSITORY,
        capture_output=True,
        timeout=240,
    )
    assert ran.returncode == 0, ran.stderr.decode()
    return json.loads(ran.stdout)


@needs_root
@pytest.mark.parametrize("hiding", HIDING.values(), ids=HIDING)
def test_a_living_execution_is_held_for_a_user_to_whom_proc_does_not_show_it(
    hiding: str, shared: Path
) -> None:
    tools = NexusControlTools(db_path=shared)
    request_id = approved(tools)
    with executing(shared, request_id) as child:
        assert looked_at(shared, request_id, hiding) == {
            "all": {"recovered": [], "still_held": 1, "runs": []},
            "named": "CLAIM_HELD",
            "forced": "given up",
        }
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.close()
        assert child.stdout.readline() == b"OUTCOME_REFUSED\n"
    assert data_of(tools.status(request_id))["late_outcome"]["payload"]["run_id"] == "run-1"


@needs_root
def test_a_dead_execution_is_given_up_by_a_user_to_whom_proc_shows_nobody(shared: Path) -> None:
    tools = NexusControlTools(db_path=shared)
    request_id = approved(tools)
    with executing(shared, request_id) as child:
        child.kill()
    given_up = looked_at(shared, request_id, HIDING["hidepid"])["all"]
    assert (given_up["recovered"], given_up["still_held"]) == ([request_id], 0)


# --- what is missing ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["boot_id", "started", "namespace"])
def test_a_living_owner_of_whom_something_could_not_be_read_is_held(field: str) -> None:
    tools = NexusControlTools()
    with idle_child() as child:
        try:
            owner = replace(process(child.pid), **{field: ""})
            require_held_until_forced(tools, claimed_by(tools, owner.to_text()))
        finally:
            child.kill()


@pytest.mark.parametrize("field", ["boot_id", "started"])
def test_an_owner_whose_number_nobody_has_is_gone_whatever_could_not_be_read(field: str) -> None:
    tools = NexusControlTools()
    with idle_child() as child:
        owner = replace(process(child.pid), **{field: ""})
        child.kill()
    request_id = claimed_by(tools, owner.to_text())
    recovered = data_of(tools.recover())
    assert (recovered["recovered"], recovered["still_held"]) == ([request_id], 0)


def of_a_future_version() -> str:
    return json.dumps({"host": os.uname().nodename, "pid": 2**22 + 1, "cgroup": "system.slice"})


@pytest.mark.parametrize(
    "text",
    [of_a_future_version, lambda: "", lambda: "scheduler-7", lambda: "[]"],
    ids=["future", "empty", "name", "list"],
)
def test_an_owner_whom_another_version_wrote_down_is_held_and_keeps_nobody_from_recovering_others(
    text: Callable[[], str],
) -> None:
    tools = NexusControlTools()
    with idle_child() as child:
        dead = process(child.pid)
        child.kill()
    other, gone = claimed_by(tools, text()), claimed_by(tools, dead.to_text())
    recovered = data_of(tools.recover())
    assert (recovered["recovered"], recovered["still_held"]) == ([gone], 1)
    require_held_until_forced(tools, other)


@pytest.mark.parametrize("pid", [0, -1, 2**31, 2**80])
def test_a_number_that_no_process_can_have_raises_nothing(pid: int) -> None:
    tools = NexusControlTools()
    with idle_child() as child:
        request_id = claimed_by(tools, replace(process(child.pid), pid=pid).to_text())
        child.kill()
    assert tools.recover(request_id).error_code in (None, "CLAIM_HELD", "JSON_INVALID")


LEADERLESS = """
import ctypes, sys, threading
threading.Thread(target=sys.stdin.read).start()
print(flush=True)
ctypes.CDLL(None).pthread_exit(None)
"""


def test_a_process_whose_first_thread_has_ended_is_no_zombie_and_is_alive() -> None:
    tools = NexusControlTools()
    with subprocess.Popen(
        [sys.executable, "-c", LEADERLESS], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == b"\n"
            owner = process(child.pid)
            while b") Z" not in Path(f"/proc/{child.pid}/stat").read_bytes():
                os.sched_yield()
            request_id = claimed_by(tools, owner.to_text())
            assert tools.recover(request_id).error_code == "CLAIM_HELD"
            assert tools.recover(request_id, force=True).error_code == "CLAIM_HELD"
        finally:
            child.kill()
    assert data_of(tools.recover(request_id))["recovered"] == [request_id]


def test_an_owner_reads_back_as_it_was_written() -> None:
    owner = Owner(host="h", boot_id="", namespace="pid:[1]", pid=7, started="", token="t")
    assert Owner.find(owner.to_text()) == owner


needs_machine_id = pytest.mark.skipif(not this_process().machine, reason="this machine has no id")


@pytest.mark.parametrize(
    ("change", "is_held"),
    [
        ({"machine": "another"}, True),
        ({"machine": "another", "boot_id": "another"}, True),
        ({"machine": "", "boot_id": "another"}, True),
        pytest.param({"boot_id": "another"}, False, marks=needs_machine_id),
        ({"machine": None, "boot_id": "another"}, False),  # of an earlier version, which had only files
    ],
)
def test_a_machine_of_the_same_name_is_not_taken_for_this_one(change: dict[str, Any], is_held: bool) -> None:
    tools = NexusControlTools()
    request_id = claimed_by(tools, replace(this_process(), **change).to_text())
    if is_held:
        require_held_until_forced(tools, request_id)
    else:
        assert data_of(tools.recover())["recovered"] == [request_id]
