"""After any history - requests, verdicts, runs, imports of every kind, time - the views say what `execute` does."""

from typing import Any

from hypothesis import given, settings

from nexus_control.decision import Decision, DecisionState
from nexus_control.lifecycle import compute_lifecycle
from nexus_control.store import DecisionStore
from nexus_control.values.instants import parse_instant
from tests.facade.routers import ANSWER, FakeRouter
from tests.facade.test_projection import ADAPTER, SEQUENCES, Command, World
from tests.support.amounts import number_of
from tests.support.clock import FakeClock
from tests.support.governed import SCHEDULER, data_of, reasons

NEVER_EXECUTED = {"ALREADY_EXECUTED", "FORENSIC_IMPORT"}


def codes(found: list[dict[str, Any]]) -> list[str]:
    return [reason["code"] for reason in found]


def require_agreement(world: World, request_id: str, line: dict[str, Any]) -> None:
    status, inspected = data_of(world.tools.status(request_id)), data_of(world.tools.inspect(request_id))
    approval, lifecycle = inspected["approval"], inspected["lifecycle"]
    counts = (status["active_approvals"], status["required_approvals"])
    assert (approval["current"], approval["required"]) == counts
    assert (line["current_approvals"], line["required_approvals"]) == counts
    assert sum(each["active"] for each in approval["approvals"]) == counts[0]
    assert status["state"] == lifecycle["state"] == line["state"]
    assert status["is_approved"] == approval["is_approved"] == line["is_approved"] == (counts[0] >= counts[1])
    blocking = codes(status["blocking_reasons"])
    assert codes(lifecycle["blocking_reasons"]) == blocking
    assert line["executable"] == (not blocking)
    is_open = status["state"] in ("approved", "pending_approval", "expired")
    assert (status["state"] == "approved") == (is_open and status["is_approved"])
    assert (status["state"] == "approved") == (is_open and not set(blocking) - NEVER_EXECUTED)
    assert inspected["rendered"].startswith("✓") == (
        not blocking or (status["state"] == "completed" and blocking[0] == "ALREADY_EXECUTED")
    )


def require_documents_are_blind(world: World, request_id: str) -> None:
    """A bundle states what its events make of it, whatever the store thinks of them, and whenever."""
    bundle = data_of(world.tools.export_bundle(request_id))["bundle"]
    assert bundle["decision"]["status"] != "EXPIRED"
    decision = Decision.load(world.store, request_id)
    lifecycle = compute_lifecycle(decision)
    assert lifecycle.state == decision.state
    assert lifecycle.progress.approvals_current == decision.active_approval_count


@settings(max_examples=number_of(60, few=25))
@given(SEQUENCES)
def test_after_any_history_the_views_agree_with_each_other_and_with_execute(commands: list[Command]) -> None:
    with DecisionStore(":memory:", clock=FakeClock()) as store:
        clock = store.clock
        assert isinstance(clock, FakeClock)
        world = World(store, clock)
        for command in commands:
            command(world)
        latest = [parse_instant(store.load(each).facts.last_ts) for each in world.ids]
        clock.instant = max(clock.instant, *latest)  # a clock that went back is judged at the last event
        lines = {
            each["request_id"]: each for each in data_of(world.tools.list_requests(limit=500))["requests"]
        }
        assert lines.keys() == set(world.ids)
        for state in DecisionState:
            found = data_of(world.tools.list_requests(limit=500, state=state))["requests"]
            assert found == [line for line in lines.values() if line["state"] == state]
        for request_id, line in lines.items():
            require_agreement(world, request_id, line)
            require_documents_are_blind(world, request_id)
            blocking = codes(data_of(world.tools.status(request_id))["blocking_reasons"])
            result = world.tools.execute(
                request_id, ADAPTER, SCHEDULER, FakeRouter(ANSWER, {"timeout", "magic"})
            )
            assert result.success == (not blocking)
            if not result.success:
                assert reasons(result) == blocking
