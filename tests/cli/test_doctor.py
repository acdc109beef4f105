"""What doctor says of each kind of damage: verdict, exit code and advice; and that it leaves all as it is."""

import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from nexus_control import DecisionStore
from nexus_control.log.log_keys import give_key
from tests.cli.running import Commands
from tests.support.places import REPOSITORY
from tests.support.tampering import Victim, busy_store

STORES = REPOSITORY / "tests" / "vectors" / "stores"
Damage = Callable[[Path], None]


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Victim:
    return busy_store(tmp_path_factory.mktemp("victim"))


@pytest.fixture
def commands(victim: Victim, tmp_path: Path) -> Commands:
    victim.copy(tmp_path / "store.db")
    return Commands(tmp_path)


def sql(*statements: str) -> Damage:
    def damage(database: Path) -> None:
        with sqlite3.connect(database) as connection:
            for statement in statements:
                connection.execute(statement)
        connection.close()

    return damage


def overwritten(content: bytes, offset: int = 0) -> Damage:
    def damage(database: Path) -> None:
        with database.open("r+b") as file:
            file.seek(offset)
            file.write(content)

    return damage


def truncated(part: float) -> Damage:
    return lambda database: os.truncate(database, int(database.stat().st_size * part))


def emptied(database: Path) -> None:
    os.truncate(database, 0)


def created_again(database: Path) -> None:
    database.unlink()
    DecisionStore(database).close()


def replaced_by(content: bytes) -> Damage:
    def damage(database: Path) -> None:
        database.unlink()
        database.write_bytes(content)

    return damage


def another_programs(database: Path) -> None:
    database.unlink()
    sql("CREATE TABLE theirs(x)")(database)


def beside(name: str, act: Damage) -> Damage:
    def damage(database: Path) -> None:
        place = Path(f"{database}.{name}")
        place.unlink()
        act(place)

    return damage


def holding(content: bytes) -> Damage:
    def damage(place: Path) -> None:
        place.touch(0o600)
        place.write_bytes(content)

    return damage


def leading_elsewhere(place: Path) -> None:
    elsewhere = place.with_name("elsewhere")
    elsewhere.touch()
    place.symlink_to(elsewhere)


def open_to_all(database: Path) -> None:
    Path(f"{database}.key").chmod(0o644)


def of_another_store(place: Path) -> None:
    other = place.with_name("other.db")
    with DecisionStore(other) as store:
        give_key(store)
    shutil.copy(f"{other}.key", place)


def stale(index: str, column: str) -> Damage:
    """The index as it was when the column said something else, under the text that made it."""

    def damage(database: Path) -> None:
        with sqlite3.connect(database) as connection:
            made = connection.execute("SELECT * FROM sqlite_master WHERE name = ?", (index,)).fetchone()
            rows = connection.execute(f"SELECT {column}, ordinal FROM listing").fetchall()
            connection.execute(f"UPDATE listing SET {column} = 'other'")
            connection.execute("PRAGMA writable_schema = ON")
            connection.execute("DELETE FROM sqlite_master WHERE name = ?", (index,))
            connection.execute("PRAGMA writable_schema = RESET")
        connection.close()
        with sqlite3.connect(database) as connection:
            connection.executemany(f"UPDATE listing SET {column} = ? WHERE ordinal = ?", rows)
            connection.execute("PRAGMA writable_schema = ON")
            connection.execute("INSERT INTO sqlite_master VALUES (?, ?, ?, ?, ?)", made)
        connection.close()

    return damage


def schema(change: str) -> Damage:
    """A change of SQLite's own table of tables."""
    return sql("PRAGMA writable_schema = ON", change)


DROPPED = "DROP TRIGGER entries_are_not_updated"
WATCHING = "CREATE TRIGGER spy AFTER INSERT ON entries BEGIN DELETE FROM claims; END"
WEAKER = "CREATE TRIGGER entries_are_not_updated BEFORE UPDATE ON entries WHEN 0 BEGIN SELECT 1; END"

