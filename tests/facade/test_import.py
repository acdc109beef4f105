"""Import: three conflict modes, every refusal, and what an imported history may and may not do here."""

import copy
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nexus_control.bundle import DecisionBundle
from nexus_control.canonical_json import canonical_json
from nexus_control.errors import ErrorCode
from nexus_control.events import compute_event_digest
from nexus_control.export import export_decision
from nexus_control.facts import replay_facts
from nexus_control.import_ import import_bundle
from nexus_control.log.projection import ConflictMode
from nexus_control.log.upkeep import find_faults
from nexus_control.store import DecisionStore
from nexus_control.tool import NexusControlTools
from nexus_control.values.payloads import ExecutionCompletedPayload, ExecutionRequestedPayload
from tests.artifacts.samples import ABSENT, BUNDLES, Path, changed, nodes
from tests.facade.flow import CAROL, DAVE, asked, blocked_by, bundle_of, executed, require_refused, state_of
from tests.facade.routers import ANSWER, FakeRouter
from tests.support.clock import START, FakeClock
from tests.support.contents import contents
from tests.support.governed import ADAPTER, ALICE, BOB, SCHEDULER, approved, data_of, overwritten, reasons

Document = dict[str, Any]

VECTORS_WRITTEN = datetime(2026, 11, 22, 22, tzinfo=UTC)


@pytest.fixture
def elsewhere() -> Iterator[NexusControlTools]:
    """Another store, whose identifiers do not meet those of `tools`."""
    clock = FakeClock()
    for _ in range(500):
        clock.new_id()
    with DecisionStore(clock=clock) as store:
        yield NexusControlTools(store)


def resealed(bundle: Document) -> Document:
    """The bundle with every digest recomputed, as a forger would."""
    for event in bundle["events"]:
        event["digest"] = compute_event_digest(event["type"], event["payload"])
    bundle["integrity"]["canonical_digest"] = DecisionBundle.from_dict(bundle).content_digest()
    return bundle


# The vectors: artifacts that nexus-control 1.0.1 wrote.


@pytest.mark.parametrize("name", list(BUNDLES))
@pytest.mark.parametrize("text", [False, True], ids=["object", "text"])
def test_every_vector_imports_and_exports_to_the_same_digest(
    tools: NexusControlTools, clock: FakeClock, name: str, text: bool
) -> None:
    clock.instant = VECTORS_WRITTEN
    vector = BUNDLES[name]
    imported = data_of(tools.import_bundle(json.dumps(vector) if text else vector))
    assert imported["ok"] is True
    assert imported["digest_verified"] is True
    assert imported["replay_ran"] is True
    decision_id = imported["imported"]["decision_id"]
    assert decision_id == vector["decision"]["decision_id"]
    assert imported["imported"]["events_imported"] == len(vector["events"])
    exported = data_of(tools.export_bundle(decision_id))
    assert exported["digest"] == vector["integrity"]["canonical_digest"]
    assert exported["bundle"]["events"] == vector["events"]
    assert {event.origin for event in tools.store.get_events(decision_id)} == {"imported"}


def test_pending_and_approved_stand_for_each_other_as_1_0_judged_by_its_wall_clock(
    tools: NexusControlTools, elsewhere: NexusControlTools
) -> None:
    for prepare, status in ((asked, "APPROVED"), (approved, "PENDING_APPROVAL")):
        bundle = bundle_of(elsewhere, prepare(elsewhere))
        bundle["decision"]["status"] = status
        data_of(tools.import_bundle(resealed(bundle)))
        assert bundle_of(tools, bundle["decision"]["decision_id"])["decision"]["status"] != status


# The conflict modes.


def test_reject_on_conflict_is_the_default_and_takes_in_what_is_new(
    tools: NexusControlTools, elsewhere: NexusControlTools
) -> None:
    bundle = bundle_of(elsewhere, approved(elsewhere))
    imported = data_of(tools.import_bundle(bundle))
    assert imported["conflict_mode"] == "reject_on_conflict"
    assert imported["replay"] == {"state": "approved"}
    before = contents(tools.store)
    require_refused(tools.import_bundle(bundle), ErrorCode.DECISION_EXISTS)
    assert contents(tools.store) == before


