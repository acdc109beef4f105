"""The worker's loop on a clock that stands still: what it executes, tells and waits for."""

import sqlite3
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from nexus_control import NexusControlTools
from nexus_control.cli.worker_loop import Loop, Orders
from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.execution.adapter import Adapters
from nexus_control.execution.local_router import LocalRouter
from nexus_control.execution.python_adapter import PythonAdapter
from nexus_control.usecases.working import FIRST_PAUSE, Action
from nexus_control.values.actors import Actor
from tests.execution.support import step
from tests.support.clock import FakeClock
from tests.support.governed import ADAPTER, ALICE, BOB, approved, data_of, last_event

WORKER = Actor("system", "worker")
POLL = timedelta(seconds=1)


class Desk:
    """A worker's loop, what it told, and how long it waited. The script says what happens in each of its waits; the
    loop ends with the script.
    """

    def __init__(self, folder: Path) -> None:
        self.clock = FakeClock()
        self.tools = NexusControlTools(db_path=folder / "store.db", clock=self.clock, busy_timeout=0.01)
        self.runs: list[str] = []
        self.told: list[Action] = []
        self.waits: list[timedelta] = []
        self.orders = Orders(actor=WORKER, poll=POLL)
        self._script: list[Callable[[], object]] = []

    def router(self, digest: str = "") -> LocalRouter:
        def rotate(name: str) -> str:
            self.runs.append(name)
            if name == "broken":
                raise ValueError(name)
            return name

        methods = {"rotate": rotate} | ({"other": rotate} if digest else {})
        return LocalRouter(Adapters([PythonAdapter("keys", methods)]), clock=self.clock)

    def asked(self, name: str, **request: Any) -> dict[str, Any]:
        return {"plan": [step("rotate", name=name)], "adapter_id": ADAPTER, "dispatch": "worker", **request}

    def approved(self, name: str, **request: Any) -> str:
        return approved(self.tools, **self.asked(name, **request))

    def work(self, *script: Callable[[], object], router: LocalRouter | None = None) -> list[tuple[str, ...]]:
        """What was told, as its kind, outcome and code."""
        self._script = list(script)
        router = router or self.router()
        loop = Loop(
            self.tools.store,
            router,
            self.orders,
            tell=self.told.append,
            wait=self._wait,
            is_over=lambda: len(self.waits) > len(script),
        )
        loop.run()
        return [(each.what, each.outcome, each.error_code or "") for each in self.told]

    def _wait(self, pause: timedelta) -> None:
        self.waits.append(pause)
        self.clock.advance(seconds=pause.total_seconds())
        if self._script:
            self._script.pop(0)()


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def nothing() -> None:
    """Nothing happens in this wait."""


def test_it_executes_what_was_approved_before_it_began_and_oldest_first(desk: Desk) -> None:
    first, second = desk.approved("one"), desk.approved("two")
    assert desk.work() == [("execute", "completed", "")] * 2
    assert ([each.request_id for each in desk.told], desk.runs) == ([first, second], ["one", "two"])
    assert desk.told[0].execution_id == f"{first}:0:3"
    assert (desk.told[0].adapter_id, desk.told[0].effect) == (ADAPTER, "done")
    assert data_of(desk.tools.status(first))["executions"][0]["outcome"] == "completed"


def test_it_executes_what_is_approved_while_it_waits(desk: Desk) -> None:
    request_id = data_of(desk.tools.request("Rotate", ALICE, mode="apply", **desk.asked("one")))["request_id"]
    desk.work(nothing, lambda: data_of(desk.tools.approve(request_id, BOB)), nothing)
    assert (desk.runs, desk.waits) == (["one"], [POLL] * 4)


def test_it_leaves_alone_what_is_not_for_a_worker_not_approved_ended_or_for_another_adapter(
    desk: Desk,
) -> None:
    desk.approved("not for a worker", dispatch=None)
    desk.approved("no such adapter", adapter_id="subprocess:vault")
    desk.approved("expired", expires_in="1s")
    denied = desk.approved("denied")
    data_of(desk.tools.deny(denied, BOB, "no"))
    data_of(desk.tools.request("pending", ALICE, mode="apply", **desk.asked("pending")))
    desk.clock.advance(seconds=2)
    assert desk.work(nothing) == []
    assert desk.runs == []


def test_a_failure_is_told_with_its_effect_and_never_run_again(desk: Desk) -> None:
    desk.approved("broken")
    assert desk.work(*[nothing] * 50) == [("execute", "failed", "STEP_FAILED")]
    assert (desk.told[0].effect, desk.runs) == ("unknown", ["broken"])


def test_a_refusal_is_told_once_for_each_reason_and_looked_at_again_after_a_growing_pause(desk: Desk) -> None:
    asking = NexusControlTools(desk.tools.store, plan_checker=desk.router())
    request_id = approved(asking, **desk.asked("one"))
    looks: list[int] = []
    changed = desk.router("changed")
    capabilities = changed.get_adapter_capabilities

    def counted(adapter_id: str) -> set[str] | None:
        looks.append(len(desk.waits))
        return capabilities(adapter_id)

    vars(changed)["get_adapter_capabilities"] = counted
    assert desk.work(*[nothing] * 100, router=changed) == [("refuse", "refused", "POLICY_NOT_SATISFIED")]
    assert desk.told[0].reasons == ("ADAPTER_CHANGED",)
    assert looks == [0, 30, 90]  # the pause is 30 seconds, then 60
    assert (desk.runs, data_of(desk.tools.status(request_id))["state"]) == ([], "approved")


