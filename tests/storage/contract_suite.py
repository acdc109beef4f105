"""The storage contract as tests: every storage keeps every promise below.

A storage's test module has a fixture `storage` with a new, empty one, and three lines:

    @every_promise
    def test_it_keeps_the_contract(promise: Promise, storage: Storage) -> None:
        promise(storage)
"""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import chain
from typing import TypeAlias

import pytest

from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.evidence.formats.merkle import whole_tree
from nexus_control.storage.contract import (
    NEVER,
    NO_END,
    ApprovalRow,
    Claim,
    DecisionQuery,
    DecisionRow,
    KeptAnswer,
    Placed,
    Reader,
    Storage,
    Writer,
)
from nexus_control.storage.sink_rows import EventSetAside, SinkRow
from tests.storage.rows import T0, T1, T2, approval, claim, decision_row, entry

Promise: TypeAlias = Callable[[Storage], None]

_promises: list[Promise] = []


def _promise(test: Promise) -> Promise:
    _promises.append(test)
    return test


class OnPurposeError(Exception):
    pass


def refused(code: ErrorCode) -> pytest.RaisesExc[NexusControlError]:
    return pytest.RaisesExc(NexusControlError, check=lambda error: error.code == code)


def contents(storage: Storage) -> tuple[list[Placed], list[DecisionRow], list[tuple[str, str]], list[Claim]]:
    """Everything that a store holds."""
    with storage.reading() as rows:
        listed = rows.decision_rows(DecisionQuery(limit=1_000_000))
        return rows.log(), listed, rows.decisions(1_000_000, 0), rows.claims()


def listed(rows: Reader, *, limit: int = 100, **filters: object) -> list[int]:
    """The ordinals that a query finds."""
    query = DecisionQuery(limit=limit, **filters)  # pyright: ignore[reportArgumentType]
    return [row.ordinal for row in rows.decision_rows(query)]


@_promise
def a_storage_that_nobody_changed_has_the_form_of_this_version(storage: Storage) -> None:
    assert storage.form_differences() == []
    storage.mend_form()
    assert storage.form_differences() == []


@_promise
def a_new_store_is_empty(storage: Storage) -> None:
    assert contents(storage) == ([], [], [], [])
    with storage.reading() as rows:
        assert (rows.log_size(), rows.entries("decision", "d1", 0), rows.first_entries("decision")) == (
            0,
            [],
            [],
        )
        assert (rows.decision_row("d1"), rows.claim("d1"), rows.generations("decision", "d1")) == (
            None,
            None,
            [],
        )


@_promise
def an_entry_comes_back_as_it_was_put_in(storage: Storage) -> None:
    odd = "quote ' \" back\\slash % _ café \u0000 \U0001f511 \ue000"
    given = entry(
        odd, payload=odd, actor_id=odd, actor_type="system", origin="imported", ts=odd, generation=2**53
    )
    with storage.writing() as rows:
        rows.append([given])
    with storage.reading() as rows:
        assert rows.entries("decision", odd, 2**53) == [given]
        assert rows.log() == [Placed(0, given)]


@_promise
def positions_number_the_entries_of_all_streams_in_the_order_of_appending(storage: Storage) -> None:
    with storage.writing() as rows:
        rows.append([entry("d1"), entry("d2")])
        rows.append([])
        rows.append([entry("t1", kind="template")])
    with storage.writing() as rows:
        rows.append([entry("d1", 1)])
    with storage.reading() as rows:
        assert [(at.position, at.entry.stream) for at in rows.log()] == [
            (0, "d1"),
            (1, "d2"),
            (2, "t1"),
            (3, "d1"),
        ]
        assert [at.position for at in rows.log(1, 3)] == [1, 2]
        assert [at.position for at in rows.log(2)] == [2, 3]
        assert rows.log(4) == rows.log(2, 2) == []
        assert rows.log_size() == 4


@_promise
def entries_are_read_by_kind_stream_and_generation_in_the_order_of_seq(storage: Storage) -> None:
    with storage.writing() as rows:
        rows.append([entry("d1", 1), entry("d1", 0), entry("d1", 2), entry("d1", 0, generation=1)])
        rows.append([entry("d1", 0, kind="template"), entry("d2", 0, generation=5)])
    with storage.reading() as rows:
        assert [row.seq for row in rows.entries("decision", "d1", 0)] == [0, 1, 2]
        assert [row.seq for row in rows.entries("decision", "d1", 0, 1)] == [1, 2]
        assert [row.seq for row in rows.entries("decision", "d1", 0, 1, 2)] == [1]
        assert rows.entries("decision", "d1", 0, 2, 2) == []
        assert rows.entries("decision", "d1", 1) == [entry("d1", 0, generation=1)]
        assert rows.generations("decision", "d1") == [0, 1]
        assert rows.generations("decision", "d2") == [5]
        assert rows.generations("template", "d2") == []