def test_new_decision_id_makes_a_copy_that_says_where_it_came_from(tools: NexusControlTools) -> None:
    original = executed(tools)
    bundle = bundle_of(tools, original)
    imported = data_of(tools.import_bundle(bundle, conflict_mode="new_decision_id"))["imported"]
    copy_id = imported["decision_id"]
    assert imported["source_decision_id"] == original != copy_id
    assert data_of(tools.status(copy_id))["imported"]["copied_from"] == original
    assert data_of(tools.inspect(copy_id))["decision"]["imported"]["copied_from"] == original
    copied = tools.store.get_events(copy_id)
    assert [event.event_id for event in copied] == [f"evt_{copy_id}_{seq}" for seq in range(len(copied))]
    assert [(e.digest, e.ts, e.actor) for e in copied] == [
        (e.digest, e.ts, e.actor) for e in tools.store.get_events(original)
    ]
    require_refused(tools.export_audit_package(copy_id), ErrorCode.IMPORTED_COPY)
    data_of(tools.export_audit_package(original))
    assert data_of(overwritten(tools, copy_id))["imported"]["generation"] == 1
    require_refused(tools.export_audit_package(copy_id), ErrorCode.IMPORTED_COPY)


def test_overwrite_supersedes_and_the_old_generation_stays_readable_and_exportable(
    tools: NexusControlTools, elsewhere: NexusControlTools
) -> None:
    request_id = asked(elsewhere)
    data_of(tools.import_bundle(bundle_of(elsewhere, request_id)))
    old_events = tools.store.get_events(request_id)
    old_digest = export_decision(tools.store, request_id).digest
    data_of(elsewhere.approve(request_id, BOB))
    data_of(elsewhere.execute(request_id, ADAPTER, SCHEDULER, FakeRouter()))
    whole = data_of(elsewhere.export_bundle(request_id))
    before = contents(tools.store).log
    imported = data_of(tools.import_bundle(whole["canonical_json"], conflict_mode="overwrite"))
    assert imported["imported"]["generation"] == 1
    assert contents(tools.store).log[: len(before)] == before
    assert state_of(tools, request_id) == "completed"
    assert data_of(tools.export_bundle(request_id))["digest"] == whole["digest"]
    assert tools.store.generations(request_id) == [0, 1]
    assert tools.store.get_events(request_id, generation=0) == old_events
    assert export_decision(tools.store, request_id, generation=0).digest == old_digest
    assert data_of(tools.list_requests())["count"] == 1
    data_of(tools.export_audit_package(request_id))


def test_overwrite_of_what_is_not_here_is_a_plain_import(tools: NexusControlTools, clock: FakeClock) -> None:
    clock.instant = VECTORS_WRITTEN
    imported = data_of(tools.import_bundle(BUNDLES["executed"], conflict_mode="overwrite"))
    assert imported["imported"]["generation"] == 0


def test_a_template_travels_inside_the_bundle(tools: NexusControlTools, elsewhere: NexusControlTools) -> None:
    data_of(elsewhere.template_create("prod", DAVE, min_approvals=2))
    request_id: str = data_of(elsewhere.request("g", ALICE, template_name="prod"))["request_id"]
    whole = data_of(elsewhere.export_bundle(request_id))
    slim = data_of(elsewhere.export_bundle(request_id, include_template_snapshot=False))["bundle"]
    data_of(tools.import_bundle(slim))
    assert data_of(tools.export_bundle(request_id))["digest"] == whole["digest"]
    assert data_of(tools.status(request_id))["template_name"] == "prod"
    require_refused(tools.template_get("prod"), ErrorCode.TEMPLATE_NOT_FOUND)


# The refusals, each for the object and for the text, each leaving the store byte for byte as it was.

Spoil = Callable[[Document], object]


def unknown_type(bundle: Document) -> object:
    bundle["events"][2]["type"] = "APPROVAL_GIVEN"
    return bundle


def foreign_event(bundle: Document) -> object:
    event = bundle["events"][2]
    event["decision_id"] = "another"
    event["event_id"] = "evt_another_2"
    return resealed(bundle)


def foreign_event_id(bundle: Document) -> object:
    bundle["events"][2]["event_id"] = "evt_another_2"
    return resealed(bundle)


def gap(bundle: Document) -> object:
    del bundle["events"][1]
    return resealed(bundle)


def renumbered(bundle: Document) -> object:
    for event in bundle["events"]:
        event["seq"] += 1
    return resealed(bundle)


def same_seq_twice(bundle: Document) -> object:
    bundle["events"].insert(2, copy.deepcopy(bundle["events"][1]))
    return resealed(bundle)


def disordered(bundle: Document) -> object:
    bundle["events"].reverse()
    return resealed(bundle)


