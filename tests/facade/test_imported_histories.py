"""What an imported history must be, what it leaves alone, and what becomes of it here."""

import copy
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

import pytest

from nexus_control import Decision, DecisionStore, NexusControlTools, verify_bundle, verify_evidence
from nexus_control.bundle import DecisionBundle, compute_link_digest
from nexus_control.canonical_json import canonical_json
from nexus_control.errors import ErrorCode
from nexus_control.events import compute_event_digest
from nexus_control.evidence.chain import GENESIS, event_leaf_data, leaf_hash
from nexus_control.export import export_decision
from nexus_control.import_ import import_bundle
from nexus_control.integrity import bare
from nexus_control.log.entries import record_entry
from nexus_control.log.projection import import_record_of
from nexus_control.log.upkeep import find_faults, rebuild_derived
from nexus_control.policy import Policy
from nexus_control.values.payloads import ExecutionRequestedPayload, Mode
from tests.artifacts.samples import BUNDLES, independent_digest
from tests.evidence.packages import rebound, seal_bundle
from tests.facade.flow import CAROL, DAVE, asked, blocked_by, bundle_of, executed, require_refused, state_of
from tests.facade.routers import ANSWER, FakeRouter
from tests.support.clock import START, FakeClock
from tests.support.contents import contents
from tests.support.governed import ADAPTER, ALICE, BOB, SCHEDULER, approved, data_of, overwritten, reasons

Document: TypeAlias = dict[str, Any]
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
    """The bundle with every digest, number and name made again, as a forger would."""
    decision_id = bundle["decision"]["decision_id"]
    for seq, event in enumerate(bundle["events"]):
        event |= {"seq": seq, "decision_id": decision_id, "event_id": f"evt_{decision_id}_{seq}"}
        event["digest"] = compute_event_digest(event["type"], event["payload"])
    assert seal_bundle(bundle) == DecisionBundle.from_dict(bundle).content_digest()
    return bundle


def with_event(
    bundle: Document, at: int, like: int, status: str | None = None, **changes: object
) -> Document:
    """The history with an event put in at a place, made after another one of it."""
    forged = copy.deepcopy(bundle)
    neighbour = forged["events"][min(at, len(forged["events"]) - 1)]
    forged["events"].insert(at, copy.deepcopy(forged["events"][like]) | {"ts": neighbour["ts"]} | changes)
    if status is not None:
        forged["decision"]["status"] = status
    return resealed(forged)


# Each event is legal where it stands.

ILLEGAL: dict[str, tuple[Callable[[Document], Document], int]] = {
    "created twice": (lambda b: with_event(b, 1, 0), 1),
    "a second policy": (lambda b: with_event(b, 2, 1), 2),
    "a second approval of one person": (lambda b: with_event(b, 3, 2), 3),
    "approved before there is a policy": (lambda b: with_event(b, 1, 2), 1),
    "a revocation of nothing": (
        lambda b: with_event(b, 2, 2, type="APPROVAL_REVOKED", payload={"reason": None}),
        2,
    ),
    "a start of nothing": (
        lambda b: with_event(b, 3, 2, type="EXECUTION_STARTED", payload={"router_request_digest": "0" * 64}),
        3,
    ),
    "an outcome of nothing": (
        lambda b: with_event(
            b,
            3,
            2,
            type="EXECUTION_COMPLETED",
            payload={"run_id": "r", "response_digest": "0" * 64, "steps_executed": 1},
        ),
        3,
    ),
    "a reconciliation of nothing": (
        lambda b: with_event(
            b, 3, 2, type="EXECUTION_RECONCILED", payload={"outcome": "completed", "evidence": "e"}
        ),
        3,
    ),
    "an approval after the end": (
        lambda b: with_event(
            with_event(b, 3, 2, "DENIED", type="APPROVAL_DENIED", payload={"reason": "no"}),
            4,
            2,
            actor={"type": "human", "id": "mallory"},
        ),
        4,
    ),
    "a template's event": (
        lambda b: with_event(
            b,
            3,
            2,
            type="TEMPLATE_CREATED",
            payload={"name": "t", "description": "", **json.loads(canonical_json(Policy().to_dict()))},
        ),
        3,
    ),
}