@_promise
def first_entries_are_those_that_begin_generation_0_by_position(storage: Storage) -> None:
    with storage.writing() as rows:
        rows.append([entry("zebra", kind="template"), entry("ant", kind="template"), entry("d1")])
        rows.append([entry("zebra", 1, kind="template"), entry("cat", generation=1, kind="template")])
    with storage.reading() as rows:
        assert [row.stream for row in rows.first_entries("template")] == ["zebra", "ant"]
        assert rows.first_entries("import") == []


@_promise
def a_key_that_is_taken_refuses_the_whole_transaction(storage: Storage) -> None:
    with storage.writing() as rows:
        rows.append([entry("d1")])
    before = contents(storage)
    with refused(ErrorCode.STORE_UNAVAILABLE), storage.writing() as rows:
        rows.append([entry("d2"), entry("d1")])
    with refused(ErrorCode.STORE_UNAVAILABLE), storage.writing() as rows:
        rows.append([entry("d3"), entry("d3")])
    assert contents(storage) == before


@_promise
def an_exception_rolls_everything_back(storage: Storage) -> None:
    with storage.writing() as rows:
        rows.append([entry("d1")])
        rows.save(decision_row(1, labels=("keep",)))
        rows.put_claim(claim("d1"))
    before = contents(storage)
    with suppress(OnPurposeError), storage.writing() as rows:
        rows.append([entry("d1", 1), entry("d2")])
        rows.save(decision_row(1, phase="denied", labels=("lost",)))
        rows.put_approvals(1, [approval("lost")])
        rows.replace_decision_rows([(decision_row(7), [])])
        rows.save(decision_row(8))
        rows.drop_claim("d1")
        rows.put_claim(claim("d2"))
        raise OnPurposeError
    assert contents(storage) == before
    with storage.reading() as rows:
        assert (listed(rows, label="keep"), listed(rows, label="lost"), listed(rows, phase="open")) == (
            [1],
            [],
            [1],
        )
    with storage.writing() as rows:
        rows.append([entry("d2")])
        assert (rows.position("decision", "d2", 0, 0), rows.next_ordinal()) == (1, 2)


@_promise
def a_writer_reads_what_it_wrote(storage: Storage) -> None:
    with storage.writing() as rows:
        rows.append([entry("d1")])
        rows.save(decision_row(1))
        rows.put_claim(claim("d1"))
        assert (rows.log_size(), rows.decision_row("d1"), rows.claim("d1")) == (
            1,
            decision_row(1),
            claim("d1"),
        )
        assert (listed(rows), rows.next_ordinal()) == ([1], 2)


@_promise
def a_decision_row_comes_back_as_it_was_last_saved(storage: Storage) -> None:
    labels = ("%", "_", "café", "quote \" ' back\\slash", "[]", "", "a,b", "a", "a")
    with storage.writing() as rows:
        rows.save(decision_row(1, labels=labels, goal="g" * 4096, policy_seq=1, approved_until=NO_END))
        rows.save(decision_row(2))
    with storage.writing() as rows:
        later = decision_row(
            2, generation=3, event_count=9, phase="failed", labels=("b",), last_ts=T2, progress='{"a":1}'
        )
        rows.save(later)
    with storage.reading() as rows:
        assert rows.decision_row("d1") == decision_row(
            1, labels=labels, goal="g" * 4096, policy_seq=1, approved_until=NO_END
        )
        assert rows.decision_row("d2") == later
        assert rows.decision_row("d3") is None


@_promise
def a_row_that_is_known_is_answered_as_it_is_now(storage: Storage) -> None:
    known = decision_row(1, labels=("a", "b"))
    with storage.writing() as rows:
        rows.save(known)
        rows.save(decision_row(2))
    others: list[DecisionRow] = [known._replace(labels=("b", "a"))]
    for name in DecisionRow._fields:
        if name not in ("decision_id", "ordinal", "labels"):
            value = getattr(known, name)
            others.append(known._replace(**{name: value + 1 if isinstance(value, int) else f"{value}!"}))
    with storage.reading() as rows:
        assert rows.decision_row("d1", known) == known
        assert [rows.decision_row("d1", other) for other in others] == [known] * len(others)
        assert rows.decision_row("d2", known) == decision_row(2)
        assert rows.decision_row("d3", known) is None
    for other in others:
        with storage.writing() as rows:
            rows.save(other)
        with storage.reading() as rows:
            assert rows.decision_row("d1", known) == other


