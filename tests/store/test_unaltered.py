"""What is exported is what was written: its text is that of the objects, and what was edited in the file is refused.

Each change is made to a copy of one busy store, in events that a bundle would hold: as it is, with the digest of its
row computed again, and with the row's chain hash, too.
"""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nexus_control import DecisionStore, NexusControlTools
from nexus_control.bundle import DecisionBundle
from nexus_control.bundle_parts import event_part, header_of, link_part, template_part
from nexus_control.canonical_json import canonical_json
from nexus_control.decision import Decision
from nexus_control.errors import ErrorCode
from nexus_control.events import StoredEvent
from nexus_control.export import export_decision, export_of
from nexus_control.log.upkeep import find_faults
from nexus_control.storage.contract import Entry
from tests.domain.histories import CREATED, POLICY
from tests.domain.test_replay import HISTORIES
from tests.support.amounts import sample_of
from tests.support.governed import ADAPTER, ALICE, BOB, SCHEDULER, approved, data_of
from tests.support.json_values import TEXT, json_values
from tests.support.routers import ScriptedRouter, good_answer
from tests.support.tampering import Log, Victim, attacking, busy_store, changed, sealed

ALTERED: dict[str, Callable[[Entry], Any]] = {
    "stream": lambda entry: f"{entry.stream}x",
    "generation": lambda entry: entry.generation + 7,
    "seq": lambda entry: entry.seq + 1000,
    "event_type": lambda entry: "APPROVAL_REVOKED",
    "ts": lambda entry: entry.ts.replace("+00:00", "Z"),
    "actor_type": lambda entry: "human" if entry.actor_type == "system" else "system",
    "actor_id": lambda entry: f"{entry.actor_id}x",
    "payload": lambda entry: entry.payload.replace("{", '{"a":1,', 1),
    "digest": lambda entry: entry.digest[::-1],
    "leaf": lambda entry: entry.leaf[::-1],
    "origin": lambda entry: "local" if entry.origin == "imported" else "imported",
    "kind": lambda entry: "template",
}


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Victim:
    return busy_store(tmp_path_factory.mktemp("victim"))


def histories(log: Log) -> list[tuple[str, int]]:
    """Each decision and generation of which there are events."""
    return sorted({(entry.stream, entry.generation) for _, entry in log if entry.kind == "decision"})


def test_every_generation_of_a_store_that_nobody_touched_is_exported(victim: Victim, tmp_path: Path) -> None:
    with DecisionStore(victim.copy(tmp_path / "store.db")) as store:
        for decision_id, generation in histories(victim.log):
            result = export_decision(store, decision_id, generation=generation)
            assert result.success, result
            assert result.bundle is not None
            assert result.bundle.content_digest() == result.digest
            assert [event.payload for event in result.bundle.events] == [
                event.payload for event in store.get_events(decision_id, generation=generation)
            ]


@pytest.mark.parametrize("column", ALTERED)
def test_an_event_with_another_value_in_one_column_is_not_exported(
    column: str, victim: Victim, tmp_path: Path
) -> None:
    ends = {
        (entry.stream, entry.generation): position
        for position, entry in victim.log
        if entry.kind == "decision"
    }
    with DecisionStore(victim.copy(tmp_path / "whole.db")) as store:
        current = {name: store.load(name).generation for name, _ in ends}
    tried = 0
    for position, entry in sample_of([each for each in victim.log if each.entry.kind == "decision"], 12):
        history = (entry.stream, entry.generation)
        leaves = column in ("stream", "generation", "seq", "kind")
        if leaves and current[entry.stream] != entry.generation and ends[history] == position:
            continue  # nothing but the log's gap tells that a superseded generation once went further
        log = changed(victim.log, position, **{column: ALTERED[column](entry)})
        for written in (log, sealed(log, position, leaf=False), sealed(log, position, leaf=True)):
            if written[position].entry == entry:
                continue  # the change was to what was computed again
            with DecisionStore(victim.with_log(tmp_path / "store.db", written)) as store:
                result = export_decision(store, entry.stream, generation=entry.generation)
            assert result.error_code in (ErrorCode.INTEGRITY_MISMATCH, _of_nothing(written, history)), column
            tried += 1
    assert tried >= 12


