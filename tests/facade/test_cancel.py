"""Cancel, by its rules: who may, when, what it says, and what the execution becomes."""

import asyncio
import json
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nexus_control import Actor, DecisionStore, LocalRouter, NexusControlTools, PythonAdapter
from nexus_control.errors import ErrorCode
from nexus_control.execution.context import current
from nexus_control.execution.stopping import stop_ordered
from nexus_control.storage import open_storage
from nexus_control.storage.contract import Storage
from nexus_control.storage.faults import unavailable
from nexus_control.usecases.settling import give_up_own
from tests.facade.flow import CAROL, asked, require_refused
from tests.facade.routers import FakeRouter
from tests.support.clock import FakeClock
from tests.support.governed import (
    ADAPTER,
    ALICE,
    BOB,
    SCHEDULER,
    approved,
    data_of,
    last_event,
    require_whole,
)
from tests.support.watched_storage import Moment, WatchedStorage

WHY = "The wrong cluster"


def steps(*names: str) -> str:
    return json.dumps(
        [
            {
                "step_id": name,
                "intent": name,
                "call": {"tool": "keys", "method": "do", "args": {"name": name}},
            }
            for name in names
        ]
    )


def router_of(method: Callable[..., object]) -> LocalRouter:
    return LocalRouter([PythonAdapter("keys", {"do": method})])


def executed(tools: NexusControlTools, method: Callable[..., object], *names: str, **options: Any) -> str:
    """The id of a request with these steps, after its execution by a LocalRouter."""
    request_id = approved(tools, plan=steps(*names), approvers=["bob"])
    tools.execute(request_id, ADAPTER, SCHEDULER, router_of(method), **options)
    return request_id


def claimed(tools: NexusControlTools, **request: Any) -> str:
    request_id = approved(tools, approvers=["bob"], **request)
    data_of(tools.claim(request_id, "tool:rotate", SCHEDULER))
    return request_id


def outcome_of(tools: NexusControlTools, request_id: str) -> tuple[str | None, str | None, str | None]:
    """State, error code and effect of the last execution."""
    status = data_of(tools.status(request_id))
    return status["state"], status["executions"][-1]["error_code"], status["executions"][-1]["effect"]


# --- who may, and when --------------------------------------------------------------------------------------


@pytest.mark.parametrize("actor", [ALICE, BOB, SCHEDULER], ids=["requester", "approver", "executor"])
def test_who_has_a_part_in_the_decision_may_cancel(actor: Actor) -> None:
    tools = NexusControlTools(clock=FakeClock())
    request_id = claimed(tools)
    data = data_of(tools.cancel(request_id, actor, WHY))
    assert data["cancel"] == {
        "actor": actor.to_dict(),
        "ts": "2026-01-02T03:04:05.000006+00:00",
        "reason": WHY,
    }
    assert (data["state"], data["asked"], data["execution_id"]) == ("executing", True, f"{request_id}:0:3")


@pytest.mark.parametrize("actor", [CAROL, Actor("human", "scheduler")], ids=["a stranger", "of another type"])
def test_nobody_else_may_and_the_refusal_names_who_can(actor: Actor) -> None:
    tools = NexusControlTools()
    request_id = claimed(tools)
    refused = tools.cancel(request_id, actor, WHY)
    require_refused(refused, ErrorCode.NOT_ELIGIBLE)
    assert refused.details["approvers"] == ["bob"]
    assert "cancel" not in data_of(tools.status(request_id))


def test_an_id_that_mixes_scripts_cancels_nothing() -> None:
    tools = NexusControlTools()
    request_id = approved(tools)
    data_of(tools.claim(request_id, "tool:rotate", SCHEDULER))
    require_refused(tools.cancel(request_id, Actor("human", "b\u043eb"), WHY), ErrorCode.INVALID_ARGUMENT)
    assert "cancel" not in data_of(tools.status(request_id))


def test_what_is_only_open_is_withdrawn_or_denied_instead() -> None:
    tools = NexusControlTools()
    for request_id in (asked(tools), approved(tools)):
        refused = tools.cancel(request_id, ALICE, WHY)
        require_refused(refused, ErrorCode.INVALID_STATE)
        assert "withdraw" in str(refused.next)
        assert "deny" in str(refused.next)