def float_seq(bundle: Document) -> object:
    bundle["events"][1]["seq"] = 1.0
    return bundle


def true_seq(bundle: Document) -> object:
    bundle["events"][1]["seq"] = True
    return bundle


def bad_event_digest(bundle: Document) -> object:
    bundle["events"][2]["digest"] = "0" * 64
    bundle["integrity"]["canonical_digest"] = DecisionBundle.from_dict(bundle).content_digest()
    return bundle


def bad_bundle_digest(bundle: Document) -> object:
    bundle["integrity"]["canonical_digest"] = "sha256:" + "0" * 64
    return bundle


def changed_payload(bundle: Document) -> object:
    bundle["events"][0]["payload"]["goal"] = "Rotate nothing"
    return bundle


def changed_actor(bundle: Document) -> object:
    bundle["events"][2]["actor"]["id"] = "mallory"
    return bundle


def yesterday(bundle: Document) -> object:
    bundle["events"][1]["ts"] = "yesterday"
    return bundle


def approval_until_yesterday(bundle: Document) -> object:
    bundle["events"][2]["payload"]["expires_at"] = "yesterday"
    return resealed(bundle)


def naive_ts(bundle: Document) -> object:
    bundle["events"][1]["ts"] = "2026-01-01T00:00:00"
    return bundle


def unknown_key(bundle: Document) -> object:
    bundle["note"] = "hello"
    return bundle


def another_version(bundle: Document) -> object:
    bundle["bundle_version"] = "0.6"
    return bundle


def no_events(bundle: Document) -> object:
    bundle["events"] = []
    return bundle


def invisible_actor(bundle: Document) -> object:
    bundle["events"][2]["actor"]["id"] = "bob\u200b"
    return bundle


def zero_approvals(bundle: Document) -> object:
    bundle["events"][1]["payload"]["min_approvals"] = 0
    return resealed(bundle)


def text_approvals(bundle: Document) -> object:
    bundle["events"][1]["payload"]["min_approvals"] = "1"
    return resealed(bundle)


def lone_surrogate(bundle: Document) -> object:
    bundle["events"][0]["payload"]["goal"] = "\ud800"
    return bundle


def too_deep(bundle: Document) -> object:
    nest: Any = 1
    for _ in range(100):
        nest = [nest]
    bundle["events"][0]["payload"]["extra"] = nest
    return bundle


def another_goal(bundle: Document) -> object:
    bundle["decision"]["goal"] = "Rotate nothing"
    return resealed(bundle)


def another_mode(bundle: Document) -> object:
    bundle["decision"]["mode"] = "dry_run"
    return resealed(bundle)


def another_creation(bundle: Document) -> object:
    bundle["decision"]["created_at"] = "2020-01-01T00:00:00+00:00"
    return resealed(bundle)


def another_status(bundle: Document) -> object:
    bundle["decision"]["status"] = "COMPLETED"
    return resealed(bundle)


def made_up_link(bundle: Document) -> object:
    bundle["router_link"] = {"run_id": "run-1"}
    return resealed(bundle)


def made_up_template(bundle: Document) -> object:
    bundle["template_snapshot"] = {
        "present": True,
        "name": "lenient",
        "digest": "sha256:" + "0" * 64,
        "snapshot": {},
        "overrides": None,
    }
    return resealed(bundle)


def test_of_a_history_that_cannot_be_and_cannot_be_read_the_latter_is_told(
    tools: NexusControlTools, elsewhere: NexusControlTools
) -> None:
    bundle = bundle_of(elsewhere, approved(elsewhere))
    decision_id, last = bundle["decision"]["decision_id"], bundle["events"][-1]
    for more in ({"type": "EXECUTION_COMPLETED"}, {"type": "APPROVAL_DENIED"}):
        seq = len(bundle["events"])
        payload = ExecutionCompletedPayload(run_id="r", response_digest="0" * 64, steps_executed=0).to_dict()
        named = {"seq": seq, "event_id": f"evt_{decision_id}_{seq}"}
        bundle["events"].append({**last, **more, **named, "payload": payload})
    refused = tools.import_bundle(resealed(bundle))
    require_refused(refused, ErrorCode.REPLAY_INVALID)
    assert refused.details["problems"] == ["Missing required field: APPROVAL_DENIED.reason"]
    del bundle["events"][-1]
    refused = tools.import_bundle(resealed(bundle))
    require_refused(refused, ErrorCode.REPLAY_INVALID)
    assert refused.details["seq"] == 3