@pytest.mark.parametrize(("forge", "seq"), ILLEGAL.values(), ids=ILLEGAL.keys())
def test_an_event_that_is_illegal_where_it_stands_is_refused_by_its_number(
    tools: NexusControlTools, elsewhere: NexusControlTools, forge: Callable[[Document], Document], seq: int
) -> None:
    bundle = forge(bundle_of(elsewhere, approved(elsewhere)))
    before = contents(tools.store)
    refused = tools.import_bundle(bundle)
    require_refused(refused, ErrorCode.REPLAY_INVALID)
    assert refused.details["seq"] == seq
    assert contents(tools.store) == before
    forensic = data_of(tools.import_bundle(bundle, replay_after_import=False))["imported"]
    assert "FORENSIC_IMPORT" in blocked_by(tools, forensic["decision_id"])


# Times.


def at(bundle: Document, *times: datetime) -> Document:
    """The history with its events at these times."""
    moved = copy.deepcopy(bundle)
    for event, time in zip(moved["events"], times, strict=True):
        event["ts"] = time.isoformat()
    moved["decision"]["created_at"] = moved["events"][0]["ts"]
    return resealed(moved)


MINUTE = timedelta(minutes=1)
TIMES: dict[str, tuple[tuple[timedelta, ...], int | None]] = {
    "now": ((timedelta(0),) * 3, None),
    "long ago": ((-MINUTE * 10**6,) * 3, None),
    "five minutes ahead": ((timedelta(0), timedelta(0), MINUTE * 5), None),
    "a moment more": ((timedelta(0), timedelta(0), MINUTE * 5 + timedelta(microseconds=1)), 2),
    "wholly of the future": ((MINUTE * 10**7,) * 3, 0),
    "back": ((timedelta(0), -MINUTE, timedelta(0)), 1),
    "back by a microsecond": ((timedelta(0), timedelta(0), -timedelta(microseconds=1)), 2),
}


@pytest.mark.parametrize(("offsets", "seq"), TIMES.values(), ids=TIMES.keys())
def test_times_go_forward_and_end_at_this_stores_clock(
    tools: NexusControlTools, elsewhere: NexusControlTools, offsets: tuple[timedelta, ...], seq: int | None
) -> None:
    request_id = approved(elsewhere)
    bundle = at(bundle_of(elsewhere, request_id), *(START + offset for offset in offsets))
    before = contents(tools.store)
    result = tools.import_bundle(bundle)
    if seq is None:
        data_of(result)
        return
    require_refused(result, ErrorCode.REPLAY_INVALID)
    assert result.details["seq"] == seq
    assert contents(tools.store) == before


def test_a_time_is_compared_as_an_instant_however_it_is_written(
    tools: NexusControlTools, elsewhere: NexusControlTools
) -> None:
    bundle = bundle_of(elsewhere, approved(elsewhere))
    for event, ts in zip(
        bundle["events"],
        ("2026-01-02T05:04:05+02:00", "2026-01-02T03:04:05.1Z", "2026-01-01T20:04:05.2-07:00"),
        strict=True,
    ):
        event["ts"] = ts
    bundle["decision"]["created_at"] = bundle["events"][0]["ts"]
    data_of(tools.import_bundle(resealed(bundle)))