def test_what_has_ended_is_not_cancelled() -> None:
    tools = NexusControlTools()
    done = approved(tools)
    data_of(tools.execute(done, ADAPTER, SCHEDULER, FakeRouter()))
    require_refused(tools.cancel(done, ALICE, WHY), ErrorCode.INVALID_STATE)
    lost = claimed(tools)
    data_of(tools.record(f"{lost}:0:3", "unknown"))
    refused = tools.cancel(lost, ALICE, WHY)
    require_refused(refused, ErrorCode.INVALID_STATE)
    assert "reconcile" in str(refused.next)


def test_an_imported_execution_is_cancelled_where_it_runs() -> None:
    tools, here = NexusControlTools(), NexusControlTools()
    request_id = claimed(tools)
    data_of(here.import_bundle(data_of(tools.export_bundle(request_id))["bundle"]))
    require_refused(here.cancel(request_id, ALICE, WHY), ErrorCode.CLAIM_HELD)


@pytest.mark.parametrize("reason", ["", "\0", None])
def test_a_cancel_says_why(reason: Any) -> None:
    tools = NexusControlTools()
    require_refused(tools.cancel(claimed(tools), ALICE, reason), ErrorCode.INVALID_ARGUMENT)


# --- what it says -----------------------------------------------------------------------------------------------------


def test_the_first_cancel_counts_and_the_second_answers_it() -> None:
    tools = NexusControlTools()
    request_id = claimed(tools)
    first = data_of(tools.cancel(request_id, ALICE, WHY))
    second = data_of(tools.cancel(request_id, BOB, "Not now"))
    assert (first["asked"], second["asked"]) == (True, False)
    assert second["cancel"] == first["cancel"]


def test_the_views_say_who_cancels_while_it_is_executed_and_no_longer_afterwards() -> None:
    tools = NexusControlTools()
    other, request_id = approved(tools), claimed(tools)
    cancel = data_of(tools.cancel(request_id, ALICE, WHY))["cancel"]
    lines = {line["request_id"]: line for line in data_of(tools.list_requests())["requests"]}
    inspected = data_of(tools.inspect(request_id))
    assert data_of(tools.status(request_id))["cancel"] == cancel
    assert lines[request_id]["cancel"] == inspected["cancel"] == cancel
    assert WHY in inspected["rendered"]
    assert "cancel" not in lines[other]
    data_of(tools.record(f"{request_id}:0:3", "completed"))
    for view in (data_of(tools.status(request_id)), data_of(tools.inspect(request_id))):
        assert "cancel" not in view


def test_it_is_no_event() -> None:
    tools = NexusControlTools()
    request_id = claimed(tools)
    before = tools.store.get_events(request_id)
    data_of(tools.cancel(request_id, ALICE, WHY))
    assert tools.store.get_events(request_id) == before


def test_the_record_of_a_caller_that_runs_the_tool_itself_wins() -> None:
    tools = NexusControlTools()
    request_id = claimed(tools)
    assert data_of(tools.cancel(request_id, ALICE, WHY))["run_by"] == "caller"
    assert data_of(tools.record(f"{request_id}:0:3", "completed", output=1))["recorded"]
    assert outcome_of(tools, request_id) == ("completed", None, "done")


# --- what the execution becomes -----------------------------------------------------------------------------


def test_no_step_begins_after_a_cancel() -> None:
    tools, called = NexusControlTools(), list[str]()

    def do(name: str) -> None:
        called.append(name)
        if name == "second":
            data_of(tools.cancel(current().request_id, ALICE, WHY))

    request_id = executed(tools, do, "first", "second", "third")
    assert called == ["first", "second"]
    assert outcome_of(tools, request_id) == ("failed", "CANCELLED", "done")
    failed = last_event(tools.store, request_id).payload
    assert (
        failed["error_message"] == f"step 'third' was not begun because human:alice cancelled the run: {WHY}"
    )
    assert failed["steps_executed"] == 2
    require_whole(tools.store, request_id)


def test_a_cancel_during_the_last_step_of_a_plain_function_comes_too_late() -> None:
    tools = NexusControlTools()

    def do(name: str) -> None:
        data_of(tools.cancel(current().request_id, ALICE, WHY))

    assert outcome_of(tools, executed(tools, do, "only")) == ("completed", None, "done")