def headless(bundle: Document) -> object:
    bundle["events"] = bundle["events"][1:]
    for seq, event in enumerate(bundle["events"]):
        event["seq"] = seq
        event["event_id"] = f"evt_{event['decision_id']}_{seq}"
    return resealed(bundle)


def empty_id(bundle: Document) -> object:
    return renamed(bundle, "")


def endless_id(bundle: Document) -> object:
    return renamed(bundle, "d" * 257)


def nul_id(bundle: Document) -> object:
    return renamed(bundle, "d\x00")


def renamed(bundle: Document, decision_id: str) -> Document:
    bundle["decision"]["decision_id"] = decision_id
    for event in bundle["events"]:
        event["decision_id"] = decision_id
        event["event_id"] = f"evt_{decision_id}_{event['seq']}"
    return resealed(bundle)


def template_spelled_otherwise(bundle: Document) -> object:
    """What a bundle shows of its template must be spelled as its event spells it: 1 is not 1.0, nor true."""
    attached = bundle["events"][1]["payload"]
    snapshot = {"min_approvals": 1}
    attached |= {"template_name": "t", "template_digest": "0" * 64, "template_snapshot": snapshot}
    shown = {"present": True, "name": "t", "digest": "sha256:" + "0" * 64, "overrides": None}
    bundle["template_snapshot"] = {**shown, "snapshot": {"min_approvals": True}}
    return resealed(bundle)


SPOILED: list[tuple[Spoil, ErrorCode]] = [
    (unknown_type, ErrorCode.BUNDLE_INVALID_SCHEMA),
    (foreign_event, ErrorCode.REPLAY_INVALID),
    (foreign_event_id, ErrorCode.REPLAY_INVALID),
    (gap, ErrorCode.REPLAY_INVALID),
    (renumbered, ErrorCode.REPLAY_INVALID),
    (same_seq_twice, ErrorCode.REPLAY_INVALID),
    (disordered, ErrorCode.REPLAY_INVALID),
    (float_seq, ErrorCode.BUNDLE_INVALID_SCHEMA),
    (true_seq, ErrorCode.BUNDLE_INVALID_SCHEMA),
    (bad_event_digest, ErrorCode.INTEGRITY_MISMATCH),
    (bad_bundle_digest, ErrorCode.INTEGRITY_MISMATCH),
    (changed_payload, ErrorCode.INTEGRITY_MISMATCH),
    (changed_actor, ErrorCode.INTEGRITY_MISMATCH),
    (yesterday, ErrorCode.BUNDLE_INVALID_SCHEMA),
    (approval_until_yesterday, ErrorCode.REPLAY_INVALID),
    (naive_ts, ErrorCode.BUNDLE_INVALID_SCHEMA),
    (unknown_key, ErrorCode.BUNDLE_INVALID_SCHEMA),
    (another_version, ErrorCode.BUNDLE_INVALID_SCHEMA),
    (no_events, ErrorCode.BUNDLE_INVALID_SCHEMA),
    (invisible_actor, ErrorCode.BUNDLE_INVALID_SCHEMA),
    (zero_approvals, ErrorCode.REPLAY_INVALID),
    (text_approvals, ErrorCode.REPLAY_INVALID),
    (lone_surrogate, ErrorCode.BUNDLE_INVALID_SCHEMA),
    (too_deep, ErrorCode.BUNDLE_INVALID_SCHEMA),
    (another_goal, ErrorCode.INTEGRITY_MISMATCH),
    (another_mode, ErrorCode.INTEGRITY_MISMATCH),
    (another_creation, ErrorCode.INTEGRITY_MISMATCH),
    (another_status, ErrorCode.INTEGRITY_MISMATCH),
    (made_up_link, ErrorCode.INTEGRITY_MISMATCH),
    (made_up_template, ErrorCode.INTEGRITY_MISMATCH),
    (template_spelled_otherwise, ErrorCode.INTEGRITY_MISMATCH),
    (headless, ErrorCode.REPLAY_INVALID),
    (empty_id, ErrorCode.BUNDLE_INVALID_SCHEMA),
    (endless_id, ErrorCode.BUNDLE_INVALID_SCHEMA),
    (nul_id, ErrorCode.BUNDLE_INVALID_SCHEMA),
]


