"""The chain against the golden data, and what the store keeps against the chain."""

import hashlib
import json

from hypothesis import given
from hypothesis import strategies as st

from nexus_control.canonical_json import canonical_json
from nexus_control.events import compute_event_digest
from nexus_control.evidence.chain import GENESIS, Subject, event_leaf_data, import_leaf_data, leaf_hash
from nexus_control.integrity import bare, prefixed
from nexus_control.storage.contract import Entry
from nexus_control.store import DecisionStore
from nexus_control.tool import NexusControlTools
from nexus_control.values.actors import Actor, id_problem
from tests.artifacts.samples import load
from tests.support.clock import FakeClock
from tests.support.governed import ALICE, approved, data_of

GOLDEN = load("evidence", "golden.json")


def test_golden_leaf_data_and_hashes_are_equal_to_the_byte() -> None:
    prev = GENESIS
    for event, data, expected in zip(GOLDEN["events"], GOLDEN["leaf_data"], GOLDEN["leaf_hash"], strict=True):
        assert compute_event_digest(event["type"], event["payload"]) == event["digest"]
        leaf_data = event_leaf_data(
            subject="decision_id",
            name=event["decision_id"],
            seq=event["seq"],
            event_type=event["type"],
            ts=event["ts"],
            actor=Actor.of(event["actor"]),
            digest=event["digest"],
            prev=prev,
        )
        assert leaf_data == data.encode()
        prev = leaf_hash(leaf_data)
        assert prefixed(prev) == expected
        assert prev == hashlib.sha256(b"\x00" + data.encode()).hexdigest()


def test_a_leaf_covers_everything_that_the_event_digest_leaves_out() -> None:
    def leaf(
        subject: Subject = "decision_id", seq: int = 0, ts: str = "t", actor: str = "a", prev: str = GENESIS
    ) -> str:
        return leaf_hash(
            event_leaf_data(
                subject=subject,
                name="d",
                seq=seq,
                event_type="X",
                ts=ts,
                actor=Actor(type="human", id=actor),
                digest=GENESIS,
                prev=prev,
            )
        )

    changed = [
        leaf(),
        leaf(subject="template"),
        leaf(seq=1),
        leaf(ts="u"),
        leaf(actor="b"),
        leaf(prev="1" * 64),
    ]
    assert len(set(changed)) == len(changed)


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=9)


IDS = TEXTS.filter(lambda text: id_problem(text) is None)


@given(st.sampled_from(["decision_id", "template"]), TEXTS, TEXTS, TEXTS, IDS, st.integers(0, 2**53))
def test_the_leaf_data_of_an_event_is_the_canonical_json_of_its_record(
    subject: Subject, name: str, event_type: str, ts: str, actor_id: str, seq: int
) -> None:
    digest, prev = "1" * 64, "2" * 64
    data = event_leaf_data(
        subject=subject,
        name=name,
        seq=seq,
        event_type=event_type,
        ts=ts,
        actor=Actor(type="system", id=actor_id),
        digest=digest,
        prev=prev,
    )
    record = {
        "_type": "nexus-control/event/v1",
        "actor": {"id": actor_id, "type": "system"},
        subject: name,
        "digest": f"sha256:{digest}",
        "event_type": event_type,
        "prev": f"sha256:{prev}",
        "seq": seq,
        "ts": ts,
    }
    assert data.decode() == canonical_json(record)


def test_an_import_leaves_a_record_of_its_own_kind() -> None:
    data = import_leaf_data(
        decision_id="d", generation=1, ts="t", actor=ALICE, digest="1" * 64, prev=bare(prefixed(GENESIS))
    )
    assert data.decode() == canonical_json(
        {
            "_type": "nexus-control/import/v1",
            "actor": {"id": "alice", "type": "human"},
            "decision_id": "d",
            "digest": "sha256:" + "1" * 64,
            "generation": 1,
            "prev": "sha256:" + GENESIS,
            "ts": "t",
        }
    )


def recomputed(entries: list[Entry], subject: Subject) -> list[str]:
    leaves: list[str] = []
    for entry in entries:
        leaf_data = event_leaf_data(
            subject=subject,
            name=entry.stream,
            seq=entry.seq,
            event_type=entry.event_type,
            ts=entry.ts,
            actor=Actor(type=entry.actor_type, id=entry.actor_id),
            digest=entry.digest,
            prev=leaves[-1] if leaves else GENESIS,
        )
        leaves.append(leaf_hash(leaf_data))
    return leaves


def test_the_chain_that_the_store_keeps_is_the_one_that_recomputes() -> None:
    with DecisionStore(clock=FakeClock()) as store:
        tools = NexusControlTools(store)
        request_id = approved(tools)
        with store.reading() as session:
            entries = session.rows.entries("decision", request_id, 0)
            head = session.decision(request_id).head
        assert [entry.leaf for entry in entries] == recomputed(entries, "decision_id")
        assert head == entries[-1].leaf


def test_the_golden_history_has_a_chain_of_its_own_in_the_store_that_imports_it() -> None:
    """No leaf of it is one that the log would have had if the history had been made there."""
    with DecisionStore(clock=FakeClock()) as store:
        events = [
            {
                "event_id": f"evt_{event['decision_id']}_{event['seq']}",
                **{
                    key: event[key]
                    for key in ("decision_id", "seq", "type", "ts", "actor", "payload", "digest")
                },
            }
            for event in GOLDEN["events"]
        ]
        decision_id = events[0]["decision_id"]
        bundle = load("control", "bundle-pending.json")["bundle"]
        bundle["decision"]["decision_id"] = decision_id
        bundle["events"] = events
        tools = NexusControlTools(store)
        data_of(tools.import_bundle(bundle, verify_digest=False))
        with store.reading() as session:
            leaves = [prefixed(entry.leaf) for entry in session.rows.entries("decision", decision_id, 0)]
        expected, prev = list[str](), prefixed(GENESIS)
        for leaf_data in GOLDEN["leaf_data"]:
            record = json.loads(leaf_data) | {"_type": "nexus-control/imported/v1", "prev": prev}
            prev = prefixed(leaf_hash(canonical_json(record).encode()))
            expected.append(prev)
        assert leaves == expected
        assert not {*leaves} & {*GOLDEN["leaf_hash"]}


def test_a_template_is_chained_under_its_name() -> None:
    with DecisionStore(clock=FakeClock()) as store:
        data_of(NexusControlTools(store).template_create(name="prod", actor=ALICE))
        with store.reading() as session:
            entries = session.rows.entries("template", "prod", 0)
        assert [entry.leaf for entry in entries] == recomputed(entries, "template")