def test_another_routers_run_is_waited_for() -> None:
    tools = NexusControlTools()
    request_id = approved(tools)

    def answer() -> object:
        assert data_of(tools.cancel(request_id, ALICE, WHY))["run_by"] == "router"
        return {"run_id": "r", "steps_executed": 1}

    data_of(tools.execute(request_id, ADAPTER, SCHEDULER, FakeRouter(answer)))
    assert outcome_of(tools, request_id) == ("completed", None, "done")


def test_a_function_can_ask_whether_it_must_stop() -> None:
    tools, asked_for = NexusControlTools(), list[str | None]()

    def do(name: str) -> None:
        asked_for.append(current().stop_ordered())
        data_of(tools.cancel(current().request_id, ALICE, WHY))
        while (why := current().stop_ordered()) is None:
            pass
        asked_for.append(why)
        raise RuntimeError("stopped half-way")

    request_id = executed(tools, do, "only")
    assert asked_for == [None, f"human:alice cancelled the run: {WHY}"]
    assert outcome_of(tools, request_id) == ("failed", "STEP_FAILED", "unknown")
    assert stop_ordered() is None


@pytest.mark.parametrize("inside", [False, True], ids=["no loop", "in a loop"])
def test_a_coroutine_is_cut_off_where_it_awaits(inside: bool) -> None:
    tools, ended = NexusControlTools(), list[str]()

    async def do(name: str) -> None:
        data_of(tools.cancel(current().request_id, ALICE, WHY))
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(name)

    async def in_a_loop() -> str:
        return executed(tools, do, "first", "second")

    request_id = asyncio.run(in_a_loop()) if inside else executed(tools, do, "first", "second")
    assert ended == ["first"]
    assert outcome_of(tools, request_id) == ("failed", "CANCELLED", "unknown")
    message = last_event(tools.store, request_id).payload["error_message"]
    assert message == f"step 'first': it was cut off because human:alice cancelled the run: {WHY}"


def test_a_coroutine_that_returns_a_value_all_the_same_has_ended_well() -> None:
    tools = NexusControlTools()

    async def do(name: str) -> str:
        data_of(tools.cancel(current().request_id, ALICE, WHY))
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "done"
        return "never"

    assert outcome_of(tools, executed(tools, do, "only")) == ("completed", None, "done")


def test_a_cancelled_rehearsal_leaves_the_decision_approved() -> None:
    tools = NexusControlTools()

    def do(name: str) -> None:
        data_of(tools.cancel(current().request_id, ALICE, WHY))

    router = LocalRouter([PythonAdapter("keys", {"do": do}, dry_run_methods={"do": do})])
    request_id = approved(tools, plan=steps("first", "second"))
    refused = tools.execute(request_id, ADAPTER, SCHEDULER, router, dry_run=True)
    assert (refused.error_code, refused.details["error_code"]) == ("ROUTER_ERROR", "CANCELLED")
    assert outcome_of(tools, request_id) == ("approved", "CANCELLED", "none")


def test_a_cancelled_run_executes_nothing_else_meanwhile() -> None:
    tools = NexusControlTools()
    other = approved(tools)

    def do(name: str) -> None:
        data_of(tools.cancel(current().request_id, ALICE, WHY))
        while current().stop_ordered() is None:
            pass
        require_refused(tools.execute(other, ADAPTER, SCHEDULER, FakeRouter()), ErrorCode.SHUTTING_DOWN)

    executed(tools, do, "only")
    assert data_of(tools.status(other))["state"] == "approved"


def test_a_cancel_is_for_the_execution_under_way_alone() -> None:
    tools, goes_on = NexusControlTools(), list[bool]()

    def rehearse(name: str) -> None:
        data_of(tools.cancel(current().request_id, ALICE, WHY))

    def do(name: str) -> None:
        goes_on.append(current().stop_ordered() is None)

    router = LocalRouter([PythonAdapter("keys", {"do": do}, dry_run_methods={"do": rehearse})])
    request_id = approved(tools, plan=steps("first", "second"))
    tools.execute(request_id, ADAPTER, SCHEDULER, router, dry_run=True)
    data_of(tools.execute(request_id, ADAPTER, SCHEDULER, router))
    assert goes_on == [True, True]


# --- between the transactions -------------------------------------------------------------------------------