@pytest.mark.sample(30)
@pytest.mark.parametrize("conflict_mode", ["reject_on_conflict", "overwrite", "new_decision_id"])
@pytest.mark.parametrize(("spoil", "code"), SPOILED)
def test_a_spoiled_bundle_is_refused_and_changes_nothing(
    tools: NexusControlTools,
    elsewhere: NexusControlTools,
    spoil: Spoil,
    code: ErrorCode,
    conflict_mode: ConflictMode,
) -> None:
    bundle = bundle_of(elsewhere, approved(elsewhere))
    data_of(tools.import_bundle(bundle))
    approved(tools)
    before = contents(tools.store)
    spoiled: Any = spoil(copy.deepcopy(bundle))
    for form in (spoiled, json.dumps(spoiled)):
        refused = tools.import_bundle(form, conflict_mode=conflict_mode, allow_rollback=True)
        require_refused(refused, code)
        assert contents(tools.store) == before


def duplicate_key(text: str) -> str:
    return text.replace('"goal":', '"goal":"x","goal":', 1)


def duplicate_key_by_escape(text: str) -> str:
    return text.replace('"goal":', '"\\u0067oal":"x","goal":', 1)


def with_bom(text: str) -> str:
    return "\ufeff" + text


def with_nan(text: str) -> str:
    return text.replace('"plan":null', '"plan":NaN', 1)


def truncated(text: str) -> str:
    return text[:-1]


def twice(text: str) -> str:
    return text + text


def endless_number(text: str) -> str:
    return text.replace('"seq":1', '"seq":' + "1" * 5000, 1)


@pytest.mark.parametrize(
    "spoil", [duplicate_key, duplicate_key_by_escape, with_bom, with_nan, truncated, twice, endless_number]
)
def test_text_that_is_not_strict_json_is_refused_and_changes_nothing(
    tools: NexusControlTools, elsewhere: NexusControlTools, spoil: Callable[[str], str]
) -> None:
    text = canonical_json(bundle_of(elsewhere, approved(elsewhere)))
    assert spoil(text) != text
    before = contents(tools.store)
    for verify in (True, False):
        refused = tools.import_bundle(spoil(text), verify_digest=verify, replay_after_import=verify)
        require_refused(refused, ErrorCode.BUNDLE_INVALID_SCHEMA)
        assert contents(tools.store) == before


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}, b"x", object()])
def test_an_object_that_json_cannot_say_is_refused(
    tools: NexusControlTools, elsewhere: NexusControlTools, value: Any
) -> None:
    bundle = bundle_of(elsewhere, approved(elsewhere))
    bundle["events"][0]["payload"]["extra"] = value
    require_refused(tools.import_bundle(bundle), ErrorCode.BUNDLE_INVALID_SCHEMA)


def test_a_history_as_deep_as_we_write_can_be_taken_in_again(
    tools: NexusControlTools, elsewhere: NexusControlTools
) -> None:
    nest: Any = 1
    for _ in range(63):
        nest = [nest]
    request_id = elsewhere.store.create_decision()
    elsewhere.store.append_event(
        request_id, "DECISION_CREATED", ALICE, {"goal": "g", "requested_mode": "apply", "x": nest}
    )
    whole = data_of(elsewhere.export_bundle(request_id))
    data_of(tools.import_bundle(whole["canonical_json"]))
    assert data_of(tools.export_bundle(request_id))["digest"] == whole["digest"]


def test_what_is_imported_shares_nothing_with_its_giver(tools: NexusControlTools, clock: FakeClock) -> None:
    clock.instant = VECTORS_WRITTEN
    bundle = copy.deepcopy(BUNDLES["pending"])
    data_of(tools.import_bundle(bundle))
    bundle["events"][0]["payload"]["goal"] = "changed afterwards"
    decision_id = bundle["decision"]["decision_id"]
    assert data_of(tools.status(decision_id))["goal"] != "changed afterwards"


# Rollback.


def test_going_back_needs_to_be_allowed(tools: NexusControlTools) -> None:
    request_id = asked(tools, min_approvals=2)
    older = bundle_of(tools, request_id)
    data_of(tools.approve(request_id, BOB))
    before = contents(tools.store)
    require_refused(tools.import_bundle(older, conflict_mode="overwrite"), ErrorCode.ROLLBACK_REFUSED)
    assert contents(tools.store) == before
    data_of(tools.import_bundle(older, conflict_mode="overwrite", allow_rollback=True))
    assert data_of(tools.status(request_id))["total_approvals"] == 0
    assert len(tools.store.get_events(request_id, generation=0)) == 3