@_promise
def an_entrys_position_is_found_by_its_key(storage: Storage) -> None:
    with storage.writing() as rows:
        rows.append([entry("d2"), entry("d1"), entry("d1", 1), entry("d1", generation=1)])
    with storage.reading() as rows:
        places = [rows.position("decision", "d1", 0, 1), rows.position("decision", "d1", 1, 0)]
        assert places == [2, 3]
        assert rows.position("decision", "d1", 0, 2) is None
        assert rows.position("template", "d1", 0, 1) is None


@_promise
def the_log_is_read_from_any_position_and_what_is_saved_is_filed(storage: Storage) -> None:
    with storage.writing() as rows:
        rows.append([entry("d2"), entry("d1")])
        rows.save(decision_row(1, labels=("keep", "keep")))
        rows.save(decision_row(2))
        rows.save(decision_row(2, phase="denied", labels=("other",)))
        assert rows.is_filed()
    with storage.reading() as rows:
        assert rows.is_filed()
        assert rows.log(-(2**63)) == rows.log(-1) == rows.log()
        assert rows.log(-1, 1) == rows.log(0, 1)
        assert rows.log(2) == []


@_promise
def appending_grows_the_tree_over_the_leaves(storage: Storage) -> None:
    leaves = [bytes([number]) * 32 for number in range(11)]
    entries = [entry("d1", seq, leaf=leaf.hex()) for seq, leaf in enumerate(leaves)]
    for several in (entries[:1], entries[1:1], entries[1:8], entries[8:]):
        with storage.writing() as rows:
            rows.append(several)
            grown = whole_tree(leaves[: rows.log_size()])
            assert rows.subtrees() == grown
    with suppress(OnPurposeError), storage.writing() as rows:
        rows.append([entry("d2")])
        raise OnPurposeError
    with storage.reading() as rows:
        assert rows.subtrees() == grown
        assert rows.subtree(3, 0) == grown[3, 0]
        with refused(ErrorCode.STORE_UNAVAILABLE):
            rows.subtree(3, 1)


@_promise
def subtrees_can_be_replaced(storage: Storage) -> None:
    first, second = bytes(32), bytes([1]) * 32
    with storage.writing() as rows:
        rows.append([entry("d1")])
        rows.replace_subtrees({(1, 0): first, (2, 2**40): second})
        assert rows.subtree(1, 0) == first
    with storage.reading() as rows:
        assert rows.subtrees() == {(1, 0): first, (2, 2**40): second}
        with refused(ErrorCode.STORE_UNAVAILABLE):
            rows.subtree(0, 0)
    with suppress(OnPurposeError), storage.writing() as rows:
        rows.replace_subtrees({(3, 0): second})
        raise OnPurposeError
    with storage.reading() as rows:
        assert rows.subtrees() == {(1, 0): first, (2, 2**40): second}


@_promise
def a_row_that_changes_is_found_as_it_is_now(storage: Storage) -> None:
    """Any field may change but the id and the ordinal, with the stored row given or not."""
    first = decision_row(1, labels=("a", "b"), event_count=0)
    later = decision_row(
        1, labels=("b", "c"), event_count=3, phase="denied", requester="bob", generation=2, goal="another",
        head="c" * 64, approved_until=T1, expires_at=T2, policy_seq=1, imported_count=2, provenance="{}",
        progress='{"n":1}', mode="apply", adapter_id="python:x", request_key="k", last_ts=T2, created_at=T1,
    )  # fmt: skip
    with storage.writing() as rows:
        rows.save(first)
    for before, after in ((first, later), (later, later), (later, first), (first, later)):
        with storage.writing() as rows:
            rows.save(after, before)
        with storage.reading() as rows:
            assert rows.decision_row("d1") == after
            assert rows.is_filed()
            assert listed(rows, label="c") == listed(rows, requester="bob") == ([1] if after == later else [])
            assert rows.decision_of("k") == ("d1" if after == later else None)