@pytest.mark.parametrize("column", ALTERED)
def test_an_event_that_is_changed_beneath_a_store_that_has_exported_it_is_not_exported_again(
    column: str, victim: Victim, tmp_path: Path
) -> None:
    path = victim.copy(tmp_path / "store.db")
    with DecisionStore(path) as store:
        current = {name: store.load(name).generation for name, _ in histories(victim.log)}
        for position, entry in victim.log:
            if entry.kind != "decision" or entry.generation != current[entry.stream]:
                continue
            if ALTERED[column](entry) == getattr(entry, column):
                continue
            assert export_decision(store, entry.stream).success
            with attacking(path) as rows:
                rows.execute(
                    f"UPDATE entries SET {column} = ? WHERE position = ?", (ALTERED[column](entry), position)
                )
            assert export_decision(store, entry.stream).error_code == ErrorCode.INTEGRITY_MISMATCH
            with attacking(path) as rows:
                rows.execute(
                    f"UPDATE entries SET {column} = ? WHERE position = ?", (getattr(entry, column), position)
                )


def _of_nothing(log: Log, history: tuple[str, int]) -> str:
    """The code for a history of which no event is left."""
    return ErrorCode.INTEGRITY_MISMATCH if history in histories(log) else ErrorCode.INVALID_STATE


def test_an_event_whose_number_is_no_integer_is_not_left_out_of_a_history(
    victim: Victim, tmp_path: Path
) -> None:
    path = victim.copy(tmp_path / "store.db")
    with DecisionStore(path) as store:
        for name in {name for name, _ in histories(victim.log)}:
            with attacking(path) as rows:
                rows.execute(
                    "INSERT INTO entries SELECT (SELECT max(position) + 1 FROM entries), kind, stream, generation, 'x',"
                    " event_type, ts, actor_type, actor_id, payload, digest, leaf, origin FROM entries"
                    " WHERE kind = 'decision' AND stream = ? ORDER BY position DESC LIMIT 1",
                    (name,),
                )
            assert export_decision(store, name).error_code == ErrorCode.INTEGRITY_MISMATCH


def test_a_chain_that_begins_at_another_head_is_not_executed(tmp_path: Path) -> None:
    """The head of a decision without events is edited before this process appends to it."""
    path = tmp_path / "store.db"
    with NexusControlTools(db_path=str(path)) as tools:
        decision_id = tools.store.create_decision()
        with attacking(path) as rows:
            rows.execute(f"UPDATE projections SET head = '{'a' * 64}'")
        for payload in (CREATED, POLICY):
            tools.store.append_event(decision_id, payload.event_type, ALICE, payload)
        data_of(tools.approve(decision_id, BOB))
        refused = tools.execute(decision_id, ADAPTER, SCHEDULER, ScriptedRouter(good_answer))
        assert refused.error_code == ErrorCode.INTEGRITY_MISMATCH


def test_an_imported_decision_is_the_same_to_the_process_that_imported_it_as_to_another(
    victim: Victim, tmp_path: Path
) -> None:
    path = tmp_path / "target.db"
    with DecisionStore(victim.copy(tmp_path / "store.db")) as source:
        bundles = [
            export_decision(source, name).bundle for name in sorted({n for n, _ in histories(victim.log)})
        ]
    with NexusControlTools(db_path=str(path)) as tools, DecisionStore(path) as other:
        for bundle in bundles:
            assert bundle is not None
            result = tools.import_bundle(
                bundle.to_dict(), conflict_mode="new_decision_id", verify_digest=False
            )
            imported = data_of(result)
            name = imported["imported"]["decision_id"]
            ours, theirs = tools.store.load(name), other.load(name)
            assert replace(ours, reserved_at="") == replace(theirs, reserved_at="")
            assert (
                data_of(tools.status(name))["basis"]
                == data_of(NexusControlTools(other).status(name))["basis"]
            )


