"""Any single change to a store's file is found when it was made past the library.

Each change is made to a copy of one busy store, at every position of its log: as it is, with the digest of its row
computed again, and with the row's chain hash, too.
"""

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from nexus_control import DecisionStore
from nexus_control.events import compute_event_digest
from nexus_control.log.entries import chain_key
from nexus_control.log.upkeep import Fault, find_faults, rebuild_derived
from nexus_control.storage.contract import Claim, Entry, Placed
from tests.cli.running import Commands, nexus_control
from tests.support.amounts import sample_of
from tests.support.tampering import Log, Victim, attacking, busy_store, changed, sealed

Change: TypeAlias = Callable[[Log, int], Iterable[Log]]
"""What can be done of one kind to the row at a position."""


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Victim:
    return busy_store(tmp_path_factory.mktemp("victim"))


def faults_of(path: Path) -> list[Fault]:
    with DecisionStore(path) as store:
        return find_faults(store)


def test_a_store_that_nobody_touched_has_no_faults(victim: Victim, tmp_path: Path) -> None:
    assert faults_of(victim.copy(tmp_path / "copy.db")) == []
    assert Commands(victim.copy(tmp_path / "store.db").parent).answer("doctor")["ok"]


# --- a row that was changed ------------------------------------------------------------------------------------------