@_promise
def each_person_has_one_approval_in_a_decision(storage: Storage) -> None:
    with storage.writing() as rows:
        rows.save(decision_row(1))
        rows.save(decision_row(2))
        rows.put_approvals(1, [approval("bob", 5), approval("carol", 2)])
        rows.put_approvals(2, [approval("bob", 9)])
    with storage.writing() as rows:
        rows.put_approvals(1, [approval("carol", 7), approval("dän", 6, "{}")])
        assert rows.approvals(1) == [approval("bob", 5), approval("dän", 6, "{}"), approval("carol", 7)]
    with suppress(OnPurposeError), storage.writing() as rows:
        rows.put_approvals(1, [approval("bob", 8)])
        rows.replace_approvals(2, [])
        raise OnPurposeError
    with storage.writing() as rows:
        assert rows.approvals(2) == [approval("bob", 9)]
        assert rows.approvals(3) == []
        rows.replace_approvals(1, [approval("erin", 1)])
    with storage.reading() as rows:
        assert (rows.approvals(1), rows.approvals(2)) == ([approval("erin", 1)], [approval("bob", 9)])


@_promise
def an_approval_of_no_decision_is_noticed(storage: Storage) -> None:
    with storage.writing() as rows:
        rows.save(decision_row(1))
        rows.put_approvals(1, [approval("bob")])
        assert rows.is_filed()
        rows.put_approvals(2, [approval("bob")])
        assert not rows.is_filed()


@_promise
def written_work_is_committed_and_gives_what_it_returns(storage: Storage) -> None:
    def work(rows: Writer) -> int:
        rows.append([entry("d1", rows.log_size())])
        rows.save(decision_row(1, event_count=rows.log_size()))
        return rows.log_size()

    assert [storage.write(work), storage.write(work)] == [1, 2]
    with storage.reading() as rows:
        assert (rows.log_size(), listed(rows)) == (2, [1])


@_promise
def written_work_that_fails_leaves_nothing_behind(storage: Storage) -> None:
    def work(rows: Writer) -> None:
        rows.append([entry("d1")])
        rows.save(decision_row(1))
        raise OnPurposeError

    with pytest.raises(OnPurposeError):
        storage.write(work)
    with storage.reading() as rows:
        assert (rows.log_size(), listed(rows)) == (0, [])


@_promise
def written_work_on_a_known_decision_that_fails_leaves_nothing_behind(storage: Storage) -> None:
    with storage.writing() as rows:
        rows.append([entry("d1")])
        rows.save(decision_row(1))
    before = contents(storage)

    def work(rows: Writer) -> None:
        _append_next(rows)
        raise OnPurposeError

    for _ in range(2):
        with pytest.raises(OnPurposeError):
            storage.write(work)
        assert contents(storage) == before


@_promise
def written_work_sees_its_own_writes(storage: Storage) -> None:
    with storage.writing() as rows:
        rows.append([entry("d1")])
        rows.save(decision_row(1))

    def work(rows: Writer) -> None:
        after = _append_next(rows)
        assert rows.decision_row("d1") == after
        assert rows.approvals(1) == [approval("bob", after.event_count - 1)]
        assert len(rows.entries("decision", "d1", 0)) == after.event_count

    def look_at_the_row_only(rows: Writer) -> tuple[DecisionRow, DecisionRow | None]:
        return _append_next(rows), rows.decision_row("d1")

    storage.write(work)
    after, seen = storage.write(look_at_the_row_only)  # an assertion in the work would make it run again
    assert seen == after
    storage.write(work)
    with storage.reading() as rows:
        assert rows.log_size() == 4


@_promise
def written_work_may_change_any_field_of_a_row(storage: Storage) -> None:
    with storage.writing() as rows:
        rows.append([entry("d1")])
        rows.save(decision_row(1))
    changes: list[dict[str, object]] = [
        {"policy_seq": 1}, {"goal": "g"}, {"labels": ("new",)}, {"expires_at": T1}, {"requester": "bob"},
        {"mode": "apply"}, {"adapter_id": "a"}, {"provenance": "{}"}, {"request_key": "k"}, {"imported_count": 2},
    ]  # fmt: skip
    for change in changes:
        after = storage.write(lambda rows, change=change: _append_next(rows, **change))
        with storage.reading() as rows:
            assert rows.decision_row("d1") == after
            assert rows.is_filed()


def _append_next(rows: Writer, **changes: object) -> DecisionRow:
    """One event of the decision d1, and an approval by bob."""
    before = rows.decision_row("d1")
    assert before is not None
    seq = before.event_count
    rows.append([entry("d1", seq, leaf=f"{seq:064x}")])
    after = before._replace(event_count=seq + 1, head=f"{seq:064x}")
    after = after._replace(**changes)  # pyright: ignore[reportArgumentType]
    rows.save(after, before)
    rows.put_approvals(1, [approval("bob", seq)])
    return after


