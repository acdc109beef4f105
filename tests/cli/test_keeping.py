"""`backup` and `restore`: a store in one file, and back."""

import hashlib
import json
import os
import sqlite3
import stat
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

import pytest

from nexus_control import Actor, NexusControlError, NexusControlTools
from nexus_control.log import backup
from nexus_control.log.backup import restore
from nexus_control.log.checkpoints import publish
from nexus_control.log.upkeep import find_faults
from nexus_control.system.clock import SYSTEM_CLOCK
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


def require_refused(commands: Commands, file: Path, code: str) -> dict[str, Any]:
    there = Commands(commands.folder.parent / "there")
    there.folder.mkdir()
    refused = there.answer("restore", str(file), code=2 if code == "INVALID_ARGUMENT" else 1)
    assert refused["code"] == code
    assert list(there.folder.iterdir()) == []
    return refused


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


def rewritten(
    file: Path, change: Callable[[dict[str, bytes]], None], kind: int = zipfile.ZIP_DEFLATED
) -> None:
    """The backup with other parts, and a manifest that fits them."""
    with zipfile.ZipFile(file) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    manifest = json.loads(parts.pop(MANIFEST))
    change(parts)
    manifest["files"] = [
        {"name": name, "sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
        for name, content in parts.items()
    ]
    with zipfile.ZipFile(file, "w", kind) as archive:
        archive.writestr(MANIFEST, json.dumps(manifest))
        for name, content in parts.items():
            archive.writestr(name, content)


@pytest.mark.parametrize("kind", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA], ids=["bzip2", "lzma"])
def test_a_backup_that_is_compressed_in_another_way_is_refused(kind: int, commands: Commands) -> None:
    file = backed_up(commands)
    rewritten(file, lambda _: None, kind)
    require_refused(commands, file, "INVALID_ARGUMENT")


def test_a_name_that_is_not_text_is_refused(commands: Commands) -> None:
    file = backed_up(commands)
    content = bytearray(file.read_bytes())
    entry = content.rindex(b"PK\x01\x02")
    content[entry + 9] |= 0x08  # bit 11 of the flags: the name is UTF-8
    content[entry + 46] = 0xFF
    file.write_bytes(content)
    require_refused(commands, file, "INVALID_ARGUMENT")


def test_an_entry_that_cannot_be_unpacked_is_named(commands: Commands) -> None:
    file = backed_up(commands)
    with zipfile.ZipFile(file) as archive:
        at = archive.getinfo("store.db").header_offset + 30 + len("store.db")
    content = bytearray(file.read_bytes())
    content[at : at + 64] = b"\xff" * 64
    file.write_bytes(content)
    refused = require_refused(commands, file, "INTEGRITY_MISMATCH")
    assert refused["details"]["file"] == "store.db"
    assert "another backup" in refused["next"]


def test_whatever_is_damaged_in_a_backup_it_is_restored_as_it_was_or_refused(commands: Commands) -> None:
    file = backed_up(commands)
    whole = file.read_bytes()
    there = commands.folder.parent / "there"
    there.mkdir()
    for seed in range(number_of(2000, few=200)):
        chance = Random(seed)
        content = bytearray(whole)
        for _ in range(chance.randint(1, 4)):
            ends = (
                len(content) - 1 - chance.randrange(500),
                chance.randrange(200),
                chance.randrange(len(content)),
            )
            content[chance.choice(ends)] = chance.randrange(256)
        file.write_bytes(content)
        try:
            restore(file, there / "store.db")
        except NexusControlError as fault:
            assert fault.code in ("INVALID_ARGUMENT", "INTEGRITY_MISMATCH"), (seed, fault)
            assert "None" not in str(fault), seed
            assert list(there.iterdir()) == [], seed
        else:
            for each in there.iterdir():
                each.unlink()