@pytest.mark.parametrize("change", ["actor", "ts", "payload"])
def test_a_history_that_says_something_else_does_not_extend_the_stored_one(
    tools: NexusControlTools, elsewhere: NexusControlTools, change: str
) -> None:
    request_id = approved(elsewhere)
    bundle = bundle_of(elsewhere, request_id)
    data_of(tools.import_bundle(bundle))
    data_of(elsewhere.approve(request_id, CAROL))
    longer = bundle_of(elsewhere, request_id)
    event = longer["events"][2]
    if change == "actor":
        event["actor"] = {"type": "human", "id": "mallory"}
    elif change == "ts":
        event["ts"] = "2026-01-02T03:04:05+00:00"
        for each in longer["events"][:2]:
            each["ts"] = event["ts"]
        longer["decision"]["created_at"] = event["ts"]
    else:
        event["payload"]["comment"] = "changed"
    refused = tools.import_bundle(resealed(longer), conflict_mode="overwrite")
    require_refused(refused, ErrorCode.ROLLBACK_REFUSED)
    data_of(tools.import_bundle(longer, conflict_mode="overwrite", allow_rollback=True))


def test_a_run_had_here_is_not_opened_again_by_a_rollback(tools: NexusControlTools) -> None:
    request_id = approved(tools)
    older = bundle_of(tools, request_id)
    router = FakeRouter()
    data_of(tools.execute(request_id, ADAPTER, SCHEDULER, router))
    data_of(tools.import_bundle(older, conflict_mode="overwrite", allow_rollback=True))
    data_of(tools.import_bundle(older, conflict_mode="overwrite"))
    data_of(tools.approve(request_id, CAROL))
    assert reasons(tools.execute(request_id, ADAPTER, SCHEDULER, router)) == ["ALREADY_EXECUTED"]
    assert blocked_by(tools, request_id) == ["ALREADY_EXECUTED"]
    inspected = data_of(tools.inspect(request_id))["lifecycle"]
    assert inspected["is_blocked"]
    assert not inspected["progress"]["ready_to_execute"]
    assert len(router.calls) == 1


def test_a_run_under_way_here_cannot_be_overwritten(tools: NexusControlTools) -> None:
    request_id = approved(tools)
    older = bundle_of(tools, request_id)
    attempts: list[Any] = []

    def overwrite_meanwhile() -> object:
        attempts.append(tools.import_bundle(older, conflict_mode="overwrite", allow_rollback=True))
        return ANSWER

    data_of(tools.execute(request_id, ADAPTER, SCHEDULER, FakeRouter(overwrite_meanwhile)))
    require_refused(attempts[0], ErrorCode.INVALID_STATE)


def test_a_run_under_way_elsewhere_can_be_brought_up_to_date(
    tools: NexusControlTools, elsewhere: NexusControlTools
) -> None:
    request_id = approved(elsewhere)

    def export_meanwhile() -> object:
        data_of(tools.import_bundle(bundle_of(elsewhere, request_id)))
        return ANSWER

    data_of(elsewhere.execute(request_id, ADAPTER, SCHEDULER, FakeRouter(export_meanwhile)))
    assert state_of(tools, request_id) == "executing"
    require_refused(tools.recover(request_id), ErrorCode.CLAIM_HELD)
    data_of(tools.import_bundle(bundle_of(elsewhere, request_id), conflict_mode="overwrite"))
    assert state_of(tools, request_id) == "completed"


# What an imported history may do here.


def test_imported_approvals_are_evidence_until_enough_are_given_here(
    tools: NexusControlTools, elsewhere: NexusControlTools
) -> None:
    request_id = asked(elsewhere, min_approvals=2)
    data_of(elsewhere.approve(request_id, BOB))
    data_of(elsewhere.approve(request_id, CAROL))
    data_of(tools.import_bundle(bundle_of(elsewhere, request_id)))
    router = FakeRouter()
    status = data_of(tools.status(request_id))
    assert (status["state"], status["is_approved"]) == ("pending_approval", False)
    assert (status["active_approvals"], status["total_approvals"]) == (0, 2)
    for number, person in enumerate((DAVE, ALICE), start=1):
        refused = tools.execute(request_id, ADAPTER, SCHEDULER, router)
        assert reasons(refused) == ["IMPORTED_APPROVALS"] == blocked_by(tools, request_id)
        assert refused.details["reasons"][0]["details"] == {
            "required": 2,
            "with_authority": number - 1,
            "imported": 2,
        }
        data_of(tools.approve(request_id, person))
    assert router.calls == []
    data_of(tools.execute(request_id, ADAPTER, SCHEDULER, router))
    assert len(router.calls) == 1