@_promise
def what_lies_beside_it_is_whole_and_secrets_are_not_replaced(storage: Storage) -> None:
    beside = storage.sidecar
    assert beside.read("checkpoint") is beside.read_secret("key") is None
    beside.replace("checkpoint", b"one")
    beside.replace("checkpoint", b"two")
    beside.create_secret("key", b"secret")
    with refused(ErrorCode.STORE_UNAVAILABLE):
        beside.create_secret("key", b"another")
    assert (beside.read("checkpoint"), beside.read_secret("key")) == (b"two", b"secret")
    beside.create_secret("key.next", b"next")
    beside.rename("key.next", "key")
    assert (beside.read_secret("key"), beside.read("key.next")) == (b"next", None)


@_promise
def a_slot_beside_it_is_overwritten_by_one_at_a_time(storage: Storage) -> None:
    slot = storage.sidecar.slot("head")
    assert slot.read() == b""
    slot.require_writable()
    assert slot.read() == b""
    assert slot.update(lambda found: None) == b""
    assert slot.update(lambda found: b"a longer content") == b""
    assert slot.update(lambda found: found[:8]) == b"a longer content"
    assert storage.sidecar.slot("head").read() == b"a longer"
    assert storage.sidecar.slot("another").read() == b""
    slot.update(lambda _: b"0")
    with ThreadPoolExecutor(8) as pool:
        jobs = [pool.submit(storage.sidecar.slot("head").update, _one_more) for _ in range(200)]
        assert sorted(int(job.result()) for job in jobs) == list(range(200))
    assert slot.read() == b"200"


def _one_more(found: bytes) -> bytes:
    return str(int(found) + 1).encode()


@_promise
def an_ordinal_belongs_to_one_decision(storage: Storage) -> None:
    with storage.writing() as rows:
        assert rows.next_ordinal() == 1
        rows.save(decision_row(5))
        assert rows.next_ordinal() == 6
    with refused(ErrorCode.STORE_UNAVAILABLE), storage.writing() as rows:
        rows.save(decision_row(5, decision_id="another"))
    with storage.writing() as rows:
        rows.save(decision_row(6))
    with refused(ErrorCode.STORE_UNAVAILABLE), storage.writing() as rows:
        rows.save(decision_row(5, decision_id="d6"))
    with storage.writing() as rows:
        rows.save(decision_row(4, decision_id="d6", labels=("moved",)))
    with storage.reading() as rows:
        assert (listed(rows), listed(rows, label="moved")) == ([5, 4], [4])


@_promise
def pages_begin_with_the_newest_decision(storage: Storage) -> None:
    with storage.writing() as rows:
        for ordinal in (3, 1, 2, 9, 8):
            rows.save(decision_row(ordinal))
    with storage.reading() as rows:
        assert listed(rows) == [9, 8, 3, 2, 1]
        assert listed(rows, limit=2) == [9, 8]
        assert listed(rows, limit=2, offset=3) == [2, 1]
        assert listed(rows, limit=2, offset=5) == listed(rows, limit=0) == []
        assert listed(rows, before=8, limit=2) == [3, 2]
        assert rows.decisions(2, 1) == [("d8", T0), ("d3", T0)]


@_promise
def ids_are_found_from_their_beginning_on_by_code_points(storage: Storage) -> None:
    with storage.writing() as rows:
        for ordinal, decision_id in enumerate(["b", "ab", "é", "a", "A", "abc", "\U0001f512"], 1):
            rows.save(decision_row(ordinal, decision_id=decision_id, event_count=ordinal % 2))
    with storage.reading() as rows:
        assert rows.decision_ids("", 99) == ["A", "a", "ab", "abc", "b", "é", "\U0001f512"]
        assert rows.decision_ids("ab", 2) == ["ab", "abc"]
        assert rows.decision_ids("aa", 1) == ["ab"]
        assert rows.decision_ids("\U0001f513", 9) == rows.decision_ids("a", 0) == []


@_promise
def a_decision_without_events_is_not_listed_until_it_has_one(storage: Storage) -> None:
    with storage.writing() as rows:
        rows.save(decision_row(1, event_count=0, labels=("a",)))
        rows.save(decision_row(2, labels=("a",)))
    with storage.reading() as rows:
        assert (listed(rows), listed(rows, label="a"), listed(rows, phase="open")) == ([2], [2], [2])
        assert rows.decisions(9, 0) == [("d2", T0), ("d1", T0)]
    with storage.writing() as rows:
        rows.save(decision_row(1, labels=("a",)))
        rows.save(decision_row(2, event_count=0, labels=("a",)))
    with storage.reading() as rows:
        assert (listed(rows), listed(rows, label="a"), listed(rows, phase="open")) == ([1], [1], [1])


