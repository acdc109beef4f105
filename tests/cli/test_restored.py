"""A person puts a backup back: `cp` of the database while nothing is open, and the files beside it stay.

Every step is a process of its own, from the first request on.
"""

import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from tests.cli.running import nexus_control

CONFIG = """
[adapters.tally]
kind = "subprocess"
capabilities = ["apply", "dry_run"]
[adapters.tally.tools.add]
argv = ["sh", "-c", 'echo run >> "$1"', "sh", "{file}"]
"""


@dataclass(frozen=True)
class Desk:
    """One folder with a database, and what the executed program leaves in it."""

    folder: Path

    def run(self, *arguments: str, code: int = 0) -> dict[str, Any]:
        database = ("--db", str(self.folder / "d.db"))
        ran = nexus_control(*database, "--json", *arguments, folder=self.folder)
        assert ran.returncode == code, ran.stdout + ran.stderr
        return json.loads(ran.stdout)

    def shell(self, script: str) -> None:
        subprocess.run(["sh", "-ec", script], cwd=self.folder, check=True)

    def approved(self) -> str:
        call = {"tool": "tally", "method": "add", "args": {"file": str(self.folder / "tally")}}
        plan = json.dumps([{"step_id": "s1", "intent": "add", "call": call}])
        request_id = self.run("request", "add", "--mode", "apply", "--plan", plan, "--as", "human:alice")[
            "request_id"
        ]
        self.run("approve", request_id, "--yes", "--as", "human:bob")
        return request_id

    def execute(self, request_id: str, code: int = 0) -> dict[str, Any]:
        (self.folder / "adapters.toml").write_text(CONFIG)
        return self.run(
            "execute", request_id, "--adapter", "subprocess:tally", "--config", "adapters.toml", code=code
        )

    @property
    def runs(self) -> int:
        tally = self.folder / "tally"
        return len(tally.read_text().splitlines()) if tally.exists() else 0

    def kept(self) -> dict[str, bytes]:
        """What the store is, and what knows better."""
        files = (self.folder / "d.db", self.folder / "d.db.head")
        return {file.name: file.read_bytes() for file in files if file.exists()}

    def restore(self) -> None:
        """As a person does it: the database, and no left-overs of the newer one."""
        self.shell("cp backup d.db; rm -f d.db-wal d.db-shm")


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


End: TypeAlias = Callable[[Desk, str], object]


def execute(desk: Desk, request_id: str) -> None:
    desk.execute(request_id)


def deny(desk: Desk, request_id: str) -> None:
    desk.run("deny", request_id, "--yes", "--as", "human:carol", "--reason", "not in the freeze")


def revoke(desk: Desk, request_id: str) -> None:
    desk.run("revoke", request_id, "--yes", "--as", "human:bob", "--reason", "on reflection")


def withdraw(desk: Desk, request_id: str) -> None:
    desk.run("withdraw", request_id, "--yes", "--as", "human:alice", "--reason", "not needed")


@pytest.mark.sample(1)
@pytest.mark.parametrize("end", [execute, deny, revoke, withdraw])
def test_what_was_ended_is_not_executed_from_a_backup_that_does_not_know_it(end: End, desk: Desk) -> None:
    request_id = desk.approved()
    desk.shell("cp d.db backup")
    end(desk, request_id)
    runs = desk.runs
    desk.restore()
    before = desk.kept()
    refused = desk.execute(request_id, code=1)
    assert (refused["code"], desk.runs) == ("STORE_ROLLED_BACK", runs)
    assert "owner" in refused["next"]
    assert refused["details"]["path"] == str(desk.folder / "d.db.head")
    assert desk.kept() == before
    examined = desk.run("doctor", code=3)
    assert (examined["checks"]["head"], examined["checks"]["log"]) == ("fail", "pass")
    assert "--accept-rollback" in examined["next"]
    # Neither more requests nor another denial make the older copy good.
    deny(desk, desk.approved())
    assert desk.run("doctor", code=3)["entries"] > refused["details"]["head_size"]
    assert desk.execute(request_id, code=1)["code"] == "STORE_ROLLED_BACK"
    assert desk.runs == runs


def test_its_owner_accepts_the_loss_and_then_it_is_executed_again(desk: Desk) -> None:
    request_id = desk.approved()
    desk.run("log", "checkpoint", "-o", "kept")
    desk.shell("cp d.db backup")
    desk.execute(request_id)
    desk.run("audit", request_id, "-o", "package.json")
    desk.restore()
    assert desk.run("doctor", code=3)["accepted"] is False
    accepted = desk.run("doctor", "--accept-rollback", "--as", "human:owner")
    assert (accepted["ok"], accepted["accepted"]) == (True, True)
    assert set(accepted["checks"].values()) == {"pass"}
    assert desk.run("doctor", "--accept-rollback")["accepted"] is False
    known = desk.execute(request_id, code=1)
    assert (known["code"], "run" in known["message"]) == (
        "STORE_ROLLED_BACK",
        True,
    )  # the run log still knows it
    assert desk.runs == 1
    desk.shell("rm d.db.runs*")
    desk.execute(request_id)
    assert desk.runs == 2
    desk.run("audit", request_id, "-o", "package.json")
    desk.run("verify", "package.json", "--require", "L2")
    desk.run("log", "consistency", "kept")
    assert desk.run("doctor")["checks"]["head"] == "pass"