def test_a_history_of_the_future_that_is_here_already_is_decided_by_nobody_until_then(
    tools: NexusControlTools, elsewhere: NexusControlTools, clock: FakeClock
) -> None:
    """From a forensic import, or from one that 2.0 made."""
    future = START + timedelta(days=365)
    request_id = approved(elsewhere, min_approvals=2)
    bundle = at(bundle_of(elsewhere, request_id), START, START, future)
    data_of(tools.import_bundle(bundle, replay_after_import=False))
    before = contents(tools.store)
    for call in (
        lambda: tools.approve(request_id, CAROL),
        lambda: tools.deny(request_id, CAROL, "no"),
        lambda: tools.revoke_approval(request_id, BOB),
        lambda: tools.withdraw(request_id, ALICE, "no"),
    ):
        require_refused(call(), ErrorCode.CLOCK_BEHIND)
    refused = tools.execute(request_id, ADAPTER, SCHEDULER, FakeRouter())
    assert set(reasons(refused)) >= {"CLOCK_BEHIND", "FORENSIC_IMPORT"}
    assert "CLOCK_BEHIND" in blocked_by(tools, request_id)
    assert contents(tools.store) == before
    clock.instant = future
    data_of(tools.deny(request_id, CAROL, "no"))
    assert "CLOCK_BEHIND" not in blocked_by(tools, request_id)


# The very history that is stored, and other ids of it.


@pytest.mark.parametrize("prepare", [asked, approved, executed])
def test_the_very_history_that_is_stored_changes_nothing(
    tools: NexusControlTools, prepare: Callable[[NexusControlTools], str]
) -> None:
    request_id = prepare(tools)
    bundle = bundle_of(tools, request_id)
    before = contents(tools.store)
    every: list[Any] = [{}, {"allow_rollback": True}, {"verify_digest": False}]
    for options in every:
        answer = data_of(tools.import_bundle(bundle, conflict_mode="overwrite", **options))
        assert (answer["unchanged"], answer["imported"]["events_imported"]) == (True, 0)
        assert answer["imported"]["generation"] == 0
        assert contents(tools.store) == before
    if prepare is approved:
        data_of(tools.execute(request_id, ADAPTER, SCHEDULER, FakeRouter()))


def test_the_export_of_a_decision_that_was_imported_and_went_on_here_changes_nothing_either(
    tools: NexusControlTools, elsewhere: NexusControlTools
) -> None:
    request_id = asked(elsewhere)
    data_of(tools.import_bundle(bundle_of(elsewhere, request_id), actor=DAVE))
    data_of(tools.approve(request_id, BOB))
    assert data_of(tools.import_bundle(bundle_of(tools, request_id), conflict_mode="overwrite"))["unchanged"]
    data_of(tools.execute(request_id, ADAPTER, SCHEDULER, FakeRouter()))


def test_what_was_taken_in_unchecked_can_be_taken_in_again_checked(
    tools: NexusControlTools, elsewhere: NexusControlTools
) -> None:
    request_id = approved(elsewhere)
    bundle = bundle_of(elsewhere, request_id)
    data_of(tools.import_bundle(bundle, verify_digest=False))
    again = data_of(tools.import_bundle(bundle, conflict_mode="overwrite"))
    assert (again["unchanged"], again["imported"]["generation"]) == (False, 1)
    assert blocked_by(tools, request_id) == ["IMPORTED_APPROVALS"]


def test_an_older_export_of_a_superseded_generation_is_still_a_rollback(
    tools: NexusControlTools, elsewhere: NexusControlTools
) -> None:
    request_id = asked(elsewhere)
    older = bundle_of(elsewhere, request_id)
    data_of(tools.import_bundle(older))
    data_of(elsewhere.approve(request_id, BOB))
    data_of(tools.import_bundle(bundle_of(elsewhere, request_id), conflict_mode="overwrite"))
    refused = tools.import_bundle(older, conflict_mode="overwrite")
    require_refused(refused, ErrorCode.ROLLBACK_REFUSED)
    data_of(tools.import_bundle(older, conflict_mode="overwrite", allow_rollback=True))
    assert data_of(tools.status(request_id))["imported"]["rolled_back"] is True


def test_an_id_that_was_only_reserved_is_this_stores_own(
    tools: NexusControlTools, elsewhere: NexusControlTools
) -> None:
    bundle = bundle_of(elsewhere, asked(elsewhere))
    reserved = tools.store.create_decision()
    bundle["decision"]["decision_id"] = reserved
    require_refused(tools.import_bundle(resealed(bundle)), ErrorCode.DECISION_EXISTS)
    data_of(tools.import_bundle(bundle, conflict_mode="overwrite"))