DAMAGE: dict[str, tuple[Damage, str, str, str]] = {
    # what was done: how, the check that fails, the fault's code, a part of the advice
    "a trigger dropped": (sql(DROPPED), "form", "FORM_DIFFERS", "--rebuild"),
    "a trigger added": (sql(WATCHING), "form", "FORM_DIFFERS", "--rebuild"),
    "a trigger made weaker": (sql(DROPPED, WEAKER), "form", "FORM_DIFFERS", "--rebuild"),
    "a view added": (sql("CREATE VIEW v AS SELECT 1"), "form", "FORM_DIFFERS", "--rebuild"),
    "an index added": (sql("CREATE INDEX i ON entries(ts)"), "form", "FORM_DIFFERS", "--rebuild"),
    "an index dropped": (sql("DROP INDEX first_entries"), "form", "FORM_DIFFERS", "--rebuild"),
    "a table added": (sql("CREATE TABLE t(x)"), "form", "FORM_DIFFERS", "--rebuild"),
    "a column added": (sql("ALTER TABLE labels ADD COLUMN x"), "form", "FORM_DIFFERS", "--rebuild"),
    "a table dropped": (sql("DROP TABLE claims"), "form", "FORM_DIFFERS", "restore a backup"),
    "the first page": (overwritten(bytes(100)), "log", "STORE_UNREADABLE", "restore a backup"),
    "the schema": (overwritten(b"\xff" * 3000, 110), "log", "STORE_UNREADABLE", "restore a backup"),
    "cut in the middle": (truncated(0.5), "log", "STORE_UNREADABLE", "restore a backup"),
    "cut in the first page": (truncated(0.001), "log", "STORE_UNREADABLE", "restore a backup"),
    "emptied": (emptied, "log", "STORE_EMPTIED", "restore a backup"),
    "created again": (created_again, "head", "STORE_ROLLED_BACK", "restore a backup"),
    "no database": (replaced_by(b"text\n" * 1000), "log", "STORE_UNREADABLE", "restore a backup"),
    "another program's": (another_programs, "log", "STORE_UNREADABLE", "restore a backup"),
    "the head a folder": (beside("head", Path.mkdir), "head", "HEAD_UNREADABLE", "look again"),
    "the head a pipe": (beside("head", os.mkfifo), "head", "HEAD_UNREADABLE", "look again"),
    "the head a link": (beside("head", leading_elsewhere), "head", "HEAD_UNREADABLE", "look again"),
    "the checkpoint a folder": (
        beside("checkpoint", Path.mkdir),
        "checkpoint",
        "CHECKPOINT_UNREADABLE",
        "look again",
    ),
    "the checkpoint a pipe": (
        beside("checkpoint", os.mkfifo),
        "checkpoint",
        "CHECKPOINT_UNREADABLE",
        "look again",
    ),
    "the checkpoint empty": (
        beside("checkpoint", holding(b"")),
        "checkpoint",
        "CHECKPOINT_UNREADABLE",
        "look again",
    ),
    "the checkpoint no note": (
        beside("checkpoint", holding(b"a\n1\nb\n")),
        "checkpoint",
        "CHECKPOINT_UNREADABLE",
        "look again",
    ),
    "the checkpoint too large": (
        beside("checkpoint", holding(b"a" * 100_000)),
        "checkpoint",
        "CHECKPOINT_UNREADABLE",
        "look again",
    ),
    "the key a folder": (beside("key", Path.mkdir), "key", "KEY_UNUSABLE", "look again"),
    "the key a pipe": (
        beside("key", lambda place: os.mkfifo(place, 0o600)),
        "key",
        "KEY_UNUSABLE",
        "look again",
    ),
    "the key no key": (beside("key", holding(b"key")), "key", "KEY_UNUSABLE", "look again"),
    "the key of another log": (beside("key", of_another_store), "key", "KEY_UNUSABLE", "look again"),
    "the key open to all": (open_to_all, "key", "KEY_EXPOSED", "chmod 600"),
    "an index of states that is stale": (
        stale("listing_by_state", "phase"),
        "form",
        "FORM_DIFFERS",
        "--rebuild",
    ),
    "an index of requesters that is stale": (
        stale("listing_by_requester", "requester"),
        "form",
        "FORM_DIFFERS",
        "--rebuild",
    ),
    "labels as octets": (
        sql("UPDATE projections SET labels = CAST(labels AS BLOB)"),
        "projections",
        "PROJECTION_DIFFERS",
        "--rebuild",
    ),
    "two columns of the schema exchanged": (
        schema(
            "UPDATE sqlite_master SET sql = replace(replace(replace(sql, 'digest ', 'leaf_  '), 'leaf  ', 'digest '),"
            " 'leaf_  ', 'leaf  ') WHERE name = 'entries'"
        ),
        "form",
        "FORM_DIFFERS",
        "restore a backup",
    ),
    "a table that is gone from the schema": (
        schema("DELETE FROM sqlite_master WHERE tbl_name = 'entries'"),
        "log",
        "STORE_UNREADABLE",
        "restore a backup",
    ),
    "a header that says read-only": (
        overwritten(b"\x09", 18),
        "form",
        "STORE_UNWRITABLE",
        "restore a backup",
    ),
}


def kept(folder: Path) -> dict[str, bytes | int]:
    """What lies in the folder, but for the files that SQLite makes for those who read."""
    return {
        each.name: each.read_bytes() if each.is_file() else each.lstat().st_mode
        for each in folder.iterdir()
        if not each.name.endswith(("-wal", "-shm"))
    }


@pytest.mark.sample(12)
@pytest.mark.parametrize("what", DAMAGE)
def test_doctor_names_the_damage_ends_with_3_and_leaves_all_as_it_is(what: str, commands: Commands) -> None:
    damage, check, code, advice = DAMAGE[what]
    damage(commands.folder / "store.db")
    before = kept(commands.folder)
    examined = commands.answer("doctor", code=3)
    assert examined["ok"] is False
    assert examined["checks"][check] == "fail"
    assert code in [fault["code"] for fault in examined["faults"]]
    assert advice in examined["next"]
    assert (examined["command"] is None) == (advice == "restore a backup")
    shown = commands.run("doctor", code=3)
    assert code in shown
    assert "Whole." not in shown
    assert kept(commands.folder) == before