def test_a_refusal_names_the_event_and_whom_to_tell(victim: Victim, tmp_path: Path) -> None:
    entry = next(each.entry for each in victim.log if each.entry.event_type == "APPROVAL_GRANTED")
    path = victim.copy(tmp_path / "store.db")
    with attacking(path) as rows:
        rows.execute("UPDATE entries SET actor_id = 'mallory' WHERE leaf = ?", (entry.leaf,))
    with NexusControlTools(db_path=str(path)).store as store:
        refused = NexusControlTools(store).export_bundle(entry.stream)
    assert (refused.success, refused.error_code) == (False, ErrorCode.INTEGRITY_MISMATCH)
    assert refused.details is not None
    assert (refused.details["seq"], refused.details["decision_id"]) == (entry.seq, entry.stream)
    assert refused.next is not None
    assert "doctor" in refused.next


@pytest.mark.parametrize("column", ["event_count", "head"])
def test_a_history_that_is_not_the_one_of_its_projection_is_not_exported(
    column: str, victim: Victim, tmp_path: Path
) -> None:
    path = victim.copy(tmp_path / "store.db")
    with attacking(path) as rows:
        value = "event_count - 1" if column == "event_count" else f"'{'0' * 64}'"
        rows.execute(f"UPDATE projections SET {column} = {value} WHERE event_count > 0")
    with DecisionStore(path) as store:
        for name, _ in histories(victim.log):
            assert export_decision(store, name).error_code == ErrorCode.INTEGRITY_MISMATCH


KEPT: dict[str, tuple[str, str]] = {
    "last_ts": ("projections", "last_ts = replace(last_ts, '+00:00', 'Z')"),
    "phase": ("projections", "progress = json_set(progress, '$.phase', 'draft')"),
    "quorums": ("projections", "progress = json_set(progress, '$.quorums', json('{\"total\":99}'))"),
    "ending": ("projections", "progress = json_set(progress, '$.ending.reason', 'another')"),
    "run": ("projections", "progress = json_set(progress, '$.executions[0].adapter_id', 'another')"),
    "approver": ("approvals", "content = json_set(content, '$.actor.type', 'system')"),
    "approval": ("approvals", "content = json_set(content, '$.seq', json_extract(content, '$.seq') + 1)"),
    "given": ("approvals", "content = json_set(content, '$.granted_at', '2001-01-01T00:00:00Z')"),
    "comment": ("approvals", "content = json_set(content, '$.comment', 'another')"),
    "assurance": ("approvals", "content = json_set(content, '$.assurance', 'elicited')"),
    "end": ("approvals", "content = json_set(content, '$.expires_at', '9999-01-01T00:00:00Z')"),
    "taken back": ("approvals", "content = json_set(content, '$.revoked_at', '2001-01-01T00:00:00Z')"),
}
"""By what is kept of a decision: its table, and how one thing in it is changed."""

HELD_BY_SOME = {"ending": '"ending":', "run": '"executions":[{'}
"""What only some decisions have, as it stands in their progress."""