def in_upper_case(text: str) -> str:
    return text.upper()


def in_cyrillic(text: str) -> str:
    return text.replace("c", "\u0441")


@pytest.mark.parametrize("spell", [in_upper_case, in_cyrillic])
def test_an_id_that_looks_like_that_of_a_decision_here_is_refused(
    elsewhere: NexusControlTools, spell: Callable[[str], str]
) -> None:
    class Named(FakeClock):
        def new_id(self) -> str:
            return "abcdef00-0000-4000-8000-000000000000"

    with DecisionStore(clock=Named()) as store:
        tools = NexusControlTools(store)
        request_id = asked(tools)
        bundle = bundle_of(elsewhere, asked(elsewhere))
        bundle["decision"]["decision_id"] = spell(request_id)
        for mode in ("reject_on_conflict", "overwrite"):
            refused = tools.import_bundle(resealed(bundle), conflict_mode=mode)
            require_refused(refused, ErrorCode.DECISION_EXISTS)
            assert refused.details["decision_id"] == request_id


# Who brought it, and what is said of that.


def test_a_template_that_came_with_an_import_is_not_taken_for_the_one_of_its_name_here(
    tools: NexusControlTools, elsewhere: NexusControlTools
) -> None:
    modes: list[Mode] = ["dry_run", "apply"]
    data_of(tools.template_create("prod-deploy", ALICE, min_approvals=3, allowed_modes=modes))
    data_of(elsewhere.template_create("prod-deploy", ALICE, min_approvals=1, allowed_modes=modes))
    theirs = approved(elsewhere, template_name="prod-deploy")
    data_of(tools.import_bundle(bundle_of(elsewhere, theirs)))
    ours = data_of(tools.request("Deploy", ALICE, template_name="prod-deploy"))["request_id"]
    for request_id, is_ours in ((theirs, False), (ours, True)):
        inspected = data_of(tools.inspect(request_id))
        assert inspected["template"]["is_of_this_store"] == is_ours
        assert ("NOT a template of this store" not in inspected["rendered"]) == is_ours


def test_every_view_says_what_came_from_where_and_by_whom(
    tools: NexusControlTools, elsewhere: NexusControlTools
) -> None:
    request_id = approved(elsewhere, min_approvals=2)
    bundle = bundle_of(elsewhere, request_id)
    answer = data_of(tools.import_bundle(bundle, actor=DAVE))
    assert answer["imported"]["imported_by"] == DAVE.to_dict()
    data_of(tools.approve(request_id, CAROL))
    expected = {
        "at": START.isoformat(timespec="microseconds"),
        "by": DAVE.to_dict(),
        "bundle_digest": bundle["integrity"]["canonical_digest"],
        "events": 3,
        "copied_from": None,
        "forensic": False,
        "rolled_back": False,
        "final_rehearsal": False,
    }
    inspected = data_of(tools.inspect(request_id))
    assert data_of(tools.status(request_id))["imported"] == expected
    assert inspected["decision"]["imported"] == expected
    assert [each["imported"] for each in inspected["approval"]["approvals"]] == [True, False]
    assert "3 events by human:dave" in inspected["rendered"]
    assert "(declared), imported" in inspected["rendered"]
    assert data_of(tools.export_audit_record(request_id))["audit_record"]["decision"]["imported"] == expected
    mine = asked(tools)
    lines = {line["request_id"]: line["imported"] for line in data_of(tools.list_requests())["requests"]}
    assert lines == {request_id: True, mine: False}
    assert "imported" not in data_of(tools.status(mine))