def _with_sql(name: str, sql: str) -> Callable[[dict[str, bytes]], None]:
    def change(parts: dict[str, bytes]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            database = Path(folder, "d")
            database.write_bytes(parts[name])
            with closing(sqlite3.connect(database)) as connection:
                connection.executescript(sql)
            parts[name] = database.read_bytes()

    return change


def _as(name: str, content: bytes) -> Callable[[dict[str, bytes]], None]:
    return lambda parts: parts.update({name: content})


def _checkpoint_of_another_log(parts: dict[str, bytes]) -> None:
    with NexusControlTools() as tools:
        parts["store.db.checkpoint"] = publish(tools.store).note.encode()


NO_STORE: dict[str, tuple[str, Callable[[dict[str, bytes]], None]]] = {
    "junk as key": ("store.db.key", _as("store.db.key", b"junk")),
    "junk as next key": ("store.db.key.next", _as("store.db.key.next", b"junk")),
    "junk as checkpoint": ("store.db.checkpoint", _as("store.db.checkpoint", b"\xff junk")),
    "a checkpoint of another log": ("store.db.checkpoint", _checkpoint_of_another_log),
    "junk as runs": ("store.db.runs", _as("store.db.runs", b"junk" * 1000)),
    "a store as runs": ("store.db.runs", lambda parts: parts.update({"store.db.runs": parts["store.db"]})),
    "junk as database": ("store.db", _as("store.db", b"junk" * 1000)),
    "a trigger": (
        "store.db",
        _with_sql(
            "store.db",
            "CREATE TRIGGER t AFTER INSERT ON projections BEGIN DELETE FROM claims; END",
        ),
    ),
    "a guard that is gone": ("store.db", _with_sql("store.db", "DROP TRIGGER entries_are_not_updated")),
    "a view": ("store.db", _with_sql("store.db", "CREATE VIEW v AS SELECT 1")),
    "a view in a table's place": (
        "store.db",
        _with_sql("store.db", "DROP TABLE answers; CREATE VIEW answers AS SELECT '' AS digest"),
    ),
    "a table": ("store.db", _with_sql("store.db", "CREATE TABLE t(x)")),
    "an earlier schema with a trigger": (
        "store.db",
        _with_sql(
            "store.db",
            "CREATE TRIGGER t AFTER UPDATE ON projections BEGIN DELETE FROM claims; END; PRAGMA user_version = 4",
        ),
    ),
    "a trigger in the runs": (
        "store.db.runs",
        _with_sql("store.db.runs", "CREATE TRIGGER t AFTER INSERT ON runs BEGIN DELETE FROM events; END"),
    ),
    "runs without their guards": ("store.db.runs", _with_sql("store.db.runs", "DROP TRIGGER runs_UPDATE")),
    "values that no column takes": (
        "store.db",
        _with_sql("store.db", "PRAGMA ignore_check_constraints = 1; UPDATE subtrees SET hash = 'text'"),
    ),
}


@pytest.mark.parametrize("what", NO_STORE)
def test_what_can_never_be_a_store_is_refused_before_anything_is_in_place(
    what: str, commands: Commands
) -> None:
    name, change = NO_STORE[what]
    file = backed_up(commands)
    rewritten(file, change)
    refused = require_refused(commands, file, "INTEGRITY_MISMATCH")
    assert refused["details"] == {"file": name}
    assert ".writing-" not in refused["message"]


def test_runs_of_an_earlier_version_are_restored(commands: Commands) -> None:
    file = backed_up(commands)
    rewritten(file, _with_sql("store.db.runs", "DROP TABLE executions; PRAGMA user_version = 1"))
    assert restored(commands, file).answer("list")["requests"]


def test_of_two_backups_into_one_file_the_later_is_refused_and_the_file_stays(
    commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = commands.folder.parent / "backup.zip"
    write = backup._write  # pyright: ignore[reportPrivateUsage]

    def while_another_ends(*given: Any) -> None:
        write(*given)
        file.write_text("theirs")

    monkeypatch.setattr(backup, "_write", while_another_ends)
    with pytest.raises(NexusControlError) as refused:
        backup.back_up(commands.folder / "store.db", file, at=SYSTEM_CLOCK.now())
    assert refused.value.code == "INVALID_ARGUMENT"
    assert file.read_text() == "theirs"
    assert not list(file.parent.glob(".writing-*"))


@pytest.mark.parametrize("keep", [0, 10, 2000])
def test_a_backup_that_was_cut_is_refused(keep: int, commands: Commands) -> None:
    file = backed_up(commands)
    file.write_bytes(file.read_bytes()[:keep])
    require_refused(commands, file, "INVALID_ARGUMENT")


WRITER = """
import sys
from nexus_control import Actor, NexusControlError, NexusControlTools
from nexus_control.log import backup
from nexus_control.log.backup import restore
from nexus_control.log.checkpoints import publish
from nexus_control.log.log_keys import rotate
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