def payload(log: Log, position: int) -> Iterator[Log]:
    for altered in _each_altered(json.loads(log[position].entry.payload)):
        text = json.dumps(altered, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        yield changed(log, position, payload=text)


def _each_altered(value: Any) -> Iterator[Any]:
    """The value with each of its leaves changed, one at a time."""
    match value:
        case dict() if value:
            for key, inner in value.items():  # pyright: ignore[reportUnknownVariableType]
                yield from ({**value, key: altered} for altered in _each_altered(inner))
        case list() if value:
            for number, inner in enumerate(value):  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
                for altered in _each_altered(inner):
                    yield [*value[:number], altered, *value[number + 1 :]]
        case bool():
            yield not value
        case int():
            yield value + 1
        case str():
            yield f"{value}x"
        case _:
            yield "x"


def column(name: str, *alter: Callable[[Entry], object]) -> Change:
    """Each of what these make of an entry, in one column."""

    def change(log: Log, position: int) -> Iterator[Log]:
        for value in {each(log[position].entry) for each in alter}:
            yield changed(log, position, **{name: value})

    return change


def constant(value: object) -> Callable[[Entry], object]:
    return lambda _: value


def stream(log: Log, position: int) -> Iterator[Log]:
    for name in ("elsewhere", log[position - 1].entry.stream, log[3].entry.stream):
        yield changed(log, position, stream=name)


COLUMNS: dict[str, Change] = {
    "payload": payload,
    "actor id": column("actor_id", constant("mallory"), lambda entry: entry.actor_id.upper()),
    "actor type": column("actor_type", constant("human"), constant("system")),
    "time": column(
        "ts", constant("2026-01-02T03:04:06+00:00"), lambda entry: entry.ts.replace("+00:00", "Z")
    ),
    "event type": column("event_type", *map(constant, ("APPROVAL_GRANTED", "APPROVAL_DENIED", "IMPORTED"))),
    "digest": column("digest", lambda entry: entry.digest[::-1], lambda entry: entry.digest.upper()),
    "leaf": column("leaf", lambda entry: entry.leaf[::-1], lambda entry: entry.leaf.upper()),
    "origin": column("origin", constant("local"), constant("imported")),
    "stream": stream,
    "seq": column("seq", lambda entry: entry.seq + 1, lambda entry: entry.seq + 100, constant(-1)),
    "generation": column("generation", lambda entry: entry.generation + 1, constant(9), constant(-1)),
    "kind": column("kind", *map(constant, ("decision", "template", "import", "key", "rollback"))),
}


def each_sealed(log: Log, position: int) -> Iterator[Log]:
    """The log as it is, and after more and more of a changed row was computed again."""
    yield log
    with suppress(ValueError):  # nothing can be computed of a row that cannot be read
        yield sealed(log, position, leaf=False)
        yield sealed(log, position, leaf=True)


# --- rows that went, came or moved -----------------------------------------------------------------------------------


def renumbered(entries: Iterable[Entry]) -> Log:
    return [Placed(position, entry) for position, entry in enumerate(entries)]


def deleted(log: Log, position: int) -> Iterator[Log]:
    yield [*log[:position], *log[position + 1 :]]


def deleted_and_closed_up(log: Log, position: int) -> Iterator[Log]:
    entries = [entry for n, entry in log if n != position]
    yield renumbered(entries)
    gone = log[position].entry
    yield renumbered(
        entry._replace(seq=entry.seq - 1)
        if chain_key(entry) == chain_key(gone) and entry.seq > gone.seq
        else entry
        for entry in entries
    )


def inserted(log: Log, position: int) -> Iterator[Log]:
    """An approval more, in the decision of the row that was there, before it; and after it at the end."""
    there = log[position].entry
    if there.kind != "decision":
        return
    content = {"comment": "Looks good to me", "expires_at": None}
    approval = there._replace(
        event_type="APPROVAL_GRANTED",
        actor_type="human",
        actor_id="mallory",
        payload=json.dumps(content, separators=(",", ":")),
        digest=compute_event_digest("APPROVAL_GRANTED", content),
        origin="local",
    )
    later = [
        entry._replace(seq=entry.seq + 1)
        if chain_key(entry) == chain_key(there) and entry.seq >= there.seq
        else entry
        for _, entry in log[position:]
    ]
    before = [entry for _, entry in log[:position]]
    yield sealed(renumbered([*before, approval, *later]), position, leaf=True)
    last = max(entry.seq for _, entry in log if chain_key(entry) == chain_key(there))
    at_the_end = [*log, Placed(len(log), approval._replace(seq=last + 1))]
    yield sealed(at_the_end, len(log), leaf=True)


def repeated_as_another_stream(log: Log, position: int) -> Iterator[Log]:
    """What begins a chain of its own, at the end: a template, a key, a decision's first event."""
    entry = log[position].entry
    if entry.seq == 0:
        copied = entry._replace(stream="another", generation=0)
        yield sealed([*log, Placed(len(log), copied)], len(log), leaf=True)


def hidden(log: Log, position: int) -> Iterator[Log]:
    """Moved, or one more like it, where no position is."""
    entry = log[position].entry
    for place in (-1, -(2**63), len(log) + 7, 2**63 - 1):
        yield [*log[:position], Placed(place, entry), *log[position + 1 :]]
        yield [*log, Placed(place, entry._replace(seq=entry.seq + 1000))]


def swapped(log: Log, position: int) -> Iterator[Log]:
    if position + 1 < len(log):
        first, second = log[position].entry, log[position + 1].entry
        rest = log[position + 2 :]
        yield [*log[:position], Placed(position, second), Placed(position + 1, first), *rest]
        seqs = second._replace(seq=first.seq), first._replace(seq=second.seq)
        yield [*log[:position], *(Placed(position + n, entry) for n, entry in enumerate(seqs)), *rest]


ROWS: dict[str, Change] = {
    "deleted": deleted,
    "deleted and closed up": deleted_and_closed_up,
    "inserted": inserted,
    "repeated as another stream": repeated_as_another_stream,
    "hidden": hidden,
    "swapped": swapped,
}


def attempts(victim: Victim, kind: str, position: int) -> Iterator[Log]:
    """Every log that differs from the victim's by one change of this kind at this position."""
    if kind in ROWS:
        yield from ROWS[kind](victim.log, position)
        return
    for altered in COLUMNS[kind](victim.log, position):
        if altered != victim.log:
            yield from (log for log in each_sealed(altered, position) if log != victim.log)


@pytest.mark.parametrize("kind", [*COLUMNS, *ROWS])
def test_every_single_change_of_the_log_is_found_wherever_it_is(
    kind: str, victim: Victim, tmp_path: Path
) -> None:
    path, made = tmp_path / "copy.db", 0
    positions = sample_of(range(len(victim.log)), 6, kind)
    for position in positions:
        for number, log in enumerate(attempts(victim, kind, position)):
            with suppress(sqlite3.IntegrityError):  # a key or a position that another row has
                assert faults_of(victim.with_log(path, log)), (position, number)
                made += 1
    assert made > len(positions) / 4


@pytest.mark.parametrize("kind", [*COLUMNS, *ROWS])
def test_doctor_finds_a_change_of_each_kind_in_the_log_and_mends_nothing(
    kind: str, victim: Victim, tmp_path: Path
) -> None:
    log = list(attempts(victim, kind, 2))[-1]
    victim.with_log(tmp_path / "store.db", log)
    examined = Commands(tmp_path).answer("doctor", "--rebuild", code=3)
    assert (examined["checks"]["log"], examined["rebuilt"]) == ("fail", 0)


def test_the_program_itself_ends_with_3_when_the_log_was_changed(victim: Victim, tmp_path: Path) -> None:
    path = victim.with_log(tmp_path / "store.db", next(attempts(victim, "actor id", 8)))
    ran = nexus_control("doctor", "--db", str(path), "--json")
    assert (ran.returncode, json.loads(ran.stdout)["ok"]) == (3, False)


def test_a_log_that_lacks_its_end_is_found_without_a_checkpoint(victim: Victim, tmp_path: Path) -> None:
    """No chain goes on from the last entry of a stream, and no pair of the tree has the last one of an odd number."""
    for size in range(len(victim.log)):
        path = victim.with_log(tmp_path / "copy.db", victim.log[:size])
        Path(f"{path}.checkpoint").unlink()
        assert faults_of(path)[0].code not in ("TREE_DIFFERS", "PROJECTION_DIFFERS")


def test_an_entry_that_an_index_leaves_out_is_found(victim: Victim, tmp_path: Path) -> None:
    """It is in the log, and a caller who asks for the templates, or for the key of the log, is not told."""
    for kind in ("template", "key"):
        path = victim.copy(tmp_path / "copy.db")
        with attacking(path) as rows:
            (made,) = rows.execute("SELECT sql FROM sqlite_master WHERE name = 'first_entries'").fetchone()
            rows.execute("DROP INDEX first_entries")
            rows.execute(f"{made} AND kind <> '{kind}'")
            rows.execute("PRAGMA writable_schema = ON")
            rows.execute("UPDATE sqlite_master SET sql = ? WHERE name = 'first_entries'", (made,))
        assert [fault.code for fault in faults_of(path)] == ["FORM_DIFFERS", "INDEX_DIFFERS"]
        with DecisionStore(path) as store:
            rebuild_derived(store)
            assert find_faults(store) == []


# --- what is derived from the log, and what lies beside it -----------------------------------------------------------

DERIVED = ("projections", "listing", "labels", "subtrees")

Row: TypeAlias = dict[str, Any]


def rows_of(path: Path, table: str) -> list[Row]:
    with attacking(path) as connection:
        found = connection.execute(f"SELECT * FROM {table}")
        names = [column[0] for column in found.description]
        return [dict(zip(names, row, strict=True)) for row in found]


def put_rows(path: Path, table: str, rows: list[Row]) -> None:
    with attacking(path) as connection:
        connection.execute(f"DELETE FROM {table}")
        places = ", ".join("?" for _ in rows[0])
        connection.executemany(
            f"INSERT INTO {table} VALUES ({places})", [tuple(row.values()) for row in rows]
        )


def each_row_changed(rows: list[Row]) -> Iterator[tuple[Row, list[Row]]]:
    """Which row is changed, and the table with that change; rows are deleted and added, too."""
    for n, row in enumerate(rows):
        yield row, [*rows[:n], *rows[n + 1 :]]
        for name, value in row.items():
            altered = value + (1 if isinstance(value, int) else "x" if isinstance(value, str) else b"x")
            yield row, [*rows[:n], {**row, name: altered}, *rows[n + 1 :]]
            yield row, [*rows, {**row, name: altered}]


@pytest.mark.parametrize("table", DERIVED)
def test_every_single_change_of_what_is_derived_is_found_and_rebuilt(
    table: str, victim: Victim, tmp_path: Path
) -> None:
    path, made = tmp_path / "copy.db", 0
    rows = rows_of(victim.copy(path), table)
    for row, altered in each_row_changed(rows):
        if row.get("event_count") == 0:  # see the test below
            continue
        victim.copy(path)
        with suppress(sqlite3.IntegrityError):
            put_rows(path, table, altered)
            with DecisionStore(path) as store:
                codes = {fault.code for fault in find_faults(store)}
                assert codes in ({"PROJECTION_DIFFERS"}, {"TREE_DIFFERS"}, {"LOG_DIFFERS"}), altered
                if row == rows[0]:
                    rebuild_derived(store)
                    assert find_faults(store) == []
            made += 1
    assert made >= (len(rows) - 1) * len(rows[0])


@pytest.mark.parametrize("table", DERIVED)
def test_doctor_finds_a_change_of_what_is_derived_and_rebuilds_it(
    table: str, victim: Victim, tmp_path: Path
) -> None:
    path = victim.copy(tmp_path / "store.db")
    put_rows(path, table, rows_of(path, table)[1:])
    assert not Commands(tmp_path).answer("doctor", code=3)["ok"]
    assert Commands(tmp_path).answer("doctor", "--rebuild")["ok"]


def test_a_decision_that_was_only_reserved_is_its_row_and_no_evidence(victim: Victim, tmp_path: Path) -> None:
    """The log knows nothing of it: that it is there, when it came and as which is nobody's claim. What a decision has
    from events, it has not.
    """
    path = victim.copy(tmp_path / "copy.db")
    rows = rows_of(path, "projections")
    (reserved,) = [row for row in rows if not row["event_count"]]
    own = {"decision_id": "another", "ordinal": 1000, "created_at": "2026-01-01T00:00:00.000000+00:00"}
    for name, value in reserved.items():
        altered = own.get(name, value + (1 if isinstance(value, int) else "x"))
        put_rows(path, "projections", [row | {name: altered} if row is reserved else row for row in rows])
        assert [fault.code for fault in faults_of(path)] == ([] if name in own else ["PROJECTION_DIFFERS"]), (
            name
        )


def test_a_claim_is_who_runs_it_now_and_no_evidence(victim: Victim, tmp_path: Path) -> None:
    """That a decision was claimed, by whom and with what outcome are events; the row beside them is for `recover`, and
    what it keeps of a late outcome is a remark for the person who reconciles.
    """
    path = victim.copy(tmp_path / "copy.db")
    put_rows(path, "claims", [encode_claim(Claim("nobody", 0, 6, "{}", "2026-01-02T03:04:05+00:00"))])
    assert faults_of(path) == []


def encode_claim(claim: Claim) -> Row:
    return {name: getattr(claim, name) for name in Claim.__dataclass_fields__}


@pytest.mark.parametrize("content", [b"", b"\xff", b"nonsense\n", "cut", "another root"])
def test_a_checkpoint_beside_the_store_that_is_none_is_found(
    content: bytes | str, victim: Victim, tmp_path: Path
) -> None:
    path = victim.copy(tmp_path / "store.db")
    beside = Path(f"{path}.checkpoint")
    note = beside.read_bytes()
    lines = note.split(b"\n")
    spoiled = {"cut": note[:-2], "another root": b"\n".join([*lines[:2], lines[2][::-1], *lines[3:]])}
    beside.write_bytes(spoiled[content] if isinstance(content, str) else content)
    assert Commands(tmp_path).answer("doctor", code=3)["checks"]["checkpoint"] == "fail"