def test_an_imported_approver_gives_authority_by_revoking_and_approving_here(
    tools: NexusControlTools, elsewhere: NexusControlTools
) -> None:
    request_id = approved(elsewhere)
    data_of(tools.import_bundle(bundle_of(elsewhere, request_id)))
    refused = tools.approve(request_id, BOB)
    require_refused(refused, ErrorCode.ALREADY_APPROVED)
    assert refused.details["counts_here"] is False
    data_of(tools.revoke_approval(request_id, BOB, "given elsewhere"))
    data_of(tools.approve(request_id, BOB))
    data_of(tools.execute(request_id, ADAPTER, SCHEDULER, FakeRouter()))


def test_approvals_given_here_lose_their_authority_to_an_import_that_says_more(
    tools: NexusControlTools, elsewhere: NexusControlTools
) -> None:
    request_id = approved(tools, min_approvals=2)
    data_of(elsewhere.import_bundle(bundle_of(tools, request_id)))
    data_of(elsewhere.approve(request_id, CAROL))
    data_of(tools.import_bundle(bundle_of(elsewhere, request_id), conflict_mode="overwrite"))
    assert reasons(tools.execute(request_id, ADAPTER, SCHEDULER, FakeRouter())) == ["IMPORTED_APPROVALS"]


@pytest.mark.parametrize("switches", [{"verify_digest": False}, {"replay_after_import": False}])
def test_a_forensic_import_is_never_executed(
    tools: NexusControlTools, elsewhere: NexusControlTools, switches: dict[str, Any]
) -> None:
    request_id = approved(elsewhere)
    imported = data_of(tools.import_bundle(bundle_of(elsewhere, request_id), **switches))
    assert imported["imported"]["forensic"] is True
    assert imported["digest_verified"] is switches.get("verify_digest", True)
    assert imported["replay_ran"] is switches.get("replay_after_import", True)
    data_of(tools.approve(request_id, CAROL))
    assert reasons(tools.execute(request_id, ADAPTER, SCHEDULER, FakeRouter())) == ["FORENSIC_IMPORT"]
    assert blocked_by(tools, request_id) == ["FORENSIC_IMPORT"]
    assert "not executable" in data_of(tools.inspect(request_id))["rendered"].splitlines()[0]


def test_a_forensic_import_takes_in_what_an_ordinary_one_refuses(
    tools: NexusControlTools, elsewhere: NexusControlTools
) -> None:
    bundle = bundle_of(elsewhere, approved(elsewhere))
    for spoil in (bad_event_digest, bad_bundle_digest, changed_payload, changed_actor, another_status):
        spoiled: Any = spoil(copy.deepcopy(bundle))
        data_of(tools.import_bundle(spoiled, verify_digest=False, conflict_mode="new_decision_id"))
    headless_bundle: Any = headless(copy.deepcopy(bundle))
    imported = data_of(tools.import_bundle(headless_bundle, verify_digest=False))["imported"]
    status = data_of(tools.status(imported["decision_id"]))
    assert (status["state"], status["goal"]) == ("draft", None)
    assert status["created_at"] == START.isoformat(timespec="microseconds")
    (line,) = data_of(tools.list_requests(state="draft"))["requests"]
    assert line["requester"] is None


def test_foreign_events_never_land_in_another_decision(
    tools: NexusControlTools, elsewhere: NexusControlTools
) -> None:
    victim = approved(tools)
    before = tools.store.get_events(victim)
    bundle = bundle_of(elsewhere, approved(elsewhere))
    forged = copy.deepcopy(bundle["events"][2])
    forged |= {"seq": 3, "decision_id": victim, "event_id": f"evt_{victim}_3"}
    bundle["events"].append(forged)
    imported = data_of(tools.import_bundle(resealed(bundle), replay_after_import=False))["imported"]
    assert tools.store.get_events(victim) == before
    assert len(tools.store.get_events(imported["decision_id"])) == 4
    data_of(tools.approve(victim, CAROL))
    data_of(tools.execute(victim, ADAPTER, SCHEDULER, FakeRouter()))


def test_the_module_function_answers_like_the_tool(tools: NexusControlTools, clock: FakeClock) -> None:
    clock.instant = VECTORS_WRITTEN
    refused = import_bundle(tools.store, "{}")
    assert (refused.success, refused.error_code) == (False, ErrorCode.BUNDLE_INVALID_SCHEMA)
    assert refused.details is not None
    assert "Missing required field: decision" in refused.details["problems"]
    done = import_bundle(tools.store, json.dumps(BUNDLES["executed"]).encode())
    assert done.data is not None
    assert done.data["imported"]["decision_id"] == BUNDLES["executed"]["decision"]["decision_id"]