def test_who_imported_is_anybody_who_could_act_and_nobody_else(
    tools: NexusControlTools, elsewhere: NexusControlTools
) -> None:
    bundle = bundle_of(elsewhere, asked(elsewhere))
    for actor in ({"type": "human"}, {"type": "robot", "id": "r"}, {"type": "human", "id": "b\u043eb"}):
        assert tools.import_bundle(bundle, actor=actor).error_code == "INVALID_ARGUMENT"
        assert import_bundle(tools.store, bundle, actor=actor).error_code == "INVALID_ARGUMENT"
    done = import_bundle(tools.store, bundle, actor=DAVE)
    assert done.data is not None
    assert done.data["imported"]["imported_by"] == DAVE.to_dict()


def test_a_record_of_an_import_of_2_0_is_still_read() -> None:
    written = '{"bundle_digest":"sha256:0","conflict_mode":"overwrite","imported_at":"x","rolled_back":true}'
    record = import_record_of(written)
    assert (record.imported_by, record.final_rehearsal, record.rolled_back) == (None, False, True)


def test_a_store_whose_imported_events_have_the_leaves_of_2_0_is_whole(
    elsewhere: NexusControlTools,
) -> None:
    """2.0 gave them the leaves of local events."""
    request_id = asked(elsewhere)
    with DecisionStore(":memory:", clock=FakeClock()) as store:
        tools = NexusControlTools(store)
        data_of(tools.import_bundle(bundle_of(elsewhere, request_id)))
        with store.reading() as session:
            log = [placed.entry for placed in session.rows.log()]
    head, old = GENESIS, list[Any]()
    for entry in log[:-1]:
        data = event_leaf_data(
            subject="decision_id",
            name=entry.stream,
            seq=entry.seq,
            event_type=entry.event_type,
            ts=entry.ts,
            actor=ALICE,
            digest=entry.digest,
            prev=head,
        )
        head = leaf_hash(data)
        old.append(entry._replace(leaf=head))
    details = json.loads(log[-1].payload) | {"head": head}
    old.append(record_entry("import", request_id, log[-1].ts, details, GENESIS))
    with DecisionStore(":memory:", clock=FakeClock()) as store:
        with store.writing() as session:
            session.rows.append(old)
        rebuild_derived(store)
        assert find_faults(store) == []
        tools = NexusControlTools(store)
        data_of(tools.approve(request_id, BOB))
        assert find_faults(store) == []


def test_provenance_is_that_of_the_last_import(
    tools: NexusControlTools, elsewhere: NexusControlTools
) -> None:
    request_id = executed(tools)
    assert data_of(overwritten(tools, request_id))["imported"]["generation"] == 1
    imported = data_of(tools.status(request_id))["imported"]
    assert (imported["by"], imported["rolled_back"]) == (None, True)
    package = data_of(tools.export_audit_package(request_id))[
        "package"
    ]  # its run was here, its history no more
    assert package["evidence"]["imported"]["events"] == len(package["control_bundle"]["events"])
    assert "by" not in package["evidence"]["imported"]
    report = verify_evidence(package)
    assert (report.ok, report.level) == (True, "L1")


# An execution that was under way elsewhere.


def under_way(elsewhere: NexusControlTools) -> tuple[str, Document]:
    request_id = approved(elsewhere)
    requested = ExecutionRequestedPayload(adapter_id=ADAPTER, dry_run=False)
    elsewhere.store.append_event(request_id, requested.event_type, SCHEDULER, requested)
    return request_id, bundle_of(elsewhere, request_id)


def test_an_imported_execution_is_ended_by_force_and_settled_by_a_person(
    tools: NexusControlTools, elsewhere: NexusControlTools
) -> None:
    request_id, bundle = under_way(elsewhere)
    data_of(tools.import_bundle(bundle))
    assert data_of(tools.recover()) == {"recovered": [], "still_held": 0, "runs": []}
    require_refused(tools.recover(request_id), ErrorCode.CLAIM_HELD)
    assert data_of(tools.recover(request_id, force=True))["recovered"] == [request_id]
    assert state_of(tools, request_id) == "outcome_unknown"
    require_refused(tools.recover(request_id, force=True), ErrorCode.INVALID_STATE)
    data_of(tools.reconcile(request_id, CAROL, "failed", "asked those who ran it"))
    assert state_of(tools, request_id) == "failed"
    assert find_faults(tools.store) == []


