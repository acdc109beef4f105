"""Whatever somebody put into a store's file, past every check of the database: looking for faults reports it, and never
raises.
"""

import json
import random
import sqlite3
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from nexus_control import DecisionStore, NexusControlTools
from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.log.upkeep import Fault, find_faults
from tests.cli.running import Commands
from tests.support.amounts import sample_of
from tests.support.tampering import Victim, attacking, busy_store, changed, rewritten


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Victim:
    return busy_store(tmp_path_factory.mktemp("victim"))


def faults_of(path: Path) -> list[Fault]:
    with DecisionStore(path) as store:
        return find_faults(store)


_NESTED = f"'{'[' * 100_000}'"
NO_TEXT = ("x'ff00'", "CAST(x'ff' AS TEXT)", "''", "char(0)", "printf('%.*c', 70000, 'x')")
NO_NUMBER = ("'text'", "x'01'", "0.5", "-1", "9223372036854775807", "''")
NO_JSON = ("'{'", "'[]'", "'null'", "'1'", "'{}'", "'NaN'", "'1e999'", "'\"\\ud800\"'", _NESTED)
GARBAGE: dict[str, tuple[str, ...]] = {
    "position": ("-1", "-9223372036854775808", "9223372036854775807"),
    "kind": ("'ghost'", *NO_TEXT),
    "stream": NO_TEXT,
    "generation": NO_NUMBER,
    "seq": NO_NUMBER,
    "event_type": ("'GHOST'", *NO_TEXT),
    "ts": ("'yesterday'", "'2026-02-30T00:00:00Z'", "'9999-12-31T23:59:59-23:59'", *NO_TEXT),
    "actor_type": ("'ghost'", *NO_TEXT),
    "actor_id": ("' '", "char(8238)", *NO_TEXT),
    "payload": (*NO_JSON, *NO_TEXT),
    "digest": ("'zz'", *NO_TEXT),
    "leaf": ("'zz'", *NO_TEXT),
    "origin": ("'ghost'", *NO_TEXT),
}


@pytest.mark.parametrize("name", GARBAGE)
def test_garbage_in_the_log_is_reported_and_never_raised(name: str, victim: Victim, tmp_path: Path) -> None:
    path = tmp_path / "copy.db"
    for garbage in GARBAGE[name]:
        for position in sample_of(range(len(victim.log)), 5):
            victim.copy(path)
            with attacking(path) as rows, suppress(sqlite3.IntegrityError):
                statement = (
                    f"UPDATE entries SET {name} = {garbage} WHERE position = ? AND {name} IS NOT {garbage}"
                )
                if not rows.execute(statement, (position,)).rowcount:
                    continue
            assert faults_of(path), (garbage[:40], position)


@pytest.mark.sample(4)
@pytest.mark.parametrize("name", GARBAGE)
def test_doctor_reports_garbage_and_ends_with_3(name: str, victim: Victim, tmp_path: Path) -> None:
    for garbage in GARBAGE[name]:
        path = victim.copy(tmp_path / "store.db")
        with attacking(path) as rows:
            rows.execute(f"UPDATE entries SET {name} = {garbage} WHERE position = 9")
        assert Commands(tmp_path).answer("doctor", "--rebuild", code=3)["checks"]["log"] == "fail"


HASHED = (
    "",
    "yesterday",
    "[]",
    "[" * 100_000,
    "{}",
    '{"key":1,"note":2}',
    '{"key":"x","note":"y"}',
    "ghost",
    7,
)


@pytest.mark.sample(20)
@pytest.mark.parametrize("position", [0, 1, 2, 3, 8, 20, 24, 29])
@pytest.mark.parametrize(
    "name", ["ts", "payload", "actor_id", "event_type", "generation", "origin", "stream"]
)
def test_garbage_that_all_later_hashes_were_computed_over_is_reported_too(
    name: str, position: int, victim: Victim, tmp_path: Path
) -> None:
    made = 0
    for value in HASHED:
        try:
            log = rewritten(entry for _, entry in changed(victim.log, position, **{name: value}))
        except (ValueError, TypeError):  # no hash is over that
            continue
        assert faults_of(victim.with_log(tmp_path / "copy.db", log)), value
        made += 1
    assert made


TABLES: dict[str, tuple[str, ...]] = {
    "projections": (*NO_TEXT, *NO_NUMBER, *NO_JSON),
    "listing": (*NO_TEXT, *NO_NUMBER),
    "labels": (*NO_TEXT, *NO_NUMBER),
    "subtrees": ("'text'", "x''", "x'01'", "0.5", "-1", "zeroblob(32)", "CAST(x'ff' AS TEXT)"),
}