@_promise
def decision_rows_are_filtered_by_phase_and_by_the_instant_of_approval(storage: Storage) -> None:
    with storage.writing() as rows:
        for ordinal, until in enumerate((NEVER, T0, T1, T2, NO_END), 1):
            rows.save(decision_row(ordinal, approved_until=until))
        rows.save(decision_row(6, approved_until=NO_END, phase="completed"))
    with storage.reading() as rows:
        assert listed(rows, phase="open", approved=True, now=T1) == [5, 4]
        assert listed(rows, phase="open", approved=False, now=T1) == [3, 2, 1]
        assert listed(rows, approved=True, now=T1) == [6, 5, 4]
        assert listed(rows, phase="completed") == [6]
        assert listed(rows, phase="denied") == []


@_promise
def decision_rows_are_filtered_by_the_end_of_their_request(storage: Storage) -> None:
    with storage.writing() as rows:
        for ordinal, end in enumerate((T0, T1, T2, NO_END), 1):
            rows.save(decision_row(ordinal, expires_at=end, approved_until=NEVER if ordinal % 2 else end))
    with storage.reading() as rows:
        assert listed(rows, phase="open", expired=True, now=T1) == [2, 1]
        assert listed(rows, phase="open", expired=False, now=T1) == [4, 3]
        assert listed(rows, phase="open", approved=False, expired=False, now=T1) == [3]
        assert listed(rows, phase="open", approved=False, expired=True, now=T1, limit=1, before=2) == [1]
    with storage.writing() as rows:
        rows.save(decision_row(1, expires_at=NO_END))
    with storage.reading() as rows:
        assert listed(rows, expired=True, now=T1) == [2]


@_promise
def labels_and_requesters_match_exactly(storage: Storage) -> None:
    labels = ("%", "_", "café", "cafe", "quote \" ' back\\slash", "[]", "a,b", "A", "a", "")
    with storage.writing() as rows:
        for ordinal, label in enumerate(labels, 1):
            rows.save(decision_row(ordinal, labels=(label, "all"), requester=label))
    with storage.reading() as rows:
        for ordinal, label in enumerate(labels, 1):
            assert listed(rows, label=label) == listed(rows, requester=label) == [ordinal]
        assert listed(rows, label="all", limit=2, offset=1) == [9, 8]
        assert listed(rows, label="all", before=3, phase="open", approved=False, now=T0, requester="_") == [2]
        assert listed(rows, label="al") == listed(rows, label="caf%") == []
    with storage.writing() as rows:
        rows.save(decision_row(1, labels=("new",), requester="new"))
    with storage.reading() as rows:
        assert (listed(rows, label="%"), listed(rows, requester="%"), listed(rows, label="new")) == (
            [],
            [],
            [1],
        )


@_promise
def replaced_projections_leave_nothing_behind(storage: Storage) -> None:
    with storage.writing() as rows:
        rows.save(decision_row(1, labels=("old",)))
        rows.save(decision_row(2))
        rows.append([entry("d1")])
        rows.put_approvals(1, [approval("old")])
        rows.put_approvals(2, [approval("old")])
        rows.replace_decision_rows(
            [(decision_row(2, labels=("new",)), [approval("new")]), (decision_row(3), list[ApprovalRow]())]
        )
        assert rows.next_ordinal() == 4
    with storage.reading() as rows:
        assert (listed(rows), listed(rows, label="old"), listed(rows, label="new")) == ([3, 2], [], [2])
        assert (rows.decision_row("d1"), rows.log_size()) == (None, 1)
    with storage.writing() as rows:
        rows.replace_decision_rows([])
        assert (rows.next_ordinal(), listed(rows)) == (1, [])


@_promise
def claims_are_put_replaced_and_dropped(storage: Storage) -> None:
    late = Claim(
        "d1", 1, 7, '{"pid":2}', T1, recovered=True, late_outcome='{"run_id":"r"}', cancel='{"reason":"é"}'
    )
    with storage.writing() as rows:
        rows.put_claim(claim("d2"))
        rows.put_claim(claim("d1"))
        rows.put_claim(late)
        rows.drop_claim("unclaimed")
    with storage.reading() as rows:
        assert (rows.claim("d1"), rows.claim("d2"), rows.claims()) == (late, claim("d2"), [late, claim("d2")])
    with storage.writing() as rows:
        rows.drop_claim("d1")
    with storage.reading() as rows:
        assert rows.claims() == [claim("d2")]