def test_a_claim_that_is_held_here_is_not_ended_by_force(tools: NexusControlTools) -> None:
    request_id = approved(tools)
    answers: list[Any] = []

    def meanwhile() -> object:
        answers.append(tools.recover(request_id, force=True))
        return ANSWER

    data_of(tools.execute(request_id, ADAPTER, SCHEDULER, FakeRouter(meanwhile)))
    require_refused(answers[0], ErrorCode.CLAIM_HELD)


# What 1.0 did: a dry run of an apply decision ended it, and was linked.


def of_1_0(outcome: str = "COMPLETED", *, name: str = "executed") -> Document:
    """The vector, had 1.0 executed it with `dry_run=True`."""
    bundle = copy.deepcopy(BUNDLES[name])
    request = next(each for each in bundle["events"] if each["type"] == "EXECUTION_REQUESTED")
    request["payload"]["dry_run"] = True
    policy = bundle["events"][1]["payload"]
    asked_for = Policy(
        min_approvals=policy["min_approvals"],
        allowed_modes=tuple(policy["allowed_modes"]),
        require_adapter_capabilities=tuple(policy["require_adapter_capabilities"]),
        max_steps=policy["max_steps"],
    ).compile_to_router_request(
        bundle["decision"]["goal"],
        bundle["events"][0]["payload"]["plan"],
        request["payload"]["adapter_id"],
        True,
    )
    digest = bare(independent_digest(asked_for))
    started = next(each for each in bundle["events"] if each["type"] == "EXECUTION_STARTED")
    started["payload"]["router_request_digest"] = digest
    last, link = bundle["events"][-1], bundle["router_link"]
    if outcome == "FAILED":
        last |= {
            "type": "EXECUTION_FAILED",
            "payload": {"error_code": "E", "error_message": "m", "run_id": last["payload"]["run_id"]},
        }
        del link["router_result_digest"], link["control_router_link_digest"]
    link["router_request_digest"] = f"sha256:{digest}"
    if outcome == "COMPLETED":
        decision_id, run_id = bundle["decision"]["decision_id"], link["run_id"]
        result = link["router_result_digest"].removeprefix("sha256:")
        link["control_router_link_digest"] = compute_link_digest(decision_id, run_id, digest, result)
    bundle["decision"]["status"] = outcome
    return resealed(bundle)


@pytest.mark.parametrize("outcome", ["COMPLETED", "FAILED"])
@pytest.mark.parametrize("name", ["executed", "template-executed"])
def test_a_dry_run_that_1_0_took_for_the_execution_imports_and_is_final(
    tools: NexusControlTools, clock: FakeClock, outcome: str, name: str
) -> None:
    clock.instant = VECTORS_WRITTEN
    bundle = of_1_0(outcome, name=name)
    stated = {check.name: check.status for check in verify_bundle(bundle).checks}
    assert (stated["header_equals_replay"], "fail" in stated.values()) == ("info", False)
    request_id = data_of(tools.import_bundle(bundle))["imported"]["decision_id"]
    exported = data_of(tools.export_bundle(request_id))
    assert exported["digest"] == bundle["integrity"]["canonical_digest"]
    status = data_of(tools.status(request_id))
    assert (status["state"], status["imported"]["final_rehearsal"]) == (outcome.lower(), True)
    assert status["run"]["run_id"] == bundle["router_link"]["run_id"]
    assert status["executions"][0]["dry_run"] is True
    expected = ["ALREADY_EXECUTED"] if outcome == "COMPLETED" else ["EXECUTION_FAILED"]
    require_refused(tools.approve(request_id, DAVE), ErrorCode.INVALID_STATE)
    for dry_run in (True, False):
        refused = tools.execute(request_id, ADAPTER, SCHEDULER, FakeRouter(), dry_run=dry_run)
        assert reasons(refused)[:1] == expected
    assert "ended by a dry run" in data_of(tools.inspect(request_id))["rendered"]
    assert find_faults(tools.store) == []
    before = contents(tools.store)
    rebuild_derived(tools.store)
    assert contents(tools.store) == before


