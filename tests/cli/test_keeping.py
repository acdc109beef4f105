"""`backup` and `restore`: a store in one file, and back."""

import hashlib
import json
import os
import stat
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nexus_control import Actor, NexusControlTools
from nexus_control.log.upkeep import find_faults
from tests.cli.office import CONFIG, field
from tests.cli.running import Commands
from tests.support.amounts import number_of
from tests.support.places import REPOSITORY

MANIFEST = "manifest.json"


@pytest.fixture
def commands(tmp_path: Path) -> Commands:
    """A store with a key, a checkpoint, and a run."""
    folder = tmp_path / "here"
    folder.mkdir()
    made = Commands(folder)
    made.run("init")
    call = {"tool": "files", "method": "write", "args": {"text": "new", "file": str(folder / "written")}}
    plan = json.dumps([{"step_id": "s1", "intent": "write", "call": call}])
    request_id = made.answer("request", "write", "--mode", "apply", "--plan", plan)["request_id"]
    made.run("approve", request_id, "--yes", "--as", "human:bob@example.com")
    (tmp_path / "nexus-control.toml").write_text(CONFIG)
    config = str(tmp_path / "nexus-control.toml")
    made.run("execute", request_id, "--adapter", "subprocess:files", "--config", config)
    return made


def backed_up(commands: Commands, *words: str) -> Path:
    file = commands.folder.parent / "backup.zip"
    commands.run("backup", str(file), *words)
    return file


def restored(commands: Commands, file: Path) -> Commands:
    there = Commands(commands.folder.parent / "there")
    there.folder.mkdir(exist_ok=True)
    there.run("restore", str(file))
    return there


def test_a_backup_holds_all_but_the_head_and_only_its_owner_reads_it(commands: Commands) -> None:
    file = backed_up(commands)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with zipfile.ZipFile(file) as archive:
        assert set(archive.namelist()) == {
            MANIFEST,
            *("store.db", "store.db.key", "store.db.checkpoint", "store.db.runs"),
        }
        manifest = json.loads(archive.read(MANIFEST))
        for part in manifest["files"]:
            content = archive.read(part["name"])
            assert (part["sha256"], part["bytes"]) == (hashlib.sha256(content).hexdigest(), len(content))
    assert manifest["log_size"] == commands.answer("doctor")["entries"]
    assert sorted(each.name for each in commands.folder.parent.iterdir()) == [
        *("backup.zip", "here", "nexus-control.toml"),
    ]
    assert not any(each.suffix == ".zip" or each.name.startswith(".w") for each in commands.folder.iterdir())


def test_without_keys_a_backup_holds_no_key(commands: Commands) -> None:
    with zipfile.ZipFile(backed_up(commands, "--without-keys")) as archive:
        assert not [name for name in archive.namelist() if "key" in name]


def test_what_is_restored_answers_and_executes_nothing_until_its_owner_accepts(commands: Commands) -> None:
    waiting = commands.answer("request", "later", "--mode", "apply")["request_id"]
    commands.run("approve", waiting, "--yes", "--as", "human:bob@example.com")
    there = restored(commands, backed_up(commands))
    assert len(there.answer("list")["requests"]) == 2
    found = there.answer("doctor", code=3)
    assert [each["code"] for each in found["faults"]] == ["STORE_RESTORED"]
    assert "--accept-rollback" in found["command"]
    refused = there.answer("log", "checkpoint", code=1)
    assert (refused["code"], refused["details"]["restored"]) == ("STORE_ROLLED_BACK", True)
    reasons = [each["code"] for each in there.answer("status", waiting)["blocking_reasons"]]
    assert reasons == ["STORE_ROLLED_BACK"]
    assert there.answer("doctor", "--accept-rollback")["accepted"]
    assert there.answer("doctor")["ok"]
    assert there.answer("status", waiting)["blocking_reasons"] == []
    there.run("log", "checkpoint")


def test_the_same_backup_that_is_restored_once_more_is_not_accepted_already(commands: Commands) -> None:
    file = backed_up(commands)
    there = restored(commands, file)
    there.run("doctor", "--accept-rollback")
    again = Commands(commands.folder.parent / "again")
    again.folder.mkdir()
    again.run("restore", str(file))
    assert again.answer("doctor", code=3)["faults"][0]["code"] == "STORE_RESTORED"
    later = commands.folder.parent / "later.zip"
    there.run("backup", str(later))
    last = Commands(commands.folder.parent / "last")
    last.folder.mkdir()
    last.run("restore", str(later))
    assert last.answer("doctor", code=3)["faults"][0]["code"] == "STORE_RESTORED"


@pytest.mark.parametrize("name", ["", "-wal", ".key", ".head", ".runs"])
def test_nothing_is_restored_where_anything_is(name: str, commands: Commands) -> None:
    file = backed_up(commands)
    there = Commands(commands.folder.parent / "there")
    there.folder.mkdir()
    (there.folder / f"store.db{name}").write_text("mine")
    assert field(there.answer("restore", str(file), code=2)) == "--db"
    assert [each.read_text() for each in there.folder.iterdir()] == ["mine"]


@pytest.mark.parametrize("name", ["store.db", "store.db.head", "../backup.zip"])
def test_a_backup_overwrites_nothing(name: str, commands: Commands) -> None:
    target = commands.folder / name
    before = target.read_bytes() if target.exists() else b""
    target.touch()
    assert field(commands.answer("backup", str(target), code=2)) == "FILE"
    assert target.read_bytes() == before