@_promise
def sinks_are_put_replaced_and_found_by_name(storage: Storage) -> None:
    first, second = SinkRow("b", 0, "", NEVER, ""), SinkRow("a", 2**53, '{"pid":2}', T1, '{"tries":1}')
    with storage.writing() as rows:
        assert (rows.sinks(), rows.sink("a")) == ([], None)
        for row in (first, second):
            rows.put_sink(row)
        assert rows.sinks() == [second, first]
    told = first._replace(cursor=7, trying='{"why":"é"}')
    with storage.writing() as rows:
        rows.put_sink(told)
    with storage.reading() as rows:
        assert (rows.sinks(), rows.sink("b"), rows.sink("B")) == ([second, told], told, None)
    with suppress(OnPurposeError), storage.writing() as rows:
        rows.put_sink(first._replace(cursor=9))
        raise OnPurposeError
    with storage.reading() as rows:
        assert rows.sink("b") == told


@_promise
def events_are_set_aside_for_one_sink_and_taken_back(storage: Storage) -> None:
    late = EventSetAside("a", 12, "evt_d1_3", T1, "HTTP 410")
    early, other = late._replace(position=3, event_id="evt_d1_2"), late._replace(sink="b")
    with storage.writing() as rows:
        for event in (late, early, other):
            rows.set_event_aside(event)
        rows.set_event_aside(late._replace(why="é"))
    with storage.reading() as rows:
        assert rows.events_set_aside("a") == [early, late._replace(why="é")]
        assert (rows.events_set_aside("b"), rows.events_set_aside("c")) == ([other], [])
        assert (rows.event_set_aside("a", 3), rows.event_set_aside("b", 3)) == (early, None)
    with storage.writing() as rows:
        rows.take_event_back("a", 3)
        rows.take_event_back("a", 4)
        rows.take_event_back("b", 3)
    with storage.reading() as rows:
        assert (rows.events_set_aside("a"), rows.events_set_aside("b")) == ([late._replace(why="é")], [other])


@_promise
def a_sink_that_is_dropped_leaves_nothing_and_others_stay(storage: Storage) -> None:
    aside = EventSetAside("a", 12, "evt_d1_3", T1, "HTTP 410")
    with storage.writing() as rows:
        for name in ("a", "b"):
            rows.put_sink(SinkRow(name, 4, "", NEVER, ""))
            rows.set_event_aside(aside._replace(sink=name))
    with storage.writing() as rows:
        rows.drop_sink("a")
        rows.drop_sink("c")
    with storage.reading() as rows:
        assert rows.sinks() == [SinkRow("b", 4, "", NEVER, "")]
        assert (rows.events_set_aside("a"), rows.events_set_aside("b")) == ([], [aside._replace(sink="b")])


@_promise
def threads_that_append_leave_no_gap_and_lose_nothing(storage: Storage) -> None:
    threads, each = 8, 25
    ready = threading.Barrier(threads)

    def append(stream: str) -> list[int]:
        ready.wait()
        positions: list[int] = []
        for seq in range(each):
            with storage.writing() as rows:
                positions.append(rows.log_size())
                rows.append([entry(stream, seq)])
        return positions

    with ThreadPoolExecutor(threads) as pool:
        positions = list(pool.map(append, (f"d{number}" for number in range(threads))))
    assert sorted(chain.from_iterable(positions)) == list(range(threads * each))
    with storage.reading() as rows:
        for placed in rows.log():
            assert positions[int(placed.entry.stream[1:])][placed.entry.seq] == placed.position


@_promise
def transactions_do_not_nest(storage: Storage) -> None:
    with storage.writing() as rows:
        rows.append([entry("d1")])
        with refused(ErrorCode.INTERNAL), storage.writing():
            pass
        with refused(ErrorCode.INTERNAL), storage.reading():
            pass
    with storage.reading() as rows:
        with refused(ErrorCode.INTERNAL), storage.writing():
            pass
        assert rows.log_size() == 1


@_promise
def readers_and_writers_end_with_their_transaction(storage: Storage) -> None:
    with storage.writing() as writer:
        pass
    with refused(ErrorCode.INTERNAL):
        writer.append([entry("d1")])
    leaked: list[Writer] = []
    with suppress(OnPurposeError), storage.writing() as writer:
        leaked.append(writer)
        raise OnPurposeError
    with refused(ErrorCode.INTERNAL):
        leaked[0].log_size()
    with storage.reading() as reader:
        pass
    with refused(ErrorCode.INTERNAL):
        reader.decision_row("d1")
    assert contents(storage) == ([], [], [], [])


