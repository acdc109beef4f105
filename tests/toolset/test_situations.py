"""What an agent is told of a decision, and what it is told to do, in every situation."""

import pytest

from nexus_control.lifecycle import counted
from tests.support.schemas import output_schema
from tests.support.situations import SITUATIONS, Two
from tests.toolset.bench import Bench, Waits, closed_output_schema, named, require_valid

CAROL = {"type": "human", "id": "carol"}


@pytest.fixture
def two(bench: Bench) -> Two:
    return Two(bench.context.store, bench.clock)


@pytest.mark.parametrize("name", SITUATIONS)
def test_status_and_inspect_say_what_counts_and_what_to_do(bench: Bench, two: Two, name: str) -> None:
    situation = SITUATIONS[name]
    request_id = situation.build(two)
    status = bench.data("status", request_id=request_id)
    inspected = bench.data("inspect", decision_id=request_id)
    current, required = situation.approvals
    assert status["summary"].startswith(situation.verdict)
    assert status["summary"].endswith(f"; {current} of {counted(required, 'approval')}.")
    assert inspected["summary"].startswith(situation.verdict)
    assert inspected["lifecycle"]["state"] == status["state"] == situation.state
    assert inspected["next"] == status["next"]
    assert situation.advice in status["next"] or situation.state == "draft"
    assert ("Call nexus-control.execute" in status["next"]) == situation.executable
    for tool, answer in (("status", status), ("inspect", inspected)):
        require_valid(answer, closed_output_schema(named(tool)))


@pytest.mark.parametrize("name", SITUATIONS)
def test_status_waits_only_for_what_can_still_come(bench: Bench, two: Two, name: str) -> None:
    situation = SITUATIONS[name]
    request_id, waits = situation.build(two), Waits()
    bench.change(wait=waits)
    bench.data("status", request_id=request_id, wait_seconds=1)
    assert bool(waits.seconds) == situation.waits


@pytest.mark.parametrize(
    ("name", "state", "advice"),
    [
        ("just asked", "approved", "Call nexus-control.execute"),
        ("approved elsewhere", "approved", "Call nexus-control.execute"),
        ("approved elsewhere by one of two", "pending_approval", "evidence and not authority"),
        ("imported unchecked", "approved", "never executed here"),
        ("brought back before its run", "approved", "never executed here"),
    ],
)
def test_who_approves_is_told_whether_it_can_be_executed_now(
    bench: Bench, two: Two, name: str, state: str, advice: str
) -> None:
    request_id = SITUATIONS[name].build(two)
    answer = bench.data("approve", request_id=request_id, actor=CAROL)
    assert answer["state"] == state
    assert advice in answer["next"]


def test_who_approves_too_late_is_told_the_state(bench: Bench, two: Two) -> None:
    request_id = SITUATIONS["a request that expired approved"].build(two)
    for approvals, given in (("declared", {"actor": CAROL}), ("human", {})):
        bench.change(approvals=approvals)
        refused = bench.error("approve", request_id=request_id, **given)
        assert (refused["code"], refused["details"]["state"]) == ("INVALID_STATE", "expired")


def test_an_approver_of_an_imported_decision_is_told_that_it_is_pending(bench: Bench, two: Two) -> None:
    bench.change(approvals="human")
    request_id = SITUATIONS["approved elsewhere"].build(two)
    refused = bench.error("approve", request_id=request_id)
    assert (refused["code"], refused["details"]["state"]) == ("APPROVAL_NEEDS_A_PERSON", "pending_approval")


def test_expired_is_a_state_in_the_schemas() -> None:
    for tool in ("request", "approve", "status"):
        state = str(output_schema(named(tool)))
        assert "'expired'" in state