def test_it_stays_so_when_it_is_superseded_and_when_it_is_copied(
    tools: NexusControlTools, clock: FakeClock
) -> None:
    clock.instant = VECTORS_WRITTEN
    bundle = of_1_0()
    request_id = data_of(tools.import_bundle(bundle))["imported"]["decision_id"]
    assert data_of(tools.import_bundle(bundle, conflict_mode="overwrite"))["unchanged"]
    assert data_of(overwritten(tools, request_id))["imported"]["generation"] == 1
    for generation in (0, 1):
        exported = export_decision(tools.store, request_id, generation=generation).bundle
        assert exported is not None
        assert exported.decision.status == "COMPLETED"
        assert exported.router_link.run_id == bundle["router_link"]["run_id"]
    assert (
        export_decision(tools.store, request_id, generation=0).digest
        == bundle["integrity"]["canonical_digest"]
    )
    copied = data_of(tools.import_bundle(bundle, conflict_mode="new_decision_id"))["imported"]["decision_id"]
    assert state_of(tools, copied) == "completed"
    assert find_faults(tools.store) == []


def test_its_package_verifies_and_says_that_nothing_was_applied(
    tools: NexusControlTools, clock: FakeClock
) -> None:
    clock.instant = VECTORS_WRITTEN
    request_id = data_of(tools.import_bundle(of_1_0()))["imported"]["decision_id"]
    package = data_of(tools.export_audit_package(request_id))["package"]
    for each in (package, rebound(package)):  # as it is exported here, and as 1.0 did
        report = verify_evidence(each)
        assert [check for check in report.checks if check.status == "fail"] == []
        assert (report.ok, report.level) == (True, "L1")
        header = next(check for check in report.checks if check.name == "header_equals_replay")
        assert (header.status, "never applied" in header.detail) == ("info", True)


def another_run(bundle: Document) -> None:
    bundle["router_link"]["run_id"] = "another"


def no_run(bundle: Document) -> None:
    bundle["router_link"] = {}


def another_outcome(bundle: Document) -> None:
    bundle["decision"]["status"] = "FAILED"


def an_approval_after_it(bundle: Document) -> None:
    granted = next(each for each in bundle["events"] if each["type"] == "APPROVAL_GRANTED")
    later = {"actor": {"type": "human", "id": "zoe"}, "ts": bundle["events"][-1]["ts"]}
    bundle["events"].append(copy.deepcopy(granted) | later)


@pytest.mark.parametrize("change", [another_run, no_run, another_outcome, an_approval_after_it])
def test_only_the_run_that_ends_the_history_is_taken_so(
    tools: NexusControlTools, clock: FakeClock, change: Callable[[Document], None]
) -> None:
    clock.instant = VECTORS_WRITTEN
    bundle = of_1_0()
    change(bundle)
    require_refused(tools.import_bundle(resealed(bundle)), ErrorCode.INTEGRITY_MISMATCH)


def test_a_rehearsal_of_this_version_is_still_a_rehearsal(
    tools: NexusControlTools, elsewhere: NexusControlTools
) -> None:
    request_id = approved(elsewhere)
    data_of(elsewhere.execute(request_id, ADAPTER, SCHEDULER, FakeRouter(), dry_run=True))
    bundle = bundle_of(elsewhere, request_id)
    data_of(tools.import_bundle(bundle))
    assert data_of(tools.status(request_id))["imported"]["final_rehearsal"] is False
    assert blocked_by(tools, request_id) == ["IMPORTED_APPROVALS"]
    assert Decision.load(tools.store, request_id).executions[0].rehearsal
    assert bundle_of(tools, request_id)["integrity"] == bundle["integrity"]
