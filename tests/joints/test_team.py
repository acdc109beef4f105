"""Several Unix users work with one store, each by real processes: a requester who owns it, two approvers with keys of
their own, and an auditor who may only read.
"""

import grp
import json
import os
import pwd
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.execution.support import eventually, plan, step
from tests.support.users import User, missing, users

pytestmark = pytest.mark.skipif(missing() is not None, reason=missing() or "")

CONFIG = """
[adapters.files]
kind = "subprocess"
capabilities = ["apply", "dry_run"]
[adapters.files.tools.write]
argv = ["sh", "-c", 'printf "%s" "$1" > "$2"', "sh", "{text}", "{file}"]
[adapters.files.tools.wait]
argv = ["sh", "-c", "exec sleep 3600"]
"""


@dataclass(frozen=True)
class Team:
    """`dana` asks and owns the store, `ann` and `ben` approve, `vera` may only read."""

    folder: Path
    group: str
    dana: User
    ann: User
    ben: User
    vera: User

    @property
    def database(self) -> Path:
        return self.folder / "store" / "decisions.db"

    @property
    def signers(self) -> Path:
        return self.folder / "etc" / "allowed_signers"

    def run(
        self, user: User, *words: str, code: int = 0, database: Path | None = None
    ) -> "subprocess.CompletedProcess[str]":
        """A command as this user, on the team's store."""
        named = {
            "NEXUS_CONTROL_DB": str(database or self.database),
            "NEXUS_CONTROL_ALLOWED_SIGNERS": str(self.signers),
        }
        ran = user.run(str(user.python), "-m", "nexus_control", *words, changes=named)
        assert ran.returncode == code, (words, ran.stdout, ran.stderr)
        return ran

    def answer(self, user: User, *words: str, code: int = 0, database: Path | None = None) -> dict[str, Any]:
        return json.loads(self.run(user, *words, "--json", code=code, database=database).stdout)

    def requested(self) -> str:
        """A request of dana to write a file, which two signatures must approve."""
        call = {"tool": "files", "method": "write", "args": {"text": "new", "file": "/dev/null"}}
        plan = json.dumps([{"step_id": "s1", "intent": "write", "call": call}])
        policy = ("--min-approvals", "2", "--min-assurance", "signed")
        return self.answer(self.dana, "request", "write it", "--mode", "apply", *policy, "--plan", plan)[
            "request_id"
        ]

    def executed(self) -> str:
        """A request of dana that ann and ben signed and ben executed."""
        request_id = self.requested()
        self.require_owned()
        for person in (self.ann, self.ben):
            self.run(person, "approve", request_id, "--yes", "--sign", str(person.home / "id"))
            self.require_owned()
        config = str(self.folder / "etc" / "nexus-control.toml")
        self.run(self.ben, "execute", request_id, "--adapter", "subprocess:files", "--config", config)
        self.require_owned()
        return request_id

    def require_owned(self) -> None:
        """Each file is still its owner's, and has the permissions that it was made with."""
        folder = self.database.parent
        assert _owned(folder) == ("2775", self.dana.name, self.group)
        found = {each.name.removeprefix("decisions.db"): _owned(each) for each in folder.iterdir()}
        assert found == {
            "": ("0664", self.dana.name, self.group),
            ".key": ("0600", self.dana.name, self.group),
            ".checkpoint": ("0644", self.dana.name, self.group),
            ".head": ("0664", self.dana.name, self.group),
            ".runs": ("0664", self.dana.name, self.group),
        }


def _owned(path: Path) -> tuple[str, str, str]:
    found = path.lstat()
    owner, group = pwd.getpwuid(found.st_uid).pw_name, grp.getgrgid(found.st_gid).gr_name
    return f"{stat.S_IMODE(found.st_mode):04o}", owner, group


@pytest.fixture(scope="module")
def team() -> Generator[Team]:
    folder = Path(tempfile.mkdtemp())  # tmp_path is for its owner alone
    folder.chmod(0o755)
    try:
        with users(folder, ("dana", "ann", "ben"), ("vera",)) as (group, (dana, ann, ben, vera)):
            made = Team(folder, group, dana, ann, ben, vera)
            (folder / "etc").mkdir(mode=0o755)
            (folder / "etc" / "nexus-control.toml").write_text(CONFIG)
            with made.signers.open("w") as signers:
                for person in (ann, ben):
                    key = str(person.home / "id")
                    generated = person.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key)
                    assert generated.returncode == 0, generated.stderr
                    signers.write(f"{person.login} {Path(f'{key}.pub').read_text()}")
            made.database.parent.mkdir()
            os.chown(made.database.parent, dana.number, -1)
            yield made
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def executed(team: Team) -> str:
    """The whole flow, from an empty folder to an executed request."""
    made = team.answer(team.dana, "init", "--group", team.group)
    assert (made["made"], made["differs"]) == (True, [])
    team.require_owned()

    return team.executed()


def test_a_team_asks_signs_and_executes_and_each_file_stays_its_owners(team: Team, executed: str) -> None:
    status = team.answer(team.dana, "status", executed)
    assert (status["state"], status["active_approvals"]) == ("completed", 2)
    for person in (team.dana, team.ann, team.ben, team.vera):
        assert team.answer(person, "status", executed)["state"] == "completed"
        assert executed in {each["request_id"] for each in team.answer(person, "list")["requests"]}
        team.require_owned()