def test_an_event_makes_it_look_again_at_once_and_the_same_reason_is_not_told_again(desk: Desk) -> None:
    asking = NexusControlTools(desk.tools.store, plan_checker=desk.router())
    request_id = approved(asking, **desk.asked("one"))
    carol = {"type": "human", "id": "carol"}
    told = desk.work(
        nothing, lambda: data_of(desk.tools.approve(request_id, carol)), router=desk.router("changed")
    )
    assert len(told) == 1
    assert timedelta(seconds=len(desk.waits)) < FIRST_PAUSE


def test_an_approval_that_runs_out_before_the_claim_is_refused_quietly(desk: Desk) -> None:
    request_id = data_of(desk.tools.request("Rotate", ALICE, mode="apply", **desk.asked("one")))["request_id"]
    ends = (desk.clock.now() + timedelta(seconds=5)).isoformat()
    data_of(desk.tools.approve(request_id, BOB, expires_at=ends))
    router = desk.router()
    capabilities = router.get_adapter_capabilities

    def slow(adapter_id: str) -> set[str] | None:
        desk.clock.advance(seconds=10)
        return capabilities(adapter_id)

    vars(router)["get_adapter_capabilities"] = slow
    assert desk.work(nothing, router=router) == []
    assert desk.runs == []


def test_a_busy_store_is_told_once_and_tried_again_after_pauses_that_grow(desk: Desk, tmp_path: Path) -> None:
    desk.approved("one")
    other = sqlite3.connect(tmp_path / "store.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    def release() -> None:
        other.execute("ROLLBACK")
        other.close()

    told = desk.work(nothing, nothing, release, nothing)
    away, back = ("store", "away", "STORE_UNAVAILABLE"), ("store", "back", "")
    assert told == [away, back, ("execute", "completed", "")] or told == [
        away,
        ("execute", "completed", ""),
        back,
    ]
    assert [each.total_seconds() for each in desk.waits[:3]] == [1, 2, 4]


def test_once_does_what_is_due_and_says_that_something_failed(desk: Desk) -> None:
    desk.orders = Orders(actor=WORKER, once=True)
    desk.approved("broken")
    desk.approved("one")
    loop = Loop(
        desk.tools.store,
        desk.router(),
        desk.orders,
        tell=desk.told.append,
        wait=desk.waits.append,
        is_over=lambda: False,
    )
    loop.run()
    assert (desk.runs, loop.has_failed, desk.waits) == (["broken", "one"], True, [])


def test_once_does_not_wait_for_a_busy_store(desk: Desk, tmp_path: Path) -> None:
    desk.orders = Orders(actor=WORKER, once=True)
    other = sqlite3.connect(tmp_path / "store.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(NexusControlError) as fault:
        desk.work()
    other.close()
    assert (fault.value.code, desk.told) == (ErrorCode.STORE_UNAVAILABLE, [])


def test_checkpoints_are_signed_on_their_schedule_and_told_when_the_log_has_grown(desk: Desk) -> None:
    kept: list[bytes] = []
    desk.orders = Orders(
        actor=WORKER, poll=timedelta(minutes=10), checkpoint_every=timedelta(hours=1), keep=kept.append
    )
    told = desk.work(*[nothing] * 6, lambda: desk.approved("one"), *[nothing] * 6)
    assert told == [
        ("checkpoint", "signed", ""),
        ("execute", "completed", ""),
        ("checkpoint", "signed", ""),
    ]
    assert (len(kept), kept[0] == kept[1]) == (3, True)
    before, _, after = (each.size or 0 for each in desk.told)
    assert after - before == 6  # the request's events: two that open it, one approval, three of the execution


def test_a_checkpoint_that_cannot_be_written_is_told_once_and_nothing_else_stops(desk: Desk) -> None:
    def keep(_: bytes) -> None:
        raise NexusControlError(ErrorCode.INVALID_ARGUMENT, "there is no room")

    desk.orders = Orders(
        actor=WORKER, poll=timedelta(hours=1), checkpoint_every=timedelta(hours=1), keep=keep
    )
    desk.approved("one")
    told = desk.work(nothing, nothing)
    assert told == [("checkpoint", "not_signed", "INVALID_ARGUMENT"), ("execute", "completed", "")]


def test_a_clock_that_is_set_back_stops_no_schedule(desk: Desk) -> None:
    kept: list[bytes] = []
    desk.orders = Orders(actor=WORKER, checkpoint_every=timedelta(hours=1), keep=kept.append)
    desk.work(nothing, lambda: desk.clock.advance(days=-1), nothing)
    assert len(kept) == 2


def row_reads(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """After how many waits a row of a decision was read, for each time from now on."""
    reads: list[int] = []
    with desk.tools.store.reading() as session:
        rows = type(session.rows)
    decision_rows, decision_row = rows.decision_rows, rows.decision_row

    def listing(self: Any, query: Any) -> Any:
        reads.append(len(desk.waits))
        return decision_rows(self, query)

    def one(self: Any, *asked: Any) -> Any:
        reads.append(len(desk.waits))
        return decision_row(self, *asked)

    monkeypatch.setattr(rows, "decision_rows", listing)
    monkeypatch.setattr(rows, "decision_row", one)
    return reads


def test_an_idle_look_reads_nothing_of_the_decisions(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(5):
        data_of(desk.tools.request(f"{number}", ALICE, mode="apply", **desk.asked("one")))
    reads = row_reads(desk, monkeypatch)
    desk.work(*[nothing] * 20)
    assert set(reads) == {0}


def test_who_executed_is_the_workers_own_actor(desk: Desk) -> None:
    request_id = desk.approved("one")
    desk.work()
    events = desk.tools.store.get_events(request_id)
    assert [str(each.actor) for each in events if str(each.event_type) == "EXECUTION_REQUESTED"] == [
        str(WORKER)
    ]
    assert str(last_event(desk.tools.store, request_id).event_type) == "EXECUTION_COMPLETED"
