import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from nexus_control import DecisionStore, NexusControlTools
from nexus_control.events import Actor
from nexus_control.log.checkpoints import publish
from nexus_control.log.log_keys import rotate
from nexus_control.log.upkeep import find_faults, rebuild_derived
from nexus_control.storage.contract import DecisionRow, Entry
from tests.support.governed import overwritten
from tests.support.model_storage import ModelStorage
from tests.support.tampering import without_triggers

ALICE = Actor(type="human", id="alice")
BOB = Actor(type="human", id="bob")


def busy_store(path: Path) -> NexusControlTools:
    """A store with a template, a superseded generation, a copy, a revocation, two keys and a reserved decision."""
    tools = NexusControlTools(db_path=path)
    tools.template_create(name="rotation", actor=ALICE, min_approvals=2, labels=["prod"])
    request_id = tools.request(goal="rotate", actor=ALICE, template_name="rotation").data["request_id"]
    tools.approve(request_id, actor=BOB)
    bundle = tools.export_bundle(request_id).data["bundle"]
    assert tools.import_bundle(bundle, conflict_mode="new_decision_id").success
    assert overwritten(tools, request_id).success
    publish(tools.store)
    rotate(tools.store)
    tools.revoke_approval(request_id, actor=BOB)
    tools.store.create_decision()
    return tools


def decision_rows(store: DecisionStore) -> list[DecisionRow | None]:
    with store.reading() as session:
        return [session.rows.decision_row(name) for name, _ in session.rows.decisions(100, 0)]


def test_a_store_that_nobody_touched_has_no_faults(tmp_path: Path) -> None:
    assert find_faults(busy_store(tmp_path / "store.db").store) == []


def test_rebuilding_gives_the_projections_that_were_written_with_the_events(tmp_path: Path) -> None:
    store = busy_store(tmp_path / "store.db").store
    before = decision_rows(store)
    assert rebuild_derived(store) == len(before) == 3
    assert decision_rows(store) == before


def test_projections_are_rebuilt_from_the_entries_alone(tmp_path: Path) -> None:
    store = busy_store(tmp_path / "store.db").store
    with store.reading() as session:
        log = [placed.entry for placed in session.rows.log()]
    storage = ModelStorage()
    with storage.writing() as rows:
        rows.append(log)
    fresh = DecisionStore(storage=storage)
    assert rebuild_derived(fresh) == 2  # the reserved decision has no entry to be rebuilt from
    known = {row.decision_id: row for row in decision_rows(store) if row}
    for row in decision_rows(fresh):
        assert row is not None
        assert row._replace(ordinal=0) == known[row.decision_id]._replace(ordinal=0)


def test_a_lost_projection_is_found_and_rebuilt(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    store = busy_store(path).store
    with sqlite3.connect(path) as raw:
        raw.execute("UPDATE projections SET goal = 'something harmless' WHERE ordinal = 1")
    raw.close()
    assert [fault.code for fault in find_faults(store)] == ["PROJECTION_DIFFERS"]
    rebuild_derived(store)
    assert find_faults(store) == []


def test_every_altered_added_and_lost_subtree_is_found_and_rebuilt(tmp_path: Path) -> None:
    store = busy_store(tmp_path / "store.db").store
    with store.reading() as session:
        kept = session.rows.subtrees()
        last = (0, session.rows.log_size() - 1)
    assert len(kept) > 5
    assert last[1] % 2 == 0
    altered = [{**kept, place: bytes(32)} for place in kept]
    lost = [{other: value for other, value in kept.items() if other != place} for place in kept]
    for subtrees in (*altered, *lost, {**kept, (9, 9): bytes(32)}):
        with store.writing() as session:
            session.rows.replace_subtrees(subtrees)
        (fault,) = find_faults(store)
        # Nothing in the tree contradicts its last leaf where that is in no pair: then it may be the log that lacks one.
        alone = kept.keys() - subtrees.keys() == {last} or subtrees[last] != kept[last]
        assert fault.code == ("LOG_DIFFERS" if alone else "TREE_DIFFERS")
    rebuild_derived(store)
    assert find_faults(store) == []
    with store.reading() as session:
        assert session.rows.subtrees() == kept


def _later(text: str) -> str:
    return text.replace("2", "1", 1)


ALTERATIONS: dict[str, Callable[[Entry], Entry]] = {
    "payload": lambda entry: entry._replace(payload=entry.payload[:-1] + ',"x":1}'),
    "payload that is no JSON": lambda entry: entry._replace(payload=entry.payload[:-1]),
    "actor": lambda entry: entry._replace(actor_id="mallory"),
    "actor type": lambda entry: entry._replace(
        actor_type="system" if entry.actor_type == "human" else "human"
    ),
    "time": lambda entry: entry._replace(ts=_later(entry.ts)),
    "event type": lambda entry: entry._replace(event_type="APPROVAL_DENIED"),
    "origin": lambda entry: entry._replace(origin="local" if entry.origin == "imported" else "imported"),
    "digest": lambda entry: entry._replace(digest=entry.digest[::-1]),
    "chain hash": lambda entry: entry._replace(leaf=entry.leaf[::-1]),
}


@pytest.mark.parametrize("alteration", ALTERATIONS)
def test_every_altered_entry_is_found(alteration: str, tmp_path: Path) -> None:
    with busy_store(tmp_path / "store.db").store.reading() as session:
        log = [placed.entry for placed in session.rows.log()]
    for position in range(len(log)):
        storage = ModelStorage()
        with storage.writing() as rows:
            rows.append(
                [ALTERATIONS[alteration](entry) if n == position else entry for n, entry in enumerate(log)]
            )
        assert position in [fault.position for fault in find_faults(DecisionStore(storage=storage))]


def test_every_removed_entry_is_found(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    store = busy_store(path).store
    with store.reading() as session:
        size = session.rows.log_size()
    store.close()
    for position in range(size):
        copy = tmp_path / f"{position}.db"
        with sqlite3.connect(path) as source, sqlite3.connect(copy) as raw:
            source.backup(raw)
            with without_triggers(raw):
                raw.execute("DELETE FROM entries WHERE position = ?", (position,))
        source.close()
        raw.close()
        with DecisionStore(copy) as damaged:
            assert find_faults(damaged), position