@_promise
def a_closed_storage_is_unavailable(storage: Storage) -> None:
    with storage.writing() as rows:
        rows.append([entry("d1")])
    storage.close()
    storage.close()
    with refused(ErrorCode.STORE_UNAVAILABLE), storage.reading():
        pass
    with refused(ErrorCode.STORE_UNAVAILABLE), storage.writing():
        pass


@_promise
def closing_waits_for_the_transactions_of_other_threads(storage: Storage) -> None:
    begun, may_end = threading.Event(), threading.Event()

    def write() -> None:
        with storage.writing() as rows:
            begun.set()
            may_end.wait()
            rows.append([entry("d1")])

    with ThreadPoolExecutor(2) as pool:
        writer = pool.submit(write)
        begun.wait()
        closer = pool.submit(storage.close)
        with suppress(TimeoutError):  # time enough for a close that does not wait
            closer.result(timeout=0.05)
        assert not closer.done()
        with refused(ErrorCode.STORE_UNAVAILABLE), storage.reading():
            pass
        may_end.set()
        writer.result()
        closer.result()


@_promise
def closing_inside_a_call_of_the_same_thread_is_refused_and_changes_nothing(storage: Storage) -> None:
    with storage.writing() as rows:
        with refused(ErrorCode.STORE_IN_USE):
            storage.close()
        rows.append([entry("d1")])
    with storage.held(), refused(ErrorCode.STORE_IN_USE):
        storage.close()
    with storage.reading() as rows:
        assert rows.log_size() == 1


@_promise
def a_decision_is_found_by_its_request_key_until_another_is_put_in_its_place(storage: Storage) -> None:
    with storage.writing() as rows:
        for row in (decision_row(1, request_key="k1"), decision_row(2), decision_row(3)):
            rows.save(row)
        assert rows.decision_of("k1") == "d1"
    with storage.writing() as rows:
        rows.save(decision_row(1))
        rows.save(decision_row(2, request_key="k1"))
    with storage.reading() as rows:
        assert (rows.decision_of("k1"), rows.decision_of("k2")) == ("d2", None)
        assert rows.decision_row("d2") == decision_row(2, request_key="k1")
    with storage.writing() as rows:
        rows.replace_decision_rows([(decision_row(4, request_key="k2"), [])])
        assert (rows.decision_of("k1"), rows.decision_of("k2")) == (None, "d4")


@_promise
def a_request_key_that_is_taken_refuses_the_whole_transaction(storage: Storage) -> None:
    with storage.writing() as rows:
        rows.save(decision_row(1, request_key="k"))
    with refused(ErrorCode.STORE_UNAVAILABLE), storage.writing() as rows:
        rows.append([entry("d2")])
        rows.save(decision_row(2, request_key="k"))
    with storage.reading() as rows:
        assert (rows.log_size(), rows.decision_of("k"), rows.decision_row("d2")) == (0, "d1", None)


@_promise
def an_answer_is_kept_as_it_was_given_first(storage: Storage) -> None:
    odd = KeptAnswer("a" * 64, "quote ' \" \u0000 \U0001f511", truncated=True)
    with storage.writing() as rows:
        assert rows.answer(odd.digest) is None
        rows.keep_answer(odd)
        rows.keep_answer(KeptAnswer(odd.digest, "another", truncated=False))
        rows.keep_answer(KeptAnswer("b" * 64, "", truncated=False))
    with storage.reading() as rows:
        assert rows.answer(odd.digest) == odd
        assert rows.answer("b" * 64) == KeptAnswer("b" * 64, "", truncated=False)


@_promise
def an_answer_of_a_transaction_that_failed_is_not_kept(storage: Storage) -> None:
    with suppress(OnPurposeError), storage.writing() as rows:
        rows.keep_answer(KeptAnswer("a" * 64, "x", truncated=False))
        raise OnPurposeError
    with storage.reading() as rows:
        assert rows.answer("a" * 64) is None


@_promise
def who_holds_it_may_write_after_it_was_closed(storage: Storage) -> None:
    with storage.held():
        with storage.writing() as rows:
            rows.append([entry("d1", 0)])
        with ThreadPoolExecutor(1) as pool:
            pool.submit(storage.close).result()
            with refused(ErrorCode.STORE_UNAVAILABLE):
                pool.submit(storage.held().__enter__).result()
        with storage.writing() as rows:
            rows.append([entry("d1", 1)])
        with storage.held(), storage.reading() as rows:
            assert rows.log_size() == 2
    with refused(ErrorCode.STORE_UNAVAILABLE), storage.reading():
        pass


every_promise = pytest.mark.parametrize(
    "promise", [pytest.param(promise, id=promise.__name__) for promise in _promises]
)