def test_an_import_is_remembered_beside_the_stream_and_adds_no_event_to_it(
    tools: NexusControlTools, clock: FakeClock
) -> None:
    clock.instant = VECTORS_WRITTEN
    data_of(tools.import_bundle(BUNDLES["executed"]))
    decision_id = BUNDLES["executed"]["decision"]["decision_id"]
    with tools.store.reading() as session:
        log = session.rows.log()
    assert [placed.entry.kind for placed in log] == ["decision"] * len(BUNDLES["executed"]["events"]) + [
        "import"
    ]
    record = json.loads(log[-1].entry.payload)
    assert record["bundle_digest"] == BUNDLES["executed"]["integrity"]["canonical_digest"]
    assert record["head"] == tools.store.load(decision_id).head
    imported = data_of(tools.status(decision_id))["imported"]
    assert (imported["events"], imported["forensic"], imported["copied_from"]) == (len(log) - 1, False, None)


def test_a_local_event_follows_an_imported_history_in_seq_and_time(
    tools: NexusControlTools, elsewhere: NexusControlTools
) -> None:
    request_id = asked(elsewhere)
    bundle = bundle_of(elsewhere, request_id)
    for event in bundle["events"]:
        event["ts"] = "2026-01-02T05:05:00+02:00"
    bundle["decision"]["created_at"] = "2026-01-02T05:05:00+02:00"
    data_of(tools.import_bundle(resealed(bundle)))
    data_of(tools.approve(request_id, BOB))
    events = tools.store.get_events(request_id)
    assert [event.origin for event in events] == ["imported", "imported", "local"]
    assert [event.ts for event in events] == [
        "2026-01-02T05:05:00+02:00",
        "2026-01-02T05:05:00+02:00",
        "2026-01-02T03:05:00.000000+00:00",
    ]
    whole = data_of(tools.export_bundle(request_id))
    data_of(elsewhere.import_bundle(whole["bundle"], conflict_mode="overwrite", allow_rollback=True))
    assert data_of(elsewhere.export_bundle(request_id))["digest"] == whole["digest"]


def test_a_rehearsal_imported_under_way_does_not_count_as_a_run(
    tools: NexusControlTools, elsewhere: NexusControlTools
) -> None:
    request_id = approved(elsewhere)
    for payload in (
        ExecutionRequestedPayload(adapter_id=ADAPTER, dry_run=True),
        ExecutionCompletedPayload(run_id="r", response_digest="0" * 64, steps_executed=0),
    ):
        elsewhere.store.append_event(request_id, payload.event_type, SCHEDULER, payload)
    data_of(tools.import_bundle(bundle_of(elsewhere, request_id)))
    data_of(tools.import_bundle(bundle_of(elsewhere, request_id), conflict_mode="overwrite"))
    assert blocked_by(tools, request_id) == ["IMPORTED_APPROVALS"]


ODD: list[Any] = [ABSENT, None, "", "x", 0, -1, 2**53, 1.0, True, [], {}, [1], {"a": 1}, "\ud800"]
WHOLE = BUNDLES["template-executed"]


@settings(max_examples=300)
@given(st.sampled_from(list(nodes(WHOLE))), st.sampled_from(ODD), st.booleans(), st.booleans())
def test_whatever_is_odd_in_a_bundle_nothing_breaks_and_a_refusal_changes_nothing(
    path: Path, value: Any, verify: bool, replay: bool
) -> None:
    spoiled = changed(WHOLE, path, value)
    with DecisionStore(":memory:", clock=FakeClock(VECTORS_WRITTEN)) as store:
        tools = NexusControlTools(store)
        victim = approved(tools)
        before = contents(store)
        result = tools.import_bundle(spoiled, verify_digest=verify, replay_after_import=replay)
        assert result.error_code != ErrorCode.INTERNAL, result.error
        if not result.success:
            assert contents(store) == before
            return
        imported = result.data["imported"]["decision_id"]
        stored = store.load(imported)
        facts = replay_facts(imported, store.get_events(imported))
        assert stored.provenance is not None
        assert stored.facts == stored.provenance.facts_of(facts).after_import()
        data_of(tools.inspect(imported))
        data_of(tools.list_requests())
        assert find_faults(store) == []
        assert len(store.get_events(victim)) == 3