@pytest.mark.parametrize("kept", KEPT)
def test_a_decision_of_which_one_kept_fact_is_not_what_its_events_say_is_not_exported(
    kept: str, victim: Victim, tmp_path: Path
) -> None:
    table, change = KEPT[kept]
    where = f"progress LIKE '%{HELD_BY_SOME[kept]}%'" if kept in HELD_BY_SOME else "true"
    path = victim.copy(tmp_path / "store.db")
    with attacking(path) as rows:
        ordinals = {ordinal for (ordinal,) in rows.execute(f"SELECT ordinal FROM {table} WHERE {where}")}
        known = rows.execute(
            "SELECT ordinal, decision_id, imported_count FROM projections WHERE event_count > 0"
        )
        tried = [(name, came) for ordinal, name, came in known if ordinal in ordinals]
        rows.execute(f"UPDATE {table} SET {change} WHERE {where}")
    assert any(not came for _, came in tried)
    assert kept in HELD_BY_SOME or any(came for _, came in tried)
    with DecisionStore(path) as store:
        for name, _ in tried:
            refused = export_decision(store, name).error_code
            assert refused in (ErrorCode.INTEGRITY_MISMATCH, ErrorCode.STORE_UNAVAILABLE), name


def test_an_import_record_that_was_edited_to_excuse_false_digests_excuses_none(
    victim: Victim, tmp_path: Path
) -> None:
    """Without its record an imported history is not exported either."""
    for position, record in victim.log:
        if record.kind != "import":
            continue
        excusing = record.payload.replace('"forensic":false', '"forensic":true')
        edits = ({"payload": f"{excusing} "}, {"generation": 7}, {"event_type": "X"}, {"origin": "imported"})
        for columns in edits:
            log = sealed(changed(victim.log, position, **columns), position, leaf=True)
            with DecisionStore(victim.with_log(tmp_path / "store.db", log)) as store:
                result = export_decision(store, record.stream, generation=record.generation)
            assert result.error_code == ErrorCode.INTEGRITY_MISMATCH


@pytest.mark.parametrize("added", ['"', "\\", '","seq":9,"x":"', "0"])
def test_a_digest_that_nobody_checked_and_that_is_no_digest_is_not_exported(
    added: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A forger who writes the database has this library, too, and can make it take any text for a digest."""
    with NexusControlTools() as origin:
        bundle = data_of(origin.export_bundle(approved(origin)))["bundle"]
    bundle["events"][-1]["digest"] += added
    with NexusControlTools(db_path=str(tmp_path / "store.db")) as tools:
        with monkeypatch.context() as forging:
            forging.setattr("nexus_control.integrity._BARE", re.compile("(?s).*"))
            brought = tools.import_bundle(bundle, verify_digest=False, replay_after_import=False)
            assert data_of(brought)["imported"]["forensic"]
        name = bundle["decision"]["decision_id"]
        assert tools.export_bundle(name).error_code == ErrorCode.INTEGRITY_MISMATCH
        assert [fault.code for fault in find_faults(tools.store)] == ["ENTRY_UNREADABLE"]


@settings(max_examples=100)
@given(HISTORIES.filter(bool), st.dictionaries(TEXT, json_values(), max_size=3))
def test_the_spliced_text_is_the_canonical_json_of_the_objects(
    events: list[StoredEvent], more: dict[str, Any]
) -> None:
    with DecisionStore() as store:
        decision_id = store.create_decision()
        for event in events:
            store.append_event(decision_id, event.event_type, event.actor, {**event.payload, "more": more})
        stored = store.get_events(decision_id)
        decision = Decision.replay(decision_id, stored)
        tools = NexusControlTools(store)
        if decision.facts.created is None:
            assert tools.export_bundle(decision_id).error_code == ErrorCode.REPLAY_INVALID
            return
        with store.reading() as session:
            export = export_of(session, decision_id)
            sealed_of_objects = DecisionBundle.seal(
                decision=header_of(decision),
                events=[event_part(each) for each in stored],
                template_snapshot=template_part(decision.facts),
                router_link=link_part(decision),
                exported_at=session.now,
            )
        written = sealed_of_objects.to_dict()
        assert export.canonical_json == canonical_json(written)
        assert export.to_dict() == written
        assert list(export.to_dict()["events"][0]) == list(written["events"][0])
        assert export.to_bundle() == sealed_of_objects
        data = data_of(tools.export_bundle(decision_id))
        assert data["digest"] == sealed_of_objects.content_digest()
