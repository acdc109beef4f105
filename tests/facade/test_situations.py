"""What reads approved can be executed: every view, and `execute` itself, in every situation."""

from collections.abc import Callable
from typing import Any

import pytest

from nexus_control import verify_bundle
from nexus_control.bundle import DecisionBundle
from nexus_control.decision import DecisionState
from nexus_control.log.upkeep import find_faults
from nexus_control.store import DecisionStore
from nexus_control.tool import NexusControlTools
from tests.artifacts.samples import BUNDLES
from tests.evidence.packages import seal_bundle
from tests.facade.flow import CAROL
from tests.facade.routers import FakeRouter
from tests.support.clock import FakeClock
from tests.support.governed import ADAPTER, BOB, SCHEDULER, data_of, reasons
from tests.support.situations import SITUATIONS, Situation, Two

Seen = tuple[Any, ...]
View = Callable[[NexusControlTools, str], Seen]


@pytest.fixture
def two(tools: NexusControlTools, clock: FakeClock) -> Two:
    return Two(tools.store, clock)


def standing(tools: NexusControlTools, request_id: str) -> Seen:
    status = data_of(tools.status(request_id))
    counts = (status["active_approvals"], status["required_approvals"])
    return status["state"], counts, status["is_approved"], codes(status["blocking_reasons"])


def inspected(tools: NexusControlTools, request_id: str) -> Seen:
    data = data_of(tools.inspect(request_id))
    lifecycle, approval = data["lifecycle"], data["approval"]
    progress = lifecycle["progress"]
    counts = (approval["current"], approval["required"])
    assert counts == (progress["approvals_current"], progress["approvals_required"])
    assert approval["current"] == sum(each["active"] for each in approval["approvals"])
    assert lifecycle["is_blocked"] == bool(lifecycle["blocking_reasons"]) != progress["ready_to_execute"]
    assert data["decision"]["status"] == lifecycle["state"].upper().replace("COMPLETED", "EXECUTED")
    return lifecycle["state"], counts, approval["is_approved"], codes(lifecycle["blocking_reasons"])


def verify_bundle_of(bundle: dict[str, Any]) -> list[str]:
    """The checks of this bundle that fail."""
    report = verify_bundle(bundle)
    failing = [check.name for check in report.checks if check.status == "fail"]
    assert report.ok is not bool(failing)
    return failing


def codes(found: list[dict[str, Any]]) -> tuple[str, ...]:
    return tuple(reason["code"] for reason in found)


VIEWS: dict[str, View] = {"status": standing, "inspect": inspected}


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("name", SITUATIONS)
def test_a_view_counts_what_carries_authority_here_and_no_expired_request(
    two: Two, name: str, view: str
) -> None:
    situation = SITUATIONS[name]
    expected = (situation.state, situation.approvals, situation.is_approved, situation.reasons)
    assert VIEWS[view](two.here, situation.build(two)) == expected


@pytest.mark.parametrize("name", SITUATIONS)
def test_every_approval_that_does_not_count_says_why(two: Two, name: str) -> None:
    situation = SITUATIONS[name]
    data = data_of(two.here.inspect(situation.build(two)))
    approvals = data["approval"]["approvals"]
    assert len(approvals) == situation.total
    assert [each["active"] for each in approvals] == [each["inactive_because"] is None for each in approvals]
    lines = [line for line in data["rendered"].splitlines() if "does not count: " in line]
    assert len(lines) == len(situation.said)
    for line, words in zip(lines, situation.said, strict=True):
        assert line.startswith("- ✗ human:")
        assert f"does not count: {words}" in line
        assert words in data["rendered"].split("- Progress: ")[1].splitlines()[0]


@pytest.mark.parametrize("name", SITUATIONS)
def test_the_reviewers_page_begins_with_what_can_be_done(two: Two, name: str) -> None:
    situation = SITUATIONS[name]
    page: str = data_of(two.here.inspect(situation.build(two)))["rendered"]
    assert page.startswith(situation.verdict)
    assert page.startswith("✓") == (situation.executable or situation.state == "completed")


@pytest.mark.parametrize("name", [name for name in SITUATIONS if name != "without a policy"])
def test_a_list_agrees_and_finds_it_by_its_state_alone(two: Two, name: str) -> None:
    situation = SITUATIONS[name]
    request_id = situation.build(two)
    (line,) = data_of(two.here.list_requests())["requests"]
    assert (line["request_id"], line["state"]) == (request_id, situation.state)
    assert (line["current_approvals"], line["required_approvals"]) == situation.approvals
    assert (line["is_approved"], line["executable"]) == (situation.is_approved, situation.executable)
    assert line["imported"] == ("imported" in data_of(two.here.status(request_id)))
    for state in DecisionState:
        found = data_of(two.here.list_requests(state=state))["count"]
        assert found == (state == situation.state), state
    waiting = data_of(two.here.list_requests(awaiting="dave"))["count"]
    assert waiting == situation.waits


@pytest.mark.parametrize("name", SITUATIONS)
def test_execute_refuses_for_exactly_what_the_views_say(two: Two, name: str) -> None:
    situation = SITUATIONS[name]
    request_id, router = situation.build(two), FakeRouter()
    result = two.here.execute(request_id, ADAPTER, SCHEDULER, router)
    assert result.success == situation.executable == bool(router.calls)
    if not result.success:
        assert reasons(result) == list(situation.reasons)


@pytest.mark.parametrize("name", SITUATIONS)
def test_the_store_is_whole_in_it(two: Two, name: str) -> None:
    SITUATIONS[name].build(two)
    assert find_faults(two.here.store) == []