Change = Callable[[dict[str, bytes], dict[str, Any]], None]


def _other_bytes(parts: dict[str, bytes], _: dict[str, Any]) -> None:
    parts["store.db.checkpoint"] = b"x" * len(parts["store.db.checkpoint"])


def _longer(parts: dict[str, bytes], _: dict[str, Any]) -> None:
    parts["store.db.runs"] += b"\0" * 10_000_000


def _outside(parts: dict[str, bytes], manifest: dict[str, Any]) -> None:
    parts["../evil"] = b"evil"
    manifest["files"].append({"name": "../evil", "sha256": hashlib.sha256(b"evil").hexdigest(), "bytes": 4})


def _head(parts: dict[str, bytes], manifest: dict[str, Any]) -> None:
    parts["store.db.head"] = b""
    manifest["files"].append({"name": "store.db.head", "sha256": hashlib.sha256().hexdigest(), "bytes": 0})


def _no_database(parts: dict[str, bytes], manifest: dict[str, Any]) -> None:
    del parts["store.db"]
    manifest["files"] = [each for each in manifest["files"] if each["name"] != "store.db"]


def _another_log(_: dict[str, bytes], manifest: dict[str, Any]) -> None:
    manifest["log_root"] = "0" * 64


def _larger_than_any_disk(parts: dict[str, bytes], manifest: dict[str, Any]) -> None:
    manifest["files"][0]["bytes"] = 1 << 60


HOSTILE: dict[str, tuple[Change, str]] = {
    "other bytes": (_other_bytes, "INTEGRITY_MISMATCH"),
    "more bytes than it says": (_longer, "INVALID_ARGUMENT"),
    "a name that leads out": (_outside, "INVALID_ARGUMENT"),
    "a head": (_head, "INVALID_ARGUMENT"),
    "no database": (_no_database, "INVALID_ARGUMENT"),
    "another log": (_another_log, "INTEGRITY_MISMATCH"),
    "a size beyond the disk": (_larger_than_any_disk, "INVALID_ARGUMENT"),
    "no manifest of ours": (lambda _, manifest: manifest.update(format="other"), "INVALID_ARGUMENT"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_backup_that_was_changed_is_refused_and_nothing_is_laid_out(what: str, commands: Commands) -> None:
    change, code = HOSTILE[what]
    file = backed_up(commands)
    with zipfile.ZipFile(file) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    manifest = json.loads(parts.pop(MANIFEST))
    change(parts, manifest)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(MANIFEST, json.dumps(manifest))
        for name, content in parts.items():
            archive.writestr(name, content)
    require_refused(commands, file, code)


def require_refused(commands: Commands, file: Path, code: str) -> None:
    there = Commands(commands.folder.parent / "there")
    there.folder.mkdir()
    refused = there.answer("restore", str(file), code=2 if code == "INVALID_ARGUMENT" else 1)
    assert refused["code"] == code
    assert list(there.folder.iterdir()) == []


def test_links_in_a_backup_and_names_that_come_twice_are_refused(commands: Commands) -> None:
    file = backed_up(commands)
    content = file.read_bytes()
    with zipfile.ZipFile(file, "a") as archive:
        link = zipfile.ZipInfo("store.db.key.next")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
    require_refused(commands, file, "INVALID_ARGUMENT")
    (commands.folder.parent / "there").rmdir()
    file.write_bytes(content)
    with zipfile.ZipFile(file, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("store.db", b"")
    require_refused(commands, file, "INVALID_ARGUMENT")


@pytest.mark.parametrize("keep", [0, 10, 2000])
def test_a_backup_that_was_cut_is_refused(keep: int, commands: Commands) -> None:
    file = backed_up(commands)
    file.write_bytes(file.read_bytes()[:keep])
    require_refused(commands, file, "INVALID_ARGUMENT")


WRITER = """
import sys
from nexus_control import Actor, NexusControlTools
from nexus_control.log.checkpoints import publish, rotate
alice = Actor("human", "alice@example.com")
tools = NexusControlTools(sys.argv[1])
print("begun", flush=True)
number = 0
while True:
    tools.request(f"request {number}", alice)
    number += 1
    if number % 5 == 0:
        publish(tools.store)
    if number % 11 == 0:
        rotate(tools.store)
"""


def test_backups_that_are_made_while_others_write_sign_and_rotate_keys_are_whole(commands: Commands) -> None:
    database = commands.folder / "store.db"
    writing = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(database)],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert writing.stdout is not None
        assert writing.stdout.readline() == "begun\n"
        for number in range(number_of(40, few=4)):
            file = commands.folder.parent / f"{number}.zip"
            commands.run("backup", str(file))
            there = Commands(commands.folder.parent / f"there{number}")
            there.folder.mkdir()
            there.run("restore", str(file))
            there.run("doctor", "--accept-rollback")
            with NexusControlTools(there.folder / "store.db") as tools:
                assert find_faults(tools.store) == []
                assert tools.request("goes on", Actor("human", "alice@example.com")).success
            there.run("log", "checkpoint")  # with the key that the log names
    finally:
        writing.kill()
        writing.communicate()
    assert os.path.lexists(database)