@pytest.mark.parametrize("what", [name for name, (*_, advice) in DAMAGE.items() if advice == "--rebuild"])
def test_what_holds_no_data_is_made_as_it_was_and_what_does_is_left(what: str, commands: Commands) -> None:
    DAMAGE[what][0](commands.folder / "store.db")
    holds_data = what in ("a table added", "a column added")
    examined = commands.answer("doctor", "--rebuild", code=3 if holds_data else 0)
    assert examined["ok"] is not holds_data
    if holds_data:
        assert ("restore a backup" in examined["next"], examined["command"]) == (True, None)
    assert commands.answer("doctor", code=3 if holds_data else 0)["checks"]["form"] == (
        "fail" if holds_data else "pass"
    )


def test_a_stale_index_is_named_and_rebuilt_so_that_lists_find_what_is_there(commands: Commands) -> None:
    def found() -> list[str]:
        return [line["request_id"] for line in commands.answer("list", "--state", "completed")["requests"]]

    before = found()
    DAMAGE["an index of states that is stale"][0](commands.folder / "store.db")
    assert (bool(before), found()) == (True, [])
    (fault,) = commands.answer("doctor", code=3)["faults"]
    assert fault["detail"] == "the index listing_by_state does not lead to the rows of its table"
    assert commands.answer("doctor", "--rebuild")["ok"]
    assert found() == before


def test_a_key_that_others_may_read_gets_one_advice(commands: Commands) -> None:
    open_to_all(commands.folder / "store.db")
    shown = " ".join(commands.run("doctor", code=3).split())
    assert (shown.count("chmod 600"), "Put it back" in shown, "not so" in shown) == (1, False, False)


def test_each_object_is_named(commands: Commands) -> None:
    sql(DROPPED, WEAKER, WATCHING, "DROP INDEX first_entries")(commands.folder / "store.db")
    assert [fault["detail"] for fault in commands.answer("doctor", code=3)["faults"]] == [
        "the index first_entries is missing",
        "the trigger spy on entries was added",
        "the trigger entries_are_not_updated is not as it was made",
    ]


def test_an_emptied_database_is_known_by_what_lies_beside_it(commands: Commands) -> None:
    database = commands.folder / "store.db"
    emptied(database)
    (fault,) = commands.answer("doctor", code=3)["faults"]
    assert all(f"{database}.{name}" in fault["detail"] for name in ("key", "head", "checkpoint"))
    for name in ("head", "checkpoint"):
        Path(f"{database}.{name}").unlink()
    created_again(database)
    (fault,) = commands.answer("doctor", code=3)["faults"]
    assert (fault["code"], f"{database}.key" in fault["detail"]) == ("STORE_EMPTIED", True)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("head", "lost or taken away"),
        ("key", "nothing is signed here until it is put back"),
        ("checkpoint", "nothing is known of what the log was"),
    ],
)
def test_what_is_not_there_is_not_said_to_have_been_looked_at(
    name: str, reason: str, commands: Commands
) -> None:
    Path(f"{commands.folder / 'store.db'}.{name}").unlink()
    examined = commands.answer("doctor")
    assert [each for each, status in examined["checks"].items() if status == "skipped"] == [name]
    assert reason in examined["reasons"][name]
    assert f"Not looked at: {name}." in commands.run("doctor")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
@pytest.mark.parametrize(("name", "code"), [("key", 0), ("checkpoint", 3), ("head", 3)])
def test_what_may_not_be_read_is_no_tampering(name: str, code: int, commands: Commands) -> None:
    """The log's key is often another user's."""
    Path(f"{commands.folder / 'store.db'}.{name}").chmod(0)
    examined = commands.answer("doctor", code=code)
    assert examined["checks"][name] == ("fail" if code else "skipped")
    assert "cannot be read: Permission denied" in str(examined)


@pytest.mark.parametrize("version", [1, 2, 3])
def test_a_store_of_an_earlier_schema_is_no_tampering(version: int, commands: Commands) -> None:
    store = commands.folder / "store.db"
    sql(f"PRAGMA user_version = {version}")(store)
    before = store.read_bytes()
    refusal = commands.answer("doctor", code=2)
    assert "Export the decisions with the version that wrote them" in refusal["next"]
    assert store.read_bytes() == before


def test_statistics_that_sqlite_keeps_are_no_damage(commands: Commands) -> None:
    sql("ANALYZE")(commands.folder / "store.db")
    assert commands.answer("doctor")["ok"]


@pytest.mark.parametrize(
    ("vector", "schema"), [("store.db", 4), ("store-5.db", 5), ("store-6.db", 6), ("store-7.db", 7)]
)
def test_doctor_says_once_that_it_led_a_file_of_an_earlier_schema(
    vector: str, schema: int, tmp_path: Path
) -> None:
    shutil.copy(STORES / vector, tmp_path / "store.db")
    commands = Commands(tmp_path)
    assert f"The file had schema {schema}, of an earlier version." in " ".join(commands.run("doctor").split())
    assert "earlier version" not in commands.run("doctor")