def test_the_newer_database_put_back_is_as_if_nothing_had_happened(desk: Desk) -> None:
    first, second = desk.approved(), desk.approved()
    desk.shell("cp d.db backup")
    desk.execute(first)
    desk.shell("cp d.db newer")
    desk.restore()
    assert desk.execute(second, code=1)["code"] == "STORE_ROLLED_BACK"
    desk.shell("cp newer d.db; rm -f d.db-wal d.db-shm")
    desk.execute(second)
    assert desk.runs == 2
    assert desk.run("doctor")["ok"]


def test_a_backup_from_before_what_the_head_knows_of_is_found_whichever_it_is(desk: Desk) -> None:
    request_ids = [desk.approved() for _ in range(2)]
    for number, request_id in enumerate(request_ids):
        desk.shell(f"cp d.db backup-{number}")
        desk.execute(request_id)
    for number in range(2):
        desk.shell(f"cp backup-{number} d.db; rm -f d.db-wal d.db-shm")
        assert desk.execute(request_ids[-1], code=1)["code"] == "STORE_ROLLED_BACK"
    assert desk.runs == 2


def test_without_a_head_nothing_is_known_and_doctor_says_so(desk: Desk) -> None:
    """What nobody can notice: who restores the head too, or removes it, is only found by a checkpoint elsewhere."""
    request_id = desk.approved()
    desk.run("log", "checkpoint", "-o", "early")
    desk.shell("cp d.db backup")
    desk.execute(request_id)
    desk.run("log", "checkpoint", "-o", "kept")
    desk.restore()
    desk.shell("rm d.db.head d.db.checkpoint")
    examined = desk.run("doctor")
    assert (examined["ok"], examined["checks"]["head"]) == (True, "skipped")
    assert examined["checks"]["checkpoint"] == "skipped"
    assert "nothing is known of what the log was" in examined["reasons"]["checkpoint"]
    assert desk.execute(request_id, code=1)["code"] == "STORE_ROLLED_BACK"  # the run log still knows it
    desk.shell("rm d.db.runs*")
    desk.execute(request_id)
    assert desk.runs == 2
    desk.shell("rm d.db.head")
    assert "lost or taken away" in desk.run("doctor")["reasons"]["head"]
    assert desk.run("log", "consistency", "kept", code=3)["code"] == "LOG_INCONSISTENT"


def test_people_read_what_happened_and_what_to_do(desk: Desk) -> None:
    request_id = desk.approved()
    desk.shell("cp d.db backup")
    desk.execute(request_id)
    desk.restore()
    options = ("--adapter", "subprocess:tally", "--config", "adapters.toml", "--db", "d.db")
    ran = nexus_control("execute", request_id, *options, folder=desk.folder)
    assert (ran.returncode, ran.stdout) == (1, "")
    assert "STORE_ROLLED_BACK: The database is an older copy" in " ".join(ran.stderr.split())
    examined = nexus_control("doctor", "--db", "d.db", folder=desk.folder)
    assert examined.returncode == 3
    assert "--accept-rollback" in examined.stdout
    accepted = nexus_control("doctor", "--accept-rollback", "--db", "d.db", folder=desk.folder)
    assert accepted.returncode == 0
    assert "The log records" in " ".join(accepted.stdout.split())


def test_an_older_copy_says_so_wherever_it_is_looked_at_and_signs_nothing(desk: Desk) -> None:
    """The newer database can be put back, whatever was tried meanwhile."""
    request_id = desk.approved()
    desk.run("log", "checkpoint")
    desk.shell("cp d.db backup")
    desk.execute(request_id)
    desk.shell("cp d.db newer")
    beside = {
        name: (desk.folder / name).read_bytes() for name in ("d.db.key", "d.db.checkpoint", "d.db.head")
    }
    desk.restore()
    for look in ("status", "inspect"):
        answer = desk.run(look, request_id)
        reasons = answer["blocking_reasons"] if look == "status" else answer["lifecycle"]["blocking_reasons"]
        assert [reason["code"] for reason in reasons] == ["STORE_ROLLED_BACK"]
    assert answer["rendered"].startswith("✗ Decision not executable")
    for _ in range(6):  # until the copy's log is longer than the head
        desk.run("request", "later", "--as", "human:alice")
    for sign in (("log", "checkpoint"), ("statement", request_id), ("key", "rotate")):
        assert desk.run(*sign, code=1)["code"] == "STORE_ROLLED_BACK"
    assert {name: (desk.folder / name).read_bytes() for name in beside} == beside
    desk.shell("cp newer d.db; rm -f d.db-wal d.db-shm")
    assert desk.run("doctor")["ok"]
    assert desk.run("log", "checkpoint")


def test_who_accepts_a_loss_is_told_which_requests_it_may_have_executed(desk: Desk) -> None:
    request_id = desk.approved()
    desk.shell("cp d.db backup")
    desk.execute(request_id)
    desk.restore()
    assert desk.run("doctor", "--accept-rollback")["approved"] == [request_id]
    assert desk.run("doctor")["approved"] == []