def answered(tools: NexusControlTools, name: str, request_id: str) -> dict[str, Any]:
    return data_of(
        tools.approve(request_id, CAROL) if name == "approve" else tools.revoke_approval(request_id, BOB)
    )


@pytest.mark.parametrize(
    ("name", "call", "expected"),
    [
        ("approved elsewhere by one of two", "approve", ("pending_approval", 1, False)),
        ("approved elsewhere", "approve", ("approved", 1, True)),
        ("approved elsewhere", "revoke", ("pending_approval", 0, False)),
        ("approved elsewhere, and here", "revoke", ("approved", 1, True)),
        ("a request that expired approved", "revoke", ("expired", 0, False)),
    ],
)
def test_the_answer_to_a_verdict_counts_as_the_views_do(
    two: Two, name: str, call: str, expected: tuple[str, int, bool]
) -> None:
    request_id = SITUATIONS[name].build(two)
    answer = answered(two.here, call, request_id)
    assert (answer["state"], answer["current_approvals"], answer["is_approved"]) == expected
    status = data_of(two.here.status(request_id))
    assert (status["state"], status["active_approvals"], status["is_approved"]) == expected


@pytest.mark.parametrize("name", SITUATIONS)
def test_the_audit_record_states_what_the_views_do(two: Two, name: str) -> None:
    situation = SITUATIONS[name]
    record = data_of(two.here.export_audit_record(situation.build(two)))["audit_record"]
    assert record["decision"]["state"] == situation.state


@pytest.mark.parametrize("verb", ["recover", "reconcile"])
def test_a_refusal_names_the_state_that_the_views_name(two: Two, verb: str) -> None:
    request_id = SITUATIONS["approved elsewhere"].build(two)
    refused = (
        two.here.recover(request_id)
        if verb == "recover"
        else two.here.reconcile(request_id, BOB, "completed", "seen")
    )
    assert refused.error == f"INVALID_STATE: Cannot {verb} decision in state pending_approval"


def test_an_expired_request_may_be_ended_but_not_approved(two: Two) -> None:
    situation: Situation = SITUATIONS["a request that expired approved"]
    request_id = situation.build(two)
    refused = two.here.approve(request_id, CAROL)
    assert (refused.error_code, refused.details["state"]) == ("INVALID_STATE", "expired")
    assert "Cannot approve decision in state expired" in str(refused.error)


def test_the_timeline_of_an_import_does_not_claim_a_quorum_here(two: Two) -> None:
    rendered = data_of(two.here.inspect(SITUATIONS["approved elsewhere, and here"].build(two)))["rendered"]
    met = [line for line in rendered.splitlines() if "Quorum met" in line]
    assert len(met) == 1
    assert met[0].endswith(", before the import")


@pytest.mark.parametrize("name", [name for name in SITUATIONS if name != "without a policy"])
def test_a_document_knows_no_expired_request_and_keeps_its_digest(two: Two, name: str) -> None:
    request_id = SITUATIONS[name].build(two)
    before = data_of(two.here.export_bundle(request_id))
    two.later(days=4000)
    after = data_of(two.here.export_bundle(request_id))
    assert after["digest"] == before["digest"]
    status = after["bundle"]["decision"]["status"]
    assert status in {str(state).upper() for state in DecisionState} - {"EXPIRED"}
    assert verify_bundle_of(after["bundle"]) == []
    copied = data_of(two.elsewhere.import_bundle(after["bundle"], conflict_mode="new_decision_id"))
    assert copied["ok"]


@pytest.mark.parametrize("name", list(BUNDLES))
def test_a_vector_exports_to_the_same_digest_however_late(two: Two, name: str) -> None:
    two.later(days=400)  # the vectors are younger than the tests' clock
    imported = data_of(two.here.import_bundle(BUNDLES[name]))["imported"]["decision_id"]
    for _ in range(2):
        exported = data_of(two.here.export_bundle(imported))
        assert exported["digest"] == BUNDLES[name]["integrity"]["canonical_digest"]
        two.later(days=4000)


def test_a_bundle_that_says_expired_is_not_what_its_events_say(two: Two) -> None:
    request_id = SITUATIONS["a request that expired approved"].build(two)
    bundle = data_of(two.here.export_bundle(request_id))["bundle"]
    bundle["decision"]["status"] = "EXPIRED"
    assert seal_bundle(bundle) == DecisionBundle.from_dict(bundle).content_digest()
    assert verify_bundle_of(bundle) == ["header_equals_replay"]
    refused = two.elsewhere.import_bundle(bundle)
    assert refused.error_code == "INTEGRITY_MISMATCH"


def test_an_import_over_a_local_decision_takes_its_approvals_out_of_every_list(
    tools: NexusControlTools,
) -> None:
    """The index itself, not only the line, follows what counts here."""
    two = Two(tools.store, FakeClock())
    two.rolled_back_over_a_revocation()
    assert data_of(tools.list_requests(state="approved"))["requests"] == []
    assert data_of(tools.list_requests(state="pending_approval"))["count"] == 1


def test_lists_agree_on_a_store_without_files(clock: FakeClock) -> None:
    with DecisionStore(":memory:", clock=clock) as store:
        two = Two(store, clock)
        built = {situation.build(two): situation for situation in SITUATIONS.values()}
        for state in DecisionState:
            found = data_of(two.here.list_requests(state=state))["requests"]
            wanted = {name for name in built if data_of(two.here.status(name))["state"] == state}
            wanted -= {name for name in wanted if state == "draft"}
            assert {line["request_id"] for line in found} == wanted