def watched(path: Path, watch: Callable[[Moment, frozenset[str]], None]) -> NexusControlTools:
    return NexusControlTools(DecisionStore(storage=WatchedStorage(open_storage(path), watch)))


def test_a_cancel_between_the_claim_and_the_router_runs_nothing(tmp_path: Path) -> None:
    path, router = tmp_path / "decisions.db", FakeRouter()
    other = NexusControlTools(path)
    request_id = approved(other)

    def watch(moment: Moment, types: frozenset[str]) -> None:
        if moment == "committed" and "EXECUTION_STARTED" in types:
            data_of(other.cancel(request_id, ALICE, WHY))

    refused = watched(path, watch).execute(request_id, ADAPTER, SCHEDULER, router)
    assert (refused.error_code, refused.details["error_code"]) == ("ROUTER_ERROR", "CANCELLED")
    assert router.calls == []
    assert outcome_of(other, request_id) == ("failed", "CANCELLED", "none")
    assert WHY in str(last_event(other.store, request_id).payload["error_message"])


def test_a_cancel_that_waits_for_the_record_of_the_outcome_is_refused(tmp_path: Path) -> None:
    path, answers = tmp_path / "decisions.db", list[str | None]()
    other = NexusControlTools(path)
    request_id = approved(other)
    cancelling = threading.Thread(
        target=lambda: answers.append(other.cancel(request_id, ALICE, WHY).error_code)
    )

    def watch(moment: Moment, types: frozenset[str]) -> None:
        if moment == "commit" and "EXECUTION_COMPLETED" in types:
            cancelling.start()

    data_of(watched(path, watch).execute(request_id, ADAPTER, SCHEDULER, FakeRouter()))
    cancelling.join()
    assert answers == ["INVALID_STATE"]
    assert outcome_of(other, request_id) == ("completed", None, "done")


class _Blind(WatchedStorage):
    """Fails to read while it is `blind`."""

    def __init__(self, inner: Storage) -> None:
        super().__init__(inner, lambda _moment, _types: None)
        self.blind = False

    def reading(self) -> Any:
        if self.blind:
            raise unavailable("the server is away")
        return super().reading()


def test_a_store_that_fails_while_it_is_looked_at_ends_no_run(tmp_path: Path) -> None:
    path, called = tmp_path / "decisions.db", list[str]()
    storage = _Blind(open_storage(path))
    tools, other = NexusControlTools(DecisionStore(storage=storage)), NexusControlTools(path)
    request_id = approved(other, plan=steps("first", "second", "third"))

    def do(name: str) -> None:
        called.append(name)
        storage.blind = name == "first"
        if name == "second":  # which began although nobody could look
            data_of(other.cancel(request_id, ALICE, WHY))
            while current().stop_ordered() is None:
                pass

    refused = tools.execute(request_id, ADAPTER, SCHEDULER, router_of(do))
    assert refused.details["error_code"] == "CANCELLED"
    assert called == ["first", "second"]


def test_what_a_stranger_wrote_as_a_cancel_ends_no_run_and_is_told_as_damage(tmp_path: Path) -> None:
    tools, told = NexusControlTools(tmp_path / "decisions.db"), list[str | None]()

    def do(name: str) -> None:
        with tools.store.writing() as session:
            (claim,) = session.rows.claims()
            session.rows.put_claim(replace(claim, cancel="{"))
        told.append(tools.status(current().request_id).error_code)

    request_id = executed(tools, do, "first", "second")
    assert told == ["STORE_UNAVAILABLE"] * 2
    assert outcome_of(tools, request_id) == ("completed", None, "done")


def test_a_process_that_leaves_its_runs_leaves_the_cancelled_ones_too() -> None:
    tools = NexusControlTools()
    request_id = approved(tools)

    def answer() -> object:
        data_of(tools.cancel(request_id, ALICE, WHY))
        give_up_own(tools.store, "the server ended")
        return {"run_id": "r", "steps_executed": 1}

    refused = tools.execute(request_id, ADAPTER, SCHEDULER, FakeRouter(answer))
    assert refused.error_code == "OUTCOME_REFUSED"
    status = data_of(tools.status(request_id))
    assert (status["state"], status["late_outcome"]["payload"]["run_id"]) == ("outcome_unknown", "r")
    assert "cancel" not in status