@pytest.mark.parametrize("table", TABLES)
def test_garbage_in_what_is_derived_is_reported_and_never_raised(
    table: str, victim: Victim, tmp_path: Path
) -> None:
    path = tmp_path / "copy.db"
    with sqlite3.connect(victim.copy(path)) as rows:
        names: list[str] = [row[1] for row in rows.execute(f"PRAGMA table_info({table})")]
        first: Any = dict(zip(names, rows.execute(f"SELECT * FROM {table}").fetchone(), strict=True))
    rows.close()
    where = " AND ".join(f"{name} IS ?" for name in names)
    found = 0
    for name in names:
        for garbage in sample_of(TABLES[table], 4):
            victim.copy(path)
            statement = f"UPDATE {table} SET {name} = {garbage} WHERE {where} AND {name} IS NOT {garbage}"
            with attacking(path) as attacker, suppress(sqlite3.IntegrityError):
                if not attacker.execute(statement, tuple(first.values())).rowcount:
                    continue
                attacker.commit()
                assert faults_of(path), (name, garbage[:40])
                found += 1
    assert found


@pytest.mark.parametrize("labels", ["'[1]'", "'{'", "x'ff'", _NESTED])
def test_labels_that_cannot_be_read_are_rebuilt(labels: str, victim: Victim, tmp_path: Path) -> None:
    path = victim.copy(tmp_path / "store.db")
    with attacking(path) as rows:
        rows.execute(f"UPDATE projections SET labels = {labels}")
    examined = Commands(tmp_path).answer("doctor", code=3)
    assert examined["checks"]["projections"] == "fail"
    assert Commands(tmp_path).answer("doctor", "--rebuild")["ok"]


@pytest.mark.parametrize("name", sorted(GARBAGE.keys() - {"position"}))
def test_reading_garbage_in_the_log_ends_with_an_answer_or_a_refusal_and_never_with_a_defect(
    name: str, victim: Victim, tmp_path: Path
) -> None:
    """What is answered is JSON, too: the command line and the server write it down."""
    path = tmp_path / "copy.db"
    ids = sorted({entry.stream for _, entry in victim.log if entry.kind == "decision"})
    refusals = 0
    for garbage in sample_of(GARBAGE[name], 6):
        victim.copy(path)
        with attacking(path) as rows:
            for which in ("kind = 'decision' AND seq = 2", "kind = 'template'"):
                place = f"(SELECT min(position) FROM entries WHERE {which})"
                rows.execute(f"UPDATE entries SET {name} = {garbage} WHERE position = {place}")
        with NexusControlTools(db_path=str(path)) as tools:
            answers = [
                tools.events_since(),
                tools.list_requests(),
                tools.template_list(),
                *(look(each) for each in ids for look in (tools.status, tools.inspect, tools.export_bundle)),
                *(tools.status(each, include_events=True) for each in ids),
            ]
        for answer in answers:
            assert answer.error_code != "INTERNAL", (garbage[:40], answer)
            json.dumps(answer.to_dict())
        refusals += sum(not answer.success for answer in answers)
    assert refusals


@pytest.mark.parametrize("edit", ["generation = -5", "generation = 7", "progress = '{}'"])
def test_a_row_that_names_events_which_are_not_there_is_called_damaged(
    edit: str, victim: Victim, tmp_path: Path
) -> None:
    path = victim.copy(tmp_path / "store.db")
    with attacking(path) as rows:
        rows.execute(f"UPDATE projections SET {edit} WHERE policy_seq >= 0")
        names = [
            name for (name,) in rows.execute("SELECT decision_id FROM projections WHERE policy_seq >= 0")
        ]
    with NexusControlTools(db_path=str(path)) as tools:
        assert {tools.status(name).error_code for name in names} == {"STORE_UNAVAILABLE"}
        assert tools.list_requests(awaiting="dora").error_code == "STORE_UNAVAILABLE"


def test_an_approval_that_is_not_text_is_called_damaged(victim: Victim, tmp_path: Path) -> None:
    path = victim.copy(tmp_path / "store.db")
    with attacking(path) as rows:
        rows.execute("UPDATE approvals SET content = CAST(content AS BLOB)")
        query = "SELECT decision_id FROM projections WHERE ordinal IN (SELECT ordinal FROM approvals)"
        names = [name for (name,) in rows.execute(query)]
    with NexusControlTools(db_path=str(path)) as tools:
        assert {tools.status(name).error_code for name in names} == {"STORE_UNAVAILABLE"}


@pytest.mark.sample(2)
@pytest.mark.parametrize("seed", range(8))
def test_a_file_with_other_bytes_anywhere_is_looked_at_or_not_opened(
    seed: int, victim: Victim, tmp_path: Path
) -> None:
    chance, path, found = random.Random(seed), tmp_path / "copy.db", 0
    for _ in range(40):
        content = bytearray(victim.copy(path).read_bytes())
        for _ in range(chance.choice((1, 4, 40))):
            content[chance.randrange(100, len(content))] = chance.randrange(256)
        path.unlink()
        path.write_bytes(content)
        try:
            found += bool(faults_of(path))
        except NexusControlError as fault:
            assert fault.code == ErrorCode.STORE_UNAVAILABLE
    assert found
