"""Waiting for a request, and the feed of events."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from nexus_control.errors import ErrorCode
from nexus_control.tool import NexusControlTools
from nexus_control.usecases.arguments import WaitArguments, validated
from nexus_control.usecases.following import wait_for
from tests.facade.flow import asked, bundle_of, executed, require_refused, state_of
from tests.facade.routers import FakeRouter, raising
from tests.support.clock import FakeClock
from tests.support.executor import executing
from tests.support.governed import ALICE, BOB, approved, data_of


def in_state(tools: NexusControlTools, clock: FakeClock, state: str) -> str:
    match state:
        case "approved":
            return approved(tools)
        case "completed":
            return executed(tools)
        case "failed":
            return executed(tools, FakeRouter({"run_id": "r", "error": "no"}))
        case "outcome_unknown":
            return executed(tools, FakeRouter(raising(TimeoutError())))
        case _:
            pass
    request_id = asked(tools, expires_in="2h")
    if state == "denied":
        data_of(tools.deny(request_id, BOB, "no"))
    if state == "withdrawn":
        data_of(tools.withdraw(request_id, ALICE, "no"))
    if state == "expired":
        clock.advance(hours=3)
    return request_id


@pytest.mark.parametrize(
    "state", ["approved", "expired", "completed", "failed", "denied", "withdrawn", "outcome_unknown"]
)
def test_a_wait_ends_at_once_in_each_state_that_does_not_pass(
    tools: NexusControlTools, clock: FakeClock, state: str
) -> None:
    request_id = in_state(tools, clock, state)
    waited = data_of(tools.wait_for(request_id, timeout=3600))
    assert (waited["state"], waited["timed_out"]) == (state, False)
    assert waited == {**data_of(tools.status(request_id)), "timed_out": False}


def test_a_wait_that_times_out_is_a_success_with_the_status(tools: NexusControlTools) -> None:
    waited = data_of(tools.wait_for(asked(tools), timeout=0))
    assert (waited["state"], waited["timed_out"]) == ("pending_approval", True)


def test_only_the_states_that_were_named_end_a_wait(tools: NexusControlTools) -> None:
    request_id = approved(tools)
    assert data_of(tools.wait_for(request_id, ["completed", "denied"], 0))["timed_out"]
    assert not data_of(tools.wait_for(request_id, ["approved", "completed"], 0))["timed_out"]
    assert not data_of(tools.wait_for(asked(tools), ["pending_approval"], 0))["timed_out"]


def test_an_execution_that_goes_on_is_waited_for(tmp_path: Path) -> None:
    with NexusControlTools(tmp_path / "store.db") as tools, ThreadPoolExecutor(1) as thread:
        request_id = approved(tools)
        with executing(tmp_path / "store.db", request_id) as child:
            assert data_of(tools.wait_for(request_id, timeout=0))["state"] == "executing"
            waiting = thread.submit(tools.wait_for, request_id, timeout=240)
            assert child.stdin is not None
            child.stdin.close()
            assert data_of(waiting.result())["state"] == "completed"


def test_a_wait_sees_what_another_process_decides_between_two_looks(tools: NexusControlTools) -> None:
    request_id = asked(tools)
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 7:
            data_of(tools.approve(request_id, BOB))

    given = validated(WaitArguments, {"request_id": request_id, "timeout": 60})
    assert wait_for(tools.store, given, pause=pause)["state"] == "approved"
    assert pauses == [0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0]


def test_the_pauses_of_a_wait_add_up_to_its_timeout(tools: NexusControlTools) -> None:
    pauses: list[float] = []
    given = validated(WaitArguments, {"request_id": asked(tools), "timeout": 3.3})
    assert wait_for(tools.store, given, pause=pauses.append)["timed_out"]
    assert round(sum(pauses), 9) == 3.3


@pytest.mark.parametrize(
    "given",
    [
        {"until": []},
        {"until": ["done"]},
        *({"timeout": each} for each in (-1, float("inf"), float("nan"), "soon", "25h", "-1", True, None)),
    ],
    ids=str,
)
def test_a_wait_for_what_cannot_be_is_refused(tools: NexusControlTools, given: dict[str, Any]) -> None:
    require_refused(tools.wait_for(asked(tools), **given), ErrorCode.INVALID_ARGUMENT)
    require_refused(tools.wait_for("nowhere"), ErrorCode.DECISION_NOT_FOUND)


def test_the_feed_gives_the_events_of_all_decisions_in_the_order_of_the_store(
    tools: NexusControlTools,
) -> None:
    first, second = asked(tools), asked(tools)
    data_of(tools.approve(first, BOB))
    page = data_of(tools.events_since())
    assert [(each["position"], each["request_id"], each["seq"]) for each in page["events"]] == [
        (0, first, 0),
        (1, first, 1),
        (2, second, 0),
        (3, second, 1),
        (4, first, 2),
    ]
    assert page["cursor"] == 5
    assert page["events"][4]["actor"] == BOB.to_dict()
    assert data_of(tools.events_since(5)) == {"events": [], "cursor": 5}
    data_of(tools.withdraw(second, ALICE, "no"))
    later = data_of(tools.events_since(5))
    assert [each["event_type"] for each in later["events"]] == ["DECISION_WITHDRAWN"]


def test_the_feed_skips_what_is_no_decision_and_the_cursor_goes_on_behind_it(
    tools: NexusControlTools,
) -> None:
    data_of(tools.template_create("t", ALICE))
    request_id = asked(tools)
    with NexusControlTools() as elsewhere:
        data_of(elsewhere.import_bundle(bundle_of(tools, request_id), actor=BOB))
        page = data_of(elsewhere.events_since())
        assert {each["origin"] for each in page["events"]} == {"imported"}
    page = data_of(tools.events_since())
    assert [each["position"] for each in page["events"]] == [1, 2]
    data_of(tools.template_create("u", ALICE))
    assert data_of(tools.events_since(3)) == {"events": [], "cursor": 4}


def test_pages_of_any_size_join_to_the_whole_feed(tools: NexusControlTools) -> None:
    for number in range(7):
        data_of(tools.template_create(f"t{number}", ALICE))
        approved(tools)
    whole = data_of(tools.events_since())["events"]
    for limit in (1, 2, 5, 20, 21, 22):
        joined, cursor = list[Any](), 0
        while (page := data_of(tools.events_since(cursor, limit)))["events"]:
            assert len(page["events"]) <= limit
            joined += page["events"]
            cursor = page["cursor"]
        assert joined == whole


def test_a_page_ends_inside_a_batch_and_the_next_begins_there(tools: NexusControlTools) -> None:
    for _ in range(260):
        asked(tools)
    first = data_of(tools.events_since(limit=511))
    assert (len(first["events"]), first["cursor"]) == (511, 511)
    rest = data_of(tools.events_since(first["cursor"]))
    assert [each["position"] for each in rest["events"]] == list(range(511, 520))


@pytest.mark.parametrize("given", [{"cursor": -1}, {"limit": 0}, {"limit": 10_001}], ids=str)
def test_a_page_that_cannot_be_is_refused(tools: NexusControlTools, given: dict[str, Any]) -> None:
    require_refused(tools.events_since(**given), ErrorCode.INVALID_ARGUMENT)


def test_waiting_and_reading_write_nothing(tools: NexusControlTools) -> None:
    request_id = asked(tools)
    before = data_of(tools.events_since())
    tools.wait_for(request_id, timeout=0)
    assert data_of(tools.events_since()) == before
    assert state_of(tools, request_id) == "pending_approval"