def test_who_may_not_read_the_logs_key_exports_what_the_last_checkpoint_proves(
    team: Team, executed: str
) -> None:
    request_id = team.executed()  # which no checkpoint covers yet
    package = team.ann.home / "package.json"
    audited = team.answer(team.ann, "audit", request_id, "-o", str(package))
    evidence = json.loads(package.read_text())["evidence"]
    assert audited["unproven"] == evidence["unproven"]
    assert "Permission denied" in evidence["unproven"] or "may be read here" in evidence["unproven"]
    assert team.answer(team.ann, "verify", str(package))["level"] == "L1"
    team.run(team.dana, "log", "checkpoint")
    for person in (team.ann, team.vera):
        package = person.home / "package.json"
        for each in (request_id, executed):
            assert "unproven" not in team.answer(person, "audit", each, "-o", str(package))
        key = team.answer(person, "key", "export")["key"]
        trusted = ("--log-key", key, "--allowed-signers", str(team.signers))
        report = team.answer(person, "verify", str(package), *trusted, "--require", "L2")
        assert "L4" in report["reached"]
        team.require_owned()


def test_an_auditor_reads_everything_changes_nothing_and_leaves_no_file(team: Team, executed: str) -> None:
    before = {each.name: each.read_bytes() for each in team.database.parent.iterdir()}
    for words in (
        ("list",),
        ("status", executed),
        ("inspect", executed),
        ("export", executed),
        ("audit", executed),
        ("log", "export"),
        ("key", "list"),
        ("template", "list"),
    ):
        team.run(team.vera, *words)
    doctor = team.answer(team.vera, "doctor")
    assert (doctor["ok"], doctor["checks"]["writing"]) == (True, "skipped")
    assert str(team.database) in doctor["reasons"]["writing"]
    ended = team.run(team.vera, "serve", "--read-only")
    assert ended.stdout == ""
    for words in (
        ("request", "more"),
        ("log", "checkpoint"),
        ("recover",),
    ):
        refused = team.answer(team.vera, *words, code=2)
        assert refused["code"] == "STORE_UNAVAILABLE", words
        assert f"{team.database} is -rw-rw-r-- of {team.dana.name}:{team.group}" in refused["message"]
    assert {each.name: each.read_bytes() for each in team.database.parent.iterdir()} == before
    team.require_owned()


def test_any_member_denies_and_the_head_remembers_it(team: Team, executed: str) -> None:
    head = team.database.with_name("decisions.db.head")
    before = head.read_text()
    denied = team.requested()
    team.run(team.ann, "deny", denied, "--yes", "--reason", "not now")
    assert head.read_text() > before
    team.require_owned()
    assert team.answer(team.vera, "status", denied)["state"] == "denied"


def test_a_member_cancels_what_another_executes_and_who_only_reads_sees_it(team: Team, executed: str) -> None:
    steps = plan(step("wait", tool="files"))
    asked = ("request", "wait", "--mode", "apply", "--min-approvals", "1", "--plan", steps)
    request_id = team.answer(team.dana, *asked)["request_id"]
    team.run(team.ben, "approve", request_id, "--yes")
    config = str(team.folder / "etc" / "nexus-control.toml")
    execution = ("execute", request_id, "--adapter", "subprocess:files", "--config", config)
    with ThreadPoolExecutor() as pool:
        running = pool.submit(team.answer, team.ben, *execution, code=1)
        assert eventually(lambda: team.answer(team.vera, "status", request_id)["state"] == "executing")
        refused = team.answer(team.vera, "cancel", request_id, "--reason", "no", code=2)
        assert refused["code"] == "STORE_UNAVAILABLE"
        assert team.answer(team.ann, "cancel", request_id, "--reason", "wrong cluster")["asked"]
        assert running.result()["details"]["error_code"] == "CANCELLED"
    assert team.answer(team.vera, "status", request_id)["state"] == "failed"
    team.require_owned()


def test_a_backup_is_restored_elsewhere_and_executes_nothing_until_its_owner_accepts(
    team: Team, executed: str
) -> None:
    refused = team.answer(team.ann, "backup", "mine.zip", code=1)
    assert (refused["code"], "--without-keys" in refused["next"]) == ("KEY_UNUSABLE", True)
    for person in (team.ann, team.vera):
        assert not team.answer(person, "backup", "mine.zip", "--without-keys")["has_key"]
        assert _owned(person.home / "mine.zip") == ("0600", person.name, person.name)
    request_id = team.requested()
    for person in (team.ann, team.ben):
        team.run(person, "approve", request_id, "--yes", "--sign", str(person.home / "id"))
    team.run(team.dana, "backup", "team.zip")
    assert _owned(team.dana.home / "team.zip") == ("0600", team.dana.name, team.dana.name)
    team.require_owned()

    elsewhere = team.dana.home / "elsewhere.db"
    team.run(team.dana, "restore", "team.zip", database=elsewhere)
    assert _owned(Path(f"{elsewhere}.key"))[0] == "0600"
    found = team.answer(team.dana, "doctor", code=3, database=elsewhere)
    assert [each["code"] for each in found["faults"]] == ["STORE_RESTORED"]
    config = str(team.folder / "etc" / "nexus-control.toml")
    execution = ("execute", request_id, "--adapter", "subprocess:files", "--config", config)
    assert team.answer(team.dana, *execution, code=1, database=elsewhere)["code"] == "STORE_ROLLED_BACK"
    team.run(team.dana, "doctor", "--accept-rollback", database=elsewhere)
    assert team.answer(team.dana, "doctor", database=elsewhere)["ok"]
    team.run(team.dana, *execution, database=elsewhere)
    assert team.answer(team.dana, "status", executed, database=elsewhere)["state"] == "completed"
